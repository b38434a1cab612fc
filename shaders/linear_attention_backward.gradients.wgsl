// linear_attention_backward: gradients of keys, queries and values; loads and stores. Goes on from linear_attention_backward.wgsl.

fn scale_gradient() {
    let scale = inverseSqrt(f32(p.dim));
    gradient[0] *= scale;
    gradient[1] *= scale;
    gradient[2] *= scale;
    gradient[3] *= scale;
}

// C and dC from registers to shared memory, vec4 `column` of row `row` at row * 8 + (column ^ row / 4); returns
// sum_t k' dk' of the invocation's columns.
fn keep(columns: Columns, lane: u32) -> vec4<f32> {
    let r = lane / 8u;
    let c = lane % 8u;
    let at = r * 32u + (c ^ r);
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
        memory[at + i * 8u] = context[i];
        memory[DC + at + i * 8u] = gradient[i];
    }
    shares[lane] = vec4(
        dot(context[0], gradient[0]),
        dot(context[1], gradient[1]),
        dot(context[2], gradient[2]),
        dot(context[3], gradient[3]),
    );
    workgroupBarrier();
    var sum = vec4(0.0);
    for (var slot = columns.low; slot < columns.high; slot++) {
        sum += shares[c * 8u + slot];
    }
    return sum * sqrt(f32(p.dim));
}

// acc = dq, dk and dv of the frames first + lane / 8 + 0, 8, 16, 24.
fn differentiate(columns: Columns, drop: vec4<f32>, first: u32, lane: u32) {
    acc = array<vec4<f32>, 12>();
    let r = lane / 8u;
    let c = lane % 8u;
    workgroupBarrier();
    for (var i = r; i < ROWS; i += 8u) {
        memory[LINES + i * 8u + c] = fetch_dy(columns, first + i);
    }
    workgroupBarrier();
    add_queries(columns.low, columns.high, lane);
    workgroupBarrier();
    for (var i = r; i < ROWS; i += 8u) {
        memory[LINES + i * 8u + c] = fetch_v(columns, first + i);
    }
    workgroupBarrier();
    add_keys(columns.low, columns.high, lane);
    workgroupBarrier();
    for (var i = r; i < ROWS; i += 8u) {
        memory[LINES + i * 8u + c] = weight_k(columns, first + i, key_peak, key_scale);
    }
    workgroupBarrier();
    add_values(columns.low, columns.high, lane);
    let at = LINES + lane;
    acc[4] = key_gradient(memory[at], acc[4], drop);
    acc[5] = key_gradient(memory[at + 64u], acc[5], drop);
    acc[6] = key_gradient(memory[at + 128u], acc[6], drop);
    acc[7] = key_gradient(memory[at + 192u], acc[7], drop);
    finish_queries(columns, first, lane);
}

// dk from k', dk' and sum_t k' dk'; exactly zero for a single frame.
fn key_gradient(weight: vec4<f32>, gradient: vec4<f32>, drop: vec4<f32>) -> vec4<f32> {
    return select(weight * (gradient - drop), vec4(0.0), p.frames == 1u);
}

// dq' becomes dq.
fn finish_queries(columns: Columns, first: u32, lane: u32) {
    let r = lane / 8u;
    let inside = PLACES < vec4(columns.count);
    let a = fetch_q(columns, first + r);
    let b = fetch_q(columns, first + r + 8u);
    let c = fetch_q(columns, first + r + 16u);
    let d = fetch_q(columns, first + r + 24u);
    workgroupBarrier();
    pairs[lane] = vec2(highest(select(vec4(LOWEST), a, inside)), acc[0].x);
    pairs[lane + 64u] = vec2(highest(select(vec4(LOWEST), b, inside)), acc[1].x);
    pairs[lane + 128u] = vec2(highest(select(vec4(LOWEST), c, inside)), acc[2].x);
    pairs[lane + 192u] = vec2(highest(select(vec4(LOWEST), d, inside)), acc[3].x);
    workgroupBarrier();
    // Sums of differences from the head's first: where all are the same, nothing is left of rounding.
    acc[0] -= pairs[r * 8u + columns.low].y;
    acc[1] -= pairs[(r + 8u) * 8u + columns.low].y;
    acc[2] -= pairs[(r + 16u) * 8u + columns.low].y;
    acc[3] -= pairs[(r + 24u) * 8u + columns.low].y;
    let weight_a = select(vec4(0.0), exp(a - peak_of(r, columns.low, columns.high)), inside);
    let weight_b = select(vec4(0.0), exp(b - peak_of(r + 8u, columns.low, columns.high)), inside);
    let weight_c = select(vec4(0.0), exp(c - peak_of(r + 16u, columns.low, columns.high)), inside);
    let weight_d = select(vec4(0.0), exp(d - peak_of(r + 24u, columns.low, columns.high)), inside);
    workgroupBarrier();
    pairs[lane] = vec2(dot(weight_a, acc[0]), dot(weight_a, vec4(1.0)));
    pairs[lane + 64u] = vec2(dot(weight_b, acc[1]), dot(weight_b, vec4(1.0)));
    pairs[lane + 128u] = vec2(dot(weight_c, acc[2]), dot(weight_c, vec4(1.0)));
    pairs[lane + 192u] = vec2(dot(weight_d, acc[3]), dot(weight_d, vec4(1.0)));
    workgroupBarrier();
    let sums_a = sums_of(r, columns.low, columns.high);
    let sums_b = sums_of(r + 8u, columns.low, columns.high);
    let sums_c = sums_of(r + 16u, columns.low, columns.high);
    let sums_d = sums_of(r + 24u, columns.low, columns.high);
    acc[0] = weight_a / sums_a.y * (acc[0] - sums_a.x / sums_a.y);
    acc[1] = weight_b / sums_b.y * (acc[1] - sums_b.x / sums_b.y);
    acc[2] = weight_c / sums_c.y * (acc[2] - sums_c.x / sums_c.y);
    acc[3] = weight_d / sums_d.y * (acc[3] - sums_d.x / sums_d.y);
}

