//! Softmax over the last axis.

use crate::device::Bind::{In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply};
use crate::tensor::Tensor;
use isobath_kernels::softmax::{Params, SOFTMAX};
use isobath_kernels::softmax_backward::SOFTMAX_BACKWARD;

struct Softmax;

fn parameters(x: &Tensor) -> Params {
    Params { rows: x.shape().rows() as u32, channels: x.shape().last() as u32 }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let y = Tensor::empty(x[0].device(), x[0].shape(), x[0].dtype())?;
        y.device().run(&SOFTMAX, &parameters(x[0]), &[In(x[0]), Out(&y)])?;
        Ok((y.clone(), vec![y]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let y = &saved[0];
        let dx = wanted.output(0, y)?;
        y.device().run(&SOFTMAX_BACKWARD, &parameters(y), &[In(y), In(dy), Out(&dx)])?;
        Ok(vec![Some(dx)])
    }
}

/// Exponentials over their sum along the last axis: x, y `[.., c]`.
///
/// # Errors
/// When x is a scalar.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if x.shape().rank() == 0 {
        return shape_error("softmax", format!("x: expected [.., c], found {}", x.shape()));
    }
    apply(Softmax, &[x])
}
