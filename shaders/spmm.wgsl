// spmm: y[b, i, :] = base[b, i, :] + sum_e w[e] x[b, neighbours[e], :] for e in offsets[i]..offsets[i + 1].
//
// shapes   offsets u32 [n + 1], neighbours u32 [nnz], values [nnz] or absent (ones), x, y [b, n, c], base [b, n, c] or
//          absent (zeros)
// launch   256 a workgroup: one invocation for four channels of a node in four samples (`spmm_samples`), in one sample
//          (`spmm_fours`), or for one channel (`spmm`)
// plan     neighbouring invocations hold neighbouring channels, so every neighbour is one coalesced line; four samples
//          share the loads of the graph and keep four loads of x on their way. Sums stay in registers, entries are
//          added in their order
// bound    memory: 8 bytes an element (12 with a base) while a plane of x stays in the L2 cache, 75 % of the copy
//          bandwidth expected; not measured on a GPU

struct Parameters {
    batch: u32,
    nodes: u32,
    channels: u32,
    entries: u32,
    offsets: u32,
    neighbours: u32,
    values: u32,
    x: u32,
    base: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> offsets: array<u32>;
@group(0) @binding(1) var<storage, read_write> neighbours: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> x_fours: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> base: array<f32>;
@group(0) @binding(4) var<storage, read_write> base_fours: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> y_fours: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;

@compute @workgroup_size(256)
fn spmm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    let plane = p.nodes * p.channels;
    if i >= p.batch * plane {
        return;
    }
    let node = i % plane / p.channels;
    let column = p.x + i / plane * plane + i % p.channels;
    var sum = 0.0;
    if p.base != ABSENT {
        sum = base[p.base + i];
    }
    let end = offsets[p.offsets + node + 1u];
    for (var e = offsets[p.offsets + node]; e < end; e++) {
        sum = fma(weight(e), x[column + neighbours[p.neighbours + e] * p.channels], sum);
    }
    y[p.y + i] = sum;
}

// Where the number of channels is a multiple of four.
@compute @workgroup_size(256)
fn spmm_fours(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    let fours = p.channels / 4u;
    let plane = p.nodes * fours;
    if i >= p.batch * plane {
        return;
    }
    let node = i % plane / fours;
    let column = p.x / 4u + i / plane * plane + i % fours;
    var sum = based(i);
    let end = offsets[p.offsets + node + 1u];
    for (var e = offsets[p.offsets + node]; e < end; e++) {
        sum = fma(vec4(weight(e)), x_fours[column + neighbours[p.neighbours + e] * fours], sum);
    }
    y_fours[p.y / 4u + i] = sum;
}

// The same for four samples at once; the last block of samples may have fewer.
@compute @workgroup_size(256)
fn spmm_samples(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * grid.x + group.x) * 256u + lane;
    let fours = p.channels / 4u;
    let plane = p.nodes * fours;
    let first = index / plane * 4u;
    if first >= p.batch {
        return;
    }
    let within = index % plane;
    let node = within / fours;
    // Samples past the end repeat the last one, whose sum is the same and is stored once.
    let last = p.batch - 1u;
    let a = first * plane;
    let b = min(first + 1u, last) * plane;
    let c = min(first + 2u, last) * plane;
    let d = min(first + 3u, last) * plane;
    var sum_a = based(a + within);
    var sum_b = based(b + within);
    var sum_c = based(c + within);
    var sum_d = based(d + within);
    let end = offsets[p.offsets + node + 1u];
    for (var e = offsets[p.offsets + node]; e < end; e++) {
        let w = vec4(weight(e));
        let at = p.x / 4u + neighbours[p.neighbours + e] * fours + within % fours;
        sum_a = fma(w, x_fours[at + a], sum_a);
        sum_b = fma(w, x_fours[at + b], sum_b);
        sum_c = fma(w, x_fours[at + c], sum_c);
        sum_d = fma(w, x_fours[at + d], sum_d);
    }
    let out = p.y / 4u + within;
    y_fours[out + a] = sum_a;
    if first + 1u < p.batch {
        y_fours[out + b] = sum_b;
    }
    if first + 2u < p.batch {
        y_fours[out + c] = sum_c;
    }
    if first + 3u < p.batch {
        y_fours[out + d] = sum_d;
    }
}

fn based(i: u32) -> vec4<f32> {
    if p.base == ABSENT {
        return vec4(0.0);
    }
    return base_fours[p.base / 4u + i];
}

fn weight(e: u32) -> f32 {
    if p.values == ABSENT {
        return 1.0;
    }
    return values[p.values + e];
}
