//! `adam`: one step of Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019) on flat buffers.
//!
//! g = clip * gradient (+ decay * value unless decoupled); m += (1 - beta1) (g - m); v += (1 - beta2) (g^2 - v);
//! value -= lr / correction1 * m / (sqrt(v) / sqrt(correction2) + eps), after value *= 1 - lr decay when decoupled.
//! clip = min(1, max_norm / (norm + 1e-6)) where the norm's square comes from a buffer, so that no step waits for the
//! host. These are the conventions of `torch.optim` and `clip_grad_norm_`. Shapes: values, gradients, m, v `[len]`,
//! norm_squared `[1]`. Bound by memory: 28 bytes an element.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// The constants of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Weight decay.
    pub decay: f64,
    /// Whether the decay acts on the values alone (AdamW) or is part of the gradient (Adam with an L2 penalty).
    pub decoupled: bool,
    /// Largest norm of the gradient; 0 for no limit.
    pub max_norm: f64,
}

/// Parameters of [`ADAM`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
    /// Learning rate.
    pub lr: f32,
    /// 1 - beta1, which f32 holds more exactly than beta1.
    pub rest1: f32,
    /// 1 - beta2.
    pub rest2: f32,
    /// Added to the root of the mean square.
    pub eps: f32,
    /// Weight decay.
    pub decay: f32,
    /// 1 for AdamW, 0 for Adam.
    pub decoupled: u32,
    /// 1 - beta1^t at step t.
    pub correction1: f32,
    /// 1 - beta2^t.
    pub correction2: f32,
    /// Largest norm of the gradient; 0 for no limit.
    pub max_norm: f32,
}

impl Params {
    /// Step `t` of a run, counted from 1.
    pub fn new(len: u32, s: &Settings, t: u64) -> Self {
        let correction = |beta: f64| (1.0 - beta.powf(t as f64)) as f32;
        Params {
            len,
            lr: s.lr as f32,
            rest1: (1.0 - s.beta1) as f32,
            rest2: (1.0 - s.beta2) as f32,
            eps: s.eps as f32,
            decay: s.decay as f32,
            decoupled: u32::from(s.decoupled),
            correction1: correction(s.beta1),
            correction2: correction(s.beta2),
            max_norm: s.max_norm as f32,
        }
    }
}

/// One step on values and moments; `norm_squared` may be absent without a limit.
pub static ADAM: Kernel<Params> = Kernel {
    name: "adam",
    buffers: &[
        ("values", Access::Update),
        ("gradients", Access::Read),
        ("first", Access::Update),
        ("second", Access::Update),
        ("norm_squared", Access::Read),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("adam.wgsl", include_str!("../../shaders/adam.wgsl"))],
        dispatches: |p, _| Dispatches::one("adam", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("adam.ptx", include_str!("../ptx/adam.ptx"))],
        dispatches: |p, _| Dispatches::one("adam", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: 16 * u64::from(p.len), bytes: 28 * u64::from(p.len) },
};

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (values, gradients) = (buffers.write::<T>(), buffers.read::<T>());
    let (first, second, norm_squared) = (buffers.write::<T>(), buffers.write::<T>(), buffers.read::<T>());
    let [lr, rest1, rest2, eps, decay, correction1, correction2, max_norm] =
        [p.lr, p.rest1, p.rest2, p.eps, p.decay, p.correction1, p.correction2, p.max_norm].map(|v| T::of(f64::from(v)));
    let clip = match norm_squared {
        [square] if p.max_norm > 0.0 => (max_norm / (square.sqrt() + T::of(1e-6))).min(T::ONE),
        _ => T::ONE,
    };
    let (penalty, shrink) = if p.decoupled == 1 { (T::ZERO, T::ONE - lr * decay) } else { (decay, T::ONE) };
    let (rate, root) = (lr / correction1, correction2.sqrt());
    let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
    values.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK)).zip(moments).for_each(|((x, g), (m, v))| {
        T::vectorized(
            #[inline(always)]
            || {
                for (((x, g), m), v) in x.iter_mut().zip(g).zip(m).zip(v) {
                    let g = penalty.mul_add(*x, clip * *g);
                    *m = rest1.mul_add(g - *m, *m);
                    *v = rest2.mul_add(g.mul_add(g, -*v), *v);
                    *x = shrink * *x - rate * *m / (v.sqrt() / root + eps);
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::Slot;
    use bytemuck::{cast_slice, cast_slice_mut};

    /// The loop of `torch.optim.Adam` and `AdamW` after `clip_grad_norm_`, one number at a time.
    fn torch(s: &Settings, x: &mut [f64], gradients: &[Vec<f64>]) {
        let (mut m, mut v) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for (step, gradient) in gradients.iter().enumerate() {
            let t = step as i32 + 1;
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let clip = if s.max_norm > 0.0 { (s.max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
            for i in 0..x.len() {
                let mut g = clip * gradient[i];
                if s.decoupled {
                    x[i] *= 1.0 - s.lr * s.decay;
                } else {
                    g += s.decay * x[i];
                }
                m[i] = s.beta1 * m[i] + (1.0 - s.beta1) * g;
                v[i] = s.beta2 * v[i] + (1.0 - s.beta2) * g * g;
                let denominator = v[i].sqrt() / (1.0 - s.beta2.powi(t)).sqrt() + s.eps;
                x[i] -= s.lr / (1.0 - s.beta1.powi(t)) * m[i] / denominator;
            }
        }
    }

    fn kernel<T: Real>(s: &Settings, start: &[f64], gradients: &[Vec<f64>]) -> Vec<f64> {
        let of = |x: &[f64]| x.iter().map(|v| T::of(*v)).collect::<Vec<T>>();
        let (mut x, mut m, mut v) = (of(start), of(&[0.0; 5]), of(&[0.0; 5]));
        for (step, gradient) in gradients.iter().enumerate() {
            let norm_squared = of(&[gradient.iter().map(|g| g * g).sum()]);
            let gradient = of(gradient);
            let slots = vec![
                Slot::Write(cast_slice_mut(&mut x)),
                Slot::Read(cast_slice(&gradient)),
                Slot::Write(cast_slice_mut(&mut m)),
                Slot::Write(cast_slice_mut(&mut v)),
                Slot::Read(cast_slice(&norm_squared)),
            ];
            run::<T>(&Params::new(5, s, step as u64 + 1), Buffers::new(slots));
        }
        x.iter().map(|x| x.f64()).collect()
    }

    #[test]
    fn steps_agree_with_torch() {
        let start = [0.5, -1.25, 2.0, 0.0, 1e-3];
        let gradients: Vec<Vec<f64>> =
            (0..20).map(|t| (0..5).map(|i| (f64::from(t * 5 + i) * 0.7).sin() * 2.0 + 0.1).collect()).collect();
        for (decay, decoupled, max_norm) in [(0.0, false, 0.0), (0.1, false, 1.0), (0.1, true, 1.0), (0.1, true, 50.0)]
        {
            let s = Settings { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay, decoupled, max_norm };
            let mut expected = start.to_vec();
            torch(&s, &mut expected, &gradients);
            for (found, bound) in
                [(kernel::<f64>(&s, &start, &gradients), 1e-7), (kernel::<f32>(&s, &start, &gradients), 1e-6)]
            {
                let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < bound, "{s:?}: {worst:e} past {bound:e}");
            }
        }
    }
}
