// softmax: y[r, i] = exp(x[r, i] - m) / sum_i exp(x[r, i] - m), m = max_i x[r, i].
//
// shapes   x, y [rows, c]
// launch   workgroups of 256 in teams of a power of two; a team has a row of up to eight numbers an invocation
//          (c <= 2048), a workgroup a longer one
// shared   1 KiB
// plan     a row is read once, by vec4s where c is a multiple of four, else by neighbouring numbers (coalesced either
//          way), and stays in two vec4s of registers until it is written; a team folds maxima and sums in shared
//          memory without a bank conflict, or by shuffles. Longer rows are read twice, the second time from cache
// bound    memory: 8 bytes an element, 80 % of the copy bandwidth expected from c = 32 on; not measured on a GPU

struct Parameters {
    rows: u32,
    channels: u32,
    x: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> x_each: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

const LOWEST = -3.4028234e38;
// Its exponential is 0.
const NOTHING = -120.0;

var<workgroup> shared_: array<f32, 256>;

// What an invocation holds of a row: vec4s number `member` and `member + team()`, or eight numbers as far apart.
struct Held {
    a: vec4<f32>,
    b: vec4<f32>,
}

// Rows of fours.
@compute @workgroup_size(256)
fn softmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    let row = load(place);
    let e = exponentials(row, largest(lane, highest(row)));
    store(place, e, 1.0 / total(lane, sum(e)));
}

@compute @workgroup_size(256)
fn softmax_subgroups(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) inside: u32,
) {
    let size = 256u / subgroups;
    let lane = subgroup * size + inside;
    let place = place_of(group.y * grid.x + group.x, lane);
    let row = load(place);
    let e = exponentials(row, largest_by_shuffles(lane, size, highest(row)));
    store(place, e, 1.0 / total_by_shuffles(lane, size, sum(e)));
}

// Rows of any length up to 2048.
@compute @workgroup_size(256)
fn softmax_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    let row = load_each(place);
    let e = exponentials(row, largest(lane, highest(row)));
    store_each(place, e, 1.0 / total(lane, sum(e)));
}

@compute @workgroup_size(256)
fn softmax_each_subgroups(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) inside: u32,
) {
    let size = 256u / subgroups;
    let lane = subgroup * size + inside;
    let place = place_of(group.y * grid.x + group.x, lane);
    let row = load_each(place);
    let e = exponentials(row, largest_by_shuffles(lane, size, highest(row)));
    store_each(place, e, 1.0 / total_by_shuffles(lane, size, sum(e)));
}

// Rows of any length, a workgroup each.
@compute @workgroup_size(256)
fn softmax_long(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * grid.x + group.x;
    if row >= p.rows {
        return;
    }
    // The sum of exponentials below the largest so far (Milakov and Gimelshein 2018).
    let first = row * p.channels;
    var above = LOWEST;
    var ours = 0.0;
    for (var i = lane; i < p.channels; i += 256u) {
        let value = x_each[p.x + first + i];
        let before = above;
        above = max(above, value);
        ours = fma(ours, exp(max(before - above, NOTHING)), exp(max(value - above, NOTHING)));
    }
    let most = largest(lane, above);
    let factor = 1.0 / total(lane, ours * exp(max(above - most, NOTHING)));
    for (var i = lane; i < p.channels; i += 256u) {
        y_each[p.y + first + i] = factor * exp(max(x_each[p.x + first + i] - most, NOTHING));
    }
}

fn load(place: Place) -> Held {
    return Held(four(place, place.member), four(place, place.member + team()));
}

fn four(place: Place, i: u32) -> vec4<f32> {
    let at = (p.x + row_start(place)) / 4u + min(i, p.channels / 4u - 1u);
    return select(vec4(LOWEST), x[at], is_inside(place, 4u * i));
}

fn load_each(place: Place) -> Held {
    let i = place.member;
    let n = team();
    return Held(
        vec4(one(place, i), one(place, i + n), one(place, i + 2u * n), one(place, i + 3u * n)),
        vec4(one(place, i + 4u * n), one(place, i + 5u * n), one(place, i + 6u * n), one(place, i + 7u * n)),
    );
}

fn one(place: Place, i: u32) -> f32 {
    let at = p.x + row_start(place) + min(i, p.channels - 1u);
    return select(LOWEST, x_each[at], is_inside(place, i));
}

fn store(place: Place, e: Held, factor: f32) {
    store_four(place, place.member, factor * e.a);
    store_four(place, place.member + team(), factor * e.b);
}

fn store_four(place: Place, i: u32, value: vec4<f32>) {
    if is_inside(place, 4u * i) {
        y[(p.y + row_start(place)) / 4u + i] = value;
    }
}

fn store_each(place: Place, e: Held, factor: f32) {
    let i = place.member;
    let n = team();
    store_one(place, i, factor * e.a.x);
    store_one(place, i + n, factor * e.a.y);
    store_one(place, i + 2u * n, factor * e.a.z);
    store_one(place, i + 3u * n, factor * e.a.w);
    store_one(place, i + 4u * n, factor * e.b.x);
    store_one(place, i + 5u * n, factor * e.b.y);
    store_one(place, i + 6u * n, factor * e.b.z);
    store_one(place, i + 7u * n, factor * e.b.w);
}

fn store_one(place: Place, i: u32, value: f32) {
    if is_inside(place, i) {
        y_each[p.y + row_start(place) + i] = value;
    }
}

fn exponentials(row: Held, most: f32) -> Held {
    return Held(exp(max(row.a - most, vec4(NOTHING))), exp(max(row.b - most, vec4(NOTHING))));
}

fn highest(row: Held) -> f32 {
    let four = max(row.a, row.b);
    return max(max(four.x, four.y), max(four.z, four.w));
}

fn sum(row: Held) -> f32 {
    let four = row.a + row.b;
    return (four.x + four.y) + (four.z + four.w);
}

// The maximum over a team.
fn largest(lane: u32, value: f32) -> f32 {
    let n = team();
    let member = lane % n;
    workgroupBarrier();
    shared_[lane] = value;
    workgroupBarrier();
    if n > 16u {
        if member < 16u {
            var folded = value;
            for (var i = 16u; i < n; i += 16u) {
                folded = max(folded, shared_[lane + i]);
            }
            shared_[lane] = folded;
        }
        workgroupBarrier();
    }
    let first = lane - member;
    var all = shared_[first];
    for (var i = 1u; i < min(n, 16u); i++) {
        all = max(all, shared_[first + i]);
    }
    return all;
}

// The maximum over a team.
fn largest_by_shuffles(lane: u32, size: u32, value: f32) -> f32 {
    let n = team();
    var all = value;
    for (var i = 1u; i < min(n, size); i *= 2u) {
        all = max(all, subgroupShuffleXor(all, i));
    }
    if n > size {
        workgroupBarrier();
        shared_[lane] = all;
        workgroupBarrier();
        let first = lane - lane % n;
        all = shared_[first];
        for (var i = size; i < n; i += size) {
            all = max(all, shared_[first + i]);
        }
    }
    return all;
}
