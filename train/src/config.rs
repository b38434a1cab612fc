//! What a run is made with: a TOML file whose every field has a default.

use std::fmt::Display;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};

use isobath_engine::adam::Adam;
use isobath_engine::schedule::Schedule;
use isobath_models::stimp::options::Options;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::atomic;
use crate::data::nodes::{MISSING_THRESHOLD, Transform};
use crate::{Error, Result};

/// Everything that decides the result of a run besides the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is read.
    pub data: Data,
    /// The network and its diffusion.
    pub model: Options,
    /// How it is trained.
    pub train: Train,
    /// How gaps are filled.
    pub impute: Impute,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Name of the variable.
    pub variable: String,
    /// The scale on which the model works; without one, log10 for chlorophyll and the values as they are otherwise.
    pub transform: Option<Transform>,
    /// A pixel is sea when it is missing in less than this fraction of the training frames.
    pub missing_threshold: f64,
    /// How many frames, from the first on, train and give the statistics; without a number, all.
    pub train_frames: Option<usize>,
    /// An evaluation, as an `.npz` archive: it gives the sea pixels, and training sees none of its hidden cells.
    pub heldout: Option<PathBuf>,
}

impl Default for Data {
    fn default() -> Self {
        let variable = String::new();
        let missing_threshold = MISSING_THRESHOLD;
        Data { variable, transform: None, missing_threshold, train_frames: None, heldout: None }
    }
}

/// How the model is trained; the defaults are those of the published code (STIMP, `train_stimp.py`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Frames of a window.
    pub window: usize,
    /// Which observed cells a training step hides.
    pub hiding: Hiding,
    /// Fraction of the observed cells that it hides at random.
    pub missing_rate: f64,
    /// Windows in a step.
    pub batch: usize,
    /// Passes over all windows.
    pub epochs: usize,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether the decay acts on the weights alone (AdamW) instead of being added to the gradient.
    pub decoupled: bool,
    /// Largest norm of the gradient.
    pub max_norm: f64,
    /// How the learning rate falls.
    pub schedule: Decline,
    /// Frames at the end of the training frames that no training window holds; 0 trains on all, as published. The weights
    /// of the epoch that fills hidden cells in them best are kept.
    pub validation_frames: usize,
    /// Epochs without a better result on the validation frames after which the training stops.
    pub patience: usize,
    /// Whether, once the validation frames have told the best number of epochs, a training afresh for as many on all
    /// training frames gives the weights. The learning rate falls as it did before.
    pub refit: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Epochs between checkpoints.
    pub checkpoint_every: usize,
}

impl Default for Train {
    fn default() -> Self {
        Train {
            window: 46,
            hiding: Hiding::Random,
            missing_rate: 0.5,
            batch: 16,
            epochs: 500,
            lr: 1e-3,
            weight_decay: 1e-4,
            decoupled: false,
            max_norm: 1.0,
            schedule: Decline::Step,
            validation_frames: 0,
            patience: 50,
            refit: false,
            seed: 1234,
            checkpoint_every: 10,
        }
    }
}

/// Which observed cells a training step hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hiding {
    /// Exactly the missing rate of each window, cell by cell, as published.
    Random,
    /// In each frame those that are missing in another training frame, drawn at random: gaps of the shapes that the
    /// record has, such as clouds, after DINCAE (Barth et al. 2020). The missing rate plays no part.
    Transplanted,
}

/// How the learning rate falls over the epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Decline {
    /// To a tenth at 75 % and a hundredth at 90 % of the epochs, as published.
    Step,
    /// Along half a cosine to 0.
    Cosine,
    /// Not at all.
    Constant,
}

impl Train {
    /// The optimiser at the first learning rate.
    pub fn adam(&self) -> Adam {
        Adam {
            lr: self.lr,
            weight_decay: self.weight_decay,
            decoupled: self.decoupled,
            max_norm: Some(self.max_norm),
            ..Adam::default()
        }
    }

    /// The learning rate's schedule.
    pub fn decline(&self) -> Schedule {
        self.schedule.over(self.epochs)
    }
}

impl Decline {
    /// The schedule over so many epochs.
    pub fn over(self, epochs: usize) -> Schedule {
        match self {
            Decline::Step => Schedule::stddm(epochs),
            Decline::Cosine => Schedule::Cosine { total: epochs },
            Decline::Constant => Schedule::Constant,
        }
    }
}

/// How gaps are filled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impute {
    /// Samples drawn of every cell.
    pub samples: usize,
    /// Frames from one window to the next; without a number, half a window.
    pub stride: Option<usize>,
    /// How overlapping windows are joined.
    pub blend: Blend,
    /// What the samples of a cell differ by.
    pub spread: Spread,
    /// Seed of the samples.
    pub seed: u64,
}

impl Default for Impute {
    fn default() -> Self {
        Impute { samples: 10, stride: None, blend: Blend::Centre, spread: Spread::Diffusion, seed: 1234 }
    }
}

/// How the windows that share a frame are joined, sample by sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blend {
    /// Weighted by the distance from the nearer end of the window.
    Centre,
    /// With equal weights.
    Average,
}

/// What the samples of a cell differ by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// The noise of the reverse chain alone, as published; of a model trained as published, next to nothing.
    Diffusion,
    /// The error that optimal interpolation from the visible cells would have, that of measuring included.
    Interpolation,
}

