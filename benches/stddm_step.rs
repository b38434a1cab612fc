//! STDDM's forward and training step at Pearl-River size: 60 x 96 grid, 4443 sea cells, 46 frames, width 32, batch 1.
//!
//! `cargo bench -p isobath-benches --bench stddm_step` prints medians and least times, the profile of the kernels and the
//! peak resident memory. Run `benches/peers/stddm_torch.py` beside it for the same of PyTorch.

use isobath_benches::{coast, timing};
use isobath_engine::adam::Adam;
use isobath_engine::random::PhiloxKey;
use isobath_engine::{DType, Device, Result, Tape};
use isobath_models::stimp::options::Options;
use isobath_models::stimp::stddm::{Batch, Stddm, Times};

fn main() -> Result<()> {
    let device = Device::cpu();
    let options = Options::published();
    let region = coast::region(&device, options.region())?;
    let mut model = Stddm::new(&device, options, region, DType::F32, 1)?;
    let (values, observed) = (coast::values(), coast::observed());
    let visible: Vec<bool> = observed.iter().enumerate().map(|(i, seen)| *seen && i * 40_503 % 7 > 2).collect();
    let adam = Adam { weight_decay: 1e-4, max_norm: Some(1.0), ..Adam::default() };
    timing::time("training step", |run| {
        let noise = PhiloxKey { seed: 1, stream: run as u64 };
        let (frames, times) = (coast::FRAMES, Times { steps: &[run % 50], phases: &[] });
        let batch = Batch { frames, values: &values, observed: &observed, visible: &visible, times, noise };
        let tape = Tape::start()?;
        let loss = model.loss(&batch)?;
        let gradients = tape.backward(&loss)?;
        adam.step(&mut model.parameters, &gradients).map(|_| ())
    })?;
    timing::memory(&device);
    let condition = model.condition(coast::FRAMES, &[], &values, &visible)?;
    let planes = model.planes(&condition, &condition.fill)?;
    timing::time("forward", |run| model.predict(&planes, Times { steps: &[run % 50], phases: &[] }).map(|_| ()))?;
    timing::profile(&device);
    Ok(())
}
