//! The spatial half of STIMP as one operation: graph mix, group norm and head, with the loss where there is a target.

use crate::device::Bind::{Absent, In, Out};
use crate::error::{Result, shape_error};
use crate::graph::Csr;
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::shape::Shape;
use crate::tensor::Tensor;
use isobath_kernels::gated_head::{GATED_HEAD, Params as HeadParams};
use isobath_kernels::gated_head_backward::GATED_HEAD_BACKWARD;
use isobath_kernels::graph_mix::{GRAPH_MIX, Params as MixParams};
use isobath_kernels::graph_mix_backward::GRAPH_MIX_BACKWARD;
use std::ops::Range;

const NAME: &str = "spatial_block";

/// The weights of a spatial block; matrices are `[out, in]`.
#[derive(Clone, Debug)]
pub struct SpatialWeights {
    /// Prototype weights of every node `[n, k]`.
    pub embedding: Tensor,
    /// Prototype matrices `[k, c, c]`, each `[in, out]`.
    pub pool: Tensor,
    /// Scale and shift `[c]` of the group norm.
    pub norm: (Tensor, Tensor),
    /// Matrix `[2c, c]` and bias `[2c]` before the gate; without it the norm is projected as it is.
    pub gate: Option<(Tensor, Tensor)>,
    /// Projection `[1, c]` and bias `[1]` to one number.
    pub out: (Tensor, Tensor),
}

/// How a spatial block is built.
#[derive(Clone)]
pub struct Spatial {
    /// The graph that neighbours come from.
    pub graph: Csr,
    /// Whether the block's input is added before the group norm.
    pub residual: bool,
    /// Groups of the group norm.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Lowest and highest prediction `[n]` of every node.
    pub bounds: Option<(Tensor, Tensor)>,
}

/// Places in the list of inputs: h, embedding, pool, then norm, gate and out in pairs, then bounds and target with mask.
struct Places {
    gate: Option<usize>,
    out: usize,
    bounds: Option<usize>,
    target: Option<usize>,
}

struct SpatialBlock {
    spatial: Spatial,
    places: Places,
}

impl SpatialBlock {
    /// z has the nodes `rows` of h.
    fn mix(&self, h: &Tensor, pool: &Tensor, rows: &Range<usize>) -> MixParams {
        let [batch, inputs, frames, channels] = [0, 1, 2, 3].map(|axis| h.shape()[axis] as u32);
        MixParams {
            batch,
            frames,
            nodes: rows.len() as u32,
            inputs,
            first: rows.start as u32,
            channels,
            prototypes: pool.shape()[0] as u32,
            groups: self.spatial.groups as u32,
            residual: u32::from(self.spatial.residual),
            edges: self.spatial.graph.entries() as u32,
            eps: self.spatial.eps,
        }
    }

    fn head(&self, mix: &MixParams) -> HeadParams {
        let gated = u32::from(self.places.gate.is_some());
        let MixParams { batch, frames, nodes, channels, groups, .. } = *mix;
        HeadParams { batch, frames, nodes, channels, groups, gated }
    }

    /// h, the graph, embedding and pool.
    fn mix_buffers<'a>(&'a self, x: &[&'a Tensor]) -> Vec<crate::device::Bind<'a>> {
        let graph = &self.spatial.graph;
        let values = graph.values.as_ref().map_or(Absent, In);
        vec![In(x[0]), In(&graph.offsets), In(&graph.neighbours), values, In(x[1]), In(x[2])]
    }

    /// Norm, gate, out, bounds, target and mask.
    fn head_buffers<'a>(&self, x: &[&'a Tensor]) -> Vec<crate::device::Bind<'a>> {
        let pair = |place: Option<usize>| place.map_or([Absent, Absent], |i| [In(x[i]), In(x[i + 1])]);
        let p = &self.places;
        [pair(Some(3)), pair(p.gate), pair(Some(p.out)), pair(p.bounds), pair(p.target)].concat()
    }
}

impl SpatialBlock {
    /// z of the nodes `rows` of h, and its statistics.
    fn mixed(&self, x: &[&Tensor], rows: Range<usize>) -> Result<(Tensor, Tensor)> {
        let (h, device, dtype) = (x[0], x[0].device(), x[0].dtype());
        let &[b, _, t, c] = h.shape().dims() else { unreachable!("as `checked` found") };
        let z = Tensor::empty(device, [b, rows.len(), t, c], dtype)?;
        let stats = Tensor::empty(device, [b, t, self.spatial.groups, 2], dtype)?;
        let mut bound = self.mix_buffers(x);
        bound.extend([Out(&z), Out(&stats)]);
        device.run(&GRAPH_MIX, &self.mix(h, x[2], &rows), &bound)?;
        Ok((z, stats))
    }

