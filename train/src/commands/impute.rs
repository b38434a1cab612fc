//! `isobath impute`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use isobath_engine::Device;

use super::report::Pages;
use super::{history, report};
use crate::config::{self, Spread};
use crate::data::atomic;
use crate::html::Report;
use crate::imputing::{self, Filled};
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::{Error, Result};

/// Fill the gaps of a NetCDF file with a trained model
#[derive(Args)]
#[command(after_help = "Examples:\n  isobath impute --data chl.nc --var chlor_a --weights run -o imputed.nc\n  \
    isobath impute --data chl.nc --var chlor_a --method optimal-interpolation -o imputed.nc\n  \
    isobath impute --data chl.nc --weights run -o imputed.nc --report report.html --plots pictures\n\n\
    imputed.nc holds the median of the samples under the variable's name, and its _mean, _std, _q05, _q95 and _origin.")]
pub(super) struct Impute {
    /// NetCDF file on the grid on which the model was trained
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable [default: the one that trained]
    #[arg(long, value_name = "NAME")]
    var: Option<String>,
    /// What fills the gaps
    #[arg(long, value_enum, default_value = "stddm")]
    method: Method,
    /// Weights file, or the folder of a training
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// NetCDF file to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Samples of every missing cell
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// What the samples of a cell differ by [default: as the weights were configured]
    #[arg(long, value_name = "SPREAD")]
    spread: Option<Spread>,
    /// Seed of the samples
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the median as a NumPy array [frames, height, width] too, beside the NetCDF file
    #[arg(long)]
    npy: bool,
    #[command(flatten)]
    pages: Pages,
}

/// What fills gaps.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// The trained imputer
    Stddm,
    /// The best linear estimate, with no training: annual cycle and correlations are learnt from the record, or were when the
    /// weights were trained
    OptimalInterpolation,
}

