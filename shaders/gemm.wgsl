// gemm: c[b] = op(a[b]) op(b[b]) + bias.
//
// shapes   op(a) [m, k], op(b) [k, n], c [m, n], bias [n]; stored [k, m] and [n, k] where transposed
// launch   a workgroup of 64 for a tile of 64 by 64 of c; with several parts each takes a run of k and leaves its sums
//          in the scratch memory [parts, tiles, 64, 64], which a second stage adds in order, 256 vec4s a workgroup.
//          A product too small for a tile: one invocation for an element of c, 64 a workgroup
// shared   8 KiB: 16 terms of 64 rows and of 64 columns; some 120 registers
// plan     an invocation holds 8 by 8 sums as four blocks of 4 by 4, so that neighbours read neighbouring vec4s of the
//          shared tiles (no bank conflicts): 4 loads for 64 multiply-adds. Blocks of 4 by 4 come by vec4 loads and
//          are transposed in registers where they are stored the other way. The next blocks are loaded while these are
//          used.
// bound    multiply-adds: 55 % of the peak expected on desktop GPUs, memory below k = 64
// measured 512^3 on Mesa 22.3 llvmpipe, 2 cores of an EPYC (2026-11): 5.7 GFLOP/s;
//          not measured on a GPU

struct Parameters {
    batch: u32,
    m: u32,
    n: u32,
    k: u32,
    transpose_a: u32,
    transpose_b: u32,
    a_stride: u32,
    b_stride: u32,
    a: u32,
    b: u32,
    bias: u32,
    c: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> a: array<vec4<f32>>;
@group(0) @binding(0) var<storage, read_write> a_each: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> b_each: array<f32>;
@group(0) @binding(2) var<storage, read_write> bias: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> bias_each: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c_each: array<f32>;
@group(0) @binding(4) var<storage, read_write> scratch: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

const ABSENT = 0xffffffffu;
// Rows and columns of a tile, and terms that are shared at a time.
const TILE = 64u;
const DEPTH = 16u;

// [DEPTH, TILE], vec4s along the rows of op(a) and along the columns of op(b).
var<workgroup> shared_a: array<vec4<f32>, 256>;
var<workgroup> shared_b: array<vec4<f32>, 256>;

// Row r of the invocation's sums: columns 0..4 in acc[2 r], columns 32..36 in acc[2 r + 1].
var<private> acc: array<vec4<f32>, 16>;

// A tile of c, and the invocation's first row and column.
struct Tile {
    batch: u32,
    row: u32,
    column: u32,
}

// Few terms of few elements: all of a and b comes from the cache.
@compute @workgroup_size(64)
fn gemm_small(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 64u + lane;
    if i >= p.batch * p.m * p.n {
        return;
    }
    let row = i / p.n % p.m;
    let column = i % p.n;
    let batch = i / p.n / p.m;
    let step_a = select(1u, p.m, p.transpose_a == 1u);
    let step_b = select(p.n, 1u, p.transpose_b == 1u);
    var at_a = p.a + batch * p.a_stride + select(row * p.k, row, p.transpose_a == 1u);
    var at_b = p.b + batch * p.b_stride + select(column, column * p.k, p.transpose_b == 1u);
    var sum = 0.0;
    for (var k = 0u; k < p.k; k++) {
        sum = fma(a_each[at_a], b_each[at_b], sum);
        at_a += step_a;
        at_b += step_b;
    }
    if p.bias != ABSENT {
        sum += bias_each[p.bias + column];
    }
    c_each[p.c + i] = sum;
}

// Where n is a multiple of four.
@compute @workgroup_size(64)
fn gemm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = tile_of(group.y * grid.x + group.x, lane);
    if tile.batch >= p.batch {
        return;
    }
    multiply(tile, 0u, p.k, lane);
    store(tile, 0u, 0u, acc[0]);
    store(tile, 0u, 32u, acc[1]);
    store(tile, 1u, 0u, acc[2]);
    store(tile, 1u, 32u, acc[3]);
    store(tile, 2u, 0u, acc[4]);
    store(tile, 2u, 32u, acc[5]);
    store(tile, 3u, 0u, acc[6]);
    store(tile, 3u, 32u, acc[7]);
    store(tile, 32u, 0u, acc[8]);
    store(tile, 32u, 32u, acc[9]);
    store(tile, 33u, 0u, acc[10]);
    store(tile, 33u, 32u, acc[11]);
    store(tile, 34u, 0u, acc[12]);
    store(tile, 34u, 32u, acc[13]);
    store(tile, 35u, 0u, acc[14]);
    store(tile, 35u, 32u, acc[15]);
}

