//! Another shape for the same elements; free.

use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply};
use crate::shape::Shape;
use crate::tensor::Tensor;

struct Reshape {
    from: Shape,
    to: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((x[0].view(0, self.to), vec![]))
    }

    fn backward(&self, _: Vec<Tensor>, dy: &Tensor, _: &Wanted) -> Result<Grads> {
        Ok(vec![Some(dy.view(0, self.from))])
    }
}

/// The elements of `x` in the same order under another shape; shares the memory.
///
/// # Errors
/// When the numbers of elements differ.
pub fn reshape(x: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    let to = shape.into();
    if to.len() != x.len() {
        return shape_error("reshape", format!("{} elements of {} do not fit {to}", x.len(), x.shape()));
    }
    apply(Reshape { from: *x.shape(), to }, &[x])
}
