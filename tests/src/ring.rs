//! A small region for whole models: a ring of nodes, each with itself and its two neighbours.

use isobath_engine::{DType, Device, Result};
use isobath_models::baselines::Variability;
use isobath_models::stimp::region::{Region, RegionData, RegionOptions};

/// Nodes of the ring.
pub const NODES: usize = 9;

/// The ring, with features that differ from node to node and values between -1.5 and 1.5.
pub fn region(device: &Device, options: RegionOptions, dtype: DType) -> Result<Region> {
    let n = NODES as u32;
    let offsets: Vec<u32> = (0..=n).map(|i| 3 * i).collect();
    let neighbours: Vec<u32> = (0..n).flat_map(|i| [(i + n - 1) % n, i, (i + 1) % n]).collect();
    let plane = |scale: f32| -> Vec<f32> { (0..NODES).map(|i| scale * (i as f32 * 0.7).sin()).collect() };
    let (low, high) = (vec![-1.5; NODES], vec![1.5; NODES]);
    let values: Vec<f32> = (0..40 * NODES).map(|i| 0.3 * (i as f32 * 0.9).cos()).collect();
    let phases: Vec<f32> = (0..40).map(|t| t as f32 / 12.0 % 1.0).collect();
    let variability = Variability::learn(&values, &[true; 40 * NODES], &phases);
    let places: Vec<[u32; 2]> = (0..n).map(|column| [0, column]).collect();
    let data = RegionData {
        offsets: &offsets,
        neighbours: &neighbours,
        mean: &plane(0.5),
        std: &plane(0.2),
        variability: Some(&variability),
        places: &places,
        low: &low,
        high: &high,
        row: &plane(0.9),
        column: &plane(0.4),
    };
    Region::new(device, &data, options, dtype)
}
