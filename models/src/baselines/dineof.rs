//! DINEOF: data-interpolating empirical orthogonal functions (Beckers and Rixen 2003; Alvera-Azcárate et al. 2005).
//!
//! What each node and each frame add to the field is fitted first (centring both ways). Gaps of the rest, X [frames,
//! nodes], start at 0; a truncated singular value decomposition of X fills them anew until they stay. How many modes are
//! kept is decided by cells that are withheld from it.
//!
//! The decomposition is never computed as such. With U [frames, rank] orthonormal, one pass over the nodes takes
//! P = Uᵀ X, puts U P into the gaps, and sums X Pᵀ, whose orthonormal basis is the next U: a step of orthogonal
//! iteration and a filling in one. It stands still exactly where U spans the leading left singular vectors of the filled
//! X. That costs 3 frames x nodes x rank multiplications a pass, less than a Gram matrix while rank < frames / 6, and
//! needs no linear algebra beyond Gram-Schmidt.

use super::modes::{add_scaled, dot, orthonormalise};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::index;
use rayon::prelude::*;

/// Nodes that one task takes; fixed, so that sums have one order on any number of threads.
const NODES_TOGETHER: usize = 128;
/// Ranks without a better cross-validation error before the search ends.
const PATIENCE: usize = 3;
/// Rounds of the centring, which alternates between nodes and frames.
const CENTRING: usize = 100;

/// How gaps are filled; the defaults are the usual ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Dineof {
    /// Most modes to try.
    pub max_rank: usize,
    /// Fraction of the visible cells that is withheld to choose the rank.
    pub withheld: f64,
    /// Relative change of the filled matrix (Frobenius norm) below which the iteration ends.
    pub tolerance: f64,
    /// Most passes for each rank.
    pub passes: usize,
    /// Seed of the choice of the withheld cells.
    pub seed: u64,
}

impl Default for Dineof {
    fn default() -> Self {
        Dineof { max_rank: 40, withheld: 0.1, tolerance: 1e-5, passes: 300, seed: 1234 }
    }
}

/// A field without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    /// `[frames, nodes]`; visible cells keep their values.
    pub values: Vec<f32>,
    /// Modes kept; with 0 a gap is the sum of what its node and its frame add.
    pub rank: usize,
    /// Root mean square error at the withheld cells; not a number when there were too few cells to withhold any.
    pub error: f64,
}

impl Dineof {
    /// Fills the gaps of `values [frames, nodes]`. A node that is never seen moves with all others round its value of
    /// `otherwise`; so does the field in a frame without data, round the level of each node.
    pub fn fill(&self, values: &[f32], visible: &[bool], otherwise: &[f32]) -> Reconstruction {
        let nodes = otherwise.len();
        let cells: Vec<usize> = (0..values.len()).filter(|&cell| visible[cell]).collect();
        let withheld = self.withhold(&cells);
        let mut shown = visible.to_vec();
        withheld.iter().for_each(|&cell| shown[cell] = false);
        let (rank, error) = self.choose_rank(Anomalies::new(values, &shown, otherwise), values, &withheld);
        let mut x = Anomalies::new(values, visible, otherwise);
        self.fit(&mut x, rank, |_, _| true);
        let at = |cell: usize| if visible[cell] { values[cell] } else { x.estimate(cell / nodes, cell % nodes) as f32 };
        Reconstruction { values: (0..values.len()).map(at).collect(), rank, error }
    }

    /// The cells to withhold, of those that are visible.
    fn withhold(&self, cells: &[usize]) -> Vec<usize> {
        let count = (self.withheld.clamp(0.0, 1.0) * cells.len() as f64).ceil() as usize;
        // One cell must stay.
        let count = count.min(cells.len().saturating_sub(1));
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        index::sample(&mut random, cells.len(), count).into_iter().map(|choice| cells[choice]).collect()
    }

    /// The rank with the least error at the cells `withheld` of `values`, and this error.
    fn choose_rank(&self, mut x: Anomalies, values: &[f32], withheld: &[usize]) -> (usize, f64) {
        if withheld.is_empty() {
            return (0, f64::NAN);
        }
        let nodes = x.of_node.len();
        let error = |x: &Anomalies| {
            let difference = |cell: usize| x.estimate(cell / nodes, cell % nodes) - f64::from(values[cell]);
            let squares = withheld.iter().map(|&cell| difference(cell).powi(2));
            (squares.sum::<f64>() / withheld.len() as f64).sqrt()
        };
        let mut best = (0, error(&x));
        let most = self.max_rank.min(x.of_frame.len() - 1).min(nodes - 1);
        self.fit(&mut x, most, |rank, x| {
            let found = error(x);
            if found < best.1 {
                best = (rank, found);
            }
            rank < best.0 + PATIENCE
        });
        best
    }

    /// Fills the gaps with one mode, two modes and so on to `rank`, each from where the last one stood; `go_on` sees
    /// every rank when it is done.
    fn fit(&self, x: &mut Anomalies, rank: usize, mut go_on: impl FnMut(usize, &Anomalies) -> bool) {
        let mut modes = Vec::new();
        for rank in 1..=rank {
            modes.extend(x.largest_residual(&modes));
            orthonormalise(&mut modes, x.of_frame.len());
            for _ in 0..self.passes {
                let pass = x.pass(&modes);
                modes = pass.next;
                orthonormalise(&mut modes, x.of_frame.len());
                if pass.change <= self.tolerance.powi(2) * pass.size {
                    break;
                }
            }
            if !go_on(rank, x) {
                break;
            }
        }
    }
}

