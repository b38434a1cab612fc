//! Axes in another order, parts of axes, and rows of tables.

use crate::{Case, Problem};
use isobath_engine::ops;

const AXES: &[(&str, usize)] = &[("outer", 13), ("middle", 31), ("inner", 40)];
const LARGE: &[usize] = &[5, 131, 67];

/// A row for a permutation of four axes, of lengths 3 and the row's three.
macro_rules! permute {
    ($name:literal, $axes:expr) => {
        Case {
            name: $name,
            axes: AXES,
            large: LARGE,
            problem: |s, values| Problem {
                inputs: vec![values.variable(&[s[0], 3, s[1], s[2]])],
                apply: Box::new(|x| ops::permute(&x[0], &$axes)),
            },
        }
    };
}

pub(super) fn rows() -> Vec<Case> {
    vec![
        permute!("permute_same", [0, 1, 2, 3]),
        permute!("permute_rows", [0, 2, 1, 3]),
        permute!("permute_last_two", [0, 1, 3, 2]),
        permute!("permute_reversed", [3, 2, 1, 0]),
        permute!("permute_cycled", [3, 0, 1, 2]),
        permute!("permute_inside", [1, 3, 0, 2]),
        Case {
            name: "concat",
            axes: AXES,
            large: LARGE,
            problem: |s, values| Problem {
                inputs: vec![
                    values.variable(&[s[0], s[1], s[2]]),
                    values.variable(&[s[0], 1, s[2]]),
                    values.variable(&[s[0], s[2], s[2]]),
                ],
                apply: Box::new(|x| ops::concat(&[&x[0], &x[1], &x[2], &x[0]], 1)),
            },
        },
        Case {
            name: "concat_first_axis",
            axes: &[("rows", 40), ("columns", 31)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s), values.variable(&[2, s[1]])],
                apply: Box::new(|x| ops::concat(&[&x[1], &x[0]], 0)),
            },
        },
        Case {
            name: "stack_last_axis",
            axes: &[("rows", 40), ("columns", 31)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s), values.variable(s)],
                apply: Box::new(|x| ops::stack(&[&x[0], &x[1]], 2)),
            },
        },
        Case {
            name: "slice",
            axes: AXES,
            large: LARGE,
            problem: |s, values| Problem {
                inputs: vec![values.variable(&[s[0], s[1] + 3, s[2]])],
                apply: Box::new(|x| ops::slice(&x[0], 1, 2..x[0].shape()[1] - 1)),
            },
        },
        Case {
            name: "slice_first_axis",
            axes: &[("rows", 40), ("columns", 31)],
            large: &[701, 100],
            problem: |s, values| Problem {
                inputs: vec![values.variable(s)],
                apply: Box::new(|x| ops::slice(&x[0], 0, x[0].shape()[0] / 2..x[0].shape()[0])),
            },
        },
        Case {
            name: "roll",
            axes: AXES,
            large: LARGE,
            problem: |s, values| Problem {
                inputs: vec![values.variable(s)],
                apply: Box::new(|x| ops::roll(&ops::roll(&x[0], 1, 1)?, 2, -3)),
            },
        },
        Case {
            name: "embedding",
            axes: &[("rows", 31), ("columns", 5), ("v", 13), ("channels", 40)],
            large: &[1301, 3, 50, 64],
            problem: |s, values| Problem {
                inputs: vec![values.variable(&[s[2], s[3]]), values.index(&[s[0], s[1]], s[2])],
                apply: Box::new(|x| ops::embedding(&x[0], &x[1])),
            },
        },
    ]
}
