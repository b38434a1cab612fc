//! `isobath stimp`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use isobath_engine::Device;
use serde_json::json;

use super::evaluate_forecast::{self, Scored};
use super::forecast::{Forecast, Method, Models, expect_level, read};
use super::outlook::{self, Outlook};
use super::report::Pages;
use super::train::{forecaster, put, stddm};
use super::{hide, history, make_folder, report};
use crate::config::Config;
use crate::data::netcdf;
use crate::data::rhythm;
use crate::forecasting::scoring::Row;
use crate::forecasting::{self, Bounds, Ensemble, Imputation, Imputer, SETTINGS};
use crate::html::{Report, View};
use crate::imputing::{self, Filled};
use crate::record::Record;
use crate::trained;
use crate::{Error, Result, evaluating};

/// From a gappy record to a forecast with an interval: train, fill, forecast and score, all in one folder
#[derive(Args)]
#[command(after_help = "Example:\n  isobath stimp --data chl.nc --var chlor_a --horizon 12 -o run\n\n\
    Writes into the folder: stddm/ (the imputer), imputed.nc (the record without gaps), forecasters/, scores.json (held-out \
    frames, beside persistence and climatologies), imputing-scores.json (cells hidden in those frames, beside DINEOF and \
    others), forecast.nc and report.html, a page of all that. Each part is also a command of its own: train stddm, \
    impute, train forecaster, evaluate-forecast, forecast. Ctrl-C stops after the step; the same command with --resume \
    goes on.")]
pub(super) struct Stimp {
    /// NetCDF file with a variable over time, latitude and longitude
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable
    #[arg(long, value_name = "NAME")]
    var: String,
    /// Frames to forecast
    #[arg(long, value_name = "N")]
    horizon: usize,
    /// Frames of a window of both models [default: 46, less for a short record]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Train on the first N frames and score on the others [default: three quarters]
    #[arg(long, value_name = "N")]
    train_frames: Option<usize>,
    /// Passes of the imputer over its windows [default: 60]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Fraction of the observed cells that each of its steps hides [default: 0.1, as published for forecasts]
    #[arg(long, value_name = "RATE")]
    missing_rate: Option<f64>,
    /// Most passes of each forecaster over its windows [default: 200]
    #[arg(long, value_name = "N")]
    forecaster_epochs: Option<usize>,
    /// Imputed data sets, and forecasters [default: 10]
    #[arg(long, value_name = "M")]
    members: Option<usize>,
    /// Probability with which the interval holds the truth
    #[arg(long, value_name = "LEVEL", default_value_t = 0.9)]
    interval: f64,
    /// TOML file of settings of the imputer; options given here come before it [default: started from optimal interpolation,
    /// with its errors between the data sets]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// TOML file of settings of the forecasters; options given here come before it
    #[arg(long, value_name = "FILE")]
    forecaster_config: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Folder of all results
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from what is in the folder
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    pages: Pages,
}

impl Stimp {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let started = Instant::now();
        let (imputing, forecasting) = self.settings()?;
        make_folder(&self.out)?;
        let pages = self.pages.or_in(&self.out);
        pages.expect_writable()?;
        report::expect_writable(&self.out.join("forecast.nc"))?;
        let (folder, forecasters) = (self.out.join("stddm"), self.out.join("forecasters"));

        heading(1, "training the imputer");
        let resume = self.resume && stddm::Job::begun(&folder);
        stddm::Job { data: &self.data, out: &folder, resume }.train(device, imputing)?;
        let imputer = Imputer::load(&folder, device)?;

        heading(2, "filling the gaps, and cells hidden in held-out frames");
        let imputed = self.out.join("imputed.nc");
        let gappy = Record::at(&self.data, &imputer.trained.config.data, imputer.trained.place.clone())?;
        let filled = match self.resume && imputed.exists() {
            true => Filled::read(&imputed, &gappy)?,
            false => self.impute(&imputer, &gappy, &imputed)?,
        };
        let filling = self.score_filling(&imputer, &gappy)?;

        heading(3, "training the forecasters");
        let resume = self.resume && forecasters.join(SETTINGS).exists();
        let (record, rhythm) = read(&self.data, None, &imputer.trained.config.data, &imputer.trained.place)?;
        let job = forecaster::Job { data: &self.data, out: &forecasters, resume };
        let imputation = Imputation::Drawn(&imputer);
        job.train(device, imputation, &record, forecasting)?;
        let ensemble = Ensemble::load(&forecasters, Some(&imputer), device)?;

