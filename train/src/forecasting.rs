//! Training a forecaster on an imputed record, and its forecasts (systems 1.7).

use std::ops::Range;
use std::path::Path;

use isobath_engine::checkpoint::{self, State};
use isobath_engine::parameters::Parameters;
use isobath_engine::{DType, Device, Tape};
use isobath_models::stimp::forecaster::{Batch, Forecaster};

use crate::data::nodes::Series;
use crate::data::windows;
use crate::record::Place;
use crate::trained::{self, STOPPED};
use crate::training::{Best, Course, Step, Training, descend, run};
use crate::{Error, Result};

mod config;
mod ensemble;
mod imputed;
mod product;
mod residuals;
pub mod scoring;
#[cfg(test)]
mod tests;

pub use config::{Config, Members, Train};
pub use ensemble::{Ensemble, Forecasts, Imputer, SETTINGS, member_folder, train_members};
pub use imputed::Imputation;
pub use product::{Bounds, Product};
pub use residuals::Residuals;

/// Name of the weights in the folder of a training.
pub const FILE: &str = "forecaster.safetensors";
const MODEL: &str = "forecaster";
/// Metadata entries of the state of a training.
const IMPUTER: &str = "imputer";
const DATA_SET: &str = "data_set";
const RESIDUALS: &str = "residuals";

/// A forecaster and its surroundings.
pub struct TrainedForecaster {
    /// The resolved configuration.
    pub config: Config,
    /// Where it was trained.
    pub place: Place,
    /// The network with its weights.
    pub model: Forecaster,
    /// Steps done.
    pub step: u64,
    /// Whether the validation frames ended the training before its last epoch.
    pub stopped_early: bool,
    /// What imputed the record that it is trained on: the checksum of those weights.
    pub imputer: Option<String>,
    /// Instead, the checksum of the imputed record, where a file held it.
    pub data_set: Option<String>,
    /// How far its forecasts are off, once the training is done.
    pub residuals: Option<Residuals>,
}

impl TrainedForecaster {
    /// A forecaster with fresh weights.
    ///
    /// # Errors
    /// [`Error::Input`] when the configuration is out of range, and what the engine says, such as a memory limit.
    pub fn new(device: &Device, config: Config, place: Place) -> Result<Self> {
        config.check()?;
        let region = place.region(device, config.model.region())?;
        let model = Forecaster::new(device, config.model.clone(), region, DType::F32, config.train.seed)?;
        let (imputer, data_set, residuals) = (None, None, None);
        Ok(TrainedForecaster { config, place, model, step: 0, stopped_early: false, imputer, data_set, residuals })
    }

    /// Reads a weights file, or [`FILE`] in a folder.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Input`] when it is damaged, not one of this program's, or its
    /// arrays are not those of its configuration.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let path = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let (config, place) = trained::surroundings(&path, MODEL)?;
        let mut trained = TrainedForecaster::new(device, config, place)
            .map_err(|error| Error::Input(format!("{}: {error}", path.display())))?;
        let state = checkpoint::load(&path, &mut trained.model.parameters)?;
        (trained.step, trained.stopped_early) = (state.step, state.metadata.contains_key(STOPPED));
        trained.imputer = state.metadata.get(IMPUTER).cloned();
        trained.data_set = state.metadata.get(DATA_SET).cloned();
        if state.metadata.contains_key(RESIDUALS) {
            let residuals: Residuals = trained::entry(&path, &state.metadata, RESIDUALS)?;
            let expected = (trained.config.model.horizon, trained.model.nodes());
            residuals.expect_shape(expected).map_err(|what| Error::Input(format!("{}: {what}", path.display())))?;
            trained.residuals = Some(residuals);
        }
        Ok(trained)
    }

    /// Writes the weights file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written; the old one then stays.
    pub fn save(&self, path: &Path, epoch: u64) -> Result<()> {
        let mut metadata = trained::metadata(MODEL, &self.config, &self.place)?;
        if self.stopped_early {
            metadata.insert(STOPPED.into(), "true".into());
        }
        for (key, value) in [(IMPUTER, &self.imputer), (DATA_SET, &self.data_set)] {
            metadata.extend(value.clone().map(|value| (key.to_owned(), value)));
        }
        if let Some(residuals) = &self.residuals {
            let text = serde_json::to_string(residuals).map_err(|error| Error::Fault(error.to_string()))?;
            metadata.insert(RESIDUALS.into(), text);
        }
        let state = State { step: self.step, epoch, seed: self.config.train.seed, metadata };
        Ok(checkpoint::save(path, &self.model.parameters, &state, true)?)
    }

    /// The frames `[b, T', n]` that follow imputed windows `[b, T, n]`, both on the model's scale.
    ///
    /// # Errors
    /// [`Error::Input`] unless the windows are whole ones of this place.
    pub fn forecast(&self, windows: &[f32]) -> Result<Vec<f32>> {
        let (frames, n) = (self.config.model.frames, self.model.nodes());
        if windows.is_empty() || !windows.len().is_multiple_of(frames * n) {
            let found = windows.len();
            return Err(Error::Input(format!(
                "forecast: expected windows of {frames} frames of {n} nodes, found {found} values"
            )));
        }
        let windows = self.model.parameters.tensor([windows.len() / (frames * n), frames, n], windows)?;
        Ok(self.model.predict(&windows)?.to_vec::<f32>()?)
    }
}

