// adam: one step of Adam or AdamW; formulas and conventions at the CPU kernel.
//
// shapes   values, gradients, first, second [len], norm_squared [1] (absent without a limit)
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4 of each operand, compute, store a vec4; the last invocation stores what is left of a row of four
// bound    memory: 28 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    lr: f32,
    rest1: f32,
    rest2: f32,
    eps: f32,
    decay: f32,
    decoupled: u32,
    correction1: f32,
    correction2: f32,
    max_norm: f32,
    values: u32,
    gradients: u32,
    first: u32,
    second: u32,
    norm_squared: u32,
}

@group(0) @binding(0) var<storage, read_write> values: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> first: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> second: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> norm_squared: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;

@compute @workgroup_size(256)
fn adam(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    var clip = 1.0;
    if p.max_norm > 0.0 && p.norm_squared != ABSENT {
        clip = min(p.max_norm / (sqrt(norm_squared[p.norm_squared / 4u].x) + 1e-6), 1.0);
    }
    let penalty = select(p.decay, 0.0, p.decoupled == 1u);
    let shrink = select(1.0, 1.0 - p.lr * p.decay, p.decoupled == 1u);
    let rate = p.lr / p.correction1;
    let root = sqrt(p.correction2);
    var x = values[p.values / 4u + i];
    var m = first[p.first / 4u + i];
    var v = second[p.second / 4u + i];
    let g = fma(vec4(penalty), x, clip * gradients[p.gradients / 4u + i]);
    m = fma(vec4(p.rest1), g - m, m);
    v = fma(vec4(p.rest2), fma(g, g, -v), v);
    x = shrink * x - rate * m / (sqrt(v) / root + p.eps);
    store_first(i, m);
    store_second(i, v);
    store_values(i, x);
}

fn store_first(i: u32, value: vec4<f32>) {
    let at = p.first / 4u + i;
    if 4u * i + 4u <= p.len {
        first[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            first[at][k] = value[k];
        }
    }
}

fn store_second(i: u32, value: vec4<f32>) {
    let at = p.second / 4u + i;
    if 4u * i + 4u <= p.len {
        second[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            second[at][k] = value[k];
        }
    }
}

fn store_values(i: u32, value: vec4<f32>) {
    let at = p.values / 4u + i;
    if 4u * i + 4u <= p.len {
        values[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            values[at][k] = value[k];
        }
    }
}
