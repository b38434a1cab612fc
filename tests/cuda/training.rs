//! Trainings: the losses of the processor, and what a steady step makes and launches.

use crate::device::{counters, unchecked};
use isobath_engine::adam::Adam;
use isobath_engine::device::cuda::Counters;
use isobath_engine::init::Init;
use isobath_engine::parameters::Parameters;
use isobath_engine::random::PhiloxKey;
use isobath_engine::{DType, Device, Result, Tape, Tensor, ops};
use isobath_models::stimp::options::Options;
use isobath_models::stimp::stddm::{Batch, Stddm, Times};
use isobath_tests::checks::Outcome;
use isobath_tests::ring::{self, NODES};

/// Steps of a training.
const STEPS: u64 = 6;

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
        let end = counters((self.parameters)(&mut self.model).device());
        Ok(Course { losses, counters: [third, end] })
    }
}

/// The losses of the processor to a thousandth; after the third step nothing is made, and each is one graph launch.
fn agree<M>(training: fn(&Device) -> Result<Training<M>>) -> Outcome {
    let run = |device: &Device| training(device)?.run(STEPS);
    let both = || Ok((run(&Device::cpu())?, run(&unchecked()?)?));
    let (expected, found) = both().map_err(|e: isobath_engine::Error| e.to_string())?;
    for (step, (found, expected)) in found.losses.iter().zip(&expected.losses).enumerate() {
        let difference = (found - expected).abs();
        if difference.is_nan() || difference > 1e-3 * expected.abs() {
            return Err(format!("step {step}: expected a loss of {expected}, found {found}"));
        }
    }
    if expected.losses[0] == expected.losses[STEPS as usize - 1] {
        return Err(format!("nothing was learnt: {:?}", expected.losses));
    }
    let [third, end] = found.counters;
    let steady = Counters { graph_launches: third.graph_launches + STEPS - 3, ..third };
    if end == steady { Ok(()) } else { Err(format!("expected {steady:?} in the end, found {end:?}")) }
}

/// The README's example.
pub(super) fn exclusive_or() -> Outcome {
    agree(|device| {
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
    })
}

fn small() -> Options {
    Options { channels: 8, prototypes: 3, step_width: 8, steps: 6, groups: 2, ..Options::published() }
}

fn stddm_training(device: &Device) -> Result<Training<Stddm>> {
    let region = ring::region(device, small().region(), DType::F32)?;
    let model = Stddm::new(device, small(), region, DType::F32, 11)?;
    let loss = |model: &Stddm, step| stddm_loss(model, (2, 5), step);
    Ok(Training { model, parameters: |model| &mut model.parameters, loss })
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

pub(super) fn stddm() -> Outcome {
    agree(stddm_training)
}

/// The kernels that STDDM's training launches.
pub(super) fn stddm_kernels() -> Vec<&'static str> {
    let device = Device::cpu();
    // A training that fails is reported by the trial.
    let _ = stddm_training(&device).and_then(|training| training.run(1));
    device.profile().iter().map(|launches| launches.kernel).collect()
}
