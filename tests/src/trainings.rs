//! Trainings of small models, for tests that hold one device against another.

use crate::checks::Outcome;
use crate::ring::{self, NODES};
use isobath_engine::adam::Adam;
use isobath_engine::init::Init;
use isobath_engine::parameters::Parameters;
use isobath_engine::random::PhiloxKey;
use isobath_engine::{DType, Device, Result, Tape, Tensor, ops};
use isobath_models::stimp::forecaster::{self, Forecaster};
use isobath_models::stimp::options::Options;
use isobath_models::stimp::stddm::{Batch, Stddm, Times};

/// A training to run.
pub struct Training<M> {
    /// What is trained.
    pub model: M,
    /// Its parameters.
    pub parameters: fn(&mut M) -> &mut Parameters,
    /// The loss of a step.
    pub loss: fn(&M, u64) -> Result<Tensor>,
}

/// What a training leaves.
#[derive(Debug, PartialEq)]
pub struct Course {
    /// Of every step.
    pub losses: Vec<f64>,
    /// All of them, in the end.
    pub weights: Vec<f32>,
}

impl<M> Training<M> {
    /// Trains for so many steps, and has a look at the device after each.
    ///
    /// # Errors
    /// Those of the device.
    pub fn run(mut self, steps: u64, look: &mut dyn FnMut(u64, &Device)) -> Result<Course> {
        let adam = Adam { lr: 5e-3, max_norm: Some(1.0), ..Adam::default() };
        let mut losses = Vec::new();
        for step in 0..steps {
            let tape = Tape::start()?;
            let loss = (self.loss)(&self.model, step)?;
            let gradients = tape.backward(&loss)?;
            drop(loss);
            losses.extend(adam.step((self.parameters)(&mut self.model), &gradients)?.loss);
            look(step, (self.parameters)(&mut self.model).device());
        }
        let parameters = (self.parameters)(&mut self.model);
        let names: Vec<String> = parameters.names().map(String::from).collect();
        let weights = names.iter().map(|name| parameters.to_vec(name)).collect::<Result<Vec<_>>>()?.concat();
        Ok(Course { losses, weights })
    }
}

impl Course {
    /// The same losses to a thousandth as another device's.
    ///
    /// # Errors
    /// One sentence about the first step that differs.
    pub fn agrees_with(&self, expected: &Course) -> Outcome {
        for (step, (found, expected)) in self.losses.iter().zip(&expected.losses).enumerate() {
            let difference = (found - expected).abs();
            if difference.is_nan() || difference > 1e-3 * expected.abs() {
                return Err(format!("step {step}: expected a loss of {expected}, found {found}"));
            }
        }
        match (self.losses.len(), expected.losses.len()) {
            (found, steps) if found == steps && steps > 0 => Ok(()),
            (found, steps) => Err(format!("expected {steps} steps, found {found}")),
        }
    }
}

/// The README's example.
///
/// # Errors
/// Those of the device.
pub fn exclusive_or(device: &Device) -> Result<Training<Parameters>> {
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
}

/// The smallest STDDM that has all of its parts.
pub fn small() -> Options {
    Options { channels: 8, prototypes: 3, step_width: 8, steps: 6, groups: 2, ..Options::published() }
}

/// It, on the ring.
///
/// # Errors
/// Those of the device.
pub fn stddm(device: &Device) -> Result<Stddm> {
    Stddm::new(device, small(), ring::region(device, small().region(), DType::F32)?, DType::F32, 11)
}

/// A step of STDDM on so many windows of so many frames.
///
/// # Errors
/// Those of the device.
pub fn stddm_loss(model: &Stddm, (windows, frames): (usize, usize), step: u64) -> Result<Tensor> {
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

/// Its training on two windows of five frames.
///
/// # Errors
/// Those of the device.
pub fn stddm_training(device: &Device) -> Result<Training<Stddm>> {
    let loss = |model: &Stddm, step| stddm_loss(model, (2, 5), step);
    Ok(Training { model: stddm(device)?, parameters: |model| &mut model.parameters, loss })
}

/// A training of a forecaster of four frames from seven.
///
/// # Errors
/// Those of the device.
pub fn forecaster_training(device: &Device) -> Result<Training<Forecaster>> {
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
