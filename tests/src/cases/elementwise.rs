//! Element-wise functions.

use crate::{Case, Problem};
use isobath_engine::{Result, Tensor, ops};

/// A row for a function of one tensor whose argument lies in `low..high`, away from kinks at whole numbers if any.
macro_rules! unary {
    ($name:literal, $f:expr, $draw:expr) => {
        Case {
            name: $name,
            axes: &[("rows", 40), ("columns", 130)],
            large: &[701, 100],
            problem: |s, values| {
                let apply: fn(&Tensor) -> Result<Tensor> = $f;
                let draw: fn(&mut crate::Values, &[usize]) -> crate::Input = $draw;
                Problem { inputs: vec![draw(values, s)], apply: Box::new(move |x| apply(&x[0])) }
            },
        }
    };
}

pub(super) fn rows() -> Vec<Case> {
    vec![
        unary!("affine", |x| ops::affine(x, 1.75, -0.5), |v, s| v.variable(s)),
        unary!("neg", ops::neg, |v, s| v.variable(s)),
        unary!("square", ops::square, |v, s| v.variable(s)),
        unary!("sqrt", ops::sqrt, |v, s| v.variable_in(s, 0.2, 4.0)),
        unary!("abs", ops::abs, |v, s| v.variable_off(s, 1.0, 0.1)),
        unary!("exp", ops::exp, |v, s| v.variable_in(s, -4.0, 2.0)),
        unary!("log", ops::log, |v, s| v.variable_in(s, 0.2, 4.0)),
        unary!("log10", ops::log10, |v, s| v.variable_in(s, 0.2, 4.0)),
        unary!("power", |x| ops::power(x, 1.5), |v, s| v.variable_in(s, 0.2, 4.0)),
        unary!("sigmoid", ops::sigmoid, |v, s| v.variable_in(s, -6.0, 6.0)),
        unary!("tanh", ops::tanh, |v, s| v.variable_in(s, -3.0, 3.0)),
        unary!("relu", ops::relu, |v, s| v.variable_off(s, 1.0, 0.1)),
        unary!("leaky_relu", |x| ops::leaky_relu(x, 0.2), |v, s| v.variable_off(s, 1.0, 0.1)),
        unary!("silu", ops::silu, |v, s| v.variable_in(s, -6.0, 6.0)),
        unary!("gelu", ops::gelu, |v, s| v.variable_in(s, -4.0, 4.0)),
    ]
}
