//! The two steps of a denoising diffusion.

use crate::device::Bind::{Absent, In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::tensor::Tensor;
use isobath_kernels::binary::{BINARY, Function, Params};
use isobath_kernels::diffusion::{POSTERIOR_STEP, PosteriorParams, Q_SAMPLE, QSampleParams};
use isobath_kernels::layout;
use isobath_kernels::unary::{self, UNARY};

struct QSample;

impl Op for QSample {
    fn name(&self) -> &'static str {
        "q_sample"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (x0, noise, signal, sigma) = (x[0], x[1], x[2], x[3]);
        let y = Tensor::empty(x0.device(), x0.shape(), x0.dtype())?;
        let parameters = QSampleParams { len: y.len() as u32, n: (y.len() / signal.len().max(1)) as u32 };
        y.device().run(&Q_SAMPLE, &parameters, &[In(x0), In(noise), In(signal), In(sigma), Out(&y)])?;
        Ok((y, vec![signal.clone(), sigma.clone()]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let scaled = |i: usize| -> Result<Tensor> {
            let (dx, samples) = (wanted.output(i, dy)?, saved[i].len());
            let n = dy.len() / samples.max(1);
            let (dims, [a, b]) = layout::merge(&[samples, n], [&[n, 1], &[1, 0]]);
            let parameters = Params { len: dy.len() as u32, function: Function::Mul as u32, dims, a, b };
            dx.device().run(&BINARY, &parameters, &[In(dy), In(&saved[i]), Out(&dx)])?;
            Ok(dx)
        };
        let grad = |i| wanted.needs(i).then(|| scaled(i)).transpose();
        Ok(vec![grad(0)?, grad(1)?, None, None])
    }
}

/// Noise added to a clean state: signal x0 + sigma noise, one signal and sigma a sample.
/// Shapes: x0, noise `[b, ..]`, signal, sigma `[b]`, which have no gradient. Ho, Jain and Abbeel 2020, eq. 4, with
/// signal = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar) of each sample's step.
///
/// # Errors
/// When the shapes do not fit.
pub fn q_sample(x0: &Tensor, noise: &Tensor, signal: &Tensor, sigma: &Tensor) -> Result<Tensor> {
    let Some(samples) = x0.shape().dims().first() else {
        return shape_error("q_sample", "x0: expected [b, ..], found a scalar");
    };
    expect_shape("q_sample", "noise", noise.shape(), x0.shape())?;
    expect_shape("q_sample", "signal [b]", signal.shape(), [*samples])?;
    expect_shape("q_sample", "sigma [b]", sigma.shape(), [*samples])?;
    apply(QSample, &[x0, noise, signal, sigma])
}

/// The factors of one step back: of the state, of the predicted clean state and of fresh noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// Factor of x.
    pub x: f32,
    /// Factor of x_hat.
    pub x_hat: f32,
    /// Factor of the noise.
    pub noise: f32,
}

impl Op for Posterior {
    fn name(&self) -> &'static str {
        "posterior_step"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let y = Tensor::empty(x[0].device(), x[0].shape(), x[0].dtype())?;
        let parameters = PosteriorParams { len: y.len() as u32, x: self.x, x_hat: self.x_hat, noise: self.noise };
        let noise = x.get(2).map_or(Absent, |noise| In(noise));
        y.device().run(&POSTERIOR_STEP, &parameters, &[In(x[0]), In(x[1]), noise, Out(&y)])?;
        Ok((y, vec![]))
    }

    fn backward(&self, _: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let scaled = |(i, factor): (usize, f32)| -> Result<Option<Tensor>> {
            if !wanted.needs(i) {
                return Ok(None);
            }
            let dx = wanted.output(i, dy)?;
            let function = unary::Function::Affine as u32;
            let parameters = unary::Params { len: dy.len() as u32, function, a: factor, b: 0.0 };
            dx.device().run(&UNARY, &parameters, &[In(dy), Out(&dx)])?;
            Ok(Some(dx))
        };
        [self.x, self.x_hat, self.noise].into_iter().enumerate().map(scaled).collect()
    }
}

/// One step back: p.x x + p.x_hat x_hat + p.noise noise, all of one shape; without noise in the last step.
/// Ho, Jain and Abbeel 2020, eq. 6 and 7, with x_hat the prediction of the clean state.
///
/// # Errors
/// When the shapes differ.
pub fn posterior_step(x: &Tensor, x_hat: &Tensor, noise: Option<&Tensor>, p: Posterior) -> Result<Tensor> {
    expect_shape("posterior_step", "x_hat", x_hat.shape(), x.shape())?;
    match noise {
        None => apply(p, &[x, x_hat]),
        Some(noise) => {
            expect_shape("posterior_step", "noise", noise.shape(), x.shape())?;
            apply(p, &[x, x_hat, noise])
        }
    }
}
