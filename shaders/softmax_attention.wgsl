// softmax_attention: for each head o = P v, P = softmax over frames of q k^T / sqrt(d).
//
// shapes   q, k, v, y [s, t, heads d]
// launch   d <= 32: a workgroup of 64 for one sequence and up to four heads (32 columns), with all its rows where
//          t <= 48, else with 64 of them. Wider heads (`_wide`): one for 64 frames and 32 columns of a head
// shared   12 KiB
// plan     48 frames of k and v by 32 columns lie in shared memory, loaded once by coalesced lines: all of a window of
//          up to 48 frames. An invocation owns a row: q, o, maximum and sum stay in its registers while the keys pass,
//          four at a time, read as broadcasts (no bank conflicts); scores never leave registers. Longer windows
//          stream, what is summed so far scaled as maxima rise. Wider heads sum the scores of 16 keys in shared memory,
//          block by block of features
// bound    multiply-adds and exp: 45 % of the peak expected; not measured on a GPU

struct Parameters {
    sequences: u32,
    frames: u32,
    heads: u32,
    dim: u32,
    q: u32,
    k: u32,
    v: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

const LOWEST = -3.4028234e38;
const PLACES = vec4(0u, 1u, 2u, 3u);
// Frames that are in shared memory together; of wide heads.
const CHUNK = 48u;
const TILE = 16u;
const SUMS = 128u;

// [CHUNK, 8] vec4s each. Of wide heads [TILE, 8], the keys followed from SUMS on by [TILE / 4, 64] vec4s of scores.
var<workgroup> keys: array<vec4<f32>, 384>;
var<workgroup> values: array<vec4<f32>, 384>;

// An invocation's row of q, scaled, and of o, with the maximum and the sum of its weights so far.
var<private> query: array<vec4<f32>, 8>;
var<private> acc: array<vec4<f32>, 8>;
var<private> peak: f32;
var<private> total: f32;

// Where d is a multiple of four.
@compute @workgroup_size(64)
fn softmax_attention(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= groups() {
        return;
    }
    let place = place_of(index);
    for (var first = place.first; first < place.end; first += 64u) {
        let row = row_of(place, first + lane);
        attend(place, row, first == place.first, lane);
        store(row, 0u, acc[0] / total);
        if span() > 1u {
            store(row, 4u, acc[1] / total);
        }
        if span() > 2u {
            store(row, 8u, acc[2] / total);
            store(row, 12u, acc[3] / total);
        }
        if span() > 4u {
            store(row, 16u, acc[4] / total);
            store(row, 20u, acc[5] / total);
            store(row, 24u, acc[6] / total);
            store(row, 28u, acc[7] / total);
        }
    }
}

// Any d.
@compute @workgroup_size(64)
fn softmax_attention_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= groups() {
        return;
    }
    let place = place_of(index);
    for (var first = place.first; first < place.end; first += 64u) {
        let row = row_of(place, first + lane);
        attend(place, row, first == place.first, lane);
        store_each(row, 0u, acc[0] / total);
        if span() > 1u {
            store_each(row, 4u, acc[1] / total);
        }
        if span() > 2u {
            store_each(row, 8u, acc[2] / total);
            store_each(row, 12u, acc[3] / total);
        }
        if span() > 4u {
            store_each(row, 16u, acc[4] / total);
            store_each(row, 20u, acc[5] / total);
            store_each(row, 24u, acc[6] / total);
            store_each(row, 28u, acc[7] / total);
        }
    }
}

@compute @workgroup_size(64)
fn softmax_attention_wide(
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
    attend_wide(place, row, feature, lane);
    store(row, feature, acc[0] / total);
    store(row, feature + 4u, acc[1] / total);
    store(row, feature + 8u, acc[2] / total);
    store(row, feature + 12u, acc[3] / total);
    store(row, feature + 16u, acc[4] / total);
    store(row, feature + 20u, acc[5] / total);
    store(row, feature + 24u, acc[6] / total);
    store(row, feature + 28u, acc[7] / total);
}

@compute @workgroup_size(64)
fn softmax_attention_wide_each(
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
    attend_wide(place, row, feature, lane);
    store_each(row, feature, acc[0] / total);
    store_each(row, feature + 4u, acc[1] / total);
    store_each(row, feature + 8u, acc[2] / total);
    store_each(row, feature + 12u, acc[3] / total);
    store_each(row, feature + 16u, acc[4] / total);
    store_each(row, feature + 20u, acc[5] / total);
    store_each(row, feature + 24u, acc[6] / total);
    store_each(row, feature + 28u, acc[7] / total);
}

