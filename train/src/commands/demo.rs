//! `isobath demo`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use isobath_engine::Device;
use isobath_models::stimp::options::Options;
use serde_json::json;

use super::{history, make_folder, report};
use crate::config::{self, Config};
use crate::data::clouds::Clouds;
use crate::data::netcdf::{self, Field};
use crate::data::nodes::{MISSING_THRESHOLD, SeaMask, Series, Transform};
use crate::evaluating::{Baselines, Estimate, Row, score, table};
use crate::imputing::{self, Filled};
use crate::picture::{self, Axis, Chart, Colormap, Mark, Panel, Scale};
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::{Error, Result, training};

/// The embedded sample, with its provenance in `data/README.md`.
const SAMPLE: &[u8] = include_bytes!("../../data/ostia_pacific_monthly.nc");
const VARIABLE: &str = "surface_temperature";
const CLOUDED: f64 = 0.5;

/// Train on the embedded sample, fill its gaps, and score the result: three minutes, no network
#[derive(Args)]
#[command(after_help = "Example:\n  isobath demo -o isobath-demo")]
pub(super) struct Demo {
    /// Folder of the results
    #[arg(short, long, value_name = "DIR", default_value = "isobath-demo")]
    out: PathBuf,
    /// Passes over the training windows
    #[arg(long, value_name = "N", default_value_t = 60)]
    epochs: usize,
    /// Samples of every missing cell
    #[arg(long, value_name = "N", default_value_t = 8)]
    samples: usize,
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
        let config = self.configuration();
        config.check()?;
        make_folder(&self.out)?;
        let scene = Scene::new(&config)?;
        println!(
            "Monthly sea-surface temperature of the equatorial Pacific (OSTIA, Met Office).\n\
             Drifting clouds are drawn over it: {:.0} % of the sea cells are hidden from the model.\n",
            100.0 * share(&scene.hidden)
        );
        eprintln!("{}", scene.record.describe());
        let mut trained = Trained::new(device, config, scene.record.place.clone())?;
        trained.config.write(&self.out.join("config.toml"))?;
        let steps = training::train(&mut trained, &scene.record, &self.out)?;
        report::loss_curve(&self.out.join("loss.png"), &steps, "Training the demo model")?;
        let observed = &scene.record.series.observed;
        let start = Instant::now();
        let samples = imputing::sample(&trained, &scene.record.series, observed)?;
        let model = Estimate::of_samples(&samples, self.samples, start.elapsed().as_secs_f64());
        let rows = scene.score(model)?;
        let coverage = rows[0].interval_90.map(|interval| interval.coverage);
        let filled = Filled::new(&scene.record, observed, samples, self.samples);
        let source = "STDDM (STIMP) on OSTIA monthly means under synthetic clouds".to_owned();
        filled.output(&scene.record, source, history()).write(&self.out.join("imputed.nc"))?;
        scene.draw_maps(&filled, &self.out.join("maps.png"))?;
        scene.draw_series(&filled, &self.out.join("series.png"))?;
        let scale = imputing::scale_name(Transform::Identity, scene.record.field.units.as_deref());
        let metrics = json!({ "scale": scale, "rows": rows, "inside_5_to_95_percent": coverage });
        report::write_json(&self.out.join("metrics.json"), &metrics)?;
        self.conclude(&rows, coverage.unwrap_or(f64::NAN), &scale);
        Ok(())
    }

    fn configuration(&self) -> Config {
        Config {
            data: config::Data {
                variable: VARIABLE.into(),
                transform: Some(Transform::Identity),
                missing_threshold: MISSING_THRESHOLD,
                train_frames: None,
                heldout: None,
            },
            model: Options { channels: 16, ..Options::default() },
            train: config::Train {
                window: 27,
                // Clouds hide whole areas, so areas are what the model must learn to fill.
                hiding: config::Hiding::Transplanted,
                batch: 4,
                epochs: self.epochs,
                lr: 3e-3,
                ..config::Train::default()
            },
            impute: config::Impute { samples: self.samples, ..config::Impute::default() },
        }
    }

    fn conclude(&self, rows: &[Row], coverage: f64, scale: &str) {
        println!("On the hidden cells, against the truth:\n\n{}\n", table(rows, scale));
        let best = rows[1..].iter().map(|row| row.scores.mae).fold(f64::INFINITY, f64::min);
        let mae = rows[0].scores.mae;
        println!(
            "The model's mean error is {mae:.3} {scale}, that of the best filling without training {best:.3} {scale}.\n\
             {:.0} % of the hidden truth lies between its 5 % and 95 % quantiles: as published, the samples of this model\n\
             agree far more with each other than with the truth, so their spread is no error bar.\n",
            100.0 * coverage
        );
        let files = [
            ("imputed.nc", "the filled field: median, mean, spread, quantiles, origin of each cell"),
            ("maps.png", "one month: clouded, filled, truth, spread"),
            ("series.png", "one pixel through the years"),
            ("loss.png", "how the training went"),
            ("metrics.json", "the table above"),
            ("config.toml", "the settings"),
            (trained::FILE, "the weights"),
        ];
        println!("In {}:", self.out.display());
        for (name, what) in files {
            println!("  {name:<18} {what}");
        }
    }
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
        score(record, share(&self.hidden), estimates, &self.truth.values, &self.hidden)
    }

    /// The month whose cloudiness is nearest to the mean.
    fn typical_frame(&self) -> usize {
        let cloudiness = |frame: usize| share(&self.hidden[self.record.cells(frame..frame + 1)]);
        let distance = |frame: &usize| (cloudiness(*frame) - CLOUDED).abs();
        (0..self.truth.frames).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    }

    fn draw_maps(&self, filled: &Filled, path: &Path) -> Result<()> {
        let (field, mask) = (&self.record.field, &self.record.place.mask);
        let frame = self.typical_frame();
        let pixels = frame * mask.sea.len()..(frame + 1) * mask.sea.len();
        let truth = mask.scatter(&self.truth.values[self.record.cells(frame..frame + 1)], f32::NAN);
        let land: Vec<bool> = mask.sea.iter().map(|sea| !sea).collect();
        let known = truth.iter().map(|v| f64::from(*v)).filter(|v| v.is_finite());
        let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let scale =
            |low, high, colormap, label: &str| Scale { low, high, logarithmic: false, colormap, label: label.into() };
        let temperature = || scale(low.floor(), high.ceil(), Colormap::Thermal, "sea-surface temperature, K");
        let widest = filled.std[pixels.clone()].iter().filter(|v| v.is_finite()).fold(0.0f32, |a, b| a.max(*b));
        let spread = scale(0.0, f64::from(widest).max(1e-3), Colormap::Viridis, "standard deviation of the samples, K");
        let panel = |title, values, scale| Panel { title, values, land: &land, scale };
        let panels = [
            panel("What the clouds leave", &field.values[pixels.clone()], temperature()),
            panel("Filled: median of the samples", &filled.median[pixels.clone()], temperature()),
            panel("Truth", &truth, temperature()),
            panel("Spread of the samples", &filled.std[pixels], spread),
        ];
        let heading = format!("Equatorial Pacific, {}", field.time.dates[frame]);
        report::draw(path, picture::maps(path, &panels, 1, &field.latitude, &field.longitude, &heading))
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

    fn draw_series(&self, filled: &Filled, path: &Path) -> Result<()> {
        let (field, mask) = (&self.record.field, &self.record.place.mask);
        let (node, nodes) = (self.typical_node(), self.truth.nodes);
        let pixel = mask.nodes[node];
        let at = |values: &[f32]| {
            values.iter().skip(pixel).step_by(mask.sea.len()).map(|v| f64::from(*v)).collect::<Vec<_>>()
        };
        let year = |date: &crate::data::time::Date| f64::from(date.year) + f64::from(date.day_of_year) / 365.25;
        let x: Vec<f64> = field.time.dates.iter().map(year).collect();
        let truth = |hidden: bool| {
            let value = |t: usize| f64::from(self.truth.values[t * nodes + node]);
            let shown = |t: usize| if self.hidden[t * nodes + node] == hidden { value(t) } else { f64::NAN };
            (0..x.len()).map(shown).collect::<Vec<_>>()
        };
        let (observed, hidden) = (truth(false), truth(true));
        let (low, high, median) = (at(&filled.q05), at(&filled.q95), at(&filled.median));
        let marks = [
            Mark::Interval { label: "5 to 95 % of the samples", hue: 5, x: &x, low: &low, high: &high },
            Mark::Line { label: "filled: median", hue: 0, x: &x, y: &median },
            Mark::Points { label: "observed", hue: 6, x: &x, y: &observed },
            Mark::Points { label: "truth under clouds", hue: 1, x: &x, y: &hidden },
        ];
        let (row, column) = (pixel / mask.width, pixel % mask.width);
        let heading = format!("{:.2}° N, {:.2}° E", field.latitude[row], field.longitude[column]);
        let x_axis = Axis { label: "year", logarithmic: false };
        let y_axis = Axis { label: "sea-surface temperature, K", logarithmic: false };
        report::draw(path, picture::chart(path, &Chart { heading: &heading, x: x_axis, y: y_axis, marks: &marks }))
    }
}
