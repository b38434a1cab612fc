// layer_norm: y = (x - mean) rstd gamma + beta with mean and rstd = 1 / sqrt(variance + eps) of every row of x.
//
// shapes   x, y [rows, c], gamma, beta [c], mean, rstd [rows]
// launch   workgroups of 256 in teams of a power of two; a team has a row of up to eight numbers an invocation
//          (c <= 2048), a workgroup a longer one
// shared   1 KiB
// plan     a row is read once, by vec4s where c is a multiple of four, else by neighbouring numbers (coalesced either
//          way), and stays in two vec4s of registers for its mean, for the squares about that mean (a large mean costs
//          no digits) and for the result; a team folds its sums in shared memory without a bank conflict, or by
//          shuffles. Longer rows are read three times, the second and third from cache
// bound    memory: 8 bytes an element, 80 % of the copy bandwidth expected from c = 32 on; not measured on a GPU

struct Parameters {
    rows: u32,
    channels: u32,
    eps: f32,
    x: u32,
    gamma: u32,
    beta: u32,
    y: u32,
    mean: u32,
    rstd: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> x_each: array<f32>;
@group(0) @binding(1) var<storage, read_write> gamma: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> gamma_each: array<f32>;
@group(0) @binding(2) var<storage, read_write> beta: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> beta_each: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y_each: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> rstd: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> shared_: array<f32, 256>;

// What an invocation holds of a row: vec4s number `member` and `member + team()`, or eight numbers as far apart.
struct Held {
    a: vec4<f32>,
    b: vec4<f32>,
}

// Rows of fours.
@compute @workgroup_size(256)
fn layer_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    let row = load(place);
    let middle = total(lane, sum(row)) / f32(p.channels);
    let away = deviations(place, row, middle);
    let factor = inverseSqrt(total(lane, squares(away)) / f32(p.channels) + p.eps);
    store_moments(place, middle, factor);
    store(place, away, factor);
}

@compute @workgroup_size(256)
fn layer_norm_subgroups(
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
    let middle = total_by_shuffles(lane, size, sum(row)) / f32(p.channels);
    let away = deviations(place, row, middle);
    let factor = inverseSqrt(total_by_shuffles(lane, size, squares(away)) / f32(p.channels) + p.eps);
    store_moments(place, middle, factor);
    store(place, away, factor);
}

// Rows of any length up to 2048.
@compute @workgroup_size(256)
fn layer_norm_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    let row = load_each(place);
    let middle = total(lane, sum(row)) / f32(p.channels);
    let away = deviations_each(place, row, middle);
    let factor = inverseSqrt(total(lane, squares(away)) / f32(p.channels) + p.eps);
    store_moments(place, middle, factor);
    store_each(place, away, factor);
}

@compute @workgroup_size(256)
fn layer_norm_each_subgroups(
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
    let middle = total_by_shuffles(lane, size, sum(row)) / f32(p.channels);
    let away = deviations_each(place, row, middle);
    let factor = inverseSqrt(total_by_shuffles(lane, size, squares(away)) / f32(p.channels) + p.eps);
    store_moments(place, middle, factor);
    store_each(place, away, factor);
}

// Rows of any length, a workgroup each.
@compute @workgroup_size(256)
fn layer_norm_long(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = Place(group.y * grid.x + group.x, lane);
    if place.row >= p.rows {
        return;
    }
    var ours = 0.0;
    for (var i = lane; i < p.channels; i += 256u) {
        ours += one(place, i);
    }
    let middle = total(lane, ours) / f32(p.channels);
    ours = 0.0;
    for (var i = lane; i < p.channels; i += 256u) {
        let away = one(place, i) - middle;
        ours = fma(away, away, ours);
    }
    let factor = inverseSqrt(total(lane, ours) / f32(p.channels) + p.eps);
    store_moments(place, middle, factor);
    for (var i = lane; i < p.channels; i += 256u) {
        store_one(place, i, (one(place, i) - middle) * factor);
    }
}

fn load(place: Place) -> Held {
    return Held(four(place, place.member), four(place, place.member + team()));
}

fn four(place: Place, i: u32) -> vec4<f32> {
    let at = (p.x + row_start(place)) / 4u + min(i, p.channels / 4u - 1u);
    return select(vec4(0.0), x[at], is_inside(place, 4u * i));
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
    return select(0.0, x_each[at], is_inside(place, i));
}

// Distances from the mean, 0 past the end of a row.
fn deviations(place: Place, row: Held, middle: f32) -> Held {
    let i = 4u * place.member;
    return Held(
        select(vec4(0.0), row.a - middle, i < p.channels),
        select(vec4(0.0), row.b - middle, i + 4u * team() < p.channels),
    );
}

fn deviations_each(place: Place, row: Held, middle: f32) -> Held {
    let i = place.member + team() * vec4(0u, 1u, 2u, 3u);
    return Held(
        select(vec4(0.0), row.a - middle, i < vec4(p.channels)),
        select(vec4(0.0), row.b - middle, i + 4u * team() < vec4(p.channels)),
    );
}

fn store_moments(place: Place, middle: f32, factor: f32) {
    if place.row < p.rows && place.member == 0u {
        mean[p.mean + place.row] = middle;
        rstd[p.rstd + place.row] = factor;
    }
}

fn store(place: Place, away: Held, factor: f32) {
    store_four(place, place.member, factor * away.a);
    store_four(place, place.member + team(), factor * away.b);
}

fn store_four(place: Place, i: u32, value: vec4<f32>) {
    if is_inside(place, 4u * i) {
        y[(p.y + row_start(place)) / 4u + i] = fma(value, gamma[p.gamma / 4u + i], beta[p.beta / 4u + i]);
    }
}

fn store_each(place: Place, away: Held, factor: f32) {
    let i = place.member;
    let n = team();
    store_one(place, i, factor * away.a.x);
    store_one(place, i + n, factor * away.a.y);
    store_one(place, i + 2u * n, factor * away.a.z);
    store_one(place, i + 3u * n, factor * away.a.w);
    store_one(place, i + 4u * n, factor * away.b.x);
    store_one(place, i + 5u * n, factor * away.b.y);
    store_one(place, i + 6u * n, factor * away.b.z);
    store_one(place, i + 7u * n, factor * away.b.w);
}

fn store_one(place: Place, i: u32, value: f32) {
    if is_inside(place, i) {
        y_each[p.y + row_start(place) + i] = fma(value, gamma_each[p.gamma + i], beta_each[p.beta + i]);
    }
}

fn sum(row: Held) -> f32 {
    let four = row.a + row.b;
    return (four.x + four.y) + (four.z + four.w);
}

fn squares(row: Held) -> f32 {
    let four = fma(row.a, row.a, row.b * row.b);
    return (four.x + four.y) + (four.z + four.w);
}
