// Maps: fields on a canvas, land and coast as lines over it.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svg(name, attributes, parent, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent?.append(made);
  return made;
}

const [north, south] = [grid.latitude[0], grid.latitude[grid.height]];
const [west, east] = [grid.longitude[0], grid.longitude[grid.width]];
const right = (longitude) => (longitude - west) / (east - west);
const down = (latitude) => (north - latitude) / (north - south);
const aspect = ((east - west) * Math.max(0.05, Math.cos(((north + south) / 2) * (Math.PI / 180)))) / (north - south);

/** Which cell each of `count` equal steps along `edges` lies in. */
function lookup(edges, count) {
  const [from, to] = [edges[0], edges[edges.length - 1]];
  let cell = 0;
  return Int32Array.from({ length: count }, (_, i) => {
    const fraction = (i + 0.5) / count;
    while (cell < edges.length - 2 && (edges[cell + 1] - from) / (to - from) <= fraction) cell++;
    return cell;
  });
}

/** As many steps as cells where those are equal, enough of them elsewhere. */
function raster(edges) {
  const sizes = edges.slice(1).map((edge, i) => Math.abs(edge - edges[i]));
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  return lookup(edges, most < 1.02 * least ? sizes.length : Math.max(sizes.length, 800));
}
const [rasterRows, rasterColumns] = [raster(grid.latitude), raster(grid.longitude)];

/** Land and coast as paths in a square of 1000. */
function outlines() {
  const x = grid.longitude.map((longitude) => Number((1000 * right(longitude)).toFixed(2)));
  const y = grid.latitude.map((latitude) => Number((1000 * down(latitude)).toFixed(2)));
  const isSea = (row, column) => sea[row * grid.width + column];
  let [land, coast] = ["", ""];
  for (let row = 0; row < grid.height; row++) {
    for (let column = 0, start = 0; column < grid.width; column = start) {
      for (start = column; start < grid.width && isSea(row, start) === isSea(row, column); start++);
      if (!isSea(row, column)) land += `M${x[column]} ${y[row]}H${x[start]}V${y[row + 1]}H${x[column]}z`;
      if (start < grid.width) coast += `M${x[start]} ${y[row]}V${y[row + 1]}`;
    }
    for (let column = 0; row > 0 && column < grid.width; column++) {
      if (isSea(row, column) !== isSea(row - 1, column)) coast += `M${x[column]} ${y[row]}H${x[column + 1]}`;
    }
  }
  return { land, coast };
}
const { land, coast } = outlines();

function palette(colours) {
  return Uint8Array.from(colours.match(/../g), (part) => parseInt(part, 16));
}

/** Where a value lies on a scale, from 0 to 1. */
function fraction({ low, high, logarithmic }, value) {
  const place = logarithmic ? Math.log : (v) => v;
  const at = (place(value) - place(low)) / (place(high) - place(low));
  return Math.min(1, Math.max(0, at));
}

function colourBar(scale, extraClass) {
  const colour = (f) => `#${scale.colours.substr(6 * Math.round(255 * f), 6)}`;
  const stops = Array.from({ length: 33 }, (_, i) => colour(i / 32));
  const ends = ["low", "high"].map((_, i) => element("i", { style: `background:${colour(i)}` }));
  // Values go beyond the ends, but not below zero.
  if (scale.low === 0) ends[0].hidden = true;
  const bar = element("b", { style: `background:linear-gradient(to right,${stops})` });
  const ticks = ticksOf(scale.low, scale.high, scale.logarithmic, 5);
  // Labels that would touch are left out.
  const apart = (t, i) => i === 0 || fraction(scale, t) - fraction(scale, ticks[i - 1]) > 0.1;
  const labels = ticks.filter(apart).map((t) => element("span", { style: `left:${100 * fraction(scale, t)}%` }, number(t)));
  return element("div", { class: extraClass, "aria-hidden": "true" },
    element("div", { class: "bar-line" }, ends[0], bar, ends[1]),
    element("div", { class: "bar-ticks" }, ...labels), element("p", {}, scale.label.replace(quantity.units, unbroken)));
}

