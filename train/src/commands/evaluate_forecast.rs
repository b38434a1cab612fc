//! `isobath evaluate-forecast`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use isobath_engine::Device;
use serde_json::json;

use super::forecast::read;
use super::outlook::{self, Outlook};
use super::report::Pages;
use super::{history, report};
use crate::config::Data;
use crate::data::rhythm::{Rhythm, Step};
use crate::forecasting::scoring::{self, Row};
use crate::forecasting::{Ensemble, Imputation, Imputer};
use crate::html::Report;
use crate::record::Record;
use crate::{Error, Result, imputing, trained};

/// Score forecasts of held-out frames, beside persistence and climatologies
#[derive(Args)]
#[command(
    after_help = "Example:\n  isobath evaluate-forecast --data chl.nc --weights run --forecasters forecasters --json scores.json\n  \
    isobath evaluate-forecast --data chl.nc --var chlor_a --horizon 12 --train-frames 220 --report report.html\n\n\
    Without --weights the table has the methods that need no training. \
    The frames after the training frames of `isobath train stddm --train-frames N` are forecast from every frame on whose \
    whole forecast lies among them. A forecast sees what was observed before it, also in held-out frames, and nothing of \
    what it forecasts: its window is imputed anew. A report shows the last of them. Climatologies and intervals come from training frames alone."
)]
pub(super) struct EvaluateForecast {
    /// NetCDF file on the grid on which the models were trained
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable [default: the one that trained]
    #[arg(long, value_name = "NAME", required_unless_present = "weights")]
    var: Option<String>,
    /// Weights of the imputer, or the folder of its training
    #[arg(long, value_name = "PATH", requires = "forecasters")]
    weights: Option<PathBuf>,
    /// Folder of `isobath train forecaster`
    #[arg(long, value_name = "DIR", requires = "weights")]
    forecasters: Option<PathBuf>,
    /// Without forecasters: frames of a forecast
    #[arg(long, value_name = "N", required_unless_present = "weights", conflicts_with = "weights")]
    horizon: Option<usize>,
    /// Without forecasters: learn the climatologies from the first N frames, and score on the others
    #[arg(long, value_name = "N", required_unless_present = "weights", conflicts_with = "weights")]
    train_frames: Option<usize>,
    /// Frames from one forecast to the next
    #[arg(long, value_name = "N", default_value_t = 1)]
    stride: usize,
    /// Write the table as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    pages: Pages,
}

