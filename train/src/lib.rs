//! Data in and out, training loops, reports and the isobath command.

pub mod picture;
