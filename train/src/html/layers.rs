//! Fields as text: the sea pixels of every kept frame as 16-bit numbers in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::{Report, View};
use crate::data::nodes::SeaMask;
use crate::picture::grid::{Cells, unwrapped};
use crate::record::Place;
use crate::{Error, Result};

/// The code of a cell without a value.
const MISSING: u16 = u16::MAX;

/// A grid with north up and west left, whichever way the data run.
#[derive(Serialize)]
pub(super) struct Grid {
    height: usize,
    width: usize,
    /// Boundaries of the rows, from north to south.
    latitude: Vec<f64>,
    /// Boundaries of the columns, from west to east.
    longitude: Vec<f64>,
    /// One bit a pixel, row by row.
    sea: String,
    /// Pixel in the data of every sea pixel, in the order in which they are written.
    #[serde(skip)]
    pub(super) pixels: Vec<usize>,
}

impl Grid {
    pub(super) fn new(place: &Place) -> Result<Self> {
        let axis = |name, centres| Cells::new(name, centres).map_err(|error| Error::Input(error.to_string()));
        let rows = axis("latitude", place.latitude.clone())?;
        let columns = axis("longitude", unwrapped(&place.longitude))?;
        let SeaMask { height, width, ref sea, .. } = place.mask;
        let order: Vec<usize> = (0..height)
            .rev()
            .flat_map(|row| (0..width).map(move |column| (row, column)))
            .map(|(row, column)| rows.index(row) * width + columns.index(column))
            .collect();
        let latitude = rows.edges().iter().rev().copied().collect();
        let bits = bits(order.iter().map(|pixel| sea[*pixel]));
        let pixels = order.into_iter().filter(|pixel| sea[*pixel]).collect();
        Ok(Grid { height, width, latitude, longitude: columns.edges().to_vec(), sea: bits, pixels })
    }

    /// The sea pixels of every `stride`-th of the frames of `field`, in order.
    pub(super) fn cells<'a>(&'a self, field: &'a [f32], stride: usize) -> impl Iterator<Item = f32> + 'a {
        let frames = field.chunks(self.height * self.width).step_by(stride);
        frames.flat_map(|frame| self.pixels.iter().map(|pixel| frame[*pixel]))
    }
}

/// A field: `low + code / 65534 (high - low)`, of the logarithm if `logarithmic`; 65535 is missing.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Layer {
    low: f64,
    high: f64,
    logarithmic: bool,
    codes: String,
}

impl Layer {
    pub(super) fn new(values: &[f32], logarithmic: bool) -> Self {
        let place = |value: f32| if logarithmic { f64::from(value).ln() } else { f64::from(value) };
        let finite = || values.iter().map(|value| place(*value)).filter(|value| value.is_finite());
        let low = finite().fold(f64::INFINITY, f64::min);
        let high = finite().fold(f64::NEG_INFINITY, f64::max);
        let range = if high > low { high - low } else { 1.0 };
        let low = if low.is_finite() { low } else { 0.0 };
        let code = |value: &f32| match place(*value) {
            // The logarithm of zero.
            f64::NEG_INFINITY => 0,
            value if value.is_finite() => ((value - low) / range * f64::from(MISSING - 1)).round() as u16,
            _ => MISSING,
        };
        let bytes: Vec<u8> = values.iter().flat_map(|value| code(value).to_le_bytes()).collect();
        Layer { low, high: low + range, logarithmic, codes: STANDARD.encode(bytes) }
    }
}

/// Truth values as base64, the first in the lowest bit.
pub(super) fn bits(values: impl Iterator<Item = bool>) -> String {
    let mut bytes = Vec::new();
    for (i, value) in values.enumerate() {
        if i % 8 == 0 {
            bytes.push(0u8);
        }
        bytes[i / 8] |= u8::from(value) << (i % 8);
    }
    STANDARD.encode(bytes)
}

/// The distance of the frames to keep for a page of `largest` bytes.
pub(super) fn stride(report: &Report, largest: usize) -> usize {
    let bytes: f64 = report.views.iter().map(|view| size(view, &report.place.mask)).sum();
    (bytes / largest as f64).ceil().max(1.0) as usize
}

/// About how many bytes a view takes.
fn size(view: &View, mask: &SeaMask) -> f64 {
    let frames = view.observed.chunks(mask.sea.len());
    let (mut cells, mut hidden) = (0, 0);
    for frame in frames {
        cells += mask.nodes.len();
        hidden += mask.nodes.iter().filter(|pixel| frame[**pixel].is_nan()).count();
    }
    let interval = view.interval.is_some();
    let layers = [view.truth.is_some(), view.spread.is_some(), view.deviation.is_some(), interval, interval];
    let layers = layers.into_iter().filter(|there| *there).count();
    // Base64 takes four bytes for three.
    4.0 / 3.0 * (cells as f64 / 8.0 + 2.0 * cells as f64 + 2.0 * (layers * hidden) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(layer: &Layer) -> Vec<f64> {
        let bytes = STANDARD.decode(&layer.codes).expect("base64");
        let value = |code: u16| match code {
            MISSING => f64::NAN,
            code => layer.low + f64::from(code) / 65534.0 * (layer.high - layer.low),
        };
        let codes = bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        codes.map(value).map(|value| if layer.logarithmic { value.exp() } else { value }).collect()
    }

    #[test]
    fn codes_keep_five_digits_of_a_range() {
        let values = [271.35f32, f32::NAN, 300.0, 305.2];
        let found = decoded(&Layer::new(&values, false));
        assert!(found[1].is_nan());
        for (value, found) in values.iter().zip(&found).filter(|(value, _)| !value.is_nan()) {
            assert!((f64::from(*value) - found).abs() < 34.0 / 65534.0, "{value} became {found}");
        }
        let found = decoded(&Layer::new(&[0.01, 100.0, 0.0, -1.0], true));
        assert!((found[0] - 0.01).abs() < 1e-6 && (found[1] - 100.0).abs() < 1e-2, "{found:?}");
        assert!((found[2] - 0.01).abs() < 1e-6 && found[3].is_nan(), "{found:?}");
    }

    #[test]
    fn a_layer_without_values_or_range_is_finite() {
        assert!(decoded(&Layer::new(&[f32::NAN; 3], true)).iter().all(|value| value.is_nan()));
        assert_eq!(decoded(&Layer::new(&[4.5; 2], false)), [4.5; 2]);
    }

    #[test]
    fn bits_start_low() {
        let bytes = STANDARD.decode(bits((0..10).map(|i| i == 1 || i == 8))).expect("base64");
        assert_eq!(bytes, [0b10, 0b1]);
    }
}