/** A map with its title; `draw` takes a field and the place of its first value. */
function mapFigure(title, scale, { axes = true, bar = true, filledOnly = false } = {}) {
  const canvas = element("canvas", { width: rasterColumns.length, height: rasterRows.length, role: "img" });
  const overlay = svg("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg("path", { class: "land-path", d: land }, overlay);
  svg("path", { class: "coast-path", d: coast }, overlay);
  const map = element("div", { class: filledOnly ? "map filled-only" : "map", style: `aspect-ratio:${aspect}` }, canvas, overlay);
  const plate = element("div", { class: "plate" }, map);
  const caption = element("figcaption", {}, title);
  const figure = element("figure", {}, caption, plate);
  if (axes) {
    for (const t of linearTicks(south, north, aspect > 3 ? 2 : aspect > 1.5 ? 3 : 5)) {
      plate.append(element("span", { class: "tick north", style: `top:${100 * down(t)}%` }, degrees(t, "S", "N")));
    }
    for (const t of linearTicks(west, east, aspect > 0.8 ? 4 : 2)) {
      plate.append(element("span", { class: "tick east", style: `left:${100 * right(t)}%` }, degrees(t, "W", "E")));
    }
  }
  if (bar) figure.append(colourBar(scale, "scale"));
  const colours = palette(scale.colours);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const draw = (field, start) => {
    let to = 0;
    for (const row of rasterRows) {
      for (const column of rasterColumns) {
        const node = nodeOf[row * grid.width + column];
        const value = node < 0 ? NaN : field[start + node];
        const shown = !Number.isNaN(value);
        if (shown) {
          const from = 3 * Math.round(255 * fraction(scale, value));
          for (let part = 0; part < 3; part++) image.data[to + part] = colours[from + part];
        }
        image.data[to + 3] = shown ? 255 : 0;
        to += 4;
      }
    }
    context.putImageData(image, 0, 0);
  };
  return { figure, caption, map, canvas, draw };
}

const panels = [
  { field: "seen", title: () => "Observed", scale: scales.value },
  { field: "value", title: (view) => capital(view.estimateName), scale: scales.value },
  { field: "truth", title: () => "Truth", scale: scales.value },
  { field: "error", title: () => "Error", scale: scales.error, filledOnly: true },
  { field: "spread", title: () => "Spread", scale: scales.spread, filledOnly: true },
  { field: "deviation", title: () => "Spread of the forecast", scale: scales.deviation, filledOnly: true },
  { field: "width", title: () => "Width of the interval", scale: scales.width, filledOnly: true },
].filter((panel) => panel.scale && (panel.field !== "truth" || report.views.some((view) => view.truth)));

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const readout = element("dl");

function makePanels() {
  const place = byId("panels");
  place.style.setProperty("--columns", aspect > 2.6 ? 2 : 3);
  for (const panel of panels) {
    Object.assign(panel, mapFigure("", panel.scale, panel));
    panel.ring = element("div", { class: "ring" });
    panel.map.append(panel.ring);
    panel.map.tabIndex = 0;
    panel.map.setAttribute("role", "group");
    panel.map.dataset.field = panel.field;
    panel.map.addEventListener("click", (event) => choose(nodeAt(panel.map, event)));
    panel.map.addEventListener("pointermove", (event) => hover(panel, event));
    panel.map.addEventListener("keydown", move);
    place.append(panel.figure);
  }
  place.append(element("div", { class: "readout" }, element("strong", { id: "readout-place" }), readout));
  byId("legend-seen").hidden = !panels.some((panel) => panel.filledOnly);
  byId("legend-seen").append(scales.error ? "observed, or no truth to compare with" : "observed, nothing to fill");
}

/** The node under the pointer, or -1. */
function nodeAt(map, event) {
  const box = map.getBoundingClientRect();
  const at = (edges, f) => {
    const place = edges[0] + f * (edges[edges.length - 1] - edges[0]);
    const beyond = edges.findIndex((edge) => (edges[0] < edges[1] ? edge > place : edge < place));
    return beyond < 1 ? (f < 0.5 ? 0 : edges.length - 2) : beyond - 1;
  };
  const row = at(grid.latitude, (event.clientY - box.top) / box.height);
  const column = at(grid.longitude, (event.clientX - box.left) / box.width);
  return nodeOf[row * grid.width + column];
}

function hover(panel, event) {
  const node = nodeAt(panel.map, event);
  const value = node < 0 ? NaN : unpacked(state.view)[panel.field]?.[state.frame * nodes + node];
  const units = ["error", "deviation"].includes(panel.field) && quantity.logarithmic ? number(value) : withUnits(value);
  panel.map.title = node < 0 ? "land" : `${placeText(node)}: ${Number.isFinite(value) ? units : "no value"}`;
}

/** Arrow keys on a map go to the next sea pixel in their direction. */
function move(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  let row = Math.floor(pixelOf[state.node] / grid.width) + step[0];
  let column = (pixelOf[state.node] % grid.width) + step[1];
  for (; row >= 0 && row < grid.height && column >= 0 && column < grid.width; row += step[0], column += step[1]) {
    if (sea[row * grid.width + column]) return choose(nodeOf[row * grid.width + column]);
  }
}
