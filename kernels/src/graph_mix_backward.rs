//! `graph_mix_backward`: gradients of [`graph_mix`](crate::graph_mix) behind a group norm.
//!
//! ```text
//! dz = rstd (d - mean d - zhat mean(d zhat))         d the gradient of zhat; means over the group
//! u  = dz W_n^T,  dP[k] = sum_n e[n, k] dW_n,  de[n, k] = <P[k], dW_n>,  dW_n = sum_b (neighbour sum of h[b])^T dz[b]
//! ```
//! dz replaces d in place; the caller adds r dz to the transposed neighbour sum of u for the gradient of h.
//! Shapes: h, z, d, u `[b, n, t, c]`, stats and sums `[b, t, g, 2]` (mean and rstd; sum d and sum d zhat). Plan: a task is
//! 64 nodes; the neighbour sums of h are gathered again, dW_n lives in cache for one node only. dP is added up a task and
//! then over tasks in order. Reads 12 c bytes a token, writes 8 c. Bound by FMA throughput at c = 32.
//! Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::{GemmTile, Start, product};
use crate::graph_mix::{CHUNK, Grid, Params, Sizes, Tiling, graph_bytes, node_weights, weights};
use crate::rows::Rows;
use crate::spmm::Matrix;
use crate::temporal_block_backward::transpose;
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, row_reduce};
use rayon::prelude::*;

