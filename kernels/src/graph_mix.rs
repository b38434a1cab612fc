//! `graph_mix`: neighbour sum with a weight matrix of each node's own, residual and group-norm sums, in one pass
//! (HSGNN: STIMP eq. 4 in the published code's form, systems 1.4 steps 4 and 5).
//!
//! ```text
//! z[s, n] = r h[s, n] + (sum_j a_nj h[s, j]) W_n,    W_n = sum_k e[n, k] P[k]     h, z [s, n, c], e [n, k], P [k, c, c]
//! stats[s, g] = mean and 1 / standard deviation of z[s] over all nodes and the channels of group g
//! ```
//! `s` counts (sample, frame) pairs. Plan: a task is 64 nodes; it builds one W_n in cache, gathers the neighbour sums of up
//! to 64 rows and multiplies them with it, so W_n is never stored (4 n c^2 bytes saved). Each task sums z about the value
//! at its first node; the tasks' means and squares are merged in order (Chan et al. 1983), so the bits do not depend on
//! the number of threads. Reads 4 c bytes a token (neighbours come from the cache), writes 4 c.
//! Bound by FMA throughput at c = 32 (2.3 kFLOP a token), by memory below. Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::GemmTile;
use crate::rows::Rows;
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Nodes of one task.
pub(crate) const CHUNK: usize = 64;
/// Rows gathered at once.
pub(crate) const ROWS: usize = 64;

/// Parameters of [`GRAPH_MIX`] and its backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Samples times frames.
    pub steps: u32,
    /// Nodes n.
    pub nodes: u32,
    /// Channels c.
    pub channels: u32,
    /// Prototypes k.
    pub prototypes: u32,
    /// Groups of the group norm; c is a multiple of them.
    pub groups: u32,
    /// 1 adds h itself.
    pub residual: u32,
    /// Entries of the graph's matrix.
    pub edges: u32,
    /// Added to the variance.
    pub eps: f32,
}

/// z and its group statistics.
pub static GRAPH_MIX: Kernel<Params> = Kernel {
    name: "graph_mix",
    buffers: &[
        ("h", Access::Read),
        ("offsets", Access::Read),
        ("neighbours", Access::Read),
        ("values", Access::Read),
        ("e", Access::Read),
        ("pool", Access::Read),
        ("z", Access::Write),
        ("stats", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    cost: |p| {
        let [s, n, c, k, edges] = [p.steps, p.nodes, p.channels, p.prototypes, p.edges].map(u64::from);
        Cost { flops: 2 * s * c * (edges + n * c) + 2 * n * k * c * c, bytes: 4 * s * n * 2 * c }
    },
};

/// The sizes as indices.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) s: usize,
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) k: usize,
    pub(crate) groups: usize,
}

impl Sizes {
    pub(crate) fn of(p: &Params) -> Self {
        let [s, n, c, k, groups] = [p.steps, p.nodes, p.channels, p.prototypes, p.groups].map(|v| v as usize);
        Sizes { s, n, c, k, groups }
    }

    /// Channels of a group.
    pub(crate) fn width(&self) -> usize {
        self.c / self.groups
    }
}

/// A sparse matrix by rows; without values every entry is 1.
#[derive(Clone, Copy)]
pub(crate) struct Graph<'a, T> {
    offsets: &'a [u32],
    neighbours: &'a [u32],
    values: &'a [T],
}

impl<'a, T: Real> Graph<'a, T> {
    pub(crate) fn take(buffers: &mut Buffers<'a>) -> Self {
        Graph { offsets: buffers.read::<u32>(), neighbours: buffers.read::<u32>(), values: buffers.read::<T>() }
    }

    /// The neighbour sums of node `n` for the steps from `first` on, one row each.
    #[inline(always)]
    pub(crate) fn gather(&self, s: &Sizes, h: &[T], n: usize, first: usize, rows: &mut [T]) {
        let edges = self.offsets[n] as usize..self.offsets[n + 1] as usize;
        for (step, row) in rows.chunks_exact_mut(s.c).enumerate() {
            row.fill(T::ZERO);
            let plane = &h[(first + step) * s.n * s.c..][..s.n * s.c];
            for edge in edges.clone() {
                let x = &plane[self.neighbours[edge] as usize * s.c..][..s.c];
                if self.values.is_empty() {
                    for (y, x) in row.iter_mut().zip(x) {
                        *y += *x;
                    }
                } else {
                    for (y, x) in row.iter_mut().zip(x) {
                        *y = x.mul_add(self.values[edge], *y);
                    }
                }
            }
        }
    }
}

