//! Data in and out, training loops, reports and the isobath command.

pub mod commands;
pub mod config;
pub mod data;
pub mod error;
pub mod evaluating;
pub mod forecasting;
pub mod html;
pub mod imputing;
pub mod interrupt;
pub mod picture;
pub mod progress;
pub mod record;
pub mod simulation;
pub mod trained;
pub mod training;
pub mod verify;

pub use error::{Error, Result};
