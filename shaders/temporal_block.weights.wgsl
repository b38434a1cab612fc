// temporal_block: the weights as the products want them. Goes on from temporal_block.wgsl.

// The projections of the planes and to queries and keys.
@compute @workgroup_size(256)
fn temporal_block_pack_qk(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes(128u);
    if id.x < 4u * s.q {
        scratch_each[p.scratch + id.x] = packed_in(id.x % (4u * s.c), id.x / (4u * s.c));
    } else if id.x < 4u * s.value_out {
        scratch_each[p.scratch + id.x] = packed_qk(id.x - 4u * s.q);
    }
}

fn packed_in(channel: u32, plane: u32) -> f32 {
    if channel >= p.channels {
        return 0.0;
    }
    return w_in[p.w_in + channel * p.inputs + plane];
}

fn packed_qk(i: u32) -> f32 {
    let dim = p.channels / p.heads;
    let keys = i / (4u * s.w) > 4u * s.c;
    let input = i / (4u * s.w) % (4u * s.c + 1u);
    let feature = i % (4u * s.w) % (4u * s.dim);
    if feature >= dim {
        // Features that pad a head get no share of its softmax.
        return select(0.0, LOWEST, !keys && input == 4u * s.c);
    }
    let at = (i % (4u * s.w) / (4u * s.dim) * dim + feature) * p.channels;
    var sum = 0.0;
    if input < p.channels {
        sum = norm1_gamma[p.norm1_gamma + input] * weight_qk(keys, at + input);
    } else if input == 4u * s.c {
        for (var j = 0u; j < p.channels; j++) {
            sum = fma(norm1_beta[p.norm1_beta + j], weight_qk(keys, at + j), sum);
        }
    }
    return sum;
}

fn weight_qk(keys: bool, at: u32) -> f32 {
    if keys {
        return w_k[p.w_k + at];
    }
    return w_q[p.w_q + at];
}

// W_vo of every head, divided by sqrt(dim), each with its bias behind; and b_o.
@compute @workgroup_size(256)
fn temporal_block_pack_value_out(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes(128u);
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

fn packed_value_out(head: u32, input: u32, column: u32) -> f32 {
    let dim = p.channels / p.heads;
    var sum = 0.0;
    for (var j = head * dim; j < (head + 1u) * dim; j++) {
        var value = 0.0;
        if input < p.channels {
            value = norm1_gamma[p.norm1_gamma + input] * w_v[p.w_v + j * p.channels + input];
        } else if input == 4u * s.c {
            for (var i = 0u; i < p.channels; i++) {
                value = fma(norm1_beta[p.norm1_beta + i], w_v[p.w_v + j * p.channels + i], value);
            }
        }
        sum = fma(value, w_o[p.w_o + column * p.channels + j], sum);
    }
    return sum / sqrt(f32(dim));
}

fn packed_up(input: u32, unit: u32) -> f32 {
    var sum = 0.0;
    if unit < p.hidden && input < p.channels {
        sum = norm2_gamma[p.norm2_gamma + input] * w_1[p.w_1 + unit * p.channels + input];
    } else if unit < p.hidden && input == 4u * s.c {
        sum = b_1[p.b_1 + unit];
        for (var i = 0u; i < p.channels; i++) {
            sum = fma(norm2_beta[p.norm2_beta + i], w_1[p.w_1 + unit * p.channels + i], sum);
        }
    }
    return sum;
}

// The feed-forward layer.
@compute @workgroup_size(256)
fn temporal_block_pack_feed_forward(@builtin(global_invocation_id) id: vec3<u32>) {
    sizes(128u);
    let ups = 4u * (s.down - s.up);
    if id.x < ups {
        scratch_each[p.scratch + 4u * s.up + id.x] = packed_up(id.x / (4u * s.hidden), id.x % (4u * s.hidden));
    } else if id.x < 4u * (s.slots - s.up) {
        let at = id.x - ups;
        scratch_each[p.scratch + 4u * s.up + id.x] = packed_down(at / (4u * s.c), at % (4u * s.c));
    }
}

fn packed_down(unit: u32, column: u32) -> f32 {
    if column < p.channels && unit < p.hidden {
        return w_2[p.w_2 + column * p.hidden + unit];
    } else if column < p.channels && unit == 4u * s.hidden {
        return b_2[p.b_2 + column];
    }
    return 0.0;
}
