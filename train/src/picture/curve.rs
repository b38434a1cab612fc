//! Line charts: training curves, and time series with an interval and observations.

use super::canvas::{Anchor, Canvas, Colour, FAINT, INK, fitting_size};
use super::dates;
use super::ticks::{self, Tick};
use super::{WIDTH, font, invalid};
use crate::data::time::TimeAxis;
use std::io;
use std::path::Path;

const HEIGHT: f32 = 560.0;
const MARGIN: f32 = 24.0;
const HEADING_SIZE: f32 = 21.0;
const LABEL_SIZE: f32 = 15.0;
const TICK_SIZE: f32 = 13.5;
const LEGEND_LINE: f32 = 24.0;

/// Colours told apart by colour-blind readers too (Okabe and Ito 2008), the strongest first.
const PALETTE: [u32; 7] = [0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9, 0x404040];

/// One axis of a chart; its range is that of the data.
#[derive(Debug, Clone, Copy)]
pub struct Axis<'a> {
    /// Quantity and units.
    pub label: &'a str,
    /// Logarithmic axis; values that are not positive are left out.
    pub logarithmic: bool,
    /// The values are times of this axis; its dates are the labels.
    pub time: Option<&'a TimeAxis>,
}

impl<'a> Axis<'a> {
    /// An axis in equal steps.
    pub const fn linear(label: &'a str) -> Self {
        Axis { label, logarithmic: false, time: None }
    }
}

/// Something drawn in a chart. `hue` counts through a palette of seven colours, so that what belongs together can share
/// one. Values that are not finite are gaps. An empty label keeps a mark out of the legend.
#[derive(Debug, Clone, Copy)]
pub enum Mark<'a> {
    /// A line through (x, y).
    Line {
        /// Legend text.
        label: &'a str,
        /// Palette index.
        hue: usize,
        /// Abscissae.
        x: &'a [f64],
        /// Ordinates, as many as abscissae.
        y: &'a [f64],
    },
    /// Discs at (x, y).
    Points {
        /// Legend text.
        label: &'a str,
        /// Palette index.
        hue: usize,
        /// Abscissae.
        x: &'a [f64],
        /// Ordinates, as many as abscissae.
        y: &'a [f64],
    },
    /// The shaded area between two curves.
    Interval {
        /// Legend text.
        label: &'a str,
        /// Palette index.
        hue: usize,
        /// Abscissae.
        x: &'a [f64],
        /// Lower bounds, as many as abscissae.
        low: &'a [f64],
        /// Upper bounds, as many as abscissae.
        high: &'a [f64],
    },
}

/// A chart: marks are drawn in order, the last on top.
pub struct Chart<'a> {
    /// Written above the chart.
    pub heading: &'a str,
    /// Horizontal axis.
    pub x: Axis<'a>,
    /// Vertical axis.
    pub y: Axis<'a>,
    /// What it shows.
    pub marks: &'a [Mark<'a>],
}

/// Draws `chart` and writes it to `path` as a PNG file of 1200 x 560 pixels.
///
/// # Errors
/// `InvalidInput` if the lengths of a mark differ or nothing can be drawn; otherwise what writing the file gave.
pub fn chart(path: &Path, chart: &Chart) -> io::Result<()> {
    for mark in chart.marks {
        mark.check()?;
    }
    let (xs, ys) = (|m: &Mark| m.abscissae().to_vec(), |m: &Mark| m.ordinates().concat());
    let x = Range::of(chart.x, chart.marks.iter().flat_map(xs), 0.0)?;
    let y = Range::of(chart.y, chart.marks.iter().flat_map(ys), 0.05)?;
    let mut canvas = Canvas::new(WIDTH as f32, HEIGHT)?;
    let room = WIDTH as f32 - 2.0 * MARGIN;
    let size = fitting_size(chart.heading, HEADING_SIZE, room);
    let y_ticks = y.ticks(7);
    let widest = y_ticks.iter().map(|t| font::width(&t.label, TICK_SIZE)).fold(0.0, f32::max);
    let left = (MARGIN + 34.0 + widest).round();
    let headed = if chart.heading.is_empty() { MARGIN / 2.0 } else { MARGIN + 26.0 };
    canvas.text(left, MARGIN + 16.0, size, Anchor::Left, chart.heading);
    let top = legend(&mut canvas, left, headed, chart.marks) + 8.0;
    let plot = Plot { left, top, right: WIDTH as f32 - MARGIN - 8.0, bottom: HEIGHT - 66.0, x, y };
    plot.axes(&mut canvas, chart, &y_ticks);
    for mark in chart.marks {
        plot.draw(&mut canvas, mark);
    }
    canvas.save(path)
}

