//! What a model has to beat: estimates that need no gradient.
//!
//! Arrays are `[frames, nodes]`, in the units that the caller works in (log10 of chlorophyll, say), with a mask of the
//! cells that may be looked at: `visible`. No method reads any other cell. Where a node has nothing to go by, it takes
//! its value of `otherwise`, `[nodes]`.
//!
//! Fill gaps: [`Climatology`], [`linear_interpolation`], [`window_mean`], [`Dineof`], [`OptimalInterpolation`]. Forecast:
//! [`Climatology`], [`persistence`], [`seasonal_persistence`].

mod annual_cycle;
mod climatology;
mod dineof;
mod interpolation;
mod modes;
mod optimal_interpolation;
mod persistence;
mod variability;
mod window_mean;

pub use annual_cycle::CYCLE;
pub(crate) use annual_cycle::harmonics;
pub use climatology::{Climatology, Season};
pub use dineof::{Dineof, Reconstruction};
pub use interpolation::linear_interpolation;
pub use optimal_interpolation::OptimalInterpolation;
pub use persistence::{persistence, seasonal_persistence};
pub use variability::{MODES, Variability};
pub use window_mean::window_mean;

/// Writes `length` frames node by node from each node's visible (frame, value) pairs; nodes without any take
/// `otherwise`.
fn by_node(
    values: &[f32],
    visible: &[bool],
    otherwise: &[f32],
    length: usize,
    fill: impl Fn(&[(usize, f32)], &mut [f32]),
) -> Vec<f32> {
    let nodes = otherwise.len();
    let frames = values.len() / nodes.max(1);
    let mut all = vec![0.0; length * nodes];
    let mut series = vec![0.0; length];
    for node in 0..nodes {
        let frames = (0..frames).filter(|frame| visible[frame * nodes + node]);
        let known: Vec<(usize, f32)> = frames.map(|frame| (frame, values[frame * nodes + node])).collect();
        match known.is_empty() {
            true => series.fill(otherwise[node]),
            false => fill(&known, &mut series),
        }
        series.iter().enumerate().for_each(|(frame, value)| all[frame * nodes + node] = *value);
    }
    all
}
