// gated_head_backward: tiles in shared memory, and the sums of the parameters. Goes on from gated_head_backward.wgsl.

// `count` vec4s of the folded matrix from `start` on.
fn share_weights(start: u32, count: u32, lane: u32) {
    for (var i = lane; i < count; i += LANES) {
        tile[SECOND + i] = scratch[p.scratch / 4u + start + i];
    }
}

// Shares a vec4 of columns of four rows; the rows begin at `start`.
fn share(work: Work, start: u32, value: mat4x4<f32>) {
    let at = start + place(work.quads, work.slot, work.column);
    let stride = work.slots * work.quads;
    tile[at] = value[0];
    tile[at + stride] = value[1];
    tile[at + 2u * stride] = value[2];
    tile[at + 3u * stride] = value[3];
}

fn sigmoid(g: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-clamp(g, vec4(-80.0), vec4(80.0))));
}

fn tangent(h: vec4<f32>) -> vec4<f32> {
    let f = exp(-2.0 * min(abs(h), vec4(40.0)));
    return sign(h) * (1.0 - f) / (1.0 + f);
}

// Gradients of the predictions of four frames of a node from an invocation's share of them.
fn prediction_gradients(work: Work, node: u32, share: vec4<f32>, lane: u32) -> vec4<f32> {
    workgroupBarrier();
    tile[SECOND + place(work.quads, work.slot, work.column)] = share;
    workgroupBarrier();
    let constants = scratch[back_start() - 1u];
    var raw = vec4(constants.x);
    for (var column = 0u; column < work.quads; column++) {
        raw += tile[SECOND + place(work.quads, work.slot, column)];
    }
    let frames = work.frame + vec4(0u, 1u, 2u, 3u);
    if work.slot >= work.slots || node >= work.end {
        return vec4(0.0);
    }
    let four = scratch[bounds_start() + node / 2u];
    let bounds = select(four.xy, four.zw, node % 2u == 1u);
    let inside = (frames < vec4(p.frames)) & (raw >= vec4(bounds.x)) & (raw <= vec4(bounds.y));
    let at = (work.sample * p.frames + min(frames, vec4(p.frames - 1u))) * p.nodes + node;
    if p.target_ == ABSENT {
        return select(vec4(0.0), vec4(dy[p.dy + at.x], dy[p.dy + at.y], dy[p.dy + at.z], dy[p.dy + at.w]), inside);
    }
    let m = vec4(mask[p.mask + at.x], mask[p.mask + at.y], mask[p.mask + at.z], mask[p.mask + at.w]);
    let t = p.target_ + at;
    let error = raw - vec4(target_[t.x], target_[t.y], target_[t.z], target_[t.w]);
    // A target outside the mask may be NaN.
    return select(vec4(0.0), constants.y * error * m, inside & (m != vec4(0.0)));
}

// Shares a gate's gradients.
fn expose(work: Work, gradients: mat4x4<f32>) {
    workgroupBarrier();
    if work.slot < work.slots {
        share(work, SECOND, gradients);
    }
    workgroupBarrier();
}

// acc + 4 by 4 numbers of the shared gradients^T x: a block of the matrix, over the rows of a slice.
fn outer(work: Work, index: u32, acc: mat4x4<f32>) -> mat4x4<f32> {
    let blocks = work.quads * work.quads;
    let slices = max(LANES / blocks, 1u);
    let block = index % blocks;
    var sum = acc;
    let stride = work.slots * work.quads;
    for (var slot = index / blocks; slot < work.slots; slot += slices) {
        let from_gradient = SECOND + place(work.quads, slot, block / work.quads);
        let from_x = place(work.quads, slot, block % work.quads);
        for (var row = 0u; row < 4u; row++) {
            let gradient = tile[from_gradient + row * stride];
            let normed = tile[from_x + row * stride];
            sum[0] = fma(vec4(gradient.x), normed, sum[0]);
            sum[1] = fma(vec4(gradient.y), normed, sum[1]);
            sum[2] = fma(vec4(gradient.z), normed, sum[2]);
            sum[3] = fma(vec4(gradient.w), normed, sum[3]);
        }
    }
    return sum;
}

