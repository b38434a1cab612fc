// softmax_attention_backward: P = softmax over frames of r q k^T, r = 1 / sqrt(d), dv = P^T dy, dP = dy v^T,
// dS = P (dP - sum P dP), dq = r dS k, dk = r dS^T q, for each head.
//
// shapes   all [s, t, heads d]; scratch (t > 48 or d > 32) for each head the rows' maxima, inverse sums and sums of
//          P dP [t, 4]
// launch   d <= 32, t <= 48: a workgroup of 64 for one sequence and up to four heads (32 columns); longer windows: one
//          for 64 rows of q (`_rows`), then one for 64 rows of k (`_columns`). Wider heads: the same for 32 columns of
//          a head (`_wide_rows`, `_wide_columns`)
// shared   14.3 KiB
// plan     48 frames of k and v by 32 columns lie in shared memory while an invocation owns a row of q: one pass over
//          the keys finds its maximum, sum and sum of P dP, a second one dq. Then q and dy lie there and an invocation
//          owns a row of k, with dk and dv in its registers. Frames pass four at a time, read as broadcasts (no bank
//          conflicts); P and dS never leave registers. Wider heads sum scores and dP of 16 frames in shared memory,
//          block by block of features
// bound    multiply-adds and exp: 40 % of the peak expected; not measured on a GPU

struct Parameters {
    sequences: u32,
    frames: u32,
    heads: u32,
    dim: u32,
    q: u32,
    k: u32,
    v: u32,
    dy: u32,
    dq: u32,
    dk: u32,
    dv: u32,
    scratch: u32,
}

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dq: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dq_each: array<f32>;
@group(0) @binding(5) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dk_each: array<f32>;
@group(0) @binding(6) var<storage, read_write> dv: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dv_each: array<f32>;
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const LOWEST = -3.4028234e38;
const PLACES = vec4(0u, 1u, 2u, 3u);
// Frames that are in shared memory together; of wide heads.
const CHUNK = 48u;
const TILE = 16u;
const SUMS = 128u;

// [CHUNK, 8] vec4s each: k and v for rows of q, q and dy for rows of k. Of wide heads [TILE, 8], then from SUMS on
// [TILE / 4, 64] vec4s of scores and of dP.
var<workgroup> first_lines: array<vec4<f32>, 384>;
var<workgroup> second_lines: array<vec4<f32>, 384>;
// Of the rows of q, [heads, CHUNK]: maximum, inverse sum, sum of P dP.
var<workgroup> peaks: array<f32, 192>;
var<workgroup> scales: array<f32, 192>;
var<workgroup> drops: array<f32, 192>;

// An invocation's row: of q and dy, with dq; or of k and v, with dk and dv.
var<private> first_row: array<vec4<f32>, 8>;
var<private> second_row: array<vec4<f32>, 8>;
var<private> acc: array<vec4<f32>, 8>;
var<private> second_acc: array<vec4<f32>, 8>;
// Of a row of q: maximum, sum and sum of P dP; so far, then as they are used: inverse and divided.
var<private> peak: f32;
var<private> total: f32;
var<private> drop: f32;

// Where d is a multiple of four.
@compute @workgroup_size(64)
fn softmax_attention_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= groups() {
        return;
    }
    let place = place_of(index);
    stage(place, 0u, true, lane);
    for (var first = place.first; first < place.end; first += 64u) {
        let row = row_of(place, first + lane);
        differentiate_row(place, row, lane);
        if row.inside {
            keep(row.head * CHUNK + row.frame, vec4(peak, total, drop, 0.0));
        }
        store_row(row, 0u);
    }
    stage(place, 0u, false, lane);
    for (var first = place.first; first < place.end; first += 64u) {
        let row = row_of(place, first + lane);
        differentiate_column(place, row, lane);
        store_column(row, 0u);
    }
}

// Any d.
@compute @workgroup_size(64)
fn softmax_attention_backward_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= groups() {
        return;
    }
    let place = place_of(index);
    stage(place, 0u, true, lane);
    for (var first = place.first; first < place.end; first += 64u) {
        let row = row_of(place, first + lane);
        differentiate_row(place, row, lane);
        if row.inside {
            keep(row.head * CHUNK + row.frame, vec4(peak, total, drop, 0.0));
        }
        store_row_each(row, 0u);
    }
    stage(place, 0u, false, lane);
    for (var first = place.first; first < place.end; first += 64u) {
        let row = row_of(place, first + lane);
        differentiate_column(place, row, lane);
        store_column_each(row, 0u);
    }
}

