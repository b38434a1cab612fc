// temporal_block_backward: gradients of keys and inputs, sums of tiles. Goes on from temporal_block_backward.wgsl.

// From the gradients of the gathered, of x1 and of the queries' logits to that of x0, and to all that hang on it.
fn keys_backward(b: u32, n: u32, block: u32, rstd: vec4<f32>, logits: mat4x4<f32>) {
    var keys = mat4x4<f32>();
    var dk = keys;
    var dq = keys;
    var dx = keys;
    if active_ {
        keys = exponential(logits - by_columns(room[s.stats + column]));
        keys = times(keys, by_columns(1.0 / room[s.stats + s.w + column]));
        dk = product(0u, s.c, slot + 5u * s.matrix + column, s.w, false);
        dk = times(keys, dk - by_columns(scratch[slot + 6u * s.matrix + column]));
        dx = fours(kept(block), s.w);
        dq = fours(kept(block) + 4u * s.w, s.w);
    }
    put(2u * s.array_, keys);
    put(s.array_, dq);
    workgroupBarrier();
    var dnorm = mat4x4<f32>();
    if active_ && column < s.c {
        dnorm = product(2u * s.array_, s.w, slot + 4u * s.matrix + column, s.c, false);
        dnorm += product(s.array_, s.w, p.scratch / 4u + s.q_turned + column, s.c, false);
    }
    workgroupBarrier();
    put(2u * s.array_, dk);
    workgroupBarrier();
    // Keys sum to 1 over the frames whatever their bias is: it has no gradient.
    add_bias(s.sum_bias_q, s.array_, s.w);
    for (var i = lane; i < 2u * s.w * s.c; i += SIZE) {
        let array_ = select(s.array_, 2u * s.array_, i >= s.w * s.c);
        add(part_sums + s.sum_q + 4u * (i / s.c) * s.c + i % s.c, s.c, outer(array_ + i / s.c % s.w, i % s.c));
    }
    if active_ && column < s.c {
        dnorm += product(2u * s.array_, s.w, p.scratch / 4u + s.k_turned + column, s.c, false);
    }
    dx += normalize_backward(rstd, dnorm);
    put(s.array_, dx);
    workgroupBarrier();
    inputs_backward(b, n, block);
    workgroupBarrier();
}

// Gradients of the shift, of W_in, and of the planes where wanted, from that of x0 in array 1.
fn inputs_backward(b: u32, n: u32, block: u32) {
    let first = 4u * block * s.quads;
    let count = min(4u * s.quads, p.frames - min(first, p.frames));
    for (var i = lane; i < count * s.c; i += SIZE) {
        scratch[shifts + first * s.c + i] += room[s.array_ + i / s.c * s.stride + i % s.c];
    }
    for (var i = lane; i < p.inputs * s.c; i += SIZE) {
        var sum = scratch[part_sums + i];
        for (var t = 0u; t < count; t++) {
            let x = planes[p.planes + plane(i / s.c, b, first + t, n)];
            sum = fma(vec4(x), room[s.array_ + t * s.stride + i % s.c], sum);
        }
        scratch[part_sums + i] = sum;
    }
    for (var i = lane; p.dplanes != ABSENT && i < p.inputs * count; i += SIZE) {
        var sum = 0.0;
        for (var k = 0u; k < s.c; k++) {
            sum += dot(room[s.array_ + i % count * s.stride + k], scratch[p.scratch / 4u + i / count * s.c + k]);
        }
        dplanes[p.dplanes + plane(i / count, b, first + i % count, n)] = sum;
    }
}

// Reads the tile from an array of tokens.
fn tile(array_: u32) -> mat4x4<f32> {
    let at = array_ + select(0u, row * s.stride + column, active_);
    let next = s.quads * s.stride;
    return mat4x4(room[at], room[at + next], room[at + 2u * next], room[at + 3u * next]);
}

// Adds the sums over the rows of an array to the part's.
fn add_bias(at: u32, array_: u32, width: u32) {
    for (var i = lane; i < width; i += SIZE) {
        var sum = scratch[part_sums + at + i];
        for (var k = 0u; k < s.array_; k += s.stride) {
            sum += room[array_ + k + i];
        }
        scratch[part_sums + at + i] = sum;
    }
}

fn add(at: u32, width: u32, x: mat4x4<f32>) {
    write(at, width, fours(at, width) + x);
}

// Shows the others a value of every invocation, in one of two places by turns: between two writes to one there must be a
// barrier behind what reads it.
fn show(place: u32, value: vec4<f32>) {
    if active_ {
        room[place + row * s.stride + column] = value;
    }
}

// The sum of the row's values of some columns.
fn across(place: u32, first: u32, count: u32, value: vec4<f32>) -> vec4<f32> {
    show(place, value);
    workgroupBarrier();
    return row_sum(place, first, count);
}

fn row_sum(place: u32, first: u32, count: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var k = 0u; active_ && k < count; k++) {
        sum += room[place + row * s.stride + first + k];
    }
    return sum;
}

// The weights. A launch has too few numbers of each to be folded into rows of workgroups.
