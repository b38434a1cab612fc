"use strict";
// What the page holds in the element `data`, and how to write it. No library, no network.

const report = JSON.parse(document.getElementById("data").textContent);
const { grid, quantity, scales } = report;
const byId = (id) => document.getElementById(id);

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
  const [truth, spread, deviation] = [hidden(view.truth, seen), hidden(view.spread, nothing), hidden(view.deviation, nothing)];
  const [low, high] = [hidden(view.low, seen), hidden(view.high, seen)];
  const place = quantity.logarithmic ? Math.log10 : (v) => v;
  const error = truth && Float32Array.from(truth, (t, i) => (observed[i] ? NaN : place(value[i]) - place(t)));
  const width = low && view.forecast !== null && Float32Array.from(low, (l, i) => (observed[i] ? NaN : high[i] - l));
  const seenOnly = Float32Array.from(value, (v, i) => (observed[i] ? v : NaN));
  view.fields = { seen: seenOnly, observed, value, truth, error, spread, deviation, width, low, high };
  return view.fields;
}

/** The first frame of a forecast; elsewhere the frame whose share of gaps is nearest to that of all frames, of those in which there is something to tell of the
 * chosen pixel. */
function typicalFrame(view) {
  if (view.forecast !== null) return Math.min(view.forecast, view.dates.length - 1);
  const { observed, error, spread } = unpacked(view);
  const told = error ?? spread;
  const seen = view.dates.map((_, frame) => observed.subarray(frame * nodes, (frame + 1) * nodes).reduce((sum, is) => sum + is, 0));
  const mean = seen.reduce((sum, count) => sum + count, 0) / seen.length;
  const distance = seen.map((count, frame) => Math.abs(count - mean) + (Number.isFinite(told?.[frame * nodes + state.node]) ? 0 : nodes));
  return distance.reduce((best, d, frame) => (d < distance[best] ? frame : best), 0);
}

const state = { view: report.views[0], frame: 0, node: report.pixels[0]?.node ?? 0 };

// ---- Words

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (n) => String(n).padStart(2, "0");

/** A date as far as it tells frames apart: the month, the day or the minute. */
function dateText(view, frame) {
  const unique = (parts) => new Set(view.dates.map((date) => String(date.slice(0, parts)))).size === view.dates.length;
  view.parts ??= [2, 3].find(unique) ?? 5;
  const [year, month, day, hour, minute] = view.dates[frame];
  const text = `${MONTHS[month - 1]} ${year}`;
  return view.parts === 2 ? text : view.parts === 3 ? `${day} ${text}` : `${day} ${text} ${two(hour)}:${two(minute)}`;
}

/** A number in four digits. */
function number(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const far = size !== 0 && (size < 1e-3 || size >= 1e6);
  const text = far ? power(value) : String(Number(value.toPrecision(size >= 1000 ? 6 : 4)));
  return text.replace("-", "−");
}

/** As 2.5·10⁻⁴. */
function power(value) {
  const [mantissa, exponent] = value.toExponential(2).split("e");
  const raised = [...String(Number(exponent))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
  return Number(mantissa) === 1 ? `10${raised}` : `${Number(mantissa)}·10${raised}`;
}

const unbroken = (text) => text.replaceAll(" ", "\u00a0");
const withUnits = (value) => (Number.isFinite(value) ? `${number(value)} ${unbroken(quantity.units)}`.trim() : "–");

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
