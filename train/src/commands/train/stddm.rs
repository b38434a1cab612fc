//! `isobath train stddm`.

use std::path::{Path, PathBuf};

use clap::Args;
use isobath_engine::Device;

use super::put;
use crate::commands::{make_folder, report};
use crate::config::{self, Config, Decline};
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::training::{self, SELECTION, Step};
use crate::{Error, Result};

/// Train STIMP's imputer, a diffusion model that fills gaps
#[derive(Args)]
#[command(
    after_help = "Example:\n  isobath train stddm --data chl.nc --var chlor_a --epochs 150 --train-frames 220 -o run\n\n\
    Ctrl-C stops after the step and keeps a checkpoint; the same command with --resume goes on."
)]
pub(super) struct Stddm {
    /// NetCDF file with a variable over time, latitude and longitude
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable [default: data.variable of the configuration]
    #[arg(long, value_name = "NAME")]
    var: Option<String>,
    /// TOML file of settings; options given here come before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Passes over the training windows [default: 500]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Frames of a window [default: 46]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Windows in a step [default: 16]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Fraction of the observed cells that each step hides [default: 0.5]
    #[arg(long, value_name = "RATE")]
    missing_rate: Option<f64>,
    /// Train on the first N frames of the record
    #[arg(long, value_name = "N")]
    train_frames: Option<usize>,
    /// Frames at the end of the training frames that only tell when to stop; the best weights are kept [default: 0]
    #[arg(long, value_name = "N")]
    validation_frames: Option<usize>,
    /// Epochs without a better result on them after which the training stops [default: 50]
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Once the validation frames have told the best number of epochs, train afresh for as many on all training frames
    #[arg(long)]
    refit: bool,
    /// How the learning rate falls: to a tenth and a hundredth in steps, along a cosine, or not at all
    #[arg(long, value_enum)]
    schedule: Option<Decline>,
    /// Seed of everything random
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Take the sea pixels from this evaluation, an .npz archive, and keep its hidden cells from the training
    #[arg(long, value_name = "FILE")]
    heldout: Option<PathBuf>,
    /// Folder of the weights, the configuration and the metrics
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from the checkpoint in the folder
    #[arg(long)]
    resume: bool,
}

impl Stddm {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let job = Job { data: &self.data, out: &self.out, resume: self.resume };
        let trained = job.train(device, self.configuration()?)?;
        let weights = self.out.join(trained::FILE);
        let (epochs, weights) = (trained.config.train.epochs, weights.display());
        match trained.stopped_early {
            _ if trained.config.train.refit => println!("trained afresh on all training frames; weights in {weights}"),
            false => println!("trained {epochs} epochs; weights in {weights}"),
            true => {
                println!("stopped before epoch {epochs}, the validation frames getting no better; weights in {weights}")
            }
        }
        Ok(())
    }

    /// The settings of the file under those of the command line.
    fn configuration(&self) -> Result<Config> {
        let mut config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        put(&mut config.data.variable, &self.var);
        put(&mut config.train.epochs, &self.epochs);
        put(&mut config.train.window, &self.window);
        put(&mut config.train.batch, &self.batch);
        put(&mut config.train.missing_rate, &self.missing_rate);
        put(&mut config.train.validation_frames, &self.validation_frames);
        put(&mut config.train.patience, &self.patience);
        config.train.refit |= self.refit;
        put(&mut config.train.schedule, &self.schedule);
        put(&mut config.train.seed, &self.seed);
        config.data.train_frames = self.train_frames.or(config.data.train_frames);
        config.data.heldout = self.heldout.clone().or(config.data.heldout);
        if config.data.variable.is_empty() {
            return Err(Error::Input("expected a variable: --var NAME, or variable under [data] of --config".into()));
        }
        config.check()?;
        Ok(config)
    }
}

/// Where a training reads and writes.
#[derive(Clone, Copy)]
pub(in crate::commands) struct Job<'a> {
    pub(in crate::commands) data: &'a Path,
    pub(in crate::commands) out: &'a Path,
    pub(in crate::commands) resume: bool,
}

