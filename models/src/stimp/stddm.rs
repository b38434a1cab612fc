//! STDDM: the network that predicts a window's values from its visible cells and a noisy sample (systems 1.4, 1.5).

use super::diffusion::{Diffusion, step_table};
use super::fill;
use super::hsgnn;
use super::options::{Attention, BlockForm, Fill, Options, Position};
use super::region::Region;
use super::tlt::{self, EPS};
use crate::baselines::OptimalInterpolation;
use isobath_engine::graph::Rows;
use isobath_engine::init::Init;
use isobath_engine::ops::{self, Spatial, SpatialWeights};
use isobath_engine::parameters::{Builder, Parameters};
use isobath_engine::random::{PhiloxKey, normal};
use isobath_engine::{DType, Device, Error, Result, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// The published name of its temporal block.
const BLOCK: &str = "time_encoding.layers.layers.0";
/// The projection of the frames' positions, which the published network lacks.
const POSITION: &str = "position_projection.weight";

/// The imputer's network on one region.
pub struct Stddm {
    /// Its parameters under the published names.
    pub parameters: Parameters,
    options: Options,
    region: Region,
    diffusion: Diffusion,
    /// Sines and cosines of every step, `[L, step_width]`.
    table: Vec<f64>,
    /// Whether the fused kernels run; else the same network from small operations.
    fused: bool,
}

/// Windows to train on, as the host has them; `[b, t, n]` each.
pub struct Batch<'a> {
    /// Frames t of a window.
    pub frames: usize,
    /// Values, 0 where nothing was observed.
    pub values: &'a [f32],
    /// What was observed.
    pub observed: &'a [bool],
    /// What of it the model may see; the rest is what it is scored on.
    pub visible: &'a [bool],
    /// Where the windows stand.
    pub times: Times<'a>,
    /// Where the noise of this step of training comes from.
    pub noise: PhiloxKey,
}

/// Where windows stand in the diffusion and in the year.
#[derive(Clone, Copy)]
pub struct Times<'a> {
    /// Diffusion step of every window, `[b]`.
    pub steps: &'a [usize],
    /// Time of every frame as a fraction of its year, `[b, t]`; read with [`Position::Season`] and [`Fill::OptimalInterpolation`] alone.
    pub phases: &'a [f32],
}

/// Windows with their gaps filled, ready for the network.
pub struct Condition {
    /// Visible values, the fill elsewhere, `[b, t, n]`.
    pub filled: Tensor,
    /// The fill of every node in every frame, `[b, t, n]`.
    pub fill: Tensor,
    /// 1 where nothing is visible, `[b, t, n]`.
    pub hidden: Tensor,
}

impl Condition {
    /// So many times the same windows.
    pub(crate) fn repeat(&self, times: usize) -> Result<Condition> {
        let repeat = |x: &Tensor| ops::concat(&vec![x; times], 0);
        Ok(Condition { filled: repeat(&self.filled)?, fill: repeat(&self.fill)?, hidden: repeat(&self.hidden)? })
    }
}

