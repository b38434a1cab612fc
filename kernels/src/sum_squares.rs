//! `sum_squares`: y = sum_i x_i^2, the squared norm.
//!
//! Shapes: x `[len]`, y `[1]`. Chunks are summed in parallel, their sums in order, so the bits do not depend on the
//! number of threads. Bound by memory: 4 bytes an element.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, simd};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// Parameters of [`SUM_SQUARES`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
}

/// y = squared norm of x.
pub static SUM_SQUARES: Kernel<Params> = Kernel {
    name: "sum_squares",
    buffers: &[("x", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("sum_squares.wgsl", include_str!("../../shaders/sum_squares.wgsl"))],
        dispatches: |p, limits| {
            dispatches(p, if limits.subgroups { "sum_squares_parts_subgroups" } else { "sum_squares_parts" })
        },
    },
    ptx: Ptx {
        files: &[("sum_squares.ptx", include_str!("../ptx/sum_squares.ptx"))],
        dispatches: |p, _| dispatches(p, "sum_squares_parts"),
    },
    cost: |p, _| Cost { flops: 2 * u64::from(p.len), bytes: 4 * u64::from(p.len) },
};

fn dispatches(p: &Params, first: &'static str) -> Dispatches {
    let parts = p.len.div_ceil(1 << 14).clamp(1, 256);
    Dispatches::with_scratch(parts, 1).then(first, parts).then("sum_squares", 1)
}

fn run<T: Real>(_: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    let partials: Vec<T> = x
        .par_chunks(CHUNK)
        .map(|x| {
            T::vectorized(
                #[inline(always)]
                || {
                    simd::sum(
                        x.len(),
                        #[inline(always)]
                        |i| x[i] * x[i],
                    )
                },
            )
        })
        .collect();
    y[0] = partials.iter().fold(T::ZERO, |sum, partial| sum + *partial);
}
