// linear_attention_backward: with r = 1 / sqrt(d), for each head C = r k'^T v, dC = r q'^T dy, dv = k' dC,
// dk' = v dC^T, dq' = dy C^T; then dq = q' (dq' - sum_d q' dq') and dk = k' (dk' - sum_t k' dk').
//
// shapes   all [s, t, heads d]; scratch (d > 32) for each head C and dC [blocks, blocks, 32, 32], blocks =
//          ceil(d / 32), maxima and inverse sums of k's columns [blocks, 2, 32] and of q's rows [t, 2]
// launch   d <= 32: a workgroup of 64 for one sequence and as many whole heads as 32 columns hold. Wider heads: one for
//          8 rows (`_rows`), one for a block of C and dC (`_contexts`), one for 32 frames and 32 columns (`_wide`), and
//          one for 8 rows of dq (`_last`)
// shared   15.1 KiB
// plan     48 frames of k and v, then of q and dy, by 32 columns, stay in shared memory while an invocation sums 4 by 4
//          of C and dC. Both then lie there, their vec4s permuted so that rows and columns are read without bank
//          conflicts, and rows stream past: 8 loads for 64 multiply-adds. The sum over frames needs no pass over them:
//          sum_t k' dk' = sum_j C dC / r
// bound    memory: 28 bytes an element, 50 % of the copy bandwidth expected up to d = 16; multiply-adds above; not
//          measured on a GPU

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
@group(0) @binding(7) var<storage, read_write> scratch_pairs: array<vec2<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const LOWEST = -3.4028234e38;
const PLACES = vec4(0u, 1u, 2u, 3u);
// Frames that are in shared memory together: operands of C and dC, and rows that are multiplied by them.
const CHUNK = 48u;
const ROWS = 32u;
// Where things lie in shared memory, [rows, 8] vec4s each.
const VALUES = 384u;
const DC = 256u;
const LINES = 512u;

// First k' and v, or q' and dy, of CHUNK frames; then C, dC and lines of ROWS frames.
var<workgroup> memory: array<vec4<f32>, 768>;
// Partial results for each column, and what the sums so far are scaled by.
var<workgroup> shares: array<vec4<f32>, 64>;
var<workgroup> factors: array<vec4<f32>, 8>;
// Partial results for each vec4 of a row.
var<workgroup> pairs: array<vec2<f32>, 256>;

// Four rows of a block of C and of dC.
var<private> context: array<vec4<f32>, 4>;
var<private> gradient: array<vec4<f32>, 4>;
// Maxima and inverse sums of the invocation's columns of k.
var<private> key_peak: vec4<f32>;
var<private> key_scale: vec4<f32>;
// dq, dk and dv of 4 frames, four columns each.
var<private> acc: array<vec4<f32>, 12>;

// Four columns of an invocation.
struct Columns {
    // Their first element in the first frame, counted from the start of the tensor.
    start: u32,
    // How many of them there are.
    count: u32,
    // The vec4s of their head among the 8 of the workgroup.
    low: u32,
    high: u32,
}

// Where d is a multiple of four.
@compute @workgroup_size(64)
fn linear_attention_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.sequences * ((p.heads + together() - 1u) / together()) {
        return;
    }
    let columns = of_heads(index, lane);
    sum_context(columns, columns, lane);
    sum_gradient(columns, columns, lane);
    let drop = keep(columns, lane);
    for (var first = 0u; first < p.frames; first += ROWS) {
        differentiate(columns, drop, first, lane);
        let frame = first + lane / 8u;
        store_dq(columns, frame, acc[0]);
        store_dq(columns, frame + 8u, acc[1]);
        store_dq(columns, frame + 16u, acc[2]);
        store_dq(columns, frame + 24u, acc[3]);
        store_dk(columns, frame, acc[4]);
        store_dk(columns, frame + 8u, acc[5]);
        store_dk(columns, frame + 16u, acc[6]);
        store_dk(columns, frame + 24u, acc[7]);
        store_dv(columns, frame, acc[8]);
        store_dv(columns, frame + 8u, acc[9]);
        store_dv(columns, frame + 16u, acc[10]);
        store_dv(columns, frame + 24u, acc[11]);
    }
}

