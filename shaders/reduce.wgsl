// reduce: y[o, i] = scale * sum_r x[o, r, i], or max_r x[o, r, i].
//
// shapes   x [outer, len, inner], y [outer, inner], scratch [parts, outer, inner]
// launch   a workgroup of 256 for `width` columns (a power of two up to 256, at least inner where that is less) of one
//          o and one part of the rows; with several parts a second stage, one invocation for an element of y
// shared   1 KiB
// plan     neighbouring invocations read neighbouring elements whatever the shape (coalesced); each keeps four partial
//          results so that loads overlap; the workgroup folds its rows in a tree, the second stage its parts in order:
//          the same order always, no atomics
// bound    memory: 4 bytes an element of x, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    outer: u32,
    len: u32,
    inner: u32,
    kind: u32,
    scale: f32,
    x: u32,
    y: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> scratch: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

const MAX = 1u;
const LOWEST = -3.4028234e38;

var<workgroup> found: array<f32, 256>;

@compute @workgroup_size(256)
fn reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = columns(group.y * grid.x + group.x, lane);
    let value = reduced(place, 0u, p.len, lane);
    if place.inside && lane < place.width {
        y[p.y + place.element] = scaled(value);
    }
}

@compute @workgroup_size(256)
fn reduce_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let part = index % p.parts;
    let run = (p.len + p.parts - 1u) / p.parts;
    let place = columns(index / p.parts, lane);
    let value = reduced(place, part * run, min((part + 1u) * run, p.len), lane);
    if place.inside && lane < place.width {
        scratch[p.scratch + part * p.outer * p.inner + place.element] = value;
    }
}

@compute @workgroup_size(256)
fn reduce_last(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let elements = p.outer * p.inner;
    let element = (group.y * grid.x + group.x) * 256u + lane;
    if element >= elements {
        return;
    }
    var value = identity();
    for (var part = 0u; part < p.parts; part++) {
        value = fold(value, scratch[p.scratch + part * elements + element]);
    }
    y[p.y + element] = scaled(value);
}

// An invocation's column.
struct Place {
    // Columns of the workgroup.
    width: u32,
    // First element of the column in x.
    start: u32,
    // Element of y.
    element: u32,
    inside: bool,
}

fn columns(index: u32, lane: u32) -> Place {
    var width = 1u;
    while width < min(p.inner, 256u) {
        width *= 2u;
    }
    let blocks = (p.inner + width - 1u) / width;
    let outer = index / blocks;
    let column = index % blocks * width + lane % width;
    return Place(
        width,
        p.x + outer * p.len * p.inner + column,
        outer * p.inner + column,
        column < p.inner && outer < p.outer,
    );
}

// The reduction of the rows `first..end` of a column; the first `width` invocations know it.
fn reduced(place: Place, first: u32, end: u32, lane: u32) -> f32 {
    let step = 256u / place.width;
    var a = identity();
    var b = a;
    var c = a;
    var d = a;
    if place.inside {
        var row = first + lane / place.width;
        for (; row + 3u * step < end; row += 4u * step) {
            let at = place.start + row * p.inner;
            a = fold(a, x[at]);
            b = fold(b, x[at + step * p.inner]);
            c = fold(c, x[at + 2u * step * p.inner]);
            d = fold(d, x[at + 3u * step * p.inner]);
        }
        for (; row < end; row += step) {
            a = fold(a, x[place.start + row * p.inner]);
        }
    }
    found[lane] = fold(fold(a, b), fold(c, d));
    for (var half = 128u; half >= place.width; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            found[lane] = fold(found[lane], found[lane + half]);
        }
    }
    return found[lane];
}

fn identity() -> f32 {
    return select(0.0, LOWEST, p.kind == MAX);
}

fn fold(a: f32, b: f32) -> f32 {
    return select(a + b, max(a, b), p.kind == MAX);
}

fn scaled(value: f32) -> f32 {
    return select(value * p.scale, value, p.kind == MAX);
}
