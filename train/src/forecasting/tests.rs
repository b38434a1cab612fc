use super::*;
use crate::config::Decline;
use crate::data::nodes::{SeaMask, Statistics};
use crate::record::Scaling;
use isobath_models::baselines::Variability;
use isobath_models::stimp::forecaster::Options;

const NODES: usize = 6;
const FRAMES: usize = 60;

fn place() -> Place {
    let statistics = Statistics {
        mean: vec![0.1; NODES],
        std: vec![0.7; NODES],
        variability: Variability::learn(&[0.0; NODES], &[false; NODES], &[0.0]),
        low: vec![-1.0; NODES],
        high: vec![1.0; NODES],
    };
    let mask = SeaMask::new(vec![true; NODES], 2, 3).expect("a mask");
    let scaling = Scaling { offset: 0.0, factor: 1.0 };
    Place { latitude: vec![1.0, 0.0], longitude: vec![0.0, 1.0, 2.0], mask, scaling, statistics }
}

/// A wave of 12 frames that arrives at one node after the other; two sevenths of it were imputed.
fn wave() -> Series {
    let cells = FRAMES * NODES;
    let value = |i: usize| ((i / NODES) as f32 / 12.0 + (i % NODES) as f32 / 30.0) * std::f32::consts::TAU;
    Series {
        frames: FRAMES,
        nodes: NODES,
        values: (0..cells).map(|i| value(i).sin()).collect(),
        observed: (0..cells).map(|i| i % 7 > 1).collect(),
        phases: (0..FRAMES).map(|t| (t % 12) as f32 / 12.0).collect(),
    }
}

fn config() -> Config {
    let model = Options { frames: 12, horizon: 4, prototypes: 3, groups: 2, ..Options::published() };
    let train = Train { epochs: 4, lr: 1e-2, schedule: Decline::Constant, checkpoint_every: 1, ..Train::default() };
    let train = Train { validation_frames: Some(0), ..train };
    Config { model, train, ..Config::default() }
}

fn fresh(config: Config) -> TrainedForecaster {
    TrainedForecaster::new(&Device::cpu(), config, place()).expect("a forecaster")
}

fn weights(trained: &TrainedForecaster) -> Vec<f32> {
    let parameters = &trained.model.parameters;
    parameters.names().flat_map(|name| parameters.to_vec(name).expect("its own name")).collect()
}

#[test]
fn a_wave_is_learnt_and_the_weights_are_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config.train.epochs = 30;
    let mut trained = fresh(config);
    let steps = train_forecaster(&mut trained, &wave(), 0..FRAMES, folder.path()).expect("trained");
    let (first, last) = (steps[0].loss, steps[steps.len() - 1].loss);
    assert!(last < 0.2 * first, "{first} {last}");
    let loaded = TrainedForecaster::load(folder.path(), &Device::cpu()).expect("loaded");
    assert_eq!((weights(&loaded), loaded.config.clone()), (weights(&trained), trained.config.clone()));
    let forecast = loaded.forecast(&wave().values[..12 * NODES]).expect("a forecast");
    let truth = &wave().values[12 * NODES..16 * NODES];
    let error = forecast.iter().zip(truth).map(|(a, b)| (a - b).abs()).sum::<f32>() / truth.len() as f32;
    assert!(error < 0.3, "{error}");
    let error = loaded.forecast(&[0.0; 7]).expect_err("no whole window").to_string();
    assert_eq!(error, "forecast: expected windows of 12 frames of 6 nodes, found 7 values");
}

#[test]
fn a_training_goes_on_with_the_same_bits() {
    for accumulate_gradients in [false, true] {
        let through = tempfile::tempdir().expect("a folder");
        let mut config = config();
        (config.train.accumulate_gradients, config.train.validation_frames) = (accumulate_gradients, Some(10));
        let mut whole = fresh(config.clone());
        let steps = train_forecaster(&mut whole, &wave(), 0..FRAMES, through.path()).expect("trained");

        let folder = tempfile::tempdir().expect("a folder");
        let mut half = fresh(Config { train: Train { epochs: 2, ..config.train.clone() }, ..config.clone() });
        let (starts, validation) = split(&(0..FRAMES), &config).expect("windows");
        let course = Course {
            starts,
            batch: 8,
            epochs: 2,
            seed: 1234,
            checkpoint_every: 1,
            checkpoint: folder.path().join(FILE),
        };
        let imputed = wave();
        let best = Best::of(folder.path(), 0, 20).expect("none yet");
        let mut training = Forecasting { trained: &mut half, imputed: &imputed, validation, best };
        run(&mut training, &course, folder.path()).expect("two epochs");

        let mut resumed = TrainedForecaster::load(folder.path(), &Device::cpu()).expect("loaded");
        assert_eq!(resumed.step, 2 * steps.len() as u64 / 4);
        resumed.config = config;
        let again = train_forecaster(&mut resumed, &wave(), 0..FRAMES, folder.path()).expect("trained");
        assert_eq!(again, steps);
        assert_eq!(weights(&resumed), weights(&whole));
    }
}

