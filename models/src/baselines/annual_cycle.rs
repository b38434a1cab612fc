//! The annual cycle of every node as a few harmonics.

/// Harmonics of the cycle.
const HARMONICS: usize = 2;
/// Numbers of a node's annual cycle: its mean, then a sine and a cosine of every harmonic.
pub const CYCLE: usize = 1 + 2 * HARMONICS;
/// Years of training frames below which a node's cycle is its mean.
const YEARS: f64 = 2.0;
/// Added to the sums of squares of the harmonics, so that nodes of few observations have a small cycle.
const RIDGE: f64 = 1.0;

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
}
