// gated_head_backward: gradients of gated_head, whose forward is computed again. The gradient of a prediction is
// 2 dy (p - target) mask / weight with a target, else dy, and 0 where the clamp cut.
//
// shapes   as in gated_head; dy [b, t, n], or [1] with a target; d [b, n, t, c] the gradient of (z - mean) rstd; sums
//          [b, t, g, 2] its sum and its product with (z - mean) rstd over nodes and the channels of a group; scratch:
//          weights folded with the norm for both ways, bounds, the sums of every workgroup and the weights' in all; c <= 256
// launch   fold, bounds: one invocation for a vec4 or a node; main: a workgroup of 128 for four frames of a sample and a
//          run of nodes, 128 / q of them at a time with q = c / 4 rounded up; total: a workgroup of 256 for 16 vec4s of the
//          weights' sums; sums: one of 64 for a frame and group; weights: one invocation for a number; norm: one of 64
//          for a channel
// shared   16 KiB: (z - mean) rstd, and in turn the matrix, one gate's gradients, sums; some 160 registers (estimated)
// plan     an invocation has four frames of a node by four channels of both gates. The gates' gradients go to shared
//          memory one gate after the other: there each is multiplied with the matrix of the way back, read through the
//          cache, and with the normed rows, of which product an invocation keeps 4 by 4 numbers (8 by 4 where c > 32, in
//          several passes where c > 64) over every second row (more often where c < 32). Gradients of weights and sums over
//          nodes stay in registers over a run of nodes, are added over invocations, then over workgroups in order: no
//          atomics. With beta and gamma folded into the matrix, dgamma, dbeta and dW follow from the sums
// bound    multiply-adds: 12 c^2 flops a token, 35 % of the peak expected; without a gate memory, 8 c bytes a token; not
//          measured on a GPU

