//! A GPU that is lost: what every later use says, and which weights are left.

use crate::adapter;
use isobath_engine::adam::Adam;
use isobath_engine::checkpoint::{self, State};
use isobath_engine::init::Init;
use isobath_engine::parameters::Parameters;
use isobath_engine::{DType, Device, Error, Result, Tape, Tensor, ops};
use isobath_models::baselines::Variability;
use isobath_models::stimp::forecaster::Options;
use isobath_tests::checks::Outcome;
use isobath_train::data::nodes::{SeaMask, Series, Statistics};
use isobath_train::forecasting::{Config, Train, TrainedForecaster, train_forecaster};
use isobath_train::record::{Place, Scaling};
use std::path::Path;
use std::time::{Duration, Instant};

/// Loses the GPU.
fn lose(device: &Device) {
    if let Device::Wgpu(gpu) = device {
        gpu.lose();
    }
}

pub(super) fn between_steps() -> Outcome {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join("weights.safetensors");
    let build = |device: &Device| Parameters::builder().add("a", [3], Init::Ones).build(device, DType::F32, 1);
    let step = |parameters: &mut Parameters| {
        let tape = Tape::start()?;
        let gradients = tape.backward(&ops::sum(&ops::square(&parameters.get("a")?)?)?)?;
        Adam::default().step(parameters, &gradients).map(drop)
    };
    let run = || -> Result<Vec<Option<Error>>> {
        let device = &Device::wgpu(&adapter())?;
        let mut parameters = build(device)?;
        step(&mut parameters)?;
        checkpoint::save(&path, &parameters, &State::default(), true)?;
        lose(device);
        Ok(vec![
            step(&mut parameters).err(),
            parameters.to_vec("a").err(),
            Tensor::scalar(device, 1.0, DType::F32).err(),
            Tensor::from_slice(device, [1 << 20], &vec![0.5f32; 1 << 20]).err(),
            Tensor::zeros(device, [20 << 20], DType::F32).err(),
            device.pace().err(),
        ])
    };
    for (i, error) in run().map_err(|e| e.to_string())?.into_iter().enumerate() {
        match error {
            Some(Error::DeviceLost { .. }) => {}
            other => return Err(format!("use {i} of a lost device: {other:?}")),
        }
    }
    let load = || -> Result<Vec<f32>> {
        let mut parameters = build(&Device::cpu())?;
        checkpoint::load(&path, &mut parameters)?;
        parameters.to_vec("a")
    };
    let left = load().map_err(|e| e.to_string())?;
    if left.iter().all(|v| (v - 0.999).abs() < 1e-6) { Ok(()) } else { Err(format!("the checkpoint holds {left:?}")) }
}

/// The device goes while a forecaster trains: the error says which weights are left, and they are whole.
pub(super) fn in_a_training() -> Outcome {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join(isobath_train::forecasting::FILE);
    let device = Device::wgpu(&adapter()).map_err(|e| e.to_string())?;
    let mut trained = TrainedForecaster::new(&device, config(), place()).map_err(|e| e.to_string())?;
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for(&path);
            lose(&device);
        });
        train_forecaster(&mut trained, &wave(), 0..FRAMES, folder.path()).err()
    });
    match error {
        Some(isobath_train::Error::DeviceLost(what)) if what.contains("keeps the weights after") => {}
        other => return Err(format!("expected a lost device, found {other:?}")),
    }
    let left = TrainedForecaster::load(&path, &Device::cpu()).map_err(|e| e.to_string())?;
    if left.step > 0 { Ok(()) } else { Err("the checkpoint holds no step".into()) }
}

fn wait_for(path: &Path) {
    let begin = Instant::now();
    while !path.exists() && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

const NODES: usize = 6;
const FRAMES: usize = 30;

/// Far more epochs than there is time for.
fn config() -> Config {
    let model = Options { frames: 6, horizon: 3, prototypes: 3, groups: 2, ..Options::published() };
    let train = Train { epochs: 1_000_000, checkpoint_every: 1, validation_frames: Some(0), ..Train::default() };
    Config { model, train, ..Config::default() }
}

fn place() -> Place {
    let statistics = Statistics {
        mean: vec![0.1; NODES],
        std: vec![0.7; NODES],
        variability: Variability::learn(&[0.0; NODES], &[false; NODES], &[0.0]),
        low: vec![-1.0; NODES],
        high: vec![1.0; NODES],
    };
    Place {
        latitude: vec![1.0, 0.0],
        longitude: vec![0.0, 1.0, 2.0],
        mask: SeaMask { height: 2, width: 3, sea: vec![true; NODES], nodes: (0..NODES).collect() },
        scaling: Scaling { offset: 0.0, factor: 1.0 },
        statistics,
    }
}

fn wave() -> Series {
    let cells = FRAMES * NODES;
    Series {
        frames: FRAMES,
        nodes: NODES,
        values: (0..cells).map(|i| (i as f32 * 0.37).sin()).collect(),
        observed: vec![true; cells],
        phases: (0..FRAMES).map(|t| (t % 12) as f32 / 12.0).collect(),
    }
}
