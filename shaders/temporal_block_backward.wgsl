// temporal_block_backward: gradients of temporal_block, the forward of a window recomputed.
//
// shapes   as in `temporal_block.wgsl`; dh [b, n, t, c]; in scratch memory the weights in both orientations, the totals,
//          the shift's gradient of every task, and for each part the matrices of a window and its sums
// launch   four packs of the weights, one invocation a number; `parts` workgroups of 64, each with a run of nodes of one
//          sample or with several samples; sums of the parts, then gradients from them, one invocation a number
// shared   16 KiB: three arrays of the tokens of a block of frames, and two of what invocations show each other
// plan     as in the forward, an invocation owns 4 frames by 4 channels. A window is walked three times in blocks of
//          frames: keys and tokens to their [w, c] product; back through the feed-forward layer and the queries; back
//          through the keys. Sums over tokens are tiles of 4 by 4 that always the same invocation adds to the part's sums.
//          Parts are added in order: no atomics. A norm folded into W takes its gradients from those of W; the keys' sum
//          over frames, which the softmax's gradient subtracts, is a product of two matrices of the window
// bound    multiply-adds, 3.2 times the forward's; 35 % of the peak expected; not measured on a GPU

struct Parameters {
    batch: u32, frames: u32, nodes: u32, inputs: u32, channels: u32, hidden: u32, heads: u32, eps: f32,
    planes: u32, shift: u32, w_in: u32,
    norm1_gamma: u32, norm1_beta: u32, w_q: u32, w_k: u32, w_v: u32, w_o: u32, b_o: u32,
    norm2_gamma: u32, norm2_beta: u32, w_1: u32, b_1: u32, w_2: u32, b_2: u32, dh: u32,
    dplanes: u32, dshift: u32, dw_in: u32,
    dnorm1_gamma: u32, dnorm1_beta: u32, dw_q: u32, dw_k: u32, dw_v: u32, dw_o: u32, db_o: u32,
    dnorm2_gamma: u32, dnorm2_beta: u32, dw_1: u32, db_1: u32, dw_2: u32, db_2: u32,
    scratch: u32, parts: u32,
}

@group(0) @binding(0) var<storage, read_write> planes: array<f32>;
@group(0) @binding(1) var<storage, read_write> shift: array<f32>;
@group(0) @binding(2) var<storage, read_write> w_in: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm1_gamma: array<f32>;
@group(0) @binding(4) var<storage, read_write> norm1_beta: array<f32>;
@group(0) @binding(5) var<storage, read_write> w_q: array<f32>;
@group(0) @binding(6) var<storage, read_write> w_k: array<f32>;
@group(0) @binding(7) var<storage, read_write> w_v: array<f32>;
@group(0) @binding(8) var<storage, read_write> w_o: array<f32>;
@group(0) @binding(9) var<storage, read_write> b_o: array<f32>;
@group(0) @binding(10) var<storage, read_write> norm2_gamma: array<f32>;
@group(0) @binding(11) var<storage, read_write> norm2_beta: array<f32>;
@group(0) @binding(12) var<storage, read_write> w_1: array<f32>;
@group(0) @binding(13) var<storage, read_write> b_1: array<f32>;
@group(0) @binding(14) var<storage, read_write> w_2: array<f32>;
@group(0) @binding(15) var<storage, read_write> b_2: array<f32>;
@group(0) @binding(16) var<storage, read_write> dh: array<f32>;
@group(0) @binding(17) var<storage, read_write> dplanes: array<f32>;
@group(0) @binding(18) var<storage, read_write> dshift: array<f32>;
@group(0) @binding(19) var<storage, read_write> dw_in: array<f32>;
@group(0) @binding(20) var<storage, read_write> dnorm1_gamma: array<f32>;
@group(0) @binding(21) var<storage, read_write> dnorm1_beta: array<f32>;
@group(0) @binding(22) var<storage, read_write> dw_q: array<f32>;
@group(0) @binding(23) var<storage, read_write> dw_k: array<f32>;
@group(0) @binding(24) var<storage, read_write> dw_v: array<f32>;
@group(0) @binding(25) var<storage, read_write> dw_o: array<f32>;
@group(0) @binding(26) var<storage, read_write> db_o: array<f32>;
@group(0) @binding(27) var<storage, read_write> dnorm2_gamma: array<f32>;
@group(0) @binding(28) var<storage, read_write> dnorm2_beta: array<f32>;
@group(0) @binding(29) var<storage, read_write> dw_1: array<f32>;
@group(0) @binding(30) var<storage, read_write> db_1: array<f32>;
@group(0) @binding(31) var<storage, read_write> dw_2: array<f32>;
@group(0) @binding(32) var<storage, read_write> db_2: array<f32>;
@group(0) @binding(33) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding(33) var<storage, read_write> scratch_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;
// Vec4s of the workgroup's memory, and its invocations.
const ROOM = 1024u;
const SIZE = 64u;
// A logit that no other is below.
const LOWEST = -1e30;

