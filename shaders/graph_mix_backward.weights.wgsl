// graph_mix_backward: gradients of the node weights, embeddings and prototypes. Goes on from graph_mix_backward.wgsl.

// Channels a multiple of four.
@compute @workgroup_size(128)
fn graph_mix_backward_dw(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    weight_gradients(group.y * grid.x + group.x, lane, true);
}

// Any channels.
@compute @workgroup_size(128)
fn graph_mix_backward_dw_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    weight_gradients(group.y * grid.x + group.x, lane, false);
}

// Up to 32 by 32 numbers of a node's dW.
fn weight_gradients(index: u32, lane: u32, whole: bool) {
    let quads = (p.channels + 3u) / 4u;
    let across = (quads + WIDE - 1u) / WIDE;
    let node = index / (across * across);
    if node >= p.nodes {
        return;
    }
    let width = min(quads, WIDE);
    let slots = LANES / width;
    let slot = lane / width;
    let input = index / across % across * WIDE;
    let output = index % across * WIDE;
    // The block of 4 by 4 numbers, and which rows.
    let blocks = width * width;
    let slices = LANES / blocks;
    let slice = lane / blocks;
    let block = lane % blocks;
    let all = p.batch * p.frames;
    var acc = mat4x4<f32>();
    for (var first = 0u; first < all; first += 4u * slots) {
        let rows = first + slot + vec4(0u, 1u, 2u, 3u) * slots;
        let inside = rows < vec4(select(0u, all, slot < slots));
        let at = window(min(rows, vec4(all - 1u)), 0u);
        let neighbour_sums = gathered(at, inside, node, input + lane % width, whole);
        let dz = gradients(at + node * p.frames * p.channels, inside, output + lane % width, whole);
        workgroupBarrier();
        if slot < slots {
            let to = place(width, slot, lane % width);
            share(to, slots * width, neighbour_sums);
            share(SECOND + to, slots * width, dz);
        }
        workgroupBarrier();
        acc = outer(acc, slice, slices, slots, width, block);
    }
    leave(acc, node, input, output, width, lane);
}

// Sums over the neighbours of a node of h, one vec4 of columns in four rows that begin at `at`; zeros past the last ones.
fn gathered(at: vec4<u32>, inside: vec4<bool>, node: u32, quad: u32, whole: bool) -> mat4x4<f32> {
    var found = mat4x4<f32>();
    if !inside.x || quad >= (p.channels + 3u) / 4u {
        return found;
    }
    let end = offsets[p.offsets + node + 1u];
    for (var i = offsets[p.offsets + node]; i < end; i += 2u) {
        // Two neighbours at a time, so that eight loads are under way; after an odd last one comes itself times 0.
        let next = min(i + 1u, end - 1u);
        let a = h_quads(p.h + at + neighbours[p.neighbours + i] * p.frames * p.channels, quad, whole);
        let b = h_quads(p.h + at + neighbours[p.neighbours + next] * p.frames * p.channels, quad, whole);
        var weights = vec2(1.0, select(0.0, 1.0, next > i));
        if p.values != ABSENT {
            weights *= vec2(values[p.values + i], values[p.values + next]);
        }
        found[0] = fma(vec4(weights.y), b[0], fma(vec4(weights.x), a[0], found[0]));
        found[1] = fma(vec4(weights.y), b[1], fma(vec4(weights.x), a[1], found[1]));
        found[2] = fma(vec4(weights.y), b[2], fma(vec4(weights.x), a[2], found[2]));
        found[3] = fma(vec4(weights.y), b[3], fma(vec4(weights.x), a[3], found[3]));
    }
    // Of rows past the last one dz is zero.
    return found;
}

// dz, which stands in d, of one vec4 of columns in four rows that begin at `at`; zeros past the last ones.
fn gradients(at: vec4<u32>, inside: vec4<bool>, quad: u32, whole: bool) -> mat4x4<f32> {
    var found = mat4x4<f32>();
    if quad >= (p.channels + 3u) / 4u {
        return found;
    }
    let dz = d_quads(p.d + at, quad, whole);
    found[0] = select(vec4(0.0), dz[0], inside.x);
    found[1] = select(vec4(0.0), dz[1], inside.y);
    found[2] = select(vec4(0.0), dz[2], inside.z);
    found[3] = select(vec4(0.0), dz[3], inside.w);
    return found;
}