impl Job<'_> {
    /// Trains with these settings, and writes all that a training leaves.
    pub(in crate::commands) fn train(&self, device: &Device, mut config: Config) -> Result<Trained> {
        let record = Record::to_train(self.data, &config.data, None)?;
        config.data.transform = Some(record.transform);
        config.data.train_frames = Some(record.train.len());
        // Refuse a window that does not fit before anything is written.
        let (windows, _) = training::split(&record.train, &config.train).map_err(|error| {
            Error::Input(format!("{}: {error}; set a shorter one with --window", self.data.display()))
        })?;
        eprintln!("{}", record.describe());
        if !config.train.refit {
            return Ok(self.fit(device, config, &record, windows.len(), None)?.0);
        }
        self.expect_new()?;
        let folder = self.out.join(SELECTION);
        let (_, steps) = Job { out: &folder, ..*self }.fit(device, config.clone(), &record, windows.len(), None)?;
        let epochs = training::best_epochs(&steps).unwrap_or(config.train.epochs);
        eprintln!("best on the validation frames after {epochs} epochs; as many afresh on all training frames");
        let resume = self.resume && self.out.join(trained::FILE).exists();
        let whole = windows.len() + config.train.validation_frames;
        Ok(Job { resume, ..*self }.fit(device, config, &record, whole, Some(epochs))?.0)
    }

    /// Whether there is something in a folder to go on from.
    pub(in crate::commands) fn begun(folder: &Path) -> bool {
        [folder.to_owned(), folder.join(SELECTION)].iter().any(|folder| folder.join(trained::FILE).exists())
    }

    /// Trains as configured, or afresh for so many epochs on all training frames, in which there are so many windows.
    fn fit(
        &self,
        device: &Device,
        config: Config,
        record: &Record,
        windows: usize,
        afresh: Option<usize>,
    ) -> Result<(Trained, Vec<Step>)> {
        let mut trained = self.begin(device, config, record)?;
        make_folder(self.out)?;
        trained.config.write(&self.out.join("config.toml"))?;
        eprintln!(
            "STDDM with {} parameters, {} windows of {} frames",
            trained.model.parameters.count(),
            windows,
            trained.config.train.window
        );
        let steps = match afresh {
            None => training::train(&mut trained, record, self.out),
            Some(epochs) => training::refit(&mut trained, record, epochs, self.out),
        };
        let steps = steps.map_err(|error| self.explain(error))?;
        report::loss_curve(&self.out.join("loss.png"), &steps, &format!("Training on {}", record.field.name))?;
        Ok((trained, steps))
    }

    /// An error when there are weights in the folder that are not to be gone on from.
    fn expect_new(&self) -> Result<()> {
        let path = self.out.join(trained::FILE);
        if self.resume || !path.exists() {
            return Ok(());
        }
        let path = path.display();
        Err(Error::Input(format!("{path} exists: go on with --resume, or name another folder with -o")))
    }

    /// A new model, or the one in the folder.
    fn begin(&self, device: &Device, config: Config, record: &Record) -> Result<Trained> {
        let path = self.out.join(trained::FILE);
        self.expect_new()?;
        if !self.resume {
            return Trained::new(device, config, record.place.clone());
        }
        let mut trained = Trained::load(&path, device)?;
        if let Some((old, new)) = difference(&trained.config, &config) {
            let path = path.display();
            return Err(Error::Input(format!("{path}: was trained with `{old}`, now asked to resume with `{new}`")));
        }
        if trained.place != record.place {
            let (path, data) = (path.display(), self.data.display());
            return Err(Error::Input(format!("{path}: was trained on other data or another sea than those of {data}")));
        }
        trained.config = config;
        eprintln!("going on from step {}", trained.step);
        Ok(trained)
    }

    fn explain(&self, error: Error) -> Error {
        if matches!(error, Error::Interrupted) {
            let folder = self.out.display();
            eprintln!("the checkpoint in {folder} is whole; the same command with --resume goes on from it");
        }
        error
    }
}

/// The first setting in which a training that goes on must not differ from its beginning, but does.
fn difference(old: &Config, new: &Config) -> Option<(String, String)> {
    let lasting = |config: &Config| {
        let mut config = config.clone();
        // More epochs, other checkpoints and other ways to impute leave the steps that are done as they are.
        (config.train.epochs, config.train.checkpoint_every) = (0, 0);
        config.impute = Default::default();
        config
    };
    config::difference(&lasting(old), &lasting(new))
}
