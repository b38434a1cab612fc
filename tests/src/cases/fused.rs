//! The fused operations of STIMP.

use crate::{Case, Input, Problem, Values};
use isobath_engine::ops::{self, Spatial, SpatialWeights, TemporalWeights};
use isobath_engine::{Csr, DType, Device, Result, Tensor};
use rand::RngExt;

pub(super) fn rows() -> Vec<Case> {
    vec![
        Case {
            name: "temporal_block",
            axes: &[("batch", 2), ("frames", 13), ("nodes", 7), ("planes", 3), ("dim", 23), ("hidden", 11)],
            large: &[2, 46, 150, 2, 32, 128],
            problem: |s, values| temporal_block(s, 1, values),
        },
        Case {
            // Few channels run sixteen nodes and eight frames at a time.
            name: "temporal_block_narrow",
            axes: &[("batch", 2), ("frames", 19), ("nodes", 37), ("planes", 3), ("dim", 8), ("hidden", 11)],
            large: &[2, 46, 150, 3, 8, 32],
            problem: |s, values| temporal_block(s, 1, values),
        },
        Case {
            name: "temporal_block_heads",
            axes: &[("batch", 2), ("frames", 13), ("nodes", 19), ("planes", 2), ("dim", 11), ("hidden", 11)],
            large: &[1, 61, 67, 3, 17, 37],
            problem: |s, values| temporal_block(s, 2, values),
        },
        Case {
            name: "spatial_block_loss",
            axes: &[("batch", 2), ("frames", 3), ("nodes", 31), ("width", 3), ("prototypes", 5)],
            large: &[2, 46, 303, 8, 8],
            problem: |s, values| spatial_block(s, Form { gated: true, bounded: false, loss: true }, values),
        },
        Case {
            name: "spatial_block_prediction",
            axes: &[("batch", 2), ("frames", 3), ("nodes", 31), ("width", 3), ("prototypes", 5)],
            large: &[1, 7, 1009, 5, 3],
            problem: |s, values| spatial_block(s, Form { gated: true, bounded: true, loss: false }, values),
        },
        Case {
            // Shaders keep matrices of up to 32 channels whole, those of more in blocks, of more than 64 in several passes.
            name: "spatial_block_wide",
            axes: &[("batch", 2), ("frames", 5), ("nodes", 23), ("width", 16), ("prototypes", 10)],
            large: &[4, 70, 35, 16, 10],
            problem: |s, values| spatial_block(s, Form { gated: true, bounded: true, loss: true }, values),
        },
        Case {
            name: "spatial_block_wider",
            axes: &[("batch", 2), ("frames", 5), ("nodes", 23), ("width", 32), ("prototypes", 10)],
            large: &[2, 9, 75, 32, 5],
            problem: |s, values| spatial_block(s, Form { gated: true, bounded: false, loss: false }, values),
        },
        Case {
            name: "spatial_block_widest",
            axes: &[("batch", 1), ("frames", 5), ("nodes", 17), ("width", 43), ("prototypes", 3)],
            large: &[1, 9, 35, 44, 5],
            problem: |s, values| spatial_block(s, Form { gated: true, bounded: false, loss: true }, values),
        },
        Case {
            name: "spatial_block_plain",
            axes: &[("batch", 2), ("frames", 3), ("nodes", 31), ("width", 3), ("prototypes", 5)],
            large: &[3, 46, 303, 2, 8],
            problem: |s, values| spatial_block(s, Form { gated: false, bounded: false, loss: false }, values),
        },
    ]
}

/// Which of its options a spatial block has.
#[derive(Clone, Copy)]
struct Form {
    gated: bool,
    bounded: bool,
    loss: bool,
}

fn spatial_block(s: &[usize], form: Form, values: &mut Values) -> Problem {
    let &[b, t, n, width, k] = s else { unreachable!("five axes") };
    // A group norm of one or two numbers has no gradient to speak of.
    let (n, c, groups) = (n + 3, 2 * width, 2);
    // Sums over many channels stay where gates and differences are well conditioned.
    let reach = (16.0 / c as f64).min(1.0);
    let mut inputs = vec![values.variable(&[b, n, t, c]), values.variable(&[n, k])];
    inputs.push(values.variable_in(&[k, c, c], -reach, reach));
    inputs.extend([values.variable_in(&[c], 0.5, 1.5), values.variable(&[c])]);
    if form.gated {
        inputs.extend([values.variable_in(&[2 * c, c], -reach, reach), values.variable(&[2 * c])]);
    }
    inputs.extend([values.variable_in(&[1, c], -reach, reach), values.variable(&[1])]);
    // Bounds that cut some predictions by far and leave the others alone by far.
    let bound = |share: f64, cut: f64, values: &mut Values| {
        let mut input = values.mask(&[n], share);
        input.values.iter_mut().for_each(|v| *v = if *v == 1.0 { cut } else { -cut });
        input
    };
    inputs.extend([bound(0.3, 50.0, values), bound(1.0, 60.0, values)]);
    inputs.extend([values.constant_in(&[b, t, n], -1.0, 1.0), values.mask(&[b, t, n], 0.6)]);
    let graph = random_graph(n, values);
    Problem {
        inputs,
        apply: Box::new(move |x| {
            let (weights, rest) = spatial_weights(x, form.gated);
            let spatial = Spatial {
                graph: graph(x[0].device(), x[0].dtype())?,
                residual: form.gated,
                groups,
                eps: 1e-2,
                bounds: form.bounded.then(|| (rest[0].clone(), rest[1].clone())),
            };
            ops::spatial_block(&x[0], &weights, &spatial, form.loss.then_some((&rest[2], &rest[3])))
        }),
    }
}

fn spatial_weights(x: &[Tensor], gated: bool) -> (SpatialWeights, &[Tensor]) {
    let pair = |i: usize| (x[i].clone(), x[i + 1].clone());
    let out = if gated { 7 } else { 5 };
    let gate = gated.then(|| pair(5));
    let weights = SpatialWeights { embedding: x[1].clone(), pool: x[2].clone(), norm: pair(3), gate, out: pair(out) };
    (weights, &x[out + 2..])
}

/// A graph in which every node has itself and a few random neighbours, some with values other than 1.
fn random_graph(n: usize, values: &mut Values) -> impl Fn(&Device, DType) -> Result<Csr> + use<> {
    let (mut offsets, mut neighbours) = (vec![0], Vec::new());
    for i in 0..n {
        neighbours.push(i as u32);
        neighbours.extend((0..values.rng().random_range(0..4)).map(|_| values.rng().random_range(0..n) as u32));
        offsets.push(neighbours.len() as u32);
    }
    let weights: Vec<f64> = neighbours.iter().map(|_| f64::from(values.rng().random_range(0.25f32..1.5))).collect();
    let weighted = values.rng().random_bool(0.5);
    move |device, dtype| Csr::new(device, n, &offsets, &neighbours, weighted.then_some(&weights[..]), dtype)
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
