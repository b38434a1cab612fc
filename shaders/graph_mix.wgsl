// graph_mix: z[b, n] = r h[b, first + n] + (sum_j a_nj h[b, j]) W_n, W_n = sum_k e[n, k] P[k], and the mean and the
// reciprocal standard deviation of z over all nodes and the channels of a group.
//
// shapes   h [b, inputs, t, c], a graph of compressed sparse rows, e [n, k], P [k, c, c], z [b, n, t, c],
//          stats [b, t, g, 2], scratch: W [n, 4q, 4q] with q = c / 4 rounded up, and the moments of every workgroup; c <= 512
// launch   weights: 128 invocations for 128 vec4s of W of 8 nodes; main: a workgroup of 128 for 4 * (128 / q) rows
//          (sample and frame) of a run of nodes; stats: a workgroup of 64 for a row and group
// shared   16 KiB: neighbour sums of all rows, and W_n or what fits of it
// plan     a workgroup keeps its rows and walks over nodes. Every invocation gathers one vec4 of four rows, coalesced
//          along channels and frames, over two neighbours at a time: eight loads are under way. The sums go to shared memory,
//          where an invocation takes four rows times one vec4 of columns: 8 shared loads for 64 multiply-adds. Columns
//          of the shared rows are swizzled, so that neighbouring slots lie in different banks. From five tiles on W comes
//          from scratch memory: made once it costs c / (b t) of the bytes of h, made by every workgroup a sixth of all
//          multiply-adds. Moments about the value at the run's first node stay in registers; stats merges those of the
//          runs (Chan et al. 1983) in a fixed order, no atomics.
// bound    c = 32: memory, 8 c bytes a token and 9 loads from the cache, 60 % of the copy bandwidth expected; c = 64:
//          multiply-adds, 40 % of the peak expected; not measured on a GPU

struct Parameters {
    batch: u32,
    frames: u32,
    nodes: u32,
    inputs: u32,
    first: u32,
    channels: u32,
    prototypes: u32,
    groups: u32,
    residual: u32,
    edges: u32,
    eps: f32,
    h: u32,
    offsets: u32,
    neighbours: u32,
    values: u32,
    e: u32,
    pool: u32,
    z: u32,
    stats: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> h: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> neighbours: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;
@group(0) @binding(4) var<storage, read_write> e: array<f32>;
@group(0) @binding(5) var<storage, read_write> pool: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> z: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> z_each: array<f32>;
@group(0) @binding(7) var<storage, read_write> stats: array<f32>;
@group(0) @binding(8) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> scratch_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;
const LANES = 128u;
// Where the shared rows of W begin.
const SHARED_W = 512u;

// Neighbour sums [4 * (128 / q), q] and rows of W [4 * (128 / q), q].
var<workgroup> tile: array<vec4<f32>, 1024>;
// Moments of a row and group: count, mean, squares about the mean.
var<workgroup> moments: array<vec3<f32>, 64>;

// W of eight nodes: an invocation has the same vec4 of each.
@compute @workgroup_size(128)
fn graph_mix_weights(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * LANES + lane;
    let quads = (p.channels + 3u) / 4u;
    let square = 4u * quads * quads;
    let quad = i % square;
    let node = i / square * 8u;
    if node >= p.nodes {
        return;
    }
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var k = 0u; k < p.prototypes; k++) {
        let prototype = pool_quad(k, quad);
        low[0] = fma(vec4(embedding(node, k)), prototype, low[0]);
        low[1] = fma(vec4(embedding(node + 1u, k)), prototype, low[1]);
        low[2] = fma(vec4(embedding(node + 2u, k)), prototype, low[2]);
        low[3] = fma(vec4(embedding(node + 3u, k)), prototype, low[3]);
        high[0] = fma(vec4(embedding(node + 4u, k)), prototype, high[0]);
        high[1] = fma(vec4(embedding(node + 5u, k)), prototype, high[1]);
        high[2] = fma(vec4(embedding(node + 6u, k)), prototype, high[2]);
        high[3] = fma(vec4(embedding(node + 7u, k)), prototype, high[3]);
    }
    store_weights(node, quad, low[0]);
    store_weights(node + 1u, quad, low[1]);
    store_weights(node + 2u, quad, low[2]);
    store_weights(node + 3u, quad, low[3]);
    store_weights(node + 4u, quad, high[0]);
    store_weights(node + 5u, quad, high[1]);
    store_weights(node + 6u, quad, high[2]);
    store_weights(node + 7u, quad, high[3]);
}

