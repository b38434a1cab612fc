// linear_attention: for each head o = q' C, C = k'^T v / sqrt(d), q' = softmax of q over features, k' of k over frames.
//
// shapes   q, k, v, y [s, t, heads d], scratch (d > 32) [s heads, blocks, blocks, 32, 32], blocks = ceil(d / 32)
// launch   d <= 32: a workgroup of 64 for one sequence and as many whole heads as 32 columns hold. Wider heads: one for
//          each block of 32 by 32 of C (`_context`), then one for 48 frames and 32 columns of a head (`_wide`)
// shared   14.6 KiB
// plan     48 frames of k and v by 32 columns stay in shared memory, loaded once by coalesced lines: all of a window
//          of up to 48 frames; longer ones stream, what is summed so far scaled as the maxima of k rise. An invocation
//          holds 4 by 4 of C, then 6 frames by 4 columns of o: 10 loads for 96 multiply-adds, all of them broadcasts or
//          neighbours. q' is divided by its sum at the end
// bound    memory: 16 bytes an element, 70 % of the copy bandwidth expected up to d = 32; multiply-adds above; not
//          measured on a GPU

struct Parameters {
    sequences: u32,
    frames: u32,
    heads: u32,
    dim: u32,
    q: u32,
    k: u32,
    v: u32,
    y: u32,
    scratch: u32,
}

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y_each: array<f32>;
@group(0) @binding(4) var<storage, read_write> scratch: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const LOWEST = -3.4028234e38;
// Frames that are in shared memory together.
const CHUNK = 48u;

// [CHUNK, 8] vec4s each: k' and v, then q' and C.
var<workgroup> keys: array<vec4<f32>, 384>;
var<workgroup> values: array<vec4<f32>, 384>;
// Partial results for each column, and what the sums so far are scaled by.
var<workgroup> shares: array<vec4<f32>, 64>;
var<workgroup> factors: array<vec4<f32>, 8>;
// Maxima of q, [CHUNK, 8] (the same for all of a head) or [CHUNK].
var<workgroup> peaks: array<f32, 384>;

// Four rows of C, in 0..4; or four columns of 6 frames.
var<private> acc: array<vec4<f32>, 6>;
// Sums of q' of the 6 frames.
var<private> totals: array<f32, 6>;

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
fn linear_attention(
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
    keep_context(lane);
    for (var first = 0u; first < p.frames; first += CHUNK) {
        attend(columns, first, lane);
        let frame = first + lane / 8u;
        store(columns, frame, acc[0] / totals[0]);
        store(columns, frame + 8u, acc[1] / totals[1]);
        store(columns, frame + 16u, acc[2] / totals[2]);
        store(columns, frame + 24u, acc[3] / totals[3]);
        store(columns, frame + 32u, acc[4] / totals[4]);
        store(columns, frame + 40u, acc[5] / totals[5]);
    }
}

// Any d.
@compute @workgroup_size(64)
fn linear_attention_each(
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
    keep_context(lane);
    for (var first = 0u; first < p.frames; first += CHUNK) {
        attend(columns, first, lane);
        let frame = first + lane / 8u;
        store_each(columns, frame, acc[0] / totals[0]);
        store_each(columns, frame + 8u, acc[1] / totals[1]);
        store_each(columns, frame + 16u, acc[2] / totals[2]);
        store_each(columns, frame + 24u, acc[3] / totals[3]);
        store_each(columns, frame + 32u, acc[4] / totals[4]);
        store_each(columns, frame + 40u, acc[5] / totals[5]);
    }
}

// A block of C of a wide head.
@compute @workgroup_size(64)
fn linear_attention_context(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let head = index / blocks() / blocks();
    if head >= p.sequences * p.heads {
        return;
    }
    sum_context(of_block(head, index / blocks() % blocks(), lane), of_block(head, index % blocks(), lane), lane);
    let to = p.scratch / 4u + index * 256u + lane / 8u * 32u + lane % 8u;
    scratch[to] = acc[0];
    scratch[to + 8u] = acc[1];
    scratch[to + 16u] = acc[2];
    scratch[to + 24u] = acc[3];
}

@compute @workgroup_size(64)
fn linear_attention_wide(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let chunks = (p.frames + CHUNK - 1u) / CHUNK;
    let head = index / blocks() / chunks;
    if head >= p.sequences * p.heads {
        return;
    }
    let first = index / blocks() % chunks * CHUNK;
    let block = index % blocks();
    attend_wide(head, block, first, lane);
    let columns = of_block(head, block, lane);
    let frame = first + lane / 8u;
    store(columns, frame, acc[0] / totals[0]);
    store(columns, frame + 8u, acc[1] / totals[1]);
    store(columns, frame + 16u, acc[2] / totals[2]);
    store(columns, frame + 24u, acc[3] / totals[3]);
    store(columns, frame + 32u, acc[4] / totals[4]);
    store(columns, frame + 40u, acc[5] / totals[5]);
}

