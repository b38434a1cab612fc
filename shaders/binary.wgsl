// binary: y = f(a, b), element by element, with broadcasting.
//
// shapes   y of the lengths d0..d5; a and b have a stride for each of these axes, 0 where they are repeated
// launch   `binary`: one invocation for four elements, 256 a workgroup, where rows of y are whole vec4s and each
//          operand is contiguous or repeated along them; `binary_strided`: one invocation for an element
// plan     equal shapes need no address arithmetic; else a few divisions find the row, shared by four elements; f is a
//          parameter that all invocations share (no divergence)
// bound    memory: 12 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    function: u32,
    d0: u32, d1: u32, d2: u32, d3: u32, d4: u32, d5: u32,
    a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
    b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
    a: u32,
    b: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y_each: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn binary(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    let at = offsets(4u * i);
    var left = a[at.x / 4u];
    if p.a5 == 0u {
        left = vec4(left[at.x % 4u]);
    }
    var right = b[at.y / 4u];
    if p.b5 == 0u {
        right = vec4(right[at.y % 4u]);
    }
    let value = f(left, right);
    let to = p.y / 4u + i;
    if 4u * i + 4u <= p.len {
        y[to] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            y[to][k] = value[k];
        }
    }
}

@compute @workgroup_size(256)
fn binary_strided(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i < p.len {
        let at = offsets(i);
        y_each[p.y + i] = f(vec4(a[at.x / 4u][at.x % 4u]), vec4(b[at.y / 4u][at.y % 4u])).x;
    }
}

// The elements of a and b for element i of y; leading axes of length 1 cost nothing.
fn offsets(i: u32) -> vec2<u32> {
    let start = vec2(p.a, p.b);
    if p.d5 == p.len {
        return start + i * vec2(p.a5, p.b5);
    }
    var at = start + i % p.d5 * vec2(p.a5, p.b5);
    var rest = i / p.d5;
    at += rest % p.d4 * vec2(p.a4, p.b4);
    if p.d5 * p.d4 == p.len {
        return at;
    }
    rest /= p.d4;
    at += rest % p.d3 * vec2(p.a3, p.b3);
    rest /= p.d3;
    at += rest % p.d2 * vec2(p.a2, p.b2);
    rest /= p.d2;
    at += rest % p.d1 * vec2(p.a1, p.b1);
    return at + rest / p.d1 * vec2(p.a0, p.b0);
}

fn f(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    switch p.function {
        case 0u: { return a + b; }
        case 1u: { return a - b; }
        case 2u: { return a * b; }
        default: { return a / b; }
    }
}
