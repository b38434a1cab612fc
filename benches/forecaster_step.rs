//! The forecaster's forward and training step at Pearl-River size: 4443 sea cells, 46 frames from 46, width 8, batch 1.
//!
//! `cargo bench -p isobath-benches --bench forecaster_step` prints medians and least times, the profile of the kernels
//! and the peak resident memory. Run `benches/peers/forecaster_torch.py` beside it for the same of PyTorch.

use isobath_benches::{coast, timing};
use isobath_engine::adam::Adam;
use isobath_engine::{DType, Device, Result, Tape};
use isobath_models::stimp::forecaster::{Batch, Forecaster, Options};

fn main() -> Result<()> {
    let device = Device::cpu();
    let options = Options::published();
    let region = coast::region(&device, options.region())?;
    let mut model = Forecaster::new(&device, options, region, DType::F32, 1)?;
    let (windows, observed) = (coast::values(), coast::observed());
    let labels: Vec<f32> = windows.iter().rev().copied().collect();
    let adam = Adam { lr: 1e-4, weight_decay: 1e-6, ..Adam::default() };
    timing::time("training step", |_| {
        let tape = Tape::start()?;
        let loss = model.loss(&Batch { windows: &windows, labels: &labels, observed: &observed })?;
        let gradients = tape.backward(&loss)?;
        adam.step(&mut model.parameters, &gradients).map(|_| ())
    })?;
    timing::memory(&device);
    let windows = model.parameters.tensor([1, coast::FRAMES, coast::NODES], &windows)?;
    timing::time("forward", |_| model.predict(&windows).map(|_| ()))?;
    timing::profile(&device);
    Ok(())
}
