// group_norm_backward: with h = (x - mean) rstd, dbeta = sum_bn dy and dgamma = sum_bn dy h; in each sample and group
// of m elements dx = rstd (dy gamma - s1 / m - h s2 / m) with s1 = sum dy gamma and s2 = sum dy gamma h.
//
// shapes   x, dy, dx [b, n, c], gamma, dgamma, dbeta [c], mean, rstd [b, g]
//          scratch [b, chunks, 2, columns] of vec4s, the sums of dy and of dy h; then [b, g, 2]: s1 / m and rstd s2 / m
// launch   workgroups of 256 for up to 32 columns of four channels and 4 (256 / columns) nodes. A sample within one
//          workgroup gets its dx in one dispatch; else stage 1 leaves the sums of channels in the scratch memory, a
//          workgroup for a sample's group merges them, and stage 3 writes dx. Last, a workgroup for 32 of the 2 c sums
//          adds those of all chunks
// shared   5 KiB
// plan     four nodes of a column stay in registers: read once, by vec4s where c is a multiple of four, else by
//          neighbouring channels (coalesced either way), for the sums and in one dispatch for dx. A fixed order, no
//          atomics
// bound    memory: 20 bytes an element, 12 where the last-level cache holds x and dy or in one dispatch; 75 % of the
//          copy bandwidth expected; not measured on a GPU

struct Parameters {
    batch: u32,
    nodes: u32,
    channels: u32,
    groups: u32,
    eps: f32,
    x: u32,
    gamma: u32,
    mean: u32,
    rstd: u32,
    dy: u32,
    dx: u32,
    dgamma: u32,
    dbeta: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> x_each: array<f32>;
@group(0) @binding(1) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dy_each: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx_each: array<f32>;
@group(0) @binding(6) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(7) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(8) var<storage, read_write> scratch: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> shared_: array<vec4<f32>, 256>;
// Sums of the columns of a sample within one workgroup.
var<workgroup> dbetas: array<vec4<f32>, 32>;
var<workgroup> dgammas: array<vec4<f32>, 32>;
var<workgroup> sums: array<vec2<f32>, 256>;

// A column of four nodes, `rows()` apart.
struct Four {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// x - mean and dy.
struct Held {
    away: Four,
    dy: Four,
}

// Sums of dy and of dy h for each channel of a column.
struct Sums {
    dbeta: vec4<f32>,
    dgamma: vec4<f32>,
}

// A sample within one workgroup, c a multiple of four.
@compute @workgroup_size(256)
fn group_norm_backward(
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
    let found = channel_sums(lane, place, held);
    store_sums(sample, place, found);
    merge(lane, sample, found);
    store(place, held);
}

// A sample within one workgroup, any c.
@compute @workgroup_size(256)
fn group_norm_backward_each(
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
    let found = channel_sums(lane, place, held);
    store_sums(sample, place, found);
    merge(lane, sample, found);
    store_each(place, held);
}

// The sums of a chunk of nodes, c a multiple of four.
@compute @workgroup_size(256)
fn group_norm_backward_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * chunks() * blocks() {
        return;
    }
    let place = place_of(index, lane);
    store_sums(index / blocks(), place, channel_sums(lane, place, load(place)));
}

// The sums of a chunk of nodes, any c.
@compute @workgroup_size(256)
fn group_norm_backward_parts_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * chunks() * blocks() {
        return;
    }
    let place = place_of(index, lane);
    store_sums(index / blocks(), place, channel_sums(lane, place, load_each(place)));
}

// dx from the sums of each group, c a multiple of four.
@compute @workgroup_size(256)
fn group_norm_backward_apply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * chunks() * blocks() {
        return;
    }
    let place = place_of(index, lane);
    store(place, load(place));
}

// dx from the sums of each group, any c.
@compute @workgroup_size(256)
fn group_norm_backward_apply_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * chunks() * blocks() {
        return;
    }
    let place = place_of(index, lane);
    store_each(place, load_each(place));
}