// Any d.
@compute @workgroup_size(64)
fn linear_attention_backward_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.sequences * ((p.heads + together() - 1u) / together()) {
        return;
    }
    let columns = of_heads(index, lane);
    sum_context(columns, columns, lane);
    sum_gradient(columns, columns, lane);
    let drop = keep(columns, lane);
    for (var first = 0u; first < p.frames; first += ROWS) {
        differentiate(columns, drop, first, lane);
        let frame = first + lane / 8u;
        store_dq_each(columns, frame, acc[0]);
        store_dq_each(columns, frame + 8u, acc[1]);
        store_dq_each(columns, frame + 16u, acc[2]);
        store_dq_each(columns, frame + 24u, acc[3]);
        store_dk_each(columns, frame, acc[4]);
        store_dk_each(columns, frame + 8u, acc[5]);
        store_dk_each(columns, frame + 16u, acc[6]);
        store_dk_each(columns, frame + 24u, acc[7]);
        store_dv_each(columns, frame, acc[8]);
        store_dv_each(columns, frame + 8u, acc[9]);
        store_dv_each(columns, frame + 16u, acc[10]);
        store_dv_each(columns, frame + 24u, acc[11]);
    }
}

// Maxima and inverse sums of the rows of q of wide heads.
@compute @workgroup_size(64)
fn linear_attention_backward_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * grid.x + group.x) * 8u + lane / 8u;
    let inside = row < p.sequences * p.heads * p.frames;
    let head = row / p.frames;
    let frame = row % p.frames;
    var top = LOWEST;
    for (var i = lane % 8u; i < p.dim && inside; i += 8u) {
        top = max(top, one_q(head, frame, i));
    }
    pairs[lane].x = top;
    workgroupBarrier();
    top = peak_of(lane / 8u, 0u, 8u);
    var sum = 0.0;
    for (var i = lane % 8u; i < p.dim && inside; i += 8u) {
        sum += exp(one_q(head, frame, i) - top);
    }
    workgroupBarrier();
    pairs[lane].x = sum;
    workgroupBarrier();
    if lane % 8u == 0u && inside {
        let sums = sums_of(lane / 8u, 0u, 8u);
        scratch_pairs[rows_start(head) + frame] = vec2(top, 1.0 / sums.x);
    }
}

// A block of C and of dC of a wide head.
@compute @workgroup_size(64)
fn linear_attention_backward_contexts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let head = index / blocks() / blocks();
    if head >= p.sequences * p.heads {
        return;
    }
    let row = of_block(head, index / blocks() % blocks(), lane);
    let column = of_block(head, index % blocks(), lane);
    sum_context(row, column, lane);
    sum_gradient_wide(head, row, column, lane);
    let tile = index % (blocks() * blocks());
    store_tile(head, tile, lane, context);
    store_tile(head, tile + blocks() * blocks(), lane, gradient);
    if index % blocks() == 0u && lane < 8u {
        let at = columns_start(head) + index / blocks() % blocks() * 16u + lane;
        scratch[at] = key_peak;
        scratch[at + 8u] = key_scale;
    }
}

@compute @workgroup_size(64)
fn linear_attention_backward_wide(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let chunks = (p.frames + ROWS - 1u) / ROWS;
    let head = index / blocks() / chunks;
    if head >= p.sequences * p.heads {
        return;
    }
    let first = index / blocks() % chunks * ROWS;
    differentiate_wide(head, index % blocks(), first, lane);
    let columns = of_block(head, index % blocks(), lane);
    let frame = first + lane / 8u;
    store_dq(columns, frame, acc[0]);
    store_dq(columns, frame + 8u, acc[1]);
    store_dq(columns, frame + 16u, acc[2]);
    store_dq(columns, frame + 24u, acc[3]);
    store_dk(columns, frame, acc[4]);
    store_dk(columns, frame + 8u, acc[5]);
    store_dk(columns, frame + 16u, acc[6]);
    store_dk(columns, frame + 24u, acc[7]);
    store_dv(columns, frame, acc[8]);
    store_dv(columns, frame + 8u, acc[9]);
    store_dv(columns, frame + 16u, acc[10]);
    store_dv(columns, frame + 24u, acc[11]);
}

@compute @workgroup_size(64)
fn linear_attention_backward_wide_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let chunks = (p.frames + ROWS - 1u) / ROWS;
    let head = index / blocks() / chunks;
    if head >= p.sequences * p.heads {
        return;
    }
    let first = index / blocks() % chunks * ROWS;
    differentiate_wide(head, index % blocks(), first, lane);
    let columns = of_block(head, index % blocks(), lane);
    let frame = first + lane / 8u;
    store_dq_each(columns, frame, acc[0]);
    store_dq_each(columns, frame + 8u, acc[1]);
    store_dq_each(columns, frame + 16u, acc[2]);
    store_dq_each(columns, frame + 24u, acc[3]);
    store_dk_each(columns, frame, acc[4]);
    store_dk_each(columns, frame + 8u, acc[5]);
    store_dk_each(columns, frame + 16u, acc[6]);
    store_dk_each(columns, frame + 24u, acc[7]);
    store_dv_each(columns, frame, acc[8]);
    store_dv_each(columns, frame + 8u, acc[9]);
    store_dv_each(columns, frame + 16u, acc[10]);
    store_dv_each(columns, frame + 24u, acc[11]);
}

