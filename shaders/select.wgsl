// select: y = a where mask != 0, else b.
//
// shapes   mask, a, b, y [len]
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4 of each operand, compute, store a vec4; the last invocation stores what is left of a row of four
// bound    memory: 16 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    mask: u32,
    a: u32,
    b: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> mask: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn select_elements(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    let value = select(b[p.b / 4u + i], a[p.a / 4u + i], mask[p.mask / 4u + i] != vec4(0.0));
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
