// layer_norm_backward: with h = (x - mean) rstd and g = dy gamma, dx = rstd (g - mean_c(g) - h mean_c(g h)),
// dgamma = sum_rows dy h, dbeta = sum_rows dy.
//
// shapes   x, dy, dx [rows, c], gamma, dgamma, dbeta [c], mean, rstd [rows]; scratch [parts, 2, c]: dgamma, dbeta
// launch   stage 1: `parts` workgroups of 256 in teams of a power of two, each over a run of rows; a team has
//          a row of up to eight numbers an invocation (c <= 2048). Longer rows: a workgroup for dx of a row, then one
//          for 256 columns and a run of rows. Stage 2: a workgroup for 32 columns of the scratch memory
// shared   10 KiB
// plan     rows are read once, by vec4s where c is a multiple of four, else by neighbouring numbers (coalesced either
//          way), and stay in registers until dx is written; a team folds both means of a row at once, in shared memory
//          or by shuffles. gamma and the sums over rows stay in registers for the whole run; teams, then parts, are
//          added in a fixed order: no atomics
// bound    memory: 12 bytes an element, 80 % of the copy bandwidth expected from c = 32 on; not measured on a GPU

struct Parameters {
    rows: u32,
    channels: u32,
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
@group(0) @binding(1) var<storage, read_write> gamma: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> gamma_each: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dy_each: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx_each: array<f32>;
@group(0) @binding(6) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(7) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(8) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> scratch_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> shared_: array<vec2<f32>, 256>;
var<workgroup> shared_a: array<vec4<f32>, 256>;
var<workgroup> shared_b: array<vec4<f32>, 256>;

// An invocation's row, and its place in the team.
struct Place {
    row: u32,
    member: u32,
}

// Numbers of a row: vec4s number `member` and `member + team()`, or eight numbers as far apart.
struct Eight {
    a: vec4<f32>,
    b: vec4<f32>,
}

// What an invocation holds: (x - mean) rstd and dy of its row, rstd, and its shares of dgamma and dbeta so far.
struct Held {
    h: Eight,
    dy: Eight,
    rstd: f32,
    dgamma: Eight,
    dbeta: Eight,
}

// Rows of fours.
@compute @workgroup_size(256)
fn layer_norm_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = group.y * grid.x + group.x;
    if part >= p.parts {
        return;
    }
    let scale = load_gamma(lane % team());
    var held = Held();
    for (var row = part * run(); row < min((part + 1u) * run(), p.rows); row += 256u / team()) {
        let place = Place(row + lane / team(), lane % team());
        load(place, &held);
        add(&held);
        let means = total(lane, sums(held, scale)) / f32(p.channels);
        store(place, gradient(held, scale, means));
    }
    store_sums(lane, 2u * part, held.dgamma);
    store_sums(lane, 2u * part + 1u, held.dbeta);
}

@compute @workgroup_size(256)
fn layer_norm_backward_subgroups(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) inside: u32,
) {
    let part = group.y * grid.x + group.x;
    if part >= p.parts {
        return;
    }
    let size = 256u / subgroups;
    let lane = subgroup * size + inside;
    let scale = load_gamma(lane % team());
    var held = Held();
    for (var row = part * run(); row < min((part + 1u) * run(), p.rows); row += 256u / team()) {
        let place = Place(row + lane / team(), lane % team());
        load(place, &held);
        add(&held);
        let means = total_by_shuffles(lane, size, sums(held, scale)) / f32(p.channels);
        store(place, gradient(held, scale, means));
    }
    store_sums(lane, 2u * part, held.dgamma);
    store_sums(lane, 2u * part + 1u, held.dbeta);
}

// Rows of any length up to 2048.
@compute @workgroup_size(256)
fn layer_norm_backward_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = group.y * grid.x + group.x;
    if part >= p.parts {
        return;
    }
    let scale = load_gamma_each(lane % team());
    var held = Held();
    for (var row = part * run(); row < min((part + 1u) * run(), p.rows); row += 256u / team()) {
        let place = Place(row + lane / team(), lane % team());
        load_each(place, &held);
        add(&held);
        let means = total(lane, sums(held, scale)) / f32(p.channels);
        store_each(place, gradient(held, scale, means));
    }
    store_sums_each(lane, 2u * part, held.dgamma);
    store_sums_each(lane, 2u * part + 1u, held.dbeta);
}