// Sizes in vec4s.
struct Sizes {
    // Channels, features of a head, features of all heads, hidden units, a matrix [features, channels].
    c: u32, dim: u32, w: u32, hidden: u32, matrix: u32,
    // In the scratch memory: matrices [in, out], most with their bias in the row behind, the projection of the planes at 0;
    // matrices [out, in].
    q: u32, k: u32, value_out: u32, bias_out: u32, up: u32, down_turned: u32,
    q_turned: u32, k_turned: u32, up_turned: u32, value_out_turned: u32,
    // The totals, the values' share of them, the shift's gradients; the parts and the length of one.
    totals: u32, values: u32, shifts: u32, slots: u32, slot: u32,
    // Within the sums: those of W_in at 0, matrices [out, in] and biases.
    sum_q: u32, sum_k: u32, sum_bias_q: u32, sum_value_out: u32, sum_bias_value_out: u32, sum_bias_out: u32,
    sum_up: u32, sum_bias_up: u32, sum_down: u32, sum_bias_down: u32, sums: u32,
    // In the workgroup's memory: the length of a row, a fourth of the rows of a block, the blocks, a token array; and the
    // starts of what invocations show each other and of the keys' maxima, sums and factors.
    stride: u32, quads: u32, blocks: u32, array_: u32, shown: u32, other: u32, stats: u32,
}

var<workgroup> room: array<vec4<f32>, ROOM>;

var<private> s: Sizes;
// The invocation's tile: frames row + 0, 1, 2, 3 quads of a block, and four channels. Those without one are not active.
var<private> lane: u32;
var<private> row: u32;
var<private> column: u32;
var<private> active_: bool;
// 1 where the tile's channels are no padding.
var<private> real: vec4<f32>;
// Where the part's matrices and sums start, and the task's gradient of the shift.
var<private> slot: u32;
var<private> part_sums: u32;
var<private> shifts: u32;

fn sizes() {
    s.c = (p.channels + 3u) / 4u;
    s.dim = (p.channels / p.heads + 3u) / 4u;
    s.w = p.heads * s.dim;
    s.hidden = (p.hidden + 3u) / 4u;
    s.matrix = 4u * s.w * s.c;
    s.q = p.inputs * s.c;
    s.k = s.q + s.matrix + s.w;
    s.value_out = s.k + s.matrix + s.w;
    s.bias_out = s.value_out + p.heads * (4u * s.c + 1u) * s.c;
    s.up = s.bias_out + s.c;
    s.down_turned = s.up + (4u * s.c + 1u) * s.hidden;
    s.q_turned = s.down_turned + 4u * s.c * s.hidden;
    s.k_turned = s.q_turned + s.matrix;
    s.up_turned = s.k_turned + s.matrix;
    s.value_out_turned = s.up_turned + 4u * s.hidden * s.c;
    s.totals = s.value_out_turned + 4u * p.heads * s.c * s.c;
    s.sum_q = p.inputs * s.c;
    s.sum_k = s.sum_q + s.matrix;
    s.sum_bias_q = s.sum_k + s.matrix;
    s.sum_value_out = s.sum_bias_q + s.w;
    s.sum_bias_value_out = s.sum_value_out + 4u * p.heads * s.c * s.c;
    s.sum_bias_out = s.sum_bias_value_out + p.heads * s.c;
    s.sum_up = s.sum_bias_out + s.c;
    s.sum_bias_up = s.sum_up + 4u * s.hidden * s.c;
    s.sum_down = s.sum_bias_up + s.hidden;
    s.sum_bias_down = s.sum_down + 4u * s.c * s.hidden;
    s.sums = s.sum_bias_down + s.c;
    s.values = s.totals + s.sums;
    s.shifts = s.values + (4u * s.c + 1u) * s.c;
    s.stride = s.w | 1u;
    let all = max((p.frames + 3u) / 4u, 1u);
    let most = min((ROOM - 3u * s.w) / (14u * s.stride), SIZE / s.w);
    s.blocks = (all + most - 1u) / most;
    s.quads = (all + s.blocks - 1u) / s.blocks;
    s.array_ = 4u * s.quads * s.stride;
    s.shown = 3u * s.array_;
    s.other = s.shown + s.quads * s.stride;
    s.stats = s.other + s.quads * s.stride;
    s.slots = s.shifts + tasks() * p.frames * s.c;
    s.slot = 6u * s.matrix + s.w + 8u * s.quads * s.blocks * s.w + s.sums;
}

