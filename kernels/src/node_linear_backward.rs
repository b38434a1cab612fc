//! `node_linear_backward`: the gradients of [`node_linear`](crate::node_linear).
//!
//! dx = dy W_n^T, dW_n = sum_b x^T dy, `dpool[j] = sum_n e[n, j] dW_n`, `de[n, j] = sum_co dW_n pool[j]`. Shapes: x, dx
//! `[b, n, c]`, e, de `[n, k]`, pool, dpool `[k, c, o]`, dy `[b, n, o]`. A task is a range of nodes with its own dpool,
//! added in the order of the ranges. Tile by tile it mixes W^T from the transposed pool and sums dW in scratch over
//! blocks of samples; neither outlives its tile. Bound by the products.

use crate::gemm_tile::{add_product, product};
use crate::node_linear::{BLOCK, Params, SIDE, TILE, load, split_nodes, store};
use crate::softmax_attention::transpose;
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Precision, Ptx, Real, Target, partials, simd};
use rayon::prelude::*;

/// dx, de and dpool.
pub static NODE_LINEAR_BACKWARD: Kernel<Params> = Kernel {
    name: "node_linear_backward",
    buffers: &[
        ("x", Access::Read),
        ("e", Access::Read),
        ("pool", Access::Read),
        ("dy", Access::Read),
        ("dx", Access::Write),
        ("de", Access::Write),
        ("dpool", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("node_linear_backward.wgsl", include_str!("../../shaders/node_linear_backward.wgsl")),
            ("node_linear_backward.inputs.wgsl", include_str!("../../shaders/node_linear_backward.inputs.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("node_linear_backward.ptx", include_str!("../ptx/node_linear_backward.ptx")),
            ("node_linear_backward.sum.ptx", include_str!("../ptx/node_linear_backward.sum.ptx")),
            ("node_linear_backward.whole.ptx", include_str!("../ptx/node_linear_backward.whole.ptx")),
            (
                "node_linear_backward.whole.sm_80.tf32.ptx",
                include_str!("../ptx/node_linear_backward.whole.sm_80.tf32.ptx"),
            ),
            ("node_linear_backward.sm_80.tf32.ptx", include_str!("../ptx/node_linear_backward.sm_80.tf32.ptx")),
            ("node_linear_backward.sm_80.bf16.ptx", include_str!("../ptx/node_linear_backward.sm_80.bf16.ptx")),
        ],
        dispatches: launches,
    },
    cost: |p, _| {
        let [b, n, c, o, k] = [p.batch, p.nodes, p.channels, p.out, p.prototypes].map(u64::from);
        Cost { flops: 2 * n * c * o * (2 * b + 3 * k), bytes: 4 * (b * n * (2 * c + o) + 2 * (n * k + k * c * o)) }
    },
};

/// All gradients at once where a weight is one tile, else dx node by node and the gradients of the weights over ranges of
/// nodes; the sums over nodes or ranges follow.
fn launches(p: &Params, target: &Target) -> Dispatches {
    let (parts, numbers) = p.left_for_pool();
    if p.channels.max(p.out) <= SIDE && numbers <= MOST_NUMBERS {
        // Memory bounds it: bf16 would not be faster than tf32.
        let whole = match p.factors(target) {
            Precision::F32 => "node_linear_backward_whole",
            Precision::Tf32 | Precision::Bf16 => "node_linear_backward_whole_tf32",
        };
        let blocks = (p.channels * p.out).div_ceil(8) * p.prototypes.div_ceil(8);
        return Dispatches::with_scratch(parts, numbers.div_ceil(parts as usize))
            .then(whole, parts)
            .then("node_linear_backward_pool", blocks);
    }
    let (inputs, weights) = match p.factors(target) {
        Precision::F32 => ("node_linear_backward", "node_linear_backward_weights"),
        Precision::Tf32 => ("node_linear_backward_tf32", "node_linear_backward_weights_tf32"),
        Precision::Bf16 => ("node_linear_backward_bf16", "node_linear_backward_weights_bf16"),
    };
    let (rows, columns) = (p.channels.div_ceil(SIDE), p.out.div_ceil(SIDE));
    let tiles = rows * columns;
    let parts = p.nodes.div_ceil(p.run(tiles)).max(1);
    // dpool of every part by tiles, then de of every tile by warps.
    let (tile, e) = ((p.prototypes * SIDE * SIDE) as usize, (4 * p.nodes * p.prototypes) as usize);
    Dispatches::with_scratch(parts, tiles as usize * (tile + e.div_ceil(parts as usize)))
        .then(inputs, p.nodes * rows)
        .then(weights, parts * tiles)
        .then("node_linear_backward_sum", (p.prototypes * (p.channels * p.out + p.nodes)).div_ceil(256))
}

/// Numbers of scratch memory where all gradients are found at once, 256 MiB at most.
const MOST_NUMBERS: usize = 1 << 26;

impl Params {
    /// Blocks that find all gradients at once, and the numbers that they leave for dpool: a dpool each where blocks hold
    /// its prototypes and that is less than dW of every node. As many as move 5 % of the bytes of x, dy and dx, from 128
    /// to 1024; a block a node where they leave dW.
    fn left_for_pool(&self) -> (u32, usize) {
        let [n, c, o, k] = self.sizes();
        let most = self.batch as usize * n * (2 * c + o) / (40 * k * c * o).max(1);
        let run = n.div_ceil(most.clamp(128, 1024)).max(1);
        let parts = n.div_ceil(run).max(1);
        if k <= 8 && parts * k < n { (parts as u32, parts * k * c * o) } else { (self.nodes.max(1), n * c * o) }
    }

    /// Nodes of a block: as many as leave no more than 512 blocks; then, as long as 128 remain, as many as it takes to
    /// read more of x and dy than of dpool, which is written, read for the next node and read for the sum.
    fn run(&self, tiles: u32) -> u32 {
        let least = |blocks: u32| self.nodes.div_ceil((blocks / tiles.max(1)).max(1)).max(1);
        let (rows, columns) = (self.channels.min(SIDE), self.out.min(SIDE));
        let enough = (3 * self.prototypes * rows * columns).div_ceil((self.batch * (rows + columns)).max(1));
        enough.clamp(least(512), least(128))
    }
}

/// Ranges of nodes enough for a whole GPU, with partial gradients of at most 64 MiB.
fn dispatches(p: &Params, limits: &Limits) -> Dispatches {
    let tiles = p.channels.div_ceil(32) * p.out.div_ceil(32);
    let blocks = p.prototypes.div_ceil(8);
    let tasks = tiles * blocks;
    let parts = (1024 / tasks.max(1)).min((1 << 24) / (tasks * 8192).max(1)).clamp(1, p.nodes.max(1));
    let shares = (tiles * p.nodes * blocks * 8).div_ceil(parts);
    let fours = p.channels.is_multiple_of(4);
    let inputs = if fours { "node_linear_backward_inputs" } else { "node_linear_backward_inputs_each" };
    let weights = match limits.subgroups {
        true => "node_linear_backward_weights_subgroups",
        false => "node_linear_backward_weights",
    };
    Dispatches::with_scratch(parts, (tasks * 8192 + shares) as usize)
        .then(inputs, p.nodes * p.channels.div_ceil(32) * p.batch.div_ceil(256))
        .then(weights, parts * tasks)
        .then("node_linear_backward_pool", (p.prototypes * p.channels * p.out).div_ceil(256))
        .then("node_linear_backward_embedding", (p.nodes * p.prototypes).div_ceil(256))
}

struct Operands<'a, T> {
    x: &'a [T],
    e: &'a [T],
    pool: &'a [T],
    /// Every prototype transposed, `[k, o, c]`.
    transposed: &'a [T],
    dy: &'a [T],
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let [x, e, pool, dy] = std::array::from_fn(|_| buffers.read::<T>());
    let [dx, de, dpool] = std::array::from_fn(|_| buffers.write::<T>());
    let [n, c, o, k] = p.sizes();
    if dx.is_empty() || dy.is_empty() || de.is_empty() {
        [dx, de, dpool].into_iter().for_each(|d| d.fill(T::ZERO));
        return;
    }
    let mut transposed = vec![T::ZERO; pool.len()];
    for (pool, transposed) in pool.chunks_exact(c * o).zip(transposed.chunks_exact_mut(c * o)) {
        transpose(pool, o, transposed);
    }
    let operands = Operands { x, e, pool, transposed: &transposed, dy };
    let nodes = p.nodes_of_a_task();
    let tasks = split_nodes(dx, n * c, nodes * c).into_par_iter().zip(de.par_chunks_mut(nodes * k));
    let sums: Vec<Vec<T>> = tasks
        .enumerate()
        .map(|(task, (mut dx, de))| {
            T::vectorized(
                #[inline(always)]
                || range(p, &operands, task * nodes, &mut dx, de),
            )
        })
        .collect();
    partials::sum_into(dpool, &sums.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

/// dx and de of the nodes from `start` on; returns their part of dpool.
#[inline(always)]
fn range<T: Real>(p: &Params, operands: &Operands<'_, T>, start: usize, dx: &mut [&mut [T]], de: &mut [T]) -> Vec<T> {
    let [n, c, o, k] = p.sizes();
    let Operands { x, e, pool, transposed, dy } = *operands;
    let mut dpool = vec![T::ZERO; k * c * o];
    let mut scratch = vec![T::ZERO; TILE * (2 * c * o + BLOCK * (2 * c + o))];
    let (weights, rest) = scratch.split_at_mut(TILE * c * o);
    let (dw, rest) = rest.split_at_mut(TILE * c * o);
    let (xs, rest) = rest.split_at_mut(BLOCK * TILE * c);
    let (dxs, dys) = rest.split_at_mut(BLOCK * TILE * c);
    for (at, de) in de.chunks_mut(TILE * k).enumerate() {
        let (first, tile) = (start + at * TILE, de.len() / k);
        let e = &e[first * k..];
        dw.fill(T::ZERO);
        product((tile, c * o, k), (e, k, 1), (transposed, c * o), (weights, c * o));
        for (block, dx) in dx.chunks_mut(BLOCK).enumerate() {
            let samples = dx.len();
            load(&x[block * BLOCK * n * c..], n * c, first * c, &mut xs[..samples * tile * c], tile * c);
            load(&dy[block * BLOCK * n * o..], n * o, first * o, &mut dys[..samples * tile * o], tile * o);
            for i in 0..tile {
                let (x, dy) = (&xs[i * c..], &dys[i * o..]);
                let weight = (&weights[i * c * o..], c);
                product((samples, c, o), (dy, tile * o, 1), weight, (&mut dxs[i * c..], tile * c));
                add_product((c, o, samples), (x, 1, tile * c), (dy, tile * o), (&mut dw[i * c * o..], o));
            }
            store(&dxs[..samples * tile * c], tile * c, dx, at * TILE * c);
        }
        add_product((k, c * o, tile), (e, 1, k), (dw, c * o), (&mut dpool, c * o));
        for (de, dw) in de.chunks_exact_mut(k).zip(dw.chunks_exact(c * o)) {
            for (de, pool) in de.iter_mut().zip(pool.chunks_exact(c * o)) {
                *de = simd::sum(c * o, |i| dw[i] * pool[i]);
            }
        }
    }
    dpool
}