impl Config {
    /// What `isobath stimp` begins with: the network as published, but started from optimal interpolation and spread by its
    /// errors, which scored best on every record of the results; few epochs, since little is left to learn.
    pub fn interpolating() -> Self {
        Config {
            model: Options::interpolating(),
            train: Train { epochs: 60, ..Train::default() },
            impute: Impute { spread: Spread::Interpolation, ..Impute::default() },
            ..Config::default()
        }
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read; [`Error::Input`] with the line when a field is unknown or of the wrong
    /// type.
    pub fn read(path: &Path) -> Result<Self> {
        read(path)
    }

    /// Writes the file with every field.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write(self, path)
    }

    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`Error::Input`] naming the first field outside its range.
    pub fn check(&self) -> Result<()> {
        let (data, train, impute) = (&self.data, &self.train, &self.impute);
        if let Some(complaint) = self.model.complaint() {
            return Err(Error::Input(format!("configuration, [model]: {complaint}")));
        }
        within("data.missing_threshold", data.missing_threshold, 1e-9..=2.0, "above 0 and at most 2")?;
        within("data.train_frames", data.train_frames.unwrap_or(1), 1.., "at least 1")?;
        within("train.window", train.window, 1.., "at least 1")?;
        within("train.missing_rate", train.missing_rate, 1e-9..1.0, "between 0 and 1")?;
        within("train.batch", train.batch, 1.., "at least 1")?;
        within("train.epochs", train.epochs, 1.., "at least 1")?;
        within("train.lr", train.lr, f64::MIN_POSITIVE..=1e30, "above 0 and at most 1e30")?;
        within("train.weight_decay", train.weight_decay, 0.0..=1e3, "0 to 1000")?;
        within("train.max_norm", train.max_norm, f64::MIN_POSITIVE..=f64::MAX, "above 0")?;
        within("train.patience", train.patience, 1.., "at least 1")?;
        expect_validation(train.refit, train.validation_frames)?;
        within("train.checkpoint_every", train.checkpoint_every, 1.., "at least 1")?;
        within("impute.samples", impute.samples, 1..=10_000, "1 to 10000")?;
        within("impute.stride", impute.stride.unwrap_or(1), 1..=train.window, "1 to the window")
    }
}

/// An error when a training that is done afresh has no frames to tell its length.
pub(crate) fn expect_validation(refit: bool, validation_frames: usize) -> Result<()> {
    match refit && validation_frames == 0 {
        false => Ok(()),
        true => Err(Error::Input(
            "configuration field train.refit: expected train.validation_frames above 0, which tell the number of \
             epochs, found 0"
                .into(),
        )),
    }
}

/// Reads settings from a TOML file; an error names the line.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|error| Error::file(path, error))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::Input(format!("{}: expected a TOML file, found one that is no text", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let number = text[..at].matches('\n').count();
        let line = text.lines().nth(number).unwrap_or_default().trim();
        let reason = error.message().replace('\n', " ");
        Error::Input(format!("{}, line {}, `{line}`: {reason}", path.display(), number + 1))
    })
}

/// Writes settings as a TOML file with every field.
pub(crate) fn write(settings: &impl Serialize, path: &Path) -> Result<()> {
    let text = toml::to_string(settings).map_err(|error| Error::Fault(format!("{}: {error}", path.display())))?;
    atomic::write(path, |file| std::io::Write::write_all(file, text.as_bytes()))
}

/// The first line in which two settings differ, as each has it.
pub(crate) fn difference(old: &impl Serialize, new: &impl Serialize) -> Option<(String, String)> {
    let lines = |text: String| text.lines().map(String::from).collect::<Vec<_>>();
    let (old, new) = (toml::to_string(old).unwrap_or_default(), toml::to_string(new).unwrap_or_default());
    lines(old).into_iter().zip(lines(new)).find(|(old, new)| old != new)
}

/// An error that names the field unless the range holds what was found.
pub(crate) fn within<T: PartialOrd + Display>(
    field: &str,
    found: T,
    range: impl RangeBounds<T>,
    expected: &str,
) -> Result<()> {
    match range.contains(&found) {
        true => Ok(()),
        false => Err(Error::Input(format!("configuration field {field}: expected {expected}, found {found}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).expect("a file");
        Config::read(&path)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        let mut config = read("[train]\nepochs = 3\n[data]\ntransform = \"log10\"").expect("a configuration");
        assert_eq!((config.train.epochs, config.train.batch), (3, 16));
        config.impute.stride = Some(4);
        config.write(&path).expect("written");
        assert_eq!(Config::read(&path).expect("read"), config);
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let wrong_type = read("[train]\nlr = 0.1\nepochs = \"ten\"").expect_err("a word is no number").to_string();
        assert!(wrong_type.contains("run.toml, line 3, `epochs = \"ten\"`: invalid type"), "{wrong_type}");
        let unknown = read("[train]\nepoch = 3").expect_err("no such field").to_string();
        assert!(unknown.contains("unknown field `epoch`") && unknown.contains("`epochs`"), "{unknown}");
        let mut config = Config::default();
        config.train.missing_rate = 1.5;
        let range = config.check().expect_err("out of range").to_string();
        assert_eq!(range, "configuration field train.missing_rate: expected between 0 and 1, found 1.5");
    }
}
