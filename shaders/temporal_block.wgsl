// temporal_block: input projection, shift and one pre-norm transformer layer with linear attention over a node's frames.
//
// shapes   planes [f, b, t, n], shift [b, t, c], weights [out, in], h [b, n, t, c]; in scratch memory the weights, then
//          two matrices [w, c] a part
// launch   three packs of the weights, one invocation a number; then `parts` workgroups of 32, 64 or 128, each with
//          every parts-th window
// shared   16 KiB: two arrays of the tokens of a block of frames, and one of what invocations show each other
// plan     an invocation owns 4 frames by 4 channels of the window: they stay in registers from the planes to h. What
//          products read lies in shared rows of an odd number of vec4s (no bank conflicts), weights come as vec4s from
//          the cache: 8 loads for 64 multiply-adds. Norms and softmaxes exchange one vec4 an invocation. A window that
//          is too long is walked twice in blocks of frames, keys summed as they come with a running maximum. Channels,
//          the features of a head and hidden units are padded to fours by weights of 0: one code for all shapes.
//          W_v and W_o meet the [w, c] product of keys and tokens as one matrix a head; norms are folded into weights
// bound    multiply-adds: 24.6 kFLOP a token at c = 32 for 136 bytes; 40 % of the peak expected; not measured on a GPU

