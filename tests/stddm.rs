//! The whole imputer: its twin, its gradient, its symmetries and its sampler.

use isobath_engine::random::PhiloxKey;
use isobath_engine::{DType, Device, Result, Tape};
use isobath_models::stimp::options::{NoiseSchedule, Options};
use isobath_models::stimp::region::{Region, RegionData};
use isobath_models::stimp::sampler::impute;
use isobath_models::stimp::stddm::{Batch, Stddm};

const FRAMES: usize = 5;
const NODES: usize = 9;
const WINDOWS: usize = 2;

fn small(options: Options) -> Options {
    Options { channels: 8, prototypes: 3, step_width: 8, steps: 6, groups: 2, ..options }
}

/// A ring of nodes, each with itself and its two neighbours.
fn model(options: Options, dtype: DType) -> Result<Stddm> {
    let device = Device::cpu();
    let n = NODES as u32;
    let offsets: Vec<u32> = (0..=n).map(|i| 3 * i).collect();
    let neighbours: Vec<u32> = (0..n).flat_map(|i| [(i + n - 1) % n, i, (i + 1) % n]).collect();
    let plane = |scale: f32| -> Vec<f32> { (0..NODES).map(|i| scale * (i as f32 * 0.7).sin()).collect() };
    let (low, high) = (vec![-1.5; NODES], vec![1.5; NODES]);
    let data = RegionData {
        offsets: &offsets,
        neighbours: &neighbours,
        mean: &plane(0.5),
        std: &plane(0.2),
        low: &low,
        high: &high,
        row: &plane(0.9),
        column: &plane(0.4),
    };
    let region = Region::new(&device, &data, &options, dtype)?;
    Stddm::new(&device, options, region, dtype, 11)
}

struct Window {
    values: Vec<f32>,
    observed: Vec<bool>,
    visible: Vec<bool>,
    steps: Vec<usize>,
}

fn window() -> Window {
    let cells = WINDOWS * FRAMES * NODES;
    let observed: Vec<bool> = (0..cells).map(|i| i % 7 != 3).collect();
    Window {
        values: (0..cells).map(|i| if i % 7 != 3 { (i as f32 * 0.37).sin() } else { 0.0 }).collect(),
        visible: (0..cells).map(|i| observed[i] && i % 3 != 0).collect(),
        observed,
        steps: vec![1, 4],
    }
}

impl Window {
    fn batch(&self) -> Batch<'_> {
        let noise = PhiloxKey { seed: 5, stream: 2 };
        let (values, observed, visible, steps) = (&self.values, &self.observed, &self.visible, &self.steps);
        Batch { frames: FRAMES, values, observed, visible, steps, noise }
    }
}

/// The loss and all gradients, one after the other.
fn gradients(model: &Stddm) -> Result<(f64, Vec<f64>)> {
    let tape = Tape::start()?;
    let loss = model.loss(&window().batch())?;
    let found = tape.backward(&loss)?;
    let mut all = Vec::new();
    for name in model.parameters.names() {
        all.extend(model.parameters.gradient(&found, name)?.to_f64()?);
    }
    Ok((loss.item()?, all))
}

#[test]
fn fused_kernels_equal_small_operations() -> Result<()> {
    let fused = gradients(&model(small(Options::published()), DType::F64)?)?;
    let composed = gradients(&model(small(Options::published()), DType::F64)?.unfused())?;
    assert!((fused.0 - composed.0).abs() < 1e-12 * composed.0, "{} {}", fused.0, composed.0);
    let norm = composed.1.iter().map(|g| g * g).sum::<f64>().sqrt();
    let difference = fused.1.iter().zip(&composed.1).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    assert!(norm > 1e-3 && difference < 1e-12 * norm, "{difference} of {norm}");
    Ok(())
}