// acc = dq', dk and dv of a block of columns of a wide head, whose C and dC come from the scratch memory.
fn differentiate_wide(head: u32, block: u32, first: u32, lane: u32) {
    acc = array<vec4<f32>, 12>();
    let r = lane / 8u;
    let c = lane % 8u;
    var drop = vec4(0.0);
    for (var b = 0u; b < blocks(); b++) {
        let columns = of_block(head, b, lane);
        workgroupBarrier();
        load_tile(head, block * blocks() + b, 0u, lane);
        load_tile(head, (blocks() + block) * blocks() + b, DC, lane);
        for (var i = r; i < ROWS; i += 8u) {
            memory[LINES + i * 8u + c] = fetch_dy(columns, first + i);
        }
        workgroupBarrier();
        add_queries(0u, 8u, lane);
        let at = c * 32u + (r ^ c);
        drop += vec4(
            dot(memory[at], memory[DC + at]),
            dot(memory[at + 8u], memory[DC + at + 8u]),
            dot(memory[at + 16u], memory[DC + at + 16u]),
            dot(memory[at + 24u], memory[DC + at + 24u]),
        );
        workgroupBarrier();
        for (var i = r; i < ROWS; i += 8u) {
            memory[LINES + i * 8u + c] = fetch_v(columns, first + i);
        }
        workgroupBarrier();
        add_keys(0u, 8u, lane);
        workgroupBarrier();
        load_tile(head, (blocks() + b) * blocks() + block, DC, lane);
        let statistics = columns_start(head) + b * 16u + c;
        for (var i = r; i < ROWS; i += 8u) {
            memory[LINES + i * 8u + c] = weight_k(columns, first + i, scratch[statistics], scratch[statistics + 8u]);
        }
        workgroupBarrier();
        add_values(0u, 8u, lane);
    }
    shares[lane] = drop;
    workgroupBarrier();
    drop = total_of_column(c) * sqrt(f32(p.dim));
    let statistics = columns_start(head) + block * 16u + c;
    let columns = of_block(head, block, lane);
    let peak = scratch[statistics];
    let scale = scratch[statistics + 8u];
    acc[4] = key_gradient(weight_k(columns, first + r, peak, scale), acc[4], drop);
    acc[5] = key_gradient(weight_k(columns, first + r + 8u, peak, scale), acc[5], drop);
    acc[6] = key_gradient(weight_k(columns, first + r + 16u, peak, scale), acc[6], drop);
    acc[7] = key_gradient(weight_k(columns, first + r + 24u, peak, scale), acc[7], drop);
}

// dq' += lines C^T, over the columns low..high of the block, in vec4s.
fn add_queries(low: u32, high: u32, lane: u32) {
    let c = lane % 8u;
    for (var slot = low; slot < high; slot++) {
        let at = c * 32u + (slot ^ c);
        let four = mat4x4(memory[at], memory[at + 8u], memory[at + 16u], memory[at + 24u]);
        let line = LINES + lane / 8u * 8u + slot;
        acc[0] += memory[line] * four;
        acc[1] += memory[line + 64u] * four;
        acc[2] += memory[line + 128u] * four;
        acc[3] += memory[line + 192u] * four;
    }
}

// dk' += lines dC^T, over the columns low..high of the block, in vec4s.
fn add_keys(low: u32, high: u32, lane: u32) {
    let c = lane % 8u;
    for (var slot = low; slot < high; slot++) {
        let at = DC + c * 32u + (slot ^ c);
        let four = mat4x4(memory[at], memory[at + 8u], memory[at + 16u], memory[at + 24u]);
        let line = LINES + lane / 8u * 8u + slot;
        acc[4] += memory[line] * four;
        acc[5] += memory[line + 64u] * four;
        acc[6] += memory[line + 128u] * four;
        acc[7] += memory[line + 192u] * four;
    }
}

// dv += lines dC, over the rows low..high of the block, in vec4s.
fn add_values(low: u32, high: u32, lane: u32) {
    let c = lane % 8u;
    for (var slot = low; slot < high; slot++) {
        let at = DC + slot * 32u + (slot ^ c);
        let four = mat4x4(memory[at], memory[at + 8u], memory[at + 16u], memory[at + 24u]);
        let line = LINES + lane / 8u * 8u + slot;
        acc[8] += four * memory[line];
        acc[9] += four * memory[line + 64u];
        acc[10] += four * memory[line + 128u];
        acc[11] += four * memory[line + 192u];
    }
}

