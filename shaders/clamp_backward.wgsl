// clamp_backward: dx = dy where low <= x <= high, else 0.
//
// shapes   x, dy, dx [len] = [.., n], low, high [n], whose loads stay in the cache
// launch   one invocation for four elements, 256 a workgroup
// plan     load a vec4 of each operand, compute, store a vec4; the last invocation stores what is left of a row of four
// bound    memory: 12 bytes an element, 80 % of the copy bandwidth expected; not measured on a GPU

struct Parameters {
    len: u32,
    n: u32,
    x: u32,
    low: u32,
    high: u32,
    dy: u32,
    dx: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> low: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> high: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(256)
fn clamp_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if 4u * i >= p.len {
        return;
    }
    let c = columns(i);
    let here = x[p.x / 4u + i];
    let inside = (lowest(c) <= here) & (here <= highest(c));
    let value = select(vec4(0.0), dy[p.dy / 4u + i], inside);
    store_dx(i, value);
}

fn store_dx(i: u32, value: vec4<f32>) {
    let at = p.dx / 4u + i;
    if 4u * i + 4u <= p.len {
        dx[at] = value;
    } else {
        for (var k = 0u; k < p.len - 4u * i; k++) {
            dx[at][k] = value[k];
        }
    }
}

// The bounds of the elements 4 i and after: those of their columns.
fn columns(i: u32) -> vec4<u32> {
    return (4u * i + vec4(0u, 1u, 2u, 3u)) % p.n;
}

fn lowest(c: vec4<u32>) -> vec4<f32> {
    let at = p.low + c;
    return vec4(
        low[at.x / 4u][at.x % 4u],
        low[at.y / 4u][at.y % 4u],
        low[at.z / 4u][at.z % 4u],
        low[at.w / 4u][at.w % 4u],
    );
}

fn highest(c: vec4<u32>) -> vec4<f32> {
    let at = p.high + c;
    return vec4(
        high[at.x / 4u][at.x % 4u],
        high[at.y / 4u][at.y % 4u],
        high[at.z / 4u][at.z % 4u],
        high[at.w / 4u][at.w % 4u],
    );
}
