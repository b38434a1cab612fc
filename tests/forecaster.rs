//! The whole forecaster: its twin, its gradient, its normalisation, its mask and what its frames mean.

use isobath_engine::{DType, Device, Result, Tensor};
use isobath_models::stimp::forecaster::{Batch, Forecaster, Normalised, Options};
use isobath_models::stimp::options::{Attention, BlockForm};
use isobath_tests::differences::Model;
use isobath_tests::ring::{self, NODES};

const WINDOWS: usize = 2;

fn small() -> Options {
    Options { frames: 7, horizon: 4, prototypes: 3, groups: 2, ..Options::published() }
}

fn model(options: Options, dtype: DType) -> Result<Forecaster> {
    let device = Device::cpu();
    let region = ring::region(&device, options.region(), dtype)?;
    Forecaster::new(&device, options, region, dtype, 11)
}

/// Host arrays of a batch for [`small`].
struct Arrays {
    windows: Vec<f32>,
    labels: Vec<f32>,
    observed: Vec<bool>,
}

fn arrays() -> Arrays {
    let wave = |len: usize, pace: f32| (0..len).map(|i| (i as f32 * pace).sin()).collect();
    let (cells, ahead) = (WINDOWS * small().frames * NODES, WINDOWS * small().horizon * NODES);
    Arrays { windows: wave(cells, 0.37), labels: wave(ahead, 0.61), observed: (0..ahead).map(|i| i % 5 != 2).collect() }
}

impl Arrays {
    fn batch(&self) -> Batch<'_> {
        Batch { windows: &self.windows, labels: &self.labels, observed: &self.observed }
    }

    /// The windows as a tensor in double precision.
    fn windows(&self, device: &Device) -> Result<Tensor> {
        let values: Vec<f64> = self.windows.iter().map(|v| f64::from(*v)).collect();
        Tensor::from_f64(device, [WINDOWS, small().frames, NODES], &values, DType::F64)
    }
}

fn checked(model: Forecaster) -> Model<Forecaster> {
    Model { model, parameters: |model| &mut model.parameters, loss: |model| model.loss(&arrays().batch()) }
}

#[test]
fn fused_kernels_equal_small_operations() -> Result<()> {
    let fused = checked(model(small(), DType::F64)?).gradients()?;
    let composed = checked(model(small(), DType::F64)?.unfused()).gradients()?;
    assert!((fused.0 - composed.0).abs() < 1e-12 * composed.0, "{} {}", fused.0, composed.0);
    let norm = composed.1.iter().map(|g| g * g).sum::<f64>().sqrt();
    let difference = fused.1.iter().zip(&composed.1).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    assert!(norm > 1e-3 && difference < 1e-12 * norm, "{difference} of {norm}");
    Ok(())
}

#[test]
fn whole_loss_has_the_gradient_of_its_differences() -> Result<()> {
    checked(model(small(), DType::F64)?).check(1e-6)?;
    let paper = Options { heads: 2, attention: Attention::Softmax, block: BlockForm::PostNorm, ..small() };
    // A unit of a ReLU that crosses 0 within the step spoils a little of the difference.
    checked(model(paper, DType::F64)?).check(1e-4)
}

#[test]
fn parameters_are_as_many_as_published() -> Result<()> {
    // systems 1.10: 3 699, of which 3 603 take part.
    assert_eq!(model(Options::published(), DType::F32)?.parameters.count(), 3_603);
    Ok(())
}

#[test]
fn normalisation_inverts() -> Result<()> {
    let windows = arrays().windows(&Device::cpu())?;
    let normalised = Normalised::of(&windows)?;
    let node = |values: &[f64]| -> Vec<f64> { values.iter().step_by(NODES).copied().collect() };
    let first = node(&normalised.windows.to_f64()?[..small().frames * NODES]);
    let mean = first.iter().sum::<f64>() / first.len() as f64;
    let variance = first.iter().map(|v| v * v).sum::<f64>() / first.len() as f64;
    // The share of a frame passes through f32.
    assert!(mean.abs() < 1e-7 && (variance - 1.0).abs() < 1e-4, "mean {mean}, variance {variance}");
    let (restored, windows) = (normalised.restore(&normalised.windows)?.to_f64()?, windows.to_f64()?);
    assert!(restored.iter().zip(windows).all(|(a, b)| (a - b).abs() < 1e-14));
    Ok(())
}

#[test]
fn a_forecast_follows_the_level_and_the_size_of_its_window() -> Result<()> {
    let model = model(small(), DType::F64)?;
    let windows = arrays().windows(model.parameters.device())?;
    let moved: Vec<f64> = windows.to_f64()?.iter().map(|v| 100.0 * v + 20.0).collect();
    let moved = Tensor::from_f64(windows.device(), *windows.shape(), &moved, DType::F64)?;
    // Up to the 1e-5 that is added to the variance.
    for (plain, moved) in model.predict(&windows)?.to_f64()?.iter().zip(model.predict(&moved)?.to_f64()?) {
        assert!((100.0 * plain + 20.0 - moved).abs() < 1e-2, "{plain} {moved}");
    }
    Ok(())
}

#[test]
fn labels_without_an_observation_do_not_count() -> Result<()> {
    let model = model(small(), DType::F32)?;
    let mut arrays = arrays();
    let loss = model.loss(&arrays.batch())?.item()?;
    let (hidden, seen) = (arrays.observed.iter().position(|o| !o), arrays.observed.iter().position(|o| *o));
    arrays.labels[hidden.expect("a hidden label")] = f32::NAN;
    assert_eq!(model.loss(&arrays.batch())?.item()?, loss);
    arrays.labels[seen.expect("an observed label")] += 1.0;
    assert_ne!(model.loss(&arrays.batch())?.item()?, loss);
    Ok(())
}

#[test]
fn the_same_bits_twice() -> Result<()> {
    let run = || checked(model(small(), DType::F32)?).gradients();
    let (first, second) = (run()?, run()?);
    assert_eq!(first.0.to_bits(), second.0.to_bits());
    assert_eq!(first.1, second.1);
    Ok(())
}

#[test]
fn other_windows_and_other_regions_are_refused() -> Result<()> {
    let model = model(small(), DType::F32)?;
    let windows = Tensor::zeros(model.parameters.device(), [1, 6, NODES], DType::F32)?;
    let error = model.predict(&windows).expect_err("six frames").to_string();
    assert!(error.contains("expected T = 7, found 6"), "{error}");
    let device = Device::cpu();
    let plain = ring::region(&device, small().region(), DType::F32)?;
    let longitude = Options { longitude: true, ..small() };
    let error = Forecaster::new(&device, longitude, plain, DType::F32, 1).err().expect("another region");
    assert!(error.to_string().contains("expected a region built by"), "{error}");
    Ok(())
}
