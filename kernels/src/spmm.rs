//! `spmm`: a sparse matrix times the nodes of every sample, which gathers over a graph's neighbours.
//!
//! `y[b, i, :] = base[b, i, :] + sum_e w[e] x[b, neighbours[e], :]` for e in `offsets[i]..offsets[i + 1]` (compressed sparse
//! rows). Shapes: offsets u32 `[n + 1]`, neighbours u32 `[nnz]`, values `[nnz]` or absent (all ones), x, y and base
//! (absent: zeros) `[b, n, c]`. The gradient is the same kernel with the transposed matrix. A block of channels of one node stays in registers while
//! its neighbours run. Bound by memory: 8 bytes an element when neighbouring rows are still cached.

use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of y of one task.
const CHUNK: usize = 1 << 14;

/// Parameters of [`SPMM`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Samples.
    pub batch: u32,
    /// Nodes: rows and columns of the matrix.
    pub nodes: u32,
    /// Channels of a node.
    pub channels: u32,
    /// Stored entries of the matrix.
    pub entries: u32,
}

/// y = matrix times x, for every sample.
pub static SPMM: Kernel<Params> = Kernel {
    name: "spmm",
    buffers: &[
        ("offsets", Access::Read),
        ("neighbours", Access::Read),
        ("values", Access::Read),
        ("x", Access::Read),
        ("base", Access::Read),
        ("y", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl { files: &[("spmm.wgsl", include_str!("../../shaders/spmm.wgsl"))], dispatches },
    ptx: Ptx { files: &[("spmm.ptx", include_str!("../ptx/spmm.ptx"))], dispatches: |p, _| launches(p) },
    cost: |p, given| {
        let [b, n, c, entries] = [p.batch, p.nodes, p.channels, p.entries].map(u64::from);
        let [based, weighted] = ["base", "values"].map(|name| u64::from(given(name)));
        Cost { flops: 2 * b * entries * c, bytes: 4 * ((2 + based) * b * n * c + (1 + weighted) * entries + n + 1) }
    },
};

/// A thread for four channels where whole fours of them are a node's, else for one.
fn launches(p: &Params) -> Dispatches {
    let len = p.batch * p.nodes * p.channels;
    match p.channels % 4 {
        0 => Dispatches::one("spmm", (len / 4).div_ceil(256)),
        _ => Dispatches::one("spmm_each", len.div_ceil(256)),
    }
}

/// Four samples at a time share the loads of the graph where they leave enough to do for a whole GPU.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let (plane, fours) = (p.nodes * p.channels, p.nodes * p.channels / 4);
    let samples = p.batch.div_ceil(4);
    match p.channels.is_multiple_of(4) {
        false => Dispatches::one("spmm", (p.batch * plane).div_ceil(256)),
        true if p.batch >= 3 && samples * fours >= 1 << 15 => {
            Dispatches::one("spmm_samples", (samples * fours).div_ceil(256))
        }
        true => Dispatches::one("spmm_fours", (p.batch * fours).div_ceil(256)),
    }
}

/// A matrix in compressed sparse rows; no values means all ones.
pub(crate) struct Matrix<'a, T> {
    offsets: &'a [u32],
    neighbours: &'a [u32],
    values: &'a [T],
}

impl<'a, T: Real> Matrix<'a, T> {
    pub(crate) fn take(buffers: &mut Buffers<'a>) -> Self {
        Matrix { offsets: buffers.read::<u32>(), neighbours: buffers.read::<u32>(), values: buffers.read::<T>() }
    }

    /// y `[c]` = base `[c]` (empty: zeros) + row `i` of the product with x `[n, c]`, by blocks of channels.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize, x: &[T], base: &[T], y: &mut [T]) {
        let entries = self.offsets[i] as usize..self.offsets[i + 1] as usize;
        let neighbours = &self.neighbours[entries.clone()];
        // No values: an empty slice, whose `get` gives one.
        let values = self.values.get(entries).unwrap_or(&[]);
        let at = gather::<T, 32>(neighbours, values, x, base, y, 0);
        let at = gather::<T, 8>(neighbours, values, x, base, y, at);
        gather::<T, 1>(neighbours, values, x, base, y, at);
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let matrix = Matrix::take(&mut buffers);
    let (x, base, y) = (buffers.read::<T>(), buffers.read::<T>(), buffers.write::<T>());
    let c = p.channels as usize;
    let len = p.nodes as usize * c;
    if y.is_empty() {
        return;
    }
    let nodes = (CHUNK / c).max(1);
    y.par_chunks_mut(len).zip(x.par_chunks(len)).enumerate().for_each(|(b, (y, x))| {
        y.par_chunks_mut(nodes * c).enumerate().for_each(|(chunk, y)| {
            let first = b * len + chunk * nodes * c;
            let mut bases = base.get(first..).unwrap_or(&[]).chunks_exact(c);
            T::vectorized(
                #[inline(always)]
                || {
                    for (i, y) in y.chunks_exact_mut(c).enumerate() {
                        matrix.row(chunk * nodes + i, x, bases.next().unwrap_or(&[]), y);
                    }
                },
            );
        });
    });
}

/// The whole blocks of `W` channels from channel `at` on; returns where they end.
#[inline(always)]
fn gather<T: Real, const W: usize>(
    neighbours: &[u32],
    values: &[T],
    x: &[T],
    base: &[T],
    y: &mut [T],
    mut at: usize,
) -> usize {
    let c = y.len();
    while at + W <= c {
        let mut sums = [T::ZERO; W];
        if !base.is_empty() {
            sums.copy_from_slice(&base[at..at + W]);
        }
        for (e, j) in neighbours.iter().enumerate() {
            let weight = values.get(e).copied().unwrap_or(T::ONE);
            let x = &x[*j as usize * c + at..][..W];
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = weight.mul_add(*x, *sum);
            }
        }
        y[at..at + W].copy_from_slice(&sums);
        at += W;
    }
    at
}
