//! `layer_norm_backward`: the gradients of [`layer_norm`](crate::layer_norm) in one pass over x and dy.
//!
//! With h = (x - mean) rstd and g = dy gamma: dx = rstd (g - mean_c(g) - h mean_c(g h)), dgamma = sum_rows dy h,
//! dbeta = sum_rows dy. Shapes: x, dy, dx `[rows, c]`, gamma, dgamma, dbeta `[c]`, mean, rstd `[rows]`.
//! Tasks of fixed size keep their own sums over rows, added in their order. Bound by memory: 12 bytes an element.

use crate::layer_norm::{Params, rows_of_a_task};
use crate::softmax::rows_of_a_block;
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, partials, simd};
use rayon::prelude::*;

/// dx, dgamma and dbeta.
pub static LAYER_NORM_BACKWARD: Kernel<Params> = Kernel {
    name: "layer_norm_backward",
    buffers: &[
        ("x", Access::Read),
        ("gamma", Access::Read),
        ("mean", Access::Read),
        ("rstd", Access::Read),
        ("dy", Access::Read),
        ("dx", Access::Write),
        ("dgamma", Access::Write),
        ("dbeta", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("layer_norm_backward.wgsl", include_str!("../../shaders/layer_norm_backward.wgsl"))],
        dispatches,
    },
    ptx: Ptx {
        files: &[("layer_norm_backward.ptx", include_str!("../ptx/layer_norm_backward.ptx"))],
        dispatches: |p, _| launches(p),
    },
    cost: |p, _| {
        let [rows, c] = [p.rows, p.channels].map(u64::from);
        Cost { flops: 15 * rows * c, bytes: 12 * rows * c + 8 * rows + 12 * c }
    },
};

/// Rows by parts, each with its own sums of dgamma and dbeta, which are then added.
fn launches(p: &Params) -> Dispatches {
    // Registers for one four a thread, so that many rows are on their way at a time.
    let of_a_block = rows_of_a_block(p.channels).filter(|_| p.channels <= 128);
    let parts = p.rows.div_ceil(8 * of_a_block.unwrap_or(8)).clamp(1, 512);
    let scratch = Dispatches::with_scratch(parts, 2 * p.channels as usize);
    let rows = match of_a_block {
        Some(_) => scratch.then("layer_norm_backward", parts),
        None => scratch.then("layer_norm_backward_each", parts),
    };
    rows.then("layer_norm_backward_sum", (2 * p.channels).div_ceil(32))
}

/// Four rows or more for a team of invocations, as many parts as fill a GPU; then the sums of the parts.
fn dispatches(p: &Params, limits: &Limits) -> Dispatches {
    let c = p.channels;
    let teams = 256 / c.div_ceil(8).next_power_of_two().min(256);
    let parts = p.rows.div_ceil(4 * teams).min(1024 * c.min(1));
    let scratch = Dispatches::with_scratch(parts, 2 * c as usize);
    let first = match (c, limits.subgroups) {
        (2049.., _) => {
            let columns = parts * c.div_ceil(256);
            scratch.then("layer_norm_backward_long", p.rows).then("layer_norm_backward_columns", columns)
        }
        (c, false) if c.is_multiple_of(4) => scratch.then("layer_norm_backward", parts),
        (c, true) if c.is_multiple_of(4) => scratch.then("layer_norm_backward_subgroups", parts),
        (_, false) => scratch.then("layer_norm_backward_each", parts),
        (_, true) => scratch.then("layer_norm_backward_each_subgroups", parts),
    };
    first.then("layer_norm_backward_sum", (2 * c).div_ceil(32))
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let [x, gamma, mean, rstd, dy] = std::array::from_fn(|_| buffers.read::<T>());
    let [dx, dgamma, dbeta] = std::array::from_fn(|_| buffers.write::<T>());
    let c = p.channels as usize;
    if c == 0 {
        return;
    }
    let rows = rows_of_a_task(c);
    let tasks = dx.par_chunks_mut(rows * c).zip(x.par_chunks(rows * c)).zip(dy.par_chunks(rows * c));
    let tasks = tasks.zip(mean.par_chunks(rows)).zip(rstd.par_chunks(rows));
    let sums: Vec<Vec<T>> = tasks
        .map(|((((dx, x), dy), mean), rstd)| {
            let mut sums = vec![T::ZERO; 2 * c];
            T::vectorized(
                #[inline(always)]
                || {
                    let lines = dx.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(dy.chunks_exact(c));
                    for (((dx, x), dy), (mean, rstd)) in lines.zip(mean.iter().zip(rstd)) {
                        row(x, gamma, dy, (*mean, *rstd), dx, &mut sums);
                    }
                },
            );
            sums
        })
        .collect();
    partials::sum_into(dgamma, &sums.iter().map(|s| &s[..c]).collect::<Vec<_>>());
    partials::sum_into(dbeta, &sums.iter().map(|s| &s[c..]).collect::<Vec<_>>());
}

/// The gradient of one row; `sums` holds dgamma, then dbeta. `dx` holds h and then the result.
#[inline(always)]
fn row<T: Real>(x: &[T], gamma: &[T], dy: &[T], (mean, rstd): (T, T), dx: &mut [T], sums: &mut [T]) {
    let c = x.len();
    let (gamma, dy, dx) = (&gamma[..c], &dy[..c], &mut dx[..c]);
    let (dgamma, dbeta) = sums.split_at_mut(c);
    let count = T::of(c as f64);
    for i in 0..c {
        dx[i] = (x[i] - mean) * rstd;
        dgamma[i] += dy[i] * dx[i];
        dbeta[i] += dy[i];
    }
    let mean_g = simd::sum(c, |i| dy[i] * gamma[i]) / count;
    let mean_gh = simd::sum(c, |i| dy[i] * gamma[i] * dx[i]) / count;
    for i in 0..c {
        dx[i] = rstd * (dy[i] * gamma[i] - mean_g - dx[i] * mean_gh);
    }
}
