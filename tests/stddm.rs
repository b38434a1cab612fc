//! The whole imputer: its twin, its gradient, its symmetries and its sampler.

use isobath_engine::random::PhiloxKey;
use isobath_engine::{DType, Device, Result};
use isobath_models::stimp::options::{Fill, NoiseSchedule, Options, Position};
use isobath_models::stimp::sampler::impute;
use isobath_models::stimp::stddm::{Batch, Stddm, Times};
use isobath_models::stimp::tiles::Tiles;
use isobath_tests::differences::Model;
use isobath_tests::ring::{self, NODES};

const FRAMES: usize = 5;
const WINDOWS: usize = 2;

fn small(options: Options) -> Options {
    Options { channels: 8, prototypes: 3, step_width: 8, steps: 6, groups: 2, ..options }
}

fn model(options: Options, dtype: DType) -> Result<Stddm> {
    let device = Device::cpu();
    let region = ring::region(&device, options.region(), dtype)?;
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

/// Frames a month apart from midwinter on, and a fifth of a year later in the second window.
const PHASES: [f32; WINDOWS * FRAMES] = [0.0, 0.08, 0.17, 0.25, 0.33, 0.2, 0.28, 0.37, 0.45, 0.53];

fn times(steps: &[usize]) -> Times<'_> {
    Times { steps, phases: &PHASES[..steps.len() * FRAMES] }
}

impl Window {
    fn batch(&self) -> Batch<'_> {
        let noise = PhiloxKey { seed: 5, stream: 2 };
        let (values, observed, visible) = (&self.values, &self.observed, &self.visible);
        Batch { frames: FRAMES, values, observed, visible, times: times(&self.steps), noise }
    }
}

/// A model with its loss on the window.
fn checked(model: Stddm) -> Model<Stddm> {
    Model { model, parameters: |model| &mut model.parameters, loss: |model| model.loss(&window().batch()) }
}

#[test]
fn fused_kernels_equal_small_operations() -> Result<()> {
    let fused = checked(model(small(Options::published()), DType::F64)?).gradients()?;
    let composed = checked(model(small(Options::published()), DType::F64)?.unfused()).gradients()?;
    assert!((fused.0 - composed.0).abs() < 1e-12 * composed.0, "{} {}", fused.0, composed.0);
    let norm = composed.1.iter().map(|g| g * g).sum::<f64>().sqrt();
    let difference = fused.1.iter().zip(&composed.1).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    assert!(norm > 1e-3 && difference < 1e-12 * norm, "{difference} of {norm}");
    Ok(())
}

#[test]
fn whole_loss_has_the_gradient_of_its_differences() -> Result<()> {
    checked(model(Options { clamp: false, ..small(Options::published()) }, DType::F64)?).check(1e-6)
}

#[test]
fn positions_have_it_too() -> Result<()> {
    for position in [Position::Frame, Position::Season] {
        let options = Options { clamp: false, position, ..small(Options::published()) };
        checked(model(options, DType::F64)?).check(1e-6)?;
    }
    Ok(())
}

#[test]
fn a_departure_from_the_fill_starts_at_nothing_and_has_it_too() -> Result<()> {
    let options = || Options { clamp: false, ..small(Options::interpolating()) };
    let fresh = model(options(), DType::F64)?;
    let (w, cells) = (window(), FRAMES * NODES);
    let (phases, values, visible) = (&PHASES[..FRAMES], &w.values[..cells], &w.visible[..cells]);
    let fill = fresh.condition(FRAMES, phases, values, visible)?.fill.to_f64()?;
    let sample = impute(&fresh, phases, values, visible, 1, 3, &mut |_| true)?.unwrap_or_default();
    assert!(fill.iter().zip(&sample).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-6));

    let mut learnt = model(options(), DType::F64)?;
    let weights: Vec<f32> = (0..learnt.options().channels).map(|i| (i as f32 * 1.7).sin()).collect();
    learnt.parameters.set("output_projection.weight", &weights)?;
    checked(learnt).check(1e-6)
}

#[test]
fn hidden_values_play_no_part_in_any_fill() -> Result<()> {
    for fill in [Fill::VisibleMean, Fill::Zero, Fill::OptimalInterpolation] {
        let model = model(Options { fill, ..small(Options::published()) }, DType::F32)?;
        let w = window();
        let other: Vec<f32> = w.values.iter().zip(&w.visible).map(|(v, seen)| if *seen { *v } else { 7.0 }).collect();
        let filled = |values: &[f32]| model.condition(FRAMES, &PHASES, values, &w.visible)?.filled.to_f64();
        let (one, two) = (filled(&w.values)?, filled(&other)?);
        assert_eq!(one, two, "{fill:?}");
        let kept = w.visible.iter().zip(one.iter().zip(&w.values)).all(|(seen, (a, b))| !seen || *a == f64::from(*b));
        assert!(kept, "{fill:?}");
    }
    Ok(())
}