#[test]
fn gradients_that_are_never_zeroed_train_otherwise() {
    let train = |accumulate_gradients| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config();
        (config.train.accumulate_gradients, config.train.epochs) = (accumulate_gradients, 1);
        let mut trained = fresh(config);
        train_forecaster(&mut trained, &wave(), 0..FRAMES, folder.path()).expect("trained")
    };
    let (zeroed, summed) = (train(false), train(true));
    assert_eq!(zeroed[0], summed[0]);
    assert_ne!(zeroed[2].loss, summed[2].loss);
}

#[test]
fn validation_keeps_the_best_weights_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut imputed = wave();
    // What follows the training frames has nothing to do with them, so that learning them makes it worse in the end.
    imputed.values[50 * NODES..].iter_mut().enumerate().for_each(|(i, v)| *v = ((i * 7919) % 13) as f32 / 6.0 - 1.0);
    let mut config = config();
    (config.train.validation_frames, config.train.epochs, config.train.patience) = (Some(10), 200, 3);
    let mut trained = fresh(config);
    let steps = train_forecaster(&mut trained, &imputed, 0..FRAMES, folder.path()).expect("trained");
    let errors: Vec<f64> = steps.iter().filter_map(|step| step.validation).collect();
    let best = (0..errors.len()).min_by(|a, b| errors[*a].total_cmp(&errors[*b])).expect("an epoch");
    assert!(trained.stopped_early && errors.len() < 200, "{} epochs", errors.len());
    assert_eq!(errors.len(), best + 1 + 3);
    let validation = split(&(0..FRAMES), &trained.config).expect("windows").1;
    let none = Best::of(folder.path(), 0, 3).expect("none left");
    let kept = Forecasting { trained: &mut trained, imputed: &imputed, validation, best: none };
    assert_eq!(kept.validation_error().expect("an error"), errors[best]);
    // What is done stays done.
    let mut again = TrainedForecaster::load(folder.path(), &Device::cpu()).expect("loaded");
    assert_eq!(weights(&again), weights(&trained));
    assert_eq!(train_forecaster(&mut again, &imputed, 0..FRAMES, folder.path()).expect("done"), steps);
}

#[test]
fn a_refit_is_a_training_on_all_frames_for_the_epochs_that_were_best() {
    let [first, second, plain] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let mut config = config();
    (config.train.validation_frames, config.train.epochs, config.train.patience) = (Some(10), 6, 1);
    let mut chosen = fresh(config.clone());
    let steps = train_forecaster(&mut chosen, &wave(), 0..FRAMES, first.path()).expect("trained");
    let mut trained = fresh(config.clone());
    let again = refit(&mut trained, &chosen, 2, &wave(), 0..FRAMES, second.path()).expect("trained");
    // 45 windows of all frames instead of 35 fill 6 batches instead of 5.
    assert_eq!((steps.iter().filter(|step| step.epoch == 0).count(), again.len()), (5, 12));
    (config.train.validation_frames, config.train.epochs) = (Some(0), 2);
    let mut expected = fresh(config);
    train_forecaster(&mut expected, &wave(), 0..FRAMES, plain.path()).expect("trained");
    assert_eq!(weights(&trained), weights(&expected));
    let residuals = trained.residuals.expect("residuals");
    assert!(residuals.held_out && Some(residuals) == chosen.residuals);
}

#[test]
fn no_frame_that_is_validated_is_trained_on() {
    let mut config = config();
    config.train.validation_frames = Some(7);
    let (training, validation) = split(&(5..50), &config).expect("windows");
    assert_eq!((training[0], training[training.len() - 1] + 16), (5, 43));
    let labels: Vec<usize> = validation.iter().map(|start| start + 12).collect();
    assert_eq!(labels, [43, 44, 45, 46]);
    config.train.validation_frames = Some(0);
    assert_eq!(split(&(5..50), &config).expect("windows"), ((5..35).collect(), vec![]));
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trained = fresh(config());
    let mut refuse = |imputed: &Series, frames| {
        train_forecaster(&mut trained, imputed, frames, folder.path()).expect_err("refused").to_string()
    };
    assert_eq!(refuse(&wave(), 0..15), "window = 16 frames, the training record has 15");
    let smaller = Series { nodes: 5, ..wave() };
    let expected = "imputed record: expected 6 nodes and at least 60 frames, found 5 and 60";
    assert_eq!(refuse(&smaller, 0..60), expected);
    let mut config = config();
    config.train.validation_frames = Some(3);
    let error = TrainedForecaster::new(&Device::cpu(), config, place()).err().expect("a horizon of 4").to_string();
    assert_eq!(error, "configuration field train.validation_frames: expected 0, or at least the horizon, found 3");
}
