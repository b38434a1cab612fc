// posterior_step: y = a x + c x_hat + s noise; the noise may be absent.
//
// shapes   x, x_hat, noise, y [len]
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4 of each operand, compute, store a vec4; the last invocation stores what is left of a row of four
// bound    memory: 16 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    a: f32,
    c: f32,
    s: f32,
    x: u32,
    x_hat: u32,
    noise: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> x_hat: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> noise: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;

@compute @workgroup_size(256)
fn posterior_step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    var value = fma(vec4(p.a), x[p.x / 4u + i], p.c * x_hat[p.x_hat / 4u + i]);
    if p.noise != ABSENT {
        value = fma(vec4(p.s), noise[p.noise / 4u + i], value);
    }
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
