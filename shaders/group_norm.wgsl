// group_norm: y = (x - mean) rstd gamma + beta, mean and rstd = 1 / sqrt(variance + eps) over all nodes and the
// channels of a group.
//
// shapes   x, y [b, n, c], gamma, beta [c], mean, rstd [b, g], scratch [b, chunks, 2, columns] of vec4s: means and
//          squares about them
// launch   workgroups of 256 for up to 32 columns of four channels and 4 (256 / columns) nodes. A sample within one
//          workgroup is done in one dispatch; else stage 1 leaves the moments of each channel in the scratch memory, a
//          workgroup for a sample's group merges them, and stage 3 writes y
// shared   5 KiB
// plan     four nodes of a column stay in registers: read once, by vec4s where c is a multiple of four, else by
//          neighbouring channels (coalesced either way), for their mean, for the squares about it, and in one dispatch
//          for the result. Moments of chunks are merged about the common mean (Chan, Golub and LeVeque 1979), so that a
//          large mean costs no digits. A fixed order, no atomics
// bound    memory: 12 bytes an element, 8 where the last-level cache holds x or in one dispatch; 75 % of the copy
//          bandwidth expected; not measured on a GPU

struct Parameters {
    batch: u32,
    nodes: u32,
    channels: u32,
    groups: u32,
    eps: f32,
    x: u32,
    gamma: u32,
    beta: u32,
    y: u32,
    mean: u32,
    rstd: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> x_each: array<f32>;
@group(0) @binding(1) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(2) var<storage, read_write> beta: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y_each: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(6) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> scratch_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> shared_: array<vec4<f32>, 256>;
// Moments of the columns of a sample within one workgroup.
var<workgroup> means: array<vec4<f32>, 32>;
var<workgroup> squares: array<vec4<f32>, 32>;
var<workgroup> sums: array<f32, 256>;

// A column of four nodes, `rows()` apart.
struct Held {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Mean and squares about it of each channel of a column.
struct Moments {
    mean: vec4<f32>,
    squares: vec4<f32>,
}

// A sample within one workgroup, c a multiple of four.
@compute @workgroup_size(256)
fn group_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let sample = group.y * grid.x + group.x;
    if sample >= p.batch {
        return;
    }
    let place = place_of(sample, lane);
    let held = load(place);
    merge(lane, sample, moments(lane, place, held));
    store(place, held);
}

// A sample within one workgroup, any c.
@compute @workgroup_size(256)
fn group_norm_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let sample = group.y * grid.x + group.x;
    if sample >= p.batch {
        return;
    }
    let place = place_of(sample, lane);
    let held = load_each(place);
    merge(lane, sample, moments(lane, place, held));
    store_each(place, held);
}

// Moments of a chunk of nodes, c a multiple of four.
@compute @workgroup_size(256)
fn group_norm_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.parts * blocks() {
        return;
    }
    let place = place_of(index, lane);
    store_moments(index / blocks(), place, moments(lane, place, load(place)));
}

// Moments of a chunk of nodes, any c.
@compute @workgroup_size(256)
fn group_norm_parts_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.parts * blocks() {
        return;
    }
    let place = place_of(index, lane);
    store_moments(index / blocks(), place, moments(lane, place, load_each(place)));
}

// The result from the statistics, c a multiple of four.
@compute @workgroup_size(256)
fn group_norm_apply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.parts * blocks() {
        return;
    }
    let place = place_of(index, lane);
    store(place, load(place));
}

// The result from the statistics, any c.
@compute @workgroup_size(256)
fn group_norm_apply_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.parts * blocks() {
        return;
    }
    let place = place_of(index, lane);
    store_each(place, load_each(place));
}

