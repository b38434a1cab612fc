// unary: y = f(x), element by element.
//
// shapes   x, y [len]
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4, choose f by a parameter that all invocations share (no divergence), store a vec4;
//          the last invocation stores what is left of a row of four
// bound    memory: 8 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    function: u32,
    a: f32,
    b: f32,
    x: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn unary(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    let value = f(x[p.x / 4u + i]);
    let at = p.y / 4u + i;
    if 4u * i + 4u <= p.len {
        y[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            y[at][k] = value[k];
        }
    }
}

fn f(x: vec4<f32>) -> vec4<f32> {
    switch p.function {
        case 0u: { return fma(x, vec4(p.a), vec4(p.b)); }
        case 1u: { return x * x; }
        case 2u: { return sqrt(x); }
        case 3u: { return abs(x); }
        case 4u: { return exp(x); }
        case 5u: { return p.a * log(x); }
        case 6u: { return pow(x, vec4(p.a)); }
        case 7u: { return sigmoid(x); }
        case 8u: { return tangent(x); }
        case 9u: { return select(p.a * x, x, x > vec4(0.0)); }
        case 10u: { return x * sigmoid(x); }
        default: { return x * distribution(x); }
    }
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

// Phi(x), the normal distribution function, by Mills' ratio (1 - Phi(m)) / phi(m) on 0..6 about 1.5.
fn distribution(x: vec4<f32>) -> vec4<f32> {
    let density = 0.3989423 * exp(-0.5 * min(x * x, vec4(150.0)));
    let m = min(abs(x), vec4(6.0)) - 1.5;
    var ratio = fma(m, vec4(-7.9097356e-7), vec4(6.2724853e-6));
    ratio = fma(m, ratio, vec4(-2.0523585e-5));
    ratio = fma(m, ratio, vec4(6.0259103e-5));
    ratio = fma(m, ratio, vec4(-0.00024516502));
    ratio = fma(m, ratio, vec4(0.00093701977));
    ratio = fma(m, ratio, vec4(-0.0031852073));
    ratio = fma(m, ratio, vec4(0.010291503));
    ratio = fma(m, ratio, vec4(-0.0313218));
    ratio = fma(m, ratio, vec4(0.088203795));
    ratio = fma(m, ratio, vec4(-0.22627664));
    ratio = fma(m, ratio, vec4(0.5158155));
    let tail = density * ratio;
    return select(tail, 1.0 - tail, x > vec4(0.0));
}