// The largest of the pairs' first numbers of a row of 8.
fn peak_of(row: u32, low: u32, high: u32) -> f32 {
    var top = pairs[row * 8u + low].x;
    for (var slot = low + 1u; slot < high; slot++) {
        top = max(top, pairs[row * 8u + slot].x);
    }
    return top;
}

// The sums of the pairs of a row of 8.
fn sums_of(row: u32, low: u32, high: u32) -> vec2<f32> {
    var sum = vec2(0.0);
    for (var slot = low; slot < high; slot++) {
        sum += pairs[row * 8u + slot];
    }
    return sum;
}

fn highest(four: vec4<f32>) -> f32 {
    return max(max(four.x, four.y), max(four.z, four.w));
}

// k', zeros past the frames.
fn weight_k(columns: Columns, frame: u32, peak: vec4<f32>, scale: vec4<f32>) -> vec4<f32> {
    if frame >= p.frames {
        return vec4(0.0);
    }
    return exp(fetch_k(columns, frame) - peak) * scale;
}

fn one_q(head: u32, frame: u32, feature: u32) -> f32 {
    let i = p.q + head_start(head) + frame * p.heads * p.dim + feature;
    return q[i / 4u][i % 4u];
}

fn store_tile(head: u32, tile: u32, lane: u32, rows: array<vec4<f32>, 4>) {
    let to = tiles_start(head) + tile * 256u + lane / 8u * 32u + lane % 8u;
    scratch[to] = rows[0];
    scratch[to + 8u] = rows[1];
    scratch[to + 16u] = rows[2];
    scratch[to + 24u] = rows[3];
}

// A block of C or dC to shared memory, as `keep` does.
fn load_tile(head: u32, tile: u32, to: u32, lane: u32) {
    for (var i = lane; i < 256u; i += 64u) {
        memory[to + i / 8u * 8u + (i % 8u ^ i / 32u)] = scratch[tiles_start(head) + tile * 256u + i];
    }
}

// The invocation's columns in a frame, then zeros; zeros past the frames.
fn fetch_q(columns: Columns, frame: u32) -> vec4<f32> {
    let i = p.q + columns.start + frame * p.heads * p.dim;
    let count = select(0u, columns.count, frame < p.frames);
    if count == 4u && i % 4u == 0u {
        return q[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = q[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn fetch_k(columns: Columns, frame: u32) -> vec4<f32> {
    let i = p.k + columns.start + frame * p.heads * p.dim;
    let count = select(0u, columns.count, frame < p.frames);
    if count == 4u && i % 4u == 0u {
        return k[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = k[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn fetch_v(columns: Columns, frame: u32) -> vec4<f32> {
    let i = p.v + columns.start + frame * p.heads * p.dim;
    let count = select(0u, columns.count, frame < p.frames);
    if count == 4u && i % 4u == 0u {
        return v[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = v[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn fetch_dy(columns: Columns, frame: u32) -> vec4<f32> {
    let i = p.dy + columns.start + frame * p.heads * p.dim;
    let count = select(0u, columns.count, frame < p.frames);
    if count == 4u && i % 4u == 0u {
        return dy[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < count; n++) {
        four[n] = dy[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn store_dq(columns: Columns, frame: u32, value: vec4<f32>) {
    if frame < p.frames && columns.count > 0u {
        dq[(p.dq + columns.start + frame * p.heads * p.dim) / 4u] = value;
    }
}

fn store_dk(columns: Columns, frame: u32, value: vec4<f32>) {
    if frame < p.frames && columns.count > 0u {
        dk[(p.dk + columns.start + frame * p.heads * p.dim) / 4u] = value;
    }
}

fn store_dv(columns: Columns, frame: u32, value: vec4<f32>) {
    if frame < p.frames && columns.count > 0u {
        dv[(p.dv + columns.start + frame * p.heads * p.dim) / 4u] = value;
    }
}

// Number by number: a vec4 may belong to two invocations, and they must not write it both.
fn store_dq_each(columns: Columns, frame: u32, value: vec4<f32>) {
    let at = p.dq + columns.start + frame * p.heads * p.dim;
    for (var i = 0u; i < select(0u, columns.count, frame < p.frames); i++) {
        dq_each[at + i] = value[i];
    }
}

fn store_dk_each(columns: Columns, frame: u32, value: vec4<f32>) {
    let at = p.dk + columns.start + frame * p.heads * p.dim;
    for (var i = 0u; i < select(0u, columns.count, frame < p.frames); i++) {
        dk_each[at + i] = value[i];
    }
}

fn store_dv_each(columns: Columns, frame: u32, value: vec4<f32>) {
    let at = p.dv + columns.start + frame * p.heads * p.dim;
    for (var i = 0u; i < select(0u, columns.count, frame < p.frames); i++) {
        dv_each[at + i] = value[i];
    }
}
