// temporal_block_backward: the weights as the products want them, and their gradients. Goes on from
// temporal_block_backward.keys.wgsl.

// The projections of the planes and to queries and keys.
@compute @workgroup_size(256)
fn temporal_block_backward_pack_qk(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    if id.x < 4u * s.q {
        scratch_each[p.scratch + id.x] = packed_in(id.x % (4u * s.c), id.x / (4u * s.c));
    } else if id.x < 4u * s.value_out {
        scratch_each[p.scratch + id.x] = packed_qk(id.x - 4u * s.q);
    }
}

// W_vo of every head, divided by sqrt(dim), each with its bias behind; and b_o.
@compute @workgroup_size(256)
fn temporal_block_backward_pack_value_out(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    let column = id.x % (4u * s.c);
    let line = id.x / (4u * s.c);
    let lines = p.heads * (4u * s.c + 1u);
    var value = 0.0;
    if column < p.channels && line < lines {
        value = packed_value_out(line / (4u * s.c + 1u), line % (4u * s.c + 1u), column);
    } else if column < p.channels {
        value = b_o[p.b_o + column];
    }
    if line <= lines {
        scratch_each[p.scratch + 4u * s.value_out + id.x] = value;
    }
}

// The feed-forward layer, its second matrix as stored.
@compute @workgroup_size(256)
fn temporal_block_backward_pack_feed_forward(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    let line = id.x / (4u * s.hidden);
    let unit = id.x % (4u * s.hidden);
    let channel = line - min(4u * s.c + 1u, line);
    var value = 0.0;
    if line <= 4u * s.c {
        value = packed_up(line, unit);
    } else if channel < p.channels && unit < p.hidden {
        value = w_2[p.w_2 + channel * p.hidden + unit];
    }
    if line <= 8u * s.c {
        scratch_each[p.scratch + 4u * s.up + id.x] = value;
    }
}

// The others [out, in], from those [in, out].
@compute @workgroup_size(256)
fn temporal_block_backward_pack_turned(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    let input = id.x % (4u * s.c);
    var output = id.x / (4u * s.c);
    var source = s.q;
    var width = 4u * s.w;
    if output >= 8u * s.w + 4u * s.hidden {
        output -= 8u * s.w + 4u * s.hidden;
        width = 4u * s.c;
        source = s.value_out + output / width * (4u * s.c + 1u) * s.c;
    } else if output >= 8u * s.w {
        output -= 8u * s.w;
        width = 4u * s.hidden;
        source = s.up;
    } else if output >= 4u * s.w {
        source = s.k;
    }
    if id.x < 4u * (s.totals - s.q_turned) {
        let value = scratch_each[p.scratch + 4u * source + input * width + output % width];
        scratch_each[p.scratch + 4u * s.q_turned + id.x] = value;
    }
}

// The gradients. All sums of all parts, in order.
@compute @workgroup_size(256)
fn temporal_block_backward_sum(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    if id.x >= s.sums {
        return;
    }
    var sum = vec4(0.0);
    for (var part = 0u; part < p.parts; part++) {
        sum += scratch[p.scratch / 4u + s.slots + (part + 1u) * s.slot - s.sums + id.x];
    }
    scratch[p.scratch / 4u + s.totals + id.x] = sum;
}

@compute @workgroup_size(256)
fn temporal_block_backward_shift(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    sizes();
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i >= p.batch * p.frames * p.channels {
        return;
    }
    let runs = tasks() / p.batch;
    let token = i / p.channels % p.frames;
    var sum = 0.0;
    for (var run = 0u; run < runs; run++) {
        let task = i / p.channels / p.frames * runs + run;
        sum += scratch_each[p.scratch + 4u * (s.shifts + (task * p.frames + token) * s.c) + i % p.channels];
    }
    dshift[p.dshift + i] = sum;
}

// A number of the totals: of the sums from `start` on, rows of `width` vec4s.
fn total(start: u32, width: u32, line: u32, at: u32) -> f32 {
    return scratch_each[p.scratch + 4u * (s.totals + start + line * width) + at];
}

// Where a feature of the unpadded heads lies in the padded ones.
fn padded(feature: u32) -> u32 {
    let dim = p.channels / p.heads;
    return feature / dim * 4u * s.dim + feature % dim;
}