// acc and total of a row; `fresh` for the first one of a workgroup.
fn attend(place: Place, row: Row, fresh: bool, lane: u32) {
    load_query(row, 0u);
    acc = array<vec4<f32>, 8>();
    peak = LOWEST;
    total = 0.0;
    for (var first = 0u; first < p.frames; first += CHUNK) {
        let count = min(p.frames - first, CHUNK);
        if fresh || p.frames > CHUNK {
            let local = lane % 8u / span();
            let feature = lane % 8u % span() * 4u;
            let start = place.start + local * p.dim + feature;
            workgroupBarrier();
            // Up to a multiple of four, as keys are read; zeros past the frames.
            for (var i = lane / 8u; i < (count + 3u) / 4u * 4u; i += 8u) {
                let width = select(0u, left(feature), local < place.heads && i < count);
                let at = start + (first + i) * p.heads * p.dim;
                keys[i * 8u + lane % 8u] = fetch_k(p.k + at, width);
                values[i * 8u + lane % 8u] = fetch_v(p.v + at, width);
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < count; i += 4u) {
            let at = i * 8u + row.head * span();
            absorb(scores_of(at), i + PLACES < vec4(count), at);
        }
    }
}

// The same for 32 columns of a wide head.
fn attend_wide(place: Place, row: Row, feature: u32, lane: u32) {
    acc = array<vec4<f32>, 8>();
    peak = LOWEST;
    total = 0.0;
    for (var first = 0u; first < p.frames; first += TILE) {
        let count = min(p.frames - first, TILE);
        for (var i = 0u; i < TILE; i += 4u) {
            keys[SUMS + i * 16u + lane] = vec4(0.0);
        }
        for (var block = 0u; block < p.dim; block += 32u) {
            load_query(row, block);
            let column = block + lane % 8u * 4u;
            workgroupBarrier();
            for (var i = lane / 8u; i < TILE; i += 8u) {
                let at = p.k + place.start + (first + i) * p.heads * p.dim + column;
                keys[i * 8u + lane % 8u] = fetch_k(at, select(0u, left(column), i < count));
            }
            workgroupBarrier();
            for (var i = 0u; i < TILE; i += 4u) {
                keys[SUMS + i * 16u + lane] += scores_of(i * 8u);
            }
        }
        let column = feature + lane % 8u * 4u;
        for (var i = lane / 8u; i < TILE; i += 8u) {
            let at = p.v + place.start + (first + i) * p.heads * p.dim + column;
            values[i * 8u + lane % 8u] = fetch_v(at, select(0u, left(column), i < count));
        }
        workgroupBarrier();
        for (var i = 0u; i < count; i += 4u) {
            absorb(keys[SUMS + i * 16u + lane], i + PLACES < vec4(count), i * 8u);
        }
    }
}

// Adds four keys to the row, those inside the window.
fn absorb(four: vec4<f32>, inside: vec4<bool>, at: u32) {
    let found = select(vec4(LOWEST), four, inside);
    let top = max(peak, max(max(found.x, found.y), max(found.z, found.w)));
    let factor = exp(peak - top);
    let weight = select(vec4(0.0), exp(found - top), inside);
    peak = top;
    total = fma(total, factor, (weight.x + weight.y) + (weight.z + weight.w));
    acc[0] = fma(acc[0], vec4(factor), weighed(at, weight));
    if span() > 1u {
        acc[1] = fma(acc[1], vec4(factor), weighed(at + 1u, weight));
    }
    if span() > 2u {
        acc[2] = fma(acc[2], vec4(factor), weighed(at + 2u, weight));
        acc[3] = fma(acc[3], vec4(factor), weighed(at + 3u, weight));
    }
    if span() > 4u {
        acc[4] = fma(acc[4], vec4(factor), weighed(at + 4u, weight));
        acc[5] = fma(acc[5], vec4(factor), weighed(at + 5u, weight));
        acc[6] = fma(acc[6], vec4(factor), weighed(at + 6u, weight));
        acc[7] = fma(acc[7], vec4(factor), weighed(at + 7u, weight));
    }
}

// Four values, weighed.
fn weighed(at: u32, weight: vec4<f32>) -> vec4<f32> {
    return mat4x4(values[at], values[at + 8u], values[at + 16u], values[at + 24u]) * weight;
}

// The score of a key.
fn score(at: u32) -> f32 {
    var sum = dot(query[0], keys[at]);
    if span() > 1u {
        sum += dot(query[1], keys[at + 1u]);
    }
    if span() > 2u {
        sum += dot(query[2], keys[at + 2u]) + dot(query[3], keys[at + 3u]);
    }
    if span() > 4u {
        sum += (dot(query[4], keys[at + 4u]) + dot(query[5], keys[at + 5u]))
            + (dot(query[6], keys[at + 6u]) + dot(query[7], keys[at + 7u]));
    }
    return sum;
}

// The row's q from a feature on, zeros past the end of the head.
fn load_query(row: Row, feature: u32) {
    let scale = inverseSqrt(f32(p.dim));
    query = array<vec4<f32>, 8>();
    if !row.inside {
        return;
    }
    query[0] = scale * part_of_query(row, feature);
    if span() > 1u {
        query[1] = scale * part_of_query(row, feature + 4u);
    }
    if span() > 2u {
        query[2] = scale * part_of_query(row, feature + 8u);
        query[3] = scale * part_of_query(row, feature + 12u);
    }
    if span() > 4u {
        query[4] = scale * part_of_query(row, feature + 16u);
        query[5] = scale * part_of_query(row, feature + 20u);
        query[6] = scale * part_of_query(row, feature + 24u);
        query[7] = scale * part_of_query(row, feature + 28u);
    }
}

fn part_of_query(row: Row, feature: u32) -> vec4<f32> {
    return fetch_q(p.q + row.start + feature, left(feature));
}

// The first `count` numbers from the i-th on, then zeros.
fn fetch_q(i: u32, count: u32) -> vec4<f32> {
    if count == 4u && i % 4u == 0u {
        return q[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = q[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn fetch_k(i: u32, count: u32) -> vec4<f32> {
    if count == 4u && i % 4u == 0u {
        return k[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = k[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn fetch_v(i: u32, count: u32) -> vec4<f32> {
    if count == 4u && i % 4u == 0u {
        return v[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = v[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn store(row: Row, feature: u32, value: vec4<f32>) {
    if row.inside && feature < p.dim {
        y[(p.y + row.start + feature) / 4u] = value;
    }
}

// Number by number: a vec4 of y may belong to two rows, and two invocations must not write one.
fn store_each(row: Row, feature: u32, value: vec4<f32>) {
    if row.inside {
        for (var i = 0u; i < left(feature); i++) {
            y_each[p.y + row.start + feature + i] = value[i];
        }
    }
}
