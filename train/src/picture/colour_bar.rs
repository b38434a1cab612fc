//! The bar that tells which colour is which value.

use super::canvas::{Anchor, Canvas, INK, fitting_size};
use super::colormap::Scale;
use super::ticks;

const BAR_HEIGHT: f32 = 13.0;
const LABEL_SIZE: f32 = 14.0;
const TICK_SIZE: f32 = 13.0;

/// Height of a colour bar with everything below it.
pub(super) const BAR_BLOCK: f32 = 70.0;

/// A horizontal colour bar with ticks and label below it, pointed at an end that values go beyond.
pub(super) fn colour_bar(canvas: &mut Canvas, x: f32, y: f32, width: f32, scale: &Scale, beyond: [bool; 2]) {
    let y = (y + 10.0).round();
    let [x, width] = [x.round(), width.round()];
    let point = BAR_HEIGHT * 0.75;
    for p in 0..width as u32 {
        let colour = scale.colormap.colour(f64::from(p) / f64::from(width - 1.0));
        (0..BAR_HEIGHT as u32).for_each(|q| canvas.pixel(x as u32 + p, y as u32 + q, colour));
    }
    let (top, bottom) = (y, y + BAR_HEIGHT);
    let middle = (top + bottom) / 2.0;
    for (end, edge, tip) in [(0, x, x - point), (1, x + width, x + width + point)] {
        if beyond[end] {
            let [r, g, b] = scale.colormap.colour(end as f64);
            canvas.polygon(vec![(edge, top), (tip, middle), (edge, bottom)], [r, g, b, 0xff]);
            canvas.lines(&[vec![(edge, top), (tip, middle), (edge, bottom)]], INK, 1.0);
        } else {
            canvas.line((edge, top), (edge, bottom), INK, 1.0);
        }
    }
    for edge in [top, bottom] {
        canvas.line((x, edge), (x + width, edge), INK, 1.0);
    }
    let count = (width / 70.0).clamp(2.0, 9.0) as usize;
    let ticks = if scale.logarithmic { ticks::logarithmic } else { ticks::linear };
    for tick in ticks(scale.low, scale.high, count) {
        let at = x + scale.fraction(tick.value).unwrap_or(0.0) as f32 * width;
        canvas.line((at, bottom), (at, bottom + 4.0), INK, 1.0);
        canvas.text(at, bottom + 18.0, TICK_SIZE, Anchor::Centre, &tick.label);
    }
    let size = fitting_size(&scale.label, LABEL_SIZE, width + 40.0);
    canvas.text(x + width / 2.0, bottom + 38.0, size, Anchor::Centre, &scale.label);
}