// Runs of nodes of one sample.
fn tasks() -> u32 {
    return p.batch * max(1u, p.parts / max(p.batch, 1u));
}

@compute @workgroup_size(SIZE)
fn temporal_block_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    if group.x >= p.parts {
        return;
    }
    sizes();
    lane = index;
    row = lane / s.w;
    column = lane % s.w;
    active_ = row < s.quads;
    real = vec4<f32>(4u * column + vec4(0u, 1u, 2u, 3u) < vec4(p.channels));
    slot = p.scratch / 4u + s.slots + group.x * s.slot;
    part_sums = slot + s.slot - s.sums;
    for (var i = lane; i < s.sums; i += SIZE) {
        scratch[part_sums + i] = vec4(0.0);
    }
    let runs = tasks() / max(p.batch, 1u);
    let run = (p.nodes + runs - 1u) / runs;
    for (var task = group.x; task < tasks(); task += p.parts) {
        shifts = p.scratch / 4u + s.shifts + task * p.frames * s.c;
        for (var i = lane; i < p.frames * s.c; i += SIZE) {
            scratch[shifts + i] = vec4(0.0);
        }
        storageBarrier();
        let start = task % runs * run;
        for (var n = start; n < min(start + run, p.nodes); n++) {
            window(task / runs, n);
        }
    }
}

// Walks a window three times: keys and tokens to their product; back through the feed-forward layer and the queries; back
// through the keys.
fn window(b: u32, n: u32) {
    for (var step = 0u; step < 3u * s.blocks; step++) {
        let block = step % s.blocks;
        let x = load(b, n, block);
        let rstd = normalize(x);
        if step / s.blocks == 1u {
            queries_backward(b, n, block, x);
        } else {
            let logits = key_logits(block);
            if step < s.blocks {
                gather(block, logits);
            } else {
                keys_backward(b, n, block, rstd, logits);
            }
        }
        if step + 1u == s.blocks {
            mix();
        }
        if step + 1u == 2u * s.blocks {
            mix_backward();
        }
    }
}

// Layer norm of the tiles into array 0; 1 / the deviation of the tile's frames.
fn normalize(x: mat4x4<f32>) -> vec4<f32> {
    let y = times(x - by_rows(across(s.shown, 0u, s.c, vec4(1.0) * x) / f32(p.channels)), by_columns(real));
    let rstd = 1.0 / sqrt(across(s.other, 0u, s.c, dots(y, y)) / f32(p.channels) + p.eps);
    put(0u, times(y, by_rows(rstd)));
    workgroupBarrier();
    return rstd;
}

// Adds the block's product of the keys' softmax over frames with its tokens to the gathered.
fn gather(block: u32, logits: mat4x4<f32>) {
    show(s.shown, max(max(logits[0], logits[1]), max(logits[2], logits[3])));
    workgroupBarrier();
    var before = vec4(LOWEST);
    if block > 0u {
        before = room[s.stats + column];
    }
    var top = before;
    for (var i = 0u; active_ && i < s.quads; i++) {
        top = max(top, room[s.shown + i * s.stride + column]);
    }
    let keys = exponential(logits - by_columns(top));
    put(s.array_, keys);
    show(s.other, (keys[0] + keys[1]) + (keys[2] + keys[3]));
    workgroupBarrier();
    if row == 0u {
        let factor = exp(before - top);
        var sum = select(vec4(0.0), factor * room[s.stats + s.w + column], block > 0u);
        for (var i = 0u; i < s.quads; i++) {
            sum += room[s.other + i * s.stride + column];
        }
        room[s.stats + column] = top;
        room[s.stats + s.w + column] = sum;
        room[s.stats + 2u * s.w + column] = factor;
    }
    workgroupBarrier();
    for (var i = lane; i < s.w * s.c; i += SIZE) {
        let feature = i / s.c;
        let at = slot + 4u * feature * s.c + i % s.c;
        var sum = outer(s.array_ + feature, i % s.c);
        if block > 0u {
            sum += times(fours(at, s.c), by_rows(room[s.stats + 2u * s.w + feature]));
        }
        if block + 1u == s.blocks {
            sum = times(sum, by_rows(1.0 / room[s.stats + s.w + feature]));
        }
        write(at, s.c, sum);
    }
    storageBarrier();
}