    /// The prediction, or the loss and in `weight` what it was divided by.
    fn headed(&self, z: &Tensor, stats: &Tensor, x: &[&Tensor], weight: &Tensor) -> Result<Tensor> {
        let &[b, n, t, _] = z.shape().dims() else { unreachable!("made by mixed") };
        let with_target = self.places.target.is_some();
        let shape = if with_target { Shape::new(&[]) } else { [b, t, n].into() };
        let y = Tensor::empty(z.device(), shape, z.dtype())?;
        let mut bound = vec![In(z), In(stats)];
        bound.extend(self.head_buffers(x));
        bound.extend(if with_target { [Absent, Out(&y), Out(weight)] } else { [Out(&y), Absent, Absent] });
        z.device().run(&GATED_HEAD, &self.head(&self.mix(z, x[2], &(0..n))), &bound)?;
        Ok(y)
    }
}

impl Op for SpatialBlock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (z, stats) = self.mixed(x, 0..x[0].shape()[1])?;
        let weight = Tensor::empty(z.device(), Shape::new(&[]), z.dtype())?;
        let y = self.headed(&z, &stats, x, &weight)?;
        let mut saved: Vec<Tensor> = x.iter().map(|t| (*t).clone()).collect();
        saved.extend([z, stats, weight]);
        Ok((y, saved))
    }

    fn backward(&self, mut saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let (device, dtype) = (dy.device(), dy.dtype());
        let [z, stats, weight]: [Tensor; 3] = std::array::from_fn(|i| saved[saved.len() - 3 + i].clone());
        saved.truncate(saved.len() - 3);
        let x: Vec<&Tensor> = saved.iter().collect();
        let mix = self.mix(x[0], x[2], &(0..x[0].shape()[1]));
        let last = self.places.out + 2;
        // The kernels give every weight's gradient in one go; bounds, target and mask have none.
        let mut grads: Grads = (0..last).map(|i| wanted.output(i, x[i]).map(Some)).collect::<Result<_>>()?;
        grads.resize_with(x.len(), || None);

        let d = Tensor::empty(device, x[0].shape(), dtype)?;
        let sums = Tensor::empty(device, stats.shape(), dtype)?;
        let mut bound = vec![In(&z), In(&stats)];
        bound.extend(self.head_buffers(&x));
        let weight = if self.places.target.is_some() { In(&weight) } else { Absent };
        bound.extend([In(dy), weight, Out(&d), Out(&sums)]);
        let out = |i: usize| grads[i].as_ref().map_or(Absent, Out);
        let gate = self.places.gate.map_or([Absent, Absent], |i| [out(i), out(i + 1)]);
        bound.extend([out(3), out(4), gate[0], gate[1], out(self.places.out), out(self.places.out + 1)]);
        device.run(&GATED_HEAD_BACKWARD, &self.head(&mix), &bound)?;

        let u = Tensor::empty(device, x[0].shape(), dtype)?;
        let mut bound = self.mix_buffers(&x);
        bound.extend([In(&z), In(&stats), In(&sums), Out(&d), Out(&u), out(1), out(2)]);
        device.run(&GRAPH_MIX_BACKWARD, &mix, &bound)?;
        drop(z);

        // dh = r dz + G^T u; to the graph a whole window is one row.
        let windows = |x: &Tensor| {
            let &[b, n, t, c] = x.shape().dims() else { unreachable!("checked by spatial_block") };
            x.view(0, [b, n, t * c].into())
        };
        if let Some(dh) = &grads[0] {
            let residual = self.spatial.residual.then(|| windows(&d));
            self.spatial.graph.multiply(&windows(&u), residual.as_ref(), &windows(dh), true)?;
        }
        Ok(grads)
    }
}

/// The spatial half of STIMP on h `[b, n, t, c]`: neighbour sum times a matrix of each node's own (`W_n = sum_k
/// embedding[n, k] pool[k]`), residual, group norm, gate, projection to one number and clamp (systems 1.4 steps 4 to 7).
/// Without `target` the result is the prediction `[b, t, n]`; with `(target, mask)`, both `[b, t, n]`, it is the loss
/// sum (prediction - target)^2 mask / sum mask. Bounds, target and mask have no gradient.
///
/// # Errors
/// When a shape does not fit, the channels are not a multiple of the groups, or there is no prototype.
pub fn spatial_block(
    h: &Tensor,
    weights: &SpatialWeights,
    spatial: &Spatial,
    target: Option<(&Tensor, &Tensor)>,
) -> Result<Tensor> {
    expect_graph(h, spatial)?;
    let (block, inputs) = checked(h, weights, spatial, h.shape()[1], target)?;
    apply(block, &inputs)
}

