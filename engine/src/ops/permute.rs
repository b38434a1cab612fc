//! Axes in another order.

use crate::device::Bind::{In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply};
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;
use isobath_kernels::layout;
use isobath_kernels::permute::{PERMUTE, Params};

struct Permute {
    /// Axis of x for every axis of y.
    axes: Vec<usize>,
    from: Shape,
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let dims: Vec<usize> = self.axes.iter().map(|axis| x[0].shape()[*axis]).collect();
        let y = Tensor::empty(x[0].device(), dims.as_slice(), x[0].dtype())?;
        run(x[0], &self.axes, &y)?;
        Ok((y, vec![]))
    }

    fn backward(&self, _: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let mut inverse = vec![0; self.axes.len()];
        for (axis, source) in self.axes.iter().enumerate() {
            inverse[*source] = axis;
        }
        let dx = wanted.output_shaped(0, self.from, dy)?;
        run(dy, &inverse, &dx)?;
        Ok(vec![Some(dx)])
    }
}

fn run(x: &Tensor, axes: &[usize], y: &Tensor) -> Result<()> {
    let shape = x.shape();
    let mut strides = [1; MAX_RANK];
    for axis in (1..shape.rank()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let dims: Vec<usize> = axes.iter().map(|axis| shape[*axis]).collect();
    let steps: Vec<usize> = axes.iter().map(|axis| strides[*axis]).collect();
    let (dims, [strides]) = layout::merge(&dims, [&steps]);
    y.device().run(&PERMUTE, &Params { len: y.len() as u32, dims, strides }, &[In(x), Out(y)])
}

/// x with its axes in another order: axis i of the result is axis `axes[i]` of x.
///
/// # Errors
/// When `axes` does not name every axis once.
pub fn permute(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let rank = x.shape().rank();
    if axes.len() != rank || (0..rank).any(|axis| !axes.contains(&axis)) {
        return shape_error("permute", format!("axes: expected each of 0..{rank} once, found {axes:?}"));
    }
    apply(Permute { axes: axes.to_vec(), from: *x.shape() }, &[x])
}
