//! `clamp` and `clamp_backward`: y = min(max(x, low), high) with bounds for each column, and dx = dy within them.
//!
//! Shapes: x, y, dy, dx `[len]` = `[.., n]`, low, high `[n]`. The bounds belong to the interval: the gradient passes
//! where low <= x <= high. Bound by memory: 8 and 12 bytes an element.

use crate::layout::pieces;
use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// Parameters of [`CLAMP`] and [`CLAMP_BACKWARD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements of x.
    pub len: u32,
    /// Number of bounds.
    pub n: u32,
}

/// y = x limited to low..high.
pub static CLAMP: Kernel<Params> = Kernel {
    name: "clamp",
    buffers: &[("x", Access::Read), ("low", Access::Read), ("high", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: forward::<f32>, f64: forward::<f64> },
    wgsl: Wgsl {
        files: &[("clamp.wgsl", include_str!("../../shaders/clamp.wgsl"))],
        dispatches: |p, _| Dispatches::one("clamp", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("clamp.ptx", include_str!("../ptx/clamp.ptx"))],
        dispatches: |p, _| Dispatches::one("clamp", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: 2 * u64::from(p.len), bytes: 8 * (u64::from(p.len) + u64::from(p.n)) },
};

/// dx = dy where low <= x <= high, else 0.
pub static CLAMP_BACKWARD: Kernel<Params> = Kernel {
    name: "clamp_backward",
    buffers: &[
        ("x", Access::Read),
        ("low", Access::Read),
        ("high", Access::Read),
        ("dy", Access::Read),
        ("dx", Access::Write),
    ],
    cpu: Cpu { f32: backward::<f32>, f64: backward::<f64> },
    wgsl: Wgsl {
        files: &[("clamp_backward.wgsl", include_str!("../../shaders/clamp_backward.wgsl"))],
        dispatches: |p, _| Dispatches::one("clamp_backward", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("clamp_backward.ptx", include_str!("../ptx/clamp_backward.ptx"))],
        dispatches: |p, _| Dispatches::one("clamp_backward", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: 2 * u64::from(p.len), bytes: 12 * u64::from(p.len) + 8 * u64::from(p.n) },
};

fn forward<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, low, high) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>());
    let y = buffers.write::<T>();
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(task, (y, x))| {
        T::vectorized(
            #[inline(always)]
            || {
                pieces(
                    task * CHUNK,
                    y.len(),
                    p.n as usize,
                    #[inline(always)]
                    |_, column, range| {
                        let (y, x) = (&mut y[range.clone()], &x[range]);
                        let bounds = low[column..].iter().zip(&high[column..]);
                        for ((y, x), (low, high)) in y.iter_mut().zip(x).zip(bounds) {
                            *y = x.max(*low).min(*high);
                        }
                    },
                );
            },
        );
    });
}

fn backward<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, low, high) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>());
    let (dy, dx) = (buffers.read::<T>(), buffers.write::<T>());
    let operands = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
    dx.par_chunks_mut(CHUNK).zip(operands).enumerate().for_each(|(task, (dx, (x, dy)))| {
        T::vectorized(
            #[inline(always)]
            || {
                pieces(
                    task * CHUNK,
                    dx.len(),
                    p.n as usize,
                    #[inline(always)]
                    |_, column, range| {
                        let (dx, x, dy) = (&mut dx[range.clone()], &x[range.clone()], &dy[range]);
                        let bounds = low[column..].iter().zip(&high[column..]);
                        for (((dx, x), dy), (low, high)) in dx.iter_mut().zip(x).zip(dy).zip(bounds) {
                            *dx = if (*low <= *x) & (*x <= *high) { *dy } else { T::ZERO };
                        }
                    },
                );
            },
        );
    });
}
