//! STIMP: diffusion imputation of gappy satellite fields.

pub mod diffusion;
pub mod options;
pub mod region;
pub mod sampler;
pub mod stddm;
pub mod tlt;
