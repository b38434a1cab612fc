//! `isobath evaluate-forecast`.

use std::path::{Path, PathBuf};

use clap::Args;
use isobath_engine::Device;
use serde_json::json;

use super::forecast::read;
use super::{history, report};
use crate::data::rhythm::Step;
use crate::forecasting::scoring::{self, Row};
use crate::forecasting::{Ensemble, Imputer};
use crate::record::Record;
use crate::{Error, Result, imputing};

/// Score forecasts of held-out frames, beside persistence and climatologies
#[derive(Args)]
#[command(
    after_help = "Example:\n  isobath evaluate-forecast --data chl.nc --weights run --forecasters forecasters --json scores.json\n\n\
    The frames after the training frames of `isobath train stddm --train-frames N` are forecast from every frame on whose \
    whole forecast lies among them. A forecast sees what was observed before it, also in held-out frames, and nothing of \
    what it forecasts: its window is imputed anew. Climatologies and intervals come from training frames alone."
)]
pub(super) struct EvaluateForecast {
    /// NetCDF file on the grid on which the models were trained
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable [default: the one that trained]
    #[arg(long, value_name = "NAME")]
    var: Option<String>,
    /// Weights of the imputer, or the folder of its training
    #[arg(long, value_name = "PATH")]
    weights: PathBuf,
    /// Folder of `isobath train forecaster`
    #[arg(long, value_name = "DIR")]
    forecasters: PathBuf,
    /// Frames from one forecast to the next
    #[arg(long, value_name = "N", default_value_t = 1)]
    stride: usize,
    /// Write the table as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl EvaluateForecast {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let imputer = Imputer::load(&self.weights, device)?;
        let ensemble = Ensemble::load(&self.forecasters, &imputer, device)?;
        if self.stride == 0 {
            return Err(Error::Input("--stride: expected at least 1, found 0".into()));
        }
        if let Some(path) = &self.json {
            report::expect_writable(path)?;
        }
        let (record, rhythm) = read(&self.data, self.var.as_deref(), &ensemble.config.data, &imputer)?;
        let job = Job { imputer: &imputer, ensemble: &ensemble, stride: self.stride, json: self.json.as_deref() };
        let (_, table) = job.evaluate(&record, rhythm.step).map_err(|error| match error {
            Error::Input(what) => Error::Input(format!("{}: {what}", self.data.display())),
            other => other,
        })?;
        println!("{table}");
        Ok(())
    }
}

/// What is scored, and where the scores go.
pub(super) struct Job<'a> {
    pub(super) imputer: &'a Imputer,
    pub(super) ensemble: &'a Ensemble,
    /// Frames from one forecast to the next.
    pub(super) stride: usize,
    pub(super) json: Option<&'a Path>,
}

impl Job<'_> {
    /// The scores of the ensemble and the baselines, as rows and as a table; as JSON into the file, if there is one.
    pub(super) fn evaluate(&self, record: &Record, step: Step) -> Result<(Vec<Row>, String)> {
        let Job { imputer, ensemble, stride, json } = *self;
        let horizon = ensemble.config.model.horizon;
        let origins = scoring::origins(record, horizon, ensemble.history(imputer), stride)?;
        let rows = scoring::score(ensemble, imputer, record, step, &origins)?;
        let scale = imputing::scale_name(record.transform, record.field.units.as_deref());
        let date = |frame: usize| record.field.time.dates[frame].to_string();
        let (first, last) = (date(origins[0]), date(origins[origins.len() - 1] + horizon - 1));
        if let Some(path) = json {
            let residuals: Vec<_> = ensemble.members.iter().map(|member| &member.residuals).collect();
            let table = json!({ "command": history(), "scale": scale, "rows": rows, "forecasts": origins.len(),
                "horizon": horizon, "first": first, "last": last, "config": ensemble.config, "residuals": residuals });
            report::write_json(path, &table)?;
        }
        let heading = format!("{} forecasts of {horizon} frames, {first} to {last}", origins.len());
        let table = format!("{heading}\n{}", scoring::table(&rows, &scale));
        Ok((rows, table))
    }
}
