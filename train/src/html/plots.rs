//! The pictures of a report as PNG files.

use std::path::Path;

use super::data::Ranges;
use super::layers::Grid;
use super::pixels::typical;
use super::text::capital;
use super::{Curve, Report, View};
use crate::picture::{self, Axis, Chart, Colormap, Mark, Panel, Scale};
use crate::training::Step;
use crate::{Error, Result};

/// Frames of a view of which maps are written.
const FRAMES: usize = 6;

impl Report<'_> {
    /// Writes into `folder`, which must be there: maps of a few frames spread over each view, series at the pixels that
    /// the page offers, the embedding and the loss.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be written.
    pub fn plots(&self, folder: &Path) -> Result<()> {
        let ranges = Ranges::of(self, &Grid::new(self.place)?, 1);
        for view in &self.views {
            let name = if self.views.len() > 1 { format!("{}-", file_name(&view.name)) } else { String::new() };
            let frames = view.time.dates.len();
            for i in 0..frames.min(FRAMES) {
                let frame = i * (frames - 1) / (FRAMES.min(frames) - 1).max(1);
                let date = view.time.dates[frame].to_string();
                let path = folder.join(format!("maps-{name}{date}-frame-{frame}.png"));
                self.draw_maps(view, frame, &ranges, &format!("{}, {date}", self.title), &path)?;
            }
            for pixel in typical(self) {
                let path = folder.join(format!("series-{name}{}.png", file_name(pixel.why)));
                self.series_picture(view, pixel.pixel, &path)?;
            }
        }
        if !self.embedding.is_empty() {
            self.embedding_picture(&folder.join("embedding.png"))?;
        }
        for Curve { name, steps } in &self.loss {
            let one = self.loss.len() == 1;
            let file = if one { "loss.png".to_owned() } else { format!("loss-{}.png", file_name(name)) };
            loss_curve(&folder.join(file), steps, &format!("{}: {name}", self.title))?;
        }
        Ok(())
    }

    /// Draws the maps of one frame: observed, estimate, truth, error, spread and the interval's width, as far as they are
    /// there.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written, [`Error::Input`] for a grid that is no map.
    pub fn map_picture(&self, view: &View, frame: usize, heading: &str, path: &Path) -> Result<()> {
        let ranges = Ranges::of(self, &Grid::new(self.place)?, 1);
        self.draw_maps(view, frame, &ranges, heading, path)
    }

    fn draw_maps(&self, view: &View, frame: usize, ranges: &Ranges, heading: &str, path: &Path) -> Result<()> {
        let mask = &self.place.mask;
        let land: Vec<bool> = mask.sea.iter().map(|sea| !sea).collect();
        let size = mask.sea.len();
        let part = |field: &[f32]| field[frame * size..(frame + 1) * size].to_vec();
        let (observed, estimate) = (part(view.observed), part(view.estimate));
        // Only what was filled has an error and a spread.
        let hidden = |field: &[f32]| -> Vec<f32> {
            let cells = part(field).into_iter().zip(&observed);
            cells.map(|(value, seen)| if seen.is_nan() { value } else { f32::NAN }).collect()
        };
        let place = |value: f32| if self.quantity.logarithmic { value.log10() } else { value };
        let estimate_name = capital(&view.estimate_name);
        let mut fields = vec![
            ("Observed", observed.clone(), &ranges.value),
            (estimate_name.as_str(), estimate.clone(), &ranges.value),
        ];
        if let Some(truth) = view.truth {
            let whole = hidden(truth).into_iter().zip(&observed);
            let whole = whole.map(|(truth, seen)| if seen.is_nan() { truth } else { *seen }).collect();
            fields.push(("Truth", whole, &ranges.value));
        }
        if let (Some(truth), Some(scale)) = (view.truth, &ranges.error) {
            let pairs = hidden(truth).into_iter().zip(&estimate);
            fields.push((
                "Error on the hidden cells",
                pairs.map(|(truth, found)| place(*found) - place(truth)).collect(),
                scale,
            ));
        }
        if let (Some(spread), Some(scale)) = (view.spread, &ranges.spread) {
            fields.push(("Spread on the hidden cells", hidden(spread), scale));
        }
        if let (Some(deviation), Some(scale)) = (view.deviation, &ranges.deviation) {
            fields.push(("Spread of the forecast", hidden(deviation), scale));
        }
        if let (Some(width), Some(scale)) = (view.width(), &ranges.width) {
            fields.push(("Width of the interval", hidden(&width), scale));
        }
        let panels: Vec<Panel> = fields
            .iter()
            .map(|(title, values, scale)| Panel { title, values, land: &land, scale: (*scale).clone() })
            .collect();
        let columns = if mask.width > 4 * mask.height { 1 } else { 2 };
        drawn(path, picture::maps(path, &panels, columns, &self.place.latitude, &self.place.longitude, heading))
    }

    /// Draws the series of `view` at a pixel, row * width + column: observed, estimate, interval, truth.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written or the pixel has no value.
    pub fn series_picture(&self, view: &View, pixel: usize, path: &Path) -> Result<()> {
        let mask = &self.place.mask;
        let at = |field: &[f32]| -> Vec<f64> {
            field.iter().skip(pixel).step_by(mask.sea.len()).map(|value| f64::from(*value)).collect()
        };
        let x = &view.time.values[..];
        let (observed, estimate) = (at(view.observed), at(view.estimate));
        let truth = view.truth.map(|truth| {
            let pairs = at(truth).into_iter().zip(&observed);
            pairs.map(|(truth, seen)| if seen.is_nan() { truth } else { f64::NAN }).collect::<Vec<_>>()
        });
        let interval = view.interval.as_ref().map(|interval| (&interval.name, at(interval.low), at(interval.high)));
        let mut marks = Vec::new();
        if let Some((label, low, high)) = &interval {
            marks.push(Mark::Interval { label, hue: 5, x, low, high });
        }
        marks.push(Mark::Line { label: &view.estimate_name, hue: 0, x, y: &estimate });
        marks.push(Mark::Points { label: "observed", hue: 6, x, y: &observed });
        if let Some(truth) = &truth {
            marks.push(Mark::Points { label: "hidden truth", hue: 1, x, y: truth });
        }
        let (row, column) = (pixel / mask.width, pixel % mask.width);
        let latitude = degrees(self.place.latitude[row], ['S', 'N']);
        let heading = format!("{latitude} {}", degrees(self.place.longitude[column], ['W', 'E']));
        let label = self.quantity.label(&self.quantity.name);
        let x_axis = Axis { time: Some(view.time), ..Axis::linear("") };
        let y_axis = Axis { logarithmic: self.quantity.logarithmic, ..Axis::linear(&label) };
        drawn(path, picture::chart(path, &Chart { heading: &heading, x: x_axis, y: y_axis, marks: &marks }))
    }

    fn embedding_picture(&self, path: &Path) -> Result<()> {
        let mask = &self.place.mask;
        let land: Vec<bool> = mask.sea.iter().map(|sea| !sea).collect();
        let high = f64::from(self.embedding.iter().fold(f32::MIN_POSITIVE, |high, value| high.max(value.abs())));
        let label = "weight of the prototype".to_owned();
        let scale = Scale { low: -high, high, logarithmic: false, colormap: Colormap::Balance, label };
        let maps: Vec<Vec<f32>> = self.embedding_maps().iter().map(|column| mask.scatter(column, f32::NAN)).collect();
        let titles: Vec<String> = (1..=maps.len()).map(|i| format!("Prototype {i}")).collect();
        let panels: Vec<Panel> = maps
            .iter()
            .zip(&titles)
            .map(|(values, title)| Panel { title, values, land: &land, scale: scale.clone() })
            .collect();
        let heading = "Learned embedding of the sea pixels";
        drawn(path, picture::maps(path, &panels, 4, &self.place.latitude, &self.place.longitude, heading))
    }

    /// The columns of the embedding, `[prototypes][nodes]`.
    pub(super) fn embedding_maps(&self) -> Vec<Vec<f32>> {
        let prototypes = self.embedding.len() / self.place.mask.len();
        let column = |k: usize| self.embedding.iter().skip(k).step_by(prototypes).copied().collect();
        (0..prototypes).map(column).collect()
    }
}

