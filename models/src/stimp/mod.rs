//! STIMP: diffusion imputation of gappy satellite fields, and forecasts from what was imputed.

pub mod diffusion;
mod fill;
pub mod forecaster;
mod hsgnn;
pub mod options;
pub mod region;
pub mod sampler;
pub mod stddm;
pub mod tiles;
pub mod tlt;
