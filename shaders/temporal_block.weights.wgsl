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
