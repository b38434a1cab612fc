//! `isobath demo`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use isobath_engine::Device;
use isobath_models::stimp::options::Options;
use serde_json::json;

use super::report::Pages;
use super::{history, make_folder, report};
use crate::config::{self, Config};
use crate::data::clouds::Clouds;
use crate::data::netcdf::{self, Field};
use crate::data::nodes::{MISSING_THRESHOLD, SeaMask, Series, Transform};
use crate::evaluating::{Baselines, Estimate, Row, score, table};
use crate::html::{Curve, Report};
use crate::imputing::{self, Filled};
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::{Error, Result, training};

/// The embedded sample, with its provenance in `data/README.md`.
const SAMPLE: &[u8] = include_bytes!("../../data/ostia_pacific_monthly.nc");
const VARIABLE: &str = "surface_temperature";
const CLOUDED: f64 = 0.5;
/// Epochs and samples.
const WHOLE: (usize, usize) = (20, 8);
/// The same where the GPU is software, some 50 times slower than the processor's own kernels.
const SHORT: (usize, usize) = (1, 2);

/// Train on the embedded sample, fill its gaps, score the result and write a report, without network
#[derive(Args)]
#[command(after_help = "Examples:\n  isobath demo\n  isobath demo -o isobath-demo --report demo.html --plots pictures")]
pub(super) struct Demo {
    /// Folder of the results
    #[arg(short, long, value_name = "DIR", default_value = "isobath-demo")]
    out: PathBuf,
    /// Passes over the training windows [default: 20, or 1 on a GPU that is software]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Samples of every missing cell [default: 8, or 2 on a GPU that is software]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    #[command(flatten)]
    pages: Pages,
}

/// The sample as it is and as the drawn clouds leave it.
struct Scene {
    /// Truth at the sea pixels `[frames, nodes]`.
    truth: Series,
    /// What the clouds leave.
    record: Record,
    /// The cells under clouds.
    hidden: Vec<bool>,
}

impl Demo {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let started = Instant::now();
        let (epochs, samples) = if device.is_software_gpu() { SHORT } else { WHOLE };
        let (epochs, samples) = (self.epochs.unwrap_or(epochs), self.samples.unwrap_or(samples));
        let config = configuration(epochs, samples);
        config.check()?;
        make_folder(&self.out)?;
        self.pages.expect_writable()?;
        let scene = Scene::new(&config)?;
        println!(
            "Monthly sea-surface temperature of the equatorial Pacific (OSTIA, Met Office).\n\
             Drifting clouds are drawn over it: {:.0} % of the sea cells are hidden from the model.\n",
            100.0 * share(&scene.hidden)
        );
        if device.is_software_gpu() {
            println!(
                "This GPU is software and slow, so the demo is short: {epochs} of {} epochs, {samples} of {} samples.\n\
                 Its scores say less than those of the whole one (--epochs {0} --samples {1}).\n",
                WHOLE.0, WHOLE.1
            );
        }
        eprintln!("{}", scene.record.describe());
        let mut trained = Trained::new(device, config, scene.record.place.clone())?;
        trained.config.write(&self.out.join("config.toml"))?;
        let steps = training::train(&mut trained, &scene.record, &self.out)?;
        report::loss_curve(&self.out.join("loss.png"), &steps, "Training the demo model")?;
        let observed = &scene.record.series.observed;
        let start = Instant::now();
        let drawn = imputing::sample(&trained, &scene.record.series, observed)?;
        let model = Estimate::of_samples(&drawn, samples, start.elapsed().as_secs_f64());
        let rows = scene.score(model)?;
        let coverage = rows[0].interval_90.map(|interval| interval.coverage);
        let filled = Filled::new(&scene.record, observed, drawn, samples);
        let source = "STDDM (STIMP) on OSTIA monthly means under synthetic clouds".to_owned();
        filled.output(&scene.record, source, history()).write(&self.out.join("imputed.nc"))?;
        let scale = imputing::scale_name(Transform::Identity, scene.record.field.units.as_deref());
        let metrics = json!({ "scale": scale, "rows": rows, "inside_5_to_95_percent": coverage });
        report::write_json(&self.out.join("metrics.json"), &metrics)?;
        let (seen, truth) = scene.fields();
        let mut page = Report::of(&scene.record).with_model(&trained)?;
        page.views = vec![filled.view(&scene.record.field, String::new(), &seen, Some(&truth))];
        let coverage = coverage.unwrap_or(f64::NAN);
        describe(&mut page, &rows, coverage);
        page.loss = vec![Curve { name: "imputer".into(), steps }];
        page.facts = [report::facts(device, started), report::model_facts(&trained)].concat();
        self.draw(&page, &scene)?;
        self.conclude(&rows, coverage, &scale);
        Ok(())
    }

    /// Writes the report, and two of its pictures.
    fn draw(&self, page: &Report, scene: &Scene) -> Result<()> {
        let (view, frame) = (&page.views[0], scene.typical_frame());
        let heading = format!("Equatorial Pacific, {}", view.time.dates[frame]);
        page.map_picture(view, frame, &heading, &self.out.join("maps.png"))?;
        let pixel = scene.record.place.mask.nodes[scene.typical_node()];
        page.series_picture(view, pixel, &self.out.join("series.png"))?;
        if self.pages.report.is_none() {
            page.write(&self.out.join("report.html"))?;
        }
        self.pages.write(page)
    }

    fn conclude(&self, rows: &[Row], coverage: f64, scale: &str) {
        println!("On the hidden cells, against the truth:\n\n{}\n", table(rows, scale));
        let best = report::best_untrained(rows).map_or(f64::NAN, |row| row.scores.mae);
        let mae = rows[0].scores.mae;
        println!(
            "The model's mean error is {mae:.3} {scale}, that of the best filling without training {best:.3} {scale}.\n\
             {:.0} % of the hidden truth lies between the 5 % and 95 % quantiles of its samples, where 90 % should.\n",
            100.0 * coverage
        );
        let report = self.pages.report.clone().unwrap_or_else(|| self.out.join("report.html"));
        println!("Open {} in a browser: maps, time series, scores.\n", report.display());
        let files = [
            ("imputed.nc", "the filled field: median, mean, spread, quantiles, origin of each cell"),
            ("maps.png", "one month: clouded, filled, truth, error, spread"),
            ("series.png", "one pixel through the years"),
            ("loss.png", "how the training went"),
            ("metrics.json", "the table above"),
            (training::METRICS, "the loss of every step"),
            ("config.toml", "the settings"),
            (trained::FILE, "the weights"),
        ];
        println!("In {}:", self.out.display());
        for (name, what) in files {
            println!("  {name:<18} {what}");
        }
    }
}

