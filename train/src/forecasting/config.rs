//! What a forecaster is made with.

use std::path::Path;

use isobath_engine::adam::Adam;
use isobath_models::stimp::forecaster::Options;
use serde::{Deserialize, Serialize};

use crate::config::{self, Data, Decline, within};
use crate::{Error, Result};

/// Everything that decides a forecaster besides the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is read.
    pub data: Data,
    /// The network, with the lengths of window and forecast.
    pub model: Options,
    /// How it is trained.
    pub train: Train,
    /// How many are trained, each on an imputed data set of its own.
    pub ensemble: Members,
}

/// Multiple imputation: a forecaster for each of several imputed data sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Members {
    /// Number m of data sets and forecasters.
    pub members: usize,
    /// Seed of the data sets.
    pub seed: u64,
}

impl Default for Members {
    fn default() -> Self {
        Members { members: 10, seed: 1234 }
    }
}

/// How a forecaster is trained; the defaults are those of the published code (STIMP, `prediction/train.py`) but for the
/// gradients, which it never zeroes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Windows in a step.
    pub batch: usize,
    /// Passes over all windows.
    pub epochs: usize,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay, added to the gradient.
    pub weight_decay: f64,
    /// How the learning rate falls.
    pub schedule: Decline,
    /// Whether the gradients of all steps so far are added up instead of being zeroed before each step, as the published
    /// scripts do.
    pub accumulate_gradients: bool,
    /// Frames at the end of the training frames that no training window holds; 0 trains on all. The weights of the epoch
    /// that forecasts them best are kept, and their residuals give the interval its width. Without a number, a sixth of
    /// the training frames and at least the horizon.
    pub validation_frames: Option<usize>,
    /// Epochs without a better forecast of the validation frames after which the training stops.
    pub patience: usize,
    /// Whether, once the validation frames have told the best number of epochs, a training afresh for as many on all
    /// training frames gives the weights. The learning rate falls as it did before,
    /// and the interval keeps the width that the validation frames gave it.
    pub refit: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Epochs between checkpoints.
    pub checkpoint_every: usize,
}

impl Default for Train {
    fn default() -> Self {
        Train {
            batch: 8,
            epochs: 200,
            lr: 1e-4,
            weight_decay: 1e-6,
            schedule: Decline::Cosine,
            accumulate_gradients: false,
            validation_frames: None,
            patience: 20,
            refit: false,
            seed: 1234,
            checkpoint_every: 10,
        }
    }
}

impl Train {
    /// The optimiser in `epoch`.
    pub fn adam(&self, epoch: u64) -> Adam {
        let factor = self.schedule.over(self.epochs).factor(epoch as usize);
        let Train { weight_decay, accumulate_gradients, .. } = *self;
        Adam { lr: self.lr * factor, weight_decay, accumulate_gradients, ..Adam::default() }
    }
}

impl Config {
    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`Error::Input`] naming the first field outside its range.
    pub fn check(&self) -> Result<()> {
        if let Some(complaint) = self.model.complaint() {
            return Err(Error::Input(format!("configuration of the forecaster, [model]: {complaint}")));
        }
        let train = &self.train;
        within("train.batch", train.batch, 1.., "at least 1")?;
        within("train.epochs", train.epochs, 1.., "at least 1")?;
        within("train.lr", train.lr, f64::MIN_POSITIVE..=1e3, "above 0 and at most 1000")?;
        within("train.weight_decay", train.weight_decay, 0.0..=1e3, "0 to 1000")?;
        within("train.patience", train.patience, 1.., "at least 1")?;
        config::expect_validation(train.refit, train.validation_frames.unwrap_or(1))?;
        within("train.checkpoint_every", train.checkpoint_every, 1.., "at least 1")?;
        within("ensemble.members", self.ensemble.members, 1..=1000, "1 to 1000")?;
        match train.validation_frames {
            None | Some(0) => Ok(()),
            Some(frames) => {
                within("train.validation_frames", frames, self.model.horizon.., "0, or at least the horizon")
            }
        }
    }

    /// Frames that validate, of so many that train.
    pub fn validation_frames(&self, train: usize) -> usize {
        self.train.validation_frames.unwrap_or_else(|| self.model.horizon.max(train / 6))
    }

    /// Reads a TOML file, in which every field has a default.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read; [`Error::Input`] with the line when a field is unknown or of the wrong
    /// type.
    pub fn read(path: &Path) -> Result<Self> {
        config::read(path)
    }

    /// Writes the file with every field.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        config::write(self, path)
    }

    /// The first setting in which a training that goes on under `new` must not differ from its beginning, but does.
    pub(crate) fn difference(&self, new: &Self) -> Option<(String, String)> {
        let lasting = |config: &Self| {
            let mut config = config.clone();
            // More members and other checkpoints leave the steps that are done as they are.
            (config.train.checkpoint_every, config.ensemble.members) = (0, 0);
            config
        };
        config::difference(&lasting(self), &lasting(new))
    }
}