/// z = r h + (neighbour sum of h) W_n and its statistics, mean and reciprocal standard deviation of every group `[b, t, g, 2]`,
/// for the nodes `rows` of h `[b, n, t, c]` alone: the first part of [`spatial_block`], for regions in tiles. Embedding and
/// bounds are those of `rows`. Nothing is recorded on a tape.
///
/// # Errors
/// As [`spatial_block`], and when `rows` are no nodes of h.
pub fn spatial_mix(
    h: &Tensor,
    weights: &SpatialWeights,
    spatial: &Spatial,
    rows: Range<usize>,
) -> Result<(Tensor, Tensor)> {
    expect_graph(h, spatial)?;
    let (block, inputs) = checked(h, weights, spatial, rows.len(), None)?;
    if rows.end > h.shape()[1] {
        return shape_error(NAME, format!("h [b, n, t, c]: n = {}, found rows {rows:?}", h.shape()[1]));
    }
    block.mixed(&inputs, rows)
}

/// The prediction `[b, t, n]` from z `[b, n, t, c]` and the statistics `[b, t, g, 2]` of its groups: the second part of
/// [`spatial_block`]. Nothing is recorded on a tape.
///
/// # Errors
/// As [`spatial_block`], and when the statistics are not those of z.
pub fn spatial_head(z: &Tensor, stats: &Tensor, weights: &SpatialWeights, spatial: &Spatial) -> Result<Tensor> {
    let (block, inputs) = checked(z, weights, spatial, weights.embedding.shape().rows(), None)?;
    expect_shape(NAME, "stats [b, t, g, 2]", stats.shape(), [z.shape()[0], z.shape()[2], spatial.groups, 2])?;
    block.headed(z, stats, &inputs, &Tensor::empty(z.device(), Shape::new(&[]), z.dtype())?)
}

/// An error unless h has a window for every node of the graph.
fn expect_graph(h: &Tensor, spatial: &Spatial) -> Result<()> {
    let nodes = spatial.graph.nodes();
    match *h.shape().dims() {
        [_, n, _, _] if n == nodes => Ok(()),
        [_, n, _, _] => shape_error(NAME, format!("h [b, n, t, c]: n = {n}, the graph has {nodes} nodes")),
        _ => shape_error(NAME, format!("h: expected [b, n, t, c], found {}", h.shape())),
    }
}

/// The operation and its inputs where every shape fits; `rows` of h's nodes have embedding, bounds and target.
fn checked<'a>(
    h: &'a Tensor,
    weights: &'a SpatialWeights,
    spatial: &'a Spatial,
    rows: usize,
    target: Option<(&'a Tensor, &'a Tensor)>,
) -> Result<(SpatialBlock, Vec<&'a Tensor>)> {
    let &[b, _, t, c] = h.shape().dims() else {
        return shape_error(NAME, format!("h: expected [b, n, t, c], found {}", h.shape()));
    };
    if spatial.groups == 0 || !c.is_multiple_of(spatial.groups) {
        return shape_error(NAME, format!("h [b, n, t, c]: c = {c} is not a multiple of groups = {}", spatial.groups));
    }
    let k = weights.embedding.shape().last();
    if k == 0 {
        return shape_error(NAME, "embedding [n, k]: expected at least one prototype, found k = 0");
    }
    let w = weights;
    let mut inputs = vec![h];
    let take = |name: &str, tensor: &'_ Tensor, shape: Shape| expect_shape(NAME, name, tensor.shape(), shape);
    take("embedding [n, k]", &w.embedding, [rows, k].into())?;
    take("pool [k, c, c]", &w.pool, [k, c, c].into())?;
    take("norm scale [c]", &w.norm.0, [c].into())?;
    take("norm shift [c]", &w.norm.1, [c].into())?;
    inputs.extend([&w.embedding, &w.pool, &w.norm.0, &w.norm.1]);
    let mut places = Places { gate: None, out: 5, bounds: None, target: None };
    if let Some((matrix, bias)) = &w.gate {
        take("gate [2c, c]", matrix, [2 * c, c].into())?;
        take("gate bias [2c]", bias, [2 * c].into())?;
        (places.gate, places.out) = (Some(5), 7);
        inputs.extend([matrix, bias]);
    }
    take("out [1, c]", &w.out.0, [1, c].into())?;
    take("out bias [1]", &w.out.1, [1].into())?;
    inputs.extend([&w.out.0, &w.out.1]);
    if let Some((low, high)) = &spatial.bounds {
        take("low [n]", low, [rows].into())?;
        take("high [n]", high, [rows].into())?;
        places.bounds = Some(inputs.len());
        inputs.extend([low, high]);
    }
    if let Some((target, mask)) = target {
        take("target [b, t, n]", target, [b, t, rows].into())?;
        take("mask [b, t, n]", mask, [b, t, rows].into())?;
        places.target = Some(inputs.len());
        inputs.extend([target, mask]);
    }
    Ok((SpatialBlock { spatial: spatial.clone(), places }, inputs))
}