/// The settings of the demo.
fn configuration(epochs: usize, samples: usize) -> Config {
    Config {
        data: config::Data {
            variable: VARIABLE.into(),
            transform: Some(Transform::Identity),
            missing_threshold: MISSING_THRESHOLD,
            train_frames: None,
            heldout: None,
        },
        model: Options { channels: 16, ..Options::interpolating() },
        train: config::Train {
            window: 27,
            // Clouds hide whole areas, so areas are what the model must learn to fill.
            hiding: config::Hiding::Transplanted,
            batch: 4,
            epochs,
            lr: 3e-3,
            ..config::Train::default()
        },
        impute: config::Impute { samples, spread: config::Spread::Interpolation, ..config::Impute::default() },
    }
}

/// The words and scores of the report.
fn describe(page: &mut Report, rows: &[Row], coverage: f64) {
    page.title = "Sea-surface temperature under clouds".into();
    page.lead =
        "Monthly means of the equatorial Pacific (OSTIA, Met Office) with drifting clouds drawn over them. A model \
                 trained on what the clouds leave fills in what they hide, and the truth is there to compare."
            .into();
    page.quantity.name = "sea-surface temperature".into();
    let units = page.quantity.units.clone();
    page.highlights = vec![
        ("of the sea cells hidden".into(), format!("{:.0} %", 100.0 * rows[0].rate)),
        ("mean error of the model".into(), format!("{:.3} {units}", rows[0].scores.mae)),
    ];
    if let Some(best) = report::best_untrained(rows) {
        let label = format!("of {}, the best filling without training", best.method);
        page.highlights.push((label, format!("{:.3} {units}", best.scores.mae)));
    }
    let inside = "of the hidden truth inside the model's 5 to 95 % interval";
    page.highlights.push((inside.into(), format!("{:.1} %", 100.0 * coverage)));
    page.scores = report::scores(rows);
}

fn share(cells: &[bool]) -> f64 {
    cells.iter().filter(|cell| **cell).count() as f64 / cells.len() as f64
}

/// Reads the embedded sample; the reader takes files.
fn sample() -> Result<Field> {
    let failed = |error| Error::file(&std::env::temp_dir(), error);
    let mut file = tempfile::Builder::new().suffix(".nc").tempfile().map_err(failed)?;
    file.write_all(SAMPLE).map_err(failed)?;
    netcdf::read(file.path(), VARIABLE)
}

impl Scene {
    fn new(config: &Config) -> Result<Self> {
        let mut field = sample()?;
        let mask = SeaMask::observed(&field, 0..field.frames, MISSING_THRESHOLD)?;
        let truth = Series::gather(&field, &mask)?;
        let clouds = Clouds { fraction: CLOUDED, ..Clouds::default() };
        let hidden = clouds.hide(&mask, field.frames, config.train.seed)?;
        for (value, hidden) in field.values.iter_mut().zip(mask.scatter(&hidden, false)) {
            *value = if hidden { f32::NAN } else { *value };
        }
        let record = Record::of_field(field, Transform::Identity, &config.data, Some(mask))?;
        Ok(Scene { truth, record, hidden })
    }

    /// Scores of the model and the baselines on the hidden cells.
    fn score(&self, model: Estimate) -> Result<Vec<Row>> {
        let (record, observed) = (&self.record, &self.record.series.observed);
        let mut estimates = vec![model];
        estimates.extend(Baselines::new(record, observed).fill(0..record.series.frames, observed));
        score(record, share(&self.hidden), &estimates, &self.truth.values, &self.hidden)
    }

    /// What the clouds leave and the truth, on the grid.
    fn fields(&self) -> (Vec<f32>, Vec<f32>) {
        let Record { place, series, .. } = &self.record;
        (self.record.seen(&series.observed), place.mask.scatter(&self.truth.values, f32::NAN))
    }

    /// The month whose cloudiness is nearest to the mean.
    fn typical_frame(&self) -> usize {
        let cloudiness = |frame: usize| share(&self.hidden[self.record.cells(frame..frame + 1)]);
        let distance = |frame: &usize| (cloudiness(*frame) - CLOUDED).abs();
        (0..self.truth.frames).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    }

    /// The pixel of the largest spread in time among those hidden about half of the time.
    fn typical_node(&self) -> usize {
        let (frames, nodes) = (self.truth.frames, self.truth.nodes);
        let cloudiness =
            |node: usize| (0..frames).filter(|t| self.hidden[t * nodes + node]).count() as f64 / frames as f64;
        let std = &self.record.place.statistics.std;
        let half = (0..nodes).filter(|node| (cloudiness(*node) - CLOUDED).abs() < 0.1);
        half.max_by(|a, b| std[*a].total_cmp(&std[*b])).unwrap_or(0)
    }
}
