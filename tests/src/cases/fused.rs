//! The fused operations of STIMP.

use crate::{Case, Input, Problem, Values};
use isobath_engine::Tensor;
use isobath_engine::ops::{self, TemporalWeights};

pub(super) fn rows() -> Vec<Case> {
    vec![
        Case {
            name: "temporal_block",
            axes: &[("batch", 2), ("frames", 13), ("nodes", 7), ("planes", 3), ("dim", 5), ("hidden", 11)],
            large: &[2, 46, 150, 2, 32, 128],
            problem: |s, values| temporal_block(s, 1, values),
        },
        Case {
            name: "temporal_block_heads",
            axes: &[("batch", 2), ("frames", 13), ("nodes", 5), ("planes", 2), ("dim", 5), ("hidden", 11)],
            large: &[1, 31, 67, 3, 17, 37],
            problem: |s, values| temporal_block(s, 2, values),
        },
    ]
}

fn temporal_block(s: &[usize], heads: usize, values: &mut Values) -> Problem {
    let &[b, t, n, f, dim, hidden] = s else { unreachable!("six axes") };
    // A layer norm over one channel has no gradient to check, and one over two only signs.
    let c = heads * dim.max(3);
    let mut inputs = vec![values.variable(&[f, b, t, n]), values.variable_in(&[b, t, c], -3.0, 3.0)];
    inputs.extend(temporal_weights(c, f, hidden, values));
    Problem { inputs, apply: Box::new(move |x| ops::temporal_block(&x[0], &x[1], &weights(&x[2..]), heads, 1e-2)) }
}

fn temporal_weights(c: usize, f: usize, hidden: usize, values: &mut Values) -> Vec<Input> {
    let shapes: [&[usize]; 14] = [
        &[c, f],
        &[c],
        &[c],
        &[c, c],
        &[c, c],
        &[c, c],
        &[c, c],
        &[c],
        &[c],
        &[c],
        &[hidden, c],
        &[hidden],
        &[c, hidden],
        &[c],
    ];
    shapes.iter().map(|shape| values.variable_in(shape, -0.6, 0.6)).collect()
}

fn weights(x: &[Tensor]) -> TemporalWeights {
    let x = |i: usize| x[i].clone();
    TemporalWeights {
        input: x(0),
        norm1: (x(1), x(2)),
        qkv: [x(3), x(4), x(5)],
        out: (x(6), x(7)),
        norm2: (x(8), x(9)),
        up: (x(10), x(11)),
        down: (x(12), x(13)),
    }
}
