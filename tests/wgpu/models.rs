//! Whole models on the GPU: trainings against the processor's, what a steady step makes and submits, and the sampler.

use crate::unchecked;
use isobath_engine::adam::Adam;
use isobath_engine::device::wgpu::Counters;
use isobath_engine::init::Init;
use isobath_engine::parameters::Parameters;
use isobath_engine::random::PhiloxKey;
use isobath_engine::{DType, Device, Result, Tape, Tensor, ops};
use isobath_models::stimp::forecaster::{self, Forecaster};
use isobath_models::stimp::options::Options;
use isobath_models::stimp::sampler;
use isobath_models::stimp::stddm::{Batch, Stddm, Times};
use isobath_models::stimp::tiles::Tiles;
use isobath_tests::checks::Outcome;
use isobath_tests::ring::{self, NODES};

/// Steps of a training.
const STEPS: u64 = 50;

/// A training to run.
struct Training<M> {
    model: M,
    parameters: fn(&mut M) -> &mut Parameters,
    /// The loss of a step.
    loss: fn(&M, u64) -> Result<Tensor>,
}

/// What a training leaves.
struct Course {
    losses: Vec<f64>,
    weights: Vec<f32>,
    /// After the third step, and in the end.
    counters: [Counters; 2],
}

impl<M> Training<M> {
    fn run(mut self, steps: u64) -> Result<Course> {
        let adam = Adam { lr: 5e-3, max_norm: Some(1.0), ..Adam::default() };
        let (mut losses, mut third) = (Vec::new(), Counters::default());
        for step in 0..steps {
            let tape = Tape::start()?;
            let loss = (self.loss)(&self.model, step)?;
            let gradients = tape.backward(&loss)?;
            drop(loss);
            losses.extend(adam.step((self.parameters)(&mut self.model), &gradients)?.loss);
            if step == 2 {
                third = counters((self.parameters)(&mut self.model).device());
            }
        }
        let parameters = (self.parameters)(&mut self.model);
        let end = counters(parameters.device());
        let names: Vec<String> = parameters.names().map(String::from).collect();
        let weights = names.iter().map(|name| parameters.to_vec(name)).collect::<Result<Vec<_>>>()?.concat();
        Ok(Course { losses, weights, counters: [third, end] })
    }
}