// acc + shared gradients of a gate times its matrix.
fn way_back(work: Work, half: u32, acc: mat4x4<f32>) -> mat4x4<f32> {
    let start = back_start() + half * 4u * work.quads * work.quads + work.column;
    let stride = work.slots * work.quads;
    var sum = acc;
    for (var o = 0u; o < work.quads; o++) {
        let at = start + 4u * o * work.quads;
        let w = mat4x4(
            scratch[at],
            scratch[at + work.quads],
            scratch[at + 2u * work.quads],
            scratch[at + 3u * work.quads],
        );
        let from_rows = SECOND + place(work.quads, work.slot, o);
        sum[0] = row_times(tile[from_rows], w, sum[0]);
        sum[1] = row_times(tile[from_rows + stride], w, sum[1]);
        sum[2] = row_times(tile[from_rows + 2u * stride], w, sum[2]);
        sum[3] = row_times(tile[from_rows + 3u * stride], w, sum[3]);
    }
    return sum;
}

// d of an invocation's rows, and the sums of the blocks from `first` on.
fn wide_gradients(work: Work, node: u32, first: u32, lane: u32) -> mat4x4<f32> {
    gate_gradients(work, node, lane);
    expose(work, d_gate);
    sum_gate = outer(work, first + lane, sum_gate);
    more_gate = outer(work, first + LANES + lane, more_gate);
    let value = way_back(work, 0u, mat4x4<f32>());
    expose(work, d_tangent);
    sum_tangent = outer(work, first + lane, sum_tangent);
    more_tangent = outer(work, first + LANES + lane, more_tangent);
    return way_back(work, 1u, value);
}

// d of an invocation's rows without a gate.
fn plain_gradients(work: Work, node: u32, lane: u32) -> mat4x4<f32> {
    let out = scratch[p.scratch / 4u + 8u * work.quads * work.quads + 2u * work.quads + work.column];
    let dp = prediction_gradients(work, node, out * x, lane);
    sum_out += x * dp;
    sum_out_bias += dot(dp, vec4(1.0));
    return mat4x4(dp.x * out, dp.y * out, dp.z * out, dp.w * out);
}

fn store(work: Work, node: u32, value: mat4x4<f32>) {
    if work.slot >= work.slots || node >= work.end {
        return;
    }
    let at = p.d / 4u + ((work.sample * p.nodes + node) * p.frames + work.frame) * work.quads + work.column;
    d[at] = value[0];
    if work.frame + 1u < p.frames {
        d[at + work.quads] = value[1];
    }
    if work.frame + 2u < p.frames {
        d[at + 2u * work.quads] = value[2];
    }
    if work.frame + 3u < p.frames {
        d[at + 3u * work.quads] = value[3];
    }
}

fn store_each(work: Work, node: u32, value: mat4x4<f32>) {
    if work.slot >= work.slots || node >= work.end {
        return;
    }
    let start = p.d + ((work.sample * p.nodes + node) * p.frames + work.frame) * p.channels + 4u * work.column;
    for (var m = 0u; m < min(p.frames - work.frame, 4u); m++) {
        for (var k = 0u; k < min(p.channels - 4u * work.column, 4u); k++) {
            d_each[start + m * p.channels + k] = value[m][k];
        }
    }
}

// Takes up d.
fn take(value: mat4x4<f32>) {
    sum_d += value;
    sum_dx[0] = fma(value[0], x[0], sum_dx[0]);
    sum_dx[1] = fma(value[1], x[1], sum_dx[1]);
    sum_dx[2] = fma(value[2], x[2], sum_dx[2]);
    sum_dx[3] = fma(value[3], x[3], sum_dx[3]);
}

