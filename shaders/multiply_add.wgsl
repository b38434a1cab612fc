// multiply_add: y is x after 16 p.rounds steps v <- a v + b, element by element.
//
// shapes   x, y [len]
// launch   one invocation for sixteen elements, 256 a workgroup
// plan     an invocation loads four vec4, 1024 elements apart so that neighbours load neighbouring ones, steps them in
//          registers as sixteen chains that do not wait for each other, and stores them
// bound    arithmetic: all of the multiply-adds that a device can do, which it measures; 32 p.rounds operations for 8 bytes

struct Parameters {
    len: u32,
    rounds: u32,
    a: f32,
    b: f32,
    x: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * grid.x + group.x) * 1024u + lane;
    let a = vec4(p.a);
    let b = vec4(p.b);
    var v0 = load(first);
    var v1 = load(first + 256u);
    var v2 = load(first + 512u);
    var v3 = load(first + 768u);
    for (var round = 0u; round < p.rounds; round++) {
        for (var step = 0u; step < 4u; step++) {
            v0 = fma(v0, a, b); v1 = fma(v1, a, b); v2 = fma(v2, a, b); v3 = fma(v3, a, b);
            v0 = fma(v0, a, b); v1 = fma(v1, a, b); v2 = fma(v2, a, b); v3 = fma(v3, a, b);
            v0 = fma(v0, a, b); v1 = fma(v1, a, b); v2 = fma(v2, a, b); v3 = fma(v3, a, b);
            v0 = fma(v0, a, b); v1 = fma(v1, a, b); v2 = fma(v2, a, b); v3 = fma(v3, a, b);
        }
    }
    store(first, v0);
    store(first + 256u, v1);
    store(first + 512u, v2);
    store(first + 768u, v3);
}

fn load(i: u32) -> vec4<f32> {
    if 4u * i >= p.len {
        return vec4(0.0);
    }
    return x[p.x / 4u + i];
}

fn store(i: u32, value: vec4<f32>) {
    let at = p.y / 4u + i;
    if 4u * i + 4u <= p.len {
        y[at] = value;
    } else if 4u * i < p.len {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            y[at][k] = value[k];
        }
    }
}
