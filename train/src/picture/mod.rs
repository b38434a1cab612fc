//! Pictures for reports: maps of gridded fields and curves, written as PNG files.
//!
//! Drawn with `tiny-skia` and one embedded font, so that a picture needs no system library or font and comes out the
//! same everywhere.

mod canvas;
mod colormap;
mod colour_bar;
mod curve;
mod dates;
mod font;
pub(crate) mod grid;
mod map;
mod ticks;

pub use colormap::{Colormap, MISSING, Scale};
pub use curve::{Axis, Chart, Mark, chart};
pub use map::{Panel, maps};

use std::io::{Error, ErrorKind};

/// Width of every picture in pixels, unless a narrow map needs less.
pub const WIDTH: u32 = 1200;

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
