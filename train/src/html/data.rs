//! What the script of the page reads.

use serde_json::{Value, json};

use super::layers::{Grid, Layer, bits};
use super::pixels::{Pixel, typical};
use super::{Curve, Report, View};
use crate::Result;
use crate::picture::{Colormap, Scale};
use crate::training::Step;

/// Values that decide the range of a scale; more would change nothing that the eye sees.
const SAMPLE: usize = 200_000;
/// Points of the loss curve.
const POINTS: usize = 400;

/// The views with every `stride`-th frame, and all else that is drawn.
pub(super) fn json(report: &Report, stride: usize) -> Result<Value> {
    let grid = Grid::new(report.place)?;
    let ranges = Ranges::of(report, &grid, stride);
    let views: Vec<Value> = report.views.iter().map(|view| view_json(report, view, &grid, stride)).collect();
    let pixel = |pixel: Pixel| json!({ "node": pixel.order(&grid), "why": pixel.why });
    let quantity = &report.quantity;
    Ok(json!({
        "quantity": { "name": quantity.name, "units": quantity.units, "logarithmic": quantity.logarithmic },
        "scales": {
            "value": scale(&ranges.value),
            "spread": ranges.spread.as_ref().map(scale),
            "deviation": ranges.deviation.as_ref().map(scale),
            "width": ranges.width.as_ref().map(scale),
            "error": ranges.error.as_ref().map(scale),
        },
        "views": views,
        "pixels": typical(report).into_iter().map(pixel).collect::<Vec<_>>(),
        "loss": report.loss.iter().map(curve).collect::<Vec<_>>(),
        "embedding": embedding(report, &grid),
        "grid": grid,
    }))
}

fn view_json(report: &Report, view: &View, grid: &Grid, stride: usize) -> Value {
    let cells = |field| grid.cells(field, stride);
    let hidden = || cells(view.observed).map(f32::is_nan);
    let layer_of = |logarithmic| {
        move |field| {
            let values: Vec<f32> = cells(field).zip(hidden()).filter(|(_, hidden)| *hidden).map(|(v, _)| v).collect();
            Layer::new(&values, logarithmic)
        }
    };
    let layer = layer_of(report.quantity.logarithmic);
    let shown = cells(view.observed).zip(cells(view.estimate));
    let shown: Vec<f32> = shown.map(|(seen, estimate)| if seen.is_nan() { estimate } else { seen }).collect();
    let dates = view.time.dates.iter().step_by(stride);
    let interval = view.interval.as_ref();
    json!({
        "name": view.name,
        "estimateName": view.estimate_name,
        "intervalName": interval.map(|interval| &interval.name),
        "dates": dates.map(|d| [d.year, d.month.into(), d.day.into(), d.hour.into(), d.minute.into()]).collect::<Vec<_>>(),
        "times": view.time.values.iter().step_by(stride).collect::<Vec<_>>(),
        "forecast": view.forecast.map(|frame| frame.div_ceil(stride)),
        "observed": bits(hidden().map(|hidden| !hidden)),
        "value": Layer::new(&shown, report.quantity.logarithmic),
        "truth": view.truth.map(layer),
        "spread": view.spread.map(layer),
        "deviation": view.deviation.map(layer_of(false)),
        "low": interval.map(|interval| layer(interval.low)),
        "high": interval.map(|interval| layer(interval.high)),
    })
}

/// The scales that all views and frames share.
pub(super) struct Ranges {
    pub(super) value: Scale,
    pub(super) spread: Option<Scale>,
    pub(super) deviation: Option<Scale>,
    pub(super) width: Option<Scale>,
    pub(super) error: Option<Scale>,
}

impl Ranges {
    pub(super) fn of(report: &Report, grid: &Grid, stride: usize) -> Self {
        let quantity = &report.quantity;
        let mut values = Sample::default();
        let (mut spreads, mut errors) = (Sample::default(), Sample::default());
        let (mut deviations, mut widths) = (Sample::default(), Sample::default());
        let place = |value: f32| if quantity.logarithmic { value.log10() } else { value };
        for view in &report.views {
            let width = view.width();
            let cells = |field| grid.cells(field, stride);
            values.extend(cells(view.observed));
            values.extend(cells(view.estimate));
            let hidden =
                |field| cells(field).zip(cells(view.observed)).filter(|(_, seen)| seen.is_nan()).map(|(v, _)| v);
            values.extend(view.truth.into_iter().flat_map(hidden));
            spreads.extend(view.spread.into_iter().flat_map(hidden));
            deviations.extend(view.deviation.into_iter().flat_map(hidden));
            widths.extend(width.iter().flat_map(|width| hidden(width)));
            let pairs = view.truth.into_iter().flat_map(|truth| hidden(truth).zip(hidden(view.estimate)));
            errors.extend(pairs.map(|(truth, estimate)| (place(estimate) - place(truth)).abs()));
        }
        let logarithmic = quantity.logarithmic;
        let label = quantity.label(&quantity.name);
        let [low, high] = values.range(logarithmic, [0.005, 0.995]);
        let value = Scale { low, high, logarithmic, colormap: quantity.colormap, label };
        let above_zero = |values: Sample, logarithmic: bool, label: String| {
            let [least, high] = values.range(logarithmic, [0.01, 0.99]);
            let low = if logarithmic { least } else { 0.0 };
            let scale = Scale { low, high, logarithmic, colormap: Colormap::Viridis, label };
            (!values.0.is_empty()).then_some(scale)
        };
        let spread = above_zero(spreads, logarithmic, quantity.label("standard deviation of the samples"));
        let total = ["standard deviation in total".to_owned(), report.score_units.clone()];
        let total = total.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        let deviation = above_zero(deviations, false, total);
        let width = above_zero(widths, logarithmic, quantity.label("width of the interval"));
        let error = (!errors.0.is_empty()).then(|| {
            let [_, high] = errors.range(false, [0.0, 0.99]);
            let label = match logarithmic {
                true => "log₁₀ (estimate / truth)".to_owned(),
                false => quantity.label("estimate − truth"),
            };
            Scale { low: -high, high, logarithmic: false, colormap: Colormap::Balance, label }
        });
        Ranges { value, spread, deviation, width, error }
    }
}

