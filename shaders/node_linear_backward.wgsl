// node_linear_backward: dx = dy W_n^T, dW_n = sum_b x^T dy, dpool[j] = sum_n e[n, j] dW_n and
// de[n, j] = sum_co dW_n pool[j], with W_n = sum_j e[n, j] pool[j].
//
// shapes   x, dx [b, n, c], e, de [n, k], pool, dpool [k, c, o], dy [b, n, o], scratch: of `parts` ranges of nodes what
//          they add to dpool, in tiles, [parts, tiles, 8 ceil(k / 8), 32, 32], then of each tile what it adds to de,
//          [tiles, n, 8 ceil(k / 8)]
// launch   `_inputs`: a workgroup of 64 for one node, 32 channels of dx and 256 samples; `_weights`: one of 256 for a
//          range of nodes, a tile of 32 by 32 of dW and 8 prototypes; then one invocation for an element of dpool
//          (`_pool`) and of de (`_embedding`)
// shared   16 KiB
// plan     `_inputs` is node_linear with the transposed weight, mixed into shared memory. `_weights` stages 64 samples
//          of a node at a time, a quarter of which each 64 invocations multiply, 4 by 4 of dW each; the quarters are
//          added in order, after which every invocation owns one vec4 of dW and adds it to its registers of dpool for
//          each prototype: dW never reaches memory. Ranges and tiles are added in order, no atomics
// bound    memory below c = o = 64: 8 (c + o) bytes a row, 60 % of the copy bandwidth expected; multiply-adds above;
//          not measured on a GPU

struct Parameters {
    batch: u32,
    nodes: u32,
    channels: u32,
    out: u32,
    prototypes: u32,
    x: u32,
    e: u32,
    pool: u32,
    dy: u32,
    dx: u32,
    de: u32,
    dpool: u32,
    scratch: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> e: array<f32>;
@group(0) @binding(2) var<storage, read_write> pool: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx_each: array<f32>;
@group(0) @binding(5) var<storage, read_write> de: array<f32>;
@group(0) @binding(6) var<storage, read_write> dpool: array<f32>;
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(7) var<storage, read_write> scratch_fours: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

// Samples of a block, and of a workgroup of `_inputs`; terms of a block of `_inputs`.
const BLOCK = 64u;
const RUN = 256u;
const DEPTH = 32u;

// `_inputs`: [64 columns of y, 8 vec4s of channels] of W_n^T, and [64 samples, 8 vec4s of columns] of dy.
// `_weights`: [64 samples, 8 vec4s] of x and of dy; then the quarters of dW; then shares of de.
var<workgroup> shared_a: array<vec4<f32>, 512>;
var<workgroup> shared_b: array<vec4<f32>, 512>;

// `_inputs`: four channels of 8 samples. `_weights`: four rows of dW, in 0..4.
var<private> acc: array<vec4<f32>, 8>;
// `_weights`: the invocation's vec4 of dpool for 8 prototypes.
var<private> sums: array<vec4<f32>, 8>;

// What an invocation of `_inputs` works on.
struct Place {
    node: u32,
    // First sample of the workgroup, and the end of its samples.
    first: u32,
    end: u32,
    // The invocation's first channel of dx.
    channel: u32,
}

// What an invocation of `_weights` works on.
struct Tile {
    // A range of nodes and a block of 8 prototypes.
    part: u32,
    block: u32,
    // Number, first channel and first column of the tile of dW.
    number: u32,
    row: u32,
    column: u32,
    // The invocation's row of the tile, and its first column.
    channel: u32,
    ours: u32,
}

// What a node's dW adds to de for 8 prototypes.
struct Shares {
    low: vec4<f32>,
    high: vec4<f32>,
}

// Where the number of channels is a multiple of four.
@compute @workgroup_size(64)
fn node_linear_backward_inputs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    if place.first >= p.batch {
        return;
    }
    for (var block = place.first; block < place.end; block += BLOCK) {
        multiply(place, block, lane);
        let sample = block + lane / 8u * 8u;
        store(place, sample, acc[0]);
        store(place, sample + 1u, acc[1]);
        store(place, sample + 2u, acc[2]);
        store(place, sample + 3u, acc[3]);
        store(place, sample + 4u, acc[4]);
        store(place, sample + 5u, acc[5]);
        store(place, sample + 6u, acc[6]);
        store(place, sample + 7u, acc[7]);
    }
}

// Any number of channels.
@compute @workgroup_size(64)
fn node_linear_backward_inputs_each(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = place_of(group.y * grid.x + group.x, lane);
    if place.first >= p.batch {
        return;
    }
    for (var block = place.first; block < place.end; block += BLOCK) {
        multiply(place, block, lane);
        let sample = block + lane / 8u * 8u;
        store_each(place, sample, acc[0]);
        store_each(place, sample + 1u, acc[1]);
        store_each(place, sample + 2u, acc[2]);
        store_each(place, sample + 3u, acc[3]);
        store_each(place, sample + 4u, acc[4]);
        store_each(place, sample + 5u, acc[5]);
        store_each(place, sample + 6u, acc[6]);
        store_each(place, sample + 7u, acc[7]);
    }
}

