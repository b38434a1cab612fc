//! `isobath evaluate`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use isobath_engine::Device;
use serde_json::json;

use super::report::{self, Pages};
use crate::data::heldout::HeldOut;
use crate::evaluating::{Filling, Row};
use crate::html::Report;
use crate::imputing::Filled;
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::{Error, Result, evaluating, imputing};

/// Score a trained model on held-out cells, beside climatology, linear interpolation and window mean
#[derive(Args)]
#[command(
    after_help = "Example:\n  isobath evaluate --data chl.nc --var chlor_a --weights run --heldout heldout_cells.npz --rate 0.5"
)]
pub(super) struct Evaluate {
    /// NetCDF file on the grid on which the model was trained
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable [default: the one that trained]
    #[arg(long, value_name = "NAME")]
    var: Option<String>,
    /// Weights file, or the folder of a training
    #[arg(long, value_name = "PATH")]
    weights: PathBuf,
    /// .npz archive of `sea`, `starts` and `hidden_RATE_START`
    #[arg(long, value_name = "FILE")]
    heldout: PathBuf,
    /// Only this missing rate [default: every rate of the archive]
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Samples of every missing cell
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Seed of the samples
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
    record: Record,
    /// What the model saw of it, on the grid.
    seen: Vec<f32>,
    filled: Filled,
}

impl Shown {
    fn new(record: &Record, filling: &Filling, samples: usize) -> Self {
        let part = record.part(filling.frames.clone());
        let dates = &part.field.time.dates;
        let name = format!("{:.0} % hidden, {} to {}", 100.0 * filling.hidden.rate, dates[0], dates[dates.len() - 1]);
        let seen = part.seen(filling.visible);
        let filled = Filled::new(&part, filling.visible, filling.samples.to_vec(), samples);
        Shown { name, record: part, seen, filled }
    }
}

impl Evaluate {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let started = Instant::now();
        let heldout = HeldOut::read(&self.heldout)?;
        let mut trained = Trained::load(&self.weights, device)?;
        trained.config.impute.samples = self.samples.unwrap_or(trained.config.impute.samples);
        trained.config.impute.seed = self.seed.unwrap_or(trained.config.impute.seed);
        trained.config.data.variable = self.var.clone().unwrap_or(trained.config.data.variable);
        trained.config.check()?;
        self.expect_same_sea(&heldout, &trained)?;
        let record = Record::at(&self.data, &trained.config.data, trained.place.clone())?;
        if let Some(path) = &self.json {
            report::expect_writable(path)?;
        }
        self.pages.expect_writable()?;
        eprintln!("{}", record.describe());
        if let Some(start) = heldout.starts.iter().find(|start| **start < record.train.end) {
            let frames = record.train.end;
            eprintln!(
                "the test window from frame {start} on overlaps the {frames} training frames: its scores flatter"
            );
        }
        let mut rates: Vec<f64> = heldout.cells.iter().map(|cells| cells.rate).collect();
        rates.dedup();
        let (mut rows, mut shown) = (Vec::new(), Vec::new());
        let mut look = |filling: Filling| {
            if self.pages.wanted() {
                shown.push(Shown::new(&record, &filling, trained.config.impute.samples));
            }
        };
        for rate in self.rate.map_or(rates, |rate| vec![rate]) {
            rows.extend(evaluating::evaluate(&trained, &record, &heldout.at_rate(rate)?, &mut look)?);
        }
        let scale = imputing::scale_name(record.transform, record.field.units.as_deref());
        println!("{}", evaluating::table(&rows, &scale));
        if let Some(path) = &self.json {
            let config = &trained.config;
            report::write_json(path, &json!({ "scale": scale, "rows": rows, "step": trained.step, "config": config }))?;
        }
        if self.pages.wanted() {
            self.pages.write(&self.report(device, &trained, &record, &rows, &shown, started)?)?;
        }
        Ok(())
    }

    fn report<'a>(
        &self,
        device: &Device,
        trained: &Trained,
        record: &'a Record,
        rows: &[Row],
        shown: &'a [Shown],
        started: Instant,
    ) -> Result<Report<'a>> {
        let mut page = Report::of(trained, record)?;
        page.title = format!("{}, held-out cells", page.title);
        page.lead = "Observed cells were hidden from the model and filled; here is how near it came.".into();
        page.views = shown
            .iter()
            .map(|window| {
                let field = &window.record.field;
                window.filled.view(field, window.name.clone(), &window.seen, Some(&field.values))
            })
            .collect();
        let own = rows.iter().filter(|row| row.method == rows[0].method);
        let error = |row: &Row| {
            let label = format!("mean error with {:.0} % hidden", 100.0 * row.rate);
            (label, format!("{:.4} {}", row.scores.mae, page.score_units))
        };
        page.highlights = own.map(error).collect();
        page.scores = report::scores(rows);
        let weights = trained::file(&self.weights);
        page.loss = report::steps_beside(&weights);
        page.facts = report::facts(device, &trained.config, started);
        page.facts.push(("Data".into(), self.data.display().to_string()));
        page.facts.push(("Held-out cells".into(), self.heldout.display().to_string()));
        page.facts.push(("Weights".into(), format!("{}, {} steps", weights.display(), trained.step)));
        Ok(page)
    }

    fn expect_same_sea(&self, heldout: &HeldOut, trained: &Trained) -> Result<()> {
        let (expected, found) = (&trained.place.mask, &heldout.mask);
        if expected == found {
            return Ok(());
        }
        Err(Error::Input(format!(
            "{}: the weights were trained on {} sea pixels of {} x {}, the evaluation has {} of {} x {}; \
             train with --heldout to use its sea",
            self.heldout.display(),
            expected.len(),
            expected.height,
            expected.width,
            found.len(),
            found.height,
            found.width
        )))
    }
}
