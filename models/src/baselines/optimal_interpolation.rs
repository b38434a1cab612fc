//! Optimal interpolation (Gandin 1963; Bretherton et al. 1976): the best linear estimate of a field from what is seen of
//! it, its error and the covariance of its anomalies.
//!
//! With y the anomalies of the visible cells in units of their standard deviation, the estimate everywhere is
//! C Mᵀ (M C Mᵀ + ε I)⁻¹ y, where M picks the visible cells. C = R ⊗ K: between nodes R as [`Variability`] learnt it, the
//! leading modes and an independent rest, times a taper to 0 over a few cells (Gaspari and Cohn 1999 say why); between
//! frames K = λ + (1 - λ) φ^lag, a level of the whole window and what persists from frame to frame. Conjugate gradients
//! solve for all frames together; time and memory grow with the number of cells.

mod errors;
mod taper;

use super::annual_cycle::{CYCLE, cycle_at, terms};
use super::variability::{MODES, Variability};
use rayon::prelude::*;
use taper::Taper;

// The numbers were chosen on hidden cells of the training frames of `chl_hawaii` and of the record of 2021 of `chl_vancouver`.

/// λ: share of a window's variance in its level.
const LEVEL: f32 = 0.3;
/// ε: variance of the error of a value, against that of the anomalies.
const ERROR: f32 = 0.1;
/// Size of the residual, against that of y, at which the solution is good enough.
const TOLERANCE: f64 = 3e-2;
/// Most iterations.
const ITERATIONS: usize = 300;
/// Nodes that one task takes.
const NODES_TOGETHER: usize = 64;
/// Nodes whose correlations are computed before they are stored.
const TOGETHER: usize = 4096;

/// Fills the gaps of windows on one region.
pub struct OptimalInterpolation {
    variability: Variability,
    /// Row and column of each node.
    places: Vec<[u32; 2]>,
    taper: Taper,
    /// R in compressed rows: starts, `[n + 1]`.
    offsets: Vec<usize>,
    /// Correlated nodes.
    neighbours: Vec<u32>,
    /// Their correlations.
    correlations: Vec<f32>,
}

/// What of a window is seen, `[n, t]`.
struct Window {
    /// Anomalies in standard deviations, 0 where nothing is visible.
    anomalies: Vec<f32>,
    /// Whether a cell is visible.
    visible: Vec<bool>,
    frames: usize,
}

impl Window {
    /// A window of which nothing is seen.
    fn blind(nodes: usize, frames: usize) -> Self {
        Window { anomalies: vec![0.0; nodes * frames], visible: vec![false; nodes * frames], frames }
    }

    /// Makes a cell visible.
    fn see(&mut self, cell: usize, anomaly: f32) {
        (self.anomalies[cell], self.visible[cell]) = (anomaly, true);
    }
}

impl OptimalInterpolation {
    /// For nodes at `places`, the row and the column of each on its grid.
    ///
    /// # Panics
    /// When `variability` is of another number of nodes.
    pub fn new(variability: Variability, places: &[[u32; 2]]) -> Self {
        assert!(variability.complaint(places.len()).is_none(), "places: expected one for each node");
        let taper = Taper::new();
        let lookup = Lookup::new(places);
        let near: Vec<([i32; 2], f32)> = taper.offsets().collect();
        let of_node = |node: usize| {
            let near = near.iter().filter_map(|(offset, taper)| Some((lookup.node(places[node], *offset)?, taper)));
            near.map(|(other, taper)| (other as u32, taper * correlation(&variability.modes, node, other))).collect()
        };
        let (mut offsets, mut neighbours, mut correlations) = (vec![0], Vec::new(), Vec::new());
        // Some nodes at a time, so that the rows are never all there twice.
        for first in (0..places.len()).step_by(TOGETHER) {
            let nodes = first..(first + TOGETHER).min(places.len());
            let rows: Vec<Vec<(u32, f32)>> = nodes.into_par_iter().map(of_node).collect();
            for row in rows {
                neighbours.extend(row.iter().map(|(other, _)| other));
                correlations.extend(row.iter().map(|(_, value)| value));
                offsets.push(neighbours.len());
            }
        }
        neighbours.shrink_to_fit();
        correlations.shrink_to_fit();
        OptimalInterpolation { variability, places: places.to_vec(), taper, offsets, neighbours, correlations }
    }