#[test]
fn the_papers_variant_has_it_too() -> Result<()> {
    // A unit of a ReLU that crosses 0 within the step spoils a little of the difference.
    checked(model(Options { heads: 2, ..small(Options::paper()) }, DType::F64)?).check(1e-4)
}

#[test]
fn parameters_are_as_many_as_published() -> Result<()> {
    // systems 8, A1: 27 425 of which 26 273 take part.
    assert_eq!(model(Options::published(), DType::F32)?.parameters.count(), 26_273);
    Ok(())
}

/// The largest change of the prediction when the frames of the input are reversed, and the prediction with them.
fn change_by_reversal(options: Options) -> Result<f64> {
    let model = model(options, DType::F64)?;
    let values: Vec<f32> = (0..2 * FRAMES * NODES).map(|i| (i as f32 * 0.71).cos()).collect();
    let reversed: Vec<f32> =
        values.chunks(FRAMES * NODES).flat_map(|plane| plane.chunks(NODES).rev().flatten().copied()).collect();
    let predict = |planes: &[f32]| -> Result<Vec<f64>> {
        model.predict(&model.tensor(&[2, 1, FRAMES, NODES], planes)?, times(&[3]))?.to_f64()
    };
    let (forth, back) = (predict(&values)?, predict(&reversed)?);
    let pairs = forth.chunks(NODES).zip(back.chunks(NODES).rev()).flat_map(|(a, b)| a.iter().zip(b));
    Ok(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
}

#[test]
fn frames_have_an_order_only_with_positions() -> Result<()> {
    // systems 8, A3: permuting the frames of the input permutes the prediction.
    let options = Options { clamp: false, ..small(Options::published()) };
    assert!(change_by_reversal(options.clone())? < 1e-12);
    for position in [Position::Frame, Position::Season] {
        assert!(change_by_reversal(Options { position, ..options.clone() })? > 1e-3);
    }
    Ok(())
}

#[test]
fn a_sample_does_not_depend_on_its_company() -> Result<()> {
    let options = Options { noise_schedule: NoiseSchedule::Linear, ..small(Options::published()) };
    let model = model(options, DType::F32)?;
    let w = window();
    let cells = FRAMES * NODES;
    let sample = |count: usize| {
        impute(&model, &PHASES[..FRAMES], &w.values[..cells], &w.visible[..cells], count, 3, &mut |_| true)
    };
    let (one, three) = (sample(1)?.unwrap_or_default(), sample(3)?.unwrap_or_default());
    assert_eq!(one[..], three[..cells]);
    assert_ne!(three[..cells], three[cells..2 * cells]);
    let stopped =
        impute(&model, &PHASES[..FRAMES], &w.values[..cells], &w.visible[..cells], 2, 3, &mut |done| done < 4)?;
    assert!(stopped.is_none());
    Ok(())
}

#[test]
fn tiles_predict_what_one_piece_predicts() -> Result<()> {
    let model = model(small(Options::published()), DType::F64)?;
    let values: Vec<f32> = (0..2 * WINDOWS * FRAMES * NODES).map(|i| (i as f32 * 0.71).cos()).collect();
    let planes = model.tensor(&[2, WINDOWS, FRAMES, NODES], &values)?;
    let whole = model.predict(&planes, times(&[1, 4]))?.to_f64()?;
    let spread = whole.iter().fold(0.0, |most: f64, v| most.max((v - whole[0]).abs()));
    assert!(spread > 1e-3);
    for nodes in [1, 4, NODES - 1] {
        let node = WINDOWS * FRAMES * model.options().channels;
        let tiles = Tiles::of(&model, WINDOWS, FRAMES, nodes * node)?;
        let tiled = tiles.map(|tiles| tiles.predict(&model, &planes, times(&[1, 4]))).transpose()?;
        let tiled = tiled.map(|tiled| tiled.to_f64()).transpose()?.unwrap_or_default();
        assert_eq!(tiled.len(), whole.len());
        let difference = whole.iter().zip(&tiled).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(difference < 1e-10 * spread, "{nodes} nodes a tile: {difference}");
    }
    assert!(Tiles::of(&model, WINDOWS, FRAMES, usize::MAX)?.is_none());
    Ok(())
}