struct Parameters {
    batch: u32,
    frames: u32,
    nodes: u32,
    channels: u32,
    groups: u32,
    gated: u32,
    z: u32,
    stats: u32,
    gamma: u32,
    beta: u32,
    w_gate: u32,
    b_gate: u32,
    w_out: u32,
    b_out: u32,
    low: u32,
    high: u32,
    target_: u32,
    mask: u32,
    dy: u32,
    weight: u32,
    d: u32,
    sums: u32,
    dgamma: u32,
    dbeta: u32,
    dw_gate: u32,
    db_gate: u32,
    dw_out: u32,
    db_out: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> z: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(3) var<storage, read_write> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> w_gate: array<f32>;
@group(0) @binding(5) var<storage, read_write> b_gate: array<f32>;
@group(0) @binding(6) var<storage, read_write> w_out: array<f32>;
@group(0) @binding(7) var<storage, read_write> b_out: array<f32>;
@group(0) @binding(8) var<storage, read_write> low: array<f32>;
@group(0) @binding(9) var<storage, read_write> high: array<f32>;
@group(0) @binding(10) var<storage, read_write> target_: array<f32>;
@group(0) @binding(11) var<storage, read_write> mask: array<f32>;
@group(0) @binding(12) var<storage, read_write> dy: array<f32>;
@group(0) @binding(13) var<storage, read_write> weight: array<f32>;
@group(0) @binding(14) var<storage, read_write> d: array<vec4<f32>>;
@group(0) @binding(14) var<storage, read_write> d_each: array<f32>;
@group(0) @binding(15) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(16) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(17) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(18) var<storage, read_write> dw_gate: array<f32>;
@group(0) @binding(19) var<storage, read_write> db_gate: array<f32>;
@group(0) @binding(20) var<storage, read_write> dw_out: array<f32>;
@group(0) @binding(21) var<storage, read_write> db_out: array<f32>;
@group(0) @binding(22) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding(22) var<storage, read_write> scratch_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;
const LANES = 128u;
const LARGEST = 3.4028234e38;
// Where the shared rows of the matrix, or a gate's gradients, begin.
const SECOND = 512u;

// Normed rows [4 * (128 / q), q], then rows of the matrix [4 * (64 / q), 2q] or gradients [4 * (128 / q), q].
var<workgroup> tile: array<vec4<f32>, 1024>;

// An invocation's normed rows, and the gradients of both gates before their activation.
var<private> x: mat4x4<f32>;
var<private> d_gate: mat4x4<f32>;
var<private> d_tangent: mat4x4<f32>;
// Its sums: 4 by 4 numbers of the matrix's gradient for both gates, and 4 by 4 further ones where c > 32; both biases;
// the output's weights and bias; d and d times x by frame.
var<private> sum_gate: mat4x4<f32>;
var<private> sum_tangent: mat4x4<f32>;
var<private> more_gate: mat4x4<f32>;
var<private> more_tangent: mat4x4<f32>;
var<private> sum_gate_bias: vec4<f32>;
var<private> sum_tangent_bias: vec4<f32>;
var<private> sum_out: vec4<f32>;
var<private> sum_out_bias: f32;
var<private> sum_d: mat4x4<f32>;
var<private> sum_dx: mat4x4<f32>;

// Vec4s of the folded weights, and of the weights' sums, which lie alike: the matrix, its bias, the output's weights and
// bias.
fn folded_size() -> u32 {
    let quads = (p.channels + 3u) / 4u;
    return quads * (8u * quads + 3u) + 1u;
}

// First vec4 of the matrix of the way back, [2 halves, 4q, q].
fn back_start() -> u32 {
    return p.scratch / 4u + folded_size();
}

// First vec4 of the bounds: low and high of every node.
fn bounds_start() -> u32 {
    let quads = (p.channels + 3u) / 4u;
    return back_start() + 8u * quads * quads;
}

// First vec4 of the sums of the workgroups: those of the weights, then of d and of d times x [2, 4, q].
fn record(index: u32) -> u32 {
    let quads = (p.channels + 3u) / 4u;
    return bounds_start() + (p.nodes + 1u) / 2u + index * (folded_size() + 8u * quads);
}

// Workgroups of the main dispatch.
fn records() -> u32 {
    return select(p.batch * ((p.frames + 3u) / 4u) * p.parts, 0u, p.nodes == 0u);
}

// The matrix transposed and scaled, [4q, 2q] vec4s (gate, then tanh); its bias, 2q; the output's weights, q, and bias.
@compute @workgroup_size(128)
fn gated_head_backward_fold(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * LANES + lane;
    let quads = (p.channels + 3u) / 4u;
    let bias = 8u * quads * quads;
    let out = bias + 2u * quads;
    if i > out + quads {
        if i < folded_size() + bias {
            scratch[p.scratch / 4u + i] = back(i - folded_size());
        }
        return;
    }
    var four = vec4(0.0);
    if i == out + quads {
        four.x = output_bias();
    } else {
        for (var k = 0u; k < min(p.channels - i % quads * 4u, 4u); k++) {
            let channel = i % quads * 4u + k;
            if i >= out {
                four[k] = w_out[p.w_out + channel] * select(gamma[p.gamma + channel], 1.0, p.gated == 1u);
            } else if p.gated == 1u {
                let o = i / quads % 2u * p.channels + channel;
                if i >= bias {
                    four[k] = gate_bias(o);
                } else if i / (2u * quads) < p.channels {
                    let input = i / (2u * quads);
                    four[k] = w_gate[p.w_gate + o * p.channels + input] * gamma[p.gamma + input];
                }
            }
        }
    }
    scratch[p.scratch / 4u + i] = four;
}

// A vec4 of the matrix of the way back.
fn back(i: u32) -> vec4<f32> {
    let quads = (p.channels + 3u) / 4u;
    let o = i / quads % (4u * quads);
    var four = vec4(0.0);
    if o < p.channels && p.gated == 1u {
        let row = i / quads / (4u * quads) * p.channels + o;
        for (var input = i % quads * 4u; input < min(p.channels, i % quads * 4u + 4u); input++) {
            four[input % 4u] = w_gate[p.w_gate + row * p.channels + input] * gamma[p.gamma + input];
        }
    }
    return four;
}

// The bounds of every node, and what the gradient of a squared error is multiplied with.
@compute @workgroup_size(128)
fn gated_head_backward_bounds(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let node = (group.y * grid.x + group.x) * LANES + lane;
    if node < p.nodes {
        var bounds = vec2(-LARGEST, LARGEST);
        if p.low != ABSENT {
            bounds = vec2(low[p.low + node], high[p.high + node]);
        }
        scratch_each[4u * bounds_start() + 2u * node] = bounds.x;
        scratch_each[4u * bounds_start() + 2u * node + 1u] = bounds.y;
    }
    if node == 0u && p.target_ != ABSENT {
        // After the output's bias.
        scratch_each[4u * back_start() - 3u] = 2.0 * dy[p.dy] / weight[p.weight];
    }
}

// Channels a multiple of four, up to 32.
@compute @workgroup_size(128)
fn gated_head_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= records() {
        return;
    }
    let work = work_of(index, lane);
    let norms = norms_of(work);
    for (var node = work.start; node < work.end; node += work.slots) {
        x = normed(work, node + work.slot, norms);
        gate_gradients(work, node + work.slot, lane);
        var value = mat4x4<f32>();
        for (var half = 0u; half < 2u; half++) { // one code for gate and tangent, as drivers take long to compile it
            expose(work, d_gate);
            let sum = outer(work, lane, sum_gate);
            value = way_back(work, half, value);
            d_gate = d_tangent;
            sum_gate = sum_tangent;
            sum_tangent = sum;
        }
        store(work, node + work.slot, value);
        take(value);
    }
    leave_sums(work, index, lane);
    leave_blocks(work, index, 0u, sum_gate, sum_tangent, lane);
}