// The same of d.
fn d_quads(at: vec4<u32>, quad: u32, whole: bool) -> mat4x4<f32> {
    if whole {
        let i = at / 4u + quad;
        return mat4x4(d[i.x], d[i.y], d[i.z], d[i.w]);
    }
    var found = mat4x4<f32>();
    for (var m = 0u; m < 4u; m++) {
        for (var k = 0u; k < min(p.channels - 4u * quad, 4u); k++) {
            let i = at[m] + 4u * quad + k;
            found[m][k] = d[i / 4u][i % 4u];
        }
    }
    return found;
}

// acc + a block of 4 by 4 numbers of (neighbour sums)^T dz, over the shared rows of the slots slice, slice + slices and
// so on.
fn outer(acc: mat4x4<f32>, slice: u32, slices: u32, slots: u32, width: u32, block: u32) -> mat4x4<f32> {
    var sum = acc;
    for (var slot = slice; slot < slots; slot += slices) {
        let from_x = place(width, slot, block / width);
        let from_dz = SECOND + place(width, slot, block % width);
        for (var row = 0u; row < 4u; row++) {
            let x = tile[from_x + row * slots * width];
            let dz = tile[from_dz + row * slots * width];
            sum[0] = fma(vec4(x.x), dz, sum[0]);
            sum[1] = fma(vec4(x.y), dz, sum[1]);
            sum[2] = fma(vec4(x.z), dz, sum[2]);
            sum[3] = fma(vec4(x.w), dz, sum[3]);
        }
    }
    return sum;
}

// Adds the slices of a node's dW in their order and leaves it in place of W^T.
fn leave(acc: mat4x4<f32>, node: u32, input: u32, output: u32, width: u32, lane: u32) {
    workgroupBarrier();
    tile[4u * lane] = acc[0];
    tile[4u * lane + 1u] = acc[1];
    tile[4u * lane + 2u] = acc[2];
    tile[4u * lane + 3u] = acc[3];
    workgroupBarrier();
    let quads = (p.channels + 3u) / 4u;
    let blocks = width * width;
    for (var i = lane; i < 4u * blocks; i += LANES) {
        var sum = tile[i];
        for (var slice = 1u; slice < LANES / blocks; slice++) {
            sum += tile[4u * slice * blocks + i];
        }
        let row = input + i / 4u / width;
        let column = output + i / 4u % width;
        if row < quads && column < quads {
            scratch[p.scratch / 4u + (node * quads + row) * 4u * quads + i % 4u * quads + column] = sum;
        }
    }
}

// Four nodes, 32 invocations each.
@compute @workgroup_size(128)
fn graph_mix_backward_de(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if 4u * index >= p.nodes {
        return;
    }
    let quads = (p.channels + 3u) / 4u;
    let square = 4u * quads * quads;
    let node = 4u * index + lane / 32u;
    let start = p.scratch / 4u + min(node, p.nodes - 1u) * square;
    // Four prototypes at a time.
    for (var k = 0u; k < p.prototypes; k += 4u) {
        let last = p.prototypes - 1u;
        var found = vec4(0.0);
        for (var i = lane % 32u; i < square; i += 32u) {
            let dw = scratch[start + i];
            found += vec4(
                dot(dw, pool_quad(k, i / quads, i % quads)),
                dot(dw, pool_quad(min(k + 1u, last), i / quads, i % quads)),
                dot(dw, pool_quad(min(k + 2u, last), i / quads, i % quads)),
                dot(dw, pool_quad(min(k + 3u, last), i / quads, i % quads)),
            );
        }
        workgroupBarrier();
        tile[lane] = found;
        for (var half = 16u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if lane % 32u < half {
                tile[lane] += tile[lane + half];
            }
        }
        workgroupBarrier();
        if lane % 32u < min(4u, p.prototypes - k) && node < p.nodes {
            de[p.de + node * p.prototypes + k + lane % 32u] = tile[lane / 32u * 32u][lane % 32u];
        }
    }
}