impl Mark<'_> {
    fn label(&self) -> &str {
        match self {
            Self::Line { label, .. } | Self::Points { label, .. } | Self::Interval { label, .. } => label,
        }
    }

    fn colour(&self) -> Colour {
        let (Self::Line { hue, .. } | Self::Points { hue, .. } | Self::Interval { hue, .. }) = self;
        let [_, r, g, b] = PALETTE[hue % PALETTE.len()].to_be_bytes();
        [r, g, b, if matches!(self, Self::Interval { .. }) { 0x3c } else { 0xff }]
    }

    fn abscissae(&self) -> &[f64] {
        let (Self::Line { x, .. } | Self::Points { x, .. } | Self::Interval { x, .. }) = self;
        x
    }

    fn ordinates(&self) -> [&[f64]; 2] {
        match self {
            Self::Line { y, .. } | Self::Points { y, .. } => [y, &[]],
            Self::Interval { low, high, .. } => [low, high],
        }
    }

    fn check(&self) -> io::Result<()> {
        let n = self.abscissae().len();
        let [first, second] = self.ordinates();
        let fits = first.len() == n && (second.len() == n || !matches!(self, Self::Interval { .. }));
        if fits {
            return Ok(());
        }
        Err(invalid(format!("`{}`: {} and {} values for {n} abscissae", self.label(), first.len(), second.len())))
    }
}

/// The range of an axis, on a logarithmic one in decades.
struct Range {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Range {
    /// From the least to the greatest value, widened by `padding` of it on both sides.
    fn of(axis: Axis, values: impl Iterator<Item = f64>, padding: f64) -> io::Result<Self> {
        let place = |v: f64| if axis.logarithmic { v.log10() } else { v };
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.map(place).filter(|v| v.is_finite()) {
            (low, high) = (low.min(v), high.max(v));
        }
        if low > high {
            return Err(invalid(format!("axis `{}`: no value to draw", axis.label)));
        }
        let spread = high - low;
        let pad = if spread > 1e-12 * low.abs().max(high.abs()) { padding * spread } else { 0.5 * low.abs().max(1.0) };
        Ok(Self { low: low - pad, high: high + pad, logarithmic: axis.logarithmic })
    }

    fn fraction(&self, value: f64) -> Option<f32> {
        let place = if self.logarithmic { value.log10() } else { value };
        let fraction = (place - self.low) / (self.high - self.low);
        fraction.is_finite().then_some(fraction as f32)
    }

    fn ticks(&self, count: usize) -> Vec<Tick> {
        if self.logarithmic {
            ticks::logarithmic(10f64.powf(self.low), 10f64.powf(self.high), count)
        } else {
            ticks::linear(self.low, self.high, count)
        }
    }
}

/// The rectangle between the axes.
struct Plot {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
    x: Range,
    y: Range,
}

impl Plot {
    fn place(&self, x: f64, y: f64) -> Option<(f32, f32)> {
        let (u, v) = (self.x.fraction(x)?, self.y.fraction(y)?);
        Some((self.left + u * (self.right - self.left), self.bottom - v * (self.bottom - self.top)))
    }

    fn axes(&self, canvas: &mut Canvas, chart: &Chart, y_ticks: &[Tick]) {
        let Self { left, top, right, bottom, .. } = *self;
        for tick in y_ticks {
            let at = bottom - self.y.fraction(tick.value).unwrap_or(0.0) * (bottom - top);
            canvas.rectangle(left, at.round(), right - left, 1.0, FAINT);
            canvas.text(left - 9.0, at + 5.0, TICK_SIZE, Anchor::Right, &tick.label);
        }
        for tick in chart.x.time.map_or_else(|| self.x.ticks(10), |time| dates::ticks(time, 12)) {
            let at = left + self.x.fraction(tick.value).unwrap_or(0.0) * (right - left);
            canvas.rectangle(at.round(), top, 1.0, bottom - top, FAINT);
            canvas.rectangle(at.round(), bottom, 1.0, 6.0, INK);
            canvas.text(at, bottom + 22.0, TICK_SIZE, Anchor::Centre, &tick.label);
        }
        canvas.rectangle(left, bottom, right - left, 1.0, INK);
        canvas.text((left + right) / 2.0, bottom + 47.0, LABEL_SIZE, Anchor::Centre, chart.x.label);
        let size = fitting_size(chart.y.label, LABEL_SIZE, HEIGHT - 2.0 * MARGIN);
        canvas.text_upwards(MARGIN + 8.0, (top + bottom) / 2.0, size, chart.y.label);
    }

