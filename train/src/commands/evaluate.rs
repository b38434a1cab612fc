//! `isobath evaluate`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{ArgGroup, Args};
use isobath_engine::Device;
use serde_json::json;

use super::report::{self, Pages};
use super::{hide, history};
use crate::config::{self, Config, Spread};
use crate::data::heldout::HeldOut;
use crate::evaluating::{Filling, Row};
use crate::html::{Report, View};
use crate::imputing::Filled;
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::{Error, Result, evaluating, imputing};

/// Score a trained model on hidden cells, beside climatology, linear interpolation, window mean, DINEOF and optimal interpolation
#[derive(Args)]
#[command(group = ArgGroup::new("cells").required(true).args(["heldout", "hide"]),
    after_help = "Examples:\n  \
    isobath evaluate --data chl.nc --var chlor_a --weights run --heldout heldout_cells.npz --rate 0.5\n  \
    isobath evaluate --data chl.nc --var chlor_a --hide 0.1,0.5,0.9 --seed 1 --report report.html\n\n\
    Without --weights the table has the methods that need no training. `isobath hide` draws the cells of --hide into an \
    archive, and `isobath train --heldout` keeps them from a training."
)]
pub(super) struct Evaluate {
    /// NetCDF file on the grid on which the model was trained
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable [default: the one that trained]
    #[arg(long, value_name = "NAME", required_unless_present = "weights")]
    var: Option<String>,
    /// Weights file, or the folder of a training
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// .npz archive of `sea`, `starts` and `hidden_RATE_START`
    #[arg(long, value_name = "FILE")]
    heldout: Option<PathBuf>,
    /// Hide these shares of the observed cells of the frames that do not train, or of all where all of them do
    #[arg(long, value_name = "RATE", value_delimiter = ',')]
    hide: Vec<f64>,
    /// Frames of a test window of --hide [default: the window of the training, 46 without one]
    #[arg(long, value_name = "N", requires = "hide")]
    window: Option<usize>,
    /// Learn the climatology from the first N frames [default: those of the training, all without one]
    #[arg(long, value_name = "N", conflicts_with = "weights")]
    train_frames: Option<usize>,
    /// Only this missing rate [default: every rate of the archive]
    #[arg(long, value_name = "RATE", requires = "heldout")]
    rate: Option<f64>,
    /// Samples of every missing cell
    #[arg(long, value_name = "N", requires = "weights")]
    samples: Option<usize>,
    /// What the samples of a cell differ by [default: as the weights were configured]
    #[arg(long, value_name = "SPREAD", requires = "weights")]
    spread: Option<Spread>,
    /// Seed of the cells of --hide and of the samples
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the table as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    pages: Pages,
}

/// A window that was filled, kept for the report.
struct Shown {
    name: String,
    /// The baseline that filled it; a model where there is none.
    method: Option<&'static str>,
    record: Record,
    /// What was left of it, on the grid.
    seen: Vec<f32>,
    filled: Filled,
}

impl Shown {
    /// The window as the model filled it, or else the baseline that came nearest to the truth.
    fn new(record: &Record, filling: Filling, samples: usize) -> Option<Self> {
        let part = record.part(filling.frames.clone());
        let dates = &part.field.time.dates;
        let name = format!("{:.0} % hidden, {} to {}", 100.0 * filling.cells.rate, dates[0], dates[dates.len() - 1]);
        let seen = part.seen(filling.visible);
        let (method, values, count) = match filling.samples {
            Some(drawn) => (None, drawn, samples),
            None => {
                let best = report::best_untrained(filling.rows)?.method;
                let estimate = filling.estimates.iter().find(|estimate| estimate.method == best)?;
                (Some(best), estimate.values.clone(), 1)
            }
        };
        let filled = Filled::new(&part, filling.visible, values, count);
        Some(Shown { name, method, record: part, seen, filled })
    }

    fn view(&self) -> View<'_> {
        let field = &self.record.field;
        let view = self.filled.view(field, self.name.clone(), &self.seen, Some(&field.values));
        match self.method {
            None => view,
            // One estimate has neither spread nor interval.
            Some(method) => View { estimate_name: format!("imputed ({method})"), spread: None, interval: None, ..view },
        }
    }
}

