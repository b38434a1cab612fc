//! `isobath train`.

use clap::{Args, Subcommand};
use isobath_engine::Device;

use crate::Result;

pub(super) mod forecaster;
pub(super) mod stddm;

/// Train a model on a NetCDF file
#[derive(Args)]
pub(super) struct Train {
    #[command(subcommand)]
    model: Model,
}

#[derive(Subcommand)]
enum Model {
    Stddm(Box<stddm::Stddm>),
    Forecaster(Box<forecaster::Forecaster>),
}

impl Train {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        match &self.model {
            Model::Stddm(stddm) => stddm.run(device),
            Model::Forecaster(forecaster) => forecaster.run(device),
        }
    }
}

/// Sets a field to an option that was given.
pub(super) fn put<T: Clone>(field: &mut T, option: &Option<T>) {
    if let Some(value) = option {
        *field = value.clone();
    }
}
