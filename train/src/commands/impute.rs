//! `isobath impute`.

use std::path::{Path, PathBuf};

use clap::Args;
use isobath_engine::Device;

use super::{history, report};
use crate::data::atomic;
use crate::imputing::{self, Filled};
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::{Error, Result};

/// Fill the gaps of a NetCDF file with a trained model
#[derive(Args)]
#[command(after_help = "Example:\n  isobath impute --data chl.nc --var chlor_a --weights run -o imputed.nc\n\n\
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
    /// Seed of the samples
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the median as a NumPy array [frames, height, width] too, beside the NetCDF file
    #[arg(long)]
    npy: bool,
}

impl Impute {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let mut trained = Trained::load(&self.weights, device)?;
        trained.config.impute.samples = self.samples.unwrap_or(trained.config.impute.samples);
        trained.config.impute.seed = self.seed.unwrap_or(trained.config.impute.seed);
        trained.config.data.variable = self.var.clone().unwrap_or(trained.config.data.variable);
        trained.config.check()?;
        let record = Record::at(&self.data, &trained.config.data, trained.place.clone())?;
        self.expect_own_output()?;
        report::expect_writable(&self.out)?;
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
        let gaps = series.observed.iter().filter(|seen| !**seen).count();
        println!("filled {gaps} of {} sea cells; wrote {}", series.observed.len(), self.out.display());
        Ok(())
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