impl EvaluateForecast {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let started = Instant::now();
        for (option, value) in [("--stride", Some(self.stride)), ("--horizon", self.horizon)] {
            if value == Some(0) {
                return Err(Error::Input(format!("{option}: expected at least 1, found 0")));
            }
        }
        let models = match (&self.weights, &self.forecasters) {
            (Some(weights), Some(folder)) => {
                let imputer = Imputer::load(weights, device)?;
                Some((Ensemble::load(folder, Some(&imputer), device)?, imputer))
            }
            _ => None,
        };
        if let Some(path) = &self.json {
            report::expect_writable(path)?;
        }
        self.pages.expect_writable()?;
        let (record, rhythm) = match &models {
            Some((ensemble, imputer)) => {
                read(&self.data, self.var.as_deref(), &ensemble.config.data, &imputer.trained.place)?
            }
            None => self.untrained()?,
        };
        let models = models.as_ref().map(|(ensemble, imputer)| (ensemble, imputer));
        let horizon = models.map(|(ensemble, _)| ensemble.config.model.horizon).or(self.horizon).unwrap_or(1);
        let job = Job { models, horizon, stride: self.stride, json: self.json.as_deref() };
        let scored = job.evaluate(&record, rhythm.step).map_err(|error| match error {
            Error::Input(what) => Error::Input(format!("{}: {what}", self.data.display())),
            other => other,
        })?;
        println!("{}", scored.table);
        if self.pages.wanted() {
            let mut page = self.page(models, &record, &scored)?;
            page.facts.splice(0..0, report::facts(device, started));
            self.pages.write(&page)?;
        }
        Ok(())
    }

    /// What the report says.
    fn page<'a>(
        &self,
        models: Option<(&Ensemble, &Imputer)>,
        record: &'a Record,
        scored: &'a Scored,
    ) -> Result<Report<'a>> {
        let mut page = Report::of(record);
        page.title = format!("{}, forecasts of held-out frames", page.title);
        page.lead = match models {
            Some(_) => {
                "Frames that did not train were forecast; here is how near the forecasts came. The maps show the last."
            }
            None => {
                "Frames that did not train were forecast by methods that need no training; here is how near they came. \
                 The maps show the last forecast of the nearest."
            }
        }
        .into();
        page.views = scored.outlook.iter().map(Outlook::view).collect();
        outlook::add_scores(&mut page, &scored.rows, &scored.heading);
        if let (Some((ensemble, imputer)), Some(weights), Some(folder)) = (models, &self.weights, &self.forecasters) {
            page.loss = vec![outlook::curve(ensemble, folder)];
            page.config = Some(outlook::settings(Some(imputer), ensemble)?);
            page.facts = outlook::facts(ensemble, record, &page.score_units);
            page.facts.push(("Weights".into(), trained::file(weights).display().to_string()));
        }
        page.facts.push(("Data".into(), self.data.display().to_string()));
        Ok(page)
    }

    /// The record without a model.
    fn untrained(&self) -> Result<(Record, Rhythm)> {
        let variable = self.var.clone().unwrap_or_default();
        let data = Data { variable, train_frames: self.train_frames, ..Data::default() };
        let (record, rhythm) = Record::regular_to_train(&self.data, &data)?;
        eprintln!("{}\n{}", record.describe(), rhythm.describe());
        Ok((record, rhythm))
    }
}

/// What is scored, and where the scores go.
pub(super) struct Job<'a> {
    pub(super) models: Option<(&'a Ensemble, &'a Imputer)>,
    /// Frames of a forecast.
    pub(super) horizon: usize,
    /// Frames from one forecast to the next.
    pub(super) stride: usize,
    pub(super) json: Option<&'a Path>,
}

/// The scores of the ensemble, where there is one, and the baselines.
pub(super) struct Scored {
    pub(super) rows: Vec<Row>,
    /// What was forecast.
    pub(super) heading: String,
    /// Heading and rows for people.
    pub(super) table: String,
    /// The last forecast.
    pub(super) outlook: Option<Outlook>,
}

impl Job<'_> {
    /// Forecasts and scores; as JSON into the file too, if there is one.
    pub(super) fn evaluate(&self, record: &Record, step: Step) -> Result<Scored> {
        let Job { models, horizon, stride, json } = *self;
        let history_of = |(ensemble, imputer): (&Ensemble, &Imputer)| ensemble.history(Imputation::Drawn(imputer));
        let origins = scoring::origins(record, horizon, models.map_or(1, history_of), stride)?;
        let (rows, estimates) = scoring::score(models, record, step, horizon, &origins)?;
        let scale = imputing::scale_name(record.transform, record.field.units.as_deref());
        let date = |frame: usize| record.field.time.dates[frame].to_string();
        let (first, last) = (date(origins[0]), date(origins[origins.len() - 1] + horizon - 1));
        if let Some(path) = json {
            let residuals =
                models.map(|(ensemble, _)| ensemble.members.iter().map(|m| &m.residuals).collect::<Vec<_>>());
            let config = models.map(|(ensemble, _)| &ensemble.config);
            let table = json!({ "command": history(), "scale": scale, "rows": rows, "forecasts": origins.len(),
                "horizon": horizon, "first": first, "last": last, "config": config, "residuals": residuals });
            report::write_json(path, &table)?;
        }
        let heading = format!("{} forecasts of {horizon} frames, {first} to {last}", origins.len());
        let table = format!("{heading}\n{}", scoring::table(&rows, &scale));
        let outlook = Outlook::last(record, origins[origins.len() - 1], &rows, &estimates);
        Ok(Scored { rows, heading, table, outlook })
    }
}
