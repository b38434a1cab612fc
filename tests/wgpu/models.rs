//! Whole models on the GPU: trainings against the processor's, what a steady step makes and submits, and the sampler.

use crate::unchecked;
use isobath_engine::device::wgpu::Counters;
use isobath_engine::{Device, Result};
use isobath_models::stimp::sampler;
use isobath_models::stimp::stddm::{Stddm, Times};
use isobath_models::stimp::tiles::Tiles;
use isobath_tests::checks::Outcome;
use isobath_tests::ring::NODES;
use isobath_tests::trainings::{self, Course, Training, small, stddm};

/// What a GPU has made and submitted so far.
pub(super) fn counters(device: &Device) -> Counters {
    match device {
        Device::Wgpu(gpu) => gpu.counters(),
        Device::Cpu(_) | Device::Cuda(_) | Device::Simulator(_) => Counters::default(),
    }
}

/// Those after the third step, and in the end.
fn watched<M>(training: Training<M>, steps: u64) -> Result<(Course, [Counters; 2])> {
    let mut seen = [Counters::default(); 2];
    let course = training.run(steps, &mut |step, device| {
        seen[1] = counters(device);
        if step == 2 {
            seen[0] = seen[1];
        }
    })?;
    Ok((course, seen))
}

/// Nothing is made after the third of so many steps, and each submits `most` command buffers at most.
fn expect_steady([third, end]: [Counters; 2], steps: u64, most: u64) -> Outcome {
    if (Counters { submissions: third.submissions, ..end }) != third {
        return Err(format!("steps go on making things: {third:?} after the third, {end:?} at the end"));
    }
    match end.submissions - third.submissions {
        found if found > most * (steps - 3) => {
            Err(format!("expected {most} submissions a step at most, found {found} in {} steps", steps - 3))
        }
        _ => Ok(()),
    }
}

/// Steps of a training.
const STEPS: u64 = 50;

/// The losses of the processor to a thousandth, and the same bits on a second run.
fn agree<M>(training: fn(&Device) -> Result<Training<M>>) -> Outcome {
    let on_gpu = || watched(training(&unchecked()?)?, STEPS);
    let all = || Ok((training(&Device::cpu())?.run(STEPS, &mut |_, _| ())?, on_gpu()?, on_gpu()?));
    let (expected, (found, counters), (again, _)) = all().map_err(|e: isobath_engine::Error| e.to_string())?;
    found.agrees_with(&expected)?;
    if expected.losses[0] <= 1.02 * expected.losses[STEPS as usize - 1] {
        return Err(format!("nothing was learnt: {:?}", expected.losses));
    }
    if found != again {
        return Err("a second run gave other bits".into());
    }
    expect_steady(counters, STEPS, 1)
}

pub(super) fn exclusive_or() -> Outcome {
    agree(trainings::exclusive_or)
}

pub(super) fn train_stddm() -> Outcome {
    agree(trainings::stddm_training)
}

/// Arrays too large for the ring of uploads are handed over one by one, and still a step submits twice at most.
pub(super) fn train_in_large_batches() -> Outcome {
    let run = || {
        let loss = |model: &Stddm, step| trainings::stddm_loss(model, (46, 46), step);
        watched(Training { loss, ..trainings::stddm_training(&unchecked()?)? }, 6)
    };
    let (_, counters) = run().map_err(|e: isobath_engine::Error| e.to_string())?;
    expect_steady(counters, 6, 2)
}

pub(super) fn train_forecaster() -> Outcome {
    agree(trainings::forecaster_training)
}

/// Three samples of a window of five frames.
fn sample(device: &Device) -> Result<Vec<f32>> {
    let model = stddm(device)?;
    let cells = 5 * NODES;
    let visible: Vec<bool> = (0..cells).map(|i| i % 3 != 0).collect();
    let values: Vec<f32> = (0..cells).map(|i| if visible[i] { (i as f32 * 0.37).sin() } else { 0.0 }).collect();
    let sampled = sampler::impute(&model, &[0.0; 5], &values, &visible, 3, 9, &mut |_| true)?;
    Ok(sampled.unwrap_or_default())
}

pub(super) fn impute() -> Outcome {
    let both = || Ok((sample(&Device::cpu())?, sample(&unchecked()?)?));
    let (expected, found) = both().map_err(|e: isobath_engine::Error| e.to_string())?;
    near(&found, &expected)
}

pub(super) fn impute_in_tiles() -> Outcome {
    let predict = |device: &Device, nodes: Option<usize>| -> Result<Vec<f32>> {
        let model = stddm(device)?;
        let values: Vec<f32> = (0..2 * 2 * 5 * NODES).map(|i| (i as f32 * 0.71).cos()).collect();
        let planes = model.tensor(&[2, 2, 5, NODES], &values)?;
        let times = Times { steps: &[1, 4], phases: &[] };
        let limit = nodes.map_or(usize::MAX, |nodes| nodes * 2 * 5 * small().channels);
        match Tiles::of(&model, 2, 5, limit)? {
            Some(tiles) => tiles.predict(&model, &planes, times)?.to_vec(),
            None => model.predict(&planes, times)?.to_vec(),
        }
    };
    let both = || Ok((predict(&Device::cpu(), None)?, predict(&unchecked()?, Some(4))?));
    let (expected, found) = both().map_err(|e: isobath_engine::Error| e.to_string())?;
    near(&found, &expected)
}

/// Values of about 1 in f32, after chains of sums in another order.
fn near(found: &[f32], expected: &[f32]) -> Outcome {
    let far = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let spread = expected.iter().fold(0.0f32, |most, v| most.max((v - expected[0]).abs()));
    match found.len() == expected.len() && far <= 1e-4 && spread > 1e-2 && found.iter().all(|v| v.is_finite()) {
        true => Ok(()),
        false => Err(format!("{} values differ by {far:e} at a spread of {spread}", found.len())),
    }
}
