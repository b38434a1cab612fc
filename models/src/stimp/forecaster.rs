//! The forecaster: the frames after a window from the window's imputed values (systems 1.7).

use super::hsgnn;
use super::options::{Attention, BlockForm, Embedding, no_divisor, zero};
use super::region::{Region, RegionOptions};
use super::tlt::{self, EPS, Temporal};
use isobath_engine::init::Init;
use isobath_engine::ops::{self, Spatial, SpatialWeights};
use isobath_engine::parameters::{Builder, Parameters};
use isobath_engine::{DType, Device, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// The published name of its temporal block.
const BLOCK: &str = "temporal_encoder.layers.layers.0";
/// Frames that the token convolution sees.
const KERNEL: usize = 3;
/// Added to the variance of a window.
const WINDOW_EPS: f32 = 1e-5;

/// The choices of the forecaster; the differences that are named are those of systems 1.11.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Frames T of a window.
    pub frames: usize,
    /// Frames T' of a forecast.
    pub horizon: usize,
    /// Width d of every token.
    pub channels: usize,
    /// Prototypes k of the node weights.
    pub prototypes: usize,
    /// Attention heads (difference 4).
    pub heads: usize,
    /// Groups of the group norm.
    pub groups: usize,
    /// Attention over frames (difference 4).
    pub attention: Attention,
    /// Norms, residuals and activation of the temporal block (difference 5).
    pub block: BlockForm,
    /// Prototype weights from features (difference 7).
    pub embedding: Embedding,
    /// Whether the longitude column is a feature too (difference 8).
    pub longitude: bool,
    /// Whether neighbour sums are divided by the number of neighbours (difference 14).
    pub normalise_degree: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options::published()
    }
}

impl Options {
    /// The published code's behaviour and sizes: a year of 46 frames from a year.
    pub fn published() -> Self {
        Options {
            frames: 46,
            horizon: 46,
            channels: 8,
            prototypes: 8,
            heads: 1,
            groups: 4,
            attention: Attention::Linear,
            block: BlockForm::PreNorm,
            embedding: Embedding::NeighbourSum,
            longitude: false,
            normalise_degree: false,
        }
    }

    /// The choices of its temporal block.
    pub fn temporal(&self) -> Temporal {
        Temporal { attention: self.attention, block: self.block, heads: self.heads }
    }

    /// The choices that its region is built by.
    pub fn region(&self) -> RegionOptions {
        let Options { embedding, longitude, normalise_degree, .. } = *self;
        RegionOptions { embedding, longitude, normalise_degree, interpolates: false }
    }

    /// One sentence on the first field that cannot be, or nothing.
    pub fn complaint(&self) -> Option<String> {
        let lengths = [("frames", self.frames), ("horizon", self.horizon)];
        zero(&lengths)
            .or_else(|| zero(&[("channels", self.channels), ("prototypes", self.prototypes)]))
            .or_else(|| no_divisor(self.channels, "heads", self.heads))
            .or_else(|| no_divisor(self.channels, "groups", self.groups))
    }
}

/// The forecaster's network on one region.
pub struct Forecaster {
    /// Its parameters under the published names.
    pub parameters: Parameters,
    options: Options,
    region: Region,
    /// Whether the fused kernels run; else the same network from small operations.
    fused: bool,
}

/// Windows to train on, as the host has them.
pub struct Batch<'a> {
    /// Imputed values `[b, T, n]`.
    pub windows: &'a [f32],
    /// Values of the frames that follow `[b, T', n]`, whatever where nothing was observed.
    pub labels: &'a [f32],
    /// What of the labels was observed, `[b, T', n]`.
    pub observed: &'a [bool],
}

/// Windows of mean 0 and variance 1 at every node, and the way back (Kim et al. 2022, "RevIN", without its affine map).
pub struct Normalised {
    /// `[b, T, n]`.
    pub windows: Tensor,
    /// Mean over the frames `[b, 1, n]`.
    pub mean: Tensor,
    /// Root of the biased variance over the frames plus 1e-5, `[b, 1, n]`.
    pub std: Tensor,
}

impl Normalised {
    /// Normalises windows `[b, T, n]`.
    ///
    /// # Errors
    /// When the tensor has another rank.
    pub fn of(windows: &Tensor) -> Result<Normalised> {
        let &[b, _, n] = windows.shape().dims() else {
            let what = format!("windows: expected [b, T, n], found {}", windows.shape());
            return Err(Error::Shape { op: "forecaster", what });
        };
        let over_frames = |x: &Tensor| ops::reshape(&ops::mean(x, 1..2)?, [b, 1, n]);
        let mean = over_frames(windows)?;
        let centred = ops::sub(windows, &mean)?;
        let std = ops::sqrt(&ops::affine(&over_frames(&ops::square(&centred)?)?, 1.0, WINDOW_EPS)?)?;
        Ok(Normalised { windows: ops::div(&centred, &std)?, mean, std })
    }

    /// Takes values `[b, .., n]` back to the scale of the windows.
    ///
    /// # Errors
    /// When the shape is none of these windows'.
    pub fn restore(&self, values: &Tensor) -> Result<Tensor> {
        ops::add(&ops::mul(values, &self.std)?, &self.mean)
    }
}

