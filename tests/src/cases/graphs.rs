//! Operations over the nodes of a graph.

use crate::{Case, Problem, Values};
use isobath_engine::{Csr, ops};
use rand::RngExt;

pub(super) fn rows() -> Vec<Case> {
    vec![
        Case {
            name: "spmm",
            axes: &[("batch", 5), ("nodes", 70), ("channels", 70)],
            large: &[3, 4443, 32],
            problem: |s, values| gathered(s, values, false),
        },
        Case {
            name: "spmm_weighted",
            axes: &[("batch", 5), ("nodes", 70), ("channels", 70)],
            large: &[3, 4443, 43],
            problem: |s, values| gathered(s, values, true),
        },
        Case {
            name: "node_linear",
            axes: &[("batch", 5), ("nodes", 31), ("prototypes", 5), ("channels", 13), ("out", 13)],
            large: &[67, 443, 8, 32, 32],
            problem: node_linear,
        },
        Case {
            name: "node_linear_wide",
            axes: &[("batch", 130), ("nodes", 13), ("prototypes", 3), ("channels", 5), ("out", 37)],
            large: &[13, 4443, 3, 8, 17],
            problem: node_linear,
        },
        Case {
            // Weights that a workgroup of a GPU does not hold.
            name: "node_linear_deep",
            axes: &[("batch", 5), ("nodes", 3), ("prototypes", 19), ("channels", 101), ("out", 101)],
            large: &[263, 2, 9, 67, 68],
            problem: node_linear,
        },
    ]
}

fn node_linear(s: &[usize], values: &mut Values) -> Problem {
    Problem {
        inputs: vec![
            values.variable(&[s[0], s[1], s[3]]),
            values.variable(&[s[1], s[2]]),
            values.variable(&[s[2], s[3], s[4]]),
        ],
        apply: Box::new(|x| ops::node_linear(&x[0], &x[1], &x[2])),
    }
}

/// A random directed graph of 0 to 8 neighbours a node, the same one in every precision and on every device.
fn gathered(s: &[usize], values: &mut Values, weighted: bool) -> Problem {
    let nodes = s[1];
    let (mut offsets, mut neighbours, mut weights) = (vec![0u32], Vec::new(), Vec::new());
    for _ in 0..nodes {
        for _ in 0..values.rng().random_range(0..9) {
            neighbours.push(values.rng().random_range(0..nodes) as u32);
            weights.push(f64::from(values.rng().random_range(-1.0f32..1.0)));
        }
        offsets.push(neighbours.len() as u32);
    }
    Problem {
        inputs: vec![values.variable(s)],
        apply: Box::new(move |x| {
            let weights = weighted.then_some(weights.as_slice());
            let graph = Csr::new(x[0].device(), nodes, &offsets, &neighbours, weights, x[0].dtype())?;
            ops::spmm(&graph, &x[0])
        }),
    }
}