/// Deviations from what nodes and frames add, node by node, so that a node's series is in cache.
struct Anomalies {
    /// `[nodes, frames]`; 0 in a gap that is not yet filled.
    values: Vec<f64>,
    /// Whether a value is given, `[nodes, frames]`.
    seen: Vec<bool>,
    /// What each node adds: its level.
    of_node: Vec<f64>,
    /// What each frame adds; the mean over frames with data is 0.
    of_frame: Vec<f64>,
}

/// What a pass over all nodes leaves.
struct Pass {
    /// X Pᵀ, `[rank, frames]`.
    next: Vec<f64>,
    /// Sum of the squared changes of the gaps.
    change: f64,
    /// Sum of all squares after the pass.
    size: f64,
}

impl Anomalies {
    /// Centres `values [frames, nodes]` by least squares over the `shown` cells; a node without any has the level
    /// `otherwise`.
    fn new(values: &[f32], shown: &[bool], otherwise: &[f32]) -> Self {
        let nodes = otherwise.len();
        let frames = values.len() / nodes.max(1);
        let by_node = || (0..nodes).flat_map(|node| (0..frames).map(move |frame| frame * nodes + node));
        let seen: Vec<bool> = by_node().map(|cell| shown[cell]).collect();
        let value = |cell: usize| if shown[cell] { f64::from(values[cell]) } else { 0.0 };
        let mut x = Anomalies {
            values: by_node().map(value).collect(),
            seen,
            of_node: otherwise.iter().map(|level| f64::from(*level)).collect(),
            of_frame: vec![0.0; frames],
        };
        for _ in 0..CENTRING {
            x.centre_nodes();
            x.centre_frames();
        }
        x.centre_nodes();
        for (i, value) in x.values.iter_mut().enumerate().filter(|(i, _)| x.seen[*i]) {
            *value -= x.of_node[i / frames] + x.of_frame[i % frames];
        }
        x
    }

    /// Sets the level of each node that is seen to the mean of what its frames leave.
    fn centre_nodes(&mut self) {
        let frames = self.of_frame.len();
        for (node, level) in self.of_node.iter_mut().enumerate() {
            let seen = (0..frames).filter(|frame| self.seen[node * frames + frame]);
            let rest = seen.map(|frame| self.values[node * frames + frame] - self.of_frame[frame]);
            let (sum, count) = rest.fold((0.0, 0), |(sum, count), rest| (sum + rest, count + 1));
            if count > 0 {
                *level = sum / f64::from(count);
            }
        }
    }

    /// Sets what each frame adds to the mean of what the nodes leave, less the mean over all frames with data.
    fn centre_frames(&mut self) {
        let frames = self.of_frame.len();
        let mut sums = vec![(0.0, 0u32); frames];
        for (i, value) in self.values.iter().enumerate().filter(|(i, _)| self.seen[*i]) {
            let (sum, count) = &mut sums[i % frames];
            (*sum, *count) = (*sum + value - self.of_node[i / frames], *count + 1);
        }
        let means: Vec<Option<f64>> =
            sums.iter().map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count))).collect();
        let known = means.iter().flatten().count().max(1) as f64;
        let centre = means.iter().flatten().sum::<f64>() / known;
        self.of_frame = means.into_iter().map(|mean| mean.map_or(0.0, |mean| mean - centre)).collect();
    }

    /// The field as it stands.
    fn estimate(&self, frame: usize, node: usize) -> f64 {
        self.of_node[node] + self.of_frame[frame] + self.values[node * self.of_frame.len() + frame]
    }

    /// Fills the gaps from the orthonormal `modes [rank, frames]`.
    fn pass(&mut self, modes: &[f64]) -> Pass {
        let frames = self.of_frame.len();
        let of_chunk = |(values, seen): (&mut [f64], &[bool])| {
            let mut pass = Pass { next: vec![0.0; modes.len()], change: 0.0, size: 0.0 };
            let mut filled = vec![0.0; frames];
            for (x, seen) in values.chunks_mut(frames).zip(seen.chunks(frames)) {
                let scores: Vec<f64> = modes.chunks(frames).map(|mode| dot(mode, x)).collect();
                filled.fill(0.0);
                modes.chunks(frames).zip(&scores).for_each(|(mode, score)| add_scaled(&mut filled, *score, mode));
                for ((x, new), _) in x.iter_mut().zip(&filled).zip(seen).filter(|(_, seen)| !**seen) {
                    pass.change += (*x - new).powi(2);
                    *x = *new;
                }
                pass.size += dot(x, x);
                pass.next.chunks_mut(frames).zip(&scores).for_each(|(next, score)| add_scaled(next, *score, x));
            }
            pass
        };
        let chunk = NODES_TOGETHER * frames;
        let passes: Vec<Pass> =
            self.values.par_chunks_mut(chunk).zip(self.seen.par_chunks(chunk)).map(of_chunk).collect();
        let mut total = Pass { next: vec![0.0; modes.len()], change: 0.0, size: 0.0 };
        for pass in passes {
            add_scaled(&mut total.next, 1.0, &pass.next);
            total.change += pass.change;
            total.size += pass.size;
        }
        total
    }

    /// What `modes` leave of the series of which they leave most: the next mode to try.
    fn largest_residual(&self, modes: &[f64]) -> Vec<f64> {
        let frames = self.of_frame.len();
        let residual = |x: &[f64]| {
            let mut rest = x.to_vec();
            modes.chunks(frames).for_each(|mode| add_scaled(&mut rest, -dot(mode, x), mode));
            rest
        };
        let size = |rest: &Vec<f64>| dot(rest, rest);
        let residuals = self.values.chunks(frames).map(residual);
        residuals.max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