@compute @workgroup_size(64)
fn linear_attention_wide_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let chunks = (p.frames + CHUNK - 1u) / CHUNK;
    let head = index / blocks() / chunks;
    if head >= p.sequences * p.heads {
        return;
    }
    let first = index / blocks() % chunks * CHUNK;
    let block = index % blocks();
    attend_wide(head, block, first, lane);
    let columns = of_block(head, block, lane);
    let frame = first + lane / 8u;
    store_each(columns, frame, acc[0] / totals[0]);
    store_each(columns, frame + 8u, acc[1] / totals[1]);
    store_each(columns, frame + 16u, acc[2] / totals[2]);
    store_each(columns, frame + 24u, acc[3] / totals[3]);
    store_each(columns, frame + 32u, acc[4] / totals[4]);
    store_each(columns, frame + 40u, acc[5] / totals[5]);
}

// Heads of a workgroup.
fn together() -> u32 {
    return 8u / ((p.dim + 3u) / 4u);
}

// Blocks of 32 features of a head.
fn blocks() -> u32 {
    return (p.dim + 31u) / 32u;
}

// The invocation's columns among those of the heads of a workgroup.
fn of_heads(index: u32, lane: u32) -> Columns {
    let fours = (p.dim + 3u) / 4u;
    let groups = (p.heads + together() - 1u) / together();
    let local = lane % 8u / fours;
    let head = index % groups * together() + local;
    let feature = lane % 8u % fours * 4u;
    let inside = local < together() && head < p.heads;
    let start = (index / groups * p.frames * p.heads + head) * p.dim + feature;
    return Columns(start, select(0u, min(p.dim - feature, 4u), inside), local * fours, min(local * fours + fours, 8u));
}

// The invocation's columns of a block of a wide head.
fn of_block(head: u32, block: u32, lane: u32) -> Columns {
    let feature = block * 32u + lane % 8u * 4u;
    let start = (head / p.heads * p.frames * p.heads + head % p.heads) * p.dim + feature;
    return Columns(start, min(max(p.dim, feature) - feature, 4u), 0u, 8u);
}

// acc = four rows of C: those of the columns of k that invocations with lane % 8 = lane / 8 of ours hold.
fn sum_context(key: Columns, value: Columns, lane: u32) {
    acc = array<vec4<f32>, 6>();
    let r = lane / 8u;
    let c = lane % 8u;
    var peak = vec4(LOWEST);
    var total = vec4(0.0);
    for (var first = 0u; first < p.frames; first += CHUNK) {
        let count = min(p.frames - first, CHUNK);
        var top = peak;
        workgroupBarrier();
        for (var i = r; i < count; i += 8u) {
            let at = (first + i) * p.heads * p.dim;
            let four = fetch_k(p.k + key.start + at, key.count);
            keys[i * 8u + c] = four;
            values[i * 8u + c] = fetch_v(p.v + value.start + at, value.count);
            top = max(top, four);
        }
        shares[lane] = top;
        workgroupBarrier();
        top = max(max(max(shares[c], shares[c + 8u]), max(shares[c + 16u], shares[c + 24u])),
            max(max(shares[c + 32u], shares[c + 40u]), max(shares[c + 48u], shares[c + 56u])));
        let factor = exp(peak - top);
        peak = top;
        total *= factor;
        for (var i = r; i < count; i += 8u) {
            let weight = exp(keys[i * 8u + c] - peak);
            keys[i * 8u + c] = weight;
            total += weight;
        }
        if r == 0u {
            factors[c] = factor;
        }
        workgroupBarrier();
        acc[0] *= factors[r].x;
        acc[1] *= factors[r].y;
        acc[2] *= factors[r].z;
        acc[3] *= factors[r].w;
        for (var i = 0u; i < count; i++) {
            let a = keys[i * 8u + r];
            let b = values[i * 8u + c];
            acc[0] = fma(vec4(a.x), b, acc[0]);
            acc[1] = fma(vec4(a.y), b, acc[1]);
            acc[2] = fma(vec4(a.z), b, acc[2]);
            acc[3] = fma(vec4(a.w), b, acc[3]);
        }
    }
    shares[lane] = total;
    workgroupBarrier();
    total = ((shares[r] + shares[r + 8u]) + (shares[r + 16u] + shares[r + 24u]))
        + ((shares[r + 32u] + shares[r + 40u]) + (shares[r + 48u] + shares[r + 56u]));
    let scale = 1.0 / (total * sqrt(f32(p.dim)));
    acc[0] *= scale.x;
    acc[1] *= scale.y;
    acc[2] *= scale.z;
    acc[3] *= scale.w;
}

// C from registers to shared memory.
fn keep_context(lane: u32) {
    let at = lane / 8u * 32u + lane % 8u;
    workgroupBarrier();
    values[at] = acc[0];
    values[at + 8u] = acc[1];
    values[at + 16u] = acc[2];
    values[at + 24u] = acc[3];
}

