//! `isobath forecast`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use isobath_engine::Device;

use super::outlook::{self, Outlook};
use super::report::Pages;
use super::{history, report};
use crate::config::Data;
use crate::data::rhythm::Rhythm;
use crate::forecasting::scoring::LEVEL;
use crate::forecasting::{Bounds, Ensemble, Imputation, Imputer, Product};
use crate::html::Report;
use crate::progress::Progress;
use crate::record::{Place, Record};
use crate::trained;
use crate::{Error, Result};

mod baseline;

pub(super) use baseline::Method;

/// Forecast the frames that follow a record, with an interval
#[derive(Args)]
#[command(
    after_help = "Examples:\n  isobath forecast --data chl.nc --weights run --forecasters forecasters -o forecast.nc\n  \
    isobath forecast --data chl.nc --weights run --forecasters forecasters -o forecast.nc --report forecast.html\n  \
    isobath forecast --data chl.nc --forecasters forecasters --imputed a.nc b.nc c.nc -o forecast.nc\n  \
    isobath forecast --data chl.nc --var chlor_a --method climatology --horizon 12 -o forecast.nc\n\n\
    forecast.nc holds the forecast under the variable's name at the dates of the frames to come, the ends of the interval \
    as _low and _high, and the standard deviations within and between the imputed data sets and in total as _std_within, \
    _std_between and _std_total; the last three are of log10 values where the models work on those. A baseline gives the forecast alone; it \
    needs neither --weights nor --forecasters, and sees nothing after --after."
)]
pub(super) struct Forecast {
    /// NetCDF file on the grid on which the models were trained
    #[arg(long, value_name = "FILE")]
    pub(super) data: PathBuf,
    /// Name of the variable [default: the one that trained]
    #[arg(long, value_name = "NAME")]
    pub(super) var: Option<String>,
    /// What forecasts: the models, or a baseline that needs no training
    #[arg(long, value_enum, default_value = "stimp")]
    pub(super) method: Method,
    /// Weights of the imputer, or the folder of its training
    #[arg(long, value_name = "PATH")]
    pub(super) weights: Option<PathBuf>,
    /// Instead of weights: NetCDF files that hold the frames before the forecast imputed, one for each forecaster
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "weights")]
    pub(super) imputed: Vec<PathBuf>,
    /// Folder of `isobath train forecaster`
    #[arg(long, value_name = "DIR")]
    pub(super) forecasters: Option<PathBuf>,
    /// For a baseline without weights: learn the climatology from the first N frames [default: all before the forecast]
    #[arg(long, value_name = "N", conflicts_with = "weights")]
    pub(super) train_frames: Option<usize>,
    /// Frames to forecast [default: all that the forecasters give]
    #[arg(long, value_name = "N")]
    pub(super) horizon: Option<usize>,
    /// Last frame that the forecast sees: a date such as 2019-12-31, or a number from 0 [default: the last one]
    #[arg(long, value_name = "DATE|FRAME")]
    pub(super) after: Option<String>,
    /// Probability with which the interval of Rubin's rules holds the truth [default: 0.9]
    #[arg(long, value_name = "LEVEL")]
    pub(super) interval: Option<f64>,
    /// Instead, the published band: the mean and one standard deviation between forecasters to either side
    #[arg(long, conflicts_with = "interval")]
    pub(super) band: bool,
    /// The forecast alone, which one forecaster can give
    #[arg(long, conflicts_with_all = ["interval", "band"])]
    pub(super) no_interval: bool,
    /// NetCDF file to write
    #[arg(short, long, value_name = "FILE")]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) pages: Pages,
}

/// The models of a forecast.
#[derive(Clone, Copy)]
pub(super) struct Models<'a> {
    pub(super) imputation: Imputation<'a>,
    pub(super) ensemble: &'a Ensemble,
    /// Where the ensemble is.
    pub(super) folder: &'a Path,
}

/// Reads a record at the place of a training, with a frame for every step, and says what it is; `var` comes before the
/// variable of `data`.
pub(super) fn read(path: &Path, var: Option<&str>, data: &Data, place: &Place) -> Result<(Record, Rhythm)> {
    let variable = var.map_or_else(|| data.variable.clone(), String::from);
    let data = Data { variable, ..data.clone() };
    let (record, rhythm) = Record::regular_at(path, &data, place.clone())?;
    eprintln!("{}\n{}", record.describe(), rhythm.describe());
    Ok((record, rhythm))
}

/// An error unless an interval can hold the truth with this probability.
pub(super) fn expect_level(level: f64) -> Result<()> {
    match level > 0.0 && level < 1.0 {
        true => Ok(()),
        false => Err(Error::Input(format!("--interval: expected a level above 0 and below 1, found {level}"))),
    }
}

