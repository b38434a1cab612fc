"use strict";
// Draws what the page holds in the element `data`. No library, no network.

const report = JSON.parse(document.getElementById("data").textContent);
const { grid, quantity, scales } = report;
const byId = (id) => document.getElementById(id);

// ---- What the data hold

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function bits(text, count) {
  const packed = bytes(text);
  return Uint8Array.from({ length: count }, (_, i) => (packed[i >> 3] >> (i & 7)) & 1);
}

/** The values of a layer, NaN where missing. */
function decoded({ low, high, logarithmic, codes }) {
  const step = (high - low) / 65534;
  return Float32Array.from(new Uint16Array(bytes(codes).buffer), (code) => {
    const place = low + code * step;
    return code === 65535 ? NaN : logarithmic ? Math.exp(place) : place;
  });
}

const sea = bits(grid.sea, grid.height * grid.width);
/** Pixel of every node, and node of every pixel or -1. */
const pixelOf = [];
const nodeOf = new Int32Array(sea.length).fill(-1);
sea.forEach((is, pixel) => { if (is) nodeOf[pixel] = pixelOf.push(pixel) - 1; });
const nodes = pixelOf.length;

/** A view with its fields as arrays [frames * nodes]; made when it is first shown. */
function unpacked(view) {
  if (view.fields) return view.fields;
  const cells = view.dates.length * nodes;
  const observed = bits(view.observed, cells);
  const value = decoded(view.value);
  /** A field that is stored only where nothing was observed. */
  const hidden = (layer, elsewhere) => {
    if (!layer) return null;
    const stored = decoded(layer);
    let next = 0;
    return Float32Array.from({ length: cells }, (_, i) => (observed[i] ? elsewhere(i) : stored[next++]));
  };
  const seen = (i) => value[i];
  const nothing = () => NaN;
  const [truth, spread] = [hidden(view.truth, seen), hidden(view.spread, nothing)];
  const [low, high] = [hidden(view.low, seen), hidden(view.high, seen)];
  const place = quantity.logarithmic ? Math.log10 : (v) => v;
  const error = truth && Float32Array.from(truth, (t, i) => (observed[i] ? NaN : place(value[i]) - place(t)));
  const seenOnly = Float32Array.from(value, (v, i) => (observed[i] ? v : NaN));
  view.fields = { seen: seenOnly, observed, value, truth, error, spread, low, high };
  return view.fields;
}

const state = { view: report.views[0], frame: 0, node: report.pixels[0]?.node ?? 0 };

// ---- Words

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (n) => String(n).padStart(2, "0");

/** Dates as far as they tell frames apart: months, days or hours. */
function dateText(view, frame) {
  const [year, month, day, hour, minute] = view.dates[frame];
  view.daily ??= view.dates.some((date) => date[2] !== view.dates[0][2]);
  view.hourly ??= view.dates.some((date) => date[3] !== view.dates[0][3] || date[4] !== view.dates[0][4]);
  if (view.hourly) return `${day} ${MONTHS[month - 1]} ${year} ${two(hour)}:${two(minute)}`;
  return view.daily ? `${day} ${MONTHS[month - 1]} ${year}` : `${MONTHS[month - 1]} ${year}`;
}

/** A number in four digits. */
function number(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const far = size !== 0 && (size < 1e-3 || size >= 1e6);
  const text = far ? value.toExponential(2) : String(Number(value.toPrecision(size >= 1000 ? 6 : 4)));
  return text.replace("-", "−");
}

const withUnits = (value) => (Number.isFinite(value) ? `${number(value)} ${quantity.units}`.trim() : "–");

function degrees(value, negative, positive, digits) {
  const turned = ((((value + 180) % 360) + 360) % 360) - 180;
  const size = Math.abs(turned);
  const side = size < 1e-9 || size > 180 - 1e-9 ? "" : turned < 0 ? negative : positive;
  return `${digits === undefined ? Number(size.toFixed(6)) : size.toFixed(digits)}°${side}`;
}

const middle = (edges, i) => (edges[i] + edges[i + 1]) / 2;

function placeText(node) {
  const pixel = pixelOf[node];
  const latitude = middle(grid.latitude, Math.floor(pixel / grid.width));
  const longitude = middle(grid.longitude, pixel % grid.width);
  return `${degrees(latitude, "S", "N", 2)} ${degrees(longitude, "W", "E", 2)}`;
}

