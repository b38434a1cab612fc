// node_linear: y[b, n, :] = x[b, n, :] W_n with W_n = sum_j e[n, j] pool[j].
//
// shapes   x [b, n, c], e [n, k], pool [k, c, o], y [b, n, o]
// launch   a workgroup of 64 for one node, 32 columns of y and 256 samples
// shared   16 KiB: 64 rows of a weight by 32 columns, 64 samples by 32 channels
// plan     the workgroup mixes the node's weight into shared memory once (for every block of samples where c > 64) and
//          streams its samples through it, a coalesced line a sample; an invocation holds 8 samples by 4 columns: 12
//          loads for 128 multiply-adds, all of them broadcasts or neighbours (no bank conflicts)
// bound    memory below c = o = 64: 4 (c + o) bytes a row, 65 % of the copy bandwidth expected; multiply-adds above;
//          not measured on a GPU

struct Parameters {
    batch: u32,
    nodes: u32,
    channels: u32,
    out: u32,
    prototypes: u32,
    x: u32,
    e: u32,
    pool: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> e: array<f32>;
@group(0) @binding(2) var<storage, read_write> pool: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

// Samples of a block and of a workgroup, channels of a block.
const BLOCK = 64u;
const RUN = 256u;
const DEPTH = 32u;

// [64 channels, 8 vec4s of columns] and [64 samples, 8 vec4s of channels].
var<workgroup> weight: array<vec4<f32>, 512>;
var<workgroup> rows: array<vec4<f32>, 512>;

// Four columns of 8 samples.
var<private> acc: array<vec4<f32>, 8>;

// What an invocation works on.
struct Place {
    node: u32,
    // First sample of the workgroup, and the end of its samples.
    first: u32,
    end: u32,
    // The invocation's first column of y.
    column: u32,
}

// Where the number of columns is a multiple of four.
@compute @workgroup_size(64)
fn node_linear(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    if place.first >= p.batch {
        return;
    }
    for (var block = place.first; block < place.end; block += BLOCK) {
        multiply(place, block, lane);
        let sample = block + lane / 8u * 8u;
        store(place, sample, acc[0]);
        store(place, sample + 1u, acc[1]);
        store(place, sample + 2u, acc[2]);
        store(place, sample + 3u, acc[3]);
        store(place, sample + 4u, acc[4]);
        store(place, sample + 5u, acc[5]);
        store(place, sample + 6u, acc[6]);
        store(place, sample + 7u, acc[7]);
    }
}

// Any number of columns.
@compute @workgroup_size(64)
fn node_linear_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    if place.first >= p.batch {
        return;
    }
    for (var block = place.first; block < place.end; block += BLOCK) {
        multiply(place, block, lane);
        let sample = block + lane / 8u * 8u;
        store_each(place, sample, acc[0]);
        store_each(place, sample + 1u, acc[1]);
        store_each(place, sample + 2u, acc[2]);
        store_each(place, sample + 3u, acc[3]);
        store_each(place, sample + 4u, acc[4]);
        store_each(place, sample + 5u, acc[5]);
        store_each(place, sample + 6u, acc[6]);
        store_each(place, sample + 7u, acc[7]);
    }
}

// Workgroups of neighbouring nodes are neighbours, so that they read and write side by side.
fn place_of(index: u32, lane: u32) -> Place {
    let across = (p.out + 31u) / 32u;
    let first = index / across / p.nodes * RUN;
    let column = index % across * 32u + lane % 8u * 4u;
    return Place(index / across % p.nodes, first, min(first + RUN, p.batch), column);
}

// acc = the products of a block of samples.
fn multiply(place: Place, block: u32, lane: u32) {
    acc = array<vec4<f32>, 8>();
    for (var depth = 0u; depth < p.channels; depth += DEPTH) {
        let half = depth / DEPTH % 2u * 256u;
        workgroupBarrier();
        if block == place.first || p.channels > 2u * DEPTH {
            mix(place, depth, half, lane);
        }
        for (var i = lane / 8u; i < BLOCK; i += 8u) {
            rows[i * 8u + lane % 8u] = fetch_x(place, block + i, depth + lane % 8u * 4u);
        }
        workgroupBarrier();
        let ours = lane / 8u * 64u;
        let fours = (min(p.channels - depth, DEPTH) + 3u) / 4u;
        for (var k = 0u; k < fours; k++) {
            let at = half + k * 32u + lane % 8u;
            let w = mat4x4(weight[at], weight[at + 8u], weight[at + 16u], weight[at + 24u]);
            acc[0] += w * rows[ours + k];
            acc[1] += w * rows[ours + 8u + k];
            acc[2] += w * rows[ours + 16u + k];
            acc[3] += w * rows[ours + 24u + k];
            acc[4] += w * rows[ours + 32u + k];
            acc[5] += w * rows[ours + 40u + k];
            acc[6] += w * rows[ours + 48u + k];
            acc[7] += w * rows[ours + 56u + k];
        }
    }
}

// The weight of the channels from `depth` on: 4 channels by 4 columns an invocation.
fn mix(place: Place, depth: u32, half: u32, lane: u32) {
    let channel = depth + lane / 8u * 4u;
    var a = vec4(0.0);
    var b = vec4(0.0);
    var c = vec4(0.0);
    var d = vec4(0.0);
    for (var j = 0u; j < p.prototypes; j++) {
        let share = vec4(e[p.e + place.node * p.prototypes + j]);
        a = fma(share, fetch_pool(j, channel, place.column), a);
        b = fma(share, fetch_pool(j, channel + 1u, place.column), b);
        c = fma(share, fetch_pool(j, channel + 2u, place.column), c);
        d = fma(share, fetch_pool(j, channel + 3u, place.column), d);
    }
    let at = half + lane / 8u * 32u + lane % 8u;
    weight[at] = a;
    weight[at + 8u] = b;
    weight[at + 16u] = c;
    weight[at + 24u] = d;
}

// Four channels of a sample, zeros past the last sample or channel.
fn fetch_x(place: Place, sample: u32, channel: u32) -> vec4<f32> {
    if sample >= place.end || channel >= p.channels {
        return vec4(0.0);
    }
    let i = p.x + (sample * p.nodes + place.node) * p.channels + channel;
    if p.channels % 4u == 0u {
        return x[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < min(p.channels - channel, 4u); n++) {
        four[n] = x[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

// Four columns of a row of a prototype, zeros past its end.
fn fetch_pool(j: u32, channel: u32, column: u32) -> vec4<f32> {
    if channel >= p.channels || column >= p.out {
        return vec4(0.0);
    }
    let i = p.pool + (j * p.channels + channel) * p.out + column;
    if p.out % 4u == 0u {
        return pool[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < min(p.out - column, 4u); n++) {
        four[n] = pool[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn store(place: Place, sample: u32, value: vec4<f32>) {
    if sample < place.end && place.column < p.out {
        y[(p.y + (sample * p.nodes + place.node) * p.out + place.column) / 4u] = value;
    }
}

// Number by number: a vec4 of y may belong to two nodes, and two invocations must not write one.
fn store_each(place: Place, sample: u32, value: vec4<f32>) {
    if sample < place.end && place.column < p.out {
        let at = p.y + (sample * p.nodes + place.node) * p.out + place.column;
        for (var k = 0u; k < min(p.out - place.column, 4u); k++) {
            y_each[at + k] = value[k];
        }
    }
}
