// gated_head: y = gamma (z - mean) rstd + beta, a = sigmoid(W_g y + b_g) tanh(W_h y + b_h) or y, the prediction
// clamp(w_o . a + b_o, low, high) or its masked squared error: loss = sum (prediction - target)^2 mask / weight.
//
// shapes   z [b, n, t, c], stats [b, t, g, 2], gamma, beta, w_out [c], w_gate [2c, c], b_gate [2c], low, high [n],
//          target, mask, prediction [b, t, n], scratch: folded weights and a vec4 of every workgroup; c <= 256
// launch   fold: one invocation for a vec4; main: a workgroup of 128 for four frames of a sample and a run of nodes,
//          128 / q of them at a time with q = c / 4 rounded up; loss: one workgroup
// shared   16 KiB: (z - mean) rstd of all channels, and as many rows of the matrix as fit, all of them where c <= 32
// plan     fold takes gamma and beta into the matrix, so that the main dispatch binds few buffers. An invocation
//          has four frames of a node by four channels of both gates: 12 shared loads for 128 multiply-adds. Mean and
//          rstd are those of the workgroup's four frames; neighbouring invocations end with neighbouring nodes, so that
//          target, mask and prediction are read along nodes. Both gates share one reciprocal. Squares and masses are
//          added in a tree, then over workgroups: a fixed order, no atomics
// bound    c = 32: multiply-adds and exponentials, 40 % of the peak expected, without a gate memory, 4 c bytes a token;
//          not measured on a GPU

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
    prediction: u32,
    loss: u32,
    weight: u32,
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
@group(0) @binding(12) var<storage, read_write> prediction: array<f32>;
@group(0) @binding(13) var<storage, read_write> loss: array<f32>;
@group(0) @binding(14) var<storage, read_write> weight: array<f32>;
@group(0) @binding(15) var<storage, read_write> scratch: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;
const LANES = 128u;
// Where the shared rows of the matrix begin.
const SHARED_W = 512u;

// Normed rows [4 * (128 / q), q] and rows of the matrix [4 * (64 / q), 2q].
var<workgroup> tile: array<vec4<f32>, 1024>;

