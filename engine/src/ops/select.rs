//! A choice between two tensors, element by element.

use crate::device::Bind::{Absent, In, Out};
use crate::error::Result;
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::tensor::Tensor;
use isobath_kernels::select::{Params, SELECT, SELECT_BACKWARD};

struct Select;

impl Op for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (mask, a, b) = (x[0], x[1], x[2]);
        let y = Tensor::empty(a.device(), a.shape(), a.dtype())?;
        y.device().run(&SELECT, &Params { len: y.len() as u32 }, &[In(mask), In(a), In(b), Out(&y)])?;
        Ok((y, vec![mask.clone()]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let grad = |i| wanted.needs(i).then(|| wanted.output(i, dy)).transpose();
        let (da, db) = (grad(1)?, grad(2)?);
        let [out_a, out_b] = [&da, &db].map(|d| d.as_ref().map_or(Absent, Out));
        dy.device().run(&SELECT_BACKWARD, &Params { len: dy.len() as u32 }, &[In(&saved[0]), In(dy), out_a, out_b])?;
        Ok(vec![None, da, db])
    }
}

/// a where the mask is not 0, else b; all of one shape. The mask has no gradient.
///
/// # Errors
/// When the shapes differ.
pub fn select(mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    expect_shape("select", "a", a.shape(), mask.shape())?;
    expect_shape("select", "b", b.shape(), mask.shape())?;
    apply(Select, &[mask, a, b])
}