@compute @workgroup_size(256)
fn layer_norm_backward_each_subgroups(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) inside: u32,
) {
    let part = group.y * grid.x + group.x;
    if part >= p.parts {
        return;
    }
    let size = 256u / subgroups;
    let lane = subgroup * size + inside;
    let scale = load_gamma_each(lane % team());
    var held = Held();
    for (var row = part * run(); row < min((part + 1u) * run(), p.rows); row += 256u / team()) {
        let place = Place(row + lane / team(), lane % team());
        load_each(place, &held);
        add(&held);
        let means = total_by_shuffles(lane, size, sums(held, scale)) / f32(p.channels);
        store_each(place, gradient(held, scale, means));
    }
    store_sums_each(lane, 2u * part, held.dgamma);
    store_sums_each(lane, 2u * part + 1u, held.dbeta);
}

// dx for rows of any length, a workgroup each.
@compute @workgroup_size(256)
fn layer_norm_backward_long(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * grid.x + group.x;
    if row >= p.rows {
        return;
    }
    let middle = mean[p.mean + row];
    let factor = rstd[p.rstd + row];
    let first = row * p.channels;
    var ours = vec2(0.0);
    for (var i = lane; i < p.channels; i += 256u) {
        let h = (x_each[p.x + first + i] - middle) * factor;
        ours += dy_each[p.dy + first + i] * gamma_each[p.gamma + i] * vec2(1.0, h);
    }
    let means = total(lane, ours) / f32(p.channels);
    for (var i = lane; i < p.channels; i += 256u) {
        let h = (x_each[p.x + first + i] - middle) * factor;
        let g = dy_each[p.dy + first + i] * gamma_each[p.gamma + i];
        dx_each[p.dx + first + i] = factor * (g - means.x - h * means.y);
    }
}

// The sums over a run of rows for 256 columns.
@compute @workgroup_size(256)
fn layer_norm_backward_columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let part = index % p.parts;
    let column = index / p.parts * 256u + lane;
    if column >= p.channels {
        return;
    }
    let rows = (p.rows + p.parts - 1u) / p.parts;
    var sums = vec2(0.0);
    for (var row = part * rows; row < min((part + 1u) * rows, p.rows); row++) {
        let at = row * p.channels + column;
        let h = (x_each[p.x + at] - mean[p.mean + row]) * rstd[p.rstd + row];
        sums += dy_each[p.dy + at] * vec2(h, 1.0);
    }
    let at = p.scratch + 2u * part * p.channels + column;
    scratch_each[at] = sums.x;
    scratch_each[at + p.channels] = sums.y;
}

// dgamma and dbeta from those of the parts: 32 columns, every eighth part an invocation.
@compute @workgroup_size(256)
fn layer_norm_backward_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = (group.y * grid.x + group.x) * 32u + lane % 32u;
    var sum = 0.0;
    if column < 2u * p.channels {
        for (var part = lane / 32u; part < p.parts; part += 8u) {
            sum += scratch_each[p.scratch + 2u * part * p.channels + column];
        }
    }
    shared_[lane].x = sum;
    for (var half = 128u; half >= 32u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            shared_[lane].x += shared_[lane + half].x;
        }
    }
    if lane < 32u && column < p.channels {
        dgamma[p.dgamma + column] = shared_[lane].x;
    } else if lane < 32u && column < 2u * p.channels {
        dbeta[p.dbeta + column - p.channels] = shared_[lane].x;
    }
}

// Invocations of a row: a power of two.
fn team() -> u32 {
    return min(256u, 1u << (32u - countLeadingZeros((p.channels + 7u) / 8u - 1u)));
}

