// select_backward: da = dy where mask != 0, db = dy elsewhere, else 0; da and db may be absent.
//
// shapes   mask, dy, da, db [len]
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4 of each operand, compute, store a vec4; the last invocation stores what is left of a row of four
// bound    memory: 16 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    mask: u32,
    dy: u32,
    da: u32,
    db: u32,
}

@group(0) @binding(0) var<storage, read_write> mask: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> da: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> db: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;

@compute @workgroup_size(256)
fn select_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    let chosen = mask[p.mask / 4u + i] != vec4(0.0);
    let value = dy[p.dy / 4u + i];
    if p.da != ABSENT {
        store_da(i, select(vec4(0.0), value, chosen));
    }
    if p.db != ABSENT {
        store_db(i, select(value, vec4(0.0), chosen));
    }
}

fn store_da(i: u32, value: vec4<f32>) {
    let at = p.da / 4u + i;
    if 4u * i + 4u <= p.len {
        da[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            da[at][k] = value[k];
        }
    }
}

fn store_db(i: u32, value: vec4<f32>) {
    let at = p.db / 4u + i;
    if 4u * i + 4u <= p.len {
        db[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            db[at][k] = value[k];
        }
    }
}
