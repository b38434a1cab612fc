//! Parts of an axis: joining, cutting out and rolling.

use crate::device::Bind::{In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply};
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;
use isobath_kernels::columns::{COLUMNS, Params};
use std::ops::Range;

/// Copies `length` steps along `axis` from x, starting at `x_start`, to y, starting at `y_start`.
fn copy(x: &Tensor, x_start: usize, y: &Tensor, y_start: usize, length: usize, axis: usize, fill: bool) -> Result<()> {
    let product = |dims: &[usize]| dims.iter().product::<usize>() as u32;
    let inner = product(&y.shape().dims()[axis + 1..]);
    let columns = |steps: usize| steps as u32 * inner;
    let parameters = Params {
        rows: product(&y.shape().dims()[..axis]),
        width: columns(length),
        x_row: columns(x.shape()[axis]),
        x_start: columns(x_start),
        y_row: columns(y.shape()[axis]),
        y_start: columns(y_start),
        fill: u32::from(fill),
    };
    y.device().run(&COLUMNS, &parameters, &[In(x), Out(y)])
}

/// The same shape with another length of one axis.
fn with_axis(shape: &Shape, axis: usize, length: usize) -> Shape {
    let mut dims = shape.dims().to_vec();
    dims[axis] = length;
    Shape::new(&dims)
}

fn expect_axis(op: &'static str, shape: &Shape, axis: usize) -> Result<()> {
    if axis < shape.rank() {
        return Ok(());
    }
    shape_error(op, format!("axis {axis} of a tensor {shape}"))
}

struct Concat {
    axis: usize,
    /// Length of each input along the axis.
    lengths: Vec<usize>,
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let shape = with_axis(x[0].shape(), self.axis, self.lengths.iter().sum());
        let y = Tensor::empty(x[0].device(), shape, x[0].dtype())?;
        let mut start = 0;
        for (x, length) in x.iter().zip(&self.lengths) {
            copy(x, 0, &y, start, *length, self.axis, false)?;
            start += length;
        }
        Ok((y, vec![]))
    }

    fn backward(&self, _: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let mut start = 0;
        let mut grads = Vec::new();
        for (i, length) in self.lengths.iter().enumerate() {
            grads.push(if wanted.needs(i) {
                let dx = wanted.output_shaped(i, with_axis(dy.shape(), self.axis, *length), dy)?;
                copy(dy, start, &dx, 0, *length, self.axis, false)?;
                Some(dx)
            } else {
                None
            });
            start += length;
        }
        Ok(grads)
    }
}

/// Tensors one after the other along `axis`; their other axes agree.
///
/// # Errors
/// When there is no tensor, or the shapes do not fit.
pub fn concat(x: &[&Tensor], axis: usize) -> Result<Tensor> {
    let Some(first) = x.first().map(|x| x.shape()) else {
        return shape_error("concat", "expected at least one tensor, found none");
    };
    expect_axis("concat", first, axis)?;
    for (i, x) in x.iter().enumerate() {
        if x.shape().rank() != first.rank() || with_axis(x.shape(), axis, first[axis]) != *first {
            let length = |(at, length): (usize, &usize)| if at == axis { "..".into() } else { length.to_string() };
            let expected: Vec<String> = first.dims().iter().enumerate().map(length).collect();
            return shape_error(
                "concat",
                format!("input {i}: expected [{}], found {}", expected.join(", "), x.shape()),
            );
        }
    }
    apply(Concat { axis, lengths: x.iter().map(|x| x.shape()[axis]).collect() }, x)
}

/// Tensors of one shape side by side along a new axis.
///
/// # Errors
/// When there is no tensor, the shapes differ, or there is no room for another axis.
pub fn stack(x: &[&Tensor], axis: usize) -> Result<Tensor> {
    let mut parts = Vec::new();
    for x in x {
        let rank = x.shape().rank();
        if axis > rank || rank == MAX_RANK {
            return shape_error("stack", format!("a new axis {axis} of a tensor {}", x.shape()));
        }
        let mut dims = x.shape().dims().to_vec();
        dims.insert(axis, 1);
        parts.push(super::reshape(x, dims.as_slice())?);
    }
    concat(&parts.iter().collect::<Vec<_>>(), axis)
}