@compute @workgroup_size(64)
fn softmax_attention_backward_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= groups() {
        return;
    }
    let place = place_of(index);
    let row = row_of(place, place.first + lane);
    differentiate_row(place, row, lane);
    if row.inside {
        scratch[statistics_of(place, row.head) + row.frame] = vec4(peak, total, drop, 0.0);
    }
    store_row(row, 0u);
}

@compute @workgroup_size(64)
fn softmax_attention_backward_columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= groups() {
        return;
    }
    let place = place_of(index);
    let row = row_of(place, place.first + lane);
    differentiate_column(place, row, lane);
    store_column(row, 0u);
}

@compute @workgroup_size(64)
fn softmax_attention_backward_wide_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= wide_groups() {
        return;
    }
    let place = wide_place(index);
    let row = row_of(place, place.first + lane);
    let feature = index % blocks() * 32u;
    differentiate_wide_row(place, row, feature, lane);
    if row.inside && feature == 0u {
        scratch[statistics_of(place, 0u) + row.frame] = vec4(peak, total, drop, 0.0);
    }
    store_row(row, feature);
}

@compute @workgroup_size(64)
fn softmax_attention_backward_wide_columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= wide_groups() {
        return;
    }
    let place = wide_place(index);
    let row = row_of(place, place.first + lane);
    let feature = index % blocks() * 32u;
    differentiate_wide_column(place, row, feature, lane);
    store_column(row, feature);
}

@compute @workgroup_size(64)
fn softmax_attention_backward_rows_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= groups() {
        return;
    }
    let place = place_of(index);
    let row = row_of(place, place.first + lane);
    differentiate_row(place, row, lane);
    if row.inside {
        scratch[statistics_of(place, row.head) + row.frame] = vec4(peak, total, drop, 0.0);
    }
    store_row_each(row, 0u);
}

@compute @workgroup_size(64)
fn softmax_attention_backward_columns_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= groups() {
        return;
    }
    let place = place_of(index);
    let row = row_of(place, place.first + lane);
    differentiate_column(place, row, lane);
    store_column_each(row, 0u);
}

@compute @workgroup_size(64)
fn softmax_attention_backward_wide_rows_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= wide_groups() {
        return;
    }
    let place = wide_place(index);
    let row = row_of(place, place.first + lane);
    let feature = index % blocks() * 32u;
    differentiate_wide_row(place, row, feature, lane);
    if row.inside && feature == 0u {
        scratch[statistics_of(place, 0u) + row.frame] = vec4(peak, total, drop, 0.0);
    }
    store_row_each(row, feature);
}

@compute @workgroup_size(64)
fn softmax_attention_backward_wide_columns_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= wide_groups() {
        return;
    }
    let place = wide_place(index);
    let row = row_of(place, place.first + lane);
    let feature = index % blocks() * 32u;
    differentiate_wide_column(place, row, feature, lane);
    store_column_each(row, feature);
}

// Where the statistics of a head of a workgroup start in the scratch memory.
fn statistics_of(place: Place, head: u32) -> u32 {
    let width = p.heads * p.dim;
    let sequence = place.start / (p.frames * width);
    return p.scratch / 4u + (sequence * p.heads + place.start % width / p.dim + head) * p.frames;
}

fn keep(at: u32, statistics: vec4<f32>) {
    peaks[at] = statistics.x;
    scales[at] = statistics.y;
    drops[at] = statistics.z;
}

// Frames from `first` on to shared memory: k and v for rows of q, else q and dy. Up to a multiple of four, as they are
// read; zeros past the frames.
fn stage(place: Place, first: u32, keys: bool, lane: u32) {
    let local = lane % 8u / span();
    let feature = lane % 8u % span() * 4u;
    let count = min(p.frames - first, CHUNK);
    workgroupBarrier();
    for (var i = lane / 8u; i < (count + 3u) / 4u * 4u; i += 8u) {
        let width = select(0u, left(feature), local < place.heads && i < count);
        let at = place.start + local * p.dim + feature + (first + i) * p.heads * p.dim;
        if keys {
            first_lines[i * 8u + lane % 8u] = fetch_k(at, width);
            second_lines[i * 8u + lane % 8u] = fetch_v(at, width);
        } else {
            first_lines[i * 8u + lane % 8u] = fetch_q(at, width);
            second_lines[i * 8u + lane % 8u] = fetch_dy(at, width);
        }
    }
    workgroupBarrier();
}