impl Forecaster {
    /// A network with fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// When the options contradict themselves, or the region was built by others.
    pub fn new(device: &Device, options: Options, region: Region, dtype: DType, seed: u64) -> Result<Forecaster> {
        let other = || {
            let (expected, found) = (options.region(), region.options);
            (expected != found).then(|| format!("expected a region built by {expected:?}, found one by {found:?}"))
        };
        if let Some(what) = options.complaint().or_else(other) {
            return Err(Error::Shape { op: "forecaster", what });
        }
        let parameters = parameters(&options).build(device, dtype, seed)?;
        let fused = options.temporal().has_kernel();
        Ok(Forecaster { parameters, options, region, fused })
    }

    /// The same network from small operations instead of the fused kernels: slower, for checks.
    pub fn unfused(mut self) -> Self {
        self.fused = false;
        self
    }

    /// Its choices.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.region.nodes()
    }

    /// The masked squared error of a batch, to be recorded on a tape.
    ///
    /// # Errors
    /// When the arrays are not those of whole windows.
    pub fn loss(&self, batch: &Batch<'_>) -> Result<Tensor> {
        let Options { frames, horizon, .. } = self.options;
        let b = batch.windows.len() / (frames * self.nodes());
        let mask: Vec<f32> = batch.observed.iter().map(|seen| f32::from(*seen)).collect();
        let tensor = |length: usize, values: &[f32]| self.parameters.tensor([b, length, self.nodes()], values);
        self.loss_of(&tensor(frames, batch.windows)?, &tensor(horizon, batch.labels)?, &tensor(horizon, &mask)?)
    }

    /// sum (prediction - label)^2 mask / sum mask; windows `[b, T, n]`, labels and mask `[b, T', n]`.
    ///
    /// # Errors
    /// As [`Forecaster::predict`], and when labels or mask have another shape.
    pub fn loss_of(&self, windows: &Tensor, labels: &Tensor, mask: &Tensor) -> Result<Tensor> {
        ops::masked_mse(&self.predict(windows)?, labels, mask)
    }

    /// The frames `[b, T', n]` that follow windows `[b, T, n]`, both on the data's scale.
    ///
    /// # Errors
    /// When the windows have another number of frames or nodes.
    pub fn predict(&self, windows: &Tensor) -> Result<Tensor> {
        let normalised = Normalised::of(windows)?;
        normalised.restore(&self.network(&normalised.windows)?)
    }

    /// From normalised windows `[b, T, n]` to the normalised forecast `[b, T', n]`.
    ///
    /// # Errors
    /// When the windows have another number of frames or nodes.
    pub fn network(&self, windows: &Tensor) -> Result<Tensor> {
        let h = self.temporal(windows)?;
        let y = ops::silu(&self.spatial(&h)?)?;
        let (weight, bias) = self.parameters.pair("projection1")?;
        let series = ops::permute(&y, &[0, 2, 1])?;
        ops::permute(&ops::linear(&series, &weight, Some(&bias))?, &[0, 2, 1])
    }

    /// Token convolution and temporal block, `[b, T, n, c]`. The circular convolution over frames t - 1, t and t + 1 is
    /// the block's input projection of three shifted planes.
    fn temporal(&self, windows: &Tensor) -> Result<Tensor> {
        let Options { frames, channels, .. } = self.options;
        let &[b, found, _] = windows.shape().dims() else {
            return Normalised::of(windows).map(|normalised| normalised.windows); // which says what is wrong
        };
        if found != frames {
            let what = format!("windows [b, T, n]: expected T = {frames}, found {found}");
            return Err(Error::Shape { op: "forecaster", what });
        }
        let planes = ops::stack(&[&ops::roll(windows, 1, 1)?, windows, &ops::roll(windows, 1, -1)?], 0)?;
        let input = ops::reshape(&self.parameters.get("value_embedding.tokenConv.weight")?, [channels, KERNEL])?;
        let weights = tlt::weights(&self.parameters, input, BLOCK)?;
        let shift = Tensor::zeros(windows.device(), [b, frames, channels], windows.dtype())?;
        if self.fused {
            return ops::temporal_block(&planes, &shift, &weights, self.options.heads, EPS);
        }
        tlt::composed(&planes, &shift, &weights, self.options.temporal())
    }

    /// HSGNN without residual, group norm and projection to one number, `[b, T, n]`.
    fn spatial(&self, h: &Tensor) -> Result<Tensor> {
        let weights = SpatialWeights {
            embedding: hsgnn::node_embedding(&self.parameters, "position_embedding.projection1", &self.region)?,
            pool: self.parameters.get("spatial_encoder.weights_pool")?,
            norm: self.parameters.pair("gn")?,
            gate: None,
            out: self.parameters.pair("projection2")?,
        };
        let graph = self.region.graph.clone();
        let spatial = Spatial { graph, residual: false, groups: self.options.groups, eps: EPS, bounds: None };
        if self.fused {
            return ops::spatial_block(h, &weights, &spatial, None);
        }
        hsgnn::composed(h, &weights, &spatial, None)
    }
}

/// The parameters under the published names, drawn as the published code draws them.
fn parameters(o: &Options) -> Builder {
    let (d, k) = (o.channels, o.prototypes);
    let builder =
        Parameters::builder().add("value_embedding.tokenConv.weight", [d, 1, KERNEL], Init::kaiming_normal(KERNEL));
    let builder = tlt::declare(builder, BLOCK, d);
    hsgnn::declare_embedding(builder, "position_embedding.projection1", k, &o.region())
        .add("spatial_encoder.weights_pool", [k, d, d], hsgnn::pool_init(k, d))
        .norm("gn", d)
        .linear("projection2", [1, d], Init::linear(d))
        .linear("projection1", [o.horizon, o.frames], Init::linear(o.frames))
}