/// W_n = sum_k e[n, k] P[k].
#[inline(always)]
pub(crate) fn node_weights<T: Real>(e: &[T], pool: &[T], w: &mut [T]) {
    w.fill(T::ZERO);
    for (e, prototype) in e.iter().zip(pool.chunks_exact(w.len())) {
        for (w, p) in w.iter_mut().zip(prototype) {
            *w = p.mul_add(*e, *w);
        }
    }
}

/// Sums of z and z^2 about a shift, for every step and channel: what one task saw.
struct Moments<T> {
    shift: Vec<T>,
    sum: Vec<T>,
    square: Vec<T>,
    count: usize,
}

impl<T: Real> Moments<T> {
    fn new(s: &Sizes) -> Self {
        let zeros = || vec![T::ZERO; s.s * s.c];
        Moments { shift: zeros(), sum: zeros(), square: zeros(), count: 0 }
    }

    #[inline(always)]
    fn add(&mut self, at: usize, z: &[T]) {
        let range = at..at + z.len();
        if self.count == 0 {
            self.shift[range.clone()].copy_from_slice(z);
        }
        let (sum, square) = (&mut self.sum[range.clone()], &mut self.square[range.clone()]);
        for (((sum, square), shift), z) in sum.iter_mut().zip(square).zip(&self.shift[range]).zip(z) {
            let d = *z - *shift;
            *sum += d;
            *square = d.mul_add(d, *square);
        }
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let h = buffers.read::<T>();
    let graph = Graph::take(&mut buffers);
    let (e, pool) = (buffers.read::<T>(), buffers.read::<T>());
    let (z, stats) = (Rows::new(buffers.write::<T>()), buffers.write::<T>());
    let task = |task: usize| {
        let mut moments = Moments::new(&s);
        let (mut w, mut sums) = (vec![T::ZERO; s.c * s.c], vec![T::ZERO; ROWS * s.c]);
        let mut out = sums.clone();
        for n in task * CHUNK..((task + 1) * CHUNK).min(s.n) {
            T::vectorized(
                #[inline(always)]
                || {
                    node_weights(&e[n * s.k..(n + 1) * s.k], pool, &mut w);
                    for first in (0..s.s).step_by(ROWS) {
                        let rows = ROWS.min(s.s - first);
                        let sums = &mut sums[..rows * s.c];
                        graph.gather(&s, h, n, first, sums);
                        let out = &mut out[..rows * s.c];
                        product(&s, rows, sums, &w, out);
                        for (step, out) in out.chunks_exact_mut(s.c).enumerate() {
                            let at = ((first + step) * s.n + n) * s.c;
                            if p.residual == 1 {
                                for (out, h) in out.iter_mut().zip(&h[at..at + s.c]) {
                                    *out += *h;
                                }
                            }
                            moments.add((first + step) * s.c, out);
                            // SAFETY: only this task writes node n.
                            unsafe { z.slice(at, s.c) }.copy_from_slice(out);
                        }
                    }
                },
            );
            moments.count += 1;
        }
        moments
    };
    let moments: Vec<_> = (0..s.n.div_ceil(CHUNK)).into_par_iter().map(task).collect();
    stats.par_chunks_mut(2).enumerate().for_each(|(at, stats)| {
        (stats[0], stats[1]) = merge(&s, &moments, at / s.groups, at % s.groups, f64::from(p.eps));
    });
}

/// out = x w for `rows` rows.
#[inline(always)]
pub(crate) fn product<T: Real>(s: &Sizes, rows: usize, x: &[T], w: &[T], out: &mut [T]) {
    let c = (out, s.c);
    T::gemm_tile(GemmTile { m: rows, n: s.c, k: s.c, a: (x, s.c, 1), b: (w, s.c), c, accumulate: false });
}

/// Mean and reciprocal standard deviation of a group, from what the tasks saw, in their order.
fn merge<T: Real>(s: &Sizes, moments: &[Moments<T>], step: usize, group: usize, eps: f64) -> (T, T) {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for part in moments {
        for channel in group * s.width()..(group + 1) * s.width() {
            let at = step * s.c + channel;
            let n = part.count as f64;
            let offset = part.sum[at].f64() / n;
            let delta = part.shift[at].f64() + offset - mean;
            squares += part.square[at].f64() - offset * offset * n + delta * delta * count * n / (count + n);
            count += n;
            mean += delta * n / count;
        }
    }
    (T::of(mean), T::of(1.0 / (squares / count + eps).sqrt()))
}
