//! Data in and out, training loops, reports and the isobath command.

pub mod data;
pub mod error;

pub use error::{Error, Result};
pub mod picture;
pub mod verify;