@compute @workgroup_size(256)
fn node_linear_backward_weights(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = tile_of(group.y * grid.x + group.x, lane);
    if tile.part >= p.parts {
        return;
    }
    sums = array<vec4<f32>, 8>();
    let run = (p.nodes + p.parts - 1u) / p.parts;
    for (var node = tile.part * run; node < min((tile.part + 1u) * run, p.nodes); node++) {
        let dw = weight_gradient(node, tile, lane);
        add_node(node, tile.block, dw);
        let total = add_up(shares_of(tile, dw), lane);
        if lane == 0u {
            store_shares(node, tile, total);
        }
    }
    store_sums(tile, lane);
}

@compute @workgroup_size(256)
fn node_linear_backward_weights_subgroups(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) invocation: u32,
) {
    let tile = tile_of(group.y * grid.x + group.x, lane);
    if tile.part >= p.parts {
        return;
    }
    sums = array<vec4<f32>, 8>();
    let run = (p.nodes + p.parts - 1u) / p.parts;
    for (var node = tile.part * run; node < min((tile.part + 1u) * run, p.nodes); node++) {
        let dw = weight_gradient(node, tile, lane);
        add_node(node, tile.block, dw);
        let ours = shares_of(tile, dw);
        let low = subgroupAdd(ours.low);
        let high = subgroupAdd(ours.high);
        if invocation == 0u {
            shared_a[subgroup] = low;
            shared_b[subgroup] = high;
        }
        workgroupBarrier();
        if lane == 0u {
            var total = Shares(shared_a[0], shared_b[0]);
            for (var i = 1u; i < subgroups; i++) {
                total = Shares(total.low + shared_a[i], total.high + shared_b[i]);
            }
            store_shares(node, tile, total);
        }
    }
    store_sums(tile, lane);
}

@compute @workgroup_size(256)
fn node_linear_backward_pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i >= p.prototypes * p.channels * p.out {
        return;
    }
    let column = i % p.out;
    let channel = i / p.out % p.channels;
    let tile = channel / 32u * ((p.out + 31u) / 32u) + column / 32u;
    let prototype = i / p.out / p.channels;
    let at = p.scratch + (tile * blocks() * 8u + prototype) * 1024u + channel % 32u * 32u + column % 32u;
    let step = tiles() * blocks() * 8192u;
    var sum = vec4(0.0);
    var part = 0u;
    for (; part + 4u <= p.parts; part += 4u) {
        let start = at + part * step;
        sum += vec4(scratch[start], scratch[start + step], scratch[start + 2u * step], scratch[start + 3u * step]);
    }
    var total = (sum.x + sum.y) + (sum.z + sum.w);
    for (; part < p.parts; part++) {
        total += scratch[at + part * step];
    }
    dpool[p.dpool + i] = total;
}

@compute @workgroup_size(256)
fn node_linear_backward_embedding(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * grid.x + group.x) * 256u + lane;
    if i >= p.nodes * p.prototypes {
        return;
    }
    let at = embedding_start() + i / p.prototypes * blocks() * 8u + i % p.prototypes;
    var sum = 0.0;
    for (var tile = 0u; tile < tiles(); tile++) {
        sum += scratch[at + tile * p.nodes * blocks() * 8u];
    }
    de[p.de + i] = sum;
}

// Tiles of dW, and blocks of prototypes.
fn tiles() -> u32 {
    return ((p.channels + 31u) / 32u) * ((p.out + 31u) / 32u);
}

fn blocks() -> u32 {
    return (p.prototypes + 7u) / 8u;
}

// Where the shares of de start in the scratch memory.
fn embedding_start() -> u32 {
    return p.scratch + p.parts * tiles() * blocks() * 8192u;
}

fn tile_of(index: u32, lane: u32) -> Tile {
    let number = index % tiles();
    let across = (p.out + 31u) / 32u;
    let row = number / across * 32u;
    let column = number % across * 32u;
    return Tile(
        index / tiles() / blocks(),
        index / tiles() % blocks(),
        number,
        row,
        column,
        row + lane / 8u,
        column + lane % 8u * 4u,
    );
}