/// Values that are there.
#[derive(Default)]
struct Sample(Vec<f32>);

impl Sample {
    fn extend(&mut self, values: impl Iterator<Item = f32>) {
        self.0.extend(values.filter(|value| value.is_finite()));
    }

    /// The quantiles `at`, apart from each other, and above 0 for a logarithm.
    fn range(&self, logarithmic: bool, at: [f64; 2]) -> [f64; 2] {
        let step = self.0.len().div_ceil(SAMPLE).max(1);
        let values = self.0.iter().step_by(step).copied().filter(|value| !logarithmic || *value > 0.0);
        let mut values: Vec<f32> = values.collect();
        values.sort_by(f32::total_cmp);
        let quantile = |q: f64| values.get((q * values.len().saturating_sub(1) as f64).round() as usize);
        let [low, high] = at.map(|q| quantile(q).map_or(1.0, |value| f64::from(*value)));
        match (high > low, logarithmic) {
            (true, _) => [low, high],
            (false, true) => [low / 2.0, low * 2.0],
            (false, false) => [low - 0.5, low + 0.5],
        }
    }
}

fn scale(scale: &Scale) -> Value {
    let Scale { low, high, logarithmic, colormap, label } = scale;
    json!({ "low": low, "high": high, "logarithmic": logarithmic, "label": label, "colours": colours(*colormap) })
}

/// The 256 colours of a map, six hexadecimal digits each.
fn colours(map: Colormap) -> String {
    let colour = |i: u32| map.colour(f64::from(i) / 255.0);
    (0..256).flat_map(colour).map(|part| format!("{part:02x}")).collect()
}

/// The loss of a training, and its validation as step and error.
fn curve(Curve { name, steps }: &Curve) -> Value {
    let validation: Vec<(u64, f64)> = steps.iter().filter_map(|step| Some((step.step, step.validation?))).collect();
    let every = validation.len().div_ceil(POINTS).max(1);
    json!({ "name": name, "points": loss(steps), "validation": validation.iter().step_by(every).collect::<Vec<_>>() })
}

/// The loss in at most [`POINTS`] points: step, mean, least and greatest.
fn loss(steps: &[Step]) -> Value {
    let width = steps.len().div_ceil(POINTS).max(1);
    let point = |part: &[Step]| {
        let losses = || part.iter().map(|step| step.loss);
        let (low, high) = (losses().fold(f64::INFINITY, f64::min), losses().fold(0.0, f64::max));
        json!([part[part.len() / 2].step, losses().sum::<f64>() / part.len() as f64, low, high])
    };
    steps.chunks(width).map(point).collect()
}

/// Every column of the embedding as a layer, on one symmetric scale.
fn embedding(report: &Report, grid: &Grid) -> Option<Value> {
    let mask = &report.place.mask;
    let maps: Vec<Vec<f32>> =
        report.embedding_maps().iter().map(|column| grid.cells(&mask.scatter(column, f32::NAN), 1).collect()).collect();
    let high = maps.iter().flatten().fold(0.0f32, |high, value| high.max(value.abs()));
    let high = if high > 0.0 { f64::from(high) } else { 1.0 };
    let label = "weight of the prototype".to_owned();
    let of = Scale { low: -high, high, logarithmic: false, colormap: Colormap::Balance, label };
    let layers: Vec<Layer> = maps.iter().map(|map| Layer::new(map, false)).collect();
    (!maps.is_empty()).then(|| json!({ "scale": scale(&of), "maps": layers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_trainings_are_thinned() {
        let step = |step| Step { step, epoch: 0, loss: step as f64, lr: 1e-3, gradient_norm: 1.0, validation: None };
        let points = loss(&(0..1000).map(step).collect::<Vec<_>>());
        assert_eq!(points.as_array().map(Vec::len), Some(334));
        assert_eq!(points[1], json!([4, 4.0, 3.0, 5.0]));
        let validated = |i| Step { validation: (i % 3 == 2).then_some(0.5), ..step(i) };
        let curve = curve(&Curve { name: "a".into(), steps: (0..9).map(validated).collect() });
        assert_eq!(curve["validation"], json!([[2, 0.5], [5, 0.5], [8, 0.5]]));
    }

    #[test]
    fn ranges_leave_out_the_extremes_and_never_vanish() {
        let sample = Sample((0..1000).map(|i| i as f32).collect());
        assert_eq!(sample.range(false, [0.01, 0.99]), [10.0, 989.0]);
        assert_eq!(Sample(vec![3.0]).range(true, [0.0, 1.0]), [1.5, 6.0]);
        assert_eq!(Sample::default().range(false, [0.0, 1.0]), [0.5, 1.5]);
    }
}
