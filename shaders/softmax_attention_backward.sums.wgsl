// softmax_attention_backward: sums over blocks of features; loads and stores. Goes on from softmax_attention_backward.wgsl.

// Scores and dP of a row with TILE frames of a wide head.
fn sum_scores(place: Place, row: Row, first: u32, keys: bool, lane: u32) {
    for (var i = 0u; i < TILE; i += 4u) {
        first_lines[SUMS + i * 16u + lane] = vec4(0.0);
        second_lines[SUMS + i * 16u + lane] = vec4(0.0);
    }
    for (var block = 0u; block < p.dim; block += 32u) {
        load_row(row, block, keys);
        stage_block(place, first, block, keys, lane);
        for (var i = 0u; i < TILE; i += 4u) {
            first_lines[SUMS + i * 16u + lane] += scores_of(i * 8u);
            second_lines[SUMS + i * 16u + lane] += slopes_of(i * 8u);
        }
    }
}

// TILE frames of 32 columns of a wide head to shared memory, zeros past the end of either.
fn stage_block(place: Place, first: u32, block: u32, keys: bool, lane: u32) {
    let column = block + lane % 8u * 4u;
    workgroupBarrier();
    for (var i = lane / 8u; i < TILE; i += 8u) {
        let at = place.start + (first + i) * p.heads * p.dim + column;
        let width = select(0u, left(column), first + i < p.frames);
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

// Adds four keys, those inside the window, to the statistics of a row of q.
fn measure(four: vec4<f32>, slope: vec4<f32>, inside: vec4<bool>) {
    let found = select(vec4(LOWEST), four, inside);
    let top = max(peak, max(max(found.x, found.y), max(found.z, found.w)));
    let factor = exp(peak - top);
    let weight = select(vec4(0.0), exp(found - top), inside);
    peak = top;
    total = fma(total, factor, dot(weight, vec4(1.0)));
    drop = fma(drop, factor, dot(weight, slope));
}

fn close() {
    total = 1.0 / total;
    drop *= total;
}

// acc += r dS k of four keys; k is zero past the window.
fn add_keys(four: vec4<f32>, slope: vec4<f32>, at: u32) {
    let weight = exp(min(four - peak, vec4(0.0))) * total * inverseSqrt(f32(p.dim));
    let ds = weight * (slope - drop);
    acc[0] += of_first(at, ds);
    if span() > 1u {
        acc[1] += of_first(at + 1u, ds);
    }
    if span() > 2u {
        acc[2] += of_first(at + 2u, ds);
        acc[3] += of_first(at + 3u, ds);
    }
    if span() > 4u {
        acc[4] += of_first(at + 4u, ds);
        acc[5] += of_first(at + 5u, ds);
        acc[6] += of_first(at + 6u, ds);
        acc[7] += of_first(at + 7u, ds);
    }
}

// acc += r dS^T q and second_acc += P^T dy of four rows of q, those inside the window.
fn add_queries(four: vec4<f32>, slope: vec4<f32>, row: u32, inside: vec4<bool>, at: u32) {
    let peak = vec4(peaks[row], peaks[row + 1u], peaks[row + 2u], peaks[row + 3u]);
    let scale = vec4(scales[row], scales[row + 1u], scales[row + 2u], scales[row + 3u]);
    let drop = vec4(drops[row], drops[row + 1u], drops[row + 2u], drops[row + 3u]);
    let weight = select(vec4(0.0), exp(four - peak) * scale, inside);
    let ds = select(vec4(0.0), weight * (slope - drop) * inverseSqrt(f32(p.dim)), inside);
    acc[0] += of_first(at, ds);
    second_acc[0] += of_second(at, weight);
    if span() > 1u {
        acc[1] += of_first(at + 1u, ds);
        second_acc[1] += of_second(at + 1u, weight);
    }
    if span() > 2u {
        acc[2] += of_first(at + 2u, ds);
        second_acc[2] += of_second(at + 2u, weight);
        acc[3] += of_first(at + 3u, ds);
        second_acc[3] += of_second(at + 3u, weight);
    }
    if span() > 4u {
        acc[4] += of_first(at + 4u, ds);
        second_acc[4] += of_second(at + 4u, weight);
        acc[5] += of_first(at + 5u, ds);
        second_acc[5] += of_second(at + 5u, weight);
        acc[6] += of_first(at + 6u, ds);
        second_acc[6] += of_second(at + 6u, weight);
        acc[7] += of_first(at + 7u, ds);
        second_acc[7] += of_second(at + 7u, weight);
    }
}

// Four lines, weighed.
fn of_first(at: u32, weight: vec4<f32>) -> vec4<f32> {
    return mat4x4(first_lines[at], first_lines[at + 8u], first_lines[at + 16u], first_lines[at + 24u]) * weight;
}

fn of_second(at: u32, weight: vec4<f32>) -> vec4<f32> {
    return mat4x4(second_lines[at], second_lines[at + 8u], second_lines[at + 16u], second_lines[at + 24u]) * weight;
}

fn slopes_of(at: u32) -> vec4<f32> {
    return vec4(slope(at), slope(at + 8u), slope(at + 16u), slope(at + 24u));
}

// The score of the row and a line: to the bit the same of a row of q with k as of a row of k with q.
fn score(at: u32) -> f32 {
    var sum = dot(first_row[0], first_lines[at]);
    if span() > 1u {
        sum += dot(first_row[1], first_lines[at + 1u]);
    }
    if span() > 2u {
        sum += dot(first_row[2], first_lines[at + 2u]) + dot(first_row[3], first_lines[at + 3u]);
    }
    if span() > 4u {
        sum += (dot(first_row[4], first_lines[at + 4u]) + dot(first_row[5], first_lines[at + 5u]))
            + (dot(first_row[6], first_lines[at + 6u]) + dot(first_row[7], first_lines[at + 7u]));
    }
    return sum * inverseSqrt(f32(p.dim));
}

// dP of the row and a line.
fn slope(at: u32) -> f32 {
    var sum = dot(second_row[0], second_lines[at]);
    if span() > 1u {
        sum += dot(second_row[1], second_lines[at + 1u]);
    }
    if span() > 2u {
        sum += dot(second_row[2], second_lines[at + 2u]) + dot(second_row[3], second_lines[at + 3u]);
    }
    if span() > 4u {
        sum += (dot(second_row[4], second_lines[at + 4u]) + dot(second_row[5], second_lines[at + 5u]))
            + (dot(second_row[6], second_lines[at + 6u]) + dot(second_row[7], second_lines[at + 7u]));
    }
    return sum;
}

// The row's q and dy, or k and v, from a feature on; zeros past the end of the head.
fn load_row(row: Row, feature: u32, queries: bool) {
    first_row = array<vec4<f32>, 8>();
    second_row = array<vec4<f32>, 8>();
    if !row.inside {
        return;
    }
    first_row[0] = first_part(row, feature, queries);
    second_row[0] = second_part(row, feature, queries);
    if span() > 1u {
        first_row[1] = first_part(row, feature + 4u, queries);
        second_row[1] = second_part(row, feature + 4u, queries);
    }
    if span() > 2u {
        first_row[2] = first_part(row, feature + 8u, queries);
        second_row[2] = second_part(row, feature + 8u, queries);
        first_row[3] = first_part(row, feature + 12u, queries);
        second_row[3] = second_part(row, feature + 12u, queries);
    }
    if span() > 4u {
        first_row[4] = first_part(row, feature + 16u, queries);
        second_row[4] = second_part(row, feature + 16u, queries);
        first_row[5] = first_part(row, feature + 20u, queries);
        second_row[5] = second_part(row, feature + 20u, queries);
        first_row[6] = first_part(row, feature + 24u, queries);
        second_row[6] = second_part(row, feature + 24u, queries);
        first_row[7] = first_part(row, feature + 28u, queries);
        second_row[7] = second_part(row, feature + 28u, queries);
    }
}

fn first_part(row: Row, feature: u32, queries: bool) -> vec4<f32> {
    if queries {
        return fetch_q(row.start + feature, left(feature));
    }
    return fetch_k(row.start + feature, left(feature));
}

fn second_part(row: Row, feature: u32, queries: bool) -> vec4<f32> {
    if queries {
        return fetch_dy(row.start + feature, left(feature));
    }
    return fetch_v(row.start + feature, left(feature));
}

// The first `count` numbers from the tensor's j-th on, then zeros.
fn fetch_q(j: u32, count: u32) -> vec4<f32> {
    let i = p.q + j;
    if count == 4u && i % 4u == 0u {
        return q[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = q[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn fetch_k(j: u32, count: u32) -> vec4<f32> {
    let i = p.k + j;
    if count == 4u && i % 4u == 0u {
        return k[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = k[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn fetch_v(j: u32, count: u32) -> vec4<f32> {
    let i = p.v + j;
    if count == 4u && i % 4u == 0u {
        return v[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = v[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn fetch_dy(j: u32, count: u32) -> vec4<f32> {
    let i = p.dy + j;
    if count == 4u && i % 4u == 0u {
        return dy[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = dy[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn store_row(row: Row, feature: u32) {
    store_dq(row, feature, acc[0]);
    if span() > 1u {
        store_dq(row, feature + 4u, acc[1]);
    }
    if span() > 2u {
        store_dq(row, feature + 8u, acc[2]);
        store_dq(row, feature + 12u, acc[3]);
    }
    if span() > 4u {
        store_dq(row, feature + 16u, acc[4]);
        store_dq(row, feature + 20u, acc[5]);
        store_dq(row, feature + 24u, acc[6]);
        store_dq(row, feature + 28u, acc[7]);
    }
}

fn store_column(row: Row, feature: u32) {
    store_dk(row, feature, acc[0]);
    store_dv(row, feature, second_acc[0]);
    if span() > 1u {
        store_dk(row, feature + 4u, acc[1]);
        store_dv(row, feature + 4u, second_acc[1]);
    }
    if span() > 2u {
        store_dk(row, feature + 8u, acc[2]);
        store_dv(row, feature + 8u, second_acc[2]);
        store_dk(row, feature + 12u, acc[3]);
        store_dv(row, feature + 12u, second_acc[3]);
    }
    if span() > 4u {
        store_dk(row, feature + 16u, acc[4]);
        store_dv(row, feature + 16u, second_acc[4]);
        store_dk(row, feature + 20u, acc[5]);
        store_dv(row, feature + 20u, second_acc[5]);
        store_dk(row, feature + 24u, acc[6]);
        store_dv(row, feature + 24u, second_acc[6]);
        store_dk(row, feature + 28u, acc[7]);
        store_dv(row, feature + 28u, second_acc[7]);
    }
}

fn store_row_each(row: Row, feature: u32) {
    store_dq_each(row, feature, acc[0]);
    if span() > 1u {
        store_dq_each(row, feature + 4u, acc[1]);
    }
    if span() > 2u {
        store_dq_each(row, feature + 8u, acc[2]);
        store_dq_each(row, feature + 12u, acc[3]);
    }
    if span() > 4u {
        store_dq_each(row, feature + 16u, acc[4]);
        store_dq_each(row, feature + 20u, acc[5]);
        store_dq_each(row, feature + 24u, acc[6]);
        store_dq_each(row, feature + 28u, acc[7]);
    }
}

fn store_column_each(row: Row, feature: u32) {
    store_dk_each(row, feature, acc[0]);
    store_dv_each(row, feature, second_acc[0]);
    if span() > 1u {
        store_dk_each(row, feature + 4u, acc[1]);
        store_dv_each(row, feature + 4u, second_acc[1]);
    }
    if span() > 2u {
        store_dk_each(row, feature + 8u, acc[2]);
        store_dv_each(row, feature + 8u, second_acc[2]);
        store_dk_each(row, feature + 12u, acc[3]);
        store_dv_each(row, feature + 12u, second_acc[3]);
    }
    if span() > 4u {
        store_dk_each(row, feature + 16u, acc[4]);
        store_dv_each(row, feature + 16u, second_acc[4]);
        store_dk_each(row, feature + 20u, acc[5]);
        store_dv_each(row, feature + 20u, second_acc[5]);
        store_dk_each(row, feature + 24u, acc[6]);
        store_dv_each(row, feature + 24u, second_acc[6]);
        store_dk_each(row, feature + 28u, acc[7]);
        store_dv_each(row, feature + 28u, second_acc[7]);
    }
}

fn store_dq(row: Row, feature: u32, value: vec4<f32>) {
    if row.inside && feature < p.dim {
        dq[(p.dq + row.start + feature) / 4u] = value;
    }
}

fn store_dk(row: Row, feature: u32, value: vec4<f32>) {
    if row.inside && feature < p.dim {
        dk[(p.dk + row.start + feature) / 4u] = value;
    }
}

fn store_dv(row: Row, feature: u32, value: vec4<f32>) {
    if row.inside && feature < p.dim {
        dv[(p.dv + row.start + feature) / 4u] = value;
    }
}

// Number by number: a vec4 may belong to two rows, and two invocations must not write one.
fn store_dq_each(row: Row, feature: u32, value: vec4<f32>) {
    if row.inside {
        for (var i = 0u; i < left(feature); i++) {
            dq_each[p.dq + row.start + feature + i] = value[i];
        }
    }
}

fn store_dk_each(row: Row, feature: u32, value: vec4<f32>) {
    if row.inside {
        for (var i = 0u; i < left(feature); i++) {
            dk_each[p.dk + row.start + feature + i] = value[i];
        }
    }
}

fn store_dv_each(row: Row, feature: u32, value: vec4<f32>) {
    if row.inside {
        for (var i = 0u; i < left(feature); i++) {
            dv_each[p.dv + row.start + feature + i] = value[i];
        }
    }
}
