//! Prediction for a region too large for the memory: its nodes in tiles, each with the ring of neighbours that it gathers
//! from, so that no array of nodes x frames x channels is larger than a tile's.

use super::stddm::{Stddm, Times};
use isobath_engine::graph::Rows;
use isobath_engine::ops::{self, Spatial, SpatialWeights};
use isobath_engine::{Csr, DType, Device, Result, Tensor};
use std::ops::Range;

/// A run of nodes in the order of the region.
struct Tile {
    /// The nodes whose prediction it gives.
    nodes: Range<usize>,
    /// These and all between their neighbours.
    inputs: Range<usize>,
    /// The neighbours of its nodes, counted from the first input; other rows are empty.
    graph: Csr,
}

/// A region's nodes in tiles.
pub struct Tiles(Vec<Tile>);

impl Tiles {
    /// The region of `model` in tiles that keep every activation of so many windows of so many frames below `elements` numbers;
    /// `None` where they are below it in one piece, and for the variants that the fused kernels lack.
    ///
    /// # Errors
    /// What the engine says.
    pub fn of(model: &Stddm, windows: usize, frames: usize, elements: usize) -> Result<Option<Tiles>> {
        let node = (windows * frames * model.options().channels).max(1);
        let needed = model.is_fused() && node * model.nodes() > elements;
        needed
            .then(|| Tiles::new(model.parameters.device(), model.rows(), elements / node, model.parameters.dtype()))
            .transpose()
    }

    /// Tiles of at most `nodes` nodes. Few neighbours are far away in the order of the nodes where the region is a grid in
    /// row-major order; any other graph is cut rightly too, but gains nothing.
    fn new(device: &Device, graph: &Rows, nodes: usize, dtype: DType) -> Result<Tiles> {
        let Rows { offsets, neighbours, values } = graph;
        let (nodes, all) = (nodes.max(1), offsets.len() - 1);
        let tile = |first: usize| {
            let own = first..(first + nodes).min(all);
            let entries = offsets[own.start] as usize..offsets[own.end] as usize;
            let near = || neighbours[entries.clone()].iter().map(|j| *j as usize);
            let inputs =
                near().min().unwrap_or(own.start).min(own.start)..near().max().map_or(own.end, |j| own.end.max(j + 1));
            let moved: Vec<u32> = near().map(|j| (j - inputs.start) as u32).collect();
            let local = |i: usize| offsets[i.clamp(own.start, own.end)] - offsets[own.start];
            let starts: Vec<u32> = (inputs.start..=inputs.end).map(local).collect();
            let values = values.as_ref().map(|values| &values[entries.clone()]);
            let graph = Csr::new(device, inputs.len(), &starts, &moved, values, dtype)?;
            Ok(Tile { nodes: own, inputs, graph })
        };
        Ok(Tiles((0..all).step_by(nodes).map(tile).collect::<Result<_>>()?))
    }

    /// What [`Stddm::predict`] gives for planes `[2, b, t, n]`, in two passes over the tiles: one for
    /// the statistics of the group norm, one for the prediction. Twice the work for the memory of a tile; the statistics are merged
    /// from those of the tiles, so the last digits differ from the prediction in one piece.
    ///
    /// # Errors
    /// What the engine says.
    pub fn predict(&self, model: &Stddm, planes: &Tensor, times: Times<'_>) -> Result<Tensor> {
        let (weights, spatial) = model.spatial_parts()?;
        let mixed = |tile: &Tile| -> Result<_> {
            let h = model.temporal(&ops::slice(planes, 3, tile.inputs.clone())?, times)?;
            let (weights, spatial) = tile.parts(&weights, &spatial)?;
            let (z, stats) = ops::spatial_mix(&h, &weights, &spatial, tile.inner())?;
            Ok((z, stats, weights, spatial))
        };
        let mut moments = Moments::new(f64::from(spatial.eps));
        for tile in &self.0 {
            moments.merge(tile.nodes.len(), &mixed(tile)?.1.to_f64()?);
        }
        let mut parts = Vec::with_capacity(self.0.len());
        for tile in &self.0 {
            let (z, stats, weights, spatial) = mixed(tile)?;
            let stats = Tensor::from_f64(z.device(), *stats.shape(), &moments.stats(), z.dtype())?;
            parts.push(ops::spatial_head(&z, &stats, &weights, &spatial)?);
        }
        ops::concat(&parts.iter().collect::<Vec<_>>(), 2)
    }
}

impl Tile {
    /// Its nodes, counted from its first input.
    fn inner(&self) -> Range<usize> {
        self.nodes.start - self.inputs.start..self.nodes.end - self.inputs.start
    }

    /// The weights and settings of its nodes.
    fn parts(&self, weights: &SpatialWeights, spatial: &Spatial) -> Result<(SpatialWeights, Spatial)> {
        let own = |x: &Tensor| ops::slice(x, 0, self.nodes.clone());
        let weights = SpatialWeights { embedding: own(&weights.embedding)?, ..weights.clone() };
        let bounds = spatial.bounds.as_ref().map(|(low, high)| Ok((own(low)?, own(high)?))).transpose()?;
        Ok((weights, Spatial { graph: self.graph.clone(), bounds, ..spatial.clone() }))
    }
}

/// Mean and variance of every group over the tiles seen so far.
struct Moments {
    eps: f64,
    nodes: f64,
    /// Mean and variance of every group.
    groups: Vec<(f64, f64)>,
}

impl Moments {
    fn new(eps: f64) -> Self {
        Moments { eps, nodes: 0.0, groups: Vec::new() }
    }

    /// Takes up the statistics of so many nodes, mean and reciprocal standard deviation of every group (Chan et al. 1983).
    fn merge(&mut self, nodes: usize, stats: &[f64]) {
        self.groups.resize(stats.len() / 2, (0.0, 0.0));
        let (before, new) = (self.nodes, nodes as f64);
        self.nodes += new;
        for ((mean, variance), part) in self.groups.iter_mut().zip(stats.chunks_exact(2)) {
            let (delta, own) = (part[0] - *mean, part[1].powi(-2) - self.eps);
            *mean += delta * new / self.nodes;
            *variance =
                (*variance * before + own * new) / self.nodes + delta * delta * before * new / self.nodes.powi(2);
        }
    }

    /// Mean and reciprocal standard deviation of every group.
    fn stats(&self) -> Vec<f64> {
        self.groups.iter().flat_map(|(mean, variance)| [*mean, 1.0 / (variance + self.eps).sqrt()]).collect()
    }
}
