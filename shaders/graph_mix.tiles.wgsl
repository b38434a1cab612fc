// graph_mix and graph_mix_backward: places and products of tiles.

fn embedding(node: u32, k: u32) -> f32 {
    return e[p.e + min(node, p.nodes - 1u) * p.prototypes + k];
}

fn store_weights(node: u32, quad: u32, value: vec4<f32>) {
    let quads = (p.channels + 3u) / 4u;
    if node < p.nodes {
        scratch[p.scratch / 4u + node * 4u * quads * quads + quad] = value;
    }
}

// Vec4 `quad` of the channels of four rows that begin at `at`, zeros past the last channel.
fn h_quads(at: vec4<u32>, quad: u32, whole: bool) -> mat4x4<f32> {
    if whole {
        let i = at / 4u + quad;
        return mat4x4(h[i.x], h[i.y], h[i.z], h[i.w]);
    }
    var found = mat4x4<f32>();
    for (var m = 0u; m < 4u; m++) {
        for (var k = 0u; k < min(p.channels - 4u * quad, 4u); k++) {
            let i = at[m] + 4u * quad + k;
            found[m][k] = h[i / 4u][i % 4u];
        }
    }
    return found;
}

// Where a vec4 of the first of a slot's four shared rows lies, those of the others `slots * quads` after one another:
// neighbouring slots begin in different banks.
fn place(quads: u32, slot: u32, column: u32) -> u32 {
    // 2^n - 1 where 2^n divides the columns, up to 7.
    let mask = min(quads & (0u - quads), 8u) - 1u;
    return slot * quads + (column ^ (slot & mask));
}

fn row_times(x: vec4<f32>, w: mat4x4<f32>, acc: vec4<f32>) -> vec4<f32> {
    return fma(vec4(x.w), w[3], fma(vec4(x.z), w[2], fma(vec4(x.y), w[1], fma(vec4(x.x), w[0], acc))));
}