// Any n.
@compute @workgroup_size(64)
fn gemm_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = tile_of(group.y * grid.x + group.x, lane);
    if tile.batch >= p.batch {
        return;
    }
    multiply(tile, 0u, p.k, lane);
    store_each(tile, 0u, 0u, acc[0]);
    store_each(tile, 0u, 32u, acc[1]);
    store_each(tile, 1u, 0u, acc[2]);
    store_each(tile, 1u, 32u, acc[3]);
    store_each(tile, 2u, 0u, acc[4]);
    store_each(tile, 2u, 32u, acc[5]);
    store_each(tile, 3u, 0u, acc[6]);
    store_each(tile, 3u, 32u, acc[7]);
    store_each(tile, 32u, 0u, acc[8]);
    store_each(tile, 32u, 32u, acc[9]);
    store_each(tile, 33u, 0u, acc[10]);
    store_each(tile, 33u, 32u, acc[11]);
    store_each(tile, 34u, 0u, acc[12]);
    store_each(tile, 34u, 32u, acc[13]);
    store_each(tile, 35u, 0u, acc[14]);
    store_each(tile, 35u, 32u, acc[15]);
}

// A part of the terms, its sums left in the scratch memory.
@compute @workgroup_size(64)
fn gemm_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * grid.x + group.x;
    let part = index / tiles();
    if part >= p.parts {
        return;
    }
    let run = (p.k + p.parts * DEPTH - 1u) / (p.parts * DEPTH) * DEPTH;
    multiply(tile_of(index % tiles(), lane), part * run, min((part + 1u) * run, p.k), lane);
    let at = p.scratch / 4u + index * 1024u + lane / 8u * 64u + lane % 8u;
    scratch[at + 0u] = acc[0];
    scratch[at + 8u] = acc[1];
    scratch[at + 16u] = acc[2];
    scratch[at + 24u] = acc[3];
    scratch[at + 32u] = acc[4];
    scratch[at + 40u] = acc[5];
    scratch[at + 48u] = acc[6];
    scratch[at + 56u] = acc[7];
    scratch[at + 512u] = acc[8];
    scratch[at + 520u] = acc[9];
    scratch[at + 528u] = acc[10];
    scratch[at + 536u] = acc[11];
    scratch[at + 544u] = acc[12];
    scratch[at + 552u] = acc[13];
    scratch[at + 560u] = acc[14];
    scratch[at + 568u] = acc[15];
}

@compute @workgroup_size(256)
fn gemm_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i < tiles() * 1024u {
        store(tile_of(i / 1024u, 0u), i % 1024u / 16u, i % 16u * 4u, sum(i));
    }
}

@compute @workgroup_size(256)
fn gemm_sum_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i < tiles() * 1024u {
        store_each(tile_of(i / 1024u, 0u), i % 1024u / 16u, i % 16u * 4u, sum(i));
    }
}

// The sum of all parts of a vec4 of the tiles.
fn sum(i: u32) -> vec4<f32> {
    var total = vec4(0.0);
    for (var part = 0u; part < p.parts; part++) {
        total += scratch[p.scratch / 4u + part * tiles() * 1024u + i];
    }
    return total;
}

