//! Attention over the frames of a sequence.

use crate::device::Bind::{In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::tensor::Tensor;
use isobath_kernels::Kernel;
use isobath_kernels::linear_attention::{LINEAR_ATTENTION, Params};
use isobath_kernels::linear_attention_backward::LINEAR_ATTENTION_BACKWARD;
use isobath_kernels::softmax_attention::SOFTMAX_ATTENTION;
use isobath_kernels::softmax_attention_backward::SOFTMAX_ATTENTION_BACKWARD;

struct Attention {
    heads: usize,
    forward: &'static Kernel<Params>,
    backward: &'static Kernel<Params>,
}

impl Attention {
    fn parameters(&self, q: &Tensor) -> Params {
        let [sequences, frames, width] = [0, 1, 2].map(|axis| q.shape()[axis] as u32);
        let heads = self.heads as u32;
        Params { sequences, frames, heads, dim: width / heads }
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        self.forward.name
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let y = Tensor::empty(x[0].device(), x[0].shape(), x[0].dtype())?;
        y.device().run(self.forward, &self.parameters(x[0]), &[In(x[0]), In(x[1]), In(x[2]), Out(&y)])?;
        Ok((y, x.iter().map(|t| (*t).clone()).collect()))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let (q, k, v) = (&saved[0], &saved[1], &saved[2]);
        let (dq, dk, dv) = (wanted.output(0, q)?, wanted.output(1, k)?, wanted.output(2, v)?);
        let bound = [In(q), In(k), In(v), In(dy), Out(&dq), Out(&dk), Out(&dv)];
        dy.device().run(self.backward, &self.parameters(q), &bound)?;
        Ok(vec![Some(dq), Some(dk), Some(dv)])
    }
}

fn attention(op: Attention, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (name, heads) = (op.forward.name, op.heads);
    if q.shape().rank() != 3 {
        return shape_error(name, format!("q: expected [s, t, heads dim], found {}", q.shape()));
    }
    let width = q.shape()[2];
    if heads == 0 || !width.is_multiple_of(heads) {
        return shape_error(name, format!("q [s, t, width]: width = {width} is not a multiple of heads = {heads}"));
    }
    expect_shape(name, "k (as q)", k.shape(), q.shape())?;
    expect_shape(name, "v (as q)", v.shape(), q.shape())?;
    apply(op, &[q, k, v])
}

/// Attention linear in the number of frames: for each head q' = softmax of q over its d features, k' = softmax of k
/// over the frames, o = q' (k'^T v) / sqrt(d). All `[s, t, heads d]` (Shen et al. 2021).
///
/// # Errors
/// When the shapes do not fit or `heads` does not divide the last axis.
pub fn linear_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    attention(Attention { heads, forward: &LINEAR_ATTENTION, backward: &LINEAR_ATTENTION_BACKWARD }, q, k, v)
}

/// Scaled dot-product attention: for each head o = softmax over frames of (q k^T / sqrt(d)) v. All `[s, t, heads d]`
/// (Vaswani et al. 2017, eq. 1).
///
/// # Errors
/// When the shapes do not fit or `heads` does not divide the last axis.
pub fn softmax_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    attention(Attention { heads, forward: &SOFTMAX_ATTENTION, backward: &SOFTMAX_ATTENTION_BACKWARD }, q, k, v)
}
