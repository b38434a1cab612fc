//! What makes samples differ.

use std::ops::Range;

use isobath_models::baselines::OptimalInterpolation;

use crate::config::Spread;
use crate::trained::Trained;

/// Errors that samples are moved by.
pub(super) struct Errors {
    interpolation: OptimalInterpolation,
    seed: u64,
}

impl Errors {
    /// The errors of `spread`, if it has any.
    pub(super) fn of(trained: &Trained, spread: Spread, seed: u64) -> Option<Self> {
        let interpolation = || {
            let place = &trained.place;
            OptimalInterpolation::new(place.statistics.variability.clone(), &place.mask.places())
        };
        (spread == Spread::Interpolation).then(|| Errors { interpolation: interpolation(), seed })
    }

    /// Moves the samples `[samples, t, n]` of the window `frames` by draws of their error. Pairs of samples take one draw with
    /// either sign, so that their median and their mean stay.
    pub(super) fn add(&self, samples: &mut [f32], frames: Range<usize>, visible: &[bool]) {
        for (pair, samples) in samples.chunks_mut(2 * visible.len()).enumerate() {
            let seed = self.seed ^ (pair as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let errors = self.interpolation.errors(frames.clone(), visible, seed);
            for (sample, sign) in samples.chunks_mut(visible.len()).zip([1.0, -1.0]) {
                sample.iter_mut().zip(&errors).for_each(|(value, error)| *value += sign * error);
            }
        }
    }
}
