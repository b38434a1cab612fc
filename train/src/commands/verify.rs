//! `isobath verify`: parity with numbers of a published implementation.

use crate::verify;
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use isobath_engine::Device;
use std::path::PathBuf;

/// Recomputes a fixture's outputs, loss and gradients, and a sampler's chain and prints the error of each.
#[derive(Args)]
#[command(after_help = "Example: isobath verify stddm.safetensors --model stddm")]
pub(super) struct Verify {
    /// A safetensors file with in/*, param/*, out/* and grad/* arrays.
    file: PathBuf,
    /// The model that the file's numbers come from.
    #[arg(long, value_enum)]
    model: Model,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// STIMP's diffusion imputer.
    Stddm,
    /// STIMP's forecaster.
    Forecaster,
}

impl Verify {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        let rows = match self.model {
            Model::Stddm => verify::stddm(&self.file, device)?,
            Model::Forecaster => verify::forecaster(&self.file, device)?,
        };
        println!("{:<60} {:>10} {:>8}", "array", "error", "limit");
        for row in &rows {
            let verdict = if row.ok() { "ok" } else { "FAILED" };
            println!("{:<60} {:>10.2e} {:>8.0e}  {verdict}", row.name, row.error, row.limit);
        }
        let failed = rows.iter().filter(|row| !row.ok()).count();
        if failed > 0 {
            return Err(Error::Parity { file: self.file.clone(), failed, rows: rows.len() });
        }
        println!("all {} arrays agree", rows.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::verify::Row;

    #[test]
    fn an_error_that_is_no_number_fails() {
        let row = |error| Row { name: "out/loss".into(), error, limit: 1e-5 };
        assert!(row(9e-6).ok() && !row(1.1e-5).ok() && !row(f64::NAN).ok());
    }
}
