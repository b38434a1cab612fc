//! `isobath train forecaster`.

use std::path::{Path, PathBuf};

use clap::Args;
use isobath_engine::Device;

use super::put;
use crate::commands::forecast::read;
use crate::commands::{make_folder, report};
use crate::config::Data;
use crate::forecasting::{self, Config, Imputation, Imputer, SETTINGS, train_members};
use crate::record::Record;
use crate::trained::Trained;
use crate::{Error, Result};

/// Train STIMP's forecasters, one for each of several imputed data sets
#[derive(Args)]
#[command(
    after_help = "Example:\n  isobath train forecaster --data chl.nc --weights run --window 46 --horizon 12 -o forecasters\n  \
    isobath train forecaster --data chl.nc --var chlor_a --train-frames 220 --imputed a.nc b.nc c.nc -o forecasters\n\n\
    The weights of `isobath train stddm` impute the training frames once for each forecaster; observed values stay as they \
    are. The frames that trained those weights train the forecasters too, and nothing of the frames after them is seen. \
    DIR/member-00, member-01, ... hold the weights and metrics. Ctrl-C stops after the step and keeps a checkpoint; the \
    same command with --resume goes on, also with more --members.\n\n\
    With --imputed each file trains a forecaster, whatever method filled it: the variable on the grid of the data, with a \
    value in every sea cell of the training frames, such as `isobath impute --samples 1 --seed N` writes. Where the data \
    have a value, it counts instead of the file's. Whether a file was made without looking at frames after the training \
    frames, only its maker knows. `forecast` then takes the frames before the forecast from --imputed files too, or imputes \
    them with weights that were trained on the same frames of the same data, as `evaluate-forecast` always does."
)]
pub(super) struct Forecaster {
    /// NetCDF file on the grid on which the imputer was trained
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable [default: the one that trained the imputer]
    #[arg(long, value_name = "NAME")]
    var: Option<String>,
    /// Weights of the imputer, or the folder of its training
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Instead of weights: NetCDF files of the data without gaps, one for each forecaster
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["weights", "members"])]
    imputed: Vec<PathBuf>,
    /// With --imputed: train on the first N frames of the data [default: all]
    #[arg(long, value_name = "N", conflicts_with = "weights")]
    train_frames: Option<usize>,
    /// TOML file of settings; options given here come before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Number of imputed data sets and forecasters [default: 10]
    #[arg(long, value_name = "M")]
    members: Option<usize>,
    /// Frames of a forecast [default: 46]
    #[arg(long, value_name = "N")]
    horizon: Option<usize>,
    /// Frames that a forecast is made from [default: 46]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Most passes over the training windows [default: 200]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Frames at the end of the training frames that stop the training in time and tell its errors [default: a sixth, at
    /// least the horizon]
    #[arg(long, value_name = "N")]
    validation_frames: Option<usize>,
    /// Epochs without a better forecast of the validation frames after which a training stops [default: 20]
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Once the validation frames have told the best number of epochs, train afresh for as many on all training frames
    #[arg(long)]
    refit: bool,
    /// Seed of everything random
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Folder of the forecasters
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from the checkpoints in the folder
    #[arg(long)]
    resume: bool,
}

