//! A white picture in pixels, origin top left: shapes, text and the file.

use super::{font, invalid};
use std::io;
use std::path::Path;
use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};

/// sRGB and opacity.
pub(super) type Colour = [u8; 4];

pub(super) const INK: Colour = [0x22, 0x22, 0x22, 0xff];
pub(super) const FAINT: Colour = [0xe4, 0xe4, 0xe4, 0xff];

/// Which point of a text its position names.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Centre,
    Right,
}

pub(super) struct Canvas {
    pixmap: Pixmap,
}

fn paint(colour: Colour) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(colour[0], colour[1], colour[2], colour[3]);
    paint
}

impl Canvas {
    pub(super) fn new(width: f32, height: f32) -> io::Result<Self> {
        let mut pixmap = Pixmap::new(width.ceil() as u32, height.ceil() as u32)
            .ok_or_else(|| invalid(format!("a picture of {width} x {height} pixels cannot be made")))?;
        pixmap.fill(Color::WHITE);
        Ok(Self { pixmap })
    }

    pub(super) fn rectangle(&mut self, x: f32, y: f32, width: f32, height: f32, colour: Colour) {
        if let Some(rect) = Rect::from_xywh(x, y, width, height) {
            self.pixmap.fill_rect(rect, &paint(colour), Transform::identity(), None);
        }
    }

    /// One pixel, opaque; pixels outside the picture are left out.
    pub(super) fn pixel(&mut self, x: u32, y: u32, [r, g, b]: [u8; 3]) {
        if x < self.pixmap.width() && y < self.pixmap.height() {
            let start = 4 * (y as usize * self.pixmap.width() as usize + x as usize);
            self.pixmap.data_mut()[start..start + 4].copy_from_slice(&[r, g, b, 0xff]);
        }
    }

    /// Several open lines in one stroke.
    pub(super) fn lines(&mut self, lines: &[Vec<(f32, f32)>], colour: Colour, width: f32) {
        let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
        if let Some(path) = trace(lines, false) {
            self.pixmap.stroke_path(&path, &paint(colour), &stroke, Transform::identity(), None);
        }
    }

    pub(super) fn line(&mut self, from: (f32, f32), to: (f32, f32), colour: Colour, width: f32) {
        self.lines(&[vec![from, to]], colour, width);
    }

    pub(super) fn polygon(&mut self, corners: Vec<(f32, f32)>, colour: Colour) {
        if let Some(path) = trace(&[corners], true) {
            self.pixmap.fill_path(&path, &paint(colour), FillRule::Winding, Transform::identity(), None);
        }
    }

    pub(super) fn disc(&mut self, x: f32, y: f32, radius: f32, colour: Colour) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.pixmap.fill_path(&path, &paint(colour), FillRule::Winding, Transform::identity(), None);
        }
    }

    /// The outline of a rectangle on whole pixels, one pixel wide.
    pub(super) fn frame(&mut self, x: f32, y: f32, width: f32, height: f32, colour: Colour) {
        for (x, y, w, h) in [(x, y, width, 1.0), (x, y + height - 1.0, width, 1.0)] {
            self.rectangle(x, y, w, h, colour);
        }
        for (x, y, w, h) in [(x, y, 1.0, height), (x + width - 1.0, y, 1.0, height)] {
            self.rectangle(x, y, w, h, colour);
        }
    }

    /// A line of text on the baseline `y`.
    pub(super) fn text(&mut self, x: f32, y: f32, size: f32, anchor: Anchor, text: &str) {
        self.write(text, size, anchor, Transform::from_translate(x, y));
    }

    /// A line of text that reads upwards, centred on `y`, with its baseline at `x`.
    pub(super) fn text_upwards(&mut self, x: f32, y: f32, size: f32, text: &str) {
        self.write(text, size, Anchor::Centre, Transform::from_rotate(-90.0).post_translate(x, y));
    }

    fn write(&mut self, text: &str, size: f32, anchor: Anchor, place: Transform) {
        let shift = match anchor {
            Anchor::Left => 0.0,
            Anchor::Centre => -font::width(text, size) / 2.0,
            Anchor::Right => -font::width(text, size),
        };
        if let Some(path) = font::outline(text, size) {
            self.pixmap.fill_path(&path, &paint(INK), FillRule::Winding, place.pre_translate(shift, 0.0), None);
        }
    }

    /// Writes the PNG beside its final place and renames it, so that no reader sees half a file.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let bytes = self.pixmap.encode_png().map_err(io::Error::other)?;
        let partial = path.with_extension("png.partial");
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        std::fs::write(&partial, bytes).map_err(named)?;
        std::fs::rename(&partial, path).map_err(named)
    }
}

fn trace(lines: &[Vec<(f32, f32)>], closed: bool) -> Option<tiny_skia::Path> {
    let mut path = PathBuilder::new();
    for line in lines {
        for (i, &(x, y)) in line.iter().enumerate() {
            if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        if closed {
            path.close();
        }
    }
    path.finish()
}

/// The size, at most `size`, at which `text` is no wider than `room`.
pub(super) fn fitting_size(text: &str, size: f32, room: f32) -> f32 {
    let width = font::width(text, size);
    if width > room { size * room / width } else { size }
}