// Four numbers of a row of prototype k, zeros past its ends.
fn pool_quad(k: u32, row: u32, quad: u32) -> vec4<f32> {
    if row >= p.channels {
        return vec4(0.0);
    }
    let i = p.pool + (k * p.channels + row) * p.channels + 4u * quad;
    if p.channels % 4u == 0u {
        return pool_fours[i / 4u];
    }
    let left = p.channels - 4u * quad;
    var four = vec4(pool_fours[i / 4u][i % 4u], 0.0, 0.0, 0.0);
    if left > 1u {
        four.y = pool_fours[(i + 1u) / 4u][(i + 1u) % 4u];
    }
    if left > 2u {
        four.z = pool_fours[(i + 2u) / 4u][(i + 2u) % 4u];
    }
    if left > 3u {
        four.w = pool_fours[(i + 3u) / 4u][(i + 3u) % 4u];
    }
    return four;
}

// A run of nodes: an invocation has one vec4 of dP of eight prototypes.
@compute @workgroup_size(128)
fn graph_mix_backward_dpool_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let quads = (p.channels + 3u) / 4u;
    let square = 4u * quads * quads;
    let groups = (square + LANES - 1u) / LANES;
    let quad = index % groups * LANES + lane;
    let eights = (p.prototypes + 7u) / 8u;
    let k = index / groups % eights * 8u;
    let part = index / groups / eights;
    if part >= p.parts || quad >= square {
        return;
    }
    let run = (p.nodes + p.parts - 1u) / p.parts;
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var node = part * run; node < min((part + 1u) * run, p.nodes); node++) {
        let dw = scratch[p.scratch / 4u + node * square + quad];
        low[0] = fma(vec4(weight(node, k)), dw, low[0]);
        low[1] = fma(vec4(weight(node, k + 1u)), dw, low[1]);
        low[2] = fma(vec4(weight(node, k + 2u)), dw, low[2]);
        low[3] = fma(vec4(weight(node, k + 3u)), dw, low[3]);
        high[0] = fma(vec4(weight(node, k + 4u)), dw, high[0]);
        high[1] = fma(vec4(weight(node, k + 5u)), dw, high[1]);
        high[2] = fma(vec4(weight(node, k + 6u)), dw, high[2]);
        high[3] = fma(vec4(weight(node, k + 7u)), dw, high[3]);
    }
    leave_part(part, k, quad, low[0]);
    leave_part(part, k + 1u, quad, low[1]);
    leave_part(part, k + 2u, quad, low[2]);
    leave_part(part, k + 3u, quad, low[3]);
    leave_part(part, k + 4u, quad, high[0]);
    leave_part(part, k + 5u, quad, high[1]);
    leave_part(part, k + 6u, quad, high[2]);
    leave_part(part, k + 7u, quad, high[3]);
}

fn weight(node: u32, k: u32) -> f32 {
    return e[p.e + node * p.prototypes + min(k, p.prototypes - 1u)];
}

fn leave_part(part: u32, k: u32, quad: u32, value: vec4<f32>) {
    let quads = (p.channels + 3u) / 4u;
    let square = 4u * quads * quads;
    if k < p.prototypes {
        scratch[p.scratch / 4u + (p.nodes + part * p.prototypes + k) * square + quad] = value;
    }
}

@compute @workgroup_size(256)
fn graph_mix_backward_dpool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i >= p.prototypes * p.channels * p.channels {
        return;
    }
    let padded = (p.channels + 3u) / 4u * 4u;
    let square = padded * padded;
    let k = i / (p.channels * p.channels);
    let at = i / p.channels % p.channels * padded + i % p.channels;
    var sum = 0.0;
    for (var part = 0u; part < p.parts; part++) {
        sum += scratch_each[p.scratch + (p.nodes + part * p.prototypes + k) * square + at];
    }
    dpool[p.dpool + i] = sum;
}
