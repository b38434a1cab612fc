//! What makes samples differ: drawn errors of optimal interpolation.

use std::ops::Range;

use isobath_models::baselines::OptimalInterpolation;

use crate::record::Place;

/// Errors that samples are moved by.
pub(super) struct Errors {
    pub(super) interpolation: OptimalInterpolation,
    seed: u64,
}

impl Errors {
    /// The errors at a place.
    pub(super) fn of(place: &Place, seed: u64) -> Self {
        let variability = place.statistics.variability.clone();
        Errors { interpolation: OptimalInterpolation::new(variability, &place.mask.places()), seed }
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
