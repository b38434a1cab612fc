//! The gated activation.

use crate::device::Bind::{In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply};
use crate::tensor::Tensor;
use isobath_kernels::gate::{GATE, GATE_BACKWARD, Params};

struct Gate;

fn parameters(x: &Tensor) -> Params {
    Params { rows: x.shape().rows() as u32, c: (x.shape().last() / 2) as u32 }
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let x = x[0];
        let y = Tensor::empty(x.device(), x.shape().with_last(x.shape().last() / 2), x.dtype())?;
        y.device().run(&GATE, &parameters(x), &[In(x), Out(&y)])?;
        Ok((y, vec![x.clone()]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let x = &saved[0];
        let dx = wanted.output(0, x)?;
        x.device().run(&GATE_BACKWARD, &parameters(x), &[In(x), In(dy), Out(&dx)])?;
        Ok(vec![Some(dx)])
    }
}

/// sigmoid(g) tanh(h), where g and h are the first and the second half of the last axis: x `[.., 2c]`, y `[.., c]`.
///
/// # Errors
/// When the last axis has an odd length.
pub fn gate(x: &Tensor) -> Result<Tensor> {
    if !x.shape().last().is_multiple_of(2) {
        return shape_error("gate", format!("x: expected [.., 2c], found {}", x.shape()));
    }
    apply(Gate, &[x])
}
