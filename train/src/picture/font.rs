//! The embedded font: DejaVu Sans, cut down to Latin, Greek letters and a few signs.

use std::sync::OnceLock;
use tiny_skia::{Path, PathBuilder};
use ttf_parser::{Face, OutlineBuilder};

fn face() -> &'static Face<'static> {
    static FACE: OnceLock<Face<'static>> = OnceLock::new();
    FACE.get_or_init(|| {
        let file = include_bytes!("../../data/font/DejaVuSans-subset.ttf");
        Face::parse(file, 0).expect("the embedded font is a TrueType font")
    })
}

fn advance(face: &Face, glyph: ttf_parser::GlyphId, size: f32) -> f32 {
    f32::from(face.glyph_hor_advance(glyph).unwrap_or(0)) * size / f32::from(face.units_per_em())
}

/// Width of a line of text in pixels at `size` pixels per em.
pub(super) fn width(text: &str, size: f32) -> f32 {
    let face = face();
    text.chars().map(|c| advance(face, face.glyph_index(c).unwrap_or_default(), size)).sum()
}

/// Outline of a line of text whose baseline starts at the origin, y downwards; `None` if it has no ink.
pub(super) fn outline(text: &str, size: f32) -> Option<Path> {
    let face = face();
    let scale = size / f32::from(face.units_per_em());
    let mut pen = Pen { path: PathBuilder::new(), x: 0.0, scale };
    for c in text.chars() {
        let glyph = face.glyph_index(c).unwrap_or_default();
        face.outline_glyph(glyph, &mut pen);
        pen.x += advance(face, glyph, size);
    }
    pen.path.finish()
}

/// Moves outlines from font units to pixels.
struct Pen {
    path: PathBuilder,
    x: f32,
    scale: f32,
}

impl Pen {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_in_use_has_a_glyph() {
        for c in "°−×·µ⁻⁰¹²³⁴⁵⁶⁷⁸⁹–…σα≤".chars() {
            assert!(face().glyph_index(c).is_some(), "{c}");
        }
    }

    #[test]
    fn outlines_stay_within_the_advance() {
        let bounds = outline("Chlorophyll-a (mg m⁻³)", 16.0).unwrap().bounds();
        assert!(bounds.left() >= -1.0 && bounds.right() <= width("Chlorophyll-a (mg m⁻³)", 16.0) + 1.0);
        assert!(outline("  ", 16.0).is_none());
    }
}
