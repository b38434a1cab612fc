//! `reduce_backward`: the gradient of [`reduce`](crate::reduce) spread over its middle axis.
//!
//! dx[o, r, i] = scale dy[o, i] for a sum; for a maximum dy[o, i] at the first r where x equals y, else 0.
//! Shapes: x, dx `[outer, len, inner]`, y, dy `[outer, inner]`. Bound by memory: 4 bytes an element (8 for a maximum).

use crate::reduce::{MAX, Params, SUM, teams};
use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use rayon::prelude::*;

/// dx = gradient of the reduction.
pub static REDUCE_BACKWARD: Kernel<Params> = Kernel {
    name: "reduce_backward",
    buffers: &[("x", Access::Read), ("y", Access::Read), ("dy", Access::Read), ("dx", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("reduce_backward.wgsl", include_str!("../../shaders/reduce_backward.wgsl"))],
        dispatches: |p, _| match p.kind {
            SUM => Dispatches::one("reduce_backward_sum", (p.outer * p.len * p.inner).div_ceil(256)),
            _ => Dispatches::one("reduce_backward_max", (p.outer * p.inner).div_ceil(256)),
        },
    },
    ptx: Ptx {
        files: &[("reduce_backward.ptx", include_str!("../ptx/reduce_backward.ptx"))],
        dispatches: |p, _| dispatches(p),
    },
    cost: |p, _| {
        let [outer, len, inner] = [p.outer, p.len, p.inner].map(u64::from);
        Cost { flops: outer * len * inner, bytes: 4 * outer * inner * (1 + len * u64::from(1 + p.kind)) }
    },
};

/// Of a maximum first the rows where it stands, one number for an element of y.
fn dispatches(p: &Params) -> Dispatches {
    let entry = match p.inner.is_multiple_of(4) || p.inner == 1 && p.len.is_multiple_of(4) {
        true => "reduce_backward_fours",
        false => "reduce_backward",
    };
    let blocks = (p.outer * p.len * p.inner).div_ceil(1024);
    if p.kind != MAX {
        return Dispatches::one(entry, blocks);
    }
    Dispatches::with_scratch(1, (p.outer * p.inner) as usize)
        .then("reduce_backward_first", teams(p.outer, p.len, p.inner).0)
        .then(entry, blocks)
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y, dy, dx) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>(), buffers.write::<T>());
    let (len, inner) = (p.len as usize, p.inner as usize);
    if dx.is_empty() {
        return;
    }
    if p.kind == SUM {
        let scale = T::of(f64::from(p.scale));
        dx.par_chunks_mut(inner).enumerate().with_min_len(4096usize.div_ceil(inner)).for_each(|(row, dx)| {
            let dy = &dy[row / len * inner..][..inner];
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx = scale * *dy;
            }
        });
        return;
    }
    dx.par_chunks_mut(len * inner).enumerate().for_each(|(o, dx)| {
        dx.fill(T::ZERO);
        for i in 0..inner {
            let at = o * inner + i;
            let first = (0..len).find(|r| x[o * len * inner + r * inner + i] == y[at]);
            // A maximum that is NaN equals nothing; its gradient goes to the first element.
            dx[first.unwrap_or(0) * inner + i] = dy[at];
        }
    });
}
