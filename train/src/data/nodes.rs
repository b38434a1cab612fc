//! From a field on a grid to series at the nodes of a graph: transform, sea mask, per-node
//! statistics and the 3 x 3 neighbourhood (STIMP, Methods: data and graph).

use std::ops::Range;

use isobath_engine::graph::Rows;
use isobath_models::baselines::Variability;

use super::netcdf::Field;
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// A pixel is a node when it is missing in less than this fraction of the frames.
pub const MISSING_THRESHOLD: f64 = 0.9;

/// The scale on which a model sees a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// The values as they are.
    #[default]
    Identity,
    /// Base-10 logarithm, for log-normal variables such as chlorophyll-a.
    Log10,
}

impl Transform {
    /// Transforms in place, missing (NaN) staying missing. Returns how many values had no
    /// transform (the logarithm of zero or less) and are missing from now on.
    pub fn apply(self, values: &mut [f32]) -> usize {
        if self == Transform::Identity {
            return 0;
        }
        let mut refused = 0;
        for value in values {
            refused += usize::from(*value <= 0.0);
            *value = if *value > 0.0 { value.log10() } else { f32::NAN };
        }
        refused
    }

    /// Takes transformed values back to the variable's own units, in place.
    pub fn invert(self, values: &mut [f32]) {
        if self == Transform::Log10 {
            values.iter_mut().for_each(|value| *value = 10f32.powf(*value));
        }
    }
}

/// The pixels of a grid that are nodes, numbered in row-major order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeaMask {
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
    /// Whether a pixel is a node, `[height, width]`.
    pub sea: Vec<bool>,
    /// Pixel (row * width + column) of each node, ascending.
    pub nodes: Vec<usize>,
}

impl SeaMask {
    /// A mask given as `[height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] when the mask has another size or no sea.
    pub fn new(sea: Vec<bool>, height: usize, width: usize) -> Result<Self> {
        if sea.len() != height * width {
            return Err(Error::Input(format!("sea mask: expected {height} x {width} pixels, found {}", sea.len())));
        }
        let nodes: Vec<usize> = (0..sea.len()).filter(|&pixel| sea[pixel]).collect();
        if nodes.is_empty() {
            return Err(Error::Input(format!(
                "sea mask: expected at least one sea pixel, found none in {height} x {width}"
            )));
        }
        Ok(SeaMask { height, width, sea, nodes })
    }

    /// The pixels of `field` missing in less than `threshold` of `frames`.
    ///
    /// Every frame counts, also one without any data, as in STIMP: with 0.9 over 220 frames a
    /// pixel needs 23 values or more.
    ///
    /// # Errors
    /// [`Error::Input`] when no pixel qualifies or the frames lie outside the record.
    pub fn observed(field: &Field, frames: Range<usize>, threshold: f64) -> Result<Self> {
        check_frames(&frames, field.frames)?;
        let pixels = field.height * field.width;
        let mut missing = vec![0usize; pixels];
        for frame in field.values[frames.start * pixels..frames.end * pixels].chunks(pixels) {
            for (count, value) in missing.iter_mut().zip(frame) {
                *count += usize::from(value.is_nan());
            }
        }
        let total = frames.len() as f64;
        let sea: Vec<bool> = missing.iter().map(|&n| (n as f64 / total) < threshold).collect();
        if !sea.contains(&true) {
            return Err(Error::Input(format!(
                "variable `{}`: expected pixels missing in less than {threshold} of the frames \
                 {}..{}, found none",
                field.name, frames.start, frames.end
            )));
        }
        SeaMask::new(sea, field.height, field.width)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes; never, for a mask made by this type.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Row and column of each node.
    pub fn places(&self) -> Vec<[u32; 2]> {
        self.nodes.iter().map(|pixel| [pixel / self.width, pixel % self.width].map(|axis| axis as u32)).collect()
    }

    /// Puts node values `[frames, nodes]` on the grid `[frames, height, width]`, `land` elsewhere.
    pub fn scatter<T: Copy>(&self, values: &[T], land: T) -> Vec<T> {
        let pixels = self.sea.len();
        let mut grid = vec![land; values.len() / self.len() * pixels];
        for (frame, row) in grid.chunks_mut(pixels).zip(values.chunks(self.len())) {
            for (&pixel, &value) in self.nodes.iter().zip(row) {
                frame[pixel] = value;
            }
        }
        grid
    }
}

fn check_frames(frames: &Range<usize>, record: usize) -> Result<()> {
    if frames.is_empty() || frames.end > record {
        return Err(Error::Input(format!(
            "frames: expected a range within 0..{record}, found {}..{}",
            frames.start, frames.end
        )));
    }
    Ok(())
}

/// The values of a field at the nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Number of frames.
    pub frames: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// Values `[frames, nodes]`, 0 where missing.
    pub values: Vec<f32>,
    /// Whether a value is there, `[frames, nodes]`.
    pub observed: Vec<bool>,
    /// Time of every frame as a fraction of its year, `[frames]`.
    pub phases: Vec<f32>,
}

