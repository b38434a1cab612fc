//! The models of Isobath, built on the engine: STIMP's imputer.

pub mod stimp;