/// What a GPU has made and submitted so far.
pub(super) fn counters(device: &Device) -> Counters {
    match device {
        Device::Wgpu(gpu) => gpu.counters(),
        Device::Cpu(_) | Device::Cuda(_) | Device::Simulator(_) => Counters::default(),
    }
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

/// The losses of the processor to a thousandth, and the same bits on a second run.
fn agree<M>(training: fn(&Device) -> Result<Training<M>>) -> Outcome {
    let run = |device: &Device| training(device)?.run(STEPS);
    let all = || Ok((run(&Device::cpu())?, run(&unchecked()?)?, run(&unchecked()?)?));
    let (expected, found, again) = all().map_err(|e: isobath_engine::Error| e.to_string())?;
    for (step, (found, expected)) in found.losses.iter().zip(&expected.losses).enumerate() {
        let difference = (found - expected).abs();
        if difference.is_nan() || difference > 1e-3 * expected.abs() {
            return Err(format!("step {step}: expected a loss of {expected}, found {found}"));
        }
    }
    let bits = |weights: &[f32]| weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
    if bits(&found.weights) != bits(&again.weights) || found.losses != again.losses {
        return Err("a second run gave other bits".into());
    }
    if expected.losses[0] <= 1.02 * expected.losses[STEPS as usize - 1] {
        return Err(format!("nothing was learnt: {:?}", expected.losses));
    }
    expect_steady(found.counters, STEPS, 1)
}

/// The README's example.
pub(super) fn exclusive_or() -> Outcome {
    let training = |device: &Device| -> Result<Training<Parameters>> {
        let model = Parameters::builder()
            .add("up.weight", [16, 2], Init::linear(2))
            .add("up.bias", [16], Init::linear(2))
            .add("down.weight", [1, 16], Init::linear(16))
            .build(device, DType::F32, 7)?;
        let loss = |p: &Parameters, _| {
            let x = p.tensor([4, 2], &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
            let hidden = ops::tanh(&ops::linear(&x, &p.get("up.weight")?, Some(&p.get("up.bias")?))?)?;
            let y = ops::linear(&hidden, &p.get("down.weight")?, None)?;
            ops::sum(&ops::square(&ops::sub(&y, &p.tensor([4, 1], &[0.0, 1.0, 1.0, 0.0])?)?)?)
        };
        Ok(Training { model, parameters: |p| p, loss })
    };
    agree(training)
}

fn small() -> Options {
    Options { channels: 8, prototypes: 3, step_width: 8, steps: 6, groups: 2, ..Options::published() }
}

fn stddm(device: &Device) -> Result<Stddm> {
    Stddm::new(device, small(), ring::region(device, small().region(), DType::F32)?, DType::F32, 11)
}

/// A step of STDDM on so many windows of so many frames.
fn stddm_loss(model: &Stddm, (windows, frames): (usize, usize), step: u64) -> Result<Tensor> {
    let cells = windows * frames * NODES;
    let observed: Vec<bool> = (0..cells).map(|i| i % 7 != 3).collect();
    let visible: Vec<bool> = (0..cells).map(|i| observed[i] && !(i + step as usize).is_multiple_of(3)).collect();
    let values: Vec<f32> = (0..cells).map(|i| if observed[i] { (i as f32 * 0.37).sin() } else { 0.0 }).collect();
    let steps: Vec<usize> = (0..windows).map(|window| (window + step as usize) % small().steps).collect();
    model.loss(&Batch {
        frames,
        values: &values,
        observed: &observed,
        visible: &visible,
        times: Times { steps: &steps, phases: &[] },
        noise: PhiloxKey { seed: 5, stream: step },
    })
}

fn stddm_training(device: &Device) -> Result<Training<Stddm>> {
    let loss = |model: &Stddm, step| stddm_loss(model, (2, 5), step);
    Ok(Training { model: stddm(device)?, parameters: |model| &mut model.parameters, loss })
}

pub(super) fn train_stddm() -> Outcome {
    agree(stddm_training)
}

/// Arrays too large for the ring of uploads are handed over one by one, and still a step submits twice at most.
pub(super) fn train_in_large_batches() -> Outcome {
    let training = |device: &Device| -> Result<Training<Stddm>> {
        let loss = |model: &Stddm, step| stddm_loss(model, (46, 46), step);
        Ok(Training { loss, ..stddm_training(device)? })
    };
    let course = unchecked().and_then(|device| training(&device)?.run(6)).map_err(|e| e.to_string())?;
    expect_steady(course.counters, 6, 2)
}

fn forecaster_training(device: &Device) -> Result<Training<Forecaster>> {
    let options =
        forecaster::Options { frames: 7, horizon: 4, prototypes: 3, groups: 2, ..forecaster::Options::published() };
    let region = ring::region(device, options.region(), DType::F32)?;
    let model = Forecaster::new(device, options, region, DType::F32, 11)?;
    let loss = |model: &Forecaster, _| {
        let wave = |first: usize, len: usize| -> Vec<f32> {
            (0..2 * len * NODES).map(|i| ((first * NODES + i) as f32 * 0.37).sin()).collect()
        };
        let (windows, labels) = (wave(0, 7), wave(7, 4));
        let observed: Vec<bool> = (0..labels.len()).map(|i| i % 5 != 2).collect();
        model.loss(&forecaster::Batch { windows: &windows, labels: &labels, observed: &observed })
    };
    Ok(Training { model, parameters: |model| &mut model.parameters, loss })
}

pub(super) fn train_forecaster() -> Outcome {
    agree(forecaster_training)
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