// s1 / m and rstd s2 / m of one group of one sample from the sums of its chunks.
@compute @workgroup_size(256)
fn group_norm_backward_groups(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * p.groups {
        return;
    }
    let all = total(lane, group_sums(index, lane));
    if lane == 0u {
        store_group(index, all);
    }
}

// dbeta, then dgamma: the sums of all chunks for 32 of their channels, every eighth chunk an invocation.
@compute @workgroup_size(256)
fn group_norm_backward_channels(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * grid.x + group.x) * 32u + lane % 32u;
    let channel = index % p.channels;
    let at = p.scratch + select(0u, 4u * columns(), index >= p.channels) + slot(channel);
    var sum = 0.0;
    if index < 2u * p.channels {
        for (var part = lane / 32u; part < p.batch * chunks(); part += 8u) {
            sum += scratch[at + 8u * part * columns()];
        }
    }
    sums[lane].x = sum;
    for (var half = 128u; half >= 32u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane].x += sums[lane + half].x;
        }
    }
    if lane < 32u && index < p.channels {
        dbeta[p.dbeta + channel] = sums[lane].x;
    } else if lane < 32u && index < 2u * p.channels {
        dgamma[p.dgamma + channel] = sums[lane].x;
    }
}

fn load(place: Place) -> Held {
    let i = place.node;
    let n = rows();
    let x = Four(x_four(place, i), x_four(place, i + n), x_four(place, i + 2u * n), x_four(place, i + 3u * n));
    let dy = Four(dy_four(place, i), dy_four(place, i + n), dy_four(place, i + 2u * n), dy_four(place, i + 3u * n));
    let middle = means(place);
    return Held(Four(x.a - middle, x.b - middle, x.c - middle, x.d - middle), dy);
}

fn load_each(place: Place) -> Held {
    let i = place.node;
    let n = rows();
    let x = Four(x_ones(place, i), x_ones(place, i + n), x_ones(place, i + 2u * n), x_ones(place, i + 3u * n));
    let dy = Four(dy_ones(place, i), dy_ones(place, i + n), dy_ones(place, i + 2u * n), dy_ones(place, i + 3u * n));
    let middle = means(place);
    return Held(Four(x.a - middle, x.b - middle, x.c - middle, x.d - middle), dy);
}

fn dy_four(place: Place, node: u32) -> vec4<f32> {
    let at = (p.dy + node_start(place, node)) / 4u + min(place.column, columns() - 1u);
    return select(vec4(0.0), dy[at], is_inside(place, node));
}

fn dy_ones(place: Place, node: u32) -> vec4<f32> {
    let i = p.dy + node_start(place, node) + channels_within(place);
    let inside = (channels_of(place.column) < vec4(p.channels)) & vec4(is_inside(place, node));
    return select(vec4(0.0), vec4(dy_each[i.x], dy_each[i.y], dy_each[i.z], dy_each[i.w]), inside);
}

// The sums of a workgroup's nodes, for each column in all of its rows; dy is 0 where there is none.
fn channel_sums(lane: u32, place: Place, held: Held) -> Sums {
    let dy = held.dy;
    let away = held.away;
    let products = fma(dy.a, away.a, dy.b * away.b) + fma(dy.c, away.c, dy.d * away.d);
    return Sums(over_rows(lane, (dy.a + dy.b) + (dy.c + dy.d)), over_rows(lane, products) * rstds(place));
}

fn store_sums(part: u32, place: Place, found: Sums) {
    if place.inside && place.row == 0u {
        let at = p.scratch + 8u * part * columns() + 4u * place.column;
        for (var k = 0u; k < 4u; k++) {
            scratch[at + k] = found.dbeta[k];
            scratch[at + 4u * columns() + k] = found.dgamma[k];
        }
    }
}

// s1 / m and rstd s2 / m of all groups of a sample from the sums of its channels, an invocation a group.
fn merge(lane: u32, sample: u32, found: Sums) {
    if lane < width() {
        dbetas[lane] = found.dbeta;
        dgammas[lane] = found.dgamma;
    }
    workgroupBarrier();
    if lane < p.groups {
        let of_group = p.channels / p.groups;
        var all = vec2(0.0);
        for (var i = lane * of_group; i < (lane + 1u) * of_group; i++) {
            let at = slot(i);
            all += gamma[p.gamma + i] * vec2(dbetas[at / 4u][at % 4u], dgammas[at / 4u][at % 4u]);
        }
        store_group(sample * p.groups + lane, all);
    }
    storageBarrier();
}

