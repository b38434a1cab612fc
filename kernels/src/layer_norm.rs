//! `layer_norm`: every row brought to mean 0 and variance 1, then scaled and shifted by channel.
//!
//! y = (x - mean) rstd gamma + beta, rstd = 1 / sqrt(variance + eps) with the biased variance (Ba et al. 2016).
//! Shapes: x, y `[rows, c]`, gamma, beta `[c]`, mean, rstd `[rows]`. A row stays in the first-level cache for its
//! mean, its variance about that mean and its result. Bound by memory: 8 bytes an element.

use crate::softmax::{groups_of_teams, row_dispatches};
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, simd};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// Parameters of [`LAYER_NORM`] and of its gradient.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of rows.
    pub rows: u32,
    /// Channels of a row.
    pub channels: u32,
    /// Added to the variance.
    pub eps: f32,
}

/// y = (x - mean) rstd gamma + beta; hands out mean and rstd for the gradient.
pub static LAYER_NORM: Kernel<Params> = Kernel {
    name: "layer_norm",
    buffers: &[
        ("x", Access::Read),
        ("gamma", Access::Read),
        ("beta", Access::Read),
        ("y", Access::Write),
        ("mean", Access::Write),
        ("rstd", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("layer_norm.wgsl", include_str!("../../shaders/layer_norm.wgsl")),
            ("softmax.teams.wgsl", include_str!("../../shaders/softmax.teams.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[("layer_norm.ptx", include_str!("../ptx/layer_norm.ptx"))],
        dispatches: |p, _| row_dispatches("layer_norm", "layer_norm_each", p.rows, p.channels),
    },
    cost: |p, _| {
        let [rows, c] = [p.rows, p.channels].map(u64::from);
        Cost { flops: 8 * rows * c, bytes: 8 * (rows * c + rows + c) }
    },
};

fn dispatches(p: &Params, limits: &Limits) -> Dispatches {
    match (p.channels, limits.subgroups) {
        (2049.., _) => Dispatches::one("layer_norm_long", p.rows),
        (c, false) if c.is_multiple_of(4) => Dispatches::one("layer_norm", groups_of_teams(p.rows, c)),
        (c, true) if c.is_multiple_of(4) => Dispatches::one("layer_norm_subgroups", groups_of_teams(p.rows, c)),
        (c, false) => Dispatches::one("layer_norm_each", groups_of_teams(p.rows, c)),
        (c, true) => Dispatches::one("layer_norm_each_subgroups", groups_of_teams(p.rows, c)),
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let [x, gamma, beta] = [buffers.read::<T>(), buffers.read(), buffers.read()];
    let [y, mean, rstd] = [buffers.write::<T>(), buffers.write(), buffers.write()];
    let c = p.channels as usize;
    if y.is_empty() {
        return;
    }
    let rows = rows_of_a_task(c);
    let tasks = y.par_chunks_mut(rows * c).zip(x.par_chunks(rows * c));
    let tasks = tasks.zip(mean.par_chunks_mut(rows)).zip(rstd.par_chunks_mut(rows));
    tasks.for_each(|(((y, x), mean), rstd)| {
        T::vectorized(
            #[inline(always)]
            || {
                let lines = y.chunks_exact_mut(c).zip(x.chunks_exact(c));
                for ((y, x), (mean, rstd)) in lines.zip(mean.iter_mut().zip(rstd)) {
                    (*mean, *rstd) = moments(x, T::of(f64::from(p.eps)));
                    for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                        *y = ((*x - *mean) * *rstd).mul_add(*gamma, *beta);
                    }
                }
            },
        );
    });
}

/// Whole rows of about [`CHUNK`] elements.
pub(crate) fn rows_of_a_task(channels: usize) -> usize {
    (CHUNK / channels).max(1)
}

/// Mean and 1 / sqrt(variance + eps) of a row.
#[inline(always)]
fn moments<T: Real>(x: &[T], eps: T) -> (T, T) {
    let count = T::of(x.len() as f64);
    let mean = simd::sum(x.len(), |i| x[i]) / count;
    let square = |i: usize| (x[i] - mean) * (x[i] - mean);
    let variance = simd::sum(x.len(), square) / count;
    (mean, T::ONE / (variance + eps).sqrt())
}
