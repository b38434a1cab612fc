//! Results on their way to disk: curves and tables.

use std::io::Write;
use std::path::Path;

use crate::data::atomic;
use crate::picture::{self, Axis, Chart, Mark};
use crate::training::Step;
use crate::{Error, Result};

/// Draws the loss of every step and its running mean; without a loss above 0 there is nothing to draw.
pub(super) fn loss_curve(path: &Path, steps: &[Step], heading: &str) -> Result<()> {
    let x: Vec<f64> = steps.iter().map(|step| step.step as f64).collect();
    let y: Vec<f64> = steps.iter().map(|step| step.loss).collect();
    if !y.iter().any(|loss| *loss > 0.0) {
        // Pixels that never change are filled exactly; a logarithmic axis has no place for that.
        return Ok(());
    }
    // Loss varies with the masks and diffusion steps of a batch; its trend shows in a mean.
    let width = (steps.len() / 40).max(1);
    let mean = |end: usize| {
        let part = &y[(end + 1).saturating_sub(width)..=end];
        part.iter().sum::<f64>() / part.len() as f64
    };
    let smooth: Vec<f64> = (0..y.len()).map(mean).collect();
    let marks = [
        Mark::Line { label: "a step", hue: 5, x: &x, y: &y },
        Mark::Line { label: "running mean", hue: 0, x: &x, y: &smooth },
    ];
    let x_axis = Axis { label: "step", logarithmic: false };
    let y_axis = Axis { label: "mean square error on hidden cells", logarithmic: true };
    draw(path, picture::chart(path, &Chart { heading, x: x_axis, y: y_axis, marks: &marks }))
}

/// The result of drawing `path`, as an error of this program.
pub(super) fn draw(path: &Path, result: std::io::Result<()>) -> Result<()> {
    result.map_err(|error| Error::file(path, error))
}

/// Writes a value as indented JSON.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    atomic::write(path, |file| writeln!(file, "{value:#}"))
}

/// An error, before hours of work, when `path` could not be written after them.
pub(super) fn expect_writable(path: &Path) -> Result<()> {
    atomic::expect_replaceable(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).map(|_| ()).map_err(|error| Error::file(folder, error.kind().into()))
}
