// graph_mix_backward: dz = rstd (d - mean d - zhat mean(d zhat)) in place of d, u = dz W_n^T,
// dW_n = sum_b (neighbour sum of h[b, n])^T dz[b, n], de[n, k] = <P[k], dW_n>, dP[k] = sum_n e[n, k] dW_n.
//
// shapes   h, z, d, u [b, n, t, c], a graph of compressed sparse rows, e, de [n, k], P, dP [k, c, c], stats and sums
//          [b, t, g, 2], scratch: W^T, then dW in its place [n, 4q, 4q], and dP of runs of nodes [parts, k, 4q, 4q] with
//          q = c / 4 rounded up; c <= 512
// launch   weights: 128 invocations for 128 vec4s of W^T of 8 nodes; main: a workgroup of 128 for 4 * (128 / q) rows
//          (sample and frame) of a run of nodes; dw: a workgroup of 128 for up to 32 by 32 numbers of a node's dW; de: one
//          for four nodes; dpool: one invocation for a vec4 of 8 prototypes and a run of nodes, then one for a number
// shared   16 KiB: dz of all rows and W^T, or what fits of it; in dw neighbour sums of h and dz of up to 32 channels
// plan     dz and u as graph_mix makes z, walking over nodes. dw walks over the rows of a node: neighbour sums and dz go
//          to shared memory, an invocation takes 4 by 4 numbers of dW over every second row (more often where c < 32) and
//          the invocations' sums are added in order. dW of a node costs 2 c / (b t) of the bytes of h and makes de and dP
//          two plain products; those of dP are added over runs of nodes, then over the runs: no atomics
// bound    c = 32: memory, 24 c bytes a token and 9 loads from the cache, 50 % of the copy bandwidth expected; c = 64:
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
    sums: u32,
    d: u32,
    u: u32,
    de: u32,
    dpool: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> h: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> neighbours: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;
@group(0) @binding(4) var<storage, read_write> e: array<f32>;
@group(0) @binding(5) var<storage, read_write> pool: array<f32>;
@group(0) @binding(5) var<storage, read_write> pool_fours: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> z: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> z_each: array<f32>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(8) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(9) var<storage, read_write> d: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> d_each: array<f32>;
@group(0) @binding(10) var<storage, read_write> u: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> u_each: array<f32>;
@group(0) @binding(11) var<storage, read_write> de: array<f32>;
@group(0) @binding(12) var<storage, read_write> dpool: array<f32>;
@group(0) @binding(13) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding(13) var<storage, read_write> scratch_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;
const LANES = 128u;
// Vec4s of channels that dw shares, and where the shared rows of W^T, or dz in dw, begin.
const WIDE = 8u;
const SECOND = 512u;

var<workgroup> tile: array<vec4<f32>, 1024>;

// W^T of eight nodes: an invocation has the same vec4 of each.
@compute @workgroup_size(128)
fn graph_mix_backward_weights(
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
        let prototype = pool_column(k, quad % quads, quad / quads);
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

// Numbers 4 quad..4 quad + 4 of a column of prototype k, zeros past its ends.
fn pool_column(k: u32, quad: u32, column: u32) -> vec4<f32> {
    let rows = 4u * quad + vec4(0u, 1u, 2u, 3u);
    if column >= p.channels {
        return vec4(0.0);
    }
    let at = p.pool + (k * p.channels + min(rows, vec4(p.channels - 1u))) * p.channels + column;
    let four = vec4(pool[at.x], pool[at.y], pool[at.z], pool[at.w]);
    return select(vec4(0.0), four, rows < vec4(p.channels));
}

// What an invocation of the main dispatch has to do: four rows by one vec4 of columns, in a run of nodes.
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
}