/// First frames of the windows of input and label that train, and of those that validate.
///
/// A validation window's labels lie in the last `validation_frames` of `frames`, its input may reach back from them; a
/// training window lies wholly before. So no frame that is forecast in validation is seen in training.
fn split(frames: &Range<usize>, config: &Config) -> Result<(Vec<usize>, Vec<usize>)> {
    let length = config.model.frames + config.model.horizon;
    let cut = frames.end.saturating_sub(config.validation_frames(frames.len())).max(frames.start);
    let training = windows::starts(&(frames.start..cut), length, 1, "training")?;
    let validation = match cut == frames.end {
        true => Vec::new(),
        false => windows::starts(&(cut - config.model.frames..frames.end), length, 1, "validation")?,
    };
    Ok((training, validation))
}

/// An error unless there are frames to forecast, fewer than the `record` has.
///
/// # Errors
/// [`Error::Input`] with the numbers.
pub fn expect_horizon(horizon: usize, record: usize) -> Result<()> {
    match (1..record).contains(&horizon) {
        true => Ok(()),
        false => Err(Error::Input(format!(
            "horizon: expected at least 1 and less than the {record} frames of the record, found {horizon}"
        ))),
    }
}

/// An error unless window, horizon and validation frames fit into `train` of the `record` frames that there are.
///
/// # Errors
/// [`Error::Input`] with the numbers.
pub fn expect_room(config: &Config, train: usize, record: usize) -> Result<()> {
    let (window, horizon) = (config.model.frames, config.model.horizon);
    expect_horizon(horizon, record)?;
    let validation = config.validation_frames(train);
    let needed = window + horizon + validation;
    if needed > train {
        return Err(Error::Input(format!(
            "a window of {window} frames, a horizon of {horizon} and {validation} validation frames: expected at least \
             {needed} training frames, found {train} of {record}; shorten --window, --horizon or --validation-frames"
        )));
    }
    Ok(())
}

/// Trains on `frames` of an imputed record until the configured epochs are done or the validation frames say so, from
/// where `trained` stands, and writes the weights and the metrics into `folder`. The record's values are imputed where
/// nothing was observed; inputs are all values, labels the observed ones.
///
/// # Errors
/// [`Error::Input`] when the record has other nodes than the forecaster, window and horizon are longer than the training
/// frames, or nothing is observed in the validation frames, or the training diverges, which leaves the last checkpoint
/// as it is; [`Error::Interrupted`] on Ctrl-C, with a new checkpoint in `folder`.
pub fn train_forecaster(
    trained: &mut TrainedForecaster,
    imputed: &Series,
    frames: Range<usize>,
    folder: &Path,
) -> Result<Vec<Step>> {
    if imputed.nodes != trained.model.nodes() || frames.end > imputed.frames {
        return Err(Error::Input(format!(
            "imputed record: expected {} nodes and at least {} frames, found {} and {}",
            trained.model.nodes(),
            frames.end,
            imputed.nodes,
            imputed.frames
        )));
    }
    let windows = split(&frames, &trained.config)?;
    let epochs = trained.config.train.epochs;
    train_on(trained, imputed, windows, epochs, folder, None)
}

/// Trains for so many epochs on all of `frames`, also on those that validated `chosen`, whose residuals go on telling how
/// far forecasts are off; otherwise as [`train_forecaster`].
///
/// # Errors
/// As [`train_forecaster`].
pub fn refit(
    trained: &mut TrainedForecaster,
    chosen: &TrainedForecaster,
    epochs: usize,
    imputed: &Series,
    frames: Range<usize>,
    folder: &Path,
) -> Result<Vec<Step>> {
    let length = trained.config.model.frames + trained.config.model.horizon;
    let windows = (windows::starts(&frames, length, 1, "training")?, Vec::new());
    train_on(trained, imputed, windows, epochs, folder, chosen.residuals.clone())
}