impl Evaluate {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let started = Instant::now();
        let archive = self.heldout.as_deref().map(|path| HeldOut::read(path).map(|held| (path, held))).transpose()?;
        let trained = self.weights.as_deref().map(|path| Trained::load(path, device)).transpose()?;
        let trained = trained.map(|trained| self.adjusted(trained)).transpose()?;
        let (record, config) = match &trained {
            Some(trained) => {
                if let Some((path, heldout)) = &archive {
                    expect_same_sea(path, heldout, trained)?;
                }
                let record = Record::at(&self.data, &trained.config.data, trained.place.clone())?;
                (record, trained.config.clone())
            }
            None => self.untrained(archive.as_ref().map(|(_, heldout)| heldout))?,
        };
        if let Some(path) = &self.json {
            report::expect_writable(path)?;
        }
        self.pages.expect_writable()?;
        eprintln!("{}", record.describe());
        let heldout = match archive {
            Some((_, heldout)) => heldout,
            None => hide::draw(&record, &self.hide, self.window.unwrap_or(config.train.window), config.impute.seed)
                .map_err(|error| in_file(&self.data, error))?,
        };
        if trained.is_some() {
            self.warn_of_overlap(&heldout, &record, &config);
        }
        let mut rates: Vec<f64> = heldout.cells.iter().map(|cells| cells.rate).collect();
        rates.dedup();
        let (mut rows, mut shown) = (Vec::new(), Vec::new());
        let mut look = |filling: Filling| {
            if self.pages.wanted() {
                shown.extend(Shown::new(&record, filling, config.impute.samples));
            }
        };
        for rate in self.rate.map_or(rates, |rate| vec![rate]) {
            rows.extend(evaluating::evaluate(trained.as_ref(), &record, &heldout, rate, &mut look)?);
        }
        let scale = imputing::scale_name(record.transform, record.field.units.as_deref());
        if let Some(path) = &self.json {
            let step = trained.as_ref().map(|trained| trained.step);
            let table = json!({ "command": history(), "scale": scale, "rows": rows, "step": step, "config": config });
            report::write_json(path, &table)?;
        }
        println!("{}", evaluating::table(&rows, &scale));
        if self.pages.wanted() {
            let mut page = self.page(trained.as_ref(), &record, &rows, &shown)?;
            page.facts.splice(0..0, report::facts(device, started));
            page.facts.push(("Hidden cells".into(), self.cells(&heldout, config.impute.seed)));
            self.pages.write(&page)?;
        }
        Ok(())
    }

    /// What the report says.
    fn page<'a>(
        &self,
        trained: Option<&Trained>,
        record: &'a Record,
        rows: &[Row],
        shown: &'a [Shown],
    ) -> Result<Report<'a>> {
        let mut page = Report::of(record);
        page.lead =
            "Observed cells were hidden and filled by methods that need no training; here is how near they came. \
                     The maps show the nearest."
                .into();
        if let (Some(trained), Some(path)) = (trained, &self.weights) {
            page = page.with_model(trained)?;
            page.lead = "Observed cells were hidden from the model and filled; here is how near it came.".into();
            let weights = trained::file(path);
            page.loss = vec![report::curve("imputer", &weights)];
            page.facts = report::model_facts(trained);
            page.facts.push(("Weights".into(), weights.display().to_string()));
        }
        page.title = format!("{}, hidden cells", page.title);
        page.views = shown.iter().map(Shown::view).collect();
        page.highlights = report::errors(rows, &page.score_units);
        page.scores = report::scores(rows);
        page.facts.push(("Data".into(), self.data.display().to_string()));
        Ok(page)
    }

    /// Where the hidden cells come from.
    fn cells(&self, heldout: &HeldOut, seed: u64) -> String {
        let source = self.heldout.as_ref().map_or(format!("drawn with seed {seed}"), |path| path.display().to_string());
        format!("{source}; windows of {} frames", heldout.window)
    }

    /// The model under the options of the command line.
    fn adjusted(&self, mut trained: Trained) -> Result<Trained> {
        let config = &mut trained.config;
        config.impute.samples = self.samples.unwrap_or(config.impute.samples);
        config.impute.spread = self.spread.unwrap_or(config.impute.spread);
        config.impute.seed = self.seed.unwrap_or(config.impute.seed);
        config.data.variable = self.var.clone().unwrap_or(std::mem::take(&mut config.data.variable));
        config.check()?;
        Ok(trained)
    }

    /// The record without a model, and the settings that a training would begin with.
    fn untrained(&self, heldout: Option<&HeldOut>) -> Result<(Record, Config)> {
        let variable = self.var.clone().unwrap_or_default();
        let mut config = Config {
            data: config::Data { variable, train_frames: self.train_frames, ..config::Data::default() },
            ..Config::default()
        };
        config.impute.seed = self.seed.unwrap_or(config.impute.seed);
        config.check()?;
        let record = Record::to_train(&self.data, &config.data, heldout.map(|heldout| heldout.mask.clone()))?;
        Ok((record, config))
    }

    /// Says so when the model may have been trained on what it is asked for.
    fn warn_of_overlap(&self, heldout: &HeldOut, record: &Record, config: &Config) {
        let Some(start) = heldout.starts.iter().find(|start| **start < record.train.end) else { return };
        let same = |a: &Path, b: &Path| {
            std::fs::canonicalize(a).ok().is_some_and(|a| std::fs::canonicalize(b).ok() == Some(a))
        };
        let withheld = config.data.heldout.as_deref().zip(self.heldout.as_deref()).is_some_and(|(a, b)| same(a, b));
        if !withheld {
            eprintln!(
                "the test window from frame {start} on overlaps the {} training frames: its scores flatter, unless the \
                 training withheld these cells (--heldout)",
                record.train.end
            );
        }
    }
}

fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Input(sentence) => Error::Input(format!("{}: {sentence}", path.display())),
        other => other,
    }
}

fn expect_same_sea(path: &Path, heldout: &HeldOut, trained: &Trained) -> Result<()> {
    let (expected, found) = (&trained.place.mask, &heldout.mask);
    if expected == found {
        return Ok(());
    }
    Err(Error::Input(format!(
        "{}: the weights were trained on {} sea pixels of {} x {}, the evaluation has {} of {} x {}; \
         train with --heldout to use its sea",
        path.display(),
        expected.len(),
        expected.height,
        expected.width,
        found.len(),
        found.height,
        found.width
    )))
}
