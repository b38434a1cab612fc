//! Forecasts that need no training.

use std::time::Instant;

use clap::ValueEnum;
use isobath_engine::Device;

use super::{Forecast, Outlook, read};
use crate::commands::{history, report};
use crate::config::Data;
use crate::data::nodes::Transform;
use crate::data::rhythm::Rhythm;
use crate::evaluating::Baselines;
use crate::forecasting::scoring::STIMP;
use crate::forecasting::{Bounds, Forecasts, Imputer, Product, expect_horizon};
use crate::html::Report;
use crate::record::Record;
use crate::{Error, Result};

/// What forecasts.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum Method {
    /// STIMP's forecasters
    Stimp,
    /// The last value that was observed at each pixel
    Persistence,
    /// The last value that was observed at each pixel in the same season of an earlier year
    SeasonalPersistence,
    /// The mean of each pixel over the training frames of the same month
    #[value(alias = "monthly-climatology")]
    Climatology,
    /// The mean of each pixel over the training frames of the same 8-day period
    #[value(name = "8-day-climatology")]
    EightDayClimatology,
}

impl Method {
    /// Its name in the table of `evaluate-forecast`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Method::Stimp => STIMP,
            Method::Persistence => "persistence",
            Method::SeasonalPersistence => "seasonal persistence",
            Method::Climatology => "monthly climatology",
            Method::EightDayClimatology => "8-day climatology",
        }
    }

    /// What it forecasts, as its help says it.
    fn description(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default().replacen("The", "the", 1)
    }

    /// How its forecast is to be read.
    fn comment(self, transform: Transform) -> String {
        let climatology = matches!(self, Method::Climatology | Method::EightDayClimatology);
        let of = if climatology && transform == Transform::Log10 { ", taken of log10 values" } else { "" };
        format!("The forecast is {}{of}.", self.description())
    }
}

impl Forecast {
    /// Forecasts by the method, which is a baseline.
    pub(super) fn run_baseline(&self, device: &Device, started: Instant) -> Result<Outlook> {
        let Some(horizon) = self.horizon else {
            let name = self.method.name();
            return Err(Error::Input(format!(
                "--horizon: expected a number of frames to forecast by {name}, found none"
            )));
        };
        self.expect_writable()?;
        let (mut record, rhythm) = self.untrained(device)?;
        let origin = self.origin(&rhythm).map_err(|what| self.in_data(what))?;
        expect_horizon(horizon, record.series.frames).map_err(|error| self.named(error))?;
        // No climatology of what is forecast.
        record.train.end = record.train.end.min(origin);
        let outlook = self.write_baseline(&record, rhythm, origin, horizon)?;
        if self.pages.wanted() {
            let mut page = self.baseline_page(&record, &outlook);
            page.facts.splice(0..0, report::facts(device, started));
            self.pages.write(&page)?;
        }
        Ok(outlook)
    }

    /// The record where weights were trained, if there are any.
    fn untrained(&self, device: &Device) -> Result<(Record, Rhythm)> {
        if let Some(weights) = &self.weights {
            let imputer = Imputer::load(weights, device)?;
            return read(&self.data, self.var.as_deref(), &imputer.trained.config.data, &imputer.trained.place);
        }
        let Some(variable) = self.var.clone() else {
            return Err(Error::Input(
                "--var: expected the name of a variable where there are no --weights, found none".into(),
            ));
        };
        let data = Data { variable, train_frames: self.train_frames, ..Data::default() };
        let (record, rhythm) = Record::regular_to_train(&self.data, &data)?;
        eprintln!("{}\n{}", record.describe(), rhythm.describe());
        Ok((record, rhythm))
    }

    /// Forecasts `horizon` frames from frame `origin` on, and writes the file.
    fn write_baseline(&self, record: &Record, mut rhythm: Rhythm, origin: usize, horizon: usize) -> Result<Outlook> {
        rhythm.extend(origin + horizon).map_err(|what| self.in_data(what))?;
        let time = rhythm.time.slice(origin..origin + horizon);
        let baselines = Baselines::new(record, &record.series.observed);
        let estimates = baselines.forecast(origin, &time.dates, rhythm.step.frames_a_year());
        let name = self.method.name();
        let estimate = estimates.into_iter().find(|estimate| estimate.method == name).ok_or_else(|| {
            let step = rhythm.step;
            self.in_data(format!("{name}: expected frames less than a month apart, found steps of {step}"))
        })?;
        let forecasts = Forecasts { members: vec![estimate.values] };
        let product = Product::new(record, &forecasts, &[], time, Bounds::None)?;
        let last = rhythm.time.dates[origin - 1].to_string();
        let mut output = product.output(record, &last, name.to_owned(), history());
        output.comment = self.method.comment(record.transform);
        output.write(&self.out)?;
        Ok(Outlook::new(record, &rhythm.time, origin, &product.values, None, None).by(name))
    }

    /// What the report says.
    fn baseline_page<'a>(&self, record: &'a Record, outlook: &'a Outlook) -> Report<'a> {
        let mut page = Report::of(record);
        let (dates, name) = (outlook.dates(), self.method.name());
        let (first, last, frames) = (dates[0], dates[dates.len() - 1], dates.len());
        page.title = format!("{}, forecast", page.title);
        page.lead = format!("{first} to {last}, {frames} frames, forecast by {name}: {}.", self.method.description());
        page.views = vec![outlook.view()];
        let trained = &record.field.time.dates[record.train.clone()];
        page.facts = vec![
            ("Method".into(), name.into()),
            ("Training frames".into(), format!("{} to {}", trained[0], trained[trained.len() - 1])),
            ("Data".into(), self.data.display().to_string()),
        ];
        page
    }
}
