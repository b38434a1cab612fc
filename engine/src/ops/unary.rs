//! Element-wise functions of one tensor. Every one maps any shape to the same shape.

use crate::device::Bind::{In, Out};
use crate::error::Result;
use crate::op::{Grads, Op, Wanted, apply};
use crate::tensor::Tensor;
use isobath_kernels::unary::{Function, Params, UNARY, UNARY_BACKWARD};

struct Unary {
    function: Function,
    a: f32,
    b: f32,
}

impl Unary {
    fn parameters(&self, x: &Tensor) -> Params {
        Params { len: x.len() as u32, function: self.function as u32, a: self.a, b: self.b }
    }
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        "unary"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let y = Tensor::empty(x[0].device(), x[0].shape(), x[0].dtype())?;
        y.device().run(&UNARY, &self.parameters(x[0]), &[In(x[0]), Out(&y)])?;
        Ok((y, vec![x[0].clone()]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let x = &saved[0];
        let dx = wanted.output(0, x)?;
        x.device().run(&UNARY_BACKWARD, &self.parameters(x), &[In(x), In(dy), Out(&dx)])?;
        Ok(vec![Some(dx)])
    }
}

fn unary(x: &Tensor, function: Function, a: f32, b: f32) -> Result<Tensor> {
    apply(Unary { function, a, b }, &[x])
}

/// a x + b.
pub fn affine(x: &Tensor, a: f32, b: f32) -> Result<Tensor> {
    unary(x, Function::Affine, a, b)
}

/// a x.
pub fn scale(x: &Tensor, a: f32) -> Result<Tensor> {
    affine(x, a, 0.0)
}

/// -x.
pub fn neg(x: &Tensor) -> Result<Tensor> {
    scale(x, -1.0)
}

/// x^2.
pub fn square(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Square, 0.0, 0.0)
}

/// Square root; NaN below 0.
pub fn sqrt(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Sqrt, 0.0, 0.0)
}

/// |x|, with gradient 0 at 0.
pub fn abs(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Abs, 0.0, 0.0)
}

/// e^x.
pub fn exp(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Exp, 0.0, 0.0)
}

/// Natural logarithm.
pub fn log(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Log, 1.0, 0.0)
}

/// Decimal logarithm.
pub fn log10(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Log, std::f32::consts::LOG10_E, 0.0)
}

/// x^exponent for positive x.
pub fn power(x: &Tensor, exponent: f32) -> Result<Tensor> {
    unary(x, Function::Power, exponent, 0.0)
}

/// 1 / (1 + e^-x).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Sigmoid, 0.0, 0.0)
}

/// Hyperbolic tangent.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Tanh, 0.0, 0.0)
}

/// max(x, 0), with gradient 0 at 0.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    leaky_relu(x, 0.0)
}

/// x above 0, `slope` x below.
pub fn leaky_relu(x: &Tensor, slope: f32) -> Result<Tensor> {
    unary(x, Function::LeakyRelu, slope, 0.0)
}

/// x sigmoid(x).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Silu, 0.0, 0.0)
}

/// x Phi(x), by the error function.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    unary(x, Function::Gelu, 0.0, 0.0)
}
