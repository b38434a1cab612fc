// gate_backward: dg = dy tanh(h) sigmoid'(g), dh = dy sigmoid(g) tanh'(h), g and h the halves of a row of x.
//
// shapes   x, dx [rows, 2c], dy [rows, c]
// launch   one invocation for four neighbouring elements of dy where c is a multiple of four, else for one; 256 a
//          workgroup
// plan     load a vec4 of each half and of dy, compute both functions again, store two vec4s; where rows are odd
//          neighbouring invocations load and store neighbouring numbers (coalesced either way)
// bound    memory: 20 bytes an element of dy, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    rows: u32,
    c: u32,
    x: u32,
    dy: u32,
    dx: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> x_each: array<f32>;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dy_each: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

// The gradients of g and of h.
struct Halves {
    g: vec4<f32>,
    h: vec4<f32>,
}

// Where c is a multiple of four.
@compute @workgroup_size(256)
fn gate_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    let width = p.c / 4u;
    if i >= p.rows * width {
        return;
    }
    // Element i of dy is that many rows further on in x and dx.
    let at = i + i / width * width;
    let d = gradient(x[p.x / 4u + at], x[p.x / 4u + at + width], dy[p.dy / 4u + i]);
    dx[p.dx / 4u + at] = d.g;
    dx[p.dx / 4u + at + width] = d.h;
}

// Any c.
@compute @workgroup_size(256)
fn gate_backward_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i >= p.rows * p.c {
        return;
    }
    let at = i + i / p.c * p.c;
    let d = gradient(vec4(x_each[p.x + at]), vec4(x_each[p.x + at + p.c]), vec4(dy_each[p.dy + i]));
    dx_each[p.dx + at] = d.g.x;
    dx_each[p.dx + at + p.c] = d.h.x;
}

fn gradient(g: vec4<f32>, h: vec4<f32>, dy: vec4<f32>) -> Halves {
    let s = sigmoid(g);
    let t = tangent(h);
    return Halves(dy * t * s * (1.0 - s), dy * s * (1.0 - t * t));
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
