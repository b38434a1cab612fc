//! `q_sample` and `posterior_step`: the two steps of a denoising diffusion (Ho, Jain and Abbeel 2020).
//!
//! Forward process (eq. 4): `y[b, i] = signal[b] x0[b, i] + sigma[b] noise[b, i]`, shapes x0, noise, y `[len]` =
//! `[b, n]`, signal and sigma `[b]`. Reverse process (eq. 6, 7): y = a x + c x_hat + s noise, all `[len]`, noise
//! absent in the last step. Their gradients are products with the same numbers. Bound by memory: 12 and 16 bytes an
//! element.

use crate::layout::pieces;
use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// Parameters of [`Q_SAMPLE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct QSampleParams {
    /// Number of elements of x0.
    pub len: u32,
    /// Elements of one sample.
    pub n: u32,
}

/// y = signal x0 + sigma noise, one signal and sigma a sample.
pub static Q_SAMPLE: Kernel<QSampleParams> = Kernel {
    name: "q_sample",
    buffers: &[
        ("x0", Access::Read),
        ("noise", Access::Read),
        ("signal", Access::Read),
        ("sigma", Access::Read),
        ("y", Access::Write),
    ],
    cpu: Cpu { f32: q_sample::<f32>, f64: q_sample::<f64> },
    wgsl: Wgsl {
        files: &[("q_sample.wgsl", include_str!("../../shaders/q_sample.wgsl"))],
        dispatches: |p, _| Dispatches::one("q_sample", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("q_sample.ptx", include_str!("../ptx/q_sample.ptx"))],
        dispatches: |p, _| Dispatches::one("q_sample", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: 3 * u64::from(p.len), bytes: 12 * u64::from(p.len) },
};

/// Parameters of [`POSTERIOR_STEP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct PosteriorParams {
    /// Number of elements.
    pub len: u32,
    /// Factor a of x.
    pub x: f32,
    /// Factor c of x_hat.
    pub x_hat: f32,
    /// Factor s of the noise.
    pub noise: f32,
}

/// y = a x + c x_hat + s noise; the noise may be absent.
pub static POSTERIOR_STEP: Kernel<PosteriorParams> = Kernel {
    name: "posterior_step",
    buffers: &[("x", Access::Read), ("x_hat", Access::Read), ("noise", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: posterior_step::<f32>, f64: posterior_step::<f64> },
    wgsl: Wgsl {
        files: &[("posterior_step.wgsl", include_str!("../../shaders/posterior_step.wgsl"))],
        dispatches: |p, _| Dispatches::one("posterior_step", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("posterior_step.ptx", include_str!("../ptx/posterior_step.ptx"))],
        dispatches: |p, _| Dispatches::one("posterior_step", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: 5 * u64::from(p.len), bytes: 16 * u64::from(p.len) },
};

fn q_sample<T: Real>(p: &QSampleParams, mut buffers: Buffers<'_>) {
    let (x0, noise) = (buffers.read::<T>(), buffers.read::<T>());
    let (signal, sigma, y) = (buffers.read::<T>(), buffers.read::<T>(), buffers.write::<T>());
    let operands = x0.par_chunks(CHUNK).zip(noise.par_chunks(CHUNK));
    y.par_chunks_mut(CHUNK).zip(operands).enumerate().for_each(|(task, (y, (x0, noise)))| {
        T::vectorized(
            #[inline(always)]
            || {
                pieces(
                    task * CHUNK,
                    y.len(),
                    p.n as usize,
                    #[inline(always)]
                    |sample, _, range| {
                        let (signal, sigma) = (signal[sample], sigma[sample]);
                        let (y, x0, noise) = (&mut y[range.clone()], &x0[range.clone()], &noise[range]);
                        for ((y, x), e) in y.iter_mut().zip(x0).zip(noise) {
                            *y = signal.mul_add(*x, sigma * *e);
                        }
                    },
                );
            },
        );
    });
}

fn posterior_step<T: Real>(p: &PosteriorParams, mut buffers: Buffers<'_>) {
    let (x, x_hat, noise) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>());
    let y = buffers.write::<T>();
    let [a, c, s] = [p.x, p.x_hat, p.noise].map(|v| T::of(f64::from(v)));
    let operands = x.par_chunks(CHUNK).zip(x_hat.par_chunks(CHUNK));
    y.par_chunks_mut(CHUNK).zip(operands).enumerate().for_each(|(task, (y, (x, x_hat)))| {
        T::vectorized(
            #[inline(always)]
            || {
                for ((y, x), x_hat) in y.iter_mut().zip(x).zip(x_hat) {
                    *y = a.mul_add(*x, c * *x_hat);
                }
                if let Some(noise) = noise.get(task * CHUNK..) {
                    for (y, e) in y.iter_mut().zip(noise) {
                        *y = s.mul_add(*e, *y);
                    }
                }
            },
        );
    });
}
