//! Made-up records of a given size, for commands that look at the machine rather than at data.

use clap::Args;
use clap::builder::RangedU64ValueParser;
use isobath_engine::adam::Adam;
use isobath_engine::random::PhiloxKey;
use isobath_engine::{DType, Device, Tape, Tensor};
use isobath_models::stimp::forecaster::{self, Forecaster};
use isobath_models::stimp::options::Options;
use isobath_models::stimp::region::{Region, RegionData, RegionOptions};
use isobath_models::stimp::sampler::impute;
use isobath_models::stimp::stddm::{self, Stddm, Times};

use crate::data::nodes::{SeaMask, stencil};
use crate::{Error, Result};

/// More elements than an activation may have.
const ELEMENTS: usize = 1 << 31;

/// The size of a model's work.
#[derive(Args, Clone, Debug)]
pub(super) struct Shape {
    /// Windows in a training step, and samples of an imputation
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1 << 12))]
    pub(super) batch: usize,
    /// Frames of a window
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = count(1 << 12))]
    pub(super) frames: usize,
    /// Nodes of the region, which is a square or nearly one
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = count(1 << 24))]
    pub(super) nodes: usize,
    /// Width of the network [default: the published one]
    #[arg(long, value_name = "N", value_parser = count(1 << 10))]
    pub(super) channels: Option<usize>,
}

/// A number from 1 to `most`.
pub(super) fn count(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

impl Shape {
    fn cells(&self) -> usize {
        self.batch * self.frames * self.nodes
    }

    /// An error for what no device could hold; the network's width otherwise.
    fn width(&self, published: usize) -> Result<usize> {
        let width = self.channels.unwrap_or(published);
        match self.cells().checked_mul(width) {
            Some(elements) if elements <= ELEMENTS => Ok(width),
            _ => Err(Error::Input(format!(
                "batch x frames x nodes x channels: expected at most {ELEMENTS}, found {} x {} x {} x {width}",
                self.batch, self.frames, self.nodes
            ))),
        }
    }

    fn values(&self) -> Vec<f32> {
        (0..self.cells()).map(|i| (i as f32 * 0.013).sin()).collect()
    }

    /// Six cells in ten.
    fn observed(&self) -> Vec<bool> {
        (0..self.cells() as u64).map(|i| i * 2_654_435_761 % 10 > 3).collect()
    }

    fn region(&self, device: &Device, options: RegionOptions) -> Result<Region> {
        let n = self.nodes;
        let width = (n as f64).sqrt().ceil() as usize;
        let height = n.div_ceil(width);
        let sea = SeaMask::new((0..height * width).map(|i| i < n).collect(), height, width)?;
        let graph = stencil(&sea);
        let wave = |scale: f32| -> Vec<f32> { (0..n).map(|i| scale * (i as f32 * 0.01).sin()).collect() };
        let data = RegionData {
            offsets: &graph.offsets,
            neighbours: &graph.neighbours,
            mean: &wave(0.3),
            std: &wave(0.2),
            variability: None,
            places: &[],
            low: &vec![-2.0; n],
            high: &vec![2.0; n],
            row: &wave(1.0),
            column: &wave(1.0),
        };
        Ok(Region::new(device, &data, options, DType::F32)?)
    }
}

/// STDDM at work on a made-up record.
pub(super) struct Imputer {
    model: Stddm,
    shape: Shape,
    values: Vec<f32>,
    observed: Vec<bool>,
    visible: Vec<bool>,
}

impl Imputer {
    pub(super) fn new(device: &Device, shape: &Shape) -> Result<Imputer> {
        let published = Options::published();
        let options = Options { channels: shape.width(published.channels)?, ..published };
        if let Some(what) = options.complaint() {
            return Err(Error::Input(what));
        }
        let region = shape.region(device, options.region())?;
        let model = Stddm::new(device, options, region, DType::F32, 1)?;
        let (values, observed) = (shape.values(), shape.observed());
        let visible = observed.iter().enumerate().map(|(i, seen)| *seen && i as u64 * 40_503 % 7 > 2).collect();
        Ok(Imputer { model, shape: shape.clone(), values, observed, visible })
    }

    /// One step of training.
    pub(super) fn train(&mut self, step: usize) -> Result<()> {
        let steps = vec![step % self.model.options().steps; self.shape.batch];
        let batch = stddm::Batch {
            frames: self.shape.frames,
            values: &self.values,
            observed: &self.observed,
            visible: &self.visible,
            times: Times { steps: &steps, phases: &[] },
            noise: PhiloxKey { seed: 1, stream: step as u64 },
        };
        let adam = Adam { weight_decay: 1e-4, max_norm: Some(1.0), ..Adam::default() };
        let tape = Tape::start()?;
        let loss = self.model.loss(&batch)?;
        let gradients = tape.backward(&loss)?;
        adam.step(&mut self.model.parameters, &gradients)?;
        Ok(())
    }

    /// The first so many reverse steps of the imputation of a window, with as many samples as a batch has windows.
    pub(super) fn impute(&self, steps: usize) -> Result<()> {
        let (window, samples) = (self.shape.frames * self.shape.nodes, self.shape.batch);
        let (values, visible) = (&self.values[..window], &self.visible[..window]);
        let phases = vec![0.0; self.shape.frames];
        impute(&self.model, &phases, values, visible, samples, 1, &mut |done| done < steps * samples)?;
        Ok(())
    }

    /// Reverse steps of a whole imputation.
    pub(super) fn steps(&self) -> usize {
        self.model.options().steps
    }

    pub(super) fn channels(&self) -> usize {
        self.model.options().channels
    }
}

/// One training step of the forecaster on a made-up record, with a forecast as long as a window.
pub(super) fn train_forecaster(device: &Device, shape: &Shape) -> Result<Tensor> {
    let published = forecaster::Options::published();
    let channels = shape.width(published.channels)?;
    let options = forecaster::Options { channels, frames: shape.frames, horizon: shape.frames, ..published };
    if let Some(what) = options.complaint() {
        return Err(Error::Input(what));
    }
    let region = shape.region(device, options.region())?;
    let mut model = Forecaster::new(device, options, region, DType::F32, 1)?;
    let (windows, observed) = (shape.values(), shape.observed());
    let tape = Tape::start()?;
    let loss = model.loss(&forecaster::Batch { windows: &windows, labels: &windows, observed: &observed })?;
    let gradients = tape.backward(&loss)?;
    Adam::default().step(&mut model.parameters, &gradients)?;
    Ok(loss)
}