/// Draws the loss of every step, its running mean and its validation; without a loss above 0 there is nothing to draw.
///
/// # Errors
/// [`Error::File`] when the file cannot be written.
pub fn loss_curve(path: &Path, steps: &[Step], heading: &str) -> Result<()> {
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
    let validation = steps.iter().filter_map(|step| Some((step.step as f64, step.validation?)));
    let (ends, errors): (Vec<f64>, Vec<f64>) = validation.unzip();
    let mut marks = vec![
        Mark::Line { label: "a step", hue: 5, x: &x, y: &y },
        Mark::Line { label: "running mean", hue: 0, x: &x, y: &smooth },
    ];
    if !ends.is_empty() {
        marks.push(Mark::Line { label: "validation frames", hue: 1, x: &ends, y: &errors });
    }
    let x_axis = Axis::linear("step");
    let y_axis = Axis { logarithmic: true, ..Axis::linear("mean square error") };
    drawn(path, picture::chart(path, &Chart { heading, x: x_axis, y: y_axis, marks: &marks }))
}

fn drawn(path: &Path, result: std::io::Result<()>) -> Result<()> {
    result.map_err(|error| Error::file(path, error))
}

/// Degrees with the letter of their side, within half a turn.
fn degrees(value: f64, sides: [char; 2]) -> String {
    let turned = (value + 180.0).rem_euclid(360.0) - 180.0;
    format!("{:.2}°{}", turned.abs(), sides[usize::from(turned >= 0.0)])
}

/// `name` in letters, digits and hyphens.
fn file_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}