// The context, gathered times W_vo head by head, in both orientations.
fn mix() {
    for (var i = lane; i < s.w * s.c; i += SIZE) {
        let feature = i / s.c;
        let weight = p.scratch / 4u + s.value_out + feature / s.dim * (4u * s.c + 1u) * s.c + i % s.c;
        let bias = by_columns(scratch[weight + 4u * s.c * s.c]);
        let context = bias + stored_product(slot + 4u * feature * s.c, weight);
        write(slot + s.matrix + 4u * feature * s.c + i % s.c, s.c, context);
        write(slot + 2u * s.matrix + 4u * (i % s.c) * s.w + feature, s.w, transpose(context));
    }
    storageBarrier();
}

// From dh to the gradients of the context, of x1 and of the queries' logits; the part keeps the last two.
fn queries_backward(b: u32, n: u32, block: u32, x: mat4x4<f32>) {
    var q = queries();
    let rstd = normalize(attended(x, q));
    // Out of the way of the feed-forward layer.
    if active_ {
        write(kept(block) + 4u * s.w, s.w, q);
    }
    let dnorm = feed_forward_backward(b, n, block);
    let dx = tile(s.array_) + normalize_backward(rstd, dnorm);
    put(s.array_, dx);
    if active_ {
        q = fours(kept(block) + 4u * s.w, s.w);
    }
    put(2u * s.array_, q);
    workgroupBarrier();
    add_bias(s.sum_bias_out, s.array_, s.c);
    for (var i = lane; i < s.w * s.c; i += SIZE) {
        let at = slot + 3u * s.matrix + 4u * (i / s.c) * s.c + i % s.c;
        var sum = outer(2u * s.array_ + i / s.c, s.array_ + i % s.c);
        if block > 0u {
            sum += fours(at, s.c);
        }
        write(at, s.c, sum);
    }
    var dq = mat4x4<f32>();
    if active_ {
        dq = product(s.array_, s.c, slot + 2u * s.matrix + column, s.w, false);
    }
    let mean = across(s.shown, column / s.dim * s.dim, s.dim, dots(q, dq));
    if active_ {
        write(kept(block), s.w, dx);
        write(kept(block) + 4u * s.w, s.w, times(q, dq - by_rows(mean)));
    }
    storageBarrier();
}

// Where the part keeps a tile of the gradient of x1, and behind it that of the queries' logits.
fn kept(block: u32) -> u32 {
    return slot + 6u * s.matrix + s.w + (block * s.quads + row) * 8u * s.w + column;
}

// The queries' softmax over the features of their head.
fn queries() -> mat4x4<f32> {
    var q = mat4x4<f32>();
    if active_ {
        q = product(0u, s.c, p.scratch / 4u + s.q + column, s.w, true);
    }
    let head = column / s.dim * s.dim;
    show(s.shown, vec4(highest(q[0]), highest(q[1]), highest(q[2]), highest(q[3])));
    workgroupBarrier();
    var top = vec4(LOWEST);
    for (var k = 0u; active_ && k < s.dim; k++) {
        top = max(top, room[s.shown + row * s.stride + head + k]);
    }
    q = exponential(q - by_rows(top));
    return times(q, by_rows(1.0 / across(s.other, head, s.dim, vec4(1.0) * q)));
}

// x1: x0 plus the queries, left in array 2, times the context.
fn attended(x: mat4x4<f32>, q: mat4x4<f32>) -> mat4x4<f32> {
    put(2u * s.array_, q);
    workgroupBarrier();
    if !active_ || column >= s.c {
        return x;
    }
    let bias = by_columns(scratch[p.scratch / 4u + s.bias_out + column]);
    return x + bias + product(2u * s.array_, s.w, slot + s.matrix + column, s.c, false);
}