// The matrix transposed and scaled, [4q, 2q] vec4s (gate, then tanh); its bias, 2q; the output's weights, q, and bias.
@compute @workgroup_size(128)
fn gated_head_fold(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * LANES + lane;
    let quads = (p.channels + 3u) / 4u;
    let bias = 8u * quads * quads;
    let out = bias + 2u * quads;
    if i > out + quads {
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

@compute @workgroup_size(128)
fn gated_head(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * ((p.frames + 3u) / 4u) * p.parts {
        return;
    }
    let work = work_of(index, lane);
    let folded = p.scratch / 4u + 8u * work.quads * work.quads;
    let out = scratch[folded + 2u * work.quads + work.column];
    let bias = scratch[folded + 3u * work.quads].x;
    let norms = norms_of(work);
    var score = vec2(0.0);
    for (var node = work.start; node < work.end; node += work.slots) {
        var projected = normed(work, node + work.slot, norms);
        if p.gated == 1u {
            projected = gated(work, projected, node == work.start, lane);
        }
        workgroupBarrier();
        tile[place(work.quads, work.slot, work.column)] = out * projected;
        workgroupBarrier();
        for (var i = lane; i < 4u * work.slots; i += LANES) {
            let slot = i % work.slots;
            let frame = work.frame + i / work.slots;
            if frame < p.frames && node + slot < work.end {
                var raw = bias;
                for (var column = 0u; column < work.quads; column++) {
                    raw += tile[place(work.quads, slot, column)][i / work.slots];
                }
                score += taken(node + slot, (work.sample * p.frames + frame) * p.nodes + node + slot, raw);
            }
        }
    }
    let total = tree(lane, score);
    if lane == 0u {
        scratch[folded + 3u * work.quads + 1u + index] = vec4(total, 0.0, 0.0);
    }
}

// The gated activation of a workgroup's rows.
fn gated(work: Work, x: mat4x4<f32>, first: bool, lane: u32) -> mat4x4<f32> {
    let bias = p.scratch / 4u + 8u * work.quads * work.quads + work.column;
    var gate = spread(scratch[bias]);
    var tangent = spread(scratch[bias + work.quads]);
    // So many rows of the matrix, in fours, fit at a time; where all do they stay.
    let width = min(work.quads, 64u / work.quads);
    let stride = work.slots * work.quads;
    for (var block = 0u; block < work.quads; block += width) {
        let count = min(work.quads - block, width);
        workgroupBarrier();
        if block == 0u && work.slot < work.slots {
            share(work, x);
        }
        if first || width < work.quads {
            share_weights(8u * block * work.quads, 8u * count * work.quads, lane);
        }
        workgroupBarrier();
        for (var i = 0u; i < count; i++) {
            let from_x = place(work.quads, work.slot, block + i);
            let x0 = tile[from_x];
            let x1 = tile[from_x + stride];
            let x2 = tile[from_x + 2u * stride];
            let x3 = tile[from_x + 3u * stride];
            let at = SHARED_W + 8u * i * work.quads + work.column;
            let step = 2u * work.quads;
            let w = mat4x4(tile[at], tile[at + step], tile[at + 2u * step], tile[at + 3u * step]);
            gate[0] = row_times(x0, w, gate[0]);
            gate[1] = row_times(x1, w, gate[1]);
            gate[2] = row_times(x2, w, gate[2]);
            gate[3] = row_times(x3, w, gate[3]);
            let next = at + work.quads;
            let v = mat4x4(tile[next], tile[next + step], tile[next + 2u * step], tile[next + 3u * step]);
            tangent[0] = row_times(x0, v, tangent[0]);
            tangent[1] = row_times(x1, v, tangent[1]);
            tangent[2] = row_times(x2, v, tangent[2]);
            tangent[3] = row_times(x3, v, tangent[3]);
        }
    }
    return mat4x4(
        product(gate[0], tangent[0]),
        product(gate[1], tangent[1]),
        product(gate[2], tangent[2]),
        product(gate[3], tangent[3]),
    );
}

// sigmoid(g) tanh(h) with one reciprocal.
fn product(g: vec4<f32>, h: vec4<f32>) -> vec4<f32> {
    let e = exp(-clamp(g, vec4(-80.0), vec4(80.0)));
    let f = exp(-2.0 * min(abs(h), vec4(40.0)));
    return sign(h) * (1.0 - f) / ((1.0 + e) * (1.0 + f));
}

// `count` vec4s of the folded matrix from `start` on.
fn share_weights(start: u32, count: u32, lane: u32) {
    for (var i = lane; i < count; i += LANES) {
        tile[SHARED_W + i] = scratch[p.scratch / 4u + start + i];
    }
}

// Shares a vec4 of columns of four rows.
fn share(work: Work, value: mat4x4<f32>) {
    let at = place(work.quads, work.slot, work.column);
    let stride = work.slots * work.quads;
    tile[at] = value[0];
    tile[at + stride] = value[1];
    tile[at + 2u * stride] = value[2];
    tile[at + 3u * stride] = value[3];
}

// A prediction's squared error and mass, or with no target nothing but the prediction stored; `at` is its place in
// [b, t, n].
fn taken(node: u32, at: u32, raw: f32) -> vec2<f32> {
    var value = raw;
    if p.low != ABSENT {
        value = min(max(raw, low[p.low + node]), high[p.high + node]);
    }
    if p.target_ == ABSENT {
        prediction[p.prediction + at] = value;
        return vec2(0.0);
    }
    let share = mask[p.mask + at];
    let error = value - target_[p.target_ + at];
    // A target outside the mask may be NaN.
    return vec2(select(0.0, error * error * share, share != 0.0), share);
}

@compute @workgroup_size(128)
fn gated_head_loss(@builtin(local_invocation_index) lane: u32) {
    if p.target_ == ABSENT {
        return;
    }
    let quads = (p.channels + 3u) / 4u;
    let start = p.scratch / 4u + 8u * quads * quads + 3u * quads + 1u;
    let groups = select(p.batch * ((p.frames + 3u) / 4u) * p.parts, 0u, p.nodes == 0u);
    var sum = vec2(0.0);
    for (var i = lane; i < groups; i += LANES) {
        sum += scratch[start + i].xy;
    }
    sum = tree(lane, sum);
    if lane == 0u {
        let mass = select(sum.y, 1.0, sum.y == 0.0);
        weight[p.weight] = mass;
        loss[p.loss] = sum.x / mass;
    }
}

// The sum of a workgroup's values, always in the same order.
fn tree(lane: u32, value: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    tile[lane] = vec4(value, 0.0, 0.0);
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            tile[lane] += tile[lane + half];
        }
    }
    workgroupBarrier();
    return tile[0].xy;
}