    /// The estimate of every cell of a window `[t, n]` at the times of year `phases` `[t]`, the visible ones too.
    pub fn fill(&self, phases: &[f32], values: &[f32], visible: &[bool]) -> Vec<f32> {
        let (nodes, frames) = (self.variability.nodes(), phases.len());
        let terms: Vec<[f64; CYCLE]> = phases.iter().map(|phase| terms(*phase)).collect();
        let cycle =
            |node: usize, t: usize| cycle_at(&self.variability.cycle[node * CYCLE..][..CYCLE], &terms[t]) as f32;
        let mut window = Window::blind(nodes, frames);
        for (node, std) in self.variability.std.iter().enumerate().filter(|(_, std)| **std > 0.0) {
            for t in (0..frames).filter(|t| visible[t * nodes + node]) {
                window.see(node * frames + t, (values[t * nodes + node] - cycle(node, t)) / std);
            }
        }
        let estimate = self.covariance(&self.solve(window), frames);
        let at = |cell: usize| {
            let (t, node) = (cell / nodes, cell % nodes);
            cycle(node, t) + self.variability.std[node] * estimate[node * frames + t]
        };
        (0..values.len()).map(at).collect()
    }

    /// (M C Mᵀ + ε I)⁻¹ y, 0 where nothing is visible, by conjugate gradients (Hestenes and Stiefel 1952).
    fn solve(&self, window: Window) -> Vec<f32> {
        let (mut solution, mut residual) = (vec![0.0; window.anomalies.len()], window.anomalies);
        let mut direction = residual.clone();
        let mut size = dot(&residual, &residual);
        let enough = size * TOLERANCE * TOLERANCE;
        for _ in 0..ITERATIONS {
            if size <= enough {
                break;
            }
            let mut image = self.covariance(&direction, window.frames);
            for ((image, direction), visible) in image.iter_mut().zip(&direction).zip(&window.visible) {
                *image = if *visible { *image + ERROR * direction } else { 0.0 };
            }
            let step = (size / dot(&direction, &image)) as f32;
            solution.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            residual.iter_mut().zip(&image).for_each(|(r, a)| *r -= step * a);
            let before = size;
            size = dot(&residual, &residual);
            let keep = (size / before) as f32;
            direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + keep * *d);
        }
        solution
    }

    /// C x for x `[n, t]`.
    fn covariance(&self, x: &[f32], frames: usize) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        let chunk = NODES_TOGETHER * frames;
        out.par_chunks_mut(chunk).enumerate().for_each(|(chunk, out)| {
            for (i, out) in out.chunks_mut(frames).enumerate() {
                let node = chunk * NODES_TOGETHER + i;
                let row = self.offsets[node]..self.offsets[node + 1];
                for (other, correlation) in self.neighbours[row.clone()].iter().zip(&self.correlations[row]) {
                    let x = &x[*other as usize * frames..][..frames];
                    out.iter_mut().zip(x).for_each(|(out, x)| *out += correlation * x);
                }
                between_frames(out, self.variability.persistence);
            }
        });
        out
    }
}

/// K x in place for the frames of one node. φ^lag sums what comes from before and what comes from after, each of them
/// from one frame to the next.
fn between_frames(x: &mut [f32], persistence: f32) {
    let level = LEVEL * x.iter().sum::<f32>();
    let mut after = vec![0.0; x.len()];
    let mut carried = 0.0;
    for (after, x) in after.iter_mut().zip(x.iter()).rev() {
        *after = carried;
        carried = persistence * (carried + x);
    }
    let mut before = 0.0;
    for (x, after) in x.iter_mut().zip(after) {
        let own = *x;
        *x = level + (1.0 - LEVEL) * (before + own + after);
        before = persistence * (before + own);
    }
}

/// The correlation of two nodes before the taper: what the modes explain, and of the rest all that the taper lets pass.
fn correlation(modes: &[f32], a: usize, b: usize) -> f32 {
    let (a, b) = (&modes[a * MODES..][..MODES], &modes[b * MODES..][..MODES]);
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() + rest(a) * rest(b)
}

