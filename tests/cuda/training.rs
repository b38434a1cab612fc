//! Trainings: the losses of the processor, and what a steady step makes and launches.

use crate::device::{counters, unchecked};
use isobath_engine::device::cuda::Counters;
use isobath_engine::{Device, Error, Result};
use isobath_tests::checks::Outcome;
use isobath_tests::trainings::{self, Training};

/// Steps of a training.
const STEPS: u64 = 6;

/// The losses of the processor to a thousandth; after the third step nothing is made, and each is one graph launch.
fn agree<M>(training: fn(&Device) -> Result<Training<M>>) -> Outcome {
    let mut seen = [Counters::default(); 2];
    let mut look = |step, device: &Device| {
        seen[1] = counters(device);
        if step == 2 {
            seen[0] = seen[1];
        }
    };
    let mut both =
        || Ok((training(&Device::cpu())?.run(STEPS, &mut |_, _| ())?, training(&unchecked()?)?.run(STEPS, &mut look)?));
    let (expected, found) = both().map_err(|e: Error| e.to_string())?;
    found.agrees_with(&expected)?;
    let [third, end] = seen;
    let steady = Counters { graph_launches: third.graph_launches + STEPS - 3, ..third };
    if end == steady { Ok(()) } else { Err(format!("expected {steady:?} in the end, found {end:?}")) }
}

pub(super) fn exclusive_or() -> Outcome {
    agree(trainings::exclusive_or)
}

pub(super) fn stddm() -> Outcome {
    agree(trainings::stddm_training)
}

pub(super) fn forecaster() -> Outcome {
    agree(trainings::forecaster_training)
}
