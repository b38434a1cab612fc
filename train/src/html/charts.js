// Charts: the series of a pixel and the loss.

function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((f) => f * power >= rough * (1 - 1e-9));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + 1e-6 * step; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** As many of 1, 2, 5 times the powers of ten as `count` allows; linear ticks where even those are too few. */
function logarithmicTicks(low, high, count) {
  const powers = [];
  for (let n = Math.floor(Math.log10(low)); n <= Math.log10(high); n++) powers.push(n);
  const within = (t) => t >= low * (1 - 1e-9) && t <= high * (1 + 1e-9);
  const times = (steps) => powers.flatMap((n) => steps.map((s) => Number((s * 10 ** n).toPrecision(3)))).filter(within);
  const ticks = [[1, 2, 5], [1, 3], [1]].map(times);
  const chosen = ticks.find((found) => found.length <= count + 1) ?? ticks[2].filter((_, i, all) => i % Math.ceil(all.length / count) === 0);
  return chosen.length >= 2 ? chosen : linearTicks(low, high, count);
}

const ticksOf = (low, high, logarithmic, count) => (logarithmic ? logarithmicTicks : linearTicks)(low, high, count);

/** The first frames of years, months, days or hours, as [frame, label]: as many as fit into `width` pixels. */
function dateTicks(dates, width) {
  const year = ([y]) => `${y}`;
  const month = ([y, m], before) => (m === 1 || !before ? `${MONTHS[m - 1]} ${y}` : MONTHS[m - 1]);
  const day = ([y, m, d], before) => `${d} ${MONTHS[m - 1]}${before ? "" : ` ${y}`}`;
  const hour = (date, before) => (before && String(before.slice(0, 3)) === String(date.slice(0, 3)) ? `${two(date[3])}:00` : day(date, before));
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
    // Periods that hold one frame here and two there would make uneven ticks.
    const even = frames.length + 1 >= dates.length || 2 * frames.length <= dates.length;
    if (even && frames.length * (label === year ? 48 : 74) <= width) return frames.map((frame, i) => [frame, label(dates[frame], dates[frames[i - 1]])]);
  }
  return [];
}

/** Axes in an svg of the width of `place`; returns it with the functions that place values. */
function axes(place, { height, x, y, xTicks, label, xLabel, logarithmic }) {
  const width = Math.max(280, place.clientWidth || 1000);
  const count = height < 260 ? 4 : 6;
  const yTicks = ticksOf(y[0], y[1], logarithmic, count);
  const left = 12 + 7.2 * Math.max(...yTicks.map((t) => number(t).length), 2);
  const box = { left, right: width - 14, top: 30, bottom: height - (xLabel ? 46 : 28) };
  const on = logarithmic ? Math.log : (v) => v;
  const across = (v) => box.left + ((v - x[0]) / (x[1] - x[0] || 1)) * (box.right - box.left);
  const up = (v) => box.bottom - ((on(v) - on(y[0])) / (on(y[1]) - on(y[0]))) * (box.bottom - box.top);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const back = svg("g", {}, root);
  for (const t of yTicks) {
    svg("line", { class: "grid", x1: box.left, x2: box.right, y1: up(t), y2: up(t) }, root);
    svg("text", { x: box.left - 7, y: up(t) + 4, "text-anchor": "end" }, root, number(t));
  }
  for (const [value, text] of xTicks(box.right - box.left)) {
    svg("line", { class: "grid", x1: across(value), x2: across(value), y1: box.top, y2: box.bottom }, root);
    svg("line", { class: "axis", x1: across(value), x2: across(value), y1: box.bottom, y2: box.bottom + 5 }, root);
    svg("text", { x: across(value), y: box.bottom + 19, "text-anchor": "middle" }, root, text);
  }
  svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }, root);
  if (xLabel) svg("text", { x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, root, xLabel);
  svg("text", { x: 0, y: 13 }, root, label);
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
    xTicks: (room) => dateTicks(view.dates, room).map(([frame, text]) => [times[frame], text]),
  });
  const points = (values) => values.map((v, i) => [across(times[i]), up(v)]);
  if (view.forecast !== null && view.forecast < times.length) {
    const from = across(times[view.forecast]);
    svg("rect", { class: "forecast", x: from, y: box.top, width: box.right - from, height: box.bottom - box.top }, back);
    svg("text", { x: from + 6, y: box.top + 14 }, root, "forecast");
  }
  if (low) svg("path", { class: "band", d: band(low.map((v, i) => [across(times[i]), up(v), up(high[i])])) }, root);
  svg("path", { class: "line", d: path(points(estimate)) }, root);
  const radius = Math.min(3.4, Math.max(2, (0.4 * (box.right - box.left)) / times.length));
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
  const keys = [["dot", "observed"], ["line", view.estimateName], low && ["band", view.intervalName], truth && ["circle", "hidden truth"]];
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
  const curves = report.loss.filter(({ points }) => points.length > 1);
  byId("training").hidden = !curves.length;
  byId("legend-validation").hidden = !curves.some(({ validation }) => validation.length);
  const figures = curves.map(({ name }) =>
    element("figure", {}, ...(curves.length > 1 ? [element("figcaption", {}, name)] : []), element("div", { class: "chart" })));
  byId("loss").replaceChildren(...figures);
  curves.forEach((curve, i) => drawCurve(figures[i].lastChild, curve));
}

/** The loss of one training, with its validation where there is one. */
function drawCurve(place, { name, points, validation }) {
  const steps = [points[0][0], Math.max(points.at(-1)[0], validation.at(-1)?.[0] ?? 0)];
  const { root, across, up } = axes(place, {
    height: 260, x: steps, y: padded([...points.flatMap(([, , low, high]) => [low, high]), ...validation.map(([, v]) => v)], true),
    logarithmic: true, label: "mean square error", xLabel: "step",
    xTicks: (room) => linearTicks(steps[0], steps[1], Math.max(2, Math.floor(room / 74))).map((t) => [t, String(t)]),
  });
  svg("path", { class: "band", d: band(points.map(([step, , low, high]) => [across(step), up(low), up(high)])) }, root);
  svg("path", { class: "step", d: path(points.map(([step, mean]) => [across(step), up(mean)])) }, root);
  // A running mean over a tenth of the curve.
  const width = Math.max(1, Math.floor(points.length / 20));
  const mean = points.map((_, i) => {
    const near = points.slice(Math.max(0, i - width), i + width + 1);
    return near.reduce((sum, p) => sum + p[1], 0) / near.length;
  });
  svg("path", { class: "line", d: path(points.map(([step], i) => [across(step), up(mean[i])])) }, root);
  svg("path", { class: "validation", d: path(validation.map(([step, v]) => [across(step), up(v)])) }, root);
  root.setAttribute("aria-label", `Loss of the ${name} from ${number(mean[0])} at step ${steps[0]} to ${number(mean.at(-1))} at step ${steps[1]}`);
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