/// Along one direction in all parameters at once, by differences of the loss.
fn check_gradient(options: Options, tolerance: f64) -> Result<()> {
    let mut model = model(options, DType::F64)?;
    let (_, gradient) = gradients(&model)?;
    let names: Vec<String> = model.parameters.names().map(String::from).collect();
    let start: Vec<Vec<f32>> = names.iter().map(|n| model.parameters.to_vec(n)).collect::<Result<_>>()?;
    // Steps that f32 holds exactly, since parameters are set in f32.
    let h = 2f32.powi(-20);
    let direction = |i: usize| if (i * 2_654_435_761) & 64 == 0 { 1.0f32 } else { -1.0 };
    let rounded = |v: f32| (v * 1_048_576.0).round() / 1_048_576.0;
    let mut loss_at = |step: f32| -> Result<f64> {
        let mut i = 0;
        for (name, values) in names.iter().zip(&start) {
            let moved: Vec<f32> = values
                .iter()
                .map(|v| {
                    i += 1;
                    rounded(*v) + step * direction(i - 1)
                })
                .collect();
            model.parameters.set(name, &moved)?;
        }
        model.loss(&window().batch())?.item()
    };
    let slope = (8.0 * (loss_at(h)? - loss_at(-h)?) - (loss_at(2.0 * h)? - loss_at(-2.0 * h)?)) / (12.0 * f64::from(h));
    loss_at(0.0)?;
    let (_, gradient_here) = gradients(&model)?;
    assert_ne!(gradient, gradient_here, "rounding the parameters moved them");
    let expected: f64 = gradient_here.iter().enumerate().map(|(i, g)| g * f64::from(direction(i))).sum();
    let scale = gradient_here.iter().map(|g| g * g).sum::<f64>().sqrt();
    assert!((slope - expected).abs() < tolerance * scale, "by differences {slope}, by the backward {expected}");
    Ok(())
}

#[test]
fn whole_loss_has_the_gradient_of_its_differences() -> Result<()> {
    check_gradient(Options { clamp: false, ..small(Options::published()) }, 1e-6)
}

#[test]
fn the_papers_variant_has_it_too() -> Result<()> {
    // A unit of a ReLU that crosses 0 within the step spoils a little of the difference.
    check_gradient(Options { heads: 2, ..small(Options::paper()) }, 1e-4)
}

#[test]
fn parameters_are_as_many_as_published() -> Result<()> {
    // systems 8, A1: 27 425 of which 26 273 take part.
    assert_eq!(model(Options::published(), DType::F32)?.parameters.count(), 26_273);
    Ok(())
}

#[test]
fn frames_have_no_order() -> Result<()> {
    // systems 8, A3: permuting the frames of the input permutes the prediction.
    let model = model(small(Options::published()), DType::F64)?;
    let values: Vec<f32> = (0..2 * FRAMES * NODES).map(|i| (i as f32 * 0.71).cos()).collect();
    let reversed: Vec<f32> =
        values.chunks(FRAMES * NODES).flat_map(|plane| plane.chunks(NODES).rev().flatten().copied()).collect();
    let predict = |planes: &[f32]| -> Result<Vec<f64>> {
        model.predict(&model.tensor(&[2, 1, FRAMES, NODES], planes)?, &[3])?.to_f64()
    };
    let (forth, back) = (predict(&values)?, predict(&reversed)?);
    for (a, b) in forth.chunks(NODES).zip(back.chunks(NODES).rev()) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12));
    }
    Ok(())
}

#[test]
fn a_sample_does_not_depend_on_its_company() -> Result<()> {
    let options = Options { noise_schedule: NoiseSchedule::Linear, ..small(Options::published()) };
    let model = model(options, DType::F32)?;
    let w = window();
    let cells = FRAMES * NODES;
    let sample =
        |count: usize| impute(&model, FRAMES, &w.values[..cells], &w.visible[..cells], count, 3, &mut |_| true);
    let (one, three) = (sample(1)?.unwrap_or_default(), sample(3)?.unwrap_or_default());
    assert_eq!(one[..], three[..cells]);
    assert_ne!(three[..cells], three[cells..2 * cells]);
    let stopped = impute(&model, FRAMES, &w.values[..cells], &w.visible[..cells], 2, 3, &mut |done| done < 4)?;
    assert!(stopped.is_none());
    Ok(())
}
