//! The place a model works on: its graph, the features of its nodes and their bounds.

use super::options::Embedding;
use crate::baselines::{OptimalInterpolation, Variability};
use isobath_engine::graph::Rows;
use isobath_engine::{Csr, DType, Device, Error, Result, Tensor};
use std::sync::Arc;

/// The choices that a region is built by (systems 1.11, differences 7, 8 and 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionOptions {
    /// Prototype weights from features.
    pub embedding: Embedding,
    /// Whether the longitude column is a feature too.
    pub longitude: bool,
    /// Whether neighbour sums are divided by the number of neighbours.
    pub normalise_degree: bool,
    /// Whether gaps are filled by optimal interpolation.
    pub interpolates: bool,
}

impl RegionOptions {
    /// Features of a node that its prototype weights follow from.
    pub fn features(&self) -> usize {
        3 + usize::from(self.longitude)
    }
}

/// A region as plain numbers, node by node in row-major order of the sea mask.
pub struct RegionData<'a> {
    /// Starts of each node's neighbours, `[n + 1]`.
    pub offsets: &'a [u32],
    /// Neighbours, the node itself included.
    pub neighbours: &'a [u32],
    /// Mean over the training frames, `[n]`.
    pub mean: &'a [f32],
    /// Standard deviation over the training frames, `[n]`.
    pub std: &'a [f32],
    /// How nodes vary over the training frames; read where gaps are filled by optimal interpolation alone.
    pub variability: Option<&'a Variability>,
    /// Row and column of each node on the grid, `[n]`; read with `variability` alone.
    pub places: &'a [[u32; 2]],
    /// Lowest value, `[n]`.
    pub low: &'a [f32],
    /// Highest value, `[n]`.
    pub high: &'a [f32],
    /// Row of the grid over the number of rows, `[n]`.
    pub row: &'a [f32],
    /// Column of the grid over the number of columns, `[n]`.
    pub column: &'a [f32],
}

/// A region on a device.
#[derive(Clone)]
pub struct Region {
    pub(crate) options: RegionOptions,
    pub(crate) graph: Csr,
    /// The graph as the host has it.
    pub(crate) rows: Rows,
    /// `[n, features]`.
    pub(crate) features: Tensor,
    /// What fills gaps, where it does.
    pub(crate) interpolation: Option<Arc<OptimalInterpolation>>,
    /// Lowest and highest value `[n]`.
    pub(crate) bounds: (Tensor, Tensor),
}

impl Region {
    /// Puts a region on `device`.
    ///
    /// # Errors
    /// When the graph is none, or a list has another length than there are nodes.
    pub fn new(device: &Device, data: &RegionData<'_>, options: RegionOptions, dtype: DType) -> Result<Region> {
        let n = data.mean.len();
        let degree = |i: usize| f64::from(data.offsets[i + 1] - data.offsets[i]);
        let shares: Option<Vec<f64>> = options
            .normalise_degree
            .then(|| (0..n).flat_map(|i| std::iter::repeat_n(1.0 / degree(i), degree(i) as usize)).collect());
        let graph = Csr::new(device, n, data.offsets, data.neighbours, shares.as_deref(), dtype)?;
        let square: Vec<f32> = data.std.iter().map(|s| s * s).collect();
        let mut planes = match options.embedding {
            Embedding::NeighbourSum => vec![data.mean, data.std, data.row],
            Embedding::Node => vec![data.row, data.mean, &square],
        };
        if options.longitude {
            planes.push(data.column);
        }
        let features: Vec<f64> = (0..n).flat_map(|i| planes.iter().map(move |p| f64::from(p[i]))).collect();
        let bound = |values: &[f32]| {
            let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
            Tensor::from_f64(device, [n], &values, dtype)?.keep()
        };
        let interpolation = match (options.interpolates, data.variability) {
            (false, _) => None,
            (true, Some(v)) => Some(Arc::new(OptimalInterpolation::new(v.clone(), data.places))),
            (true, None) => {
                let what = "optimal interpolation needs to know how the nodes vary, and the region does not".into();
                return Err(Error::Shape { op: "region", what });
            }
        };
        Ok(Region {
            options,
            graph,
            rows: Rows { offsets: data.offsets.to_vec(), neighbours: data.neighbours.to_vec(), values: shares },
            features: Tensor::from_f64(device, [n, planes.len()], &features, dtype)?.keep()?,
            interpolation,
            bounds: (bound(data.low)?, bound(data.high)?),
        })
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.graph.nodes()
    }
}