// dq = q' (dq' - sum of q' dq') of wide heads.
@compute @workgroup_size(64)
fn linear_attention_backward_last(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * grid.x + group.x) * 8u + lane / 8u;
    let inside = row < p.sequences * p.heads * p.frames;
    let head = row / p.frames;
    let frame = row % p.frames;
    let start = p.dq + head_start(head) + frame * p.heads * p.dim;
    var statistics = vec2(0.0);
    if inside {
        statistics = row_statistics(head, frame);
    }
    var sum = 0.0;
    var base = 0.0;
    if inside {
        base = dq_each[start];
    }
    for (var i = lane % 8u; i < p.dim && inside; i += 8u) {
        sum += exp(one_q(head, frame, i) - statistics.x) * statistics.y * (dq_each[start + i] - base);
    }
    pairs[lane].x = sum;
    workgroupBarrier();
    sum = sums_of(lane / 8u, 0u, 8u).x + base;
    for (var i = lane % 8u; i < p.dim && inside; i += 8u) {
        dq_each[start + i] = exp(one_q(head, frame, i) - statistics.x) * statistics.y * (dq_each[start + i] - sum);
    }
}

// Heads of a workgroup.
fn together() -> u32 {
    return 8u / ((p.dim + 3u) / 4u);
}

// Blocks of 32 features of a head.
fn blocks() -> u32 {
    return (p.dim + 31u) / 32u;
}

// The first element of a head.
fn head_start(head: u32) -> u32 {
    return (head / p.heads * p.frames * p.heads + head % p.heads) * p.dim;
}

// The invocation's columns among those of the heads of a workgroup.
fn of_heads(index: u32, lane: u32) -> Columns {
    let fours = (p.dim + 3u) / 4u;
    let groups = (p.heads + together() - 1u) / together();
    let local = lane % 8u / fours;
    let head = index % groups * together() + local;
    let feature = lane % 8u % fours * 4u;
    let inside = local < together() && head < p.heads;
    let start = head_start(index / groups * p.heads + head) + feature;
    return Columns(start, select(0u, min(p.dim - feature, 4u), inside), local * fours, min(local * fours + fours, 8u));
}

// The invocation's columns of a block of a wide head.
fn of_block(head: u32, block: u32, lane: u32) -> Columns {
    let feature = block * 32u + lane % 8u * 4u;
    return Columns(head_start(head) + feature, min(max(p.dim, feature) - feature, 4u), 0u, 8u);
}

// Where a head's things start in the scratch memory: vec4s of blocks and columns, pairs of rows.
fn tiles_start(head: u32) -> u32 {
    let part = blocks() * blocks() * 512u + blocks() * 16u + (p.frames + 1u) / 2u;
    return p.scratch / 4u + head * part;
}

fn columns_start(head: u32) -> u32 {
    return tiles_start(head) + blocks() * blocks() * 512u;
}

fn rows_start(head: u32) -> u32 {
    return 2u * (columns_start(head) + blocks() * 16u);
}

// Maximum and inverse sum of a row of q.
fn row_statistics(head: u32, frame: u32) -> vec2<f32> {
    let four = scratch[(rows_start(head) + frame) / 2u];
    return select(four.xy, four.zw, frame % 2u == 1u);
}

