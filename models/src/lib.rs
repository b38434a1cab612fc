//! The models of Isobath, built on the engine: STIMP's imputer, the estimates it has to beat, Rubin's rules for several
//! imputed data sets, and the metrics.

pub mod baselines;
pub mod metrics;
pub mod rubin;
pub mod stimp;
mod student_t;
