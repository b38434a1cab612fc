//! Arithmetic on two tensors, with broadcasting.

use crate::device::Bind::{In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply};
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;
use isobath_kernels::binary::{BINARY, Function, Params};
use isobath_kernels::unary::{self, Function::Affine};
use isobath_kernels::{layout, reduce};

struct Binary {
    function: Function,
    /// Shapes of the operands.
    operands: [Shape; 2],
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        name(self.function)
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (a, b) = (x[0], x[1]);
        let y = Tensor::empty(a.device(), broadcast(self.function, a.shape(), b.shape())?, a.dtype())?;
        run(self.function, a, b, y.shape(), &y)?;
        let saved = match self.function {
            Function::Add | Function::Sub => vec![],
            Function::Mul => vec![a.clone(), b.clone()],
            Function::Div => vec![y.clone(), b.clone()],
        };
        Ok((y, saved))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let grad = |i| wanted.needs(i).then(|| self.gradient(i, &saved, dy, wanted)).transpose();
        Ok(vec![grad(0)?, grad(1)?])
    }
}

impl Binary {
    /// The gradient of operand `i`: dy times the slope, summed over the axes along which the operand was repeated.
    fn gradient(&self, i: usize, saved: &[Tensor], dy: &Tensor, wanted: &Wanted) -> Result<Tensor> {
        let shape = self.operands[i];
        if dy.is_empty() {
            return Tensor::zeros(dy.device(), shape, dy.dtype());
        }
        let repeated = shape.len() < dy.len();
        let out = || wanted.output_shaped(i, shape, dy);
        let temporary = || Tensor::empty(dy.device(), dy.shape(), dy.dtype());
        // Straight to the gradient, unless something is left to do.
        let place = || if repeated { temporary() } else { out() };
        let (product, sign) = match (self.function, i) {
            (Function::Add, _) | (Function::Sub, 0) => (dy.clone(), 1.0),
            (Function::Sub, _) => (dy.clone(), -1.0),
            (Function::Mul, _) => (multiplied(Function::Mul, dy, &saved[1 - i], place()?)?, 1.0),
            (Function::Div, 0) => (multiplied(Function::Div, dy, &saved[1], place()?)?, 1.0),
            (Function::Div, _) => {
                let product = multiplied(Function::Mul, dy, &saved[0], temporary()?)?;
                (multiplied(Function::Div, &product, &saved[1], temporary()?)?, -1.0)
            }
        };
        if repeated {
            return sum_to(product, &shape, sign, out()?);
        }
        if sign == 1.0 {
            return Ok(product.view(0, shape));
        }
        let out = out()?;
        let negative = unary::Params { len: out.len() as u32, function: Affine as u32, a: sign, b: 0.0 };
        out.device().run(&unary::UNARY, &negative, &[In(&product), Out(&out)])?;
        Ok(out)
    }
}

/// dy times or over a factor, which may be repeated.
fn multiplied(function: Function, dy: &Tensor, factor: &Tensor, out: Tensor) -> Result<Tensor> {
    run(function, dy, factor, dy.shape(), &out)?;
    Ok(out)
}

/// Runs the kernel on operands repeated to the shape `to`.
pub(super) fn run(function: Function, a: &Tensor, b: &Tensor, to: &Shape, y: &Tensor) -> Result<()> {
    let (sa, sb) = (strides(a.shape(), to), strides(b.shape(), to));
    let (dims, [a_strides, b_strides]) = layout::merge(to.dims(), [&sa[..to.rank()], &sb[..to.rank()]]);
    let parameters = Params { len: to.len() as u32, function: function as u32, dims, a: a_strides, b: b_strides };
    y.device().run(&BINARY, &parameters, &[In(a), In(b), Out(y)])
}

/// Strides of a tensor of shape `from` along the axes of `to`; 0 where it is repeated.
fn strides(from: &Shape, to: &Shape) -> [usize; MAX_RANK] {
    let mut strides = [0; MAX_RANK];
    let mut step = 1;
    for (axis, length) in (to.rank() - from.rank()..to.rank()).zip(from.dims()).rev() {
        strides[axis] = if *length == 1 { 0 } else { step };
        step *= length;
    }
    strides
}