// context = four rows of C: those of the columns of k that invocations with lane % 8 = lane / 8 of ours hold.
fn sum_context(key: Columns, value: Columns, lane: u32) {
    context = array<vec4<f32>, 4>();
    let r = lane / 8u;
    let c = lane % 8u;
    key_peak = vec4(LOWEST);
    var total = vec4(0.0);
    for (var first = 0u; first < p.frames; first += CHUNK) {
        let count = min(p.frames - first, CHUNK);
        var top = key_peak;
        workgroupBarrier();
        for (var i = r; i < count; i += 8u) {
            let four = fetch_k(key, first + i);
            memory[i * 8u + c] = four;
            memory[VALUES + i * 8u + c] = fetch_v(value, first + i);
            top = max(top, four);
        }
        shares[lane] = top;
        workgroupBarrier();
        top = max(max(max(shares[c], shares[c + 8u]), max(shares[c + 16u], shares[c + 24u])),
            max(max(shares[c + 32u], shares[c + 40u]), max(shares[c + 48u], shares[c + 56u])));
        let factor = exp(key_peak - top);
        key_peak = top;
        total *= factor;
        for (var i = r; i < count; i += 8u) {
            let weight = exp(memory[i * 8u + c] - top);
            memory[i * 8u + c] = weight;
            total += weight;
        }
        if r == 0u {
            factors[c] = factor;
        }
        workgroupBarrier();
        context[0] *= factors[r].x;
        context[1] *= factors[r].y;
        context[2] *= factors[r].z;
        context[3] *= factors[r].w;
        for (var i = 0u; i < count; i++) {
            let a = memory[i * 8u + r];
            let b = memory[VALUES + i * 8u + c];
            context[0] = fma(vec4(a.x), b, context[0]);
            context[1] = fma(vec4(a.y), b, context[1]);
            context[2] = fma(vec4(a.z), b, context[2]);
            context[3] = fma(vec4(a.w), b, context[3]);
        }
    }
    shares[lane] = total;
    workgroupBarrier();
    let scale = 1.0 / (total_of_column(r) * sqrt(f32(p.dim)));
    context[0] *= scale.x;
    context[1] *= scale.y;
    context[2] *= scale.z;
    context[3] *= scale.w;
    key_scale = 1.0 / total_of_column(c);
}

// The sum of the shares of four columns.
fn total_of_column(c: u32) -> vec4<f32> {
    return ((shares[c] + shares[c + 8u]) + (shares[c + 16u] + shares[c + 24u]))
        + ((shares[c + 32u] + shares[c + 40u]) + (shares[c + 48u] + shares[c + 56u]));
}

// gradient = four rows of dC, as in sum_context.
fn sum_gradient(query: Columns, value: Columns, lane: u32) {
    gradient = array<vec4<f32>, 4>();
    let r = lane / 8u;
    let c = lane % 8u;
    let inside = PLACES < vec4(query.count);
    for (var first = 0u; first < p.frames; first += ROWS) {
        let count = min(p.frames - first, ROWS);
        workgroupBarrier();
        for (var i = r; i < count; i += 8u) {
            let four = fetch_q(query, first + i);
            memory[i * 8u + c] = four;
            memory[VALUES + i * 8u + c] = fetch_dy(value, first + i);
            pairs[i * 8u + c].x = highest(select(vec4(LOWEST), four, inside));
        }
        workgroupBarrier();
        for (var i = r; i < count; i += 8u) {
            let top = peak_of(i, query.low, query.high);
            let weight = select(vec4(0.0), exp(memory[i * 8u + c] - top), inside);
            memory[i * 8u + c] = weight;
            pairs[i * 8u + c].y = dot(weight, vec4(1.0));
        }
        workgroupBarrier();
        for (var i = r; i < count; i += 8u) {
            memory[i * 8u + c] /= sums_of(i, query.low, query.high).y;
        }
        workgroupBarrier();
        add_gradient(count, r, c);
    }
    scale_gradient();
}

// The same for a block of a wide head, whose rows' maxima and sums are known.
fn sum_gradient_wide(head: u32, query: Columns, value: Columns, lane: u32) {
    gradient = array<vec4<f32>, 4>();
    let r = lane / 8u;
    let c = lane % 8u;
    for (var first = 0u; first < p.frames; first += ROWS) {
        let count = min(p.frames - first, ROWS);
        workgroupBarrier();
        for (var i = r; i < count; i += 8u) {
            let statistics = row_statistics(head, first + i);
            let weight = exp(fetch_q(query, first + i) - statistics.x) * statistics.y;
            memory[i * 8u + c] = select(vec4(0.0), weight, PLACES < vec4(query.count));
            memory[VALUES + i * 8u + c] = fetch_dy(value, first + i);
        }
        workgroupBarrier();
        add_gradient(count, r, c);
    }
    scale_gradient();
}

fn add_gradient(count: u32, r: u32, c: u32) {
    for (var i = 0u; i < count; i++) {
        let a = memory[i * 8u + r];
        let b = memory[VALUES + i * 8u + c];
        gradient[0] = fma(vec4(a.x), b, gradient[0]);
        gradient[1] = fma(vec4(a.y), b, gradient[1]);
        gradient[2] = fma(vec4(a.z), b, gradient[2]);
        gradient[3] = fma(vec4(a.w), b, gradient[3]);
    }
}

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