fn tiles() -> u32 {
    return p.batch * ((p.m + TILE - 1u) / TILE) * ((p.n + TILE - 1u) / TILE);
}

fn tile_of(index: u32, lane: u32) -> Tile {
    let across = (p.n + TILE - 1u) / TILE;
    let down = (p.m + TILE - 1u) / TILE;
    let row = index / across % down * TILE + lane / 8u * 4u;
    return Tile(index / across / down, row, index % across * TILE + lane % 8u * 4u);
}

// acc = the terms first..end of the products of a tile.
fn multiply(tile: Tile, first: u32, end: u32, lane: u32) {
    acc = array<vec4<f32>, 16>();
    // The block of 4 terms by 4 rows, or columns, that the invocation fetches.
    let term = lane / 16u * 4u;
    let line = lane % 16u * 4u;
    let at = term * 16u + line / 4u;
    let row = tile.row - lane / 8u * 4u + line;
    let column = tile.column - lane % 8u * 4u + line;
    var block_a = fetch_a(tile.batch, first + term, row, end);
    var block_b = fetch_b(tile.batch, first + term, column, end);
    for (var done = first; done < end; done += DEPTH) {
        workgroupBarrier();
        shared_a[at] = block_a[0];
        shared_a[at + 16u] = block_a[1];
        shared_a[at + 32u] = block_a[2];
        shared_a[at + 48u] = block_a[3];
        shared_b[at] = block_b[0];
        shared_b[at + 16u] = block_b[1];
        shared_b[at + 32u] = block_b[2];
        shared_b[at + 48u] = block_b[3];
        workgroupBarrier();
        block_a = fetch_a(tile.batch, done + DEPTH + term, row, end);
        block_b = fetch_b(tile.batch, done + DEPTH + term, column, end);
        for (var k = 0u; k < DEPTH; k++) {
            let a_low = shared_a[k * 16u + lane / 8u];
            let a_high = shared_a[k * 16u + lane / 8u + 8u];
            let b_low = shared_b[k * 16u + lane % 8u];
            let b_high = shared_b[k * 16u + lane % 8u + 8u];
            acc[0] = fma(vec4(a_low.x), b_low, acc[0]);
            acc[1] = fma(vec4(a_low.x), b_high, acc[1]);
            acc[2] = fma(vec4(a_low.y), b_low, acc[2]);
            acc[3] = fma(vec4(a_low.y), b_high, acc[3]);
            acc[4] = fma(vec4(a_low.z), b_low, acc[4]);
            acc[5] = fma(vec4(a_low.z), b_high, acc[5]);
            acc[6] = fma(vec4(a_low.w), b_low, acc[6]);
            acc[7] = fma(vec4(a_low.w), b_high, acc[7]);
            acc[8] = fma(vec4(a_high.x), b_low, acc[8]);
            acc[9] = fma(vec4(a_high.x), b_high, acc[9]);
            acc[10] = fma(vec4(a_high.y), b_low, acc[10]);
            acc[11] = fma(vec4(a_high.y), b_high, acc[11]);
            acc[12] = fma(vec4(a_high.z), b_low, acc[12]);
            acc[13] = fma(vec4(a_high.z), b_high, acc[13]);
            acc[14] = fma(vec4(a_high.w), b_low, acc[14]);
            acc[15] = fma(vec4(a_high.w), b_high, acc[15]);
        }
    }
}

// Terms `term..term + 4` by rows `row..row + 4` of op(a), zeros past the end.
fn fetch_a(batch: u32, term: u32, row: u32, end: u32) -> mat4x4<f32> {
    let start = p.a + batch * p.a_stride;
    if p.transpose_a == 1u {
        return mat4x4(
            line_a(start, term, end, row, p.m),
            line_a(start, term + 1u, end, row, p.m),
            line_a(start, term + 2u, end, row, p.m),
            line_a(start, term + 3u, end, row, p.m),
        );
    }
    let block = mat4x4(
        line_a(start, row, p.m, term, p.k),
        line_a(start, row + 1u, p.m, term, p.k),
        line_a(start, row + 2u, p.m, term, p.k),
        line_a(start, row + 3u, p.m, term, p.k),
    );
    return transpose(block);
}