/// Sums x over the axes along which `to` was repeated, one run of neighbouring axes after the other.
fn sum_to(mut x: Tensor, to: &Shape, mut scale: f32, out: Tensor) -> Result<Tensor> {
    let from = *x.shape();
    let missing = from.rank() - to.rank();
    let summed = |axis: usize| from[axis] != 1 && (axis < missing || to[axis - missing] == 1);
    let product = |dims: &[usize]| dims.iter().product::<usize>() as u32;
    let mut dims = from.dims().to_vec();
    while let Some(start) = (0..dims.len()).find(|axis| dims[*axis] != 1 && summed(*axis)) {
        let end = (start..dims.len()).find(|axis| dims[*axis] != 1 && !summed(*axis)).unwrap_or(dims.len());
        let (outer, len, inner) = (product(&dims[..start]), product(&dims[start..end]), product(&dims[end..]));
        dims[start..end].fill(1);
        let last = dims.iter().product::<usize>() == to.len();
        let y = if last { out.clone() } else { Tensor::empty(x.device(), dims.as_slice(), x.dtype())? };
        let parameters = reduce::Params { outer, len, inner, kind: reduce::SUM, scale };
        y.device().run(&reduce::REDUCE, &parameters, &[In(&x), Out(&y)])?;
        (x, scale) = (y, 1.0);
    }
    Ok(x)
}

fn name(function: Function) -> &'static str {
    match function {
        Function::Add => "add",
        Function::Sub => "sub",
        Function::Mul => "mul",
        Function::Div => "div",
    }
}

/// The shape to which both operands are repeated.
fn broadcast(function: Function, a: &Shape, b: &Shape) -> Result<Shape> {
    let rank = a.rank().max(b.rank());
    let length = |shape: &Shape, axis: usize| (axis + shape.rank()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let mut dims = [1; MAX_RANK];
    for (axis, dim) in dims[..rank].iter_mut().enumerate() {
        *dim = match (length(a, axis), length(b, axis)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            (x, y) => {
                let what =
                    format!("operands {a} and {b} do not broadcast: lengths {x} and {y} at axis {axis} of {rank}");
                return shape_error(name(function), what);
            }
        };
    }
    Ok(Shape::new(&dims[..rank]))
}

fn binary(function: Function, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    apply(Binary { function, operands: [*a.shape(), *b.shape()] }, &[a, b])
}

/// a + b. Shapes align at their last axes; an axis of length 1, or one that is missing, is repeated.
///
/// # Errors
/// When two lengths differ and neither is 1.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Function::Add, a, b)
}

/// a - b, broadcast as in [`add`].
///
/// # Errors
/// As for [`add`].
pub fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Function::Sub, a, b)
}

/// a b element by element, broadcast as in [`add`].
///
/// # Errors
/// As for [`add`].
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Function::Mul, a, b)
}

/// a / b, broadcast as in [`add`].
///
/// # Errors
/// As for [`add`].
pub fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Function::Div, a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Tape};

    #[test]
    fn shapes_that_do_not_broadcast_are_named() -> Result<()> {
        let device = Device::cpu();
        let (a, b) = (Tensor::zeros(&device, [2, 3], DType::F32)?, Tensor::zeros(&device, [4], DType::F32)?);
        let found = add(&a, &b).err().map(|e| e.to_string());
        let expected = "add: operands [2, 3] and [4] do not broadcast: lengths 3 and 4 at axis 1 of 2";
        assert_eq!(found.as_deref(), Some(expected));
        Ok(())
    }

    #[test]
    fn operands_repeat_along_missing_axes_and_axes_of_one() -> Result<()> {
        let device = Device::cpu();
        let a = Tensor::from_slice(&device, [2, 1], &[1.0f32, 2.0])?;
        let b = Tensor::from_slice(&device, [3], &[10.0f32, 20.0, 30.0])?;
        let y = sub(&b, &a)?;
        assert_eq!(y.shape().dims(), [2, 3]);
        assert_eq!(y.to_vec::<f32>()?, [9.0, 19.0, 29.0, 8.0, 18.0, 28.0]);
        assert_eq!(div(&b, &Tensor::scalar(&device, 10.0, DType::F32)?)?.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
        Ok(())
    }

    #[test]
    fn a_bias_on_no_rows_has_a_gradient_of_zeros() -> Result<()> {
        let device = Device::cpu();
        let tape = Tape::start()?;
        let bias = tape.watch(&Tensor::from_slice(&device, [3], &[1.0f32, 2.0, 3.0])?)?;
        let y = mul(&Tensor::zeros(&device, [0, 3], DType::F32)?, &bias)?;
        let gradients = tape.backward_from(&y, &Tensor::zeros(&device, [0, 3], DType::F32)?)?;
        assert_eq!(gradients.get(&bias)?.to_vec::<f32>()?, [0.0; 3]);
        Ok(())
    }
}
