//! Matrix products.

use crate::{Case, Problem};
use isobath_engine::ops;

pub(super) fn rows() -> Vec<Case> {
    vec![
        Case {
            name: "linear",
            axes: &[("rows", 140), ("in", 90), ("out", 90)],
            large: &[9001, 32, 64],
            problem: |s, values| Problem {
                inputs: vec![values.variable(&[s[0], s[1]]), values.variable(&[s[2], s[1]]), values.variable(&[s[2]])],
                apply: Box::new(|x| ops::linear(&x[0], &x[1], Some(&x[2]))),
            },
        },
        Case {
            name: "reused_operand",
            axes: &[("rows", 130), ("columns", 67)],
            large: &[301, 67],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s)],
                apply: Box::new(|x| ops::linear(&x[0], &x[0], None)),
            },
        },
        Case {
            name: "matmul",
            axes: &[("batch", 5), ("m", 67), ("k", 31), ("n", 67)],
            large: &[7, 61, 67, 127],
            problem: |s, values| Problem {
                inputs: vec![values.variable(&[s[0], s[1], s[2]]), values.variable(&[s[0], s[2], s[3]])],
                apply: Box::new(|x| ops::matmul(&x[0], &x[1], false)),
            },
        },
        Case {
            name: "matmul_transposed",
            axes: &[("batch", 5), ("m", 67), ("k", 31), ("n", 67)],
            large: &[1, 261, 67, 127],
            problem: |s, values| Problem {
                inputs: vec![values.variable(&[s[0], s[1], s[2]]), values.variable(&[s[0], s[3], s[2]])],
                apply: Box::new(|x| ops::matmul(&x[0], &x[1], true)),
            },
        },
    ]
}
