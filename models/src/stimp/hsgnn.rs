//! HSGNN: what the imputer and the forecaster share of their spatial half (systems 1.4 steps 4 and 5).

use super::options::Embedding;
use super::region::{Region, RegionOptions};
use isobath_engine::init::Init;
use isobath_engine::ops::{self, Spatial, SpatialWeights};
use isobath_engine::parameters::{Builder, Parameters};
use isobath_engine::{Result, Tensor};

/// Declares the layer `name` from a node's features to its `k` prototype weights, as the published code draws it.
pub(crate) fn declare_embedding(builder: Builder, name: &str, k: usize, options: &RegionOptions) -> Builder {
    let features = options.features();
    match options.embedding {
        Embedding::NeighbourSum => builder.linear(name, [k, features], Init::linear(features)),
        Embedding::Node => builder.add(format!("{name}.weight"), [k, features], Init::linear(features)),
    }
}

/// Xavier as PyTorch has it for a 3-D tensor `[k, in, out]`, with fan_in = in out and fan_out = k out.
pub(crate) fn pool_init(k: usize, d: usize) -> Init {
    Init::xavier_normal(d * d, k * d)
}

/// Prototype weights of every node, `[n, k]`, by the linear layer `name` from the features of a region.
pub(crate) fn node_embedding(parameters: &Parameters, name: &str, region: &Region) -> Result<Tensor> {
    if region.options.embedding == Embedding::Node {
        return ops::linear(&region.features, &parameters.get(&format!("{name}.weight"))?, None);
    }
    let (weight, bias) = parameters.pair(name)?;
    let own = ops::linear(&region.features, &weight, Some(&bias))?;
    let (n, k) = (region.nodes(), weight.shape()[0]);
    ops::reshape(&ops::spmm(&region.graph, &ops::reshape(&own, [1, n, k])?)?, [n, k])
}

/// The spatial block from small operations, the twin of [`ops::spatial_block`]: from h `[b, n, t, c]` to the prediction
/// `[b, t, n]`. With `linear` a matrix `[c, c]` and a bias `[c]` follow the node weights, which the fused block lacks.
pub(crate) fn composed(
    h: &Tensor,
    w: &SpatialWeights,
    spatial: &Spatial,
    linear: Option<(Tensor, Tensor)>,
) -> Result<Tensor> {
    let (b, n, t, c) = (h.shape()[0], h.shape()[1], h.shape()[2], h.shape()[3]);
    let h = ops::reshape(&ops::permute(h, &[0, 2, 1, 3])?, [b * t, n, c])?;
    let mut z = ops::node_linear(&ops::spmm(&spatial.graph, &h)?, &w.embedding, &w.pool)?;
    if let Some((weight, bias)) = linear {
        z = ops::linear(&z, &weight, Some(&bias))?;
    }
    if spatial.residual {
        z = ops::add(&h, &z)?;
    }
    let mut y = ops::group_norm(&z, &w.norm.0, &w.norm.1, spatial.groups, spatial.eps)?;
    if let Some((weight, bias)) = &w.gate {
        y = ops::gate(&ops::linear(&y, weight, Some(bias))?)?;
    }
    let y = ops::reshape(&ops::linear(&y, &w.out.0, Some(&w.out.1))?, [b, t, n])?;
    match &spatial.bounds {
        Some((low, high)) => ops::clamp(&y, low, high),
        None => Ok(y),
    }
}
