// q_sample: y = signal x0 + sigma noise, one signal and sigma a sample.
//
// shapes   x0, noise, y [len] = [b, n], signal, sigma [b], whose loads stay in the cache
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4 of each operand, compute, store a vec4; the last invocation stores what is left of a row of four
// bound    memory: 12 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    n: u32,
    x0: u32,
    noise: u32,
    signal: u32,
    sigma: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x0: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> noise: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> signal: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> sigma: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn q_sample(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    // The four elements belong to one sample or to several; what lies past the last one is not stored.
    let samples = min((4u * i + vec4(0u, 1u, 2u, 3u)) / p.n, vec4((p.len - 1u) / p.n));
    let value = fma(signals(samples), x0[p.x0 / 4u + i], sigmas(samples) * noise[p.noise / 4u + i]);
    store_y(i, value);
}

fn store_y(i: u32, value: vec4<f32>) {
    let at = p.y / 4u + i;
    if 4u * i + 4u <= p.len {
        y[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            y[at][k] = value[k];
        }
    }
}

fn signals(sample: vec4<u32>) -> vec4<f32> {
    let at = p.signal + sample;
    return vec4(
        signal[at.x / 4u][at.x % 4u],
        signal[at.y / 4u][at.y % 4u],
        signal[at.z / 4u][at.z % 4u],
        signal[at.w / 4u][at.w % 4u],
    );
}

fn sigmas(sample: vec4<u32>) -> vec4<f32> {
    let at = p.sigma + sample;
    return vec4(
        sigma[at.x / 4u][at.x % 4u],
        sigma[at.y / 4u][at.y % 4u],
        sigma[at.z / 4u][at.z % 4u],
        sigma[at.w / 4u][at.w % 4u],
    );
}
