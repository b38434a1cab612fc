//! `isobath impute`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use isobath_engine::Device;

use super::report::Pages;
use super::{history, report};
use crate::config::Spread;
use crate::data::atomic;
use crate::html::Report;
use crate::imputing::{self, Filled};
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::{Error, Result};

/// Fill the gaps of a NetCDF file with a trained model
#[derive(Args)]
#[command(after_help = "Examples:\n  isobath impute --data chl.nc --var chlor_a --weights run -o imputed.nc\n  \
    isobath impute --data chl.nc --weights run -o imputed.nc --report report.html --plots pictures\n\n\
    imputed.nc holds the median of the samples under the variable's name, and its _mean, _std, _q05, _q95 and _origin.")]
pub(super) struct Impute {
    /// NetCDF file on the grid on which the model was trained
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable [default: the one that trained]
    #[arg(long, value_name = "NAME")]
    var: Option<String>,
    /// Weights file, or the folder of a training
    #[arg(long, value_name = "PATH")]
    weights: PathBuf,
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

impl Impute {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let started = Instant::now();
        let mut trained = Trained::load(&self.weights, device)?;
        trained.config.impute.samples = self.samples.unwrap_or(trained.config.impute.samples);
        trained.config.impute.spread = self.spread.unwrap_or(trained.config.impute.spread);
        trained.config.impute.seed = self.seed.unwrap_or(trained.config.impute.seed);
        trained.config.data.variable = self.var.clone().unwrap_or(trained.config.data.variable);
        trained.config.check()?;
        let record = Record::at(&self.data, &trained.config.data, trained.place.clone())?;
        self.expect_own_output()?;
        report::expect_writable(&self.out)?;
        self.pages.expect_writable()?;
        eprintln!("{}", record.describe());
        let series = &record.series;
        let samples = imputing::sample(&trained, series, &series.observed).map_err(|error| match error {
            Error::Input(sentence) => Error::Input(format!("{}: {sentence}", self.data.display())),
            other => other,
        })?;
        let filled = Filled::new(&record, &series.observed, samples, trained.config.impute.samples);
        let source = format!("STDDM (STIMP), weights {}", trained::file(&self.weights).display());
        filled.output(&record, source, history()).write(&self.out)?;
        if self.npy {
            let shape = [record.field.frames, record.field.height, record.field.width];
            atomic::write_npy(&self.out.with_extension("npy"), &filled.median, &shape)?;
        }
        trained.config.write(&self.out.with_extension("toml"))?;
        if self.pages.wanted() {
            let seen = record.seen(&series.observed);
            let mut page = self.page(&trained, &record, &filled, &seen)?;
            page.facts.splice(0..0, report::facts(device, started));
            self.pages.write(&page)?;
        }
        let gaps = series.observed.iter().filter(|seen| !**seen).count();
        println!("filled {gaps} of {} sea cells; wrote {}", series.observed.len(), self.out.display());
        Ok(())
    }

    /// What the report says; `seen` is the observed field.
    fn page<'a>(
        &self,
        trained: &Trained,
        record: &'a Record,
        filled: &'a Filled,
        seen: &'a [f32],
    ) -> Result<Report<'a>> {
        let mut page = Report::of(record).with_model(trained)?;
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
        let weights = trained::file(&self.weights);
        page.loss = vec![report::curve("imputer", &weights)];
        page.facts = report::model_facts(trained);
        page.facts.push(("Data".into(), self.data.display().to_string()));
        page.facts.push(("Weights".into(), weights.display().to_string()));
        Ok(page)
    }

    /// Refuses a name that would put the result, or what is written beside it, in the place of something else.
    fn expect_own_output(&self) -> Result<()> {
        let out = self.out.display();
        if ["toml", "npy"].iter().any(|other| self.out.extension().is_some_and(|own| own == *other)) {
            return Err(Error::Input(format!("{out}: expected the name of a NetCDF file, such as imputed.nc")));
        }
        let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        if same(&self.out, &self.data) || same(&self.out, &trained::file(&self.weights)) {
            return Err(Error::Input(format!("{out}: expected another file to write than those that are read")));
        }
        Ok(())
    }
}