// Terms `term..term + 4` by columns `column..column + 4` of op(b), zeros past the end.
fn fetch_b(batch: u32, term: u32, column: u32, end: u32) -> mat4x4<f32> {
    let start = p.b + batch * p.b_stride;
    if p.transpose_b == 0u {
        return mat4x4(
            line_b(start, term, end, column, p.n),
            line_b(start, term + 1u, end, column, p.n),
            line_b(start, term + 2u, end, column, p.n),
            line_b(start, term + 3u, end, column, p.n),
        );
    }
    let block = mat4x4(
        line_b(start, column, p.n, term, p.k),
        line_b(start, column + 1u, p.n, term, p.k),
        line_b(start, column + 2u, p.n, term, p.k),
        line_b(start, column + 3u, p.n, term, p.k),
    );
    return transpose(block);
}

// Four numbers from `at` on of a stored line of `width` numbers, zeros past the end of the lines or of the line.
fn line_a(start: u32, line: u32, lines: u32, at: u32, width: u32) -> vec4<f32> {
    if line >= lines || at >= width {
        return vec4(0.0);
    }
    let i = start + line * width + at;
    if (start | width) % 4u == 0u {
        return a[i / 4u];
    }
    var four = vec4(a[i / 4u][i % 4u], 0.0, 0.0, 0.0);
    if at + 1u < width {
        four.y = a[(i + 1u) / 4u][(i + 1u) % 4u];
    }
    if at + 2u < width {
        four.z = a[(i + 2u) / 4u][(i + 2u) % 4u];
    }
    if at + 3u < width {
        four.w = a[(i + 3u) / 4u][(i + 3u) % 4u];
    }
    return four;
}

// Four numbers from `at` on of a stored line of `width` numbers, zeros past the end of the lines or of the line.
fn line_b(start: u32, line: u32, lines: u32, at: u32, width: u32) -> vec4<f32> {
    if line >= lines || at >= width {
        return vec4(0.0);
    }
    let i = start + line * width + at;
    if (start | width) % 4u == 0u {
        return b[i / 4u];
    }
    var four = vec4(b[i / 4u][i % 4u], 0.0, 0.0, 0.0);
    if at + 1u < width {
        four.y = b[(i + 1u) / 4u][(i + 1u) % 4u];
    }
    if at + 2u < width {
        four.z = b[(i + 2u) / 4u][(i + 2u) % 4u];
    }
    if at + 3u < width {
        four.w = b[(i + 3u) / 4u][(i + 3u) % 4u];
    }
    return four;
}

fn biased(column: u32, value: vec4<f32>) -> vec4<f32> {
    if p.bias == ABSENT {
        return value;
    }
    return value + bias[(p.bias + column) / 4u];
}

fn store(tile: Tile, row: u32, column: u32, value: vec4<f32>) {
    let i = tile.row + row;
    let j = tile.column + column;
    if i < p.m && j < p.n {
        c[(p.c + (tile.batch * p.m + i) * p.n + j) / 4u] = biased(j, value);
    }
}

// Number by number: a vec4 of c may belong to two rows, and two invocations must not write one.
fn store_each(tile: Tile, row: u32, column: u32, value: vec4<f32>) {
    let i = tile.row + row;
    let j = tile.column + column;
    if i < p.m && j < p.n {
        let four = biased(j, value);
        for (var k = 0u; k < min(p.n - j, 4u); k++) {
            c_each[p.c + (tile.batch * p.m + i) * p.n + j + k] = four[k];
        }
    }
}
