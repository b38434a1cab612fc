//! Maps of gridded fields: panels that share one grid, each with its colours, coastline and ticks.

use super::canvas::{Anchor, Canvas, Colour, INK, fitting_size};
use super::colormap::{MISSING, Scale};
use super::colour_bar::{BAR_BLOCK, colour_bar};
use super::grid::{Cells, coastline, unwrapped};
use super::ticks::Tick;
use super::{WIDTH, font, invalid};
use std::io;
use std::path::Path;

const LAND: [u8; 3] = [0x78, 0x78, 0x78];
const MARGIN: f32 = 24.0;
const COLUMN_GAP: f32 = 28.0;
const TALLEST: f32 = 640.0;
const NARROWEST: f32 = 480.0;
const HEADING_SIZE: f32 = 21.0;
const TITLE_SIZE: f32 = 15.5;
const TICK_SIZE: f32 = 13.0;
const TITLE_HEIGHT: f32 = 28.0;
const TICKS_HEIGHT: f32 = 24.0;
const LEGEND_HEIGHT: f32 = 24.0;

/// One map.
pub struct Panel<'a> {
    /// Written above the map.
    pub title: &'a str,
    /// The field [h, w], row-major, NaN where missing.
    pub values: &'a [f32],
    /// Land cells [h, w]; empty if there is no land mask.
    pub land: &'a [bool],
    /// Colours, range and units.
    pub scale: Scale,
}

/// Draws `panels` in `columns` columns under a heading and writes them to `path` as a PNG file.
///
/// `latitude` `[h]` and `longitude` `[w]` are cell centres in degrees, each rising or falling. North is drawn up and west
/// left whichever way they run, with true proportions at the middle latitude. Panels of equal scale share a colour bar.
///
/// # Errors
/// `InvalidInput` if there is no panel, a field or mask is not h x w, the coordinates are not strictly monotone or a
/// scale has no range; otherwise what writing the file gave.
pub fn maps(
    path: &Path,
    panels: &[Panel],
    columns: usize,
    latitude: &[f64],
    longitude: &[f64],
    heading: &str,
) -> io::Result<()> {
    let Some(first) = panels.first() else {
        return Err(invalid(format!("{}: no panel to draw", path.display())));
    };
    let rows = Cells::new("latitude", latitude.to_vec())?;
    let across = Cells::new("longitude", unwrapped(longitude))?;
    for panel in panels {
        check(panel, latitude.len(), longitude.len())?;
    }
    let shared = panels.iter().all(|p| p.scale == first.scale);
    let layout = Layout::new(panels.len(), columns, shared, &rows, &across, !heading.is_empty());
    let (width, height) = (layout.width, layout.height);
    let mut canvas = Canvas::new(width, height)?;
    let size = fitting_size(heading, HEADING_SIZE, width - 2.0 * MARGIN);
    canvas.text(layout.left, MARGIN + 16.0, size, Anchor::Left, heading);
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = layout.corner(i);
        layout.draw(&mut canvas, x, y, panel, &rows, &across);
        layout.label_axes(&mut canvas, x, y, i, panels.len());
        if !shared {
            let top = y + layout.map_height + TICKS_HEIGHT;
            let inset = 0.04 * layout.map_width;
            let long = layout.map_width - 2.0 * inset;
            colour_bar(&mut canvas, x + inset, top, long, &panel.scale, beyond(&[panel]));
        }
    }
    if shared {
        let room = layout.content_width();
        let long = (0.6 * room).max(layout.map_width.min(440.0));
        let all: Vec<_> = panels.iter().collect();
        let top = height - MARGIN / 2.0 - LEGEND_HEIGHT - BAR_BLOCK;
        colour_bar(&mut canvas, layout.left + (room - long) / 2.0, top, long, &first.scale, beyond(&all));
    }
    legend(&mut canvas, layout.left + layout.content_width(), height - 20.0, panels);
    canvas.save(path)
}

fn check(panel: &Panel, h: usize, w: usize) -> io::Result<()> {
    let Panel { title, values, land, .. } = panel;
    if values.len() != h * w {
        return Err(invalid(format!("map `{title}`: {} values for a grid of {h} x {w}", values.len())));
    }
    if !land.is_empty() && land.len() != h * w {
        return Err(invalid(format!("map `{title}`: a land mask of {} cells for a grid of {h} x {w}", land.len())));
    }
    panel.scale.check()
}

/// Where everything goes, in pixels.
struct Layout {
    columns: usize,
    shared: bool,
    left: f32,
    top: f32,
    map_width: f32,
    map_height: f32,
    width: f32,
    height: f32,
    parallels: Vec<(f32, Tick)>,
    meridians: Vec<(f32, Tick)>,
}