/// What a node's modes leave of its standard deviation.
fn rest(modes: &[f32]) -> f32 {
    (1.0 - modes.iter().map(|mode| mode * mode).sum::<f32>()).max(0.0).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
}

/// The nodes of a grid by their pixel.
struct Lookup {
    height: u32,
    width: u32,
    /// Node of every pixel, or none.
    nodes: Vec<u32>,
}

impl Lookup {
    const NONE: u32 = u32::MAX;

    fn new(places: &[[u32; 2]]) -> Self {
        let end = |axis: usize| places.iter().map(|place| place[axis] + 1).max().unwrap_or(0);
        let (height, width) = (end(0), end(1));
        let mut nodes = vec![Self::NONE; (height * width) as usize];
        places.iter().enumerate().for_each(|(node, [r, c])| nodes[(r * width + c) as usize] = node as u32);
        Lookup { height, width, nodes }
    }

    /// The node so many rows and columns from a place, if there is one.
    fn node(&self, [row, column]: [u32; 2], [down, right]: [i32; 2]) -> Option<usize> {
        let (row, column) = (row.checked_add_signed(down)?, column.checked_add_signed(right)?);
        let inside = row < self.height && column < self.width;
        let node = *self.nodes.get(inside.then_some((row * self.width + column) as usize)?)?;
        (node != Self::NONE).then_some(node as usize)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Nodes in a row, without modes: correlated by distance alone.
    pub(super) fn row(nodes: u32, persistence: f32) -> OptimalInterpolation {
        let n = nodes as usize;
        let cycle = (0..n).flat_map(|node| [node as f32, 0.5, 0.0, 0.0, 0.0]).collect();
        let variability = Variability { cycle, std: vec![2.0; n], modes: vec![0.0; n * MODES], persistence };
        OptimalInterpolation::new(variability, &(0..nodes).map(|c| [0, c]).collect::<Vec<_>>())
    }

    #[test]
    fn one_value_spreads_by_its_correlation() {
        let filled = row(12, 0.0).fill(&[0.25], &[1.5 + 3.0; 12], &std::array::from_fn::<_, 12, _>(|i| i == 1));
        let cycle = |node: usize| node as f32 + 0.5;
        for (node, filled) in filled.into_iter().enumerate() {
            let expected = cycle(node) + 3.0 * Taper::new().at([0, node as i32 - 1]) / (1.0 + ERROR);
            assert!((filled - expected).abs() < 1e-5, "node {node}: {filled}, expected {expected}");
        }
    }

    #[test]
    fn frames_share_a_level_and_what_persists() {
        let (phases, values) = ([0.0; 3], [4.0, 0.0, 0.0]);
        let filled = row(1, 0.5).fill(&phases, &values, &[true, false, false]);
        for (lag, filled) in filled.into_iter().enumerate() {
            let between = LEVEL + (1.0 - LEVEL) * 0.5f32.powi(lag as i32);
            assert!((filled - 4.0 * between / (1.0 + ERROR)).abs() < 1e-5, "lag {lag}: {filled}");
        }
    }

    #[test]
    fn the_solution_solves() {
        let interpolation = row(30, 0.3);
        let mut window = Window::blind(30, 5);
        let seen: Vec<usize> = (0..150).filter(|i| i % 7 < 3).collect();
        seen.iter().for_each(|i| window.see(*i, (*i as f32 * 1.3).sin()));
        let anomalies = window.anomalies.clone();
        let solution = interpolation.solve(window);
        let image = interpolation.covariance(&solution, 5);
        let left: Vec<f32> = seen.iter().map(|i| image[*i] + ERROR * solution[*i] - anomalies[*i]).collect();
        assert!(dot(&left, &left) <= 1.1 * TOLERANCE.powi(2) * dot(&anomalies, &anomalies));
        assert!((0..150).all(|i| seen.contains(&i) || solution[i] == 0.0));
    }

    #[test]
    fn without_data_the_cycle_is_all() {
        let filled = row(3, 0.3).fill(&[0.25, 0.75], &[9.0; 6], &[false; 6]);
        assert!(filled.iter().zip([0.5, 1.5, 2.5, -0.5, 0.5, 1.5]).all(|(a, b)| (a - b).abs() < 1e-6), "{filled:?}");
    }
}
