//! Files in, nodes and windows for the models, files out.
//!
//! [`netcdf`] reads a field on a regular grid, [`nodes`] keeps its sea pixels as nodes of a graph,
//! [`rhythm`] finds the step of its time axis, [`windows`] cuts the record in time, [`masks`] and [`clouds`] hide cells, [`heldout`] reads a fixed
//! evaluation, and [`cf_write`] writes results back on the grid.

pub mod atomic;
pub mod cf_write;
pub mod clouds;
pub mod heldout;
pub mod masks;
pub mod netcdf;
pub mod nodes;
pub mod rhythm;
pub mod time;
pub mod windows;
