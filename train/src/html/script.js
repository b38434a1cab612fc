// What the reader chooses.

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
  const scored = (value) => (quantity.logarithmic ? `${number(value)} in log₁₀` : withUnits(value));
  if (!seen && fields.error) rows.push(["Error", scored(at(fields.error))]);
  if (!seen && fields.spread) rows.push(["Spread", withUnits(at(fields.spread))]);
  if (!seen && fields.deviation) rows.push(["Spread", scored(at(fields.deviation))]);
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
  // Windows of other dates have other frames.
  const kept = String(view.dates) === String(state.view.dates) ? state.frame : typicalFrame(view);
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
state.frame = typicalFrame(state.view);
look(state.view);
