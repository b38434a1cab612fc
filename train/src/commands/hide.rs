//! `isobath hide`.

use std::path::PathBuf;

use clap::Args;

use super::report;
use crate::config;
use crate::data::heldout::HeldOut;
use crate::record::Record;
use crate::{Error, Result};

/// Draw observed cells to hide from a model and to score it on
#[derive(Args)]
#[command(after_help = "Example:\n  isobath hide --data chl.nc --var chlor_a --rate 0.5 --seed 1 -o heldout.npz\n  \
    isobath train stddm --data chl.nc --var chlor_a --heldout heldout.npz -o run\n  \
    isobath evaluate --data chl.nc --weights run --heldout heldout.npz\n\n\
    A training with --heldout sees none of the cells of the archive, whatever their rate: where the frames train, write \
    one archive for each rate.")]
pub(super) struct Hide {
    /// NetCDF file with a variable over time, latitude and longitude
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Name of the variable
    #[arg(long, value_name = "NAME")]
    var: String,
    /// Shares of the observed cells to hide, each above 0 and below 1
    #[arg(long, value_name = "RATE", value_delimiter = ',', required = true)]
    rate: Vec<f64>,
    /// Hide nothing in the first N frames, which train and tell what is sea [default: all frames do both]
    #[arg(long, value_name = "N")]
    train_frames: Option<usize>,
    /// Frames of a test window, at most those there are
    #[arg(long, value_name = "N", default_value_t = 46)]
    window: usize,
    /// Seed of the cells
    #[arg(long, value_name = "N", default_value_t = 1234)]
    seed: u64,
    /// .npz archive to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl Hide {
    pub(super) fn run(&self) -> Result<()> {
        let data =
            config::Data { variable: self.var.clone(), train_frames: self.train_frames, ..config::Data::default() };
        let record = Record::to_train(&self.data, &data, None)?;
        report::expect_writable(&self.out)?;
        eprintln!("{}", record.describe());
        let heldout = draw(&record, &self.rate, self.window, self.seed).map_err(|error| match error {
            Error::Input(sentence) => Error::Input(format!("{}: {sentence}", self.data.display())),
            other => other,
        })?;
        heldout.write(&self.out)?;
        let frames = heldout.starts[0]..record.series.frames;
        for &rate in &self.rate {
            let hidden = heldout.hidden(record.series.frames, Some(rate))?;
            let count = hidden.iter().filter(|hidden| **hidden).count();
            println!("rate {rate}: {count} cells hidden in frames {} to {}", frames.start, frames.end - 1);
        }
        println!("{} windows of {} frames in {}", heldout.starts.len(), heldout.window, self.out.display());
        Ok(())
    }
}

/// Cells to hide in the frames that do not train, or in all where all of them do.
pub(super) fn draw(record: &Record, rates: &[f64], window: usize, seed: u64) -> Result<HeldOut> {
    let (first, end) = (record.train.end, record.series.frames);
    let frames = if first < end { first..end } else { 0..end };
    let window = window.min(frames.len());
    HeldOut::draw(&record.place.mask, &record.series, frames, window, rates, seed)
}