// Adds a node's dW to the sums of 8 prototypes; what those past the last one hold is never read.
fn add_node(node: u32, block: u32, dw: vec4<f32>) {
    let at = p.e + node * p.prototypes + block * 8u;
    let last = min(p.prototypes - block * 8u, 8u) - 1u;
    sums[0] = fma(vec4(e[at]), dw, sums[0]);
    sums[1] = fma(vec4(e[at + min(1u, last)]), dw, sums[1]);
    sums[2] = fma(vec4(e[at + min(2u, last)]), dw, sums[2]);
    sums[3] = fma(vec4(e[at + min(3u, last)]), dw, sums[3]);
    sums[4] = fma(vec4(e[at + min(4u, last)]), dw, sums[4]);
    sums[5] = fma(vec4(e[at + min(5u, last)]), dw, sums[5]);
    sums[6] = fma(vec4(e[at + min(6u, last)]), dw, sums[6]);
    sums[7] = fma(vec4(e[at + min(7u, last)]), dw, sums[7]);
}

fn shares_of(tile: Tile, dw: vec4<f32>) -> Shares {
    let j = tile.block * 8u;
    let low = vec4(
        dot(dw, fetch_pool(j, tile.channel, tile.ours)),
        dot(dw, fetch_pool(j + 1u, tile.channel, tile.ours)),
        dot(dw, fetch_pool(j + 2u, tile.channel, tile.ours)),
        dot(dw, fetch_pool(j + 3u, tile.channel, tile.ours)),
    );
    let high = vec4(
        dot(dw, fetch_pool(j + 4u, tile.channel, tile.ours)),
        dot(dw, fetch_pool(j + 5u, tile.channel, tile.ours)),
        dot(dw, fetch_pool(j + 6u, tile.channel, tile.ours)),
        dot(dw, fetch_pool(j + 7u, tile.channel, tile.ours)),
    );
    return Shares(low, high);
}

fn store_shares(node: u32, tile: Tile, total: Shares) {
    let to = embedding_start() / 4u + ((tile.number * p.nodes + node) * blocks() + tile.block) * 2u;
    scratch_fours[to] = total.low;
    scratch_fours[to + 1u] = total.high;
}

fn store_sums(tile: Tile, lane: u32) {
    let to = p.scratch / 4u + ((tile.part * tiles() + tile.number) * blocks() + tile.block) * 2048u + lane;
    scratch_fours[to] = sums[0];
    scratch_fours[to + 256u] = sums[1];
    scratch_fours[to + 512u] = sums[2];
    scratch_fours[to + 768u] = sums[3];
    scratch_fours[to + 1024u] = sums[4];
    scratch_fours[to + 1280u] = sums[5];
    scratch_fours[to + 1536u] = sums[6];
    scratch_fours[to + 1792u] = sums[7];
}

// The invocation's vec4 of a tile of dW: the sum over all samples of x^T dy.
fn weight_gradient(node: u32, tile: Tile, lane: u32) -> vec4<f32> {
    acc = array<vec4<f32>, 8>();
    let quarter = lane / 64u;
    let r = lane % 64u / 8u;
    let c = lane % 8u;
    for (var block = 0u; block < p.batch; block += BLOCK) {
        workgroupBarrier();
        for (var i = lane / 8u; i < BLOCK; i += 32u) {
            shared_a[i * 8u + c] = fetch_x(node, block + i, tile.row + c * 4u);
            shared_b[i * 8u + c] = fetch_dy(node, block + i, tile.column + c * 4u, p.batch);
        }
        workgroupBarrier();
        for (var i = quarter * 16u; i < min(quarter * 16u + 16u, p.batch - block); i++) {
            let a = shared_a[i * 8u + r];
            let b = shared_b[i * 8u + c];
            acc[0] = fma(vec4(a.x), b, acc[0]);
            acc[1] = fma(vec4(a.y), b, acc[1]);
            acc[2] = fma(vec4(a.z), b, acc[2]);
            acc[3] = fma(vec4(a.w), b, acc[3]);
        }
    }
    // Two quarters in each array, [32, 8] each.
    workgroupBarrier();
    let at = quarter % 2u * 256u + r * 32u + c;
    if quarter < 2u {
        shared_a[at] = acc[0];
        shared_a[at + 8u] = acc[1];
        shared_a[at + 16u] = acc[2];
        shared_a[at + 24u] = acc[3];
    } else {
        shared_b[at] = acc[0];
        shared_b[at + 8u] = acc[1];
        shared_b[at + 16u] = acc[2];
        shared_b[at + 24u] = acc[3];
    }
    workgroupBarrier();
    let dw = (shared_a[lane] + shared_a[lane + 256u]) + (shared_b[lane] + shared_b[lane + 256u]);
    workgroupBarrier();
    return dw;
}

// The workgroup's sum, always in the same order.
fn add_up(shares: Shares, lane: u32) -> Shares {
    shared_a[lane] = shares.low;
    shared_b[lane] = shares.high;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            shared_a[lane] += shared_a[lane + half];
        } else if lane < 2u * half {
            shared_b[lane - half] += shared_b[lane];
        }
    }
    workgroupBarrier();
    return Shares(shared_a[0], shared_b[0]);
}
