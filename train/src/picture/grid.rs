//! The cells of a latitude-longitude grid: their boundaries, their places on a map and the coast between them.

use super::invalid;
use super::ticks::{self, Tick};
use std::io;

/// The cells of one axis, from south to north or from west to east.
pub(crate) struct Cells {
    /// Cell boundaries in rising order, one more than there are cells.
    edges: Vec<f64>,
    /// Whether the data run the other way.
    falling: bool,
}

impl Cells {
    pub(crate) fn new(name: &str, mut centres: Vec<f64>) -> io::Result<Self> {
        let falling = centres.len() > 1 && centres[1] < centres[0];
        if falling {
            centres.reverse();
        }
        let rising = centres.windows(2).all(|c| c[0] < c[1]);
        if centres.is_empty() || !rising || !centres.iter().all(|c| c.is_finite()) {
            return Err(invalid(format!("{name}: expected finite degrees that only rise or only fall")));
        }
        let n = centres.len();
        let half = |i: usize| {
            if n > 1 { (centres[i + 1] - centres[i]) / 2.0 } else { 0.5 }
        };
        let mut edges = vec![centres[0] - half(0)];
        edges.extend(centres.windows(2).map(|c| (c[0] + c[1]) / 2.0));
        edges.push(centres[n - 1] + half(n.saturating_sub(2)));
        Ok(Self { edges, falling })
    }

    /// Cell boundaries in rising order.
    pub(crate) fn edges(&self) -> &[f64] {
        &self.edges
    }

    pub(crate) fn count(&self) -> usize {
        self.edges.len() - 1
    }

    pub(crate) fn low(&self) -> f64 {
        self.edges[0]
    }

    pub(crate) fn high(&self) -> f64 {
        self.edges[self.count()]
    }

    /// Index in the data of the `i`-th cell from the low end.
    pub(crate) fn index(&self, i: usize) -> usize {
        if self.falling { self.count() - 1 - i } else { i }
    }

    /// Index in the data of the cell at `fraction` of the axis.
    pub(crate) fn at(&self, fraction: f64) -> usize {
        let place = self.low() + fraction * (self.high() - self.low());
        self.index(self.edges[1..self.count()].partition_point(|&e| e <= place))
    }

    pub(crate) fn fraction(&self, place: f64) -> f32 {
        ((place - self.low()) / (self.high() - self.low())) as f32
    }

    /// Ticks with their places as fractions of the axis.
    pub(super) fn ticks(&self, count: f32, hemispheres: [char; 2]) -> Vec<(f32, Tick)> {
        let ticks = ticks::degrees(self.low(), self.high(), count as usize, hemispheres);
        ticks.into_iter().map(|t| (self.fraction(t.value), t)).collect()
    }
}

/// Longitudes made continuous across the date line or the prime meridian.
pub(crate) fn unwrapped(longitude: &[f64]) -> Vec<f64> {
    let mut turned = longitude.to_vec();
    for i in 1..turned.len() {
        let step = turned[i] - turned[i - 1];
        if step.abs() > 180.0 {
            turned[i] -= 360.0 * (step / 360.0).round();
        }
    }
    turned
}

/// The borders between land and sea cells; `place` takes fractions of the axes to pixels.
pub(super) fn coastline(
    rows: &Cells,
    across: &Cells,
    is_land: impl Fn(usize) -> bool,
    place: impl Fn(f32, f32) -> (f32, f32),
) -> Vec<Vec<(f32, f32)>> {
    let land = |i: usize, j: usize| is_land(rows.index(i) * across.count() + across.index(j));
    let corner = |i: usize, j: usize| place(across.fraction(across.edges[j]), rows.fraction(rows.edges[i]));
    let mut borders = Vec::new();
    for i in 0..rows.count() {
        for j in 0..across.count() {
            if j + 1 < across.count() && land(i, j) != land(i, j + 1) {
                borders.push(vec![corner(i, j + 1), corner(i + 1, j + 1)]);
            }
            if i + 1 < rows.count() && land(i, j) != land(i + 1, j) {
                borders.push(vec![corner(i + 1, j), corner(i + 1, j + 1)]);
            }
        }
    }
    borders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_whichever_way_they_run() {
        let rising = Cells::new("latitude", vec![0.0, 1.0, 3.0]).unwrap();
        assert_eq!(rising.edges, [-0.5, 0.5, 2.0, 4.0]);
        assert_eq!([rising.at(0.0), rising.at(0.5), rising.at(1.0)], [0, 1, 2]);
        let falling = Cells::new("latitude", vec![3.0, 1.0, 0.0]).unwrap();
        assert_eq!(falling.edges, rising.edges);
        assert_eq!([falling.at(0.0), falling.at(0.5), falling.at(1.0)], [2, 1, 0]);
    }

    #[test]
    fn longitudes_continue_across_the_date_line() {
        assert_eq!(unwrapped(&[178.0, 179.0, -180.0, -179.0]), [178.0, 179.0, 180.0, 181.0]);
        assert_eq!(unwrapped(&[359.0, 0.0, 1.0]), [359.0, 360.0, 361.0]);
    }

    #[test]
    fn an_island_of_one_cell_has_four_borders() {
        let axis = || Cells::new("latitude", vec![0.0, 1.0, 2.0]).unwrap();
        let borders = coastline(&axis(), &axis(), |cell| cell == 4, |u, v| (3.0 * u, 3.0 * v));
        assert_eq!(borders.len(), 4);
        assert!(borders.iter().flatten().all(|&(x, y)| (0.99..2.01).contains(&x) && (0.99..2.01).contains(&y)));
    }
}
