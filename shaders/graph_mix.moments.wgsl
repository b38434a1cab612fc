// graph_mix: statistics of the groups. Goes on from graph_mix.wgsl.

// Sums about the value at the first node, of four rows.
struct Moments {
    shift: mat4x4<f32>,
    sum: mat4x4<f32>,
    square: mat4x4<f32>,
}

fn taken(before: Moments, value: mat4x4<f32>, first: bool) -> Moments {
    var seen = before;
    if first {
        seen.shift = value;
    }
    let d = value - seen.shift;
    seen.sum += d;
    seen.square[0] = fma(d[0], d[0], seen.square[0]);
    seen.square[1] = fma(d[1], d[1], seen.square[1]);
    seen.square[2] = fma(d[2], d[2], seen.square[2]);
    seen.square[3] = fma(d[3], d[3], seen.square[3]);
    return seen;
}

// Leaves means and squares about them of a run of nodes: [2, lane] vec4s of the four rows where an invocation's channels
// are all of one group, else [2, 4 rows, lane] vec4s of channels.
fn leave(work: Work, index: u32, lane: u32, seen: Moments) {
    let count = f32(work.end - work.start);
    let mean = seen.shift + seen.sum * (1.0 / count);
    var square = seen.square;
    square[0] = fma(seen.sum[0] / -count, seen.sum[0], square[0]);
    square[1] = fma(seen.sum[1] / -count, seen.sum[1], square[1]);
    square[2] = fma(seen.sum[2] / -count, seen.sum[2], square[2]);
    square[3] = fma(seen.sum[3] / -count, seen.sum[3], square[3]);
    let start = moments_start() + lane;
    if p.channels / p.groups % 4u == 0u {
        let means = vec4(0.25) * mean;
        let d = mean - mat4x4(vec4(means.x), vec4(means.y), vec4(means.z), vec4(means.w));
        let between = vec4(dot(d[0], d[0]), dot(d[1], d[1]), dot(d[2], d[2]), dot(d[3], d[3]));
        scratch[start + index * 2u * LANES] = means;
        scratch[start + index * 2u * LANES + LANES] = fma(vec4(count), between, vec4(1.0) * square);
        return;
    }
    let at = start + index * 8u * LANES;
    scratch[at] = mean[0];
    scratch[at + LANES] = mean[1];
    scratch[at + 2u * LANES] = mean[2];
    scratch[at + 3u * LANES] = mean[3];
    scratch[at + 4u * LANES] = square[0];
    scratch[at + 5u * LANES] = square[1];
    scratch[at + 6u * LANES] = square[2];
    scratch[at + 7u * LANES] = square[3];
}

// Mean and squares about it that a run left, number `i` of a row's group.
fn left(part: u32, row: u32, group: u32, i: u32) -> vec2<f32> {
    let quads = (p.channels + 3u) / 4u;
    let slots = LANES / quads;
    let width = p.channels / p.groups;
    let workgroup = part * tiles() + row / (4u * slots);
    let m = row % (4u * slots) / slots;
    let lane = row % slots * quads;
    if width % 4u == 0u {
        let at = 4u * (moments_start() + workgroup * 2u * LANES + lane + group * (width / 4u) + i) + m;
        return vec2(scratch_each[at], scratch_each[at + 4u * LANES]);
    }
    let channel = group * width + i;
    let at = 4u * (moments_start() + (workgroup * 8u + m) * LANES + lane + channel / 4u) + channel % 4u;
    return vec2(scratch_each[at], scratch_each[at + 16u * LANES]);
}

// First vec4 of the moments, after W.
fn moments_start() -> u32 {
    let quads = (p.channels + 3u) / 4u;
    return p.scratch / 4u + select(0u, p.nodes * 4u * quads * quads, prepared());
}

@compute @workgroup_size(64)
fn graph_mix_stats(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    if index >= p.batch * p.frames * p.groups {
        return;
    }
    let width = p.channels / p.groups;
    // Of how many channels a run left a mean.
    let channels = select(1u, 4u, width % 4u == 0u);
    let run = (p.nodes + p.parts - 1u) / p.parts;
    var seen = vec3(0.0);
    for (var i = lane; i < p.parts * width / channels; i += 64u) {
        let part = i / (width / channels);
        let count = f32(min(run, p.nodes - part * run) * channels);
        seen = merged(seen, vec3(count, left(part, index / p.groups, index % p.groups, i % (width / channels))));
    }
    moments[lane] = seen;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            moments[lane] = merged(moments[lane], moments[lane + half]);
        }
    }
    if lane == 0u {
        let all = moments[0];
        stats[p.stats + 2u * index] = all.y;
        stats[p.stats + 2u * index + 1u] = 1.0 / sqrt(all.z / all.x + p.eps);
    }
}

// Count, mean and squares about the mean of two sets together (Chan et al. 1983).
fn merged(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    if b.x == 0.0 {
        return a;
    }
    let count = a.x + b.x;
    let delta = b.y - a.y;
    let weight = b.x / count;
    return vec3(count, fma(delta, weight, a.y), a.z + b.z + delta * delta * a.x * weight);
}
