//! Losses and the steps of a diffusion.

use crate::{Case, Problem};
use isobath_engine::ops::{self, Posterior};

pub(super) fn rows() -> Vec<Case> {
    vec![
        Case {
            name: "masked_mse",
            axes: &[("rows", 40), ("columns", 130)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s), values.variable(s), values.mask(s, 0.4)],
                apply: Box::new(|x| ops::masked_mse(&x[0], &x[1], &x[2])),
            },
        },
        Case {
            name: "masked_mse_empty",
            axes: &[("rows", 40), ("columns", 130)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s), values.constant_in(s, -1.0, 1.0), values.mask(s, 0.0)],
                apply: Box::new(|x| ops::masked_mse(&x[0], &x[1], &x[2])),
            },
        },
        Case {
            name: "q_sample",
            axes: &[("batch", 7), ("frames", 13), ("nodes", 70)],
            large: &[3, 46, 701],
            problem: |s, values| Problem {
                inputs: vec![
                    values.variable(s),
                    values.variable(s),
                    values.constant_in(&s[..1], 0.1, 1.0),
                    values.constant_in(&s[..1], 0.1, 1.0),
                ],
                apply: Box::new(|x| ops::q_sample(&x[0], &x[1], &x[2], &x[3])),
            },
        },
        Case {
            name: "posterior_step",
            axes: &[("batch", 7), ("frames", 13), ("nodes", 70)],
            large: &[3, 46, 701],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s), values.variable(s), values.variable(s)],
                apply: Box::new(|x| {
                    let step = Posterior { x: 0.75, x_hat: 0.3, noise: 0.1 };
                    ops::posterior_step(&x[0], &x[1], Some(&x[2]), step)
                }),
            },
        },
        Case {
            name: "posterior_last_step",
            axes: &[("batch", 7), ("nodes", 70)],
            large: &[46, 701],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s), values.variable(s)],
                apply: Box::new(|x| {
                    ops::posterior_step(&x[0], &x[1], None, Posterior { x: 0.25, x_hat: 0.75, noise: 0.0 })
                }),
            },
        },
    ]
}
