//! `isobath evaluate`.

use std::path::PathBuf;

use clap::Args;
use isobath_engine::Device;
use serde_json::json;

use super::report;
use crate::data::heldout::HeldOut;
use crate::record::Record;
use crate::trained::Trained;
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
}

impl Evaluate {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
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
        eprintln!("{}", record.describe());
        if let Some(start) = heldout.starts.iter().find(|start| **start < record.train.end) {
            let frames = record.train.end;
            eprintln!(
                "the test window from frame {start} on overlaps the {frames} training frames: its scores flatter"
            );
        }
        let mut rates: Vec<f64> = heldout.cells.iter().map(|cells| cells.rate).collect();
        rates.dedup();
        let mut rows = Vec::new();
        for rate in self.rate.map_or(rates, |rate| vec![rate]) {
            rows.extend(evaluating::evaluate(&trained, &record, &heldout.at_rate(rate)?)?);
        }
        let scale = imputing::scale_name(record.transform, record.field.units.as_deref());
        if let Some(path) = &self.json {
            let config = &trained.config;
            report::write_json(path, &json!({ "scale": scale, "rows": rows, "step": trained.step, "config": config }))?;
        }
        println!("{}", evaluating::table(&rows, &scale));
        Ok(())
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