// ---- Ticks

function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((f) => f * power >= rough * (1 - 1e-9));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + 1e-6 * step; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function logarithmicTicks(low, high, count) {
  const decades = Math.log10(high / low);
  const steps = 3 * decades <= count ? [1, 2, 5] : 2 * decades <= count ? [1, 3] : [1];
  const ticks = [];
  for (let n = Math.floor(Math.log10(low)); n <= Math.log10(high); n++) {
    for (const s of steps) ticks.push(Number((s * 10 ** n).toPrecision(3)));
  }
  const within = ticks.filter((t) => t >= low * (1 - 1e-9) && t <= high * (1 + 1e-9));
  return within.length >= 3 ? within : linearTicks(low, high, count);
}

const ticksOf = (low, high, logarithmic, count) => (logarithmic ? logarithmicTicks : linearTicks)(low, high, count);

/** The first frames of years, months, days or hours: at most `count`, as [frame, label]. */
function dateTicks(dates, count) {
  const year = ([y]) => `${y}`;
  const month = ([y, m], first) => (m === 1 || first ? `${MONTHS[m - 1]} ${y}` : MONTHS[m - 1]);
  const day = ([, m, d]) => `${d} ${MONTHS[m - 1]}`;
  const hour = ([, m, d, h], first) => (h === 0 || first ? `${d} ${MONTHS[m - 1]}` : `${two(h)}:00`);
  const kinds = [
    ...[1, 3, 6, 12].map((n) => [([y, m, d, h]) => [y, m, d, Math.floor(h / n)], ([, , , h]) => h % n === 0, hour]),
    ...[1, 2, 5, 10].map((n) => [
      ([y, m, d]) => [y, m, Math.min(Math.floor((d - 1) / n), Math.floor(30 / n) - 1)], ([, , d]) => (d - 1) % n === 0, day,
    ]),
    ...[1, 3, 6].map((n) => [([y, m]) => [y, Math.floor((m - 1) / n)], ([, m, d]) => (m - 1) % n === 0 && d <= 8, month]),
    ...[1, 2, 5, 10, 20, 50, 100].map((n) => [([y]) => [Math.floor(y / n)], ([y, m]) => y % n === 0 && m === 1, year]),
  ];
  for (const [bucket, starts, label] of kinds) {
    const first = (date, i) => (i === 0 ? starts(date) : String(bucket(date)) !== String(bucket(dates[i - 1])));
    const frames = dates.flatMap((date, i) => (first(date, i) ? [i] : []));
    if (frames.length <= count) return frames.map((frame, i) => [frame, label(dates[frame], i === 0)]);
  }
  return [];
}

// ---- Elements

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

// ---- Maps

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
  const labels = ticks.map((t) => element("span", { style: `left:${100 * fraction(scale, t)}%` }, number(t)));
  return element("div", { class: extraClass, "aria-hidden": "true" },
    element("div", { class: "bar-line" }, ends[0], bar, ends[1]),
    element("div", { class: "bar-ticks" }, ...labels), element("p", {}, scale.label));
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
  const units = panel.field === "error" && quantity.logarithmic ? number(value) : withUnits(value);
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

// ---- Charts

