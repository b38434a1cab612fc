// normal: draws from N(0, 1) by Philox4x32-10 (Salmon et al. 2011) and Box and Muller (1958).
//
// shapes   y [len]: the numbers offset..offset + len of the sequence (seed, stream); number e is word e mod 4 of the
//          block e / 4. The words are the CPU's bit for bit, the numbers agree to rounding.
// launch   one invocation for a block of four numbers, 256 a workgroup
// plan     ten rounds on a counter in registers, two logarithms and sine-cosine pairs, one vec4 stored where the
//          offset is a multiple of four, else four numbers one by one
// bound    arithmetic: some 60 operations a number, 64-bit products from 16-bit halves; not measured on a GPU

struct Parameters {
    len: u32,
    seed_low: u32,
    seed_high: u32,
    stream_low: u32,
    stream_high: u32,
    offset_low: u32,
    offset_high: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> y_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn normal(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i + 4u <= p.len {
        y[p.y / 4u + i] = draw(i);
    } else if 4u * i < p.len {
        let z = draw(i);
        for (var k = 0u; k < p.len - 4u * i; k++) {
            y[p.y / 4u + i][k] = z[k];
        }
    }
}

@compute @workgroup_size(256)
fn normal_shifted(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    let skip = p.offset_low % 4u;
    if 4u * i >= p.len + skip {
        return;
    }
    let z = draw(i);
    for (var k = 0u; k < 4u; k++) {
        let at = 4u * i + k;
        if at >= skip && at - skip < p.len {
            y_each[p.y + at - skip] = z[k];
        }
    }
}

// The numbers of the i-th block from the one that holds number `offset`.
fn draw(i: u32) -> vec4<f32> {
    let first = (p.offset_low >> 2u) | (p.offset_high << 30u);
    let low = first + i;
    let high = (p.offset_high >> 2u) + select(0u, 1u, low < first);
    let words = philox(vec4(low, high, p.stream_low, p.stream_high), vec2(p.seed_low, p.seed_high));
    return vec4(box_muller(words.x, words.y), box_muller(words.z, words.w));
}

fn philox(start: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var c = start;
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let left = product(0xd2511f53u, c.x);
        let right = product(0xcd9e8d57u, c.z);
        c = vec4(right.y ^ c.y ^ key.x, right.x, left.y ^ c.w ^ key.y, left.x);
        key += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

// Low and high word of a product of 32-bit words.
fn product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let cross = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (cross & 0xffffu);
    return vec2(a * b, (a >> 16u) * (b >> 16u) + (cross >> 16u) + (other >> 16u));
}

// r cos and r sin of 2 pi v, with u in (0, 1] and v in -1/2..1/2.
fn box_muller(radius: u32, angle: u32) -> vec2<f32> {
    let u = f32(max(radius, 1u)) * 2.3283064e-10;
    let v = f32(bitcast<i32>(angle)) * 2.3283064e-10;
    let r = sqrt(max(-2.0 * ln(u), 0.0));
    // The nearest quarter of a turn, and the rest of at most an eighth.
    let nearest = round(4.0 * v);
    let quarter = bitcast<u32>(i32(nearest));
    let rest = fma(nearest, -0.25, v);
    let s = rest * rest;
    let sine = rest * fma(s, fma(s, fma(s, -75.3935, 81.592354), -41.34166), 6.2831855);
    let cosine = fma(s, fma(s, fma(s, fma(s, 59.24589, -85.44374), 64.93932), -19.739208), 1.0);
    let turned = select(vec2(cosine, sine), vec2(sine, cosine), (quarter & 1u) == 1u);
    let signs = select(vec2(1.0), vec2(-1.0), vec2((quarter + 1u) & 2u, quarter & 2u) != vec2(0u));
    return r * signs * turned;
}

// The natural logarithm to the last digits, also near 1, where WGSL's own may err by 2^-21.
fn ln(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    // The power of two that leaves 1 + f between the roots of 1/2 and 2.
    let exponent = bitcast<i32>(bits - 0x3f3504f3u) >> 23u;
    let f = bitcast<f32>(bits - (bitcast<u32>(exponent) << 23u)) - 1.0;
    let n = f32(exponent);
    var tail = fma(f, -0.07634437, 0.12761758);
    tail = fma(f, tail, -0.1316029);
    tail = fma(f, tail, 0.14201744);
    tail = fma(f, tail, -0.16623347);
    tail = fma(f, tail, 0.20001227);
    tail = fma(f, tail, -0.25000823);
    tail = fma(f, tail, 0.3333333);
    let small = fma(n, -2.1219444e-4, f * f * fma(f, tail, -0.5));
    return fma(n, 0.6933594, f + small);
}
