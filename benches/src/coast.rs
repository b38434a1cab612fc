//! A plausible coast at Pearl-River size: a 60 x 96 grid with exactly 4443 sea cells.

use isobath_engine::{DType, Device, Result};
use isobath_models::stimp::region::{Region, RegionData, RegionOptions};

const HEIGHT: usize = 60;
const WIDTH: usize = 96;
/// Sea cells.
pub const NODES: usize = 4443;
/// Frames of a window: a year of 8-day composites.
pub const FRAMES: usize = 46;

/// The coast on a device.
///
/// # Errors
/// What the engine says.
pub fn region(device: &Device, options: RegionOptions) -> Result<Region> {
    let mut cells: Vec<usize> = (0..HEIGHT * WIDTH).collect();
    // Land where a smooth field is highest.
    let relief = |i: &usize| ((i / WIDTH) as f64 * 0.11).sin() + ((i % WIDTH) as f64 * 0.07).cos();
    cells.sort_by(|a, b| relief(a).total_cmp(&relief(b)));
    cells.truncate(NODES);
    cells.sort_unstable();
    let place = |row: usize, column: usize| cells.binary_search(&(row * WIDTH + column)).ok().map(|i| i as u32);
    let (mut offsets, mut neighbours) = (vec![0], Vec::new());
    for cell in &cells {
        let (row, column) = (cell / WIDTH, cell % WIDTH);
        for r in row.saturating_sub(1)..(row + 2).min(HEIGHT) {
            for c in column.saturating_sub(1)..(column + 2).min(WIDTH) {
                neighbours.extend(place(r, c));
            }
        }
        offsets.push(neighbours.len() as u32);
    }
    let plane = |scale: f32| -> Vec<f32> { (0..NODES).map(|i| scale * (i as f32 * 0.01).sin()).collect() };
    let data = RegionData {
        offsets: &offsets,
        neighbours: &neighbours,
        mean: &plane(0.3),
        std: &plane(0.2),
        variability: None,
        places: &[],
        low: &[-2.0; NODES],
        high: &[2.0; NODES],
        row: &plane(1.0),
        column: &plane(1.0),
    };
    Region::new(device, &data, options, DType::F32)
}

/// Made-up values of a window `[FRAMES, NODES]`.
pub fn values() -> Vec<f32> {
    (0..FRAMES * NODES).map(|i| (i as f32 * 0.013).sin()).collect()
}

/// A mask that has about six cells in ten of a window `[FRAMES, NODES]`.
pub fn observed() -> Vec<bool> {
    (0..FRAMES * NODES).map(|i| i * 2_654_435_761 % 10 > 3).collect()
}