// Channels a multiple of four. For every 256 blocks of the matrix the same is done again; d is left by the first.
@compute @workgroup_size(128)
fn gated_head_backward_wide(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * grid.x + group.x) % records();
    let first = (group.y * grid.x + group.x) / records() * 2u * LANES;
    let work = work_of(index, lane);
    if first >= work.quads * work.quads {
        return;
    }
    let norms = norms_of(work);
    for (var node = work.start; node < work.end; node += work.slots) {
        x = normed(work, node + work.slot, norms);
        let value = wide_gradients(work, node + work.slot, first, lane);
        if first == 0u {
            store(work, node + work.slot, value);
            take(value);
        }
    }
    if first == 0u {
        leave_sums(work, index, lane);
    }
    leave_blocks(work, index, first, sum_gate, sum_tangent, lane);
    leave_blocks(work, index, first + LANES, more_gate, more_tangent, lane);
}

// Any channels, with a gate or without.
@compute @workgroup_size(128)
fn gated_head_backward_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * grid.x + group.x) % records();
    let first = (group.y * grid.x + group.x) / records() * 2u * LANES;
    let work = work_of(index, lane);
    if first >= work.quads * work.quads {
        return;
    }
    let norms = norms_of(work);
    for (var node = work.start; node < work.end; node += work.slots) {
        x = normed(work, node + work.slot, norms);
        var value: mat4x4<f32>;
        if p.gated == 1u {
            value = wide_gradients(work, node + work.slot, first, lane);
        } else {
            value = plain_gradients(work, node + work.slot, lane);
        }
        if first == 0u {
            store_each(work, node + work.slot, value);
            take(value);
        }
    }
    if first == 0u {
        leave_sums(work, index, lane);
    }
    leave_blocks(work, index, first, sum_gate, sum_tangent, lane);
    leave_blocks(work, index, first + LANES, more_gate, more_tangent, lane);
}

// Without a gate, channels a multiple of four.
@compute @workgroup_size(128)
fn gated_head_backward_plain(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= records() {
        return;
    }
    let work = work_of(index, lane);
    let norms = norms_of(work);
    for (var node = work.start; node < work.end; node += work.slots) {
        x = normed(work, node + work.slot, norms);
        let value = plain_gradients(work, node + work.slot, lane);
        store(work, node + work.slot, value);
        take(value);
    }
    leave_sums(work, index, lane);
}

