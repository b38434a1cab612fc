//! Errors of optimal interpolation drawn from their distribution, by conditional simulation (Chilès and Delfiner 1999, section
//! 7.3): a field is drawn from the covariance, seen at the visible cells with an error of its own, and interpolated; what the
//! interpolation misses of it has the distribution of what it misses of the truth.

use super::super::variability::MODES;
use super::taper::REACH;
use super::{ERROR, LEVEL, OptimalInterpolation, Window, rest};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::ops::Range;

/// Stream of the level, which no frame has.
const LEVEL_STREAM: u64 = u64::MAX;
/// Random streams of a frame.
const FIELD: u64 = 0;
const SEEN: u64 = 1;
const MEASURED: u64 = 2;

impl OptimalInterpolation {
    /// What measuring the hidden cells of a window `[t, n]` would differ by from [`OptimalInterpolation::fill`], 0 at the visible
    /// ones: one draw, errors of measurement included. `frames` are counted through the whole record, so that windows of one
    /// `seed` agree where they overlap.
    pub fn errors(&self, frames: Range<usize>, visible: &[bool], seed: u64) -> Vec<f32> {
        let (nodes, count) = (self.variability.nodes(), frames.len());
        let streams = |kind: u64| frames.clone().map(move |frame| 4 * frame as u64 + kind);
        let fields: Vec<u64> = streams(FIELD).collect();
        let fields: Vec<Vec<f32>> = fields.into_par_iter().map(|stream| self.field(seed, stream)).collect();
        let truth = between_frames(fields, &self.field(seed, LEVEL_STREAM), self.variability.persistence);
        let noise = |stream: u64| gaussian(seed, stream, nodes, ERROR.sqrt());
        let mut window = Window::blind(nodes, count);
        for ((t, truth), stream) in truth.iter().enumerate().zip(streams(SEEN)) {
            for (node, (truth, noise)) in truth.iter().zip(noise(stream)).enumerate() {
                if visible[t * nodes + node] {
                    window.see(node * count + t, truth + noise);
                }
            }
        }
        let estimate = self.covariance(&self.solve(window), count);
        let mut errors = Vec::with_capacity(nodes * count);
        for ((t, truth), stream) in truth.iter().enumerate().zip(streams(MEASURED)) {
            let missed = truth.iter().zip(noise(stream)).enumerate().map(|(node, (truth, noise))| {
                let missed = truth + noise - estimate[node * count + t];
                if visible[t * nodes + node] { 0.0 } else { self.variability.std[node] * missed }
            });
            errors.extend(missed);
        }
        errors
    }