// Leaves a workgroup's sums of all but the matrix, added over its nodes.
fn leave_sums(work: Work, index: u32, lane: u32) {
    let biases = record(index) + 8u * work.quads * work.quads;
    let found = added(work, mat4x4(sum_gate_bias, sum_tangent_bias, sum_out, vec4(sum_out_bias)), lane);
    if work.slot == 0u {
        scratch[biases + work.column] = found[0];
        scratch[biases + work.quads + work.column] = found[1];
        scratch[biases + 2u * work.quads + work.column] = found[2];
        if work.column == 0u {
            scratch[biases + 3u * work.quads] = found[3];
        }
    }
    let of_d = added(work, sum_d, lane);
    let of_dx = added(work, sum_dx, lane);
    let start = biases + 3u * work.quads + 1u + work.column;
    if work.slot == 0u {
        scratch[start] = of_d[0];
        scratch[start + work.quads] = of_d[1];
        scratch[start + 2u * work.quads] = of_d[2];
        scratch[start + 3u * work.quads] = of_d[3];
        scratch[start + 4u * work.quads] = of_dx[0];
        scratch[start + 5u * work.quads] = of_dx[1];
        scratch[start + 6u * work.quads] = of_dx[2];
        scratch[start + 7u * work.quads] = of_dx[3];
    }
}

// The sum over the slots of a column, in their order, for the invocations of the first one.
fn added(work: Work, value: mat4x4<f32>, lane: u32) -> mat4x4<f32> {
    workgroupBarrier();
    tile[lane] = value[0];
    tile[LANES + lane] = value[1];
    tile[2u * LANES + lane] = value[2];
    tile[3u * LANES + lane] = value[3];
    workgroupBarrier();
    var sum = value;
    for (var slot = 1u; slot < work.slots && work.slot == 0u; slot++) {
        let at = slot * work.quads + work.column;
        sum += mat4x4(tile[at], tile[LANES + at], tile[2u * LANES + at], tile[3u * LANES + at]);
    }
    return sum;
}

// Adds the slices of the blocks from `first` on in their order and leaves them.
fn leave_blocks(work: Work, index: u32, first: u32, gate: mat4x4<f32>, tangent: mat4x4<f32>, lane: u32) {
    workgroupBarrier();
    tile[4u * lane] = gate[0];
    tile[4u * lane + 1u] = gate[1];
    tile[4u * lane + 2u] = gate[2];
    tile[4u * lane + 3u] = gate[3];
    tile[SECOND + 4u * lane] = tangent[0];
    tile[SECOND + 4u * lane + 1u] = tangent[1];
    tile[SECOND + 4u * lane + 2u] = tangent[2];
    tile[SECOND + 4u * lane + 3u] = tangent[3];
    workgroupBarrier();
    let blocks = work.quads * work.quads;
    let size = min(blocks, LANES);
    for (var i = lane; i < 8u * size; i += LANES) {
        let at = i / (4u * size) * SECOND + i % (4u * size);
        var sum = tile[at];
        for (var slice = 1u; slice < LANES / blocks; slice++) {
            sum += tile[at + 4u * slice * size];
        }
        let block = first + i % (4u * size) / 4u;
        let row = i / (4u * size) * 4u * work.quads + block / work.quads * 4u + i % 4u;
        if block < blocks {
            scratch[record(index) + row * work.quads + block % work.quads] = sum;
        }
    }
}

// The weights' sums over all workgroups: 16 slices of them for each of 16 vec4s.
@compute @workgroup_size(256)
fn gated_head_backward_total(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * grid.x + group.x) * 16u;
    if first >= folded_size() {
        return;
    }
    let i = min(first + lane % 16u, folded_size() - 1u);
    var sum = vec4(0.0);
    for (var index = lane / 16u; index < records(); index += 16u) {
        sum += scratch[record(index) + i];
    }
    tile[lane] = sum;
    for (var half = 128u; half >= 16u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            tile[lane] += tile[lane + half];
        }
    }
    if lane < 16u && first + lane < folded_size() {
        scratch[totals_start() + i] = tile[lane];
    }
}

