// permute: y is x with its axes in another order.
//
// shapes   y of the lengths d0..d5, whose axes have the strides s0..s5 in x
// launch   `permute` where y's fastest axis is x's too: one invocation for an element; `permute_fours` the same for four
//          where rows are whole vec4s; `permute_tiles` else: a workgroup of 256 for a tile of 32 by 32
// shared   tiles: 4.1 KiB, rows of 33 so that neither way has bank conflicts
// plan     a tile spans y's fastest axis and the axis that is fastest in x: read along the one, written along the
//          other, both coalesced
// bound    memory: 8 bytes an element, 75 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    d0: u32, d1: u32, d2: u32, d3: u32, d4: u32, d5: u32,
    s0: u32, s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    x: u32,
    y: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(0) var<storage, read_write> x_fours: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y_fours: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> tile: array<f32, 1056>;

@compute @workgroup_size(256)
fn permute(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i < p.len {
        y[p.y + i] = x[offset(i)];
    }
}

@compute @workgroup_size(256)
fn permute_fours(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = 4u * ((group.y * grid.x + group.x) * 256u + lane);
    if i < p.len {
        y_fours[(p.y + i) / 4u] = x_fours[offset(i) / 4u];
    }
}

fn offset(i: u32) -> u32 {
    var at = p.x + i % p.d5 * p.s5;
    var rest = i / p.d5;
    at += rest % p.d4 * p.s4;
    rest /= p.d4;
    at += rest % p.d3 * p.s3;
    rest /= p.d3;
    at += rest % p.d2 * p.s2;
    rest /= p.d2;
    return at + rest % p.d1 * p.s1 + rest / p.d1 * p.s0;
}

@compute @workgroup_size(256)
fn permute_tiles(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let lengths = array(p.d0, p.d1, p.d2, p.d3, p.d4, p.d5);
    let strides = array(p.s0, p.s1, p.s2, p.s3, p.s4, p.s5);
    var fastest = 0u;
    for (var axis = 1u; axis < 5u; axis++) {
        if strides[axis] == 1u {
            fastest = axis;
        }
    }
    let across = (p.d5 + 31u) / 32u;
    let down = (lengths[fastest] + 31u) / 32u;
    let index = group.y * grid.x + group.x;
    let column = index % across * 32u;
    let row = index / across % down * 32u;
    // Where the tile's planes start: the other four axes.
    var rest = index / across / down;
    var origin = p.x;
    var to = p.y;
    var step = p.d5;
    var y_row = 0u;
    for (var k = 0u; k < 5u; k++) {
        let axis = 4u - k;
        if axis == fastest {
            y_row = step;
        } else {
            let at = rest % lengths[axis];
            rest /= lengths[axis];
            origin += at * strides[axis];
            to += at * step;
        }
        step *= lengths[axis];
    }
    let inside = rest == 0u;
    for (var k = lane / 32u; k < 32u; k += 8u) {
        if inside && column + k < p.d5 && row + lane % 32u < lengths[fastest] {
            tile[33u * k + lane % 32u] = x[origin + (column + k) * p.s5 + row + lane % 32u];
        }
    }
    workgroupBarrier();
    for (var k = lane / 32u; k < 32u; k += 8u) {
        if inside && row + k < lengths[fastest] && column + lane % 32u < p.d5 {
            y[to + (row + k) * y_row + column + lane % 32u] = tile[33u * (lane % 32u) + k];
        }
    }
}
