//! Results on their way to disk: pages, pictures and tables.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use clap::Args;
use isobath_engine::Device;

use super::{history, make_folder};
use crate::data::atomic;
use crate::data::time::TimeAxis;
use crate::evaluating::{Row, STDDM};
use crate::html::{Curve, Report, Score};
use crate::trained::Trained;
use crate::training;
use crate::{Error, Result};

pub(super) use crate::html::loss_curve;

/// A report that people look at.
#[derive(Args)]
pub(super) struct Pages {
    /// Write a report with maps, time series and scores: one HTML page
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Write the pictures of the report as PNG files
    #[arg(long, value_name = "DIR")]
    pub(super) plots: Option<PathBuf>,
}

impl Pages {
    /// Whether there is something to write.
    pub(super) fn wanted(&self) -> bool {
        self.report.is_some() || self.plots.is_some()
    }

    /// The same, with `report.html` in `folder` where no other report is named.
    pub(super) fn or_in(&self, folder: &Path) -> Pages {
        let report = self.report.clone().unwrap_or_else(|| folder.join("report.html"));
        Pages { report: Some(report), plots: self.plots.clone() }
    }

    /// An error, before hours of work, when it could not be written after them.
    pub(super) fn expect_writable(&self) -> Result<()> {
        if let Some(path) = self.report.as_deref() {
            // Data and weights never have this ending: no slip of the keyboard puts a page in their place.
            if !path.extension().is_some_and(|ending| ending == "html" || ending == "htm") {
                let path = path.display();
                return Err(Error::Input(format!("{path}: expected the name of an HTML page, such as report.html")));
            }
            expect_writable(path)?;
        }
        let Some(folder) = self.plots.as_deref() else { return Ok(()) };
        make_folder(folder)?;
        expect_writable(&folder.join("maps.png"))
    }

    pub(super) fn write(&self, report: &Report) -> Result<()> {
        if let Some(path) = &self.report {
            report.write(path)?;
        }
        self.plots.as_deref().map_or(Ok(()), |folder| report.plots(folder))
    }
}

/// How a result was made: version, command, device and times.
pub(super) fn facts(device: &Device, started: Instant) -> Vec<(String, String)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64().floor());
    let date = TimeAxis::decode(vec![now], "seconds since 1970-01-01", "standard").ok();
    let date = date.map(|axis| format!("{} {:02}:{:02} UTC", axis.dates[0], axis.dates[0].hour, axis.dates[0].minute));
    let seconds = started.elapsed().as_secs();
    let took = if seconds < 60 { format!("{seconds} s") } else { format!("{} min {} s", seconds / 60, seconds % 60) };
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let facts = [
        ("Program", format!("isobath {}", env!("CARGO_PKG_VERSION"))),
        ("Command", history()),
        ("Device", format!("{}, {} threads, {system}", device.description(), rayon::current_num_threads())),
        ("Made", date.unwrap_or_default()),
        ("Took", took),
    ];
    facts.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()
}

/// What the model is and how it was used.
pub(super) fn model_facts(trained: &Trained) -> Vec<(String, String)> {
    let config = &trained.config;
    let facts = [
        ("Model", format!("STDDM (STIMP), {} diffusion steps, trained for {} steps", config.model.steps, trained.step)),
        ("Samples", config.impute.samples.to_string()),
        ("Seeds", format!("{} in training, {} in sampling", config.train.seed, config.impute.seed)),
    ];
    facts.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()
}

/// The training of `name` from the metrics beside a weights file; without steps where they are not known.
pub(super) fn curve(name: &str, weights: &Path) -> Curve {
    let file = std::fs::File::open(weights.with_file_name(training::METRICS)).ok().map(BufReader::new);
    let lines = file.into_iter().flat_map(BufRead::lines);
    Curve { name: name.into(), steps: lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()).collect() }
}

/// The rows of an evaluation for the page.
pub(super) fn scores(rows: &[Row]) -> Vec<Score> {
    let score = |row: &Row| Score {
        group: format!("{:.0} % hidden, {} cells", 100.0 * row.rate, row.scores.cells),
        method: if row.method == STDDM { "STDDM".into() } else { row.method.into() },
        own: row.method == STDDM,
        scores: row.scores,
        interval: row.interval_90,
        seconds: row.seconds,
    };
    rows.iter().map(score).collect()
}

/// The method of least error among those that need no training.
pub(super) fn best_untrained(rows: &[Row]) -> Option<&Row> {
    let others = rows.iter().filter(|row| row.method != STDDM);
    others.min_by(|a, b| a.scores.mae.total_cmp(&b.scores.mae))
}

/// The error at each rate: the model's beside the best without training, or that one alone.
pub(super) fn errors(rows: &[Row], units: &str) -> Vec<(String, String)> {
    let highlight = |rows: &[Row]| {
        let (own, best) = (rows.iter().find(|row| row.method == STDDM), best_untrained(rows));
        let row = own.or(best)?;
        let mut label = format!("mean error with {:.0} % hidden", 100.0 * row.rate);
        match (own, best) {
            (Some(_), Some(best)) => label += &format!("; {}: {:.4}", best.method, best.scores.mae),
            _ => label += &format!(", by {}", row.method),
        }
        Some((label, format!("{:.4} {units}", row.scores.mae)))
    };
    rows.chunk_by(|a, b| a.rate == b.rate).filter_map(highlight).collect()
}

/// Writes a value as indented JSON.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    atomic::write(path, |file| writeln!(file, "{value:#}"))
}

/// An error, before hours of work, when `path` could not be written after them.
pub(super) fn expect_writable(path: &Path) -> Result<()> {
    atomic::expect_replaceable(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).map(|_| ()).map_err(|error| Error::file(folder, error.kind().into()))
}
