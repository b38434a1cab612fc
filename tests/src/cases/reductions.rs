//! Reductions and shapes.

use crate::{Case, Problem};
use isobath_engine::ops;

pub(super) fn rows() -> Vec<Case> {
    vec![
        Case {
            name: "sum",
            axes: &[("rows", 70), ("columns", 70)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable_in(s, 0.1, 1.0)],
                apply: Box::new(|x| ops::sum(&x[0])),
            },
        },
        Case {
            name: "mean_middle",
            axes: &[("outer", 13), ("middle", 70), ("inner", 31)],
            large: &[3, 70001, 2],
            problem: |s, values| Problem {
                inputs: vec![values.variable_in(s, 0.1, 1.0)],
                apply: Box::new(|x| ops::mean(&x[0], 1..2)),
            },
        },
        Case {
            name: "max",
            axes: &[("outer", 13), ("middle", 70), ("inner", 31)],
            large: &[3, 7001, 2],
            problem: |s, values| Problem {
                inputs: vec![distinct(values, s)],
                apply: Box::new(|x| ops::max(&x[0], 1..2)),
            },
        },
        Case {
            name: "reshape",
            axes: &[("rows", 70), ("columns", 70)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s)],
                apply: Box::new(|x| ops::square(&ops::reshape(&x[0], [x[0].len()])?)),
            },
        },
    ]
}

/// Elements that all differ by at least 0.01, so that no step of a difference changes which one is largest.
fn distinct(values: &mut crate::Values, shape: &[usize]) -> crate::Input {
    use rand::seq::SliceRandom;
    let mut input = values.variable(shape);
    let mut order: Vec<usize> = (0..input.values.len()).collect();
    order.shuffle(values.rng());
    for (value, rank) in input.values.iter_mut().zip(order) {
        *value = f64::from(rank as f32 * 0.01);
    }
    input
}
