// gated_head and gated_head_backward: the work of an invocation, its normed tile and the biases.

fn gate_bias(o: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < p.channels; i++) {
        sum = fma(w_gate[p.w_gate + o * p.channels + i], beta[p.beta + i], sum);
    }
    return sum + b_gate[p.b_gate + o];
}

fn output_bias() -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < p.channels && p.gated == 0u; i++) {
        sum = fma(w_out[p.w_out + i], beta[p.beta + i], sum);
    }
    return sum + b_out[p.b_out];
}

// What an invocation has to do: four frames by one vec4 of channels of a node, `slots` nodes further on each time.
struct Work {
    sample: u32,
    // First of the four frames.
    frame: u32,
    // The workgroup's nodes.
    start: u32,
    end: u32,
    quads: u32,
    // Nodes at a time, the invocation's, and its vec4 of channels.
    slots: u32,
    slot: u32,
    column: u32,
}

fn work_of(index: u32, lane: u32) -> Work {
    let quads = (p.channels + 3u) / 4u;
    let slots = LANES / quads;
    let blocks = (p.frames + 3u) / 4u;
    let all = p.batch * blocks;
    let run = ((p.nodes + slots - 1u) / slots + p.parts - 1u) / p.parts * slots;
    let start = index / all * run;
    let block = index % all;
    return Work(
        block / blocks,
        block % blocks * 4u,
        start,
        min(start + run, p.nodes),
        quads,
        slots,
        lane / quads,
        lane % quads,
    );
}

// Mean and rstd of an invocation's vec4 of channels, the same for all four: columns 0 and 1, one row a frame.
fn norms_of(work: Work) -> mat2x4<f32> {
    let group = min(4u * work.column, p.channels - 1u) / (p.channels / p.groups);
    let frames = min(work.frame + vec4(0u, 1u, 2u, 3u), vec4(p.frames - 1u));
    let at = p.stats / 2u + (work.sample * p.frames + frames) * p.groups + group;
    return transpose(mat4x2(stats[at.x], stats[at.y], stats[at.z], stats[at.w]));
}

// (z - mean) rstd of four frames of a node; past the last ones those of the last one.
fn normed(work: Work, node: u32, norms: mat2x4<f32>) -> mat4x4<f32> {
    let frames = min(work.frame + vec4(0u, 1u, 2u, 3u), vec4(p.frames - 1u));
    let row = (work.sample * p.nodes + min(node, p.nodes - 1u)) * p.frames + frames;
    var x = z_quads(p.z + row * p.channels, work.column);
    let width = p.channels / p.groups;
    if width % 4u == 0u {
        x[0] = (x[0] - norms[0].x) * norms[1].x;
        x[1] = (x[1] - norms[0].y) * norms[1].y;
        x[2] = (x[2] - norms[0].z) * norms[1].z;
        x[3] = (x[3] - norms[0].w) * norms[1].w;
        return x;
    }
    for (var m = 0u; m < 4u; m++) {
        for (var k = 0u; k < min(p.channels - 4u * work.column, 4u); k++) {
            let step = work.sample * p.frames + frames[m];
            let norm = stats[p.stats / 2u + step * p.groups + (4u * work.column + k) / width];
            x[m][k] = (x[m][k] - norm.x) * norm.y;
        }
    }
    return x;
}

// Vec4 `quad` of the channels of four rows that begin at `at`, zeros past the last channel.
fn z_quads(at: vec4<u32>, quad: u32) -> mat4x4<f32> {
    if p.channels % 4u == 0u {
        let i = at / 4u + quad;
        return mat4x4(z[i.x], z[i.y], z[i.z], z[i.w]);
    }
    var found = mat4x4<f32>();
    for (var m = 0u; m < 4u; m++) {
        for (var k = 0u; k < min(p.channels - 4u * quad, 4u); k++) {
            let i = at[m] + 4u * quad + k;
            found[m][k] = z[i / 4u][i % 4u];
        }
    }
    return found;
}

fn spread(four: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(four, four, four, four);
}

fn row_times(x: vec4<f32>, w: mat4x4<f32>, acc: vec4<f32>) -> vec4<f32> {
    return fma(vec4(x.w), w[3], fma(vec4(x.z), w[2], fma(vec4(x.y), w[1], fma(vec4(x.x), w[0], acc))));
}

// Where a vec4 of the first of a slot's four shared rows lies, those of the others `slots * quads` after one another:
// neighbouring slots begin in different banks.
fn place(quads: u32, slot: u32, column: u32) -> u32 {
    // 2^n - 1 where 2^n divides the columns, up to 7.
    let mask = min(quads & (0u - quads), 8u) - 1u;
    return slot * quads + (column ^ (slot & mask));
}
