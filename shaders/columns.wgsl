// columns: y[r, y_start + i] = x[r, x_start + i] for i < width; the other columns become 0 with `fill`.
//
// shapes   x [rows, x_row], y [rows, y_row]
// launch   one invocation for an element of y that is written, 256 a workgroup; for four where all sizes and starts
//          are multiples of four
// plan     neighbouring invocations copy neighbouring elements (coalesced); one division finds the row
// bound    memory: 8 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    rows: u32,
    width: u32,
    x_row: u32,
    x_start: u32,
    y_row: u32,
    y_start: u32,
    fill: u32,
    x: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(0) var<storage, read_write> x_fours: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y_fours: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = column((group.y * grid.x + group.x) * 256u + lane);
    if place.row >= p.rows {
        return;
    }
    var value = 0.0;
    if place.column < p.width {
        value = x[p.x + place.row * p.x_row + p.x_start + place.column];
    }
    y[p.y + place.row * p.y_row + (p.y_start + place.column) % p.y_row] = value;
}

@compute @workgroup_size(256)
fn columns_fours(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = column(4u * ((group.y * grid.x + group.x) * 256u + lane));
    if place.row >= p.rows {
        return;
    }
    var value = vec4(0.0);
    if place.column < p.width {
        value = x_fours[(p.x + place.row * p.x_row + p.x_start + place.column) / 4u];
    }
    y_fours[(p.y + place.row * p.y_row + (p.y_start + place.column) % p.y_row) / 4u] = value;
}

// A row, and a column counted from y_start on; with `fill` those past the width go round to the start of y's row.
struct Place {
    row: u32,
    column: u32,
}

fn column(i: u32) -> Place {
    let length = select(p.width, p.y_row, p.fill == 1u);
    return Place(i / length, i % length);
}