impl Impute {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let started = Instant::now();
        self.expect_method()?;
        let trained = self.weights.as_deref().map(|path| self.trained(path, device)).transpose()?;
        let record = match &trained {
            Some(trained) => Record::at(&self.data, &trained.config.data, trained.place.clone())?,
            None => Record::to_train(&self.data, &self.untrained()?, None)?,
        };
        self.expect_own_output()?;
        report::expect_writable(&self.out)?;
        self.pages.expect_writable()?;
        eprintln!("{}", record.describe());
        let series = &record.series;
        let mut settings = trained.as_ref().map_or(config::Impute::default(), |trained| trained.config.impute.clone());
        self.adjust(&mut settings);
        let model = trained.as_ref().filter(|_| self.method == Method::Stddm);
        let samples = match model {
            Some(model) => imputing::sample(model, series, &series.observed).map_err(|error| match error {
                Error::Input(sentence) => Error::Input(format!("{}: {sentence}", self.data.display())),
                other => other,
            })?,
            None => imputing::interpolate(&record, &settings)?,
        };
        let filled = Filled::new(&record, &series.observed, samples, settings.samples);
        filled.output(&record, self.source(), history()).write(&self.out)?;
        if self.npy {
            let shape = [record.field.frames, record.field.height, record.field.width];
            atomic::write_npy(&self.out.with_extension("npy"), &filled.median, &shape)?;
        }
        if let Some(model) = model {
            model.config.write(&self.out.with_extension("toml"))?;
        }
        if self.pages.wanted() {
            let seen = record.seen(&series.observed);
            let mut page = self.page(model, &record, &filled, &seen)?;
            page.facts.splice(0..0, report::facts(device, started));
            self.pages.write(&page)?;
        }
        let gaps = series.observed.iter().filter(|seen| !**seen).count();
        println!("filled {gaps} of {} sea cells; wrote {}", series.observed.len(), self.out.display());
        Ok(())
    }

    /// An error when the method lacks an option that it needs, or has one that it does not heed.
    fn expect_method(&self) -> Result<()> {
        let what = match (self.method, &self.weights, self.spread) {
            (Method::Stddm, None, _) => {
                "--weights: expected weights of `isobath train stddm`, found none; --method optimal-interpolation needs none"
            }
            (Method::OptimalInterpolation, _, Some(Spread::Diffusion)) => {
                "--spread: expected interpolation for --method optimal-interpolation, found diffusion"
            }
            _ => return Ok(()),
        };
        Err(Error::Input(what.into()))
    }

    /// The imputer, with the settings of the command line.
    fn trained(&self, weights: &Path, device: &Device) -> Result<Trained> {
        let mut trained = Trained::load(weights, device)?;
        self.adjust(&mut trained.config.impute);
        trained.config.data.variable = self.var.clone().unwrap_or(trained.config.data.variable);
        trained.config.check()?;
        Ok(trained)
    }

    fn adjust(&self, settings: &mut config::Impute) {
        settings.samples = self.samples.unwrap_or(settings.samples);
        settings.spread = self.spread.unwrap_or(settings.spread);
        settings.seed = self.seed.unwrap_or(settings.seed);
    }

    /// What to read where there are no weights.
    fn untrained(&self) -> Result<config::Data> {
        let Some(variable) = self.var.clone() else {
            let what = "--var: expected the name of a variable where there are no --weights, found none";
            return Err(Error::Input(what.into()));
        };
        if self.samples == Some(0) {
            return Err(Error::Input("--samples: expected at least 1, found 0".into()));
        }
        Ok(config::Data { variable, ..config::Data::default() })
    }

    /// What filled the gaps, for the file.
    fn source(&self) -> String {
        let weights = self.weights.as_deref().map(|path| trained::file(path).display().to_string());
        match (self.method, weights) {
            (Method::Stddm, weights) => format!("STDDM (STIMP), weights {}", weights.unwrap_or_default()),
            (Method::OptimalInterpolation, None) => "optimal interpolation, learnt from this record".into(),
            (Method::OptimalInterpolation, Some(weights)) => {
                format!("optimal interpolation, learnt from the training frames of {weights}")
            }
        }
    }

    /// What the report says; `seen` is the observed field.
    fn page<'a>(
        &self,
        model: Option<&Trained>,
        record: &'a Record,
        filled: &'a Filled,
        seen: &'a [f32],
    ) -> Result<Report<'a>> {
        let mut page = Report::of(record);
        if let (Some(model), Some(weights)) = (model, &self.weights) {
            page = page.with_model(model)?;
            page.loss = vec![report::curve("imputer", &trained::file(weights))];
            page.facts = report::model_facts(model);
        }
        let (dates, observed) = (&record.field.time.dates, &record.series.observed);
        let gaps = observed.iter().filter(|seen| !**seen).count();
        page.title = format!("{}, gaps filled", page.title);
        page.lead = format!("{} to {}, {} frames.", dates[0], dates[dates.len() - 1], dates.len());
        page.highlights = vec![
            ("cells filled".into(), gaps.to_string()),
            ("of all sea cells".into(), format!("{:.1} %", 100.0 * gaps as f64 / observed.len() as f64)),
            ("sea pixels".into(), record.series.nodes.to_string()),
        ];
        page.views = vec![filled.view(&record.field, String::new(), seen, None)];
        page.facts.push(("Data".into(), self.data.display().to_string()));
        page.facts.push(("Filled by".into(), self.source()));
        Ok(page)
    }

    /// Refuses a name that would put the result, or what is written beside it, in the place of something else.
    fn expect_own_output(&self) -> Result<()> {
        let out = self.out.display();
        if ["toml", "npy"].iter().any(|other| self.out.extension().is_some_and(|own| own == *other)) {
            return Err(Error::Input(format!("{out}: expected the name of a NetCDF file, such as imputed.nc")));
        }
        let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        let weights = self.weights.as_deref().map(trained::file);
        if same(&self.out, &self.data) || weights.is_some_and(|weights| same(&self.out, &weights)) {
            return Err(Error::Input(format!("{out}: expected another file to write than those that are read")));
        }
        Ok(())
    }
}