// What the gradient of W_vo makes of W_o, and dv^T norm1 with the sum of dv behind, as if values had been formed.
@compute @workgroup_size(256)
fn temporal_block_backward_values(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    let feature = id.x % p.channels;
    let line = id.x / p.channels;
    if line > p.channels {
        return;
    }
    let dim = p.channels / p.heads;
    let head = feature / dim;
    let scale = 1.0 / sqrt(f32(dim));
    var value = 0.0;
    var out = 0.0;
    for (var i = 0u; i < p.channels; i++) {
        let weight = w_o[p.w_o + i * p.channels + feature];
        if line == p.channels {
            value = fma(weight, total(s.sum_bias_value_out, s.c, head, i), value);
        } else {
            value = fma(weight, total(s.sum_value_out, s.c, head * 4u * s.c + line, i), value);
            let gamma = norm1_gamma[p.norm1_gamma + i] * total(s.sum_value_out, s.c, head * 4u * s.c + i, line);
            let d = fma(norm1_beta[p.norm1_beta + i], total(s.sum_bias_value_out, s.c, head, line), gamma);
            out = fma(w_v[p.w_v + feature * p.channels + i], d, out);
        }
    }
    if line == p.channels {
        scratch_each[p.scratch + 4u * (s.values + 4u * s.c * s.c) + feature] = scale * value;
    } else {
        scratch_each[p.scratch + 4u * (s.values + feature * s.c) + line] = scale * value;
        dw_o[p.dw_o + line * p.channels + feature] = scale * out;
    }
}

@compute @workgroup_size(256)
fn temporal_block_backward_qkv(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    let i = id.x % p.channels;
    let o = id.x / p.channels;
    if o >= p.channels {
        return;
    }
    let gamma = norm1_gamma[p.norm1_gamma + i];
    let beta = norm1_beta[p.norm1_beta + i];
    dw_q[p.dw_q + id.x] = gamma * total(s.sum_q, s.c, padded(o), i) + beta * total(s.sum_bias_q, 0u, 0u, padded(o));
    dw_k[p.dw_k + id.x] = gamma * total(s.sum_k, s.c, padded(o), i);
    dw_v[p.dw_v + id.x] = gamma * total(s.sums, s.c, o, i) + beta * total(s.sums, s.c, 4u * s.c, o);
}

@compute @workgroup_size(256)
fn temporal_block_backward_norm1(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    let i = id.x;
    if i >= p.channels {
        return;
    }
    var gamma = 0.0;
    var beta = 0.0;
    for (var o = 0u; o < p.channels; o++) {
        let at = o * p.channels + i;
        gamma = fma(w_q[p.w_q + at], total(s.sum_q, s.c, padded(o), i), gamma);
        gamma = fma(w_k[p.w_k + at], total(s.sum_k, s.c, padded(o), i), gamma);
        gamma = fma(w_v[p.w_v + at], total(s.sums, s.c, o, i), gamma);
        beta = fma(w_q[p.w_q + at], total(s.sum_bias_q, 0u, 0u, padded(o)), beta);
        beta = fma(w_v[p.w_v + at], total(s.sums, s.c, 4u * s.c, o), beta);
    }
    dnorm1_gamma[p.dnorm1_gamma + i] = gamma;
    dnorm1_beta[p.dnorm1_beta + i] = beta;
}

@compute @workgroup_size(256)
fn temporal_block_backward_feed_forward(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    if id.x < p.hidden * p.channels {
        let i = id.x % p.channels;
        let unit = id.x / p.channels;
        let bias = norm2_beta[p.norm2_beta + i] * total(s.sum_bias_up, 0u, 0u, unit);
        dw_1[p.dw_1 + id.x] = fma(norm2_gamma[p.norm2_gamma + i], total(s.sum_up, s.c, unit, i), bias);
        dw_2[p.dw_2 + id.x] = total(s.sum_down, s.hidden, id.x / p.hidden, id.x % p.hidden);
    }
    if id.x < p.hidden {
        db_1[p.db_1 + id.x] = total(s.sum_bias_up, 0u, 0u, id.x);
    }
    if id.x < p.channels {
        db_2[p.db_2 + id.x] = total(s.sum_bias_down, 0u, 0u, id.x);
    }
}

@compute @workgroup_size(256)
fn temporal_block_backward_norm2(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes();
    let i = id.x;
    if i < p.channels * p.inputs {
        dw_in[p.dw_in + i] = total(0u, s.c, i % p.inputs, i / p.inputs);
    }
    if i >= p.channels {
        return;
    }
    var gamma = 0.0;
    var beta = 0.0;
    for (var unit = 0u; unit < p.hidden; unit++) {
        let weight = w_1[p.w_1 + unit * p.channels + i];
        gamma = fma(weight, total(s.sum_up, s.c, unit, i), gamma);
        beta = fma(weight, total(s.sum_bias_up, 0u, 0u, unit), beta);
    }
    dnorm2_gamma[p.dnorm2_gamma + i] = gamma;
    dnorm2_beta[p.dnorm2_beta + i] = beta;
    db_o[p.db_o + i] = total(s.sum_bias_out, 0u, 0u, i);
}