// Rows of a part: some for each team.
fn run() -> u32 {
    let teams = 256u / team();
    return (p.rows + p.parts * teams - 1u) / (p.parts * teams) * teams;
}

fn load_gamma(member: u32) -> Eight {
    return Eight(four_gamma(member), four_gamma(member + team()));
}

fn four_gamma(i: u32) -> vec4<f32> {
    return select(vec4(0.0), gamma[p.gamma / 4u + min(i, p.channels / 4u - 1u)], 4u * i < p.channels);
}

fn load_gamma_each(member: u32) -> Eight {
    return Eight(ones_gamma(member), ones_gamma(member + 4u * team()));
}

fn ones_gamma(i: u32) -> vec4<f32> {
    let n = team();
    return vec4(one_gamma(i), one_gamma(i + n), one_gamma(i + 2u * n), one_gamma(i + 3u * n));
}

fn one_gamma(i: u32) -> f32 {
    return select(0.0, gamma_each[p.gamma + min(i, p.channels - 1u)], i < p.channels);
}

fn load(place: Place, held: ptr<function, Held>) {
    let i = place.member;
    (*held).h = Eight(four_x(place, i), four_x(place, i + team()));
    (*held).dy = Eight(four_dy(place, i), four_dy(place, i + team()));
    normalise(place, held);
}

fn load_each(place: Place, held: ptr<function, Held>) {
    let i = place.member;
    (*held).h = Eight(ones_x(place, i), ones_x(place, i + 4u * team()));
    (*held).dy = Eight(ones_dy(place, i), ones_dy(place, i + 4u * team()));
    normalise(place, held);
}

// From x to h.
fn normalise(place: Place, held: ptr<function, Held>) {
    let row = min(place.row, p.rows - 1u);
    (*held).rstd = rstd[p.rstd + row];
    (*held).h.a = ((*held).h.a - mean[p.mean + row]) * (*held).rstd;
    (*held).h.b = ((*held).h.b - mean[p.mean + row]) * (*held).rstd;
}

fn four_x(place: Place, i: u32) -> vec4<f32> {
    let at = (p.x + row_start(place)) / 4u + min(i, p.channels / 4u - 1u);
    return select(vec4(0.0), x[at], is_inside(place, 4u * i));
}

fn ones_x(place: Place, i: u32) -> vec4<f32> {
    let n = team();
    return vec4(one_x(place, i), one_x(place, i + n), one_x(place, i + 2u * n), one_x(place, i + 3u * n));
}

