//! The temporal block of STIMP as one operation; nothing but its input is kept for the backward.

use crate::device::Bind::{Absent, In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::shape::Shape;
use crate::tensor::Tensor;
use isobath_kernels::temporal_block::{Params, TEMPORAL_BLOCK};
use isobath_kernels::temporal_block_backward::TEMPORAL_BLOCK_BACKWARD;

const NAME: &str = "temporal_block";

/// The weights of a temporal block; matrices are `[out, in]`.
#[derive(Clone, Debug)]
pub struct TemporalWeights {
    /// Input projection `[c, f]`; its bias belongs into the shift.
    pub input: Tensor,
    /// Scale and shift `[c]` of the layer norm before the attention.
    pub norm1: (Tensor, Tensor),
    /// Projections to q, k and v `[c, c]`.
    pub qkv: [Tensor; 3],
    /// Projection `[c, c]` and bias `[c]` behind the attention.
    pub out: (Tensor, Tensor),
    /// Scale and shift `[c]` of the layer norm before the feed-forward layer.
    pub norm2: (Tensor, Tensor),
    /// First feed-forward matrix `[hidden, c]` and bias `[hidden]`.
    pub up: (Tensor, Tensor),
    /// Second feed-forward matrix `[c, hidden]` and bias `[c]`.
    pub down: (Tensor, Tensor),
}

impl TemporalWeights {
    fn list(&self) -> [(&'static str, &Tensor); 14] {
        [
            ("input", &self.input),
            ("norm1 scale", &self.norm1.0),
            ("norm1 shift", &self.norm1.1),
            ("query", &self.qkv[0]),
            ("key", &self.qkv[1]),
            ("value", &self.qkv[2]),
            ("out", &self.out.0),
            ("out bias", &self.out.1),
            ("norm2 scale", &self.norm2.0),
            ("norm2 shift", &self.norm2.1),
            ("up", &self.up.0),
            ("up bias", &self.up.1),
            ("down", &self.down.0),
            ("down bias", &self.down.1),
        ]
    }
}

struct TemporalBlock(Params);

impl Op for TemporalBlock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let p = &self.0;
        let shape = [p.batch, p.nodes, p.frames, p.channels].map(|v| v as usize);
        let h = Tensor::empty(x[0].device(), shape, x[0].dtype())?;
        let mut bound: Vec<_> = x.iter().map(|t| In(t)).collect();
        bound.push(Out(&h));
        h.device().run(&TEMPORAL_BLOCK, p, &bound)?;
        Ok((h, x.iter().map(|t| (*t).clone()).collect()))
    }

    fn backward(&self, saved: Vec<Tensor>, dh: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let mut grads: Grads = Vec::with_capacity(saved.len());
        for (i, x) in saved.iter().enumerate() {
            // The kernel leaves out the planes' gradient where it is not wanted; the others come for nothing.
            grads.push(if i > 0 || wanted.needs(0) { Some(wanted.output(i, x)?) } else { None });
        }
        let mut bound: Vec<_> = saved.iter().map(In).collect();
        bound.push(In(dh));
        bound.extend(grads.iter().map(|g| g.as_ref().map_or(Absent, Out)));
        dh.device().run(&TEMPORAL_BLOCK_BACKWARD, &self.0, &bound)?;
        Ok(grads)
    }
}

/// Input projection, shift and one pre-norm transformer layer with linear attention over the frames of every node:
/// planes `[f, b, t, n]`, shift `[b, t, c]` (bias, step embedding, position), result `[b, n, t, c]`. The attention has
/// `heads` heads; the layer norms add `eps` to the variance (1e-5 in the published code).
///
/// STIMP eqs. 3-5 as published in code: pre-norm, softmax of q over features and of k over frames, GELU.
///
/// # Errors
/// When a shape does not fit, the channels are not a multiple of the heads, or there is no plane.
pub fn temporal_block(
    planes: &Tensor,
    shift: &Tensor,
    weights: &TemporalWeights,
    heads: usize,
    eps: f32,
) -> Result<Tensor> {
    let &[f, b, t, n] = planes.shape().dims() else {
        return shape_error(NAME, format!("planes: expected [f, b, t, n], found {}", planes.shape()));
    };
    if f == 0 {
        return shape_error(NAME, "planes [f, b, t, n]: expected at least one plane, found f = 0");
    }
    let c = shift.shape().last();
    let hidden = weights.up.0.shape().rows();
    expect_shape(NAME, "shift [b, t, c]", shift.shape(), [b, t, c])?;
    if heads == 0 || !c.is_multiple_of(heads) {
        return shape_error(NAME, format!("shift [b, t, c]: c = {c} is not a multiple of heads = {heads}"));
    }
    let square = Shape::new(&[c, c]);
    let row = Shape::new(&[c]);
    let expected = [
        [c, f].into(),
        row,
        row,
        square,
        square,
        square,
        square,
        row,
        row,
        row,
        [hidden, c].into(),
        [hidden].into(),
        [c, hidden].into(),
        row,
    ];
    for ((name, tensor), expected) in weights.list().into_iter().zip(expected) {
        expect_shape(NAME, name, tensor.shape(), expected)?;
    }
    let [batch, frames, nodes, inputs, channels, hidden, heads] = [b, t, n, f, c, hidden, heads].map(|v| v as u32);
    let op = TemporalBlock(Params { batch, frames, nodes, inputs, channels, hidden, heads, eps });
    let mut inputs = vec![planes, shift];
    inputs.extend(weights.list().map(|(_, tensor)| tensor));
    apply(op, &inputs)
}
