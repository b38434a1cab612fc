// temporal_block and temporal_block_backward: tiles of 4 frames by 4 channels and their products, and packed weights.

// Frame i of the tile in a block.
fn frame(block: u32, i: u32) -> u32 {
    return (4u * block + i) * s.quads + row;
}

// x0 of the tile, 0 past the last frame and channel.
fn load(b: u32, n: u32, block: u32) -> mat4x4<f32> {
    return mat4x4(
        load_token(b, n, frame(block, 0u)),
        load_token(b, n, frame(block, 1u)),
        load_token(b, n, frame(block, 2u)),
        load_token(b, n, frame(block, 3u)),
    );
}

fn load_token(b: u32, n: u32, t: u32) -> vec4<f32> {
    if t >= p.frames || column >= s.c {
        return vec4(0.0);
    }
    let at = p.shift + (b * p.frames + t) * p.channels + 4u * column;
    let last = p.channels - 1u - 4u * column;
    var sum = real * vec4(shift[at], shift[at + min(1u, last)], shift[at + min(2u, last)], shift[at + min(3u, last)]);
    for (var f = 0u; f < p.inputs; f++) {
        sum = fma(vec4(planes[p.planes + plane(f, b, t, n)]), scratch[p.scratch / 4u + f * s.c + column], sum);
    }
    return sum;
}

fn plane(f: u32, b: u32, t: u32, n: u32) -> u32 {
    return ((f * p.batch + b) * p.frames + t) * p.nodes + n;
}

// The logits of the keys, the lowest past the last frame.
fn key_logits(block: u32) -> mat4x4<f32> {
    let low = vec4(LOWEST);
    var keys = by_columns(low);
    if active_ {
        keys = product(0u, s.c, p.scratch / 4u + s.k + column, s.w, true);
    }
    keys[0] = select(low, keys[0], frame(block, 0u) < p.frames);
    keys[1] = select(low, keys[1], frame(block, 1u) < p.frames);
    keys[2] = select(low, keys[2], frame(block, 2u) < p.frames);
    keys[3] = select(low, keys[3], frame(block, 3u) < p.frames);
    return keys;
}

// Writes the tile to an array of tokens.
fn put(array_: u32, x: mat4x4<f32>) {
    if active_ {
        let at = array_ + row * s.stride + column;
        let next = s.quads * s.stride;
        room[at] = x[0];
        room[at + next] = x[1];
        room[at + 2u * next] = x[2];
        room[at + 3u * next] = x[3];
    }
}

// The tile's rows of an array of tokens times a matrix from `weight` on, which has `width` columns; its bias lies behind.
fn product(array_: u32, terms: u32, weight: u32, width: u32, biased: bool) -> mat4x4<f32> {
    let at = array_ + row * s.stride;
    let next = s.quads * s.stride;
    var sum = mat4x4<f32>();
    if biased {
        sum = by_columns(scratch[weight + 4u * terms * width]);
    }
    for (var k = 0u; k < terms; k++) {
        let x = mat4x4(room[at + k], room[at + next + k], room[at + 2u * next + k], room[at + 3u * next + k]);
        sum = add_product(sum, x, fours(weight + 4u * k * width, width));
    }
    return sum;
}

// Four rows of a matrix [.., c] times another one.
fn stored_product(at: u32, weight: u32) -> mat4x4<f32> {
    var sum = mat4x4<f32>();
    for (var k = 0u; k < s.c; k++) {
        sum = add_product(sum, fours(at + k, s.c), fours(weight + 4u * k * s.c, s.c));
    }
    return sum;
}

fn add_product(sum: mat4x4<f32>, x: mat4x4<f32>, w: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(add_row(sum[0], x[0], w), add_row(sum[1], x[1], w), add_row(sum[2], x[2], w), add_row(sum[3], x[3], w));
}

fn add_row(sum: vec4<f32>, x: vec4<f32>, w: mat4x4<f32>) -> vec4<f32> {
    return fma(vec4(x.w), w[3], fma(vec4(x.z), w[2], fma(vec4(x.y), w[1], fma(vec4(x.x), w[0], sum))));
}

// Four columns of an array of tokens times four of another, over all rows.
fn outer(left: u32, right: u32) -> mat4x4<f32> {
    var sum = mat4x4<f32>();
    for (var i = 0u; i < s.array_; i += s.stride) {
        sum = add_outer(sum, room[left + i], room[right + i]);
    }
    return sum;
}

fn add_outer(sum: mat4x4<f32>, x: vec4<f32>, y: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(fma(vec4(x.x), y, sum[0]), fma(vec4(x.y), y, sum[1]), fma(vec4(x.z), y, sum[2]), fma(vec4(x.w), y, sum[3]));
}

fn fours(at: u32, width: u32) -> mat4x4<f32> {
    return mat4x4(scratch[at], scratch[at + width], scratch[at + 2u * width], scratch[at + 3u * width]);
}

fn write(at: u32, width: u32, x: mat4x4<f32>) {
    scratch[at] = x[0];
    scratch[at + width] = x[1];
    scratch[at + 2u * width] = x[2];
    scratch[at + 3u * width] = x[3];
}

// A number for every row of a tile, and for every column.
fn by_rows(x: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(vec4(x.x), vec4(x.y), vec4(x.z), vec4(x.w));
}

fn by_columns(x: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(x, x, x, x);
}

fn times(x: mat4x4<f32>, y: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(x[0] * y[0], x[1] * y[1], x[2] * y[2], x[3] * y[3]);
}

fn exponential(x: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(exp(x[0]), exp(x[1]), exp(x[2]), exp(x[3]));
}

fn dots(x: mat4x4<f32>, y: mat4x4<f32>) -> vec4<f32> {
    return vec4(dot(x[0], y[0]), dot(x[1], y[1]), dot(x[2], y[2]), dot(x[3], y[3]));
}

fn highest(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}

// Phi(x), the normal distribution function by Mills' ratio: see `unary.wgsl`.
fn distribution(x: vec4<f32>) -> vec4<f32> {
    let m = min(abs(x), vec4(6.0)) - 1.5;
    var ratio = fma(m, vec4(-7.9097356e-7), vec4(6.2724853e-6));
    ratio = fma(m, ratio, vec4(-2.0523585e-5));
    ratio = fma(m, ratio, vec4(6.0259103e-5));
    ratio = fma(m, ratio, vec4(-0.00024516502));
    ratio = fma(m, ratio, vec4(0.00093701977));
    ratio = fma(m, ratio, vec4(-0.0031852073));
    ratio = fma(m, ratio, vec4(0.010291503));
    ratio = fma(m, ratio, vec4(-0.0313218));
    ratio = fma(m, ratio, vec4(0.088203795));
    ratio = fma(m, ratio, vec4(-0.22627664));
    ratio = fma(m, ratio, vec4(0.5158155));
    let tail = density(x) * ratio;
    return select(tail, 1.0 - tail, x > vec4(0.0));
}

fn density(x: vec4<f32>) -> vec4<f32> {
    return 0.3989423 * exp(-0.5 * min(x * x, vec4(150.0)));
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
