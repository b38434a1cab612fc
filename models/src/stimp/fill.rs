//! What hidden cells hold before noise is added.

use isobath_engine::graph::Rows;
use rayon::prelude::*;

/// Harmonics of the annual cycle.
const HARMONICS: usize = 2;
/// Numbers of a node's annual cycle: its mean, then a sine and a cosine of every harmonic.
pub const CYCLE: usize = 1 + 2 * HARMONICS;
/// Years of training frames below which a node's cycle is its mean.
const YEARS: f64 = 2.0;
/// Added to the sums of squares of the harmonics, so that nodes of few observations have a small cycle.
const RIDGE: f64 = 1.0;

/// Neighbour sums of the anomalies, one after the other: a cell's anomaly reaches so many rings of neighbours.
const RINGS: usize = 2;
/// Weight of the frames before and after, beside the cell's own frame. This one and the two others were chosen on hidden cells of
/// the training frames of `chl_hawaii`.
const NEXT_FRAME: f32 = 0.05;
/// Weight of no anomaly at all, against the sum of a 3 x 3 box divided by 9.
const PRIOR: f32 = 0.01;

/// Sines and cosines of the first `harmonics` of the year at a phase, a fraction of a year.
pub(crate) fn harmonics(phase: f32, harmonics: usize) -> impl Iterator<Item = f64> {
    let angle = move |harmonic: usize| std::f64::consts::TAU * harmonic as f64 * f64::from(phase);
    (1..=harmonics).flat_map(move |h| [angle(h).sin(), angle(h).cos()])
}

/// The terms of the annual cycle at a phase.
fn terms(phase: f32) -> [f64; CYCLE] {
    let mut terms = [1.0; CYCLE];
    terms[1..].iter_mut().zip(harmonics(phase, HARMONICS)).for_each(|(term, value)| *term = value);
    terms
}

/// The annual cycle of every node, `[n, CYCLE]`, by least squares over the observed cells of `[t, n]` at the times of year
/// `phases` `[t]`; the mean alone where the frames span less than two years, 0 where nothing was observed.
pub fn annual_cycle(values: &[f32], observed: &[bool], phases: &[f32]) -> Vec<f32> {
    let n = values.len() / phases.len().max(1);
    let span: f64 = phases.windows(2).map(|pair| f64::from(pair[1] - pair[0]).rem_euclid(1.0)).sum();
    let used = if span < YEARS { 1 } else { CYCLE };
    let rows: Vec<[f64; CYCLE]> = phases.iter().map(|phase| terms(*phase)).collect();
    let of_node = |node: usize| {
        let (mut normal, mut right) = ([[0.0; CYCLE]; CYCLE], [0.0; CYCLE]);
        for (t, row) in rows.iter().enumerate().filter(|(t, _)| observed[t * n + node]) {
            for i in 0..used {
                right[i] += row[i] * f64::from(values[t * n + node]);
                (0..used).for_each(|j| normal[i][j] += row[i] * row[j]);
            }
        }
        if normal[0][0] > 0.0 {
            (1..used).for_each(|i| normal[i][i] += RIDGE);
            solve(&mut normal, &mut right, used);
        }
        right.map(|v| v as f32)
    };
    (0..n).flat_map(of_node).collect()
}

/// Solves the first `size` equations of a positive definite matrix in place, by elimination.
fn solve(matrix: &mut [[f64; CYCLE]; CYCLE], x: &mut [f64; CYCLE], size: usize) {
    for pivot in 0..size {
        let row = matrix[pivot];
        for i in pivot + 1..size {
            let factor = matrix[i][pivot] / row[pivot];
            (pivot..size).for_each(|j| matrix[i][j] -= factor * row[j]);
            x[i] -= factor * x[pivot];
        }
    }
    for i in (0..size).rev() {
        let known: f64 = (i + 1..size).map(|j| matrix[i][j] * x[j]).sum();
        x[i] = (x[i] - known) / matrix[i][i];
    }
}

/// sum_t X M / (sum_t M + 1e-5) for every node of a window `[t, n]`, in every frame.
pub(crate) fn visible_mean(nodes: usize, values: &[f32], visible: &[bool]) -> Vec<f32> {
    let (mut sum, mut count) = (vec![0.0f32; nodes], vec![0.0f32; nodes]);
    for (values, visible) in values.chunks_exact(nodes).zip(visible.chunks_exact(nodes)) {
        for node in (0..nodes).filter(|node| visible[*node]) {
            sum[node] += values[node];
            count[node] += 1.0;
        }
    }
    let mean: Vec<f32> = sum.iter().zip(count).map(|(sum, count)| sum / (count + 1e-5)).collect();
    mean.repeat(values.len() / nodes.max(1))
}

