// embedding: y[r, :] = table[index[r], :].
//
// shapes   table [v, c], index u32 [rows], y [rows, c]
// launch   one invocation for an element of y, 256 a workgroup; for four where c is a multiple of four
// plan     neighbouring invocations copy neighbouring elements of a row (coalesced); the index stays in the cache
// bound    memory: 8 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    rows: u32,
    v: u32,
    c: u32,
    table: u32,
    index: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> table: array<f32>;
@group(0) @binding(1) var<storage, read_write> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(0) var<storage, read_write> table_fours: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y_fours: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn embedding(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i < p.rows * p.c {
        y[p.y + i] = table[p.table + index[p.index + i / p.c] * p.c + i % p.c];
    }
}

@compute @workgroup_size(256)
fn embedding_fours(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = 4u * ((group.y * grid.x + group.x) * 256u + lane);
    if i < p.rows * p.c {
        y_fours[(p.y + i) / 4u] = table_fours[(p.table + index[p.index + i / p.c] * p.c + i % p.c) / 4u];
    }
}