/// Gradients of the graph mix.
pub static GRAPH_MIX_BACKWARD: Kernel<Params> = Kernel {
    name: "graph_mix_backward",
    buffers: &[
        ("h", Access::Read),
        ("offsets", Access::Read),
        ("neighbours", Access::Read),
        ("values", Access::Read),
        ("e", Access::Read),
        ("pool", Access::Read),
        ("z", Access::Read),
        ("stats", Access::Read),
        ("sums", Access::Read),
        ("d", Access::Update),
        ("u", Access::Write),
        ("de", Access::Write),
        ("dpool", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("graph_mix_backward.wgsl", include_str!("../../shaders/graph_mix_backward.wgsl")),
            ("graph_mix_backward.weights.wgsl", include_str!("../../shaders/graph_mix_backward.weights.wgsl")),
            ("graph_mix.tiles.wgsl", include_str!("../../shaders/graph_mix.tiles.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("graph_mix_backward.ptx", include_str!("../ptx/graph_mix_backward.ptx")),
            ("graph_mix_backward.few.ptx", include_str!("../ptx/graph_mix_backward.few.ptx")),
            ("graph_mix_backward.wide.ptx", include_str!("../ptx/graph_mix_backward.wide.ptx")),
            ("graph_mix_backward.each.ptx", include_str!("../ptx/graph_mix_backward.each.ptx")),
            ("graph_mix_backward.weights.ptx", include_str!("../ptx/graph_mix_backward.weights.ptx")),
        ],
        dispatches: |p, _| launches(p),
    },
    cost: |p, given| {
        let [n, c, k, edges] = [p.nodes, p.channels, p.prototypes, p.edges].map(u64::from);
        let steps = u64::from(p.batch) * u64::from(p.frames);
        let bytes = 20 * steps * n * c + 8 * weights(p) + graph_bytes(p, given);
        Cost { flops: 2 * steps * c * (edges + 2 * n * c + 4 * n) + 6 * n * k * c * c, bytes }
    },
};

fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let grid = match Grid::of(p) {
        Ok(grid) => grid,
        Err(refused) => return refused,
    };
    let (main, dw) = match p.channels.is_multiple_of(4) {
        true => ("graph_mix_backward", "graph_mix_backward_dw"),
        false => ("graph_mix_backward_each", "graph_mix_backward_dw_each"),
    };
    let runs = if p.nodes == 0 { 0 } else { grid.parts };
    // A workgroup has 32 by 32 numbers of a node's dW.
    let blocks = p.channels.div_ceil(32).pow(2);
    let vec4s = grid.square.div_ceil(128) * p.prototypes.div_ceil(8);
    grid.dispatches(p.nodes, 4 * p.prototypes as usize * grid.square as usize)
        .then("graph_mix_backward_weights", grid.matrices(p.nodes))
        .then(main, grid.tiles * runs)
        .then(dw, p.nodes * blocks)
        .then("graph_mix_backward_de", p.nodes.div_ceil(4))
        .then("graph_mix_backward_dpool_parts", vec4s * grid.parts)
        .then("graph_mix_backward_dpool", (p.prototypes * p.channels * p.channels).div_ceil(256))
}

fn launches(p: &Params) -> Dispatches {
    let quads = p.channels.div_ceil(4);
    let square = (16 * quads * quads) as usize;
    // Runs of nodes over which dP is added up: 16 nodes a thread; one run leaves dP itself.
    let runs = p.nodes.div_ceil(512).max(1);
    let part = p.prototypes as usize * square + (p.nodes as usize * square).div_ceil(runs as usize);
    let start = Dispatches::with_scratch(runs, part);
    let fours = p.channels.is_multiple_of(4 * p.groups);
    let nodes = match p.channels {
        ..=32 => start.then(if fours { "graph_mix_backward" } else { "graph_mix_backward_few" }, p.nodes),
        ..=64 if fours && p.prototypes <= 1024 => start.then("graph_mix_backward_wide", p.nodes),
        _ => {
            let tiling = Tiling::of(p, 2, 1, 16);
            start
                .then("graph_mix_backward_dz", (p.batch * p.nodes * p.frames * p.channels).div_ceil(256))
                .then("graph_mix_backward_u", tiling.blocks * tiling.runs)
                .then("graph_mix_backward_dw", p.nodes * quads.div_ceil(8).pow(2))
                .then("graph_mix_backward_de", (p.nodes * p.prototypes).div_ceil(4))
        }
    };
    nodes
        .then("graph_mix_backward_dpool_parts", runs * (4 * quads * quads).div_ceil(8) * p.prototypes.div_ceil(12))
        .then("graph_mix_backward_dpool", if runs > 1 { (p.prototypes * p.channels.pow(2)).div_ceil(256) } else { 0 })
}

/// Room for one node.
struct Scratch<T> {
    w: Vec<T>,
    w_transposed: Vec<T>,
    dw: Vec<T>,
    /// Neighbour sums, `[t, c]`.
    sum: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(s: &Sizes) -> Self {
        let square = || vec![T::ZERO; s.c * s.c];
        Scratch { w: square(), w_transposed: square(), dw: square(), sum: vec![T::ZERO; s.window()] }
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let h = buffers.read::<T>();
    let graph = Matrix::take(&mut buffers);
    let (e, pool) = (buffers.read::<T>(), buffers.read::<T>());
    let (z, stats, sums) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>());
    let (d, u) = (Rows::new(buffers.write::<T>()), Rows::new(buffers.write::<T>()));
    let (de, dpool) = (buffers.write::<T>(), buffers.write::<T>());
    let norm = Norm::new(&s, stats, sums);
    let (square, window) = (s.c * s.c, s.window());
    let task = |(task, de): (usize, &mut [T])| {
        let mut x = Scratch::new(&s);
        let mut dpool = vec![T::ZERO; s.k * square];
        for (n, de) in (task * CHUNK..).zip(de.chunks_exact_mut(s.k)) {
            T::vectorized(
                #[inline(always)]
                || {
                    node_weights(&e[n * s.k..(n + 1) * s.k], pool, &mut x.w);
                    transpose(&x.w, &mut x.w_transposed, s.c);
                    for b in 0..s.b {
                        let at = (b * s.n + n) * window;
                        graph.row(n, s.sample(h, b), &[], &mut x.sum);
                        // SAFETY: only this task touches node n of d and u.
                        let (d, u) = unsafe { (d.slice(at, window), u.slice(at, window)) };
                        norm.pull_back(b, &z[at..at + window], d);
                        let start = if b == 0 { Start::Zero } else { Start::Result };
                        let (a, c) = ((&x.sum[..], 1, s.c), (&mut x.dw[..], s.c));
                        T::gemm_tile(GemmTile { m: s.c, n: s.c, k: s.t, a, b: (d, s.c), c, start });
                        product((s.t, s.c, s.c), (d, s.c, 1), (&x.w_transposed, s.c), (u, s.c));
                    }
                    let prototypes = pool.chunks_exact(square).zip(dpool.chunks_exact_mut(square));
                    for ((de, e), (p, dp)) in de.iter_mut().zip(&e[n * s.k..]).zip(prototypes) {
                        row_reduce::dots(square, (p, 0), (&x.dw, 0), std::slice::from_mut(de));
                        for (dp, dw) in dp.iter_mut().zip(&x.dw) {
                            *dp = dw.mul_add(*e, *dp);
                        }
                    }
                },
            );
        }
        dpool
    };
    let parts: Vec<_> = de.par_chunks_mut(CHUNK * s.k).enumerate().map(task).collect();
    dpool.fill(T::ZERO);
    for part in parts {
        for (sum, part) in dpool.iter_mut().zip(part) {
            *sum += part;
        }
    }
}

/// What the group norm's backward needs, channel by channel, `[b, t, c]` each.
struct Norm<T> {
    mean: Vec<T>,
    rstd: Vec<T>,
    /// Mean of d over the group.
    mean_d: Vec<T>,
    /// Mean of d zhat over the group, times rstd.
    slope: Vec<T>,
}

impl<T: Real> Norm<T> {
    fn new(s: &Sizes, stats: &[T], sums: &[T]) -> Self {
        let share = T::ONE / T::of((s.n * s.width()) as f64);
        let len = s.b * s.window();
        let pair = |at: usize| 2 * (at / s.c * s.groups + at % s.c / s.width());
        Norm {
            mean: (0..len).map(|at| stats[pair(at)]).collect(),
            rstd: (0..len).map(|at| stats[pair(at) + 1]).collect(),
            mean_d: (0..len).map(|at| share * sums[pair(at)]).collect(),
            slope: (0..len).map(|at| share * sums[pair(at) + 1] * stats[pair(at) + 1]).collect(),
        }
    }

    /// From d to dz for a window of sample `b`, in place.
    #[inline(always)]
    fn pull_back(&self, b: usize, z: &[T], d: &mut [T]) {
        // Slices of one length need no checks inside the loop.
        let len = d.len();
        let [mean, rstd, mean_d, slope] =
            [&self.mean, &self.rstd, &self.mean_d, &self.slope].map(|all| &all[b * len..(b + 1) * len]);
        let z = &z[..len];
        for (i, d) in d.iter_mut().enumerate() {
            *d = rstd[i] * (*d - mean_d[i] - (z[i] - mean[i]) * slope[i]);
        }
    }
}
