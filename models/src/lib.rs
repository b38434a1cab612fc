//! The models of Isobath, built on the engine: STIMP's imputer, the fillings it has to beat, and the metrics.

pub mod baselines;
pub mod metrics;
pub mod stimp;
