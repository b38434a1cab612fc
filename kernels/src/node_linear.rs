//! `node_linear`: a linear layer whose weight differs from node to node, mixed from a few prototypes.
//!
//! `W_n = sum_j e[n, j] pool[j]`, `y[b, n, :] = x[b, n, :] W_n`. Shapes: x `[b, n, c]`, e `[n, k]`, pool `[k, c, o]`,
//! y `[b, n, o]`. A task is a range of nodes. It mixes the weights of a tile of nodes in scratch, by one product, and
//! multiplies blocks of samples by them; a weight lives only as long as its tile. Tiles of x and y are copied, since
//! the samples of one node lie far apart. Bound by the products.

use crate::gemm_tile::product;
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Precision, Ptx, Real, Target};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Nodes of a tile: their weights are in scratch together.
pub(crate) const TILE: usize = 8;
/// Samples of a block.
pub(crate) const BLOCK: usize = 64;
/// Fewest nodes of a task.
const TASK: usize = 64;
/// Most tasks, which bounds the memory for their partial gradients.
const MOST_TASKS: usize = 64;

/// Channels of a tile of a node's weight, in each direction, on NVIDIA GPUs.
pub(crate) const SIDE: u32 = 32;

/// Parameters of [`NODE_LINEAR`] and of its gradient.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Samples.
    pub batch: u32,
    /// Nodes of a sample.
    pub nodes: u32,
    /// Channels of x.
    pub channels: u32,
    /// Channels of y.
    pub out: u32,
    /// Prototypes.
    pub prototypes: u32,
}

impl Params {
    /// Nodes, channels of x, channels of y, prototypes.
    pub(crate) fn sizes(&self) -> [usize; 4] {
        [self.nodes, self.channels, self.out, self.prototypes].map(|v| v as usize)
    }

    /// Nodes of a task: whole tiles, the same on any number of threads.
    pub(crate) fn nodes_of_a_task(&self) -> usize {
        (self.nodes as usize).div_ceil(MOST_TASKS).max(TASK).next_multiple_of(TILE)
    }

    /// How NVIDIA GPUs multiply: on tensor cores where their tiles of 128 samples are at least half full.
    pub(crate) fn factors(&self, target: &Target) -> Precision {
        if self.batch >= 64 && self.channels.min(self.out) >= 8 { target.factors() } else { Precision::F32 }
    }
}

/// y = x W_n with `W_n = sum_j e[n, j] pool[j]`.
pub static NODE_LINEAR: Kernel<Params> = Kernel {
    name: "node_linear",
    buffers: &[("x", Access::Read), ("e", Access::Read), ("pool", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl { files: &[("node_linear.wgsl", include_str!("../../shaders/node_linear.wgsl"))], dispatches },
    ptx: Ptx {
        files: &[
            ("node_linear.ptx", include_str!("../ptx/node_linear.ptx")),
            ("node_linear.sm_80.tf32.ptx", include_str!("../ptx/node_linear.sm_80.tf32.ptx")),
            ("node_linear.sm_80.bf16.ptx", include_str!("../ptx/node_linear.sm_80.bf16.ptx")),
        ],
        dispatches: launches,
    },
    cost: |p, _| {
        let [b, n, c, o, k] = [p.batch, p.nodes, p.channels, p.out, p.prototypes].map(u64::from);
        Cost { flops: 2 * n * c * o * (b + k), bytes: 4 * (b * n * (c + o) + n * k + k * c * o) }
    },
};

/// A workgroup for each node, 32 columns and 256 samples.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let entry = if p.out.is_multiple_of(4) { "node_linear" } else { "node_linear_each" };
    Dispatches::one(entry, p.nodes * p.out.div_ceil(32) * p.batch.div_ceil(256))
}

/// A block for each node and 32 columns.
fn launches(p: &Params, target: &Target) -> Dispatches {
    let entry = match p.factors(target) {
        Precision::F32 => "node_linear",
        Precision::Tf32 => "node_linear_tf32",
        Precision::Bf16 => "node_linear_bf16",
    };
    Dispatches::one(entry, p.nodes * p.out.div_ceil(SIDE))
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let [x, e, pool] = std::array::from_fn(|_| buffers.read::<T>());
    let y = buffers.write::<T>();
    let [n, c, o, k] = p.sizes();
    if y.is_empty() {
        return;
    }
    let nodes = p.nodes_of_a_task();
    let tasks = split_nodes(y, n * o, nodes * o);
    tasks.into_par_iter().enumerate().for_each(|(task, mut y)| {
        let mut scratch = vec![T::ZERO; TILE * (c * o + BLOCK * (c + o))];
        let (weights, rest) = scratch.split_at_mut(TILE * c * o);
        let (xs, ys) = rest.split_at_mut(BLOCK * TILE * c);
        let start = task * nodes;
        T::vectorized(
            #[inline(always)]
            || {
                for first in (start..n.min(start + nodes)).step_by(TILE) {
                    let tile = TILE.min(n - first);
                    product((tile, c * o, k), (&e[first * k..], k, 1), (pool, c * o), (weights, c * o));
                    for (block, y) in y.chunks_mut(BLOCK).enumerate() {
                        load(&x[block * BLOCK * n * c..], n * c, first * c, &mut xs[..y.len() * tile * c], tile * c);
                        for i in 0..tile {
                            let weight = (&weights[i * c * o..], o);
                            product((y.len(), o, c), (&xs[i * c..], tile * c, 1), weight, (&mut ys[i * o..], tile * o));
                        }
                        store(&ys[..y.len() * tile * o], tile * o, y, (first - start) * o);
                    }
                }
            },
        );
    });
}

/// For every range of nodes its part of each sample: `len` elements a sample, `chunk` a range.
pub(crate) fn split_nodes<T>(y: &mut [T], len: usize, chunk: usize) -> Vec<Vec<&mut [T]>> {
    let mut ranges: Vec<Vec<&mut [T]>> = (0..len.div_ceil(chunk)).map(|_| Vec::new()).collect();
    for sample in y.chunks_mut(len) {
        for (range, part) in ranges.iter_mut().zip(sample.chunks_mut(chunk)) {
            range.push(part);
        }
    }
    ranges
}

/// Copies `width` elements from `start` on of each sample, `stride` apart, into the rows of `tile`.
#[inline(always)]
pub(crate) fn load<T: Real>(x: &[T], stride: usize, start: usize, tile: &mut [T], width: usize) {
    for (sample, row) in tile.chunks_exact_mut(width).enumerate() {
        row.copy_from_slice(&x[sample * stride + start..][..width]);
    }
}

/// Copies the rows of `tile` to the samples of a range, from element `start` on.
#[inline(always)]
pub(crate) fn store<T: Real>(tile: &[T], width: usize, samples: &mut [&mut [T]], start: usize) {
    for (row, sample) in tile.chunks_exact(width).zip(samples) {
        sample[start..start + width].copy_from_slice(row);
    }
}