impl Stddm {
    /// A network with fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// When the options contradict themselves.
    pub fn new(device: &Device, options: Options, region: Region, dtype: DType, seed: u64) -> Result<Stddm> {
        if let Some(what) = options.complaint() {
            return Err(Error::Shape { op: "stddm", what });
        }
        let parameters = parameters(&options).build(device, dtype, seed)?;
        let table = step_table(options.steps, options.step_width);
        let fused =
            options.attention == Attention::Linear && options.block == BlockForm::PreNorm && !options.spatial_linear;
        let diffusion = Diffusion::new(&options);
        Ok(Stddm { parameters, options, region, diffusion, table, fused })
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

    /// What fills gaps where it starts from optimal interpolation.
    pub fn interpolation(&self) -> Option<&Arc<OptimalInterpolation>> {
        self.region.interpolation.as_ref()
    }

    /// The tables of its diffusion.
    pub fn diffusion(&self) -> &Diffusion {
        &self.diffusion
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.region.nodes()
    }

    /// Fills the gaps of windows `[b, t, n]` whose frames lie at `phases` `[b, t]`, fractions of a year; read with
    /// [`Fill::OptimalInterpolation`] alone.
    ///
    /// # Errors
    /// When there are not as many phases as the fill needs, and what the engine says.
    pub fn condition(&self, frames: usize, phases: &[f32], values: &[f32], visible: &[bool]) -> Result<Condition> {
        let window = frames * self.nodes();
        let (mut filled, mut hidden) = (values.to_vec(), vec![0.0; values.len()]);
        let windows = values.par_chunks(window).zip(visible.par_chunks(window)).enumerate();
        let of_window = |(i, (values, seen))| self.fill(phases.get(i * frames..(i + 1) * frames), values, seen);
        let fill = windows.map(of_window).collect::<Result<Vec<_>>>()?.concat();
        for (i, fill) in fill.iter().enumerate().filter(|(i, _)| !visible[*i]) {
            (filled[i], hidden[i]) = (*fill, 1.0);
        }
        let shape = [values.len() / window, frames, self.nodes()];
        let tensor = |v: &[f32]| self.tensor(&shape, v);
        Ok(Condition { filled: tensor(&filled)?, fill: tensor(&fill)?, hidden: tensor(&hidden)? })
    }

    /// The fill of one window `[t, n]`.
    fn fill(&self, phases: Option<&[f32]>, values: &[f32], visible: &[bool]) -> Result<Vec<f32>> {
        let refuse = |what: &str| Err(Error::Shape { op: "stddm", what: what.into() });
        Ok(match self.options.fill {
            Fill::Zero => vec![0.0; values.len()],
            Fill::VisibleMean => fill::visible_mean(self.nodes(), values, visible),
            Fill::OptimalInterpolation => match (phases, &self.region.interpolation) {
                (Some(phases), Some(interpolation)) => interpolation.fill(phases, values, visible),
                (None, _) => return refuse("phases: expected one for each frame of a window, found fewer"),
                (_, None) => return refuse("the region was not made to fill by optimal interpolation"),
            },
        })
    }

    /// A host array as a tensor of the network's number type.
    pub fn tensor(&self, shape: &[usize], values: &[f32]) -> Result<Tensor> {
        self.parameters.tensor(shape, values)
    }

    /// The noisy sample of every window at its own step: `x0` and `noise` `[b, t, n]`.
    pub fn noisy(&self, x0: &Tensor, noise: &Tensor, steps: &[usize]) -> Result<Tensor> {
        let (signal, sigma): (Vec<f64>, Vec<f64>) = steps.iter().map(|l| self.diffusion.q_sample(*l)).unzip();
        let row = |v: &[f64]| Tensor::from_f64(x0.device(), [v.len()], v, x0.dtype());
        ops::q_sample(x0, noise, &row(&signal)?, &row(&sigma)?)
    }

    /// The network's input planes `[2, b, t, n]`: the filled values, and the sample where nothing is visible.
    pub fn planes(&self, condition: &Condition, sample: &Tensor) -> Result<Tensor> {
        ops::stack(&[&condition.filled, &ops::mul(sample, &condition.hidden)?], 0)
    }

    /// The masked squared error of a batch, to be recorded on a tape.
    pub fn loss(&self, batch: &Batch<'_>) -> Result<Tensor> {
        let condition = self.condition(batch.frames, batch.times.phases, batch.values, batch.visible)?;
        let shape = *condition.filled.shape();
        let scored = batch.observed.iter().zip(batch.visible).map(|(o, v)| if *o && !v { 1.0 } else { 0.0 });
        // All large arrays go up before the first launch: a GPU is handed what was recorded ahead of each.
        let values = self.tensor(shape.dims(), batch.values)?;
        let mask = self.tensor(shape.dims(), &scored.collect::<Vec<f32>>())?;
        let noise = normal(values.device(), shape, values.dtype(), batch.noise, 0)?;
        let clean = if self.options.noise_on_truth { &values } else { &condition.filled };
        let planes = self.planes(&condition, &self.noisy(clean, &noise, batch.times.steps)?)?;
        let target = if self.options.departure { ops::sub(&values, &condition.fill)? } else { values };
        self.loss_of(&planes, batch.times, &target, &mask)
    }

    /// The masked squared error of what the network gives for given planes.
    pub fn loss_of(&self, planes: &Tensor, times: Times<'_>, values: &Tensor, mask: &Tensor) -> Result<Tensor> {
        if self.fused {
            return self.spatial(&self.temporal(planes, times)?, Some((values, mask)));
        }
        ops::masked_mse(&self.predict(planes, times)?, values, mask)
    }

    /// The graph of its region as the host has it.
    pub(crate) fn rows(&self) -> &Rows {
        &self.region.rows
    }

    /// Whether the fused kernels run.
    pub(crate) fn is_fused(&self) -> bool {
        self.fused
    }

    /// The values `[b, t, n]` that a prediction of the network stands for.
    pub(crate) fn complete(&self, predicted: Tensor, condition: &Condition) -> Result<Tensor> {
        if !self.options.departure {
            return Ok(predicted);
        }
        let values = ops::add(&predicted, &condition.fill)?;
        let (low, high) = &self.region.bounds;
        if self.options.clamp { ops::clamp(&values, low, high) } else { Ok(values) }
    }

    /// What the network gives, `[b, t, n]`, for planes `[2, b, t, n]`.
    pub fn predict(&self, planes: &Tensor, times: Times<'_>) -> Result<Tensor> {
        self.spatial(&self.temporal(planes, times)?, None)
    }

    /// The temporal half, from planes `[2, b, t, n]` to h `[b, n, t, c]`.
    pub(crate) fn temporal(&self, planes: &Tensor, times: Times<'_>) -> Result<Tensor> {
        let shift = self.shift(times, planes.shape()[2])?;
        let weights = tlt::weights(&self.parameters, self.parameters.get("input_projection.weight")?, BLOCK)?;
        if self.fused {
            return ops::temporal_block(planes, &shift, &weights, self.options.heads, EPS);
        }
        tlt::composed(planes, &shift, &weights, self.options.temporal())
    }

    /// Input bias, step embedding and position of every frame, `[b, t, c]`.
    fn shift(&self, times: Times<'_>, frames: usize) -> Result<Tensor> {
        let (device, steps, width) = (self.parameters.device(), times.steps, self.options.step_width);
        let rows: Vec<f64> = steps.iter().flat_map(|l| &self.table[l * width..(l + 1) * width]).copied().collect();
        let rows = Tensor::from_f64(device, [steps.len(), width], &rows, self.parameters.dtype())?;
        let layer = |x: &Tensor, name: &str| -> Result<Tensor> {
            let (weight, bias) = self.parameters.pair(&format!("diffusion_embedding.{name}"))?;
            ops::silu(&ops::linear(x, &weight, Some(&bias))?)
        };
        let embedding = layer(&layer(&rows, "projection1")?, "projection2")?;
        let shift = ops::add(&embedding, &self.parameters.get("input_projection.bias")?)?;
        let frames = self.positions(times, frames)?;
        ops::add(&ops::reshape(&shift, [steps.len(), 1, self.options.channels])?, &frames)
    }

    /// The position of every frame, `[1, t, 1]`, `[1, t, c]` or `[b, t, c]`.
    fn positions(&self, times: Times<'_>, frames: usize) -> Result<Tensor> {
        let (device, dtype, width) = (self.parameters.device(), self.parameters.dtype(), self.options.channels);
        if self.options.position == Position::None {
            return Tensor::zeros(device, [1, frames, 1], dtype);
        }
        let table = tlt::position_table(frames, width);
        let mut table = Tensor::from_f64(device, [1, frames, width], &table, dtype)?;
        if self.options.position == Position::Season {
            let (windows, found) = (times.steps.len(), times.phases.len());
            if found != windows * frames {
                let what = format!("phases [b, t]: expected {windows} x {frames}, found {found} values");
                return Err(Error::Shape { op: "stddm", what });
            }
            let season = tlt::season_table(times.phases);
            let season = Tensor::from_f64(device, [windows, frames, tlt::SEASON_WIDTH], &season, dtype)?;
            table = ops::concat(&[&ops::concat(&vec![&table; windows], 0)?, &season], 2)?;
        }
        ops::linear(&table, &self.parameters.get(POSITION)?, None)
    }

    /// The learned embedding of the nodes: the weight of every prototype at every node, `[n, k]`.
    ///
    /// # Errors
    /// What the engine says.
    pub fn node_embedding(&self) -> Result<Tensor> {
        hsgnn::node_embedding(&self.parameters, "projection1", &self.region)
    }

    /// The weights and settings of the spatial half.
    pub(crate) fn spatial_parts(&self) -> Result<(SpatialWeights, Spatial)> {
        let weights = SpatialWeights {
            embedding: self.node_embedding()?,
            pool: self.parameters.get("spatial_encoding.weights_pool")?,
            norm: self.parameters.pair("gn")?,
            gate: Some(self.parameters.pair("mid_projection")?),
            out: self.parameters.pair("output_projection")?,
        };
        let spatial = Spatial {
            graph: self.region.graph.clone(),
            residual: true,
            groups: self.options.groups,
            eps: EPS,
            bounds: (self.options.clamp && !self.options.departure).then(|| self.region.bounds.clone()),
        };
        Ok((weights, spatial))
    }

    /// From h `[b, n, t, c]` to the prediction, or to the loss with `(values, mask)`.
    fn spatial(&self, h: &Tensor, target: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
        let (weights, spatial) = self.spatial_parts()?;
        if self.fused {
            return ops::spatial_block(h, &weights, &spatial, target);
        }
        let linear =
            self.options.spatial_linear.then(|| self.parameters.pair("spatial_encoding.linear")).transpose()?;
        hsgnn::composed(h, &weights, &spatial, linear)
    }
}

/// The parameters under the published names, drawn as the published code draws them (systems 1.4, initialisation).
fn parameters(o: &Options) -> Builder {
    let (d, k) = (o.channels, o.prototypes);
    let builder = Parameters::builder()
        .linear("input_projection", [d, 2], Init::kaiming_normal(2))
        .linear("diffusion_embedding.projection1", [d, o.step_width], Init::linear(o.step_width))
        .linear("diffusion_embedding.projection2", [d, d], Init::linear(d));
    let builder = hsgnn::declare_embedding(tlt::declare(builder, BLOCK, d), "projection1", k, &o.region())
        .linear("mid_projection", [2 * d, d], Init::kaiming_normal(d))
        .add("spatial_encoding.weights_pool", [k, d, d], hsgnn::pool_init(k, d))
        .norm("gn", d);
    let builder = match o.departure {
        false => builder.linear("output_projection", [1, d], Init::kaiming_normal(d)),
        // Nothing departs from the fill before it is learnt.
        true => {
            builder.add("output_projection.weight", [1, d], Init::Zeros).add("output_projection.bias", [1], Init::Zeros)
        }
    };
    let builder = match o.position {
        Position::None => builder,
        Position::Frame => builder.add(POSITION, [d, d], Init::linear(d)),
        Position::Season => builder.add(POSITION, [d, d + tlt::SEASON_WIDTH], Init::linear(d)),
    };
    if o.spatial_linear { builder.linear("spatial_encoding.linear", [d, d], Init::linear(d)) } else { builder }
}