impl Layout {
    fn new(panels: usize, columns: usize, shared: bool, rows: &Cells, across: &Cells, headed: bool) -> Self {
        let columns = columns.clamp(1, panels);
        let middle = ((rows.low() + rows.high()) / 2.0).to_radians();
        let degrees = (across.high() - across.low()) * middle.cos().max(0.05);
        let aspect = ((rows.high() - rows.low()) / degrees) as f32;
        let lines = panels.div_ceil(columns) as f32;
        let gaps = COLUMN_GAP * (columns - 1) as f32;
        let labels = 52.0;
        let room = (WIDTH as f32 - 2.0 * MARGIN - labels - gaps) / columns as f32;
        let map_width = room.min(TALLEST / aspect).max(48.0).floor();
        let map_height = (map_width * aspect).round().clamp(32.0, TALLEST);
        let parallels = rows.ticks((map_height / 42.0).clamp(1.0, 8.0), ['S', 'N']);
        let meridians = across.ticks((map_width / 64.0).round().clamp(1.0, 9.0), ['W', 'E']);
        let content = map_width * columns as f32 + gaps;
        let needed = content + labels + 2.0 * MARGIN;
        let width = needed.max(NARROWEST);
        let mut layout = Self {
            columns,
            shared,
            left: MARGIN + labels + (width - needed) / 2.0,
            top: if headed { MARGIN + 30.0 } else { MARGIN / 2.0 },
            map_width,
            map_height,
            width,
            height: 0.0,
            parallels,
            meridians,
        };
        let bar = if shared { TICKS_HEIGHT + BAR_BLOCK } else { 0.0 };
        layout.height = layout.top + lines * layout.pitch() + bar + LEGEND_HEIGHT + MARGIN / 2.0;
        layout
    }

    /// Height of a row of panels.
    fn pitch(&self) -> f32 {
        let below = if self.shared { 4.0 } else { TICKS_HEIGHT + BAR_BLOCK + 8.0 };
        TITLE_HEIGHT + self.map_height + below
    }

    fn content_width(&self) -> f32 {
        self.columns as f32 * (self.map_width + COLUMN_GAP) - COLUMN_GAP
    }

    /// Top left corner of the `i`-th map.
    fn corner(&self, i: usize) -> (f32, f32) {
        let (line, column) = ((i / self.columns) as f32, (i % self.columns) as f32);
        let x = self.left + column * (self.map_width + COLUMN_GAP);
        (x.round(), (self.top + line * self.pitch() + TITLE_HEIGHT).round())
    }

    fn draw(&self, canvas: &mut Canvas, x: f32, y: f32, panel: &Panel, rows: &Cells, across: &Cells) {
        let size = fitting_size(panel.title, TITLE_SIZE, self.map_width);
        canvas.text(x, y - 9.0, size, Anchor::Left, panel.title);
        let is_land = |cell: usize| panel.land.get(cell).is_some_and(|&land| land);
        let colours: Vec<_> = (0..panel.values.len())
            .map(|i| if is_land(i) { LAND } else { panel.scale.colour(f64::from(panel.values[i])) })
            .collect();
        let (width, height) = (self.map_width as u32, self.map_height as u32);
        let columns: Vec<_> = (0..width).map(|p| across.at((f64::from(p) + 0.5) / f64::from(width))).collect();
        for p in 0..height {
            let row = rows.at(1.0 - (f64::from(p) + 0.5) / f64::from(height));
            for (q, column) in columns.iter().enumerate() {
                canvas.pixel(x as u32 + q as u32, y as u32 + p, colours[row * across.count() + column]);
            }
        }
        let coast = coastline(rows, across, is_land, |u, v| (x + u * self.map_width, y + (1.0 - v) * self.map_height));
        canvas.lines(&coast, INK, 1.3);
        canvas.frame(x - 1.0, y - 1.0, self.map_width + 2.0, self.map_height + 2.0, INK);
    }

    /// Parallels left of the first column; meridians below every column, or below every panel with its own colour bar.
    fn label_axes(&self, canvas: &mut Canvas, x: f32, y: f32, i: usize, panels: usize) {
        for (fraction, tick) in &self.parallels {
            let at = y + (1.0 - fraction) * self.map_height;
            canvas.line((x - 5.0, at), (x - 1.0, at), INK, 1.0);
            if i.is_multiple_of(self.columns) {
                canvas.text(x - 9.0, at + 4.5, TICK_SIZE, Anchor::Right, &tick.label);
            }
        }
        let bottom = y + self.map_height;
        let labelled = !self.shared || i + self.columns >= panels;
        for (fraction, tick) in self.meridians.iter().filter(|_| labelled) {
            let at = x + fraction * self.map_width;
            canvas.line((at, bottom + 1.0), (at, bottom + 5.0), INK, 1.0);
            // A label that would reach into the next panel's half of the gap is left out.
            let reach = font::width(&tick.label, TICK_SIZE) / 2.0 - (COLUMN_GAP / 2.0 - 3.0);
            if at - reach >= x && at + reach <= x + self.map_width {
                canvas.text(at, bottom + 19.0, TICK_SIZE, Anchor::Centre, &tick.label);
            }
        }
    }
}