// Vec4 i of prototype k, whose rows and columns are filled up with zeros to multiples of four.
fn pool_quad(k: u32, i: u32) -> vec4<f32> {
    let start = p.pool + k * p.channels * p.channels;
    if p.channels % 4u == 0u {
        return pool[start / 4u + i];
    }
    let quads = (p.channels + 3u) / 4u;
    var four = vec4(0.0);
    if i / quads < p.channels {
        for (var column = i % quads * 4u; column < min(p.channels, i % quads * 4u + 4u); column++) {
            let at = start + i / quads * p.channels + column;
            four[column % 4u] = pool[at / 4u][at % 4u];
        }
    }
    return four;
}

// What an invocation has to do: four rows by one vec4 of columns, in a run of nodes.
struct Work {
    part: u32,
    // Its nodes.
    start: u32,
    end: u32,
    // Vec4s of the channels.
    quads: u32,
    // Rows between two of the invocation's four, the first one in the workgroup, and its vec4 of columns.
    slots: u32,
    slot: u32,
    column: u32,
    // The four rows, past the last one clamped.
    rows: vec4<u32>,
    inside: vec4<bool>,
    // Whether the channels are a multiple of four: a constant of the entry point.
    whole: bool,
}

// Tiles of 4 * (128 / q) rows.
fn tiles() -> u32 {
    let slots = LANES / ((p.channels + 3u) / 4u);
    return (p.batch * p.frames + 4u * slots - 1u) / (4u * slots);
}

// Whether W is made once for all workgroups; for few tiles it would take as much memory as h.
fn prepared() -> bool {
    return tiles() > 4u;
}

fn work_of(index: u32, lane: u32, whole: bool) -> Work {
    let all = p.batch * p.frames;
    let quads = (p.channels + 3u) / 4u;
    let slots = LANES / quads;
    let tiles = tiles();
    let part = index / tiles;
    let run = (p.nodes + p.parts - 1u) / p.parts;
    let slot = lane / quads;
    let rows = index % tiles * 4u * slots + slot + vec4(0u, 1u, 2u, 3u) * slots;
    let inside = rows < vec4(select(0u, all, slot < slots));
    let end = min(part * run + run, p.nodes);
    return Work(part, part * run, end, quads, slots, slot, lane % quads, min(rows, vec4(all - 1u)), inside, whole);
}

// Where rows (sample and frame) of a node begin among the windows of `nodes` nodes.
fn window(row: vec4<u32>, node: u32, nodes: u32) -> vec4<u32> {
    return ((row / p.frames * nodes + node) * p.frames + row % p.frames) * p.channels;
}

// Channels a multiple of four.
@compute @workgroup_size(128)
fn graph_mix(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let work = work_of(group.y * grid.x + group.x, lane, true);
    if work.part >= p.parts {
        return;
    }
    let origin = p.h + window(work.rows, 0u, p.inputs);
    let to = (p.z + window(work.rows, 0u, p.nodes)) / 4u + work.column;
    var seen: Moments;
    for (var node = work.start; node < work.end; node++) {
        let value = mixed(work, node, origin, lane);
        let at = to + node * p.frames * work.quads;
        if work.inside.x {
            z[at.x] = value[0];
        }
        if work.inside.y {
            z[at.y] = value[1];
        }
        if work.inside.z {
            z[at.z] = value[2];
        }
        if work.inside.w {
            z[at.w] = value[3];
        }
        seen = taken(seen, value, node == work.start);
    }
    leave(work, group.y * grid.x + group.x, lane, seen);
}

// Any channels.
@compute @workgroup_size(128)
fn graph_mix_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let work = work_of(group.y * grid.x + group.x, lane, false);
    if work.part >= p.parts {
        return;
    }
    let origin = p.h + window(work.rows, 0u, p.inputs);
    var seen: Moments;
    for (var node = work.start; node < work.end; node++) {
        let value = mixed(work, node, origin, lane);
        let at = p.z + window(work.rows, node, p.nodes) + 4u * work.column;
        for (var m = 0u; m < 4u; m++) {
            for (var k = 0u; k < min(p.channels - 4u * work.column, 4u) && work.inside[m]; k++) {
                z_each[at[m] + k] = value[m][k];
            }
        }
        seen = taken(seen, value, node == work.start);
    }
    leave(work, group.y * grid.x + group.x, lane, seen);
}

// z of a node; `origin` is where the rows of h's first node begin.
fn mixed(work: Work, node: u32, origin: vec4<u32>, lane: u32) -> mat4x4<f32> {
    let sums = gathered(p.first + node, origin, work.column, work.whole);
    var acc = mat4x4<f32>();
    if p.residual != 0u {
        acc = h_quads(origin + (p.first + node) * p.frames * p.channels, work.column, work.whole);
    }
    // So many rows of W, in fours, fit at a time.
    let width = min(work.quads, LANES / work.quads);
    for (var block = 0u; block < work.quads; block += width) {
        let count = min(work.quads - block, width);
        let w = weights(node, block, count, lane);
        workgroupBarrier();
        if block == 0u && work.slot < work.slots {
            share(work, sums);
        }
        share_weights(lane, w);
        workgroupBarrier();
        acc = multiplied(work, block, count, acc);
    }
    return acc;
}