    fn draw(&self, canvas: &mut Canvas, mark: &Mark) {
        let colour = mark.colour();
        match *mark {
            Mark::Line { x, y, .. } => {
                let places: Vec<_> = x.iter().zip(y).map(|(&x, &y)| self.place(x, y)).collect();
                let unbroken: Vec<Vec<_>> =
                    places.split(Option::is_none).map(|run| run.iter().copied().flatten().collect()).collect();
                canvas.lines(&unbroken, colour, 2.0);
            }
            Mark::Points { x, y, .. } => {
                for (cx, cy) in x.iter().zip(y).filter_map(|(&x, &y)| self.place(x, y)) {
                    canvas.disc(cx, cy, 4.2, [0xff; 4]);
                    canvas.disc(cx, cy, 3.2, colour);
                }
            }
            Mark::Interval { x, low, high, .. } => {
                let pair = |i: usize| Some((self.place(x[i], low[i])?, self.place(x[i], high[i])?));
                let places: Vec<_> = (0..x.len()).map(pair).collect();
                for run in places.split(Option::is_none) {
                    let there = run.iter().flatten().map(|p| p.0);
                    let back = run.iter().rev().flatten().map(|p| p.1);
                    canvas.polygon(there.chain(back).collect(), colour);
                }
            }
        }
    }
}

/// Draws the legend in lines from `left` and `top` on; returns where it ends.
fn legend(canvas: &mut Canvas, left: f32, top: f32, marks: &[Mark]) -> f32 {
    const SWATCH: f32 = 30.0;
    let (mut x, mut baseline) = (left, top + 15.0);
    let mut labelled = marks.iter().filter(|m| !m.label().is_empty()).peekable();
    if labelled.peek().is_none() {
        return top;
    }
    for mark in labelled {
        let width = SWATCH + 8.0 + font::width(mark.label(), TICK_SIZE);
        if x > left && x + width > WIDTH as f32 - MARGIN {
            (x, baseline) = (left, baseline + LEGEND_LINE);
        }
        let middle = baseline - 5.0;
        match mark {
            Mark::Line { .. } => canvas.line((x, middle), (x + SWATCH, middle), mark.colour(), 2.5),
            Mark::Points { .. } => canvas.disc(x + SWATCH / 2.0, middle, 3.8, mark.colour()),
            Mark::Interval { .. } => canvas.rectangle(x, middle - 6.0, SWATCH, 12.0, mark.colour()),
        }
        canvas.text(x + SWATCH + 8.0, baseline, TICK_SIZE, Anchor::Left, mark.label());
        x += width + 26.0;
    }
    baseline + LEGEND_LINE - 15.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_skia::Pixmap;

    const STEP: Axis = Axis::linear("step");
    const LOSS: Axis = Axis { logarithmic: true, ..Axis::linear("loss") };

    fn drawn(marks: &[Mark]) -> io::Result<Pixmap> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("curve.png");
        chart(&path, &Chart { heading: "Training", x: STEP, y: LOSS, marks })?;
        Pixmap::load_png(path).map_err(io::Error::other)
    }

    #[test]
    fn gaps_stay_open_and_the_size_is_fixed() {
        let x = [0.0, 1.0, 2.0, 3.0, 4.0];
        let y = [1.0, 1.0, f64::NAN, 1.0, 1.0];
        let picture = drawn(&[Mark::Line { label: "", hue: 0, x: &x, y: &y }]).unwrap();
        assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT as u32));
        let blue = |p: &[u8]| p[..3] == [0x00, 0x72, 0xb2];
        let row = picture.data().chunks(4 * WIDTH as usize).find(|row| row.chunks(4).any(blue)).unwrap();
        let share = row.chunks(4).filter(|p| blue(p)).count() as f64 / f64::from(WIDTH);
        assert!((0.4..0.55).contains(&share), "half of the axis has a line, not {share}");
    }

    #[test]
    fn unequal_lengths_and_empty_charts_are_errors() {
        let error = drawn(&[Mark::Points { label: "obs", hue: 0, x: &[1.0, 2.0], y: &[1.0] }]).unwrap_err();
        assert!(error.to_string().contains("`obs`"), "{error}");
        let error = drawn(&[Mark::Line { label: "l", hue: 0, x: &[1.0], y: &[-1.0] }]).unwrap_err();
        assert!(error.to_string().contains("`loss`: no value to draw"), "{error}");
    }
}
