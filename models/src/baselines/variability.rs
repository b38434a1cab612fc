//! How the nodes of a region vary: each one's annual cycle, and how what they depart from it goes together.

use super::annual_cycle::{CYCLE, annual_cycle, cycle_at, terms};
use super::modes::{add_scaled, dot, orthonormalise};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Empirical orthogonal functions that are kept.
pub const MODES: usize = 16;
/// Passes of the orthogonal iteration; what they leave of a mode counts as local.
const PASSES: usize = 8;
/// Largest correlation from frame to frame: nothing lasts forever.
const LONGEST: f64 = 0.95;
/// Observations that the region's variance weighs as much as in a node's own.
const USUAL: f64 = 20.0;
/// Observations of a node of which half its share in the modes is believed.
const HALF: f64 = 60.0;
/// Nodes that one task takes; fixed, so that sums have one order on any number of threads.
const NODES_TOGETHER: usize = 128;

/// What training frames say of how nodes vary; anomalies are departures from the annual cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variability {
    /// Annual cycle, `[n, CYCLE]`: mean, then a sine and a cosine of each harmonic of the year.
    pub cycle: Vec<f32>,
    /// Standard deviation of the anomalies, `[n]`, drawn to that of the region where few were observed.
    pub std: Vec<f32>,
    /// Leading eigenvectors of the correlation matrix of the anomalies times the roots of their eigenvalues,
    /// `[n, MODES]`, drawn to 0 where few were observed: the product of two rows is the part of the nodes' correlation
    /// that these modes explain.
    pub modes: Vec<f32>,
    /// Correlation of anomalies from one frame to the next, between 0 and 0.95.
    pub persistence: f32,
}

impl Variability {
    /// Learns from the observed cells of `[t, n]` at the times of year `phases` `[t]`.
    pub fn learn(values: &[f32], observed: &[bool], phases: &[f32]) -> Self {
        let cycle = annual_cycle(values, observed, phases);
        let (frames, nodes) = (phases.len(), values.len() / phases.len().max(1));
        let mut anomalies = anomalies(&cycle, values, observed, phases);
        let count = |node: usize| (0..frames).filter(|t| observed[t * nodes + node]).count() as f64;
        let counts: Vec<f64> = (0..nodes).map(count).collect();
        let usual = dot(&anomalies, &anomalies) / counts.iter().sum::<f64>().max(1.0);
        let mut std = Vec::with_capacity(nodes);
        for (series, count) in anomalies.chunks_mut(frames.max(1)).zip(&counts) {
            let square = dot(series, series);
            std.push(((square + USUAL * usual) / (count + USUAL)).sqrt() as f32);
            series.iter_mut().filter(|_| square > 0.0).for_each(|x| *x /= square.sqrt());
        }
        let persistence = persistence(&anomalies, frames) as f32;
        let modes = modes(&anomalies, frames).into_iter().enumerate();
        let believed = |node: usize| (counts[node] / (counts[node] + HALF)).sqrt();
        let modes = modes.map(|(i, mode)| (mode * believed(i / MODES)) as f32).collect();
        Variability { cycle, std, modes, persistence }
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.std.len()
    }

    /// One sentence when it is not that of so many nodes, or nothing.
    pub fn complaint(&self, nodes: usize) -> Option<String> {
        let lists = [("annual cycle", &self.cycle, CYCLE), ("std", &self.std, 1), ("modes", &self.modes, MODES)];
        let (name, list, width) = lists.into_iter().find(|(_, list, width)| list.len() != nodes * width)?;
        Some(format!("{name}: expected {width} x {nodes} numbers, one row for each sea pixel, found {}", list.len()))
    }
}

/// What observed cells depart from the cycle, 0 elsewhere, node by node: `[n, t]`.
fn anomalies(cycle: &[f32], values: &[f32], observed: &[bool], phases: &[f32]) -> Vec<f64> {
    let nodes = cycle.len() / CYCLE;
    let terms: Vec<[f64; CYCLE]> = phases.iter().map(|phase| terms(*phase)).collect();
    let anomaly = |node: usize, t: usize| {
        let (cell, cycle) = (t * nodes + node, &cycle[node * CYCLE..][..CYCLE]);
        if observed[cell] { f64::from(values[cell]) - cycle_at(cycle, &terms[t]) } else { 0.0 }
    };
    (0..nodes).flat_map(|node| (0..phases.len()).map(move |t| (node, t))).map(|(node, t)| anomaly(node, t)).collect()
}

