//! The pixels whose series are offered first.

use super::Report;
use super::layers::Grid;

/// A sea pixel and why it is worth a look.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pixel {
    /// Its place in the data, row * width + column.
    pub(super) pixel: usize,
    pub(super) why: &'static str,
}

impl Pixel {
    /// Its number in the order of the page.
    pub(super) fn order(&self, grid: &Grid) -> Option<usize> {
        grid.pixels.iter().position(|pixel| *pixel == self.pixel)
    }
}

/// A few pixels of the first view, each unlike the others.
pub(super) fn typical(report: &Report) -> Vec<Pixel> {
    let (Some(view), mask) = (report.views.first(), &report.place.mask) else { return Vec::new() };
    let size = mask.sea.len();
    let frames = (view.observed.len() / size) as f64;
    let place = |value: f32| f64::from(if report.quantity.logarithmic { value.log10() } else { value });
    let missing =
        |pixel: usize| view.observed.iter().skip(pixel).step_by(size).filter(|v| v.is_nan()).count() as f64 / frames;
    let variance = |pixel: usize| {
        let values = || view.estimate.iter().skip(pixel).step_by(size).map(|v| place(*v)).filter(|v| v.is_finite());
        let mean = values().sum::<f64>() / frames;
        values().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let (row, column) = (mask.height as f64 / 2.0, mask.width as f64 / 2.0);
    let distance = |pixel: usize| {
        let (r, c) = ((pixel / mask.width) as f64 + 0.5, (pixel % mask.width) as f64 + 0.5);
        ((r - row) / row).hypot((c - column) / column)
    };
    let share = mask.nodes.iter().map(|pixel| missing(*pixel)).sum::<f64>() / mask.nodes.len() as f64;
    let usual = |pixel: usize| (missing(pixel) - share).abs() < 0.1;
    type Merit<'a> = &'a dyn Fn(usize) -> f64;
    let wanted: [(&str, Merit); 4] = [
        // With about as many gaps as elsewhere: what is filled in shows, and so does what is seen.
        ("most variable", &|pixel| if usual(pixel) { variance(pixel) } else { -1.0 }),
        ("most often missing", &missing),
        ("least often missing", &|pixel| -missing(pixel)),
        ("in the middle", &|pixel| -distance(pixel)),
    ];
    let mut found: Vec<Pixel> = Vec::new();
    for (why, merit) in wanted {
        let left = mask.nodes.iter().copied().filter(|pixel| found.iter().all(|other| other.pixel != *pixel));
        let ranked = left.map(|pixel| (pixel, merit(pixel))).max_by(|a, b| a.1.total_cmp(&b.1));
        found.extend(ranked.map(|(pixel, _)| Pixel { pixel, why }));
    }
    found
}