        heading(4, "scoring forecasts of held-out frames");
        let scores = self.out.join("scores.json");
        let models = Some((&ensemble, &imputer));
        let job = evaluate_forecast::Job { models, horizon: self.horizon, stride: 1, json: Some(&scores) };
        let scored = job.evaluate(&record, rhythm.step)?;

        heading(5, "forecasting");
        let out = self.out.join("forecast.nc");
        let forecast = Forecast {
            data: self.data.clone(),
            var: Some(self.var.clone()),
            method: Method::Stimp,
            weights: Some(folder.clone()),
            imputed: Vec::new(),
            forecasters: Some(forecasters.clone()),
            train_frames: None,
            horizon: None,
            after: None,
            interval: Some(self.interval),
            band: false,
            no_interval: false,
            out: out.clone(),
            pages: Pages { report: None, plots: None },
        };
        let models = Models { imputation, ensemble: &ensemble, folder: &forecasters };
        let outlook = forecast.write(models, &record, rhythm)?;
        let seen = gappy.seen(&gappy.series.observed);
        let views = [filled.view(&gappy.field, "the record without gaps".into(), &seen, None), outlook.view()];
        let views = views.into_iter().chain(scored.outlook.iter().map(Outlook::view)).collect();
        let mut page = self.page((&imputer, &ensemble), &gappy, views, (&filling, &scored))?;
        page.facts.splice(0..0, report::facts(device, started));
        pages.write(&page)?;