struct Slice {
    axis: usize,
    range: Range<usize>,
    /// Length of the whole axis.
    length: usize,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let y = Tensor::empty(x[0].device(), with_axis(x[0].shape(), self.axis, self.range.len()), x[0].dtype())?;
        copy(x[0], self.range.start, &y, 0, self.range.len(), self.axis, false)?;
        Ok((y, vec![]))
    }

    fn backward(&self, _: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let dx = wanted.output_shaped(0, with_axis(dy.shape(), self.axis, self.length), dy)?;
        copy(dy, 0, &dx, self.range.start, self.range.len(), self.axis, true)?;
        Ok(vec![Some(dx)])
    }
}

/// The part `range` of an axis.
///
/// # Errors
/// When the range is not part of the axis.
pub fn slice(x: &Tensor, axis: usize, range: Range<usize>) -> Result<Tensor> {
    expect_axis("slice", x.shape(), axis)?;
    let length = x.shape()[axis];
    if range.start > range.end || range.end > length {
        return shape_error("slice", format!("axis {axis}: expected a range within 0..{length}, found {range:?}"));
    }
    apply(Slice { axis, range, length }, &[x])
}

struct Roll {
    axis: usize,
    /// Steps forward, less than the length of the axis.
    shift: usize,
}

fn roll_into(x: &Tensor, axis: usize, shift: usize, y: &Tensor) -> Result<()> {
    let rest = x.shape()[axis] - shift;
    copy(x, 0, y, shift, rest, axis, false)?;
    copy(x, rest, y, 0, shift, axis, false)
}

impl Op for Roll {
    fn name(&self) -> &'static str {
        "roll"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let y = Tensor::empty(x[0].device(), x[0].shape(), x[0].dtype())?;
        roll_into(x[0], self.axis, self.shift, &y)?;
        Ok((y, vec![]))
    }

    fn backward(&self, _: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let dx = wanted.output(0, dy)?;
        roll_into(dy, self.axis, dy.shape()[self.axis] - self.shift, &dx)?;
        Ok(vec![Some(dx)])
    }
}

/// x moved by `shift` steps along `axis`; what leaves at one end comes in at the other.
///
/// # Errors
/// When there is no such axis.
pub fn roll(x: &Tensor, axis: usize, shift: isize) -> Result<Tensor> {
    expect_axis("roll", x.shape(), axis)?;
    let shift = shift.rem_euclid(x.shape()[axis].max(1) as isize) as usize;
    apply(Roll { axis, shift }, &[x])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device};

    #[test]
    fn errors_name_the_input_and_the_range() -> Result<()> {
        let device = Device::cpu();
        let tensor = |dims: &[usize]| Tensor::zeros(&device, dims, DType::F32);
        let (a, b) = (tensor(&[2, 3])?, tensor(&[2, 4])?);
        let text = |found: Result<Tensor>| found.err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(text(concat(&[&a, &b], 0)), "concat: input 1: expected [.., 3], found [2, 4]");
        assert_eq!(text(concat(&[], 0)), "concat: expected at least one tensor, found none");
        assert_eq!(text(slice(&b, 1, 2..5)), "slice: axis 1: expected a range within 0..4, found 2..5");
        assert_eq!(text(roll(&b, 2, 1)), "roll: axis 2 of a tensor [2, 4]");
        assert_eq!(text(stack(&[&a], 3)), "stack: a new axis 3 of a tensor [2, 3]");
        Ok(())
    }

    #[test]
    fn elements_come_in_order() -> Result<()> {
        let x = Tensor::from_slice(&Device::cpu(), [2, 3], &[0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0])?;
        assert_eq!(roll(&x, 1, 1)?.to_vec::<f32>()?, [2.0, 0.0, 1.0, 5.0, 3.0, 4.0]);
        assert_eq!(roll(&x, 0, -1)?.to_vec::<f32>()?, [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]);
        assert_eq!(slice(&x, 1, 1..3)?.to_vec::<f32>()?, [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(slice(&x, 1, 1..1)?.shape().dims(), [2, 0]);
        let joined = concat(&[&slice(&x, 1, 2..3)?, &x], 1)?;
        assert_eq!(joined.to_vec::<f32>()?, [2.0, 0.0, 1.0, 2.0, 5.0, 3.0, 4.0, 5.0]);
        let stacked = stack(&[&x, &x], 1)?;
        assert_eq!(stacked.shape().dims(), [2, 2, 3]);
        assert_eq!(stacked.to_vec::<f32>()?[..6], [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
        Ok(())
    }
}