struct Parameters {
    batch: u32, frames: u32, nodes: u32, inputs: u32, channels: u32, hidden: u32, heads: u32, eps: f32,
    planes: u32, shift: u32, w_in: u32,
    norm1_gamma: u32, norm1_beta: u32, w_q: u32, w_k: u32, w_v: u32, w_o: u32, b_o: u32,
    norm2_gamma: u32, norm2_beta: u32, w_1: u32, b_1: u32, w_2: u32, b_2: u32, h: u32,
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
@group(0) @binding(16) var<storage, read_write> h: array<f32>;
@group(0) @binding(17) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding(17) var<storage, read_write> scratch_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

// Vec4s of the workgroup's memory.
const ROOM = 1024u;
// A logit that no other is below.
const LOWEST = -1e30;

// Sizes in vec4s.
struct Sizes {
    // Channels, features of a head, features of all heads, hidden units, a matrix [features, channels].
    c: u32, dim: u32, w: u32, hidden: u32, matrix: u32,
    // In the scratch memory: matrices [in, out], most with their bias in the row behind, the projection of the planes at 0;
    // then two matrices for every part.
    q: u32, k: u32, value_out: u32, bias_out: u32, up: u32, down: u32, slots: u32,
    // In the workgroup's memory: the length of a row, a fourth of the rows of a block, the blocks, an array of tokens, the
    // start of what invocations exchange and of the keys' maxima, sums and factors.
    stride: u32, quads: u32, blocks: u32, array_: u32, shown: u32, stats: u32,
}

var<workgroup> room: array<vec4<f32>, ROOM>;

var<private> s: Sizes;
// The invocation's tile: frames row + 0, 1, 2, 3 quads of a block, and four channels. Those without one are not active.
var<private> row: u32;
var<private> column: u32;
var<private> active_: bool;
// 1 where the tile's channels are no padding.
var<private> real: vec4<f32>;
// Where the part's matrices start.
var<private> slot: u32;

fn sizes(invocations: u32) {
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
    s.down = s.up + (4u * s.c + 1u) * s.hidden;
    s.slots = s.down + (4u * s.hidden + 1u) * s.c;
    s.stride = s.w | 1u;
    let all = (p.frames + 3u) / 4u;
    let most = min((ROOM - 3u * s.w) / (9u * s.stride), invocations / s.w);
    s.blocks = (all + most - 1u) / most;
    s.quads = (all + s.blocks - 1u) / s.blocks;
    s.array_ = 4u * s.quads * s.stride;
    s.shown = 2u * s.array_;
    s.stats = s.shown + s.quads * s.stride;
}

@compute @workgroup_size(32)
fn temporal_block_32(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    windows(group.x, lane, 32u);
}

@compute @workgroup_size(64)
fn temporal_block_64(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    windows(group.x, lane, 64u);
}

@compute @workgroup_size(128)
fn temporal_block_128(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    windows(group.x, lane, 128u);
}

fn windows(part: u32, lane: u32, invocations: u32) {
    if part >= p.parts {
        return;
    }
    sizes(invocations);
    row = lane / s.w;
    column = lane % s.w;
    active_ = row < s.quads;
    real = vec4<f32>(4u * column + vec4(0u, 1u, 2u, 3u) < vec4(p.channels));
    slot = p.scratch / 4u + s.slots + part * 2u * s.matrix;
    for (var window = part; window < p.batch * p.nodes; window += p.parts) {
        var x = mat4x4<f32>();
        for (var step = 0u; step < 2u * s.blocks; step++) {
            // A window of one block stays where it is.
            if step < s.blocks || s.blocks > 1u {
                x = load(window / p.nodes, window % p.nodes, step % s.blocks);
                normalize(x);
            }
            if step < s.blocks {
                gather(step, key_logits(step), lane, invocations);
            } else {
                x = feed_forward(attended(x, queries()));
                store(window, step - s.blocks, x);
            }
            if step + 1u == s.blocks {
                mix(lane, invocations);
            }
        }
    }
}

// Layer norm of the tiles into array 0.
fn normalize(x: mat4x4<f32>) {
    let y = times(x - by_rows(across(0u, s.c, vec4(1.0) * x) / f32(p.channels)), by_columns(real));
    let rstd = 1.0 / sqrt(across(0u, s.c, dots(y, y)) / f32(p.channels) + p.eps);
    put(0u, times(y, by_rows(rstd)));
    workgroupBarrier();
}

// Adds the block's product of the keys' softmax over frames with its tokens to the gathered.
fn gather(block: u32, logits: mat4x4<f32>, lane: u32, invocations: u32) {
    exchange(max(max(logits[0], logits[1]), max(logits[2], logits[3])));
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
    exchange((keys[0] + keys[1]) + (keys[2] + keys[3]));
    if row == 0u {
        let factor = exp(before - top);
        var sum = select(vec4(0.0), factor * room[s.stats + s.w + column], block > 0u);
        for (var i = 0u; i < s.quads; i++) {
            sum += room[s.shown + i * s.stride + column];
        }
        room[s.stats + column] = top;
        room[s.stats + s.w + column] = sum;
        room[s.stats + 2u * s.w + column] = factor;
    }
    workgroupBarrier();
    for (var i = lane; i < s.w * s.c; i += invocations) {
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

// The context, gathered times W_vo head by head.
fn mix(lane: u32, invocations: u32) {
    for (var i = lane; i < s.w * s.c; i += invocations) {
        let feature = i / s.c;
        let weight = p.scratch / 4u + s.value_out + feature / s.dim * (4u * s.c + 1u) * s.c + i % s.c;
        let bias = by_columns(scratch[weight + 4u * s.c * s.c]);
        let context = bias + stored_product(slot + 4u * feature * s.c, weight);
        write(slot + s.matrix + 4u * feature * s.c + i % s.c, s.c, context);
    }
    storageBarrier();
}

// The queries' softmax over the features of their head.
fn queries() -> mat4x4<f32> {
    var q = mat4x4<f32>();
    if active_ {
        q = product(0u, s.c, p.scratch / 4u + s.q + column, s.w, true);
    }
    let head = column / s.dim * s.dim;
    exchange(vec4(highest(q[0]), highest(q[1]), highest(q[2]), highest(q[3])));
    var top = vec4(LOWEST);
    for (var k = 0u; active_ && k < s.dim; k++) {
        top = max(top, room[s.shown + row * s.stride + head + k]);
    }
    q = exponential(q - by_rows(top));
    return times(q, by_rows(1.0 / across(head, s.dim, vec4(1.0) * q)));
}

// x1: x0 plus the queries, left in array 1, times the context.
fn attended(x: mat4x4<f32>, q: mat4x4<f32>) -> mat4x4<f32> {
    put(s.array_, q);
    workgroupBarrier();
    if !active_ || column >= s.c {
        return x;
    }
    let bias = by_columns(scratch[p.scratch / 4u + s.bias_out + column]);
    return x + bias + product(s.array_, s.w, slot + s.matrix + column, s.c, false);
}

// h from x1: some hidden units at a time.
fn feed_forward(x: mat4x4<f32>) -> mat4x4<f32> {
    normalize(x);
    var y = x;
    if column < s.c {
        y += by_columns(scratch[p.scratch / 4u + s.down + 4u * s.hidden * s.c + column]);
    }
    for (var first = 0u; first < s.hidden; first += s.w) {
        var u = mat4x4<f32>();
        if active_ && first + column < s.hidden {
            u = product(0u, s.c, p.scratch / 4u + s.up + first + column, s.hidden, true);
        }
        let share = mat4x4(distribution(u[0]), distribution(u[1]), distribution(u[2]), distribution(u[3]));
        put(s.array_, times(u, share));
        workgroupBarrier();
        if active_ && column < s.c {
            let down = p.scratch / 4u + s.down + 4u * first * s.c + column;
            y += product(s.array_, min(s.w, s.hidden - first), down, s.c, false);
        }
        workgroupBarrier();
    }
    return y;
}

fn store(window: u32, block: u32, x: mat4x4<f32>) {
    store_token(window, frame(block, 0u), x[0]);
    store_token(window, frame(block, 1u), x[1]);
    store_token(window, frame(block, 2u), x[2]);
    store_token(window, frame(block, 3u), x[3]);
}

fn store_token(window: u32, t: u32, value: vec4<f32>) {
    if active_ && t < p.frames {
        for (var k = 4u * column; k < min(4u * column + 4u, p.channels); k++) {
            h[p.h + (window * p.frames + t) * p.channels + k] = value[k % 4u];
        }
    }
}

// Shows every invocation's value to the others.
fn exchange(value: vec4<f32>) {
    workgroupBarrier();
    if active_ {
        room[s.shown + row * s.stride + column] = value;
    }
    workgroupBarrier();
}

// The sum of the row's values of some columns.
fn across(first: u32, count: u32, value: vec4<f32>) -> vec4<f32> {
    exchange(value);
    var sum = vec4(0.0);
    for (var k = 0u; active_ && k < count; k++) {
        sum += room[s.shown + row * s.stride + first + k];
    }
    return sum;
}

// The weights. A launch has too few numbers of each to be folded into rows of workgroups.