fn work_of(index: u32, lane: u32) -> Work {
    let all = p.batch * p.frames;
    let quads = (p.channels + 3u) / 4u;
    let slots = LANES / quads;
    let tiles = (all + 4u * slots - 1u) / (4u * slots);
    let part = index / tiles;
    let run = (p.nodes + p.parts - 1u) / p.parts;
    let slot = lane / quads;
    let rows = index % tiles * 4u * slots + slot + vec4(0u, 1u, 2u, 3u) * slots;
    let inside = rows < vec4(select(0u, all, slot < slots));
    let end = min(part * run + run, p.nodes);
    return Work(part, part * run, end, quads, slots, slot, lane % quads, min(rows, vec4(all - 1u)), inside);
}

// Where rows (sample and frame) of a node begin.
fn window(row: vec4<u32>, node: u32) -> vec4<u32> {
    return ((row / p.frames * p.nodes + node) * p.frames + row % p.frames) * p.channels;
}

// Channels a multiple of four.
@compute @workgroup_size(128)
fn graph_mix_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let work = work_of(group.y * grid.x + group.x, lane);
    if work.part >= p.parts {
        return;
    }
    let first = window(work.rows, 0u) / 4u + work.column;
    for (var node = work.start; node < work.end; node++) {
        let at = first + node * p.frames * work.quads;
        let origin = vec4(p.z / 4u) + at;
        let to = vec4(p.d / 4u) + at;
        var dz = mat4x4<f32>();
        if work.inside.x {
            dz[0] = pulled_back(work.rows.x, 4u * work.column, z[origin.x], d[to.x]);
            d[to.x] = dz[0];
        }
        if work.inside.y {
            dz[1] = pulled_back(work.rows.y, 4u * work.column, z[origin.y], d[to.y]);
            d[to.y] = dz[1];
        }
        if work.inside.z {
            dz[2] = pulled_back(work.rows.z, 4u * work.column, z[origin.z], d[to.z]);
            d[to.z] = dz[2];
        }
        if work.inside.w {
            dz[3] = pulled_back(work.rows.w, 4u * work.column, z[origin.w], d[to.w]);
            d[to.w] = dz[3];
        }
        let value = through_weights(work, node, dz, lane);
        if work.inside.x {
            u[p.u / 4u + at.x] = value[0];
        }
        if work.inside.y {
            u[p.u / 4u + at.y] = value[1];
        }
        if work.inside.z {
            u[p.u / 4u + at.z] = value[2];
        }
        if work.inside.w {
            u[p.u / 4u + at.w] = value[3];
        }
    }
}

// Any channels.
@compute @workgroup_size(128)
fn graph_mix_backward_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let work = work_of(group.y * grid.x + group.x, lane);
    if work.part >= p.parts {
        return;
    }
    let channel = 4u * work.column;
    let count = min(p.channels - channel, 4u);
    for (var node = work.start; node < work.end; node++) {
        let at = window(work.rows, node) + channel;
        var dz = mat4x4<f32>();
        for (var m = 0u; m < 4u; m++) {
            var value = vec4(0.0);
            var gradient = vec4(0.0);
            for (var k = 0u; k < count && work.inside[m]; k++) {
                value[k] = z_each[p.z + at[m] + k];
                gradient[k] = d_each[p.d + at[m] + k];
            }
            let row = pulled_back(work.rows[m], channel, value, gradient);
            dz[m] = select(vec4(0.0), row, vec4(0u, 1u, 2u, 3u) < vec4(count));
            for (var k = 0u; k < count && work.inside[m]; k++) {
                d_each[p.d + at[m] + k] = row[k];
            }
        }
        let value = through_weights(work, node, dz, lane);
        for (var m = 0u; m < 4u; m++) {
            for (var k = 0u; k < count && work.inside[m]; k++) {
                u_each[p.u + at[m] + k] = value[m][k];
            }
        }
    }
}

