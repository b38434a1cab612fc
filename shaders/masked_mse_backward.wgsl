// masked_mse_backward: dp = 2 m (p - t) dy / w and dt = -dp; either may be absent.
//
// shapes   prediction, target, mask, d_prediction, d_target [len], weight, dy [1]
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4 of each operand, compute, store a vec4; the last invocation stores what is left of a row of four
// bound    memory: 16 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    prediction: u32,
    target_: u32,
    mask: u32,
    weight: u32,
    dy: u32,
    d_prediction: u32,
    d_target: u32,
}

@group(0) @binding(0) var<storage, read_write> prediction: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> mask: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> d_prediction: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> d_target: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;

@compute @workgroup_size(256)
fn masked_mse_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    let factor = 2.0 * dy[p.dy / 4u].x / weight[p.weight / 4u].x;
    let m = mask[p.mask / 4u + i];
    let error = factor * m * (prediction[p.prediction / 4u + i] - target_[p.target_ / 4u + i]);
    let value = select(vec4(0.0), error, m != vec4(0.0));
    if p.d_prediction != ABSENT {
        store_d_prediction(i, value);
    }
    if p.d_target != ABSENT {
        store_d_target(i, -value);
    }
}

fn store_d_prediction(i: u32, value: vec4<f32>) {
    let at = p.d_prediction / 4u + i;
    if 4u * i + 4u <= p.len {
        d_prediction[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            d_prediction[at][k] = value[k];
        }
    }
}

fn store_d_target(i: u32, value: vec4<f32>) {
    let at = p.d_target / 4u + i;
    if 4u * i + 4u <= p.len {
        d_target[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            d_target[at][k] = value[k];
        }
    }
}