/// The annual cycle `[n, CYCLE]` at every cell of a window `[t, n]`, plus the mean of what the visible cells of two rings of
/// neighbours, and of the frames before and after, depart from theirs.
pub(crate) fn anomaly(graph: &Rows, cycle: &[f32], phases: &[f32], values: &[f32], visible: &[bool]) -> Vec<f32> {
    let nodes = graph.offsets.len() - 1;
    let frame = |t: usize| {
        let terms = terms(phases[t]);
        let expected =
            |cycle: &[f32]| cycle.iter().zip(terms).map(|(a, term)| f64::from(*a) * term).sum::<f64>() as f32;
        let cycle: Vec<f32> = cycle.chunks_exact(CYCLE).map(expected).collect();
        let cells = t * nodes..(t + 1) * nodes;
        let seen = || visible[cells.clone()].iter().zip(values[cells.clone()].iter().zip(&cycle));
        let mut sums: Vec<[f32; 2]> = seen().map(|(v, (x, c))| if *v { [x - c, 1.0] } else { [0.0; 2] }).collect();
        for _ in 0..RINGS {
            sums = neighbour_sums(graph, &sums);
        }
        (cycle, sums)
    };
    let frames: Vec<_> = (0..phases.len()).into_par_iter().map(frame).collect();
    let around = |t: usize| [t.wrapping_sub(1), t + 1].map(|near| frames.get(near).map(|(_, sums)| sums));
    let filled = |t: usize| {
        let ((cycle, sums), near) = (&frames[t], around(t));
        let cell = move |n: usize| {
            let add = |part: usize| NEXT_FRAME * near.iter().flatten().map(|sums| sums[n][part]).sum::<f32>();
            cycle[n] + (sums[n][0] + add(0)) / (sums[n][1] + add(1) + PRIOR)
        };
        (0..nodes).map(cell)
    };
    (0..phases.len()).flat_map(filled).collect()
}

/// Sums over the neighbours of every node, a ninth of them.
fn neighbour_sums(graph: &Rows, x: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let sum = |range: &[u32]| {
        let neighbours = &graph.neighbours[range[0] as usize..range[1] as usize];
        let sum = neighbours.iter().fold([0.0; 2], |[a, b], j| [a + x[*j as usize][0], b + x[*j as usize][1]]);
        sum.map(|v: f32| v / 9.0)
    };
    graph.offsets.windows(2).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: usize = 48;

    /// Months of four years.
    fn phases() -> Vec<f32> {
        (0..FRAMES).map(|t| t as f32 / 12.0 % 1.0).collect()
    }

    fn wave(phase: f32, node: usize) -> f32 {
        let angle = std::f32::consts::TAU * phase;
        node as f32 + 0.5 * angle.sin() - 0.2 * (2.0 * angle).cos()
    }

    #[test]
    fn a_cycle_is_found_behind_gaps() {
        let phases = phases();
        let values: Vec<f32> = phases.iter().flat_map(|phase| [wave(*phase, 0), wave(*phase, 1), 9.0]).collect();
        let observed: Vec<bool> = (0..values.len()).map(|i| i % 7 != 2 && i % 3 != 2).collect();
        let cycle = annual_cycle(&values, &observed, &phases);
        for (node, expected) in [[0.0, 0.5, 0.0, 0.0, -0.2], [1.0, 0.5, 0.0, 0.0, -0.2]].iter().enumerate() {
            let found = &cycle[node * CYCLE..][..CYCLE];
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.05), "{found:?}");
        }
        assert_eq!(cycle[2 * CYCLE..], [0.0; CYCLE]);
    }

    #[test]
    fn a_short_record_has_no_cycle() {
        let phases = &phases()[..12];
        let values: Vec<f32> = phases.iter().map(|phase| wave(*phase, 3)).collect();
        let cycle = annual_cycle(&values, &[true; 12], phases);
        assert!((cycle[0] - 3.0).abs() < 1e-5 && cycle[1..].iter().all(|v| *v == 0.0), "{cycle:?}");
    }

    #[test]
    fn an_anomaly_spreads_to_its_neighbours() {
        // A row of four nodes: the first is 1 above its cycle, the last unseen and out of reach.
        let graph =
            Rows { offsets: vec![0, 2, 5, 8, 10], neighbours: vec![0, 1, 0, 1, 2, 1, 2, 3, 2, 3], values: None };
        let cycle: Vec<f32> = (0..4).flat_map(|node| [node as f32, 0.5, 0.0, 0.0, -0.2]).collect();
        let values = [wave(0.25, 0) + 1.0, 0.0, 0.0, 0.0];
        let filled = anomaly(&graph, &cycle, &[0.25], &values, &[true, false, false, false]);
        let anomalies: Vec<f32> = (0..4).map(|node| filled[node] - wave(0.25, node)).collect();
        // Paths of two steps from the first node: 2 to itself, 2 to the second, 1 to the third, none to the last.
        for (found, paths) in anomalies.iter().zip([2.0, 2.0, 1.0, 0.0]) {
            let weight = paths / 81.0;
            assert!((found - weight / (weight + PRIOR)).abs() < 1e-5, "{anomalies:?}");
        }
    }
}