// dz of four channels of a row.
fn pulled_back(row: u32, channel: u32, value: vec4<f32>, gradient: vec4<f32>) -> vec4<f32> {
    let width = p.channels / p.groups;
    let a = norm(row, channel / width);
    if width % 4u == 0u {
        return a.y * (gradient - a.z - (value - a.x) * a.w);
    }
    // Channels past the last one do not count.
    let last = p.groups - 1u;
    let b = norm(row, min((channel + 1u) / width, last));
    let c = norm(row, min((channel + 2u) / width, last));
    let e = norm(row, min((channel + 3u) / width, last));
    let all = transpose(mat4x4(a, b, c, e));
    return all[1] * (gradient - all[2] - (value - all[0]) * all[3]);
}

// Mean, rstd, mean of d, and mean of d zhat times rstd, of a row and group.
fn norm(row: u32, group: u32) -> vec4<f32> {
    let at = row * p.groups + group;
    let forward = stats[p.stats / 2u + at];
    let means = sums[p.sums / 2u + at] / f32(p.nodes * (p.channels / p.groups));
    return vec4(forward, means.x, means.y * forward.y);
}

// dz times W^T.
fn through_weights(work: Work, node: u32, dz: mat4x4<f32>, lane: u32) -> mat4x4<f32> {
    var acc = mat4x4<f32>();
    // So many rows of W^T, in fours, fit at a time.
    let width = min(work.quads, LANES / work.quads);
    for (var block = 0u; block < work.quads; block += width) {
        let count = min(work.quads - block, width);
        let w = weights(node, block, count, lane);
        workgroupBarrier();
        if block == 0u && work.slot < work.slots {
            share(place(work.quads, work.slot, work.column), work.slots * work.quads, dz);
        }
        share_weights(lane, w);
        workgroupBarrier();
        acc = multiplied(work, block, count, acc);
    }
    return acc;
}

// An invocation's vec4s of `count` fours of rows of W_n^T.
fn weights(node: u32, block: u32, count: u32, lane: u32) -> mat4x4<f32> {
    let quads = (p.channels + 3u) / 4u;
    let last = 4u * count * quads - 1u;
    let start = p.scratch / 4u + (node * quads + block) * 4u * quads;
    var w = mat4x4<f32>();
    w[0] = scratch[start + min(lane, last)];
    if last >= LANES {
        w[1] = scratch[start + min(LANES + lane, last)];
    }
    if last >= 2u * LANES {
        w[2] = scratch[start + min(2u * LANES + lane, last)];
        w[3] = scratch[start + min(3u * LANES + lane, last)];
    }
    return w;
}

fn share_weights(lane: u32, w: mat4x4<f32>) {
    tile[SECOND + lane] = w[0];
    tile[SECOND + LANES + lane] = w[1];
    tile[SECOND + 2u * LANES + lane] = w[2];
    tile[SECOND + 3u * LANES + lane] = w[3];
}

// Shares four rows of a vec4 of columns that is to lie at `at`.
fn share(at: u32, stride: u32, value: mat4x4<f32>) {
    tile[at] = value[0];
    tile[at + stride] = value[1];
    tile[at + 2u * stride] = value[2];
    tile[at + 3u * stride] = value[3];
}

// acc + `count` fours of columns of the shared rows times the shared rows of W^T.
fn multiplied(work: Work, block: u32, count: u32, acc: mat4x4<f32>) -> mat4x4<f32> {
    let stride = work.slots * work.quads;
    var sum = acc;
    for (var i = 0u; i < count; i++) {
        let from_x = place(work.quads, work.slot, block + i);
        let x0 = tile[from_x];
        let x1 = tile[from_x + stride];
        let x2 = tile[from_x + 2u * stride];
        let x3 = tile[from_x + 3u * stride];
        let at = SECOND + 4u * i * work.quads + work.column;
        let w = mat4x4(tile[at], tile[at + work.quads], tile[at + 2u * work.quads], tile[at + 3u * work.quads]);
        sum[0] = row_times(x0, w, sum[0]);
        sum[1] = row_times(x1, w, sum[1]);
        sum[2] = row_times(x2, w, sum[2]);
        sum[3] = row_times(x3, w, sum[3]);
    }
    return sum;
}