// acc and totals of the frames first + lane / 8 + 0, 8, .. 40.
fn attend(columns: Columns, first: u32, lane: u32) {
    acc = array<vec4<f32>, 6>();
    totals = array<f32, 6>();
    let c = lane % 8u;
    workgroupBarrier();
    for (var i = lane / 8u; i < CHUNK; i += 8u) {
        keys[i * 8u + c] = query(columns, first + i);
    }
    workgroupBarrier();
    // The maxima, kept where nothing else is, before any vec4 is replaced.
    for (var i = lane / 8u; i < CHUNK; i += 8u) {
        var top = keys[i * 8u + columns.low];
        for (var slot = columns.low + 1u; slot < columns.high; slot++) {
            top = max(top, keys[i * 8u + slot]);
        }
        peaks[i * 8u + c] = max(max(top.x, top.y), max(top.z, top.w));
    }
    workgroupBarrier();
    for (var i = lane / 8u; i < CHUNK; i += 8u) {
        let four = exp(keys[i * 8u + c] - peaks[i * 8u + c]);
        keys[i * 8u + c] = select(vec4(0.0), four, vec4(0u, 1u, 2u, 3u) < vec4(columns.count));
    }
    workgroupBarrier();
    multiply(columns.low, columns.high, lane);
}

// The same for a block of columns of a wide head, whose C comes from the scratch memory.
fn attend_wide(head: u32, block: u32, first: u32, lane: u32) {
    acc = array<vec4<f32>, 6>();
    totals = array<f32, 6>();
    let c = lane % 8u;
    var top = vec4(LOWEST);
    for (var b = 0u; b < blocks(); b++) {
        let columns = of_block(head, b, lane);
        workgroupBarrier();
        for (var i = lane / 8u; i < CHUNK; i += 8u) {
            keys[i * 8u + c] = query(columns, first + i);
        }
        workgroupBarrier();
        for (var slot = 0u; slot < 8u && lane < CHUNK; slot++) {
            top = max(top, keys[lane * 8u + (slot + lane) % 8u]);
        }
    }
    if lane < CHUNK {
        peaks[lane] = max(max(top.x, top.y), max(top.z, top.w));
    }
    for (var b = 0u; b < blocks(); b++) {
        let columns = of_block(head, b, lane);
        let tile = p.scratch / 4u + ((head * blocks() + b) * blocks() + block) * 256u;
        workgroupBarrier();
        for (var i = lane / 8u; i < CHUNK; i += 8u) {
            let four = exp(query(columns, first + i) - peaks[i]);
            keys[i * 8u + c] = select(vec4(0.0), four, vec4(0u, 1u, 2u, 3u) < vec4(columns.count));
        }
        for (var i = lane; i < 256u; i += 64u) {
            values[i] = scratch[tile + i];
        }
        workgroupBarrier();
        multiply(0u, 8u, lane);
    }
}

// acc += q' C and totals += the sum of q', over the features low..high, in vec4s.
fn multiply(low: u32, high: u32, lane: u32) {
    let c = lane % 8u;
    for (var slot = low; slot < high; slot++) {
        let rows = slot * 32u + c;
        let context = mat4x4(values[rows], values[rows + 8u], values[rows + 16u], values[rows + 24u]);
        let at = lane / 8u * 8u + slot;
        acc[0] += context * keys[at];
        totals[0] += dot(keys[at], vec4(1.0));
        acc[1] += context * keys[at + 64u];
        totals[1] += dot(keys[at + 64u], vec4(1.0));
        acc[2] += context * keys[at + 128u];
        totals[2] += dot(keys[at + 128u], vec4(1.0));
        acc[3] += context * keys[at + 192u];
        totals[3] += dot(keys[at + 192u], vec4(1.0));
        acc[4] += context * keys[at + 256u];
        totals[4] += dot(keys[at + 256u], vec4(1.0));
        acc[5] += context * keys[at + 320u];
        totals[5] += dot(keys[at + 320u], vec4(1.0));
    }
}

// Four features of q, the lowest number past the end of the head or of the frames.
fn query(columns: Columns, frame: u32) -> vec4<f32> {
    if frame >= p.frames {
        return vec4(0.0);
    }
    let four = fetch_q(p.q + columns.start + frame * p.heads * p.dim, columns.count);
    return select(vec4(LOWEST), four, vec4(0u, 1u, 2u, 3u) < vec4(columns.count));
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

fn store(columns: Columns, frame: u32, value: vec4<f32>) {
    if frame < p.frames && columns.count > 0u {
        y[(p.y + columns.start + frame * p.heads * p.dim) / 4u] = value;
    }
}

// Number by number: a vec4 of y may belong to two invocations, and they must not write it both.
fn store_each(columns: Columns, frame: u32, value: vec4<f32>) {
    if frame < p.frames {
        for (var i = 0u; i < columns.count; i++) {
            y_each[p.y + columns.start + frame * p.heads * p.dim + i] = value[i];
        }
    }
}