fn one_x(place: Place, i: u32) -> f32 {
    let at = p.x + row_start(place) + min(i, p.channels - 1u);
    return select(0.0, x_each[at], is_inside(place, i));
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

fn is_inside(place: Place, i: u32) -> bool {
    return place.row < p.rows && i < p.channels;
}

// Within the tensor for any place, so that loads need no branch.
fn row_start(place: Place) -> u32 {
    return min(place.row, p.rows - 1u) * p.channels;
}

// A row's share of dgamma and dbeta; dy is 0 where there is none.
fn add(held: ptr<function, Held>) {
    (*held).dgamma.a += (*held).dy.a * (*held).h.a;
    (*held).dgamma.b += (*held).dy.b * (*held).h.b;
    (*held).dbeta.a += (*held).dy.a;
    (*held).dbeta.b += (*held).dy.b;
}

// Sums of g and of g h.
fn sums(held: Held, scale: Eight) -> vec2<f32> {
    let a = held.dy.a * scale.a;
    let b = held.dy.b * scale.b;
    let g = a + b;
    let gh = fma(a, held.h.a, b * held.h.b);
    return vec2((g.x + g.y) + (g.z + g.w), (gh.x + gh.y) + (gh.z + gh.w));
}

fn gradient(held: Held, scale: Eight, means: vec2<f32>) -> Eight {
    return Eight(
        held.rstd * (held.dy.a * scale.a - means.x - held.h.a * means.y),
        held.rstd * (held.dy.b * scale.b - means.x - held.h.b * means.y),
    );
}

fn store(place: Place, value: Eight) {
    let at = (p.dx + row_start(place)) / 4u + place.member;
    if is_inside(place, 4u * place.member) {
        dx[at] = value.a;
    }
    if is_inside(place, 4u * (place.member + team())) {
        dx[at + team()] = value.b;
    }
}

fn store_each(place: Place, value: Eight) {
    store_ones(place, place.member, value.a);
    store_ones(place, place.member + 4u * team(), value.b);
}

// Within a row numbers end once: returns rather than branches side by side.
fn store_ones(place: Place, i: u32, value: vec4<f32>) {
    let n = team();
    let at = p.dx + row_start(place) + i;
    if !is_inside(place, i) {
        return;
    }
    dx_each[at] = value.x;
    if i + n >= p.channels {
        return;
    }
    dx_each[at + n] = value.y;
    if i + 2u * n >= p.channels {
        return;
    }
    dx_each[at + 2u * n] = value.z;
    if i + 3u * n >= p.channels {
        return;
    }
    dx_each[at + 3u * n] = value.w;
}

// The sums of all teams to a row of the scratch memory.
fn store_sums(lane: u32, row: u32, value: Eight) {
    let all = over_teams(lane, value);
    let at = p.scratch / 4u + row * (p.channels / 4u) + lane;
    if lane < team() && 4u * lane < p.channels {
        scratch[at] = all.a;
    }
    if lane < team() && 4u * (lane + team()) < p.channels {
        scratch[at + team()] = all.b;
    }
}

fn store_sums_each(lane: u32, row: u32, value: Eight) {
    let all = over_teams(lane, value);
    if lane < team() {
        let n = team();
        store_sum(row, lane, all.a.x);
        store_sum(row, lane + n, all.a.y);
        store_sum(row, lane + 2u * n, all.a.z);
        store_sum(row, lane + 3u * n, all.a.w);
        store_sum(row, lane + 4u * n, all.b.x);
        store_sum(row, lane + 5u * n, all.b.y);
        store_sum(row, lane + 6u * n, all.b.z);
        store_sum(row, lane + 7u * n, all.b.w);
    }
}

fn store_sum(row: u32, i: u32, value: f32) {
    if i < p.channels {
        scratch_each[p.scratch + row * p.channels + i] = value;
    }
}

// The sums over all teams, which the first one knows.
fn over_teams(lane: u32, value: Eight) -> Eight {
    workgroupBarrier();
    shared_a[lane] = value.a;
    shared_b[lane] = value.b;
    for (var half = 128u; half >= team(); half /= 2u) {
        workgroupBarrier();
        if lane < half {
            shared_a[lane] += shared_a[lane + half];
            shared_b[lane] += shared_b[lane + half];
        }
    }
    return Eight(shared_a[lane], shared_b[lane]);
}

// The sums over a team, always in the same order: sixteen members fold the rest, then all add what these have.
fn total(lane: u32, value: vec2<f32>) -> vec2<f32> {
    let n = team();
    let member = lane % n;
    workgroupBarrier();
    shared_[lane] = value;
    workgroupBarrier();
    if n > 16u {
        if member < 16u {
            var folded = value;
            for (var i = 16u; i < n; i += 16u) {
                folded += shared_[lane + i];
            }
            shared_[lane] = folded;
        }
        workgroupBarrier();
    }
    let first = lane - member;
    var all = shared_[first];
    for (var i = 1u; i < min(n, 16u); i++) {
        all += shared_[first + i];
    }
    return all;
}

// The sums over a team, the same numbers in each member; teams wider than a subgroup meet in shared memory.
fn total_by_shuffles(lane: u32, size: u32, value: vec2<f32>) -> vec2<f32> {
    let n = team();
    var all = value;
    for (var i = 1u; i < min(n, size); i *= 2u) {
        all += subgroupShuffleXor(all, i);
    }
    if n > size {
        workgroupBarrier();
        shared_[lane] = all;
        workgroupBarrier();
        let first = lane - lane % n;
        all = shared_[first];
        for (var i = size; i < n; i += size) {
            all += shared_[first + i];
        }
    }
    return all;
}
