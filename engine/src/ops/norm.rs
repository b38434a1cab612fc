//! Normalisation with a learned scale and shift for each channel.

use crate::device::Bind::{In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::shape::Shape;
use crate::tensor::Tensor;
use isobath_kernels::group_norm::{self, GROUP_NORM};
use isobath_kernels::group_norm_backward::GROUP_NORM_BACKWARD;
use isobath_kernels::layer_norm::{self, LAYER_NORM};
use isobath_kernels::layer_norm_backward::LAYER_NORM_BACKWARD;

/// The result, its statistics in tensors of shape `statistics`, and what the backward reads.
fn normalise(
    x: &[&Tensor],
    statistics: impl Into<Shape>,
    launch: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Result<()>,
) -> Result<(Tensor, Vec<Tensor>)> {
    let (device, dtype, statistics) = (x[0].device(), x[0].dtype(), statistics.into());
    let y = Tensor::empty(device, x[0].shape(), dtype)?;
    let mean = Tensor::empty(device, statistics, dtype)?;
    let rstd = Tensor::empty(device, statistics, dtype)?;
    launch(&y, &mean, &rstd)?;
    Ok((y, vec![x[0].clone(), x[1].clone(), mean, rstd]))
}

/// The three gradients of a normalisation.
fn gradients(
    saved: &[Tensor],
    wanted: &Wanted,
    launch: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Result<()>,
) -> Result<Grads> {
    let dx = wanted.output(0, &saved[0])?;
    let dgamma = wanted.output(1, &saved[1])?;
    let dbeta = wanted.output(2, &saved[1])?;
    launch(&dx, &dgamma, &dbeta)?;
    Ok(vec![Some(dx), Some(dgamma), Some(dbeta)])
}

struct LayerNorm {
    eps: f32,
}

impl LayerNorm {
    fn parameters(&self, x: &Tensor) -> layer_norm::Params {
        layer_norm::Params { rows: x.shape().rows() as u32, channels: x.shape().last() as u32, eps: self.eps }
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        normalise(x, [x[0].shape().rows()], |y, mean, rstd| {
            let bound = [In(x[0]), In(x[1]), In(x[2]), Out(y), Out(mean), Out(rstd)];
            y.device().run(&LAYER_NORM, &self.parameters(x[0]), &bound)
        })
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        gradients(&saved, wanted, |dx, dgamma, dbeta| {
            let [x, gamma, mean, rstd] = [&saved[0], &saved[1], &saved[2], &saved[3]];
            let bound = [In(x), In(gamma), In(mean), In(rstd), In(dy), Out(dx), Out(dgamma), Out(dbeta)];
            dy.device().run(&LAYER_NORM_BACKWARD, &self.parameters(x), &bound)
        })
    }
}

/// y = (x - mean) / sqrt(variance + eps) gamma + beta with mean and biased variance over the last axis: x `[.., c]`,
/// gamma, beta `[c]`, y `[.., c]` (Ba et al. 2016).
///
/// # Errors
/// When the shapes do not fit.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f32) -> Result<Tensor> {
    if x.shape().rank() == 0 {
        return shape_error("layer_norm", format!("x: expected [.., c], found {}", x.shape()));
    }
    let channels = x.shape().last();
    expect_shape("layer_norm", "gamma [c]", gamma.shape(), [channels])?;
    expect_shape("layer_norm", "beta [c]", beta.shape(), [channels])?;
    apply(LayerNorm { eps }, &[x, gamma, beta])
}

struct GroupNorm {
    groups: usize,
    eps: f32,
}

impl GroupNorm {
    fn parameters(&self, x: &Tensor) -> group_norm::Params {
        let [batch, nodes, channels] = [0, 1, 2].map(|axis| x.shape()[axis] as u32);
        group_norm::Params { batch, nodes, channels, groups: self.groups as u32, eps: self.eps }
    }
}

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        normalise(x, [x[0].shape()[0], self.groups], |y, mean, rstd| {
            let bound = [In(x[0]), In(x[1]), In(x[2]), Out(y), Out(mean), Out(rstd)];
            y.device().run(&GROUP_NORM, &self.parameters(x[0]), &bound)
        })
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        gradients(&saved, wanted, |dx, dgamma, dbeta| {
            let [x, gamma, mean, rstd] = [&saved[0], &saved[1], &saved[2], &saved[3]];
            let bound = [In(x), In(gamma), In(mean), In(rstd), In(dy), Out(dx), Out(dgamma), Out(dbeta)];
            dy.device().run(&GROUP_NORM_BACKWARD, &self.parameters(x), &bound)
        })
    }
}

/// y = (x - mean) / sqrt(variance + eps) gamma + beta with mean and biased variance over all nodes and the channels
/// of a group: x `[b, n, c]`, gamma, beta `[c]`, y `[b, n, c]`; `groups` divides c (Wu and He 2018).
///
/// # Errors
/// When the shapes do not fit or `groups` does not divide c.
pub fn group_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, groups: usize, eps: f32) -> Result<Tensor> {
    if x.shape().rank() != 3 {
        return shape_error("group_norm", format!("x: expected [b, n, c], found {}", x.shape()));
    }
    let channels = x.shape()[2];
    if groups == 0 || !channels.is_multiple_of(groups) {
        let what = format!("x [b, n, c]: c = {channels} is not a multiple of groups = {groups}");
        return shape_error("group_norm", what);
    }
    expect_shape("group_norm", "gamma [c]", gamma.shape(), [channels])?;
    expect_shape("group_norm", "beta [c]", beta.shape(), [channels])?;
    apply(GroupNorm { groups, eps }, &[x, gamma, beta])
}