// acc = dq of a row, and its statistics.
fn differentiate_row(place: Place, row: Row, lane: u32) {
    load_row(row, 0u, true);
    acc = array<vec4<f32>, 8>();
    peak = LOWEST;
    total = 0.0;
    drop = 0.0;
    for (var first = 0u; first < p.frames; first += CHUNK) {
        let count = min(p.frames - first, CHUNK);
        if p.frames > CHUNK {
            stage(place, first, true, lane);
        }
        for (var i = 0u; i < count; i += 4u) {
            let at = i * 8u + row.head * span();
            measure(scores_of(at), slopes_of(at), i + PLACES < vec4(count));
        }
    }
    close();
    for (var first = 0u; first < p.frames; first += CHUNK) {
        let count = min(p.frames - first, CHUNK);
        if p.frames > CHUNK {
            stage(place, first, true, lane);
        }
        for (var i = 0u; i < count; i += 4u) {
            let at = i * 8u + row.head * span();
            add_keys(scores_of(at), slopes_of(at), at);
        }
    }
}

// acc = dk and second_acc = dv of a row.
fn differentiate_column(place: Place, row: Row, lane: u32) {
    load_row(row, 0u, false);
    acc = array<vec4<f32>, 8>();
    second_acc = array<vec4<f32>, 8>();
    for (var first = 0u; first < p.frames; first += CHUNK) {
        let count = min(p.frames - first, CHUNK);
        if p.frames > CHUNK {
            stage(place, first, false, lane);
            for (var i = lane; i < place.heads * count; i += 64u) {
                let at = statistics_of(place, i / count) + first + i % count;
                keep(i / count * CHUNK + i % count, scratch[at]);
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < count; i += 4u) {
            let at = i * 8u + row.head * span();
            add_queries(scores_of(at), slopes_of(at), row.head * CHUNK + i, i + PLACES < vec4(count), at);
        }
    }
}

// acc = dq of 32 columns of a wide head, and the row's statistics.
fn differentiate_wide_row(place: Place, row: Row, feature: u32, lane: u32) {
    peak = LOWEST;
    total = 0.0;
    drop = 0.0;
    for (var first = 0u; first < p.frames; first += TILE) {
        sum_scores(place, row, first, true, lane);
        let count = min(p.frames - first, TILE);
        for (var i = 0u; i < count; i += 4u) {
            let at = SUMS + i * 16u + lane;
            measure(first_lines[at], second_lines[at], i + PLACES < vec4(count));
        }
    }
    close();
    acc = array<vec4<f32>, 8>();
    for (var first = 0u; first < p.frames; first += TILE) {
        sum_scores(place, row, first, true, lane);
        stage_block(place, first, feature, true, lane);
        for (var i = 0u; i < min(p.frames - first, TILE); i += 4u) {
            let at = SUMS + i * 16u + lane;
            add_keys(first_lines[at], second_lines[at], i * 8u);
        }
    }
}

// acc = dk and second_acc = dv of 32 columns of a wide head.
fn differentiate_wide_column(place: Place, row: Row, feature: u32, lane: u32) {
    acc = array<vec4<f32>, 8>();
    second_acc = array<vec4<f32>, 8>();
    for (var first = 0u; first < p.frames; first += TILE) {
        sum_scores(place, row, first, false, lane);
        let count = min(p.frames - first, TILE);
        stage_block(place, first, feature, false, lane);
        if lane < count {
            keep(lane, scratch[statistics_of(place, 0u) + first + lane]);
        }
        workgroupBarrier();
        for (var i = 0u; i < count; i += 4u) {
            let at = SUMS + i * 16u + lane;
            add_queries(first_lines[at], second_lines[at], i, i + PLACES < vec4(count), i * 8u);
        }
    }
}