// Mean and rstd of one group of one sample from the moments of its chunks.
@compute @workgroup_size(256)
fn group_norm_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * p.groups {
        return;
    }
    let count = f32(p.nodes) * f32(p.channels / p.groups);
    let origin = scratch_each[moment_of(index, 0u).mean];
    let middle = origin + total(lane, offsets(index, lane, origin)) / count;
    let variance = total(lane, squares_about(index, lane, middle)) / count;
    if lane == 0u {
        store_group(index, middle, variance);
    }
}

@compute @workgroup_size(256)
fn group_norm_statistics_subgroups(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * p.groups {
        return;
    }
    let count = f32(p.nodes) * f32(p.channels / p.groups);
    let origin = scratch_each[moment_of(index, 0u).mean];
    let middle = origin + total_by_subgroups(subgroup, subgroups, offsets(index, lane, origin)) / count;
    let variance = total_by_subgroups(subgroup, subgroups, squares_about(index, lane, middle)) / count;
    if lane == 0u {
        store_group(index, middle, variance);
    }
}

fn load(place: Place) -> Held {
    let i = place.node;
    let n = rows();
    return Held(x_four(place, i), x_four(place, i + n), x_four(place, i + 2u * n), x_four(place, i + 3u * n));
}

fn load_each(place: Place) -> Held {
    let i = place.node;
    let n = rows();
    return Held(x_ones(place, i), x_ones(place, i + n), x_ones(place, i + 2u * n), x_ones(place, i + 3u * n));
}

// The moments of a workgroup's nodes, for each column in all of its rows.
fn moments(lane: u32, place: Place, held: Held) -> Moments {
    let middle = over_rows(lane, (held.a + held.b) + (held.c + held.d)) / nodes_from(place.node - place.row);
    let a = away(place, place.node, held.a, middle);
    let b = away(place, place.node + rows(), held.b, middle);
    let c = away(place, place.node + 2u * rows(), held.c, middle);
    let d = away(place, place.node + 3u * rows(), held.d, middle);
    return Moments(middle, over_rows(lane, fma(a, a, b * b) + fma(c, c, d * d)));
}

// Nodes of the chunk that begins there.
fn nodes_from(first: u32) -> f32 {
    return f32(min(run(), p.nodes - first));
}

fn away(place: Place, node: u32, value: vec4<f32>, middle: vec4<f32>) -> vec4<f32> {
    return select(vec4(0.0), value - middle, is_inside(place, node));
}

fn store_moments(part: u32, place: Place, found: Moments) {
    if place.inside && place.row == 0u {
        let at = p.scratch / 4u + 2u * part * columns() + place.column;
        scratch[at] = found.mean;
        scratch[at + columns()] = found.squares;
    }
}

// Mean and rstd of all groups of a sample from the moments of its channels, an invocation a group.
fn merge(lane: u32, sample: u32, found: Moments) {
    if lane < width() {
        means[lane] = found.mean;
        squares[lane] = found.squares;
    }
    workgroupBarrier();
    if lane < p.groups {
        let of_group = p.channels / p.groups;
        let first = lane * of_group;
        var middle = 0.0;
        for (var i = first; i < first + of_group; i++) {
            middle += mean_of(i);
        }
        middle /= f32(of_group);
        var around = 0.0;
        for (var i = first; i < first + of_group; i++) {
            let offset = mean_of(i) - middle;
            around += fma(f32(p.nodes) * offset, offset, squares[slot(i) / 4u][slot(i) % 4u]);
        }
        store_group(sample * p.groups + lane, middle, around / (f32(p.nodes) * f32(of_group)));
    }
    storageBarrier();
}

fn mean_of(channel: u32) -> f32 {
    return means[slot(channel) / 4u][slot(channel) % 4u];
}

fn store_group(index: u32, middle: f32, variance: f32) {
    mean[p.mean + index] = middle;
    rstd[p.rstd + index] = inverseSqrt(variance + p.eps);
}

