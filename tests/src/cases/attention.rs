//! Attention.

use crate::{Case, Problem, Values};
use isobath_engine::{Result, Tensor, ops};

type Attend = fn(&Tensor, &Tensor, &Tensor, usize) -> Result<Tensor>;

const AXES: &[(&str, usize)] = &[("sequences", 5), ("frames", 31), ("heads", 3), ("dim", 31)];

pub(super) fn rows() -> Vec<Case> {
    vec![
        Case {
            name: "linear_attention",
            axes: AXES,
            large: &[301, 46, 1, 32],
            problem: |s, values| problem(s, values, ops::linear_attention),
        },
        Case {
            name: "linear_attention_heads",
            axes: AXES,
            large: &[67, 46, 8, 8],
            problem: |s, values| problem(s, values, ops::linear_attention),
        },
        Case {
            // Heads and windows that a workgroup of a GPU does not hold.
            name: "linear_attention_wide",
            axes: &[("sequences", 2), ("frames", 101), ("heads", 2), ("dim", 71)],
            large: &[3, 97, 2, 68],
            problem: |s, values| problem(s, values, ops::linear_attention),
        },
        Case {
            name: "softmax_attention",
            axes: AXES,
            large: &[301, 46, 1, 32],
            problem: |s, values| problem(s, values, ops::softmax_attention),
        },
        Case {
            name: "softmax_attention_heads",
            axes: AXES,
            large: &[67, 46, 8, 8],
            problem: |s, values| problem(s, values, ops::softmax_attention),
        },
        Case {
            // Heads of which a block of a GPU holds four whole windows, with scores that need their maximum.
            name: "softmax_attention_window",
            axes: &[("sequences", 5), ("frames", 48), ("heads", 9)],
            large: &[21, 45, 6],
            problem: |s, values| problem_within(8.0, &[s[0], s[1], s[2], 8], values, ops::softmax_attention),
        },
        Case {
            name: "softmax_attention_wide",
            axes: &[("sequences", 2), ("frames", 101), ("heads", 2), ("dim", 71)],
            large: &[3, 97, 2, 68],
            problem: |s, values| problem(s, values, ops::softmax_attention),
        },
    ]
}

fn problem(s: &[usize], values: &mut Values, attend: Attend) -> Problem {
    problem_within(2.0, s, values, attend)
}

/// q and k within `bound`.
fn problem_within(bound: f64, s: &[usize], values: &mut Values, attend: Attend) -> Problem {
    let (heads, shape) = (s[2], [s[0], s[1], s[2] * s[3]]);
    Problem {
        inputs: vec![
            values.variable_in(&shape, -bound, bound),
            values.variable_in(&shape, -bound, bound),
            values.variable(&shape),
        ],
        apply: Box::new(move |x| attend(&x[0], &x[1], &x[2], heads)),
    }
}