/** Axes in an svg of the width of `place`; returns it with the functions that place values. */
function axes(place, { height, x, y, xTicks, label, xLabel, logarithmic }) {
  const width = Math.max(280, place.clientWidth || 1000);
  const count = height < 260 ? 4 : 6;
  const yTicks = ticksOf(y[0], y[1], logarithmic, count);
  const left = 22 + 7.2 * Math.max(...yTicks.map((t) => number(t).length), 2);
  const box = { left, right: width - 14, top: 10, bottom: height - (xLabel ? 46 : 28) };
  const on = logarithmic ? Math.log : (v) => v;
  const across = (v) => box.left + ((v - x[0]) / (x[1] - x[0] || 1)) * (box.right - box.left);
  const up = (v) => box.bottom - ((on(v) - on(y[0])) / (on(y[1]) - on(y[0]))) * (box.bottom - box.top);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const back = svg("g", {}, root);
  for (const t of yTicks) {
    svg("line", { class: "grid", x1: box.left, x2: box.right, y1: up(t), y2: up(t) }, root);
    svg("text", { x: box.left - 7, y: up(t) + 4, "text-anchor": "end" }, root, number(t));
  }
  for (const [value, text] of xTicks(Math.max(2, Math.floor((box.right - box.left) / 74)))) {
    svg("line", { class: "grid", x1: across(value), x2: across(value), y1: box.top, y2: box.bottom }, root);
    svg("line", { class: "axis", x1: across(value), x2: across(value), y1: box.bottom, y2: box.bottom + 5 }, root);
    svg("text", { x: across(value), y: box.bottom + 19, "text-anchor": "middle" }, root, text);
  }
  svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }, root);
  if (xLabel) svg("text", { x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, root, xLabel);
  svg("text", { transform: `translate(12 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, root, label);
  place.replaceChildren(root);
  return { root, back, box, across, up };
}

/** A path through points; gaps where one is not finite. */
function path(points) {
  let pen = "M";
  return points.map(([px, py]) => {
    if (!Number.isFinite(py)) return ((pen = "M"), "");
    const part = `${pen}${px.toFixed(1)} ${py.toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

/** The closed area between two lines, in as many parts as gaps leave. */
function band(points) {
  const parts = [[]];
  for (const p of points) Number.isFinite(p[1]) && Number.isFinite(p[2]) ? parts.at(-1).push(p) : parts.push([]);
  const part = (run) => `${path(run)}${path(run.toReversed().map(([px, , py]) => [px, py])).replace("M", "L")}z`;
  return parts.filter((run) => run.length).map(part).join("");
}

function padded(values, logarithmic) {
  const finite = values.filter((v) => Number.isFinite(v) && (!logarithmic || v > 0));
  if (!finite.length) return [1, 2];
  const [low, high] = finite.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
  if (logarithmic) {
    const pad = (high / low) ** 0.05;
    return pad > 1.0001 ? [low / pad, high * pad] : [low / 1.5, high * 1.5];
  }
  const pad = 0.05 * (high - low) || 0.5;
  return [low - pad, high + pad];
}

/** The series of a pixel: arrays over the frames. */
function seriesAt(node) {
  const fields = unpacked(state.view);
  const along = (field) => field && state.view.dates.map((_, frame) => field[frame * nodes + node]);
  const hidden = fields.truth && state.view.dates.map((_, frame) =>
    (fields.observed[frame * nodes + node] ? NaN : fields.truth[frame * nodes + node]));
  return { observed: along(fields.seen), estimate: along(fields.value), truth: hidden, low: along(fields.low), high: along(fields.high) };
}

let placeNow = () => {};

function drawSeries() {
  const { view, node } = state;
  const { observed, estimate, truth, low, high } = seriesAt(node);
  const { logarithmic } = quantity;
  const times = view.times;
  const y = padded([observed, estimate, truth, low, high].flatMap((s) => s ?? []), logarithmic);
  const { root, back, box, across, up } = axes(byId("series"), {
    height: 320, x: [times[0], times.at(-1)], y, logarithmic, label: [quantity.name, quantity.units].filter(Boolean).join(", "),
    xTicks: (count) => dateTicks(view.dates, count).map(([frame, text]) => [times[frame], text]),
  });
  const points = (values) => values.map((v, i) => [across(times[i]), up(v)]);
  if (view.forecast !== null && view.forecast < times.length) {
    const from = across(times[view.forecast]);
    svg("rect", { class: "forecast", x: from, y: box.top, width: box.right - from, height: box.bottom - box.top }, back);
    svg("text", { x: from + 6, y: box.top + 14 }, root, "forecast");
  }
  if (low) svg("path", { class: "band", d: band(low.map((v, i) => [across(times[i]), up(v), up(high[i])])) }, root);
  svg("path", { class: "line", d: path(points(estimate)) }, root);
  const radius = Math.min(3.4, Math.max(1.4, (0.4 * (box.right - box.left)) / times.length));
  const marks = (values, name) => points(values ?? []).forEach(([cx, cy]) =>
    Number.isFinite(cy) && svg("circle", { class: name, cx: cx.toFixed(1), cy: cy.toFixed(1), r: radius }, root));
  marks(truth, "circle");
  marks(observed, "dot");
  const now = svg("line", { class: "now", y1: box.top, y2: box.bottom }, root);
  placeNow = () => {
    now.setAttribute("x1", across(times[state.frame]));
    now.setAttribute("x2", across(times[state.frame]));
  };
  placeNow();
  root.setAttribute("aria-label", `${quantity.name} at ${placeText(node)} over ${times.length} frames; the table below holds the values`);
  root.addEventListener("click", (event) => {
    const bounds = root.getBoundingClientRect();
    const at = ((event.clientX - bounds.left) / bounds.width) * root.viewBox.baseVal.width;
    const distance = (frame) => Math.abs(across(times[frame]) - at);
    show(times.reduce((best, _, frame) => (distance(frame) < distance(best) ? frame : best), 0));
  });
  const key = (name, text) => element("span", {}, element("i", { class: `swatch ${name}` }), text);
  const keys = [["dot", "observed"], ["line", view.estimateName], low && ["band", view.intervalName], truth && ["circle", "truth, hidden from the model"]];
  byId("series-legend").replaceChildren(...keys.filter(Boolean).map(([name, text]) => key(name, text)));
  drawTable();
}

function drawTable() {
  if (!byId("table").open) return;
  const { observed, estimate, truth, low, high } = seriesAt(state.node);
  const columns = [["Observed", observed], ["Estimate", estimate], ["Low", low], ["High", high], ["Truth", truth]].filter(([, s]) => s);
  const cells = (name, texts) => texts.map((text, i) => element(i ? name : "th", i ? {} : { scope: name === "th" ? "col" : "row" }, text));
  const rows = state.view.dates.map((_, i) =>
    element("tr", {}, ...cells("td", [dateText(state.view, i), ...columns.map(([, s]) => number(s[i]))])));
  const head = element("thead", {}, element("tr", {}, ...cells("th", ["Date", ...columns.map(([name]) => name)])));
  const caption = element("caption", {}, `${placeText(state.node)}, ${quantity.units}`);
  byId("table").querySelector("div").replaceChildren(element("table", {}, caption, head, element("tbody", {}, ...rows)));
}

function drawLoss() {
  const points = report.loss;
  byId("training").hidden = points.length < 2;
  if (points.length < 2) return;
  const steps = [points[0][0], points.at(-1)[0]];
  const { root, across, up } = axes(byId("loss"), {
    height: 260, x: steps, y: padded(points.flatMap(([, , low, high]) => [low, high]), true), logarithmic: true,
    label: "mean square error", xLabel: "step",
    xTicks: (count) => linearTicks(steps[0], steps[1], count).map((t) => [t, String(t)]),
  });
  svg("path", { class: "band", d: band(points.map(([step, , low, high]) => [across(step), up(low), up(high)])) }, root);
  // A running mean over a tenth of the curve.
  const width = Math.max(1, Math.floor(points.length / 20));
  const mean = points.map((_, i) => {
    const near = points.slice(Math.max(0, i - width), i + width + 1);
    return near.reduce((sum, p) => sum + p[1], 0) / near.length;
  });
  svg("path", { class: "line", d: path(points.map(([step], i) => [across(step), up(mean[i])])) }, root);
  root.setAttribute("aria-label", `Loss from ${number(mean[0])} at step ${steps[0]} to ${number(mean.at(-1))} at step ${steps[1]}`);
}

function drawEmbedding() {
  if (!report.embedding) return;
  byId("embedding").hidden = false;
  const { maps, scale } = report.embedding;
  const place = byId("prototypes");
  place.style.setProperty("--columns", 4);
  maps.forEach((layer, i) => {
    const { figure, canvas, draw } = mapFigure(`Prototype ${i + 1}`, scale, { axes: false, bar: false });
    canvas.setAttribute("aria-label", `Map of the weight of prototype ${i + 1}`);
    draw(decoded(layer), 0);
    place.append(figure);
  });
  place.after(colourBar(scale, "scale small-scale"));
}

// ---- What the reader chooses

function show(frame) {
  const { view } = state;
  state.frame = Math.min(view.dates.length - 1, Math.max(0, frame));
  const fields = unpacked(view);
  const text = dateText(view, state.frame);
  for (const panel of panels) {
    const field = fields[panel.field];
    panel.figure.hidden = !field;
    if (!field) continue;
    panel.draw(field, state.frame * nodes);
    const title = panel.title(view);
    panel.caption.textContent = title;
    panel.canvas.setAttribute("aria-label", `${title}, ${panel.scale.label}, ${text}`);
    panel.map.setAttribute("aria-label", `${title}; arrow keys move the chosen pixel`);
  }
  byId("frame").value = state.frame;
  byId("frame").setAttribute("aria-valuetext", text);
  const forecast = view.forecast !== null && state.frame >= view.forecast;
  byId("date").textContent = forecast ? `${text} · forecast` : text;
  placeNow();
  read();
}

/** The values at the chosen pixel in the present frame. */
function read() {
  const fields = unpacked(state.view);
  const at = (field) => (field ? field[state.frame * nodes + state.node] : NaN);
  const seen = fields.observed[state.frame * nodes + state.node];
  const rows = [["Observed", withUnits(at(fields.seen))]];
  if (!seen) rows.push([capital(state.view.estimateName), withUnits(at(fields.value))]);
  if (!seen && fields.low) rows.push([capital(state.view.intervalName), `${number(at(fields.low))} to ${withUnits(at(fields.high))}`]);
  if (!seen && fields.truth) rows.push(["Truth", withUnits(at(fields.truth))]);
  if (!seen && fields.error) rows.push(["Error", quantity.logarithmic ? `${number(at(fields.error))} in log₁₀` : withUnits(at(fields.error))]);
  if (!seen && fields.spread) rows.push(["Spread", withUnits(at(fields.spread))]);
  byId("readout-place").textContent = `${placeText(state.node)}, ${dateText(state.view, state.frame)}`;
  readout.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  byId("said").textContent = `${placeText(state.node)}: ${rows.map((row) => row.join(" ")).join(", ")}`;
}

function choose(node) {
  if (node < 0) return;
  state.node = node;
  const pixel = pixelOf[node];
  const left = `${100 * right(middle(grid.longitude, pixel % grid.width))}%`;
  const top = `${100 * down(middle(grid.latitude, Math.floor(pixel / grid.width)))}%`;
  for (const { ring } of panels) Object.assign(ring.style, { left, top });
  byId("where").textContent = placeText(node);
  for (const button of byId("pixels").children) button.setAttribute("aria-pressed", Number(button.dataset.node) === node);
  drawSeries();
  read();
}

function look(view) {
  const kept = Math.min(state.frame, view.dates.length - 1);
  state.view = view;
  byId("frame").max = view.dates.length - 1;
  show(kept);
  choose(state.node);
}

function play() {
  const button = byId("play");
  if (state.timer) clearInterval(state.timer);
  state.timer = state.timer ? null : setInterval(() => show((state.frame + 1) % state.view.dates.length), 350);
  button.textContent = state.timer ? "❚❚" : "▶";
  button.setAttribute("aria-label", state.timer ? "Pause" : "Play");
  button.setAttribute("aria-pressed", Boolean(state.timer));
}

function listen() {
  byId("frame").addEventListener("input", (event) => show(Number(event.target.value)));
  byId("previous").addEventListener("click", () => show(state.frame - 1));
  byId("next").addEventListener("click", () => show(state.frame + 1));
  byId("play").addEventListener("click", play);
  byId("table").addEventListener("toggle", drawTable);
  report.views.forEach((view, i) => byId("view").append(element("option", { value: i }, view.name)));
  byId("view-label").hidden = report.views.length < 2;
  byId("view").addEventListener("change", (event) => look(report.views[event.target.value]));
  for (const { node, why } of report.pixels) {
    const button = element("button", { type: "button", "data-node": node }, why);
    button.addEventListener("click", () => choose(node));
    byId("pixels").append(button);
  }
  let width = 0;
  new ResizeObserver(() => {
    if (byId("series").clientWidth === width) return;
    width = byId("series").clientWidth;
    drawSeries();
    drawLoss();
  }).observe(byId("series"));
  window.addEventListener("beforeprint", () => { byId("config").open = true; });
}

makePanels();
listen();
drawEmbedding();
drawLoss();
byId("scores").hidden = !byId("scores").querySelector("table");
byId("config").hidden = !byId("config").querySelector("pre").textContent;
look(state.view);
