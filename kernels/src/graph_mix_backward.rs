//! `graph_mix_backward`: gradients of [`graph_mix`](crate::graph_mix) behind a group norm.
//!
//! ```text
//! dz = rstd (d - mean d - zhat mean(d zhat))         d the gradient of zhat; means over the group
//! u  = dz W_n^T,  dP[k] = sum_n e[n, k] dW_n,  de[n, k] = <P[k], dW_n>,  dW_n = sum_s (neighbour sum of h[s])^T dz[s]
//! ```
//! dz replaces d in place; the caller adds r dz to the transposed neighbour sum of u for the gradient of h.
//! Shapes: h, z, d, u `[s, n, c]`, stats and sums `[s, g, 2]` (mean and rstd; sum d and sum d zhat). Plan: a task is 64
//! nodes; the neighbour sums of h are gathered again, dW_n lives in cache for one node only. dP is added up a task and then
//! over tasks in order. Reads 12 c bytes a token, writes 8 c. Bound by FMA throughput at c = 32.
//! Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::GemmTile;
use crate::graph_mix::{CHUNK, Graph, Params, ROWS, Sizes, node_weights, product};
use crate::rows::Rows;
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real, simd};
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
    cost: |p| {
        let [s, n, c, k, edges] = [p.steps, p.nodes, p.channels, p.prototypes, p.edges].map(u64::from);
        Cost { flops: 2 * s * c * (edges + 2 * n * c + 4 * n) + 6 * n * k * c * c, bytes: 4 * s * n * 5 * c }
    },
};

/// Room for one node.
struct Scratch<T> {
    w: Vec<T>,
    w_transposed: Vec<T>,
    dw: Vec<T>,
    sums: Vec<T>,
    dz: Vec<T>,
    u: Vec<T>,
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let h = buffers.read::<T>();
    let graph = Graph::take(&mut buffers);
    let (e, pool) = (buffers.read::<T>(), buffers.read::<T>());
    let (z, stats, sums) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>());
    let (d, u) = (Rows::new(buffers.write::<T>()), Rows::new(buffers.write::<T>()));
    let (de, dpool) = (buffers.write::<T>(), buffers.write::<T>());
    let norm = Norm::new(&s, stats, sums);
    let square = s.c * s.c;
    let task = |(task, de): (usize, &mut [T])| {
        let zeros = |len| vec![T::ZERO; len];
        let rows = ROWS * s.c;
        let mut dpool = zeros(s.k * square);
        let mut x = Scratch {
            w: zeros(square),
            w_transposed: zeros(square),
            dw: zeros(square),
            sums: zeros(rows),
            dz: zeros(rows),
            u: zeros(rows),
        };
        for (n, de) in (task * CHUNK..).zip(de.chunks_exact_mut(s.k)) {
            T::vectorized(
                #[inline(always)]
                || {
                    node_weights(&e[n * s.k..(n + 1) * s.k], pool, &mut x.w);
                    for (at, w) in x.w_transposed.iter_mut().enumerate() {
                        *w = x.w[at % s.c * s.c + at / s.c];
                    }
                    x.dw.fill(T::ZERO);
                    for first in (0..s.s).step_by(ROWS) {
                        let rows = ROWS.min(s.s - first);
                        graph.gather(&s, h, n, first, &mut x.sums[..rows * s.c]);
                        norm.pull_back(&s, n, first, z, &d, &mut x.dz[..rows * s.c]);
                        let (a, c) = ((&x.sums[..], 1, s.c), (&mut x.dw[..], s.c));
                        T::gemm_tile(GemmTile { m: s.c, n: s.c, k: rows, a, b: (&x.dz, s.c), c, accumulate: true });
                        product(&s, rows, &x.dz, &x.w_transposed, &mut x.u[..rows * s.c]);
                        for (step, row) in x.u[..rows * s.c].chunks_exact(s.c).enumerate() {
                            // SAFETY: only this task writes node n.
                            unsafe { u.slice(((first + step) * s.n + n) * s.c, s.c) }.copy_from_slice(row);
                        }
                    }
                    let prototypes = pool.chunks_exact(square).zip(dpool.chunks_exact_mut(square));
                    for ((de, e), (p, dp)) in de.iter_mut().zip(&e[n * s.k..]).zip(prototypes) {
                        *de = simd::sum(square, |i| p[i] * x.dw[i]);
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

/// What the group norm's backward needs of a step, channel by channel, `[s, c]` each.
struct Norm<T> {
    mean: Vec<T>,
    rstd: Vec<T>,
    /// Mean of d over the group.
    mean_d: Vec<T>,
    /// Mean of d zhat over the group.
    slope: Vec<T>,
}

impl<T: Real> Norm<T> {
    fn new(s: &Sizes, stats: &[T], sums: &[T]) -> Self {
        let share = T::ONE / T::of((s.n * s.width()) as f64);
        let spread = |x: &[T], scale: T, second: usize| {
            let pair = |at: usize| 2 * (at / s.c * s.groups + at % s.c / s.width()) + second;
            (0..s.s * s.c).map(|at| scale * x[pair(at)]).collect()
        };
        Norm {
            mean: spread(stats, T::ONE, 0),
            rstd: spread(stats, T::ONE, 1),
            mean_d: spread(sums, share, 0),
            slope: spread(sums, share, 1),
        }
    }

    /// dz of node `n` for the steps from `first` on, into `rows` and in place of d.
    #[inline(always)]
    fn pull_back(&self, s: &Sizes, n: usize, first: usize, z: &[T], d: &Rows<'_, T>, rows: &mut [T]) {
        for (step, row) in (first..).zip(rows.chunks_exact_mut(s.c)) {
            let at = (step * s.n + n) * s.c;
            // SAFETY: only this task touches node n of d.
            let d = unsafe { d.slice(at, s.c) };
            let z = &z[at..at + s.c];
            let of = step * s.c..(step + 1) * s.c;
            let (mean, rstd) = (&self.mean[of.clone()], &self.rstd[of.clone()]);
            let (mean_d, slope) = (&self.mean_d[of.clone()], &self.slope[of]);
            for i in 0..s.c {
                row[i] = rstd[i] * (d[i] - mean_d[i] - (z[i] - mean[i]) * rstd[i] * slope[i]);
            }
            d.copy_from_slice(row);
        }
    }
}