impl Forecast {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let started = Instant::now();
        let outlook = match self.method {
            Method::Stimp => self.run_models(device, started)?,
            _ => {
                self.expect_baseline()?;
                self.run_baseline(device, started)?
            }
        };
        let (dates, out) = (outlook.dates(), self.out.display());
        println!("forecast {} frames, {} to {}; wrote {out}", dates.len(), dates[0], dates[dates.len() - 1]);
        Ok(())
    }

    /// Forecasts by the ensemble.
    fn run_models(&self, device: &Device, started: Instant) -> Result<Outlook> {
        let folder = self.expect_models()?;
        let imputer = self.weights.as_deref().map(|weights| Imputer::load(weights, device)).transpose()?;
        let ensemble = Ensemble::load(folder, imputer.as_ref(), device)?;
        let imputation = imputer.as_ref().map_or(Imputation::Files(&self.imputed), Imputation::Drawn);
        imputation.expect_number(ensemble.members.len())?;
        self.expect_writable()?;
        let place = &ensemble.members[0].place;
        let (record, rhythm) = read(&self.data, self.var.as_deref(), &ensemble.config.data, place)?;
        let models = Models { imputation, ensemble: &ensemble, folder };
        let outlook = self.write(models, &record, rhythm)?;
        if self.pages.wanted() {
            let mut page = self.page(models, &record, &outlook)?;
            page.facts.splice(0..0, report::facts(device, started));
            self.pages.write(&page)?;
        }
        Ok(outlook)
    }

    /// The folder of the forecasters; an error when a part of the models is not named.
    fn expect_models(&self) -> Result<&Path> {
        let missing = |what: &str| {
            Error::Input(format!(
                "{what} for --method stimp, found none; a baseline such as --method climatology needs none"
            ))
        };
        if self.train_frames.is_some() {
            return Err(Error::Input(
                "--train-frames: the weights say which frames trained; it is for baselines".into(),
            ));
        }
        if self.weights.is_none() && self.imputed.is_empty() && self.forecasters.is_some() {
            return Err(missing("--weights: expected weights of `isobath train stddm`, or --imputed files,"));
        }
        let folder = self.forecasters.as_deref();
        folder.ok_or_else(|| missing("--forecasters: expected the folder of `isobath train forecaster`"))
    }

    /// What imputes, for the file and the report.
    fn imputer(&self, imputation: Imputation) -> String {
        match imputation {
            Imputation::Drawn(_) => {
                self.weights.as_deref().map_or_else(String::new, |path| trained::file(path).display().to_string())
            }
            Imputation::Files(files) => {
                files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// An error when an option is there that only the models heed.
    fn expect_baseline(&self) -> Result<()> {
        let given = [
            ("--forecasters", self.forecasters.is_some(), "needs no forecasters"),
            ("--imputed", !self.imputed.is_empty(), "needs no imputed files"),
            ("--interval", self.interval.is_some(), "gives no interval"),
            ("--band", self.band, "gives no band"),
        ];
        match given.iter().find(|(_, given, _)| *given) {
            None => Ok(()),
            Some((option, _, why)) => {
                let name = self.method.name();
                Err(Error::Input(format!("{option}: {name} {why}; leave it out, or forecast with --method stimp")))
            }
        }
    }

    /// What the report says.
    fn page<'a>(&self, models: Models, record: &'a Record, outlook: &'a Outlook) -> Result<Report<'a>> {
        let Models { imputation, ensemble, folder } = models;
        let mut page = Report::of(record);
        let dates = outlook.dates();
        let members = ensemble.members.len();
        page.title = format!("{}, forecast", page.title);
        page.lead = format!(
            "{} to {}, {} frames, forecast from what was observed before by {members} models, each trained on gaps filled \
             anew.",
            dates[0],
            dates[dates.len() - 1],
            dates.len()
        );
        page.views = vec![outlook.view()];
        page.loss = vec![outlook::curve(ensemble, folder)];
        page.config = Some(outlook::settings(imputation.imputer(), ensemble)?);
        page.facts = outlook::facts(ensemble, record, &page.score_units);
        page.facts.push(("Interval".into(), outlook::bounds_name(self.bounds(models)?)));
        page.facts.push(("Data".into(), self.data.display().to_string()));
        let imputer = if imputation.imputer().is_some() { "Weights" } else { "Imputed" };
        page.facts.push((imputer.into(), self.imputer(imputation)));
        Ok(page)
    }

    /// Forecasts and writes the file; returns the forecast beside what went before it.
    pub(super) fn write(&self, models: Models, record: &Record, mut rhythm: Rhythm) -> Result<Outlook> {
        let Models { imputation, ensemble, folder } = models;
        let bounds = self.bounds(models)?;
        let horizon = self.horizon(models)?;
        let origin = self.origin(&rhythm).map_err(|what| self.in_data(what))?;
        rhythm.extend(origin + horizon).map_err(|what| self.in_data(what))?;
        let mut progress = Progress::new("imputing", ensemble.work(imputation)?, 0);
        let forecasts = ensemble.forecast(imputation, record, origin, (&mut progress, 0));
        // Files have names of their own.
        let forecasts = match imputation {
            Imputation::Drawn(_) => forecasts.map_err(|error| self.named(error))?,
            Imputation::Files(_) => forecasts?,
        };
        drop(progress);
        let time = rhythm.time.slice(origin..origin + horizon);
        let product = Product::new(record, &forecasts, &ensemble.variances(), time, bounds)?;
        let (members, folder, imputer) = (ensemble.members.len(), folder.display(), self.imputer(imputation));
        let source = format!("STIMP, {members} forecasters in {folder}, imputer {imputer}");
        let last = rhythm.time.dates[origin - 1].to_string();
        product.output(record, &last, source, history()).write(&self.out)?;
        let ends = product.ends.as_ref().map(|ends| (outlook::bounds_name(bounds), ends));
        let deviation = product.spread.as_ref().map(|[_, _, total]| &total[..]);
        Ok(Outlook::new(record, &rhythm.time, origin, &product.values, ends, deviation))
    }

    fn bounds(&self, models: Models) -> Result<Bounds> {
        let members = models.ensemble.members.len();
        if self.no_interval {
            return Ok(Bounds::None);
        }
        if members < 2 {
            return Err(Error::Input(format!(
                "{}: expected at least 2 forecasters for an interval, found {members}; train more with --members, or \
                 forecast with --no-interval",
                models.folder.display()
            )));
        }
        if self.band {
            return Ok(Bounds::Band);
        }
        let level = self.interval.unwrap_or(LEVEL);
        expect_level(level)?;
        Ok(Bounds::Interval(level))
    }

    fn horizon(&self, models: Models) -> Result<usize> {
        let most = models.ensemble.config.model.horizon;
        match self.horizon.unwrap_or(most) {
            found if (1..=most).contains(&found) => Ok(found),
            found => Err(Error::Input(format!(
                "--horizon: expected 1 to {most} frames, which the forecasters in {} give, found {found}",
                models.folder.display()
            ))),
        }
    }

    /// The first frame to forecast.
    fn origin(&self, rhythm: &Rhythm) -> std::result::Result<usize, String> {
        let dates = &rhythm.time.dates;
        let Some(after) = &self.after else { return Ok(dates.len()) };
        if let Ok(frame) = after.parse::<usize>() {
            let last = dates.len() - 1;
            return (frame <= last)
                .then_some(frame + 1)
                .ok_or(format!("--after: expected a frame of 0 to {last}, found {frame}"));
        }
        let parts: Vec<&str> = after.split('-').collect();
        let numbers: Option<Vec<u32>> = parts.iter().map(|part| part.parse().ok()).collect();
        let Some([year, month, day]) = numbers.as_deref() else {
            return Err(format!("--after: expected a date such as 2019-12-31 or the number of a frame, found {after}"));
        };
        let wanted = (i64::from(*year), *month, *day);
        let seen = |date: &&crate::data::time::Date| {
            (i64::from(date.year), u32::from(date.month), u32::from(date.day)) <= wanted
        };
        match dates.iter().take_while(seen).count() {
            0 => Err(format!("--after: expected a date from {} on, found {after}", dates[0])),
            frames => Ok(frames),
        }
    }

    /// An error about the data.
    fn in_data(&self, what: String) -> Error {
        Error::Input(format!("{}: {what}", self.data.display()))
    }

    /// An error about the data, where it is one.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Input(what) => self.in_data(what),
            other => other,
        }
    }

    /// An error, before the work, when the results could not be written, or would take the place of what is read.
    fn expect_writable(&self) -> Result<()> {
        let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        let weights = self.weights.as_deref().map(trained::file);
        let mut read = self.imputed.iter().chain(&weights).chain([&self.data]);
        if read.any(|path| same(&self.out, path)) {
            let out = self.out.display();
            return Err(Error::Input(format!("{out}: expected another file to write than those that are read")));
        }
        report::expect_writable(&self.out)?;
        self.pages.expect_writable()
    }
}
