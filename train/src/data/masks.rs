//! Hiding exactly so many observed cells at random, for training.

use rand::rngs::ChaCha8Rng;
use rand::seq::index;
use rand::{RngExt, SeedableRng};

/// The random numbers of one sample of one training step: the same for the same three numbers,
/// on every machine and with any number of threads.
pub fn generator(seed: u64, step: u64, sample: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_mut(8).zip([seed, step, sample]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Hides exactly `round(rate * n)` of the `n` observed cells of a window `[frames, nodes]`,
/// every choice being equally likely; halves round to even, as in the published evaluation.
/// Returns the hidden cells; `rate` is cut to 0..=1.
pub fn hide_exact(observed: &[bool], rate: f64, random: &mut ChaCha8Rng) -> Vec<bool> {
    let cells: Vec<usize> = (0..observed.len()).filter(|&cell| observed[cell]).collect();
    let count = (rate.clamp(0.0, 1.0) * cells.len() as f64).round_ties_even() as usize;
    let mut hidden = vec![false; observed.len()];
    for choice in index::sample(random, cells.len(), count) {
        hidden[cells[choice]] = true;
    }
    hidden
}

/// Hides in each frame of a window `[frames, nodes]` the observed cells that are missing in a frame of `record`, `[any,
/// nodes]`, drawn at random. Returns the hidden cells.
pub fn transplant(observed: &[bool], record: &[bool], nodes: usize, random: &mut ChaCha8Rng) -> Vec<bool> {
    let mut hidden = Vec::with_capacity(observed.len());
    for frame in observed.chunks(nodes) {
        let other = random.random_range(0..record.len() / nodes) * nodes;
        hidden.extend(frame.iter().zip(&record[other..other + nodes]).map(|(here, there)| *here && !there));
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(cells: &[bool]) -> usize {
        cells.iter().filter(|&&cell| cell).count()
    }

    #[test]
    fn exactly_the_rate_of_the_observed_is_hidden() {
        for (cells, rate, expected) in
            [(1000, 0.1, 67), (1000, 0.9, 599), (3, 0.5, 1), (9, 0.5, 3), (9, 1.0, 6), (9, 0.0, 0)]
        {
            let observed: Vec<bool> = (0..cells).map(|cell| cell % 3 != 0).collect();
            let hidden = hide_exact(&observed, rate, &mut generator(1, 2, 3));
            assert_eq!(count(&hidden), expected, "{cells} {rate}");
            assert!(hidden.iter().zip(&observed).all(|(hidden, observed)| *observed || !hidden));
        }
        assert_eq!(count(&hide_exact(&[false; 4], 0.5, &mut generator(0, 0, 0))), 0);
        assert!(hide_exact(&[], 0.5, &mut generator(0, 0, 0)).is_empty());
    }

    #[test]
    fn masks_repeat_for_the_same_sample_and_differ_between_samples() {
        let observed = vec![true; 500];
        let draw = |seed, step, sample| hide_exact(&observed, 0.5, &mut generator(seed, step, sample));
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(draw(1, 2, 3), other);
        }
    }

    #[test]
    fn every_cell_is_hidden_equally_often() {
        let mut times = [0; 40];
        for step in 0..4000 {
            let hidden = hide_exact(&[true; 40], 0.25, &mut generator(9, step, 0));
            times.iter_mut().zip(hidden).for_each(|(times, hidden)| *times += usize::from(hidden));
        }
        // 1000 expected of each; the standard deviation is 27.
        assert!(times.iter().all(|times| (860..1140).contains(times)), "{times:?}");
    }

    #[test]
    fn transplanted_gaps_are_those_of_a_whole_frame() {
        let record = [true, false, true, false, true, true];
        let hidden = transplant(&[true; 30], &record, 3, &mut generator(1, 2, 3));
        assert!(hidden.chunks(3).all(|frame| frame == [false, true, false] || frame == [true, false, false]));
        assert!(hidden.chunks(3).any(|frame| frame == [true, false, false]));
        assert_eq!(transplant(&[false; 3], &record, 3, &mut generator(0, 0, 0)), [false; 3]);
    }
}
