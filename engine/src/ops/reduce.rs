//! Sums, means and maxima over axes.

use crate::device::Bind::{In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply};
use crate::shape::Shape;
use crate::tensor::Tensor;
use isobath_kernels::reduce::{MAX, Params, REDUCE, SUM};
use isobath_kernels::reduce_backward::REDUCE_BACKWARD;
use std::ops::Range;

struct Reduce {
    axes: Range<usize>,
    kind: u32,
    scale: f32,
}

impl Reduce {
    fn parameters(&self, shape: &Shape) -> Params {
        let product = |r: Range<usize>| shape.dims()[r].iter().product::<usize>() as u32;
        Params {
            outer: product(0..self.axes.start),
            len: product(self.axes.clone()),
            inner: product(self.axes.end..shape.rank()),
            kind: self.kind,
            scale: self.scale,
        }
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let dims = x[0].shape().dims();
        let kept: Vec<usize> = [&dims[..self.axes.start], &dims[self.axes.end..]].concat();
        let y = Tensor::empty(x[0].device(), kept.as_slice(), x[0].dtype())?;
        y.device().run(&REDUCE, &self.parameters(x[0].shape()), &[In(x[0]), Out(&y)])?;
        Ok((y.clone(), vec![x[0].clone(), y]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let (x, y) = (&saved[0], &saved[1]);
        let dx = wanted.output(0, x)?;
        x.device().run(&REDUCE_BACKWARD, &self.parameters(x.shape()), &[In(x), In(y), In(dy), Out(&dx)])?;
        Ok(vec![Some(dx)])
    }
}

fn reduce(x: &Tensor, axes: Range<usize>, kind: u32, mean: bool) -> Result<Tensor> {
    let rank = x.shape().rank();
    if axes.start > axes.end || axes.end > rank {
        return shape_error("reduce", format!("axes {axes:?} of a tensor {}", x.shape()));
    }
    let count: usize = x.shape().dims()[axes.clone()].iter().product();
    if count == 0 {
        return shape_error("reduce", format!("axes {axes:?} of {} hold no element", x.shape()));
    }
    let scale = if mean { 1.0 / count as f32 } else { 1.0 };
    apply(Reduce { axes, kind, scale }, &[x])
}

/// Sum of all elements, a scalar.
pub fn sum(x: &Tensor) -> Result<Tensor> {
    reduce(x, 0..x.shape().rank(), SUM, false)
}

/// Sum over neighbouring axes, which disappear from the shape.
pub fn sum_axis(x: &Tensor, axes: Range<usize>) -> Result<Tensor> {
    reduce(x, axes, SUM, false)
}

/// Mean over neighbouring axes, which disappear from the shape.
pub fn mean(x: &Tensor, axes: Range<usize>) -> Result<Tensor> {
    reduce(x, axes, SUM, true)
}

/// Maximum over neighbouring axes, which disappear from the shape. The gradient goes to the first maximum.
pub fn max(x: &Tensor, axes: Range<usize>) -> Result<Tensor> {
    reduce(x, axes, MAX, false)
}
