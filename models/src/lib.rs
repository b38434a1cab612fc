//! STIMP and its baselines, built on the engine.

pub mod baselines;
pub mod metrics;
pub mod stimp;
