// node_linear_backward: the gradient of the input; loads and stores. Goes on from node_linear_backward.wgsl.

// Workgroups of neighbouring nodes are neighbours, so that they read and write side by side.
fn place_of(index: u32, lane: u32) -> Place {
    let across = (p.channels + 31u) / 32u;
    let first = index / across / p.nodes * RUN;
    let channel = index % across * 32u + lane % 8u * 4u;
    return Place(index / across % p.nodes, first, min(first + RUN, p.batch), channel);
}

// acc = dy W_n^T for a block of samples.
fn multiply(place: Place, block: u32, lane: u32) {
    acc = array<vec4<f32>, 8>();
    for (var depth = 0u; depth < p.out; depth += DEPTH) {
        let half = depth / DEPTH % 2u * 256u;
        workgroupBarrier();
        if block == place.first || p.out > 2u * DEPTH {
            mix(place, depth, half, lane);
        }
        for (var i = lane / 8u; i < BLOCK; i += 8u) {
            shared_b[i * 8u + lane % 8u] = fetch_dy(place.node, block + i, depth + lane % 8u * 4u, place.end);
        }
        workgroupBarrier();
        let ours = lane / 8u * 64u;
        let fours = (min(p.out - depth, DEPTH) + 3u) / 4u;
        for (var k = 0u; k < fours; k++) {
            let at = half + k * 32u + lane % 8u;
            let w = mat4x4(shared_a[at], shared_a[at + 8u], shared_a[at + 16u], shared_a[at + 24u]);
            acc[0] += w * shared_b[ours + k];
            acc[1] += w * shared_b[ours + 8u + k];
            acc[2] += w * shared_b[ours + 16u + k];
            acc[3] += w * shared_b[ours + 24u + k];
            acc[4] += w * shared_b[ours + 32u + k];
            acc[5] += w * shared_b[ours + 40u + k];
            acc[6] += w * shared_b[ours + 48u + k];
            acc[7] += w * shared_b[ours + 56u + k];
        }
    }
}

// The transposed weight of the columns of y from `depth` on: 4 columns by 4 channels an invocation.
fn mix(place: Place, depth: u32, half: u32, lane: u32) {
    let column = depth + lane / 8u * 4u;
    var a = vec4(0.0);
    var b = vec4(0.0);
    var c = vec4(0.0);
    var d = vec4(0.0);
    for (var j = 0u; j < p.prototypes; j++) {
        let share = vec4(e[p.e + place.node * p.prototypes + j]);
        a = fma(share, fetch_pool(j, place.channel, column), a);
        b = fma(share, fetch_pool(j, place.channel + 1u, column), b);
        c = fma(share, fetch_pool(j, place.channel + 2u, column), c);
        d = fma(share, fetch_pool(j, place.channel + 3u, column), d);
    }
    let turned = transpose(mat4x4(a, b, c, d));
    let at = half + lane / 8u * 32u + lane % 8u;
    shared_a[at] = turned[0];
    shared_a[at + 8u] = turned[1];
    shared_a[at + 16u] = turned[2];
    shared_a[at + 24u] = turned[3];
}

// Four channels of a sample of x, zeros past the last sample or channel.
fn fetch_x(node: u32, sample: u32, channel: u32) -> vec4<f32> {
    if sample >= p.batch || channel >= p.channels {
        return vec4(0.0);
    }
    let i = p.x + (sample * p.nodes + node) * p.channels + channel;
    if p.channels % 4u == 0u {
        return x[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < min(p.channels - channel, 4u); n++) {
        four[n] = x[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

// Four columns of a sample of dy, zeros past the last sample or column.
fn fetch_dy(node: u32, sample: u32, column: u32, end: u32) -> vec4<f32> {
    if sample >= end || column >= p.out {
        return vec4(0.0);
    }
    let i = p.dy + (sample * p.nodes + node) * p.out + column;
    if p.out % 4u == 0u {
        return dy[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < min(p.out - column, 4u); n++) {
        four[n] = dy[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

// Four columns of a row of a prototype, zeros past its end.
fn fetch_pool(j: u32, channel: u32, column: u32) -> vec4<f32> {
    if j >= p.prototypes || channel >= p.channels || column >= p.out {
        return vec4(0.0);
    }
    let i = p.pool + (j * p.channels + channel) * p.out + column;
    if p.out % 4u == 0u {
        return pool[i / 4u];
    }
    var four = vec4(0.0);
    for (var n = 0u; n < min(p.out - column, 4u); n++) {
        four[n] = pool[(i + n) / 4u][(i + n) % 4u];
    }
    return four;
}

fn store(place: Place, sample: u32, value: vec4<f32>) {
    if sample < place.end && place.channel < p.channels {
        dx[(p.dx + (sample * p.nodes + place.node) * p.channels + place.channel) / 4u] = value;
    }
}

// Number by number: a vec4 of dx may belong to two nodes, and two invocations must not write one.
fn store_each(place: Place, sample: u32, value: vec4<f32>) {
    if sample < place.end && place.channel < p.channels {
        let at = p.dx + (sample * p.nodes + place.node) * p.channels + place.channel;
        for (var k = 0u; k < min(p.channels - place.channel, 4u); k++) {
            dx_each[at + k] = value[k];
        }
    }
}