    /// Moves samples `[samples, t, n]` of a window by draws of [`OptimalInterpolation::errors`]. Pairs of samples take one draw
    /// with either sign, so that their median and their mean stay.
    pub fn spread(&self, samples: &mut [f32], frames: Range<usize>, visible: &[bool], seed: u64) {
        for (pair, samples) in samples.chunks_mut(2 * visible.len()).enumerate() {
            let seed = seed ^ (pair as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let errors = self.errors(frames.clone(), visible, seed);
            for (sample, sign) in samples.chunks_mut(visible.len()).zip([1.0, -1.0]) {
                sample.iter_mut().zip(&errors).for_each(|(value, error)| *value += sign * error);
            }
        }
    }

    /// A field of covariance R, `[n]`: white noise under the taper's bump, one layer for each mode and one for the rest.
    fn field(&self, seed: u64, stream: u64) -> Vec<f32> {
        let reach = REACH as u32;
        let end = |axis: usize| self.places.iter().map(|place| place[axis] + 1).max().unwrap_or(0) + 2 * reach;
        let (height, width) = (end(0) as usize, end(1) as usize);
        let layers = MODES + 1;
        let white = gaussian(seed, stream, height * width * layers, 1.0);
        let bump: Vec<_> = self.taper.bump().collect();
        let of_node = |(place, modes): (&[u32; 2], &[f32])| {
            let mut drawn = [0.0; MODES + 1];
            for ([down, right], weight) in &bump {
                let row = (place[0] + reach).wrapping_add_signed(*down) as usize;
                let column = (place[1] + reach).wrapping_add_signed(*right) as usize;
                let cell = &white[(row * width + column) * layers..][..layers];
                drawn.iter_mut().zip(cell).for_each(|(drawn, white)| *drawn += weight * white);
            }
            let explained = modes.iter().zip(&drawn).map(|(mode, drawn)| mode * drawn).sum::<f32>();
            explained + rest(modes) * drawn[MODES]
        };
        self.places.iter().zip(self.variability.modes.chunks_exact(MODES)).map(of_node).collect()
    }
}

/// Fields `[t][n]` of the covariance K between frames, from independent ones and a level.
fn between_frames(mut fields: Vec<Vec<f32>>, level: &[f32], persistence: f32) -> Vec<Vec<f32>> {
    let fresh = (1.0 - persistence * persistence).sqrt();
    for t in 1..fields.len() {
        let (before, own) = fields.split_at_mut(t);
        own[0].iter_mut().zip(&before[t - 1]).for_each(|(own, before)| *own = persistence * before + fresh * *own);
    }
    for field in &mut fields {
        field.iter_mut().zip(level).for_each(|(own, level)| *own = (1.0 - LEVEL).sqrt() * *own + LEVEL.sqrt() * level);
    }
    fields
}

fn gaussian(seed: u64, stream: u64, count: usize, std: f32) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    (0..count).map(|_| std * Distribution::<f32>::sample(&StandardNormal, &mut random)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    const DRAWS: usize = 4000;

    #[test]
    fn errors_have_the_spread_that_theory_gives() {
        // Of two nodes side by side the first is seen: the variance of the second's error is 1 + ε - τ² / (1 + ε).
        let interpolation = row(2, 0.0);
        let draw = |seed: usize| interpolation.errors(0..1, &[true, false], seed as u64)[1];
        let draws: Vec<f32> = (0..DRAWS).map(draw).collect();
        let variance = draws.iter().map(|e| e * e).sum::<f32>() / DRAWS as f32;
        let correlation = interpolation.taper.at([0, 1]);
        let expected = 4.0 * (1.0 + ERROR - correlation * correlation / (1.0 + ERROR)); // its standard deviation is 2
        assert!((variance / expected - 1.0).abs() < 0.1, "{variance}, expected {expected}");
        assert!(draws.iter().sum::<f32>().abs() / (DRAWS as f32) < 0.05 * expected.sqrt());
    }

    #[test]
    fn far_frames_share_the_level_alone() {
        let interpolation = row(1, 0.5);
        let mut product = [0.0; 3];
        for seed in 0..DRAWS as u64 {
            let e = interpolation.errors(5..8, &[false; 3], seed);
            product.iter_mut().zip(&e).for_each(|(sum, other)| *sum += e[0] * other / (4.0 * DRAWS as f32));
        }
        for (lag, product) in product.into_iter().enumerate() {
            let measured = if lag == 0 { ERROR } else { 0.0 };
            let expected = LEVEL + (1.0 - LEVEL) * 0.5f32.powi(lag as i32) + measured;
            assert!((product - expected).abs() < 0.1, "lag {lag}: {product}, expected {expected}");
        }
    }

    #[test]
    fn windows_agree_where_they_overlap() {
        let interpolation = row(3, 0.3);
        let (all, late) = (interpolation.errors(0..6, &[false; 18], 7), interpolation.errors(2..6, &[false; 12], 7));
        let difference = all[12..].iter().zip(&late[6..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1.0, "{difference}"); // 0.3² of what the frames before left
        let visible = interpolation.errors(0..1, &[true, false, true], 7);
        assert!(visible[0] == 0.0 && visible[1] != 0.0 && visible[2] == 0.0);
    }
}