impl Series {
    /// Gathers the nodes of `mask` from every frame of `field`.
    ///
    /// # Errors
    /// [`Error::Input`] when the mask has another grid than the field.
    pub fn gather(field: &Field, mask: &SeaMask) -> Result<Self> {
        if (field.height, field.width) != (mask.height, mask.width) {
            return Err(Error::Input(format!(
                "sea mask: expected the grid {} x {} of variable `{}`, found {} x {}",
                field.height, field.width, field.name, mask.height, mask.width
            )));
        }
        let pixels = field.height * field.width;
        let frames = field.values.chunks(pixels);
        let gathered = frames.flat_map(|frame| mask.nodes.iter().map(|&pixel| frame[pixel]));
        let mut values: Vec<f32> = gathered.collect();
        let observed = values.iter().map(|value| !value.is_nan()).collect();
        for value in values.iter_mut().filter(|value| value.is_nan()) {
            *value = 0.0;
        }
        Ok(Series { frames: field.frames, nodes: mask.len(), values, observed, phases: field.time.year_fractions() })
    }

    /// The series over `frames` alone, which must lie within it.
    pub fn part(&self, frames: Range<usize>) -> Series {
        let cells = frames.start * self.nodes..frames.end * self.nodes;
        let (values, observed) = (self.values[cells.clone()].to_vec(), self.observed[cells].to_vec());
        Series { frames: frames.len(), nodes: self.nodes, values, observed, phases: self.phases[frames].to_vec() }
    }
}

/// Statistics of each node over the observed values of some frames, `[nodes]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Mean; 0 without data.
    pub mean: Vec<f32>,
    /// Standard deviation of the population; 1 without data.
    pub std: Vec<f32>,
    /// Annual cycle and how the anomalies of nodes go together.
    pub variability: Variability,
    /// Least value; 0 without data.
    pub low: Vec<f32>,
    /// Greatest value; 0 without data.
    pub high: Vec<f32>,
}

impl Statistics {
    /// Statistics over `frames` of `series`.
    ///
    /// # Errors
    /// [`Error::Input`] when the frames lie outside the record.
    pub fn of(series: &Series, frames: Range<usize>) -> Result<Self> {
        check_frames(&frames, series.frames)?;
        let n = series.nodes;
        let cells = frames.start * n..frames.end * n;
        let phases = &series.phases[frames.clone()];
        let variability = Variability::learn(&series.values[cells.clone()], &series.observed[cells], phases);
        let zeros = || vec![0.0; n];
        let mut statistics = Statistics { mean: zeros(), std: vec![1.0; n], variability, low: zeros(), high: zeros() };
        for node in 0..n {
            let cells = frames.clone().map(|frame| frame * n + node);
            let observed = cells.filter(|&cell| series.observed[cell]);
            let values: Vec<f32> = observed.map(|cell| series.values[cell]).collect();
            if values.is_empty() {
                continue;
            }
            let count = values.len() as f64;
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
            let square = |&v: &f32| (f64::from(v) - mean).powi(2);
            let variance = values.iter().map(square).sum::<f64>() / count;
            statistics.mean[node] = mean as f32;
            statistics.std[node] = variance.sqrt() as f32;
            statistics.low[node] = values.iter().copied().fold(f32::INFINITY, f32::min);
            statistics.high[node] = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        }
        Ok(statistics)
    }
}

/// The graph that joins each node with the sea pixels of the 3 x 3 box around it, itself
/// included: pixels less than 1.2 cells apart in each axis.
pub fn stencil(mask: &SeaMask) -> Rows {
    let mut number = vec![0u32; mask.sea.len()];
    for (node, &pixel) in mask.nodes.iter().enumerate() {
        number[pixel] = node as u32;
    }
    let mut graph = Rows { offsets: vec![0], neighbours: Vec::with_capacity(9 * mask.len()), values: None };
    for &pixel in &mask.nodes {
        let (row, column) = (pixel / mask.width, pixel % mask.width);
        for r in row.saturating_sub(1)..(row + 2).min(mask.height) {
            let columns = column.saturating_sub(1)..(column + 2).min(mask.width);
            let pixels = columns.map(|c| r * mask.width + c);
            graph.neighbours.extend(pixels.filter(|&p| mask.sea[p]).map(|p| number[p]));
        }
        graph.offsets.push(graph.neighbours.len() as u32);
    }
    graph
}