impl Forecaster {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let mut config = self.configuration()?;
        let imputer = self.weights.as_deref().map(|weights| Imputer::load(weights, device)).transpose()?;
        let (imputation, record) = match &imputer {
            Some(imputer) => {
                let Trained { config, place, .. } = &imputer.trained;
                (Imputation::Drawn(imputer), read(&self.data, self.var.as_deref(), &config.data, place)?.0)
            }
            None => (Imputation::Files(&self.imputed), self.without_weights(&mut config)?),
        };
        let job = Job { data: &self.data, out: &self.out, resume: self.resume };
        let members = config.ensemble.members;
        job.train(device, imputation, &record, config)?;
        println!("trained {members} forecasters in {}", self.out.display());
        if members < 2 {
            println!("one forecaster gives no interval; go on with --members 2 or more and --resume");
        }
        Ok(())
    }

    /// The record that files were imputed from; its settings are put into `config`.
    fn without_weights(&self, config: &mut Config) -> Result<Record> {
        let data = &mut config.data;
        put(&mut data.variable, &self.var);
        data.train_frames = self.train_frames.or(data.train_frames);
        let wanted = [
            (self.imputed.is_empty(), "--weights: expected weights of `isobath train stddm`, or --imputed files"),
            (data.variable.is_empty(), "--var: expected the name of a variable where there are no --weights"),
        ];
        if let Some((_, what)) = wanted.iter().find(|(missing, _)| *missing) {
            return Err(Error::Input(format!("{what}, found none")));
        }
        let (record, rhythm) = Record::regular_to_train(&self.data, data)?;
        eprintln!("{}\n{}", record.describe(), rhythm.describe());
        data.transform = Some(record.transform);
        data.train_frames = data.train_frames.or(Some(rhythm.places.len()));
        config.ensemble.members = self.imputed.len();
        Ok(record)
    }

    fn configuration(&self) -> Result<Config> {
        let mut config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        put(&mut config.ensemble.members, &self.members);
        put(&mut config.model.horizon, &self.horizon);
        put(&mut config.model.frames, &self.window);
        put(&mut config.train.epochs, &self.epochs);
        put(&mut config.train.patience, &self.patience);
        config.train.refit |= self.refit;
        put(&mut config.train.seed, &self.seed);
        put(&mut config.ensemble.seed, &self.seed);
        config.train.validation_frames = self.validation_frames.or(config.train.validation_frames);
        config.check()?;
        Ok(config)
    }
}

/// Where a training of forecasters writes, and from which file it is.
pub(in crate::commands) struct Job<'a> {
    pub(in crate::commands) data: &'a Path,
    pub(in crate::commands) out: &'a Path,
    pub(in crate::commands) resume: bool,
}

impl Job<'_> {
    /// Trains with these settings, and writes all that a training leaves.
    pub(in crate::commands) fn train(
        &self,
        device: &Device,
        imputation: Imputation,
        record: &Record,
        mut config: Config,
    ) -> Result<()> {
        if let Imputation::Drawn(imputer) = imputation {
            config.data = Data { variable: record.field.name.clone(), ..imputer.trained.config.data.clone() };
        }
        let (train, frames) = (record.train.len(), record.series.frames);
        forecasting::expect_room(&config, train, frames)
            .map_err(|error| Error::Input(format!("{}: {error}", self.data.display())))?;
        config.train.validation_frames = Some(config.validation_frames(train));
        let settings = self.out.join(SETTINGS);
        match (self.resume, settings.exists()) {
            (false, true) => {
                let settings = settings.display();
                return Err(Error::Input(format!(
                    "{settings} exists: go on with --resume, or name another folder with -o"
                )));
            }
            (true, false) => return Err(Error::file(&settings, std::io::ErrorKind::NotFound.into())),
            (true, true) => self.expect_same(&settings, &config)?,
            (false, false) => {}
        }
        // What is wrong with a file is told before anything is written.
        let checksums = imputation.checksums(record, config.ensemble.members)?;
        make_folder(self.out)?;
        report::expect_writable(&settings)?;
        config.write(&settings)?;
        train_members(device, (imputation, checksums), record, &config, self.out, &mut |what| eprintln!("{what}"))
            .map_err(|error| self.explain(error))
    }

    /// An error unless a training with the settings in the folder may go on with these.
    fn expect_same(&self, settings: &Path, config: &Config) -> Result<()> {
        match Config::read(settings)?.difference(config) {
            None => Ok(()),
            Some((old, new)) => {
                let settings = settings.display();
                Err(Error::Input(format!("{settings}: was trained with `{old}`, now asked to resume with `{new}`")))
            }
        }
    }

    fn explain(&self, error: Error) -> Error {
        if matches!(error, Error::Interrupted) {
            let folder = self.out.display();
            eprintln!("the checkpoints in {folder} are whole; the same command with --resume goes on from them");
        }
        error
    }
}