// An invocation's share of the distances from a first mean of the group, each for all nodes of its chunk.
fn offsets(index: u32, lane: u32, origin: f32) -> f32 {
    var sum = 0.0;
    for (var i = lane; i < chunks() * (p.channels / p.groups); i += 256u) {
        let moment = moment_of(index, i);
        sum = fma(moment.count, scratch_each[moment.mean] - origin, sum);
    }
    return sum;
}

// Its share of the squares about the mean of the group.
fn squares_about(index: u32, lane: u32, middle: f32) -> f32 {
    var sum = 0.0;
    for (var i = lane; i < chunks() * (p.channels / p.groups); i += 256u) {
        let moment = moment_of(index, i);
        let offset = scratch_each[moment.mean] - middle;
        sum += fma(moment.count * offset, offset, scratch_each[moment.mean + 4u * columns()]);
    }
    return sum;
}

// Where the mean of a channel over a chunk of nodes lies, and the number of these.
struct Moment {
    mean: u32,
    count: f32,
}

fn moment_of(index: u32, i: u32) -> Moment {
    let of_group = p.channels / p.groups;
    let chunk = i / of_group;
    let channel = index % p.groups * of_group + i % of_group;
    let part = index / p.groups * chunks() + chunk;
    return Moment(p.scratch + 8u * part * columns() + slot(channel), nodes_from(chunk * run()));
}

// A channel's mean, rstd gamma and beta.
struct Affine {
    mean: vec4<f32>,
    scale: vec4<f32>,
    shift: vec4<f32>,
}

fn affine(place: Place) -> Affine {
    let i = channels_within(place);
    let of_group = place.sample * p.groups + i / (p.channels / p.groups);
    let m = p.mean + of_group;
    let r = p.rstd + of_group;
    let g = p.gamma + i;
    let b = p.beta + i;
    return Affine(
        vec4(mean[m.x], mean[m.y], mean[m.z], mean[m.w]),
        vec4(rstd[r.x], rstd[r.y], rstd[r.z], rstd[r.w]) * vec4(gamma[g.x], gamma[g.y], gamma[g.z], gamma[g.w]),
        vec4(beta[b.x], beta[b.y], beta[b.z], beta[b.w]),
    );
}

fn store(place: Place, held: Held) {
    let to = affine(place);
    let node = place.node;
    let n = rows();
    store_four(place, node, fma(held.a - to.mean, to.scale, to.shift));
    store_four(place, node + n, fma(held.b - to.mean, to.scale, to.shift));
    store_four(place, node + 2u * n, fma(held.c - to.mean, to.scale, to.shift));
    store_four(place, node + 3u * n, fma(held.d - to.mean, to.scale, to.shift));
}

fn store_each(place: Place, held: Held) {
    let to = affine(place);
    let node = place.node;
    let n = rows();
    store_ones(place, node, fma(held.a - to.mean, to.scale, to.shift));
    store_ones(place, node + n, fma(held.b - to.mean, to.scale, to.shift));
    store_ones(place, node + 2u * n, fma(held.c - to.mean, to.scale, to.shift));
    store_ones(place, node + 3u * n, fma(held.d - to.mean, to.scale, to.shift));
}

fn store_four(place: Place, node: u32, value: vec4<f32>) {
    if is_inside(place, node) {
        y[(p.y + node_start(place, node)) / 4u + place.column] = value;
    }
}

fn store_one(place: Place, node: u32, channel: u32, value: f32) {
    if is_inside(place, node) && channel < p.channels {
        y_each[p.y + node_start(place, node) + channel] = value;
    }
}

// The sum of a workgroup's values, always in the same order.
fn total(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    sums[lane] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    workgroupBarrier();
    return sums[0];
}

fn total_by_subgroups(subgroup: u32, subgroups: u32, value: f32) -> f32 {
    let sum = subgroupAdd(value);
    workgroupBarrier();
    // Every invocation of a subgroup has the same sum.
    sums[subgroup] = sum;
    workgroupBarrier();
    var all = sums[0];
    for (var i = 1u; i < subgroups; i++) {
        all += sums[i];
    }
    return all;
}
