// accumulate: y = x or y += x, element by element.
//
// shapes   x, y [len]
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4 of each operand, compute, store a vec4; the last invocation stores what is left of a row of four
// bound    memory: 12 (8 to copy) bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    add: u32,
    x: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn accumulate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    var value = x[p.x / 4u + i];
    if p.add == 1u {
        value += y[p.y / 4u + i];
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
