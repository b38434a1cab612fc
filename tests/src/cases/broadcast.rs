//! Arithmetic on two tensors and choices between them.

use crate::{Case, Input, Kind, Problem, Values};
use isobath_engine::{Result, Tensor, ops};

/// A row for a function of two tensors whose shapes `$a` and `$b` follow from three lengths; elements in 0.5..2.
macro_rules! binary {
    ($name:literal, $f:expr, $a:expr, $b:expr) => {
        Case {
            name: $name,
            axes: &[("outer", 7), ("middle", 13), ("inner", 40)],
            large: &[5, 131, 67],
            problem: |s, values| {
                let apply: fn(&Tensor, &Tensor) -> Result<Tensor> = $f;
                let shapes: [fn(&[usize]) -> Vec<usize>; 2] = [$a, $b];
                let inputs = shapes.map(|shape| values.variable_in(&shape(s), 0.5, 2.0)).to_vec();
                Problem { inputs, apply: Box::new(move |x| apply(&x[0], &x[1])) }
            },
        }
    };
}

pub(super) fn rows() -> Vec<Case> {
    vec![
        binary!("add", ops::add, |s| s.to_vec(), |s| s.to_vec()),
        binary!("add_bias", ops::add, |s| s.to_vec(), |s| vec![s[2]]),
        binary!("add_scalar", ops::add, |s| s.to_vec(), |_| vec![]),
        binary!("sub", ops::sub, |s| s.to_vec(), |s| s.to_vec()),
        binary!("sub_middle", ops::sub, |s| s.to_vec(), |s| vec![s[0], 1, s[2]]),
        binary!("mul", ops::mul, |s| s.to_vec(), |s| s.to_vec()),
        binary!("mul_column", ops::mul, |s| vec![s[1], 1], |s| s.to_vec()),
        binary!("mul_crossed", ops::mul, |s| vec![s[0], 1, s[2]], |s| vec![s[1], 1]),
        binary!("mul_ends", ops::mul, |s| vec![1, s[1], 1], |s| s.to_vec()),
        binary!("mul_six_axes", ops::mul, |s| vec![s[0], 1, 3, 1, s[1], 1], |s| vec![2, 1, s[2], 1, 2]),
        binary!("div", ops::div, |s| s.to_vec(), |s| s.to_vec()),
        binary!("div_row", ops::div, |s| vec![s[2]], |s| s.to_vec()),
        binary!("div_by_row", ops::div, |s| s.to_vec(), |s| vec![1, 1, s[2]]),
        binary!("div_scalar", ops::div, |_| vec![1], |s| s.to_vec()),
        Case {
            name: "add_to_itself",
            axes: &[("rows", 40), ("columns", 31)],
            large: &[301, 67],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s)],
                apply: Box::new(|x| ops::mul(&ops::add(&x[0], &x[0])?, &x[0])),
            },
        },
        Case {
            name: "select",
            axes: &[("rows", 40), ("columns", 130)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.mask(s, 0.5), values.variable(s), values.variable(s)],
                apply: Box::new(|x| ops::select(&x[0], &x[1], &x[2])),
            },
        },
        Case {
            name: "clamp",
            axes: &[("rows", 40), ("columns", 130)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable_off(s, 1.0, 0.1), whole(values, s[1], -2), whole(values, s[1], 1)],
                apply: Box::new(|x| ops::clamp(&x[0], &x[1], &x[2])),
            },
        },
        Case {
            name: "gate",
            axes: &[("rows", 40), ("channels", 67)],
            large: &[3001, 32],
            problem: |s, values| Problem {
                inputs: vec![values.variable_in(&[s[0], 2 * s[1]], -4.0, 4.0)],
                apply: Box::new(|x| ops::gate(&x[0])),
            },
        },
    ]
}

/// Bounds that are `low` or the next whole number.
fn whole(values: &mut Values, n: usize, low: i32) -> Input {
    let drawn = values.mask(&[n], 0.5);
    let values = drawn.values.iter().map(|v| v + f64::from(low)).collect();
    Input { values, kind: Kind::Constant, ..drawn }
}