// Sums over the neighbours of a node of h, one vec4 of columns in four rows; `origin` is where those of h's first node begin.
fn gathered(node: u32, origin: vec4<u32>, column: u32, whole: bool) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    let end = offsets[p.offsets + node + 1u];
    for (var i = offsets[p.offsets + node]; i < end; i += 2u) {
        // Two neighbours at a time, so that eight loads are under way; after an odd last one comes itself times 0.
        let next = min(i + 1u, end - 1u);
        let a = h_quads(origin + neighbours[p.neighbours + i] * p.frames * p.channels, column, whole);
        let b = h_quads(origin + neighbours[p.neighbours + next] * p.frames * p.channels, column, whole);
        var weights = vec2(1.0, select(0.0, 1.0, next > i));
        if p.values != ABSENT {
            weights *= vec2(values[p.values + i], values[p.values + next]);
        }
        sums[0] = fma(vec4(weights.y), b[0], fma(vec4(weights.x), a[0], sums[0]));
        sums[1] = fma(vec4(weights.y), b[1], fma(vec4(weights.x), a[1], sums[1]));
        sums[2] = fma(vec4(weights.y), b[2], fma(vec4(weights.x), a[2], sums[2]));
        sums[3] = fma(vec4(weights.y), b[3], fma(vec4(weights.x), a[3], sums[3]));
    }
    return sums;
}

// An invocation's vec4s of `count` fours of rows of W_n.
fn weights(node: u32, block: u32, count: u32, lane: u32) -> mat4x4<f32> {
    let quads = (p.channels + 3u) / 4u;
    let last = 4u * count * quads - 1u;
    let start = block * 4u * quads;
    if !prepared() {
        return made(node, start, last, lane);
    }
    let from_node = p.scratch / 4u + node * 4u * quads * quads + start;
    var w = mat4x4<f32>();
    w[0] = scratch[from_node + min(lane, last)];
    if last >= LANES {
        w[1] = scratch[from_node + min(LANES + lane, last)];
    }
    if last >= 2u * LANES {
        w[2] = scratch[from_node + min(2u * LANES + lane, last)];
        w[3] = scratch[from_node + min(3u * LANES + lane, last)];
    }
    return w;
}

// The same from the prototypes.
fn made(node: u32, start: u32, last: u32, lane: u32) -> mat4x4<f32> {
    var w = mat4x4<f32>();
    for (var k = 0u; k < p.prototypes; k++) {
        let weight = vec4(embedding(node, k));
        w[0] = fma(weight, pool_quad(k, start + min(lane, last)), w[0]);
        if last >= LANES {
            w[1] = fma(weight, pool_quad(k, start + min(LANES + lane, last)), w[1]);
        }
        if last >= 2u * LANES {
            w[2] = fma(weight, pool_quad(k, start + min(2u * LANES + lane, last)), w[2]);
            w[3] = fma(weight, pool_quad(k, start + min(3u * LANES + lane, last)), w[3]);
        }
    }
    return w;
}

fn share_weights(lane: u32, w: mat4x4<f32>) {
    tile[SHARED_W + lane] = w[0];
    tile[SHARED_W + LANES + lane] = w[1];
    tile[SHARED_W + 2u * LANES + lane] = w[2];
    tile[SHARED_W + 3u * LANES + lane] = w[3];
}

// Shares a vec4 of columns of four rows.
fn share(work: Work, value: mat4x4<f32>) {
    let at = place(work.quads, work.slot, work.column);
    let stride = work.slots * work.quads;
    tile[at] = value[0];
    tile[at + stride] = value[1];
    tile[at + 2u * stride] = value[2];
    tile[at + 3u * stride] = value[3];
}

// acc + `count` fours of columns of the shared rows times the shared rows of W.
fn multiplied(work: Work, block: u32, count: u32, acc: mat4x4<f32>) -> mat4x4<f32> {
    let stride = work.slots * work.quads;
    var sum = acc;
    for (var i = 0u; i < count; i++) {
        let from_x = place(work.quads, work.slot, block + i);
        let x0 = tile[from_x];
        let x1 = tile[from_x + stride];
        let x2 = tile[from_x + 2u * stride];
        let x3 = tile[from_x + 3u * stride];
        let at = SHARED_W + 4u * i * work.quads + work.column;
        let w = mat4x4(tile[at], tile[at + work.quads], tile[at + 2u * work.quads], tile[at + 3u * work.quads]);
        sum[0] = row_times(x0, w, sum[0]);
        sum[1] = row_times(x1, w, sum[1]);
        sum[2] = row_times(x2, w, sum[2]);
        sum[3] = row_times(x3, w, sum[3]);
    }
    return sum;
}
