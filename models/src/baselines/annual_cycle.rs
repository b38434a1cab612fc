//! The annual cycle of every node as a few harmonics.

/// Harmonics of the cycle.
const HARMONICS: usize = 2;
/// Numbers of a node's annual cycle: its mean, then a sine and a cosine of every harmonic.
pub const CYCLE: usize = 1 + 2 * HARMONICS;
/// Years of training frames below which a node's cycle is its mean.
const YEARS: f64 = 2.0;
/// Observations that the mean of the region weighs as much as in a node's own, and none of its harmonics: a node of few
/// observations has little of its own.
const RIDGE: [f64; CYCLE] = {
    let mut ridge = [1.0; CYCLE];
    ridge[0] = 20.0;
    ridge
};

/// Sines and cosines of the first `harmonics` of the year at a phase, a fraction of a year.
pub(crate) fn harmonics(phase: f32, harmonics: usize) -> impl Iterator<Item = f64> {
    let angle = move |harmonic: usize| std::f64::consts::TAU * harmonic as f64 * f64::from(phase);
    (1..=harmonics).flat_map(move |h| [angle(h).sin(), angle(h).cos()])
}

/// The terms of the annual cycle at a phase.
pub(super) fn terms(phase: f32) -> [f64; CYCLE] {
    let mut terms = [1.0; CYCLE];
    terms[1..].iter_mut().zip(harmonics(phase, HARMONICS)).for_each(|(term, value)| *term = value);
    terms
}

/// The value of a node's annual cycle `[CYCLE]` for the terms of a phase.
pub(super) fn cycle_at(cycle: &[f32], terms: &[f64; CYCLE]) -> f64 {
    cycle.iter().zip(terms).map(|(a, term)| f64::from(*a) * term).sum()
}

/// The annual cycle of every node, `[n, CYCLE]`, by ridge regression over the observed cells of `[t, n]` at the times of year
/// `phases` `[t]`; the mean alone where the frames span less than two years, that of the region where nothing was observed.
pub(super) fn annual_cycle(values: &[f32], observed: &[bool], phases: &[f32]) -> Vec<f32> {
    let n = values.len() / phases.len().max(1);
    let span: f64 = phases.windows(2).map(|pair| f64::from(pair[1] - pair[0]).rem_euclid(1.0)).sum();
    let used = if span < YEARS { 1 } else { CYCLE };
    let rows: Vec<[f64; CYCLE]> = phases.iter().map(|phase| terms(*phase)).collect();
    let seen = values.iter().zip(observed).filter(|(_, seen)| **seen).map(|(value, _)| f64::from(*value));
    let mean = seen.clone().sum::<f64>() / seen.count().max(1) as f64;
    let of_node = |node: usize| {
        let (mut normal, mut right) = ([[0.0; CYCLE]; CYCLE], [0.0; CYCLE]);
        (0..used).for_each(|i| normal[i][i] = RIDGE[i]);
        for (t, row) in rows.iter().enumerate().filter(|(t, _)| observed[t * n + node]) {
            for i in 0..used {
                right[i] += row[i] * (f64::from(values[t * n + node]) - mean);
                (0..used).for_each(|j| normal[i][j] += row[i] * row[j]);
            }
        }
        solve(&mut normal, &mut right, used);
        right[0] += mean;
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
        let count = (0..FRAMES).filter(|t| observed[3 * t]).count() as f32;
        let drawn = 0.5 * RIDGE[0] as f32 / (count + RIDGE[0] as f32); // towards the mean of both
        for (node, mean) in [drawn, 1.0 - drawn].into_iter().enumerate() {
            let found = &cycle[node * CYCLE..][..CYCLE];
            assert!(found.iter().zip([mean, 0.5, 0.0, 0.0, -0.2]).all(|(a, b)| (a - b).abs() < 0.05), "{found:?}");
        }
        assert!((cycle[2 * CYCLE] - 0.5).abs() < 0.05 && cycle[2 * CYCLE + 1..] == [0.0; CYCLE - 1]);
    }

    #[test]
    fn a_short_record_has_no_cycle() {
        let phases = &phases()[..12];
        let values: Vec<f32> = phases.iter().map(|phase| wave(*phase, 3)).collect();
        let cycle = annual_cycle(&values, &[true; 12], phases);
        assert!((cycle[0] - 3.0).abs() < 1e-5 && cycle[1..].iter().all(|v| *v == 0.0), "{cycle:?}");
    }
}
