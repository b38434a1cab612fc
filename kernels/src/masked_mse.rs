//! `masked_mse` and `masked_mse_backward`: the mean squared error over the entries that the mask names.
//!
//! loss = sum_i m_i (p_i - t_i)^2 / w with w = sum_i m_i, or 1 when the mask is empty; dp_i = 2 m_i (p_i - t_i) dy / w
//! and dt = -dp. Entries with m_i = 0 do not count whatever they hold, NaN included. Shapes: p, t, m `[len]`, loss and
//! w `[1]`. Chunks are summed in parallel, their sums in order. Bound by memory: 12 bytes an element,
//! and 16 for one gradient.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, simd};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// Parameters of [`MASKED_MSE`] and [`MASKED_MSE_BACKWARD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
}

/// The loss and the weight w by which it divides.
pub static MASKED_MSE: Kernel<Params> = Kernel {
    name: "masked_mse",
    buffers: &[
        ("prediction", Access::Read),
        ("target", Access::Read),
        ("mask", Access::Read),
        ("loss", Access::Write),
        ("weight", Access::Write),
    ],
    cpu: Cpu { f32: forward::<f32>, f64: forward::<f64> },
    wgsl: Wgsl {
        files: &[("masked_mse.wgsl", include_str!("../../shaders/masked_mse.wgsl"))],
        dispatches: |p, _| {
            let parts = p.len.div_ceil(1 << 14).clamp(1, 256);
            Dispatches::with_scratch(parts, 2).then("masked_mse_parts", parts).then("masked_mse", 1)
        },
    },
    ptx: Ptx { files: &[("masked_mse.ptx", include_str!("../ptx/masked_mse.ptx"))], dispatches: |p, _| dispatches(p) },
    cost: |p, _| Cost { flops: 5 * u64::from(p.len), bytes: 12 * u64::from(p.len) },
};

/// The gradients of the prediction and of the target; either may be absent.
pub static MASKED_MSE_BACKWARD: Kernel<Params> = Kernel {
    name: "masked_mse_backward",
    buffers: &[
        ("prediction", Access::Read),
        ("target", Access::Read),
        ("mask", Access::Read),
        ("weight", Access::Read),
        ("dy", Access::Read),
        ("d_prediction", Access::Write),
        ("d_target", Access::Write),
    ],
    cpu: Cpu { f32: backward::<f32>, f64: backward::<f64> },
    wgsl: Wgsl {
        files: &[("masked_mse_backward.wgsl", include_str!("../../shaders/masked_mse_backward.wgsl"))],
        dispatches: |p, _| Dispatches::one("masked_mse_backward", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("masked_mse_backward.ptx", include_str!("../ptx/masked_mse_backward.ptx"))],
        dispatches: |p, _| Dispatches::one("masked_mse_backward", p.len.div_ceil(1024)),
    },
    cost: |p, given| {
        let gradients = ["d_prediction", "d_target"].map(|name| u64::from(given(name))).iter().sum::<u64>();
        Cost { flops: 4 * u64::from(p.len), bytes: 4 * (3 + gradients) * u64::from(p.len) }
    },
};

fn dispatches(p: &Params) -> Dispatches {
    let parts = p.len.div_ceil(1 << 14).clamp(1, 256);
    Dispatches::with_scratch(parts, 2).then("masked_mse_parts", parts).then("masked_mse", 1)
}

fn forward<T: Real>(_: &Params, mut buffers: Buffers<'_>) {
    let (prediction, target, mask) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>());
    let (loss, weight) = (buffers.write::<T>(), buffers.write::<T>());
    let chunks = prediction.par_chunks(CHUNK).zip(target.par_chunks(CHUNK)).zip(mask.par_chunks(CHUNK));
    let partials: Vec<(T, T)> = chunks
        .map(|((p, t), m)| {
            T::vectorized(
                #[inline(always)]
                || {
                    let squares = simd::sum(
                        p.len(),
                        #[inline(always)]
                        |i| {
                            let error = p[i] - t[i];
                            if m[i] != T::ZERO { error * error * m[i] } else { T::ZERO }
                        },
                    );
                    (
                        squares,
                        simd::sum(
                            m.len(),
                            #[inline(always)]
                            |i| m[i],
                        ),
                    )
                },
            )
        })
        .collect();
    let (squares, mass) = partials.iter().fold((T::ZERO, T::ZERO), |(s, w), (ds, dw)| (s + *ds, w + *dw));
    weight[0] = if mass == T::ZERO { T::ONE } else { mass };
    loss[0] = squares / weight[0];
}

fn backward<T: Real>(_: &Params, mut buffers: Buffers<'_>) {
    let (prediction, target, mask) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>());
    let (weight, dy) = (buffers.read::<T>(), buffers.read::<T>());
    for sign in [2.0, -2.0] {
        let factor = T::of(sign) * dy[0] / weight[0];
        let dx = buffers.write::<T>();
        let operands = prediction.par_chunks(CHUNK).zip(target.par_chunks(CHUNK)).zip(mask.par_chunks(CHUNK));
        dx.par_chunks_mut(CHUNK).zip(operands).for_each(|(dx, ((p, t), m))| {
            T::vectorized(
                #[inline(always)]
                || {
                    for (((dx, p), t), m) in dx.iter_mut().zip(p).zip(t).zip(m) {
                        *dx = if *m != T::ZERO { factor * *m * (*p - *t) } else { T::ZERO };
                    }
                },
            );
        });
    }
}