/// Trains and validates on windows with these first frames; `residuals` that are not known are found in the end.
fn train_on(
    trained: &mut TrainedForecaster,
    imputed: &Series,
    (starts, validation): (Vec<usize>, Vec<usize>),
    epochs: usize,
    folder: &Path,
    residuals: Option<Residuals>,
) -> Result<Vec<Step>> {
    let Train { batch, seed, checkpoint_every, .. } = trained.config.train;
    let course = Course { starts, batch, epochs, seed, checkpoint_every, checkpoint: folder.join(FILE) };
    let best = Best::of(folder, trained.step, trained.config.train.patience)?;
    let mut training = Forecasting { trained, imputed, validation, best };
    let steps = run(&mut training, &course, folder)?;
    training.finish(&course, residuals)?;
    Ok(steps)
}

/// A training of a forecaster.
struct Forecasting<'a> {
    trained: &'a mut TrainedForecaster,
    imputed: &'a Series,
    /// First frames of the validation windows.
    validation: Vec<usize>,
    best: Best,
}

impl Forecasting<'_> {
    /// The batch of these windows, and how many of its labels were observed.
    fn with_batch<R>(&self, starts: &[usize], then: impl FnOnce(&Batch<'_>, usize) -> Result<R>) -> Result<R> {
        let (frames, horizon) = (self.trained.config.model.frames, self.trained.config.model.horizon);
        let cells = |start: usize, length: usize| start * self.imputed.nodes..(start + length) * self.imputed.nodes;
        let (mut windows, mut labels, mut observed) = (Vec::new(), Vec::new(), Vec::new());
        for start in starts {
            windows.extend_from_slice(&self.imputed.values[cells(*start, frames)]);
            let ahead = cells(start + frames, horizon);
            labels.extend_from_slice(&self.imputed.values[ahead.clone()]);
            observed.extend_from_slice(&self.imputed.observed[ahead]);
        }
        let count = observed.iter().filter(|seen| **seen).count();
        then(&Batch { windows: &windows, labels: &labels, observed: &observed }, count)
    }

    /// Mean square error over all observed labels of the validation windows.
    fn validation_error(&self) -> Result<f64> {
        let (mut squares, mut total) = (0.0, 0);
        for starts in self.validation.chunks(self.trained.config.train.batch) {
            self.with_batch(starts, |batch, count| {
                squares += self.trained.model.loss(batch)?.item()? * count as f64;
                total += count;
                Ok(())
            })?;
        }
        match total {
            0 => Err(Error::Input("validation frames: expected observed values to forecast, found none".into())),
            total => Ok(squares / total as f64),
        }
    }

    /// Ends the training with the best weights and their residuals, unless those are known.
    fn finish(&mut self, course: &Course, residuals: Option<Residuals>) -> Result<()> {
        if !self.validation.is_empty() {
            self.best.take(&mut self.trained.model.parameters)?;
        }
        self.trained.residuals = Some(residuals.map_or_else(|| self.residuals(course), Ok)?);
        self.trained.save(&course.checkpoint, course.epochs as u64)?;
        self.best.remove()
    }

    /// Residuals on the validation windows or, where there are none, on those that train.
    fn residuals(&self, course: &Course) -> Result<Residuals> {
        let held_out = !self.validation.is_empty();
        let starts = if held_out { &self.validation } else { &course.starts };
        let mut squares = residuals::Squares::new(self.trained.config.model.horizon, self.imputed.nodes);
        for starts in starts.chunks(course.batch) {
            self.with_batch(starts, |batch, _| {
                squares.add(&self.trained.forecast(batch.windows)?, batch.labels, batch.observed);
                Ok(())
            })?;
        }
        Ok(squares.residuals(held_out))
    }
}

impl Training for Forecasting<'_> {
    fn done(&self) -> u64 {
        self.trained.step
    }

    fn stopped(&self) -> bool {
        self.trained.stopped_early
    }

    fn advance(&mut self, windows: &[usize], epoch: u64) -> Result<Step> {
        let tape = Tape::start()?;
        let loss = self.with_batch(windows, |batch, _| Ok(self.trained.model.loss(batch)?))?;
        let adam = self.trained.config.train.adam(epoch);
        let step = descend(&mut self.trained.model.parameters, tape, &loss, &adam, (self.trained.step, epoch))?;
        self.trained.step += 1;
        Ok(step)
    }

    fn validate(&mut self, epoch: u64) -> Result<Option<f64>> {
        if self.validation.is_empty() {
            return Ok(None);
        }
        let error = self.validation_error()?;
        let TrainedForecaster { model, step, config, .. } = &*self.trained;
        self.trained.stopped_early = self.best.judge(&model.parameters, (*step, epoch), config.train.seed, error)?;
        Ok(Some(error))
    }

    fn parameters(&self) -> &Parameters {
        &self.trained.model.parameters
    }

    fn save(&self, path: &Path, epoch: u64) -> Result<()> {
        self.trained.save(path, epoch)
    }
}