        let dates = outlook.dates();
        let scale = imputing::scale_name(record.transform, record.field.units.as_deref());
        if !filling.is_empty() {
            println!("Cells hidden in held-out frames\n{}\n", evaluating::table(&filling, &scale));
        }
        println!("{}\n\n{}", scored.table, verdict(&scored.rows, &scale));
        println!("{}: the record without gaps", imputed.display());
        println!("{}: the forecast, {} to {}", out.display(), dates[0], dates[dates.len() - 1]);
        println!("{}: maps, time series and scores, for a browser", pages.report.unwrap_or_default().display());
        Ok(())
    }

    /// The settings of both models, with what the record decides.
    fn settings(&self) -> Result<(Config, forecasting::Config)> {
        expect_level(self.interval)?;
        let given = self.config.as_deref().map(Config::read).transpose()?;
        let mut imputing = given.unwrap_or_else(Config::interpolating);
        let read = self.forecaster_config.as_deref().map(forecasting::Config::read).transpose()?;
        let mut forecasting = read.unwrap_or_default();
        let named = |error: Error| match error {
            Error::Input(what) => Error::Input(format!("{}: {what}", self.data.display())),
            other => other,
        };
        let field = netcdf::read(&self.data, &self.var)?;
        let file_frames = field.frames;
        let (field, rhythm) = rhythm::regular(field).map_err(named)?;

        imputing.data.variable = self.var.clone();
        let train = self.train_frames.or(imputing.data.train_frames);
        let train = train.unwrap_or((3 * file_frames / 4).min(file_frames.saturating_sub(self.horizon)).max(1));
        imputing.data.train_frames = Some(train);
        let train = rhythm.places.get(train).copied().unwrap_or(field.frames);

        forecasting.model.horizon = self.horizon;
        put(&mut forecasting.train.epochs, &self.forecaster_epochs);
        put(&mut forecasting.ensemble.members, &self.members);
        put(&mut forecasting.train.seed, &self.seed);
        put(&mut forecasting.ensemble.seed, &self.seed);
        put(&mut imputing.train.epochs, &self.epochs);
        put(&mut imputing.train.seed, &self.seed);
        put(&mut imputing.impute.seed, &self.seed);

        // Two windows, so that there is something to shuffle.
        let room = train.saturating_sub(self.horizon + forecasting.validation_frames(train) + 1).max(1);
        let window = Some(self.window.unwrap_or(room.min(46)));
        let (of_imputer, of_forecaster) = (self.config.is_none(), self.forecaster_config.is_none());
        put(&mut imputing.train.window, &window.filter(|_| of_imputer || self.window.is_some()));
        put(&mut forecasting.model.frames, &window.filter(|_| of_forecaster || self.window.is_some()));
        put(&mut imputing.train.missing_rate, &self.missing_rate.or(of_imputer.then_some(0.1)));
        imputing.check()?;
        forecasting.check()?;
        forecasting::expect_room(&forecasting, train, field.frames).map_err(named)?;
        if forecasting.ensemble.members < 2 {
            return Err(Error::Input("--members: expected at least 2 for an interval, found 1".into()));
        }
        if field.frames < train + self.horizon {
            let (horizon, held_out) = (self.horizon, field.frames - train);
            return Err(named(Error::Input(format!(
                "expected at least the horizon of {horizon} frames after those that train, found {held_out}; train on \
                 fewer with --train-frames"
            ))));
        }
        Ok((imputing, forecasting))
    }

    fn impute(&self, imputer: &Imputer, record: &Record, out: &Path) -> Result<Filled> {
        let trained = &imputer.trained;
        let samples = imputing::sample(trained, &record.series, &record.series.observed)?;
        let filled = Filled::new(record, &record.series.observed, samples, trained.config.impute.samples);
        let source = format!("STDDM (STIMP), weights {}", self.out.join("stddm").display());
        filled.output(record, source, history()).write(out)?;
        Ok(filled)
    }

    /// Scores the imputer on cells hidden in the frames that do not train, at the rate that it was trained for; windows
    /// in which too little is observed are left out.
    fn score_filling(&self, imputer: &Imputer, record: &Record) -> Result<Vec<evaluating::Row>> {
        let config = &imputer.trained.config;
        let rate = config.train.missing_rate;
        let mut heldout = hide::draw(record, &[rate], config.train.window, config.impute.seed)?;
        heldout.cells.retain(|cells| cells.hidden.contains(&true));
        if heldout.cells.is_empty() {
            return Ok(Vec::new());
        }
        let rows = evaluating::evaluate(Some(&imputer.trained), record, &heldout, rate, &mut |_| ())?;
        let scale = imputing::scale_name(record.transform, record.field.units.as_deref());
        let table = json!({ "command": history(), "scale": scale, "rows": rows, "config": config });
        report::write_json(&self.out.join("imputing-scores.json"), &table)?;
        Ok(rows)
    }

    /// What the report says.
    fn page<'a>(
        &self,
        (imputer, ensemble): (&Imputer, &Ensemble),
        record: &'a Record,
        views: Vec<View<'a>>,
        (filling, scored): (&[evaluating::Row], &Scored),
    ) -> Result<Report<'a>> {
        let mut page = Report::of(record).with_model(&imputer.trained)?;
        page.title = format!("{}, filled and forecast", page.title);
        page.lead =
            "A model learned to fill the gaps of the record; several forecasters, each trained on gaps filled anew, \
                     say what comes next and how sure that is."
                .into();
        page.views = views;
        page.highlights = report::errors(filling, &page.score_units);
        page.scores = report::scores(filling);
        outlook::add_scores(&mut page, &scored.rows, &scored.heading);
        let (stddm, forecasters) = (self.out.join("stddm").join(trained::FILE), self.out.join("forecasters"));
        page.loss = vec![report::curve("imputer", &stddm), outlook::curve(ensemble, &forecasters)];
        page.config = Some(outlook::settings(Some(imputer), ensemble)?);
        page.facts = report::model_facts(&imputer.trained);
        page.facts.extend(outlook::facts(ensemble, record, &page.score_units));
        page.facts.push(("Interval".into(), outlook::bounds_name(Bounds::Interval(self.interval))));
        page.facts.push(("Data".into(), self.data.display().to_string()));
        Ok(page)
    }
}

fn heading(number: usize, what: &str) {
    eprintln!("\n{number} of 5: {what}");
}

/// What the scores say, in plain sentences.
fn verdict(rows: &[Row], scale: &str) -> String {
    let Some((own, others)) = rows.split_first() else { return String::new() };
    let by = |row: &Row| format!("{} ({:.4})", row.method, row.scores.mae);
    let listed = |better: bool| {
        let names = others.iter().filter(|row| (own.scores.mae < row.scores.mae) == better).map(by);
        names.collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("On held-out frames the forecast is off by {:.4} {scale} in the mean", own.scores.mae);
    let (beaten, ahead) = (listed(true), listed(false));
    if !beaten.is_empty() {
        text += &format!(", less than {beaten}");
    }
    if !ahead.is_empty() {
        text += &format!("{} not less than {ahead}", if beaten.is_empty() { "," } else { ", but" });
    }
    if let Some(interval) = own.interval_90 {
        text += &format!(". The 90 % interval held {:.1} % of what was observed", 100.0 * interval.coverage);
    }
    text + "."
}
