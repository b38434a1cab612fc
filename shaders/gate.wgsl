// gate: y = sigmoid(g) tanh(h), where g and h are the halves of a row of x.
//
// shapes   x [rows, 2c], y [rows, c]
// launch   one invocation for four neighbouring elements of y where c is a multiple of four, else for one; 256 a
//          workgroup
// plan     load a vec4 of each half, compute, store a vec4; where rows are odd neighbouring invocations load and store
//          neighbouring numbers (coalesced either way); one division finds the row
// bound    memory: 12 bytes an element of y, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    rows: u32,
    c: u32,
    x: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> x_each: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

// Where c is a multiple of four.
@compute @workgroup_size(256)
fn gate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    let width = p.c / 4u;
    if i >= p.rows * width {
        return;
    }
    // Element i of y is that many rows further on in x.
    let at = p.x / 4u + i + i / width * width;
    y[p.y / 4u + i] = sigmoid(x[at]) * tangent(x[at + width]);
}

// Any c.
@compute @workgroup_size(256)
fn gate_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i >= p.rows * p.c {
        return;
    }
    let at = p.x + i + i / p.c * p.c;
    y_each[p.y + i] = sigmoid(vec4(x_each[at])).x * tangent(vec4(x_each[at + p.c])).x;
}

fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-clamp(x, vec4(-87.0), vec4(87.0))));
}

// tanh: an odd polynomial near 0, where 1 - 2 / (e^2x + 1) would lose its digits.
fn tangent(x: vec4<f32>) -> vec4<f32> {
    let m = abs(x);
    let s = x * x;
    var odd = fma(s, vec4(-0.005704934), vec4(0.020639041));
    odd = fma(s, odd, vec4(-0.0537397));
    odd = fma(s, odd, vec4(0.13331442));
    odd = fma(s, odd, vec4(-0.3333328));
    let small = fma(m * s, odd, m);
    let large = 1.0 - 2.0 / (exp(2.0 * min(m, vec4(10.0))) + 1.0);
    return select(large, small, m < vec4(0.625)) * sign(x);
}