// First vec4 of the weights' sums in all.
fn totals_start() -> u32 {
    return record(records());
}

// Sums of d and of d times x over the nodes and the channels of a group.
@compute @workgroup_size(64)
fn gated_head_backward_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * p.frames * p.groups {
        return;
    }
    let padded = (p.channels + 3u) / 4u * 4u;
    let width = p.channels / p.groups;
    let blocks = (p.frames + 3u) / 4u;
    let frame = index / p.groups % p.frames;
    let block = index / p.groups / p.frames * blocks + frame / 4u;
    let start = 4u * folded_size() + frame % 4u * padded + index % p.groups * width;
    var sum = vec2(0.0);
    for (var i = lane; i < records() / max(p.batch * blocks, 1u) * width; i += 64u) {
        let at = 4u * record(i / width * p.batch * blocks + block) + start + i % width;
        sum += vec2(scratch_each[at], scratch_each[at + 4u * padded]);
    }
    sum = tree(lane, sum);
    if lane == 0u {
        sums[p.sums / 2u + index] = sum;
    }
}

// The sum of the values of 64 invocations, always in the same order.
fn tree(lane: u32, value: vec2<f32>) -> vec2<f32> {
    tile[lane] = vec4(value, 0.0, 0.0);
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            tile[lane] += tile[lane + half];
        }
    }
    workgroupBarrier();
    return tile[0].xy;
}

// One number of the weights' sums in all: of row o and column i of the matrix, and of its bias.
fn matrix_sum(o: u32, i: u32) -> f32 {
    let quads = (p.channels + 3u) / 4u;
    let row = o / p.channels * 4u * quads + o % p.channels;
    return scratch_each[4u * totals_start() + row * 4u * quads + i];
}

fn bias_sum(o: u32) -> f32 {
    let quads = (p.channels + 3u) / 4u;
    let row = o / p.channels * 4u * quads + o % p.channels;
    return scratch_each[4u * (totals_start() + 8u * quads * quads) + row];
}

// Of the output's weights, and past the last one of its bias.
fn out_sum(i: u32) -> f32 {
    let quads = (p.channels + 3u) / 4u;
    let place = select(i, 4u * quads, i == p.channels);
    return scratch_each[4u * (totals_start() + 8u * quads * quads + 2u * quads) + place];
}

@compute @workgroup_size(128)
fn gated_head_backward_weights(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = p.channels;
    var i = (group.y * grid.x + group.x) * LANES + lane;
    if i < c {
        var value = out_sum(i);
        if p.gated == 0u {
            value = fma(gamma[p.gamma + i], value, beta[p.beta + i] * out_sum(c));
        }
        dw_out[p.dw_out + i] = value;
    } else if i == c {
        db_out[p.db_out] = out_sum(c);
    } else if p.gated == 1u {
        i -= c + 1u;
        if i < 2u * c {
            db_gate[p.db_gate + i] = bias_sum(i);
        } else if i < 2u * c + 2u * c * c {
            i -= 2u * c;
            let value = gamma[p.gamma + i % c] * matrix_sum(i / c, i % c);
            dw_gate[p.dw_gate + i] = fma(beta[p.beta + i % c], bias_sum(i / c), value);
        }
    }
}

@compute @workgroup_size(64)
fn gated_head_backward_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let channel = group.y * grid.x + group.x;
    if channel >= p.channels {
        return;
    }
    var sum = vec2(0.0);
    if p.gated == 1u {
        for (var o = lane; o < 2u * p.channels; o += 64u) {
            sum += w_gate[p.w_gate + o * p.channels + channel] * vec2(matrix_sum(o, channel), bias_sum(o));
        }
    } else if lane == 0u {
        sum = w_out[p.w_out + channel] * vec2(out_sum(channel), out_sum(p.channels));
    }
    sum = tree(lane, sum);
    if lane == 0u {
        dgamma[p.dgamma + channel] = sum.x;
        dbeta[p.dbeta + channel] = sum.y;
    }
}