// From the normed rows x to the gradients of both gates, by way of the prediction.
fn gate_gradients(work: Work, node: u32, lane: u32) {
    pre_activations(work, lane);
    let out = scratch[p.scratch / 4u + 8u * work.quads * work.quads + 2u * work.quads + work.column];
    // Sigmoids and tangents in place of what they are of, and their product.
    d_gate = mat4x4(sigmoid(d_gate[0]), sigmoid(d_gate[1]), sigmoid(d_gate[2]), sigmoid(d_gate[3]));
    d_tangent = mat4x4(tangent(d_tangent[0]), tangent(d_tangent[1]), tangent(d_tangent[2]), tangent(d_tangent[3]));
    let a = mat4x4(
        d_gate[0] * d_tangent[0],
        d_gate[1] * d_tangent[1],
        d_gate[2] * d_tangent[2],
        d_gate[3] * d_tangent[3],
    );
    let dp = prediction_gradients(work, node, out * a, lane);
    sum_out += a * dp;
    sum_out_bias += dot(dp, vec4(1.0));
    // With a = g h: g' = da a (1 - g), h' = da (g - a h).
    d_tangent[0] = dp.x * out * (d_gate[0] - a[0] * d_tangent[0]);
    d_tangent[1] = dp.y * out * (d_gate[1] - a[1] * d_tangent[1]);
    d_tangent[2] = dp.z * out * (d_gate[2] - a[2] * d_tangent[2]);
    d_tangent[3] = dp.w * out * (d_gate[3] - a[3] * d_tangent[3]);
    d_gate[0] = dp.x * out * a[0] * (1.0 - d_gate[0]);
    d_gate[1] = dp.y * out * a[1] * (1.0 - d_gate[1]);
    d_gate[2] = dp.z * out * a[2] * (1.0 - d_gate[2]);
    d_gate[3] = dp.w * out * a[3] * (1.0 - d_gate[3]);
    sum_gate_bias += (d_gate[0] + d_gate[1]) + (d_gate[2] + d_gate[3]);
    sum_tangent_bias += (d_tangent[0] + d_tangent[1]) + (d_tangent[2] + d_tangent[3]);
}

// Both gates before their activation, in d_gate and d_tangent.
fn pre_activations(work: Work, lane: u32) {
    let bias = p.scratch / 4u + 8u * work.quads * work.quads + work.column;
    d_gate = spread(scratch[bias]);
    d_tangent = spread(scratch[bias + work.quads]);
    // So many rows of the matrix, in fours, fit at a time.
    let width = min(work.quads, 64u / work.quads);
    let stride = work.slots * work.quads;
    for (var block = 0u; block < work.quads; block += width) {
        let count = min(work.quads - block, width);
        workgroupBarrier();
        if block == 0u && work.slot < work.slots {
            share(work, 0u, x);
        }
        share_weights(8u * block * work.quads, 8u * count * work.quads, lane);
        workgroupBarrier();
        for (var i = 0u; i < count; i++) {
            let from_x = place(work.quads, work.slot, block + i);
            let x0 = tile[from_x];
            let x1 = tile[from_x + stride];
            let x2 = tile[from_x + 2u * stride];
            let x3 = tile[from_x + 3u * stride];
            let at = SECOND + 8u * i * work.quads + work.column;
            let step = 2u * work.quads;
            let w = mat4x4(tile[at], tile[at + step], tile[at + 2u * step], tile[at + 3u * step]);
            d_gate[0] = row_times(x0, w, d_gate[0]);
            d_gate[1] = row_times(x1, w, d_gate[1]);
            d_gate[2] = row_times(x2, w, d_gate[2]);
            d_gate[3] = row_times(x3, w, d_gate[3]);
            let next = at + work.quads;
            let v = mat4x4(tile[next], tile[next + step], tile[next + 2u * step], tile[next + 3u * step]);
            d_tangent[0] = row_times(x0, v, d_tangent[0]);
            d_tangent[1] = row_times(x1, v, d_tangent[1]);
            d_tangent[2] = row_times(x2, v, d_tangent[2]);
            d_tangent[3] = row_times(x3, v, d_tangent[3]);
        }
    }
}
