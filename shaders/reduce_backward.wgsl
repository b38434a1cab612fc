// reduce_backward: dx[o, r, i] = scale dy[o, i] for a sum; for a maximum dy[o, i] at the first r where x = y, else 0.
//
// shapes   x, dx [outer, len, inner], y, dy [outer, inner]
// launch   sum: one invocation for an element of dx; maximum: one for an element of y; 256 a workgroup
// plan     neighbouring invocations write neighbouring elements (coalesced; a maximum of the last axis is not);
//          dy stays in the cache
// bound    memory: 4 bytes an element (8 for a maximum), 70 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    outer: u32,
    len: u32,
    inner: u32,
    kind: u32,
    scale: f32,
    x: u32,
    y: u32,
    dy: u32,
    dx: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn reduce_backward_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i >= p.outer * p.len * p.inner {
        return;
    }
    let outer = i / p.inner / p.len;
    dx[p.dx + i] = p.scale * dy[p.dy + outer * p.inner + i % p.inner];
}

@compute @workgroup_size(256)
fn reduce_backward_max(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i >= p.outer * p.inner {
        return;
    }
    let start = i / p.inner * p.len * p.inner + i % p.inner;
    let largest = y[p.y + i];
    var gradient = dy[p.dy + i];
    for (var r = 0u; r < p.len; r++) {
        let at = start + r * p.inner;
        let here = x[p.x + at] == largest;
        dx[p.dx + at] = select(0.0, gradient, here);
        gradient = select(gradient, 0.0, here);
    }
}
