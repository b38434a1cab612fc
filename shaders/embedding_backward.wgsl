// embedding_backward: dtable[j, :] = sum of dy[r, :] over the r with index[r] = j, in order of r.
//
// shapes   index u32 [rows], dy [rows, c], dtable [v, c], scratch [parts, v, c]
// launch   one invocation for an element of dtable and a part of the rows, 256 a workgroup; with several parts a second
//          stage, one invocation for an element of dtable
// plan     neighbouring invocations walk the same indices (one load for all) and add neighbouring elements of dy
//          (coalesced); parts are added in their order: no atomics, no sort
// bound    the walk over the indices, v * rows / 32 loads; meant for tables of up to some thousand rows; not measured
//          on a GPU

struct Parameters {
    rows: u32,
    v: u32,
    c: u32,
    index: u32,
    dy: u32,
    dtable: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> index: array<u32>;
@group(0) @binding(1) var<storage, read_write> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dtable: array<f32>;
@group(0) @binding(3) var<storage, read_write> scratch: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn embedding_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let element = (group.y * grid.x + group.x) * 256u + lane;
    if element < p.v * p.c {
        dtable[p.dtable + element] = gathered(element, 0u, p.rows);
    }
}

@compute @workgroup_size(256)
fn embedding_backward_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    let part = i / (p.v * p.c);
    if part < p.parts {
        let run = (p.rows + p.parts - 1u) / p.parts;
        let sum = gathered(i % (p.v * p.c), part * run, min((part + 1u) * run, p.rows));
        scratch[p.scratch + i] = sum;
    }
}

@compute @workgroup_size(256)
fn embedding_backward_last(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let element = (group.y * grid.x + group.x) * 256u + lane;
    if element < p.v * p.c {
        var sum = 0.0;
        for (var part = 0u; part < p.parts; part++) {
            sum += scratch[p.scratch + part * p.v * p.c + element];
        }
        dtable[p.dtable + element] = sum;
    }
}

fn gathered(element: u32, first: u32, end: u32) -> f32 {
    let row = element / p.c;
    let column = element % p.c;
    var sum = 0.0;
    for (var r = first; r < end; r++) {
        if index[p.index + r] == row {
            sum += dy[p.dy + r * p.c + column];
        }
    }
    return sum;
}
