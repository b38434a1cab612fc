//! Normalisation and softmax.

use crate::{Case, Problem, Values};
use isobath_engine::ops;

pub(super) fn rows() -> Vec<Case> {
    vec![
        Case {
            name: "layer_norm",
            axes: &[("rows", 70), ("channels", 70)],
            large: &[9001, 33],
            // A large eps keeps the curvature within reach of differences when a row is nearly constant.
            problem: |s, values| Problem {
                inputs: vec![values.variable(s), values.variable(&s[1..]), values.variable(&s[1..])],
                apply: Box::new(|x| ops::layer_norm(&x[0], &x[1], &x[2], 0.1)),
            },
        },
        Case {
            name: "layer_norm_deep",
            axes: &[("batch", 3), ("rows", 13), ("channels", 31)],
            large: &[3, 701, 32],
            problem: |s, values| Problem {
                inputs: vec![values.variable_in(s, 1.0, 3.0), values.variable(&s[2..]), values.variable(&s[2..])],
                apply: Box::new(|x| ops::layer_norm(&x[0], &x[1], &x[2], 0.1)),
            },
        },
        Case {
            // Rows that GPUs hold in a team of many invocations, and longer ones that they read again.
            name: "layer_norm_wide",
            axes: &[("rows", 5), ("channels", 2304)],
            large: &[70, 2050],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s), values.variable(&s[1..]), values.variable(&s[1..])],
                apply: Box::new(|x| ops::layer_norm(&x[0], &x[1], &x[2], 0.1)),
            },
        },
        Case {
            name: "group_norm",
            axes: &[("batch", 5), ("nodes", 70), ("groups", 4), ("group", 13)],
            large: &[3, 5443, 4, 8],
            problem: |s, values| group_norm(s, [-1.0, 1.0], values),
        },
        Case {
            name: "group_norm_offset",
            axes: &[("batch", 3), ("nodes", 40), ("groups", 3), ("group", 5)],
            large: &[2, 20_011, 1, 3],
            problem: |s, values| group_norm(s, [2.0, 4.0], values),
        },
        Case {
            // More channels than GPUs give one workgroup.
            name: "group_norm_wide",
            axes: &[("batch", 2), ("nodes", 40), ("groups", 3), ("group", 130)],
            large: &[2, 133, 2, 130],
            problem: |s, values| group_norm(s, [-1.0, 1.0], values),
        },
        Case {
            // Groups that a block of an NVIDIA GPU holds in its registers.
            name: "group_norm_whole",
            axes: &[("batch", 3), ("nodes", 40), ("groups", 3), ("group", 8)],
            large: &[3, 1201, 4, 8],
            problem: |s, values| group_norm(s, [-1.0, 1.0], values),
        },
        Case {
            name: "softmax",
            axes: &[("rows", 40), ("columns", 70)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable_in(s, -4.0, 4.0)],
                apply: Box::new(|x| ops::softmax(&x[0])),
            },
        },
        Case {
            name: "softmax_wide",
            axes: &[("rows", 5), ("columns", 2304)],
            large: &[31, 2050],
            problem: |s, values| Problem {
                inputs: vec![values.variable_in(s, -4.0, 4.0)],
                apply: Box::new(|x| ops::softmax(&x[0])),
            },
        },
    ]
}

/// Batch, nodes, groups, channels of a group; x between two numbers.
fn group_norm(s: &[usize], [low, high]: [f64; 2], values: &mut Values) -> Problem {
    let (groups, channels) = (s[2], s[2] * s[3]);
    Problem {
        inputs: vec![
            values.variable_in(&[s[0], s[1], channels], low, high),
            values.variable(&[channels]),
            values.variable(&[channels]),
        ],
        apply: Box::new(move |x| ops::group_norm(&x[0], &x[1], &x[2], groups, 0.1)),
    }
}
