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
