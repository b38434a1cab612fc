// softmax_backward: dx[r, i] = y[r, i] (dy[r, i] - sum_j y[r, j] dy[r, j]).
//
// shapes   y, dy, dx [rows, c]
// launch   workgroups of 256 in teams of a power of two; a team has a row of up to eight numbers an invocation
//          (c <= 2048), a workgroup a longer one
// shared   1 KiB
// plan     rows are read once, by vec4s where c is a multiple of four, else by neighbouring numbers (coalesced either
//          way), and stay in four vec4s of registers until dx is written; a team folds its sums in shared memory
//          without a bank conflict, or by shuffles. Longer rows are read twice, the second time from cache
// bound    memory: 12 bytes an element, 80 % of the copy bandwidth expected from c = 32 on; not measured on a GPU

struct Parameters {
    rows: u32,
    channels: u32,
    y: u32,
    dy: u32,
    dx: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> y_each: array<f32>;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dy_each: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> shared_: array<f32, 256>;

// What an invocation holds of a row: vec4s number `member` and `member + team()`, or eight numbers as far apart.
struct Held {
    y: array<vec4<f32>, 2>,
    dy: array<vec4<f32>, 2>,
}

// Rows of fours.
@compute @workgroup_size(256)
fn softmax_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    let row = load(place);
    store(place, row, total(lane, product(row)));
}

@compute @workgroup_size(256)
fn softmax_backward_subgroups(
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
    store(place, row, total_by_shuffles(lane, size, product(row)));
}

// Rows of any length up to 2048.
@compute @workgroup_size(256)
fn softmax_backward_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    let row = load_each(place);
    store_each(place, row, total(lane, product(row)));
}

@compute @workgroup_size(256)
fn softmax_backward_each_subgroups(
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
    store_each(place, row, total_by_shuffles(lane, size, product(row)));
}

// Rows of any length, a workgroup each.
@compute @workgroup_size(256)
fn softmax_backward_long(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * grid.x + group.x;
    if row >= p.rows {
        return;
    }
    let first = row * p.channels;
    var ours = 0.0;
    for (var i = lane; i < p.channels; i += 256u) {
        ours = fma(y_each[p.y + first + i], dy_each[p.dy + first + i], ours);
    }
    let sum = total(lane, ours);
    for (var i = lane; i < p.channels; i += 256u) {
        dx_each[p.dx + first + i] = y_each[p.y + first + i] * (dy_each[p.dy + first + i] - sum);
    }
}

fn load(place: Place) -> Held {
    let i = place.member;
    return Held(
        array(four_y(place, i), four_y(place, i + team())),
        array(four_dy(place, i), four_dy(place, i + team())),
    );
}

fn load_each(place: Place) -> Held {
    let i = place.member;
    return Held(
        array(ones_y(place, i), ones_y(place, i + 4u * team())),
        array(ones_dy(place, i), ones_dy(place, i + 4u * team())),
    );
}

fn four_y(place: Place, i: u32) -> vec4<f32> {
    let at = (p.y + row_start(place)) / 4u + min(i, p.channels / 4u - 1u);
    return select(vec4(0.0), y[at], is_inside(place, 4u * i));
}

fn ones_y(place: Place, i: u32) -> vec4<f32> {
    let n = team();
    return vec4(one_y(place, i), one_y(place, i + n), one_y(place, i + 2u * n), one_y(place, i + 3u * n));
}

fn one_y(place: Place, i: u32) -> f32 {
    let at = p.y + row_start(place) + min(i, p.channels - 1u);
    return select(0.0, y_each[at], is_inside(place, i));
}

fn four_dy(place: Place, i: u32) -> vec4<f32> {
    let at = (p.dy + row_start(place)) / 4u + min(i, p.channels / 4u - 1u);
    return select(vec4(0.0), dy[at], is_inside(place, 4u * i));
}

fn ones_dy(place: Place, i: u32) -> vec4<f32> {
    let n = team();
    return vec4(one_dy(place, i), one_dy(place, i + n), one_dy(place, i + 2u * n), one_dy(place, i + 3u * n));
}

fn one_dy(place: Place, i: u32) -> f32 {
    let at = p.dy + row_start(place) + min(i, p.channels - 1u);
    return select(0.0, dy_each[at], is_inside(place, i));
}

fn store(place: Place, row: Held, sum: f32) {
    let i = (p.dx + row_start(place)) / 4u + place.member;
    if is_inside(place, 4u * place.member) {
        dx[i] = row.y[0] * (row.dy[0] - sum);
    }
    if is_inside(place, 4u * (place.member + team())) {
        dx[i + team()] = row.y[1] * (row.dy[1] - sum);
    }
}

fn store_each(place: Place, row: Held, sum: f32) {
    store_ones(place, place.member, row.y[0] * (row.dy[0] - sum));
    store_ones(place, place.member + 4u * team(), row.y[1] * (row.dy[1] - sum));
}

fn store_ones(place: Place, i: u32, value: vec4<f32>) {
    let n = team();
    store_one(place, i, value.x);
    store_one(place, i + n, value.y);
    store_one(place, i + 2u * n, value.z);
    store_one(place, i + 3u * n, value.w);
}

fn store_one(place: Place, i: u32, value: f32) {
    if is_inside(place, i) {
        dx_each[p.dx + row_start(place) + i] = value;
    }
}

fn product(row: Held) -> f32 {
    let four = fma(row.y[0], row.dy[0], row.y[1] * row.dy[1]);
    return (four.x + four.y) + (four.z + four.w);
}