/// The correlation of anomalies `[n, t]` of size 1 a node from frame to frame, where both are there.
fn persistence(anomalies: &[f64], frames: usize) -> f64 {
    let (mut product, mut first, mut second) = (0.0, 0.0, 0.0);
    for series in anomalies.chunks(frames.max(1)) {
        for pair in series.windows(2).filter(|pair| pair[0] != 0.0 && pair[1] != 0.0) {
            product += pair[0] * pair[1];
            first += pair[0] * pair[0];
            second += pair[1] * pair[1];
        }
    }
    let size = (first * second).sqrt();
    if size > 0.0 { (product / size).clamp(0.0, LONGEST) } else { 0.0 }
}

/// The leading modes `[n, MODES]` of anomalies Z `[n, t]` of size 1 a node. Orthogonal iteration finds U `[MODES, t]`,
/// which spans the leading right singular vectors; the modes are Z Uᵀ, whose products never exceed the correlations Z Zᵀ,
/// converged or not.
fn modes(anomalies: &[f64], frames: usize) -> Vec<f64> {
    let chunk = NODES_TOGETHER * frames.max(1);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut basis: Vec<f64> = (0..MODES * frames).map(|_| random.random_range(-1.0..1.0)).collect();
    let scores = |basis: &[f64], x: &[f64]| -> Vec<f64> { basis.chunks(frames).map(|mode| dot(mode, x)).collect() };
    for _ in 0..PASSES {
        let of_chunk = |part: &[f64]| {
            let mut next = vec![0.0; basis.len()];
            for x in part.chunks(frames) {
                let scores = scores(&basis, x);
                next.chunks_mut(frames).zip(scores).for_each(|(next, score)| add_scaled(next, score, x));
            }
            next
        };
        let parts: Vec<Vec<f64>> = anomalies.par_chunks(chunk).map(of_chunk).collect();
        let mut next = vec![0.0; basis.len()];
        parts.iter().for_each(|part| add_scaled(&mut next, 1.0, part));
        orthonormalise(&mut next, frames);
        basis = next;
    }
    anomalies.par_chunks(chunk).flat_map_iter(|part| part.chunks(frames).flat_map(|x| scores(&basis, x))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six years of months of three nodes without a cycle: the first two are opposite, the second twice as large; the third goes
    /// its own way and misses every fifth month.
    fn learnt() -> Variability {
        let phases: Vec<f32> = (0..72).map(|t| t as f32 / 12.0 % 1.0).collect();
        let wave = |t: usize, speed: f32| (t as f32 * speed).sin();
        let values: Vec<f32> = (0..72).flat_map(|t| [wave(t, 0.9), -2.0 * wave(t, 0.9), wave(t, 1.7)]).collect();
        let observed: Vec<bool> = (0..216).map(|cell| cell % 3 < 2 || cell / 3 % 5 > 0).collect();
        Variability::learn(&values, &observed, &phases)
    }

    #[test]
    fn modes_give_back_correlations() {
        let Variability { modes, std, .. } = learnt();
        let product =
            |i: usize, j: usize| -> f32 { (0..MODES).map(|k| modes[i * MODES + k] * modes[j * MODES + k]).sum() };
        let believed = 72.0 / (72.0 + HALF as f32);
        assert!((product(0, 0) - believed).abs() < 1e-4 && product(2, 2) < believed - 0.01, "{modes:?}");
        assert!((product(0, 1) + believed).abs() < 1e-4 && product(0, 2).abs() < 0.2, "{modes:?}");
        assert!(std[0] > 0.6 && std[0] < std[1], "{std:?}");
    }

    #[test]
    fn a_slow_wave_persists() {
        // Neighbouring values of sin(w t) correlate by cos w: 0.62 twice and -0.13 once, weighted by the pairs.
        let found = learnt().persistence;
        assert!((0.35..0.6).contains(&found), "{found}");
    }

    #[test]
    fn a_node_without_data_is_like_the_others() {
        let phases = [0.0, 0.5, 0.0, 0.5];
        let seen = [true, false, true, false, true, false, true, false];
        let learnt = Variability::learn(&[1.0, 9.0, 2.0, 9.0, 1.5, 9.0, 0.5, 9.0], &seen, &phases);
        assert_eq!((learnt.cycle[CYCLE], &learnt.modes[MODES..]), (1.25, &[0.0; MODES][..]));
        assert!((learnt.std[0] - learnt.std[1]).abs() < 1e-6 && learnt.std[0] > 0.5, "{:?}", learnt.std);
        assert!(learnt.complaint(2).is_none());
        assert!(learnt.complaint(3).is_some_and(|what| what.contains("annual cycle")));
    }
}