/// Whether some sea value lies below and above its scale.
fn beyond(panels: &[&Panel]) -> [bool; 2] {
    let mut found = [false; 2];
    for panel in panels {
        for (i, &value) in panel.values.iter().enumerate() {
            if !panel.land.get(i).is_some_and(|&land| land) {
                let value = f64::from(value);
                found = [found[0] || value < panel.scale.low, found[1] || value > panel.scale.high];
            }
        }
    }
    found
}

/// What the two greys mean, ending at `right`.
fn legend(canvas: &mut Canvas, mut right: f32, baseline: f32, panels: &[Panel]) {
    let land = panels.iter().any(|p| p.land.contains(&true));
    let no_value = |p: &Panel| {
        let sea = |i: usize| !p.land.get(i).is_some_and(|&land| land);
        p.values.iter().enumerate().any(|(i, &v)| sea(i) && p.scale.fraction(f64::from(v)).is_none())
    };
    let missing = panels.iter().any(no_value);
    for (name, [r, g, b], shown) in [("no data", MISSING, missing), ("land", LAND, land)] {
        if !shown {
            continue;
        }
        canvas.text(right, baseline, TICK_SIZE, Anchor::Right, name);
        right -= font::width(name, TICK_SIZE) + 24.0;
        let colour: Colour = [r, g, b, 0xff];
        canvas.rectangle(right.round(), baseline - 11.0, 17.0, 12.0, colour);
        canvas.frame(right.round(), baseline - 11.0, 17.0, 12.0, INK);
        right -= 18.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Colormap;
    use tiny_skia::Pixmap;

    const LATITUDE: [f64; 3] = [10.0, 11.0, 12.0];
    const LONGITUDE: [f64; 4] = [178.0, 179.0, -180.0, -179.0];

    fn panel<'a>(values: &'a [f32], land: &'a [bool], high: f64) -> Panel<'a> {
        let colormap = Colormap::Viridis;
        let scale = Scale { low: 0.0, high, logarithmic: false, colormap, label: "m".into() };
        Panel { title: "Test", values, land, scale }
    }

    fn drawn(panels: &[Panel], latitude: &[f64]) -> Pixmap {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.png");
        maps(&path, panels, 2, latitude, &LONGITUDE, "Heading").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file is left");
        Pixmap::load_png(path).unwrap()
    }

    /// Whether the topmost pixel of `colour` lies above the topmost pixel of `other`.
    fn above(picture: &Pixmap, colour: [u8; 3], other: [u8; 3]) -> bool {
        let top = |c: [u8; 3]| picture.data().chunks(4).position(|p| p[..3] == c).unwrap();
        top(colour) < top(other)
    }

    #[test]
    fn picture_has_the_full_width_and_a_shared_bar_saves_height() {
        let values = [0.5; 12];
        let shared = drawn(&[panel(&values, &[], 1.0), panel(&values, &[], 1.0)], &LATITUDE);
        let own = drawn(&[panel(&values, &[], 1.0), panel(&values, &[], 2.0)], &LATITUDE);
        assert!((WIDTH - 1..=WIDTH).contains(&shared.width()), "{}", shared.width());
        assert_eq!(shared.width(), own.width());
        assert!(own.height() > 0 && shared.height() > 300);
    }

    #[test]
    fn north_is_up_whichever_way_latitude_runs() {
        let mut values = [0.0; 12];
        values[8..].fill(f32::NAN);
        let mut land = [false; 12];
        land[..4].fill(true);
        let picture = drawn(&[panel(&values, &land, 1.0)], &LATITUDE);
        assert!(above(&picture, MISSING, LAND), "the last row is the northern one");
        let picture = drawn(&[panel(&values, &land, 1.0)], &[12.0, 11.0, 10.0]);
        assert!(above(&picture, LAND, MISSING), "the first row is the northern one");
    }

    #[test]
    fn bad_shapes_are_named() {
        let path = Path::new("never-written.png");
        let message =
            |panel: Panel, latitude: &[f64]| maps(path, &[panel], 1, latitude, &LONGITUDE, "").unwrap_err().to_string();
        assert!(message(panel(&[0.0; 11], &[], 1.0), &LATITUDE).contains("11 values for a grid of 3 x 4"));
        assert!(message(panel(&[0.0; 12], &[true; 5], 1.0), &LATITUDE).contains("5 cells"));
        assert!(message(panel(&[0.0; 12], &[], 0.0), &LATITUDE).contains("no range"));
        assert!(message(panel(&[0.0; 12], &[], 1.0), &[1.0, 3.0, 2.0]).contains("latitude"));
        assert!(maps(path, &[], 1, &LATITUDE, &LONGITUDE, "").is_err());
        assert!(!path.exists());
    }
}
