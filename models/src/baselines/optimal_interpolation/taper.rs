//! A correlation between cells of a grid that is 0 a few cells away.

/// Cells that the bump reaches; correlations reach twice as far.
pub(super) const REACH: i32 = 4;
/// Cells over which the bump falls to 1/e.
const FALL: f32 = 2.0;

/// The correlation of white noise that a bump, exp(-distance / 2) up to 4 cells, has been drawn over: positive definite on any
/// set of cells, 1 for a cell with itself, and as easily drawn from as it is multiplied by.
pub(super) struct Taper {
    /// The bump in its box, `[2 REACH + 1, 2 REACH + 1]`, its squares of sum 1.
    bump: Vec<f32>,
}

/// Side of the bump's box.
const SIDE: i32 = 2 * REACH + 1;

impl Taper {
    pub(super) fn new() -> Self {
        let height = |[row, column]: [i32; 2]| {
            let distance = (row as f32).hypot(column as f32);
            if distance <= REACH as f32 { (-distance / FALL).exp() } else { 0.0 }
        };
        let bump: Vec<f32> = square(REACH).map(height).collect();
        let size = bump.iter().map(|h| h * h).sum::<f32>().sqrt();
        Taper { bump: bump.into_iter().map(|h| h / size).collect() }
    }

    /// The bump's height so many rows and columns from its middle.
    fn height(&self, [row, column]: [i32; 2]) -> f32 {
        let inside = row.abs() <= REACH && column.abs() <= REACH;
        if inside { self.bump[((row + REACH) * SIDE + column + REACH) as usize] } else { 0.0 }
    }

    /// The cells under the bump, and its height there.
    pub(super) fn bump(&self) -> impl Iterator<Item = ([i32; 2], f32)> {
        square(REACH).map(|offset| (offset, self.height(offset))).filter(|(_, height)| *height > 0.0)
    }

    /// The correlation of two cells so many rows and columns apart.
    pub(super) fn at(&self, [row, column]: [i32; 2]) -> f32 {
        self.bump().map(|([r, c], height)| height * self.height([r + row, c + column])).sum()
    }

    /// Every offset at which cells are correlated, row by row, with their correlation.
    pub(super) fn offsets(&self) -> std::vec::IntoIter<([i32; 2], f32)> {
        let all = square(2 * REACH).map(|offset| (offset, self.at(offset)));
        all.filter(|(_, value)| *value > 0.0).collect::<Vec<_>>().into_iter()
    }
}

/// Offsets of at most so many rows and columns, row by row.
fn square(reach: i32) -> impl Iterator<Item = [i32; 2]> {
    (-reach..=reach).flat_map(move |row| (-reach..=reach).map(move |column| [row, column]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taper_falls_from_one_to_nothing() {
        let taper = Taper::new();
        let along: Vec<f32> = (0..=2 * REACH + 1).map(|column| taper.at([0, column])).collect();
        assert!((along[0] - 1.0).abs() < 1e-6 && along[9] == 0.0, "{along:?}");
        assert!(along.windows(2).take(9).all(|pair| pair[0] > pair[1]), "{along:?}");
        assert!(taper.offsets().all(|([r, c], value)| (value - taper.at([-r, -c])).abs() < 1e-6));
    }
}