// Gradient of the layer norm in array 0; leaves dh in array 1.
fn feed_forward_backward(b: u32, n: u32, block: u32) -> mat4x4<f32> {
    let window = b * p.nodes + n;
    put(s.array_, mat4x4(
        gradient(window, frame(block, 0u)),
        gradient(window, frame(block, 1u)),
        gradient(window, frame(block, 2u)),
        gradient(window, frame(block, 3u)),
    ));
    workgroupBarrier();
    add_bias(s.sum_bias_down, s.array_, s.c);
    var dnorm = mat4x4<f32>();
    for (var first = 0u; first < s.hidden; first += s.w) {
        let width = min(s.w, s.hidden - first);
        var u = mat4x4<f32>();
        var du = mat4x4<f32>();
        if active_ && column < width {
            u = product(0u, s.c, p.scratch / 4u + s.up + first + column, s.hidden, true);
            du = product(s.array_, s.c, p.scratch / 4u + s.down_turned + first + column, s.hidden, false);
        }
        let share = mat4x4(distribution(u[0]), distribution(u[1]), distribution(u[2]), distribution(u[3]));
        let densities = mat4x4(density(u[0]), density(u[1]), density(u[2]), density(u[3]));
        du = times(du, share + times(u, densities));
        put(2u * s.array_, times(u, share));
        workgroupBarrier();
        for (var i = lane; i < s.c * width; i += SIZE) {
            let at = part_sums + s.sum_down + 4u * (i / width) * s.hidden + first + i % width;
            add(at, s.hidden, outer(s.array_ + i / width, 2u * s.array_ + i % width));
        }
        workgroupBarrier();
        put(2u * s.array_, du);
        workgroupBarrier();
        add_bias(s.sum_bias_up + first, 2u * s.array_, width);
        for (var i = lane; i < width * s.c; i += SIZE) {
            let at = part_sums + s.sum_up + 4u * (first + i / s.c) * s.c + i % s.c;
            add(at, s.c, outer(2u * s.array_ + i / s.c, i % s.c));
        }
        if active_ && column < s.c {
            let turned = p.scratch / 4u + s.up_turned + 4u * first * s.c + column;
            dnorm += product(2u * s.array_, width, turned, s.c, false);
        }
        workgroupBarrier();
    }
    return dnorm;
}

fn gradient(window: u32, t: u32) -> vec4<f32> {
    if t >= p.frames || column >= s.c {
        return vec4(0.0);
    }
    let at = p.dh + (window * p.frames + t) * p.channels + 4u * column;
    let last = p.channels - 1u - 4u * column;
    return real * vec4(dh[at], dh[at + min(1u, last)], dh[at + min(2u, last)], dh[at + min(3u, last)]);
}

// What a gradient of the layer norm in array 0 adds to that of its input.
fn normalize_backward(rstd: vec4<f32>, d: mat4x4<f32>) -> mat4x4<f32> {
    let x = tile(0u);
    show(s.other, dots(d, x));
    let mean = across(s.shown, 0u, s.c, vec4(1.0) * d) / f32(p.channels);
    let slope = row_sum(s.other, 0u, s.c) / f32(p.channels);
    return times(d - by_rows(mean) - times(x, by_rows(slope)), by_rows(rstd));
}

// From the gradient of the context to that of the gathered, in both orientations, and of W_vo.
fn mix_backward() {
    let context = slot + 3u * s.matrix;
    for (var i = lane; i < s.w * s.c; i += SIZE) {
        let feature = i / s.c;
        let weight = p.scratch / 4u + s.value_out_turned + feature / s.dim * 4u * s.c * s.c + i % s.c;
        let d = stored_product(context + 4u * feature * s.c, weight);
        write(slot + 4u * s.matrix + 4u * feature * s.c + i % s.c, s.c, d);
        write(slot + 5u * s.matrix + 4u * (i % s.c) * s.w + feature, s.w, transpose(d));
    }
    for (var i = lane; i < p.heads * s.c * s.c; i += SIZE) {
        let head = 4u * (i / (s.c * s.c)) * s.dim * s.c;
        var sum = mat4x4<f32>();
        for (var k = head; k < head + 4u * s.dim * s.c; k += s.c) {
            sum = add_outer(sum, scratch[slot + k + i / s.c % s.c], scratch[context + k + i % s.c]);
        }
        add(part_sums + s.sum_value_out + 4u * (i / s.c) * s.c + i % s.c, s.c, sum);
    }
    for (var i = lane; i < p.heads * s.c; i += SIZE) {
        var sum = vec4(0.0);
        for (var k = 0u; k < 4u * s.dim; k++) {
            sum += scratch[context + (i / s.c * 4u * s.dim + k) * s.c + i % s.c];
        }
        scratch[part_sums + s.sum_bias_value_out + i] += sum;
    }
    storageBarrier();
    // What the softmax over frames subtracts, added as `product` does: of one frame nothing is left.
    for (var i = lane; i < s.w; i += SIZE) {
        var sum = vec4(0.0);
        for (var k = 0u; k < s.c; k++) {
            let at = slot + 4u * i * s.c + k;
            let g = transpose(fours(at, s.c));
            let d = transpose(fours(at + 4u * s.matrix, s.c));
            sum = fma(g[3], d[3], fma(g[2], d[2], fma(g[1], d[1], fma(g[0], d[0], sum))));
        }
        scratch[slot + 6u * s.matrix + i] = sum;
    }
    storageBarrier();
}