// An invocation's share of s1 and s2.
fn group_sums(index: u32, lane: u32) -> vec2<f32> {
    let of_group = p.channels / p.groups;
    let first = p.scratch + 8u * (index / p.groups) * chunks() * columns();
    var sum = vec2(0.0);
    for (var i = lane; i < chunks() * of_group; i += 256u) {
        let channel = index % p.groups * of_group + i % of_group;
        let at = first + 8u * (i / of_group) * columns() + slot(channel);
        sum += gamma[p.gamma + channel] * vec2(scratch[at], scratch[at + 4u * columns()]);
    }
    return sum;
}

fn store_group(index: u32, all: vec2<f32>) {
    let shares = all / (f32(p.nodes) * f32(p.channels / p.groups));
    scratch[groups_at() + 2u * index] = shares.x;
    scratch[groups_at() + 2u * index + 1u] = shares.y * rstd[p.rstd + index];
}

// Where the sums of the groups begin.
fn groups_at() -> u32 {
    return p.scratch + 8u * p.batch * chunks() * columns();
}

// The groups of a column's channels.
fn groups_of(place: Place) -> vec4<u32> {
    return place.sample * p.groups + channels_within(place) / (p.channels / p.groups);
}

fn means(place: Place) -> vec4<f32> {
    let at = p.mean + groups_of(place);
    return vec4(mean[at.x], mean[at.y], mean[at.z], mean[at.w]);
}

fn rstds(place: Place) -> vec4<f32> {
    let at = p.rstd + groups_of(place);
    return vec4(rstd[at.x], rstd[at.y], rstd[at.z], rstd[at.w]);
}

// The first or the second sums of the groups of a column's channels.
fn of_groups(place: Place, which: u32) -> vec4<f32> {
    let at = groups_at() + 2u * groups_of(place) + which;
    return vec4(scratch[at.x], scratch[at.y], scratch[at.z], scratch[at.w]);
}

fn gradient(place: Place, held: Held) -> Four {
    let over = rstds(place);
    let at = p.gamma + channels_within(place);
    let scale = vec4(gamma[at.x], gamma[at.y], gamma[at.z], gamma[at.w]);
    let shift = of_groups(place, 0u);
    let slope = of_groups(place, 1u);
    return Four(
        over * (held.dy.a * scale - shift - held.away.a * slope),
        over * (held.dy.b * scale - shift - held.away.b * slope),
        over * (held.dy.c * scale - shift - held.away.c * slope),
        over * (held.dy.d * scale - shift - held.away.d * slope),
    );
}

fn store(place: Place, held: Held) {
    let value = gradient(place, held);
    let n = rows();
    store_four(place, place.node, value.a);
    store_four(place, place.node + n, value.b);
    store_four(place, place.node + 2u * n, value.c);
    store_four(place, place.node + 3u * n, value.d);
}

fn store_each(place: Place, held: Held) {
    let value = gradient(place, held);
    let n = rows();
    store_ones(place, place.node, value.a);
    store_ones(place, place.node + n, value.b);
    store_ones(place, place.node + 2u * n, value.c);
    store_ones(place, place.node + 3u * n, value.d);
}

fn store_four(place: Place, node: u32, value: vec4<f32>) {
    if is_inside(place, node) {
        dx[(p.dx + node_start(place, node)) / 4u + place.column] = value;
    }
}

fn store_one(place: Place, node: u32, channel: u32, value: f32) {
    if is_inside(place, node) && channel < p.channels {
        dx_each[p.dx + node_start(place, node) + channel] = value;
    }
}

// The sum of a workgroup's values, always in the same order.
fn total(lane: u32, value: vec2<f32>) -> vec2<f32> {
    sums[lane] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    return sums[0];
}
