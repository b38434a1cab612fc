//! The training of STDDM.

use std::ops::Range;
use std::path::Path;

use isobath_engine::Tape;
use isobath_engine::parameters::Parameters;
use isobath_engine::random::PhiloxKey;
use isobath_models::stimp::stddm::{Batch, Times};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::{Best, Course, Step, Training, descend, run};
use crate::Result;
use crate::config::{Hiding, Train};
use crate::data::{masks, windows};
use crate::record::Record;
use crate::trained::{self, Trained};

/// Diffusion steps at which a validation window is scored.
const LEVELS: usize = 5;

/// First frames of the windows that train, and of those that validate.
///
/// A training window lies before the last `validation_frames` of `frames`. Validation windows reach back from them, and
/// are scored on cells hidden in those frames alone.
///
/// # Errors
/// [`crate::Error::Input`] when the window is longer than the frames left to train on.
pub fn split(frames: &Range<usize>, settings: &Train) -> Result<(Vec<usize>, Vec<usize>)> {
    let (window, held) = (settings.window, settings.validation_frames);
    let cut = frames.end.saturating_sub(held).max(frames.start);
    let training = windows::starts(&(frames.start..cut), window, 1, "training")?;
    let reach = frames.end - held.max(window)..frames.end;
    let validation = match held {
        0 => Vec::new(),
        _ => windows::covering(&reach, window, window.div_ceil(2), "validation")?,
    };
    Ok((training, validation))
}

/// Trains on the training frames of `record` until the configured epochs are done, from where `trained` stands, and
/// writes the weights and the metrics into `folder`.
///
/// # Errors
/// [`crate::Error::Input`] when the window is longer than the training record or the training diverges, which leaves the
/// last checkpoint as it is, and so does [`crate::Error::DeviceLost`]; [`crate::Error::Interrupted`] on Ctrl-C, with a new
/// checkpoint in `folder`.
pub fn train(trained: &mut Trained, record: &Record, folder: &Path) -> Result<Vec<Step>> {
    let windows = split(&record.train, &trained.config.train)?;
    let epochs = trained.config.train.epochs;
    train_on(trained, record, windows, epochs, folder)
}

/// Trains for so many epochs on all training frames of `record`, also on those that validate; otherwise as [`train`].
///
/// # Errors
/// As [`train`].
pub fn refit(trained: &mut Trained, record: &Record, epochs: usize, folder: &Path) -> Result<Vec<Step>> {
    let windows = split(&record.train, &Train { validation_frames: 0, ..trained.config.train.clone() })?;
    train_on(trained, record, windows, epochs, folder)
}

/// Trains and validates on windows with these first frames.
fn train_on(
    trained: &mut Trained,
    record: &Record,
    (starts, validation): (Vec<usize>, Vec<usize>),
    epochs: usize,
    folder: &Path,
) -> Result<Vec<Step>> {
    let Train { batch, seed, checkpoint_every, patience, .. } = trained.config.train;
    let checkpoint = folder.join(trained::FILE);
    let course = Course { starts, batch, epochs, seed, checkpoint_every, checkpoint };
    let best = Best::of(folder, trained.step, patience)?;
    let mut training = Imputing { trained, record, validation, best };
    let steps = run(&mut training, &course, folder)?;
    if !training.validation.is_empty() && training.best.take(&mut training.trained.model.parameters)? {
        training.trained.save(&course.checkpoint, epochs as u64)?;
        training.best.remove()?;
    }
    Ok(steps)
}

/// A training of STDDM.
struct Imputing<'a> {
    trained: &'a mut Trained,
    record: &'a Record,
    /// First frames of the validation windows.
    validation: Vec<usize>,
    best: Best,
}

impl Imputing<'_> {
    /// Mean square error on cells hidden in the validation frames, the same ones at the same diffusion steps and with the
    /// same noise each time; none when nothing was observed there.
    fn validation_error(&self) -> Result<Option<f64>> {
        let settings = &self.trained.config.train;
        let cut = self.record.train.end - settings.validation_frames;
        let (mut squares, mut total) = (0.0, 0);
        for &start in &self.validation {
            // Steps count from 0, and the order of an epoch has the last number.
            let mut random = masks::generator(settings.seed, u64::MAX - 1, start as u64);
            let window = self.record.cells(start..start + settings.window);
            let observed = &self.record.series.observed[window.clone()];
            let known = self.record.cells(start..cut.max(start)).len();
            let mut visible = visible(self.trained, self.record, observed, &mut random);
            visible[..known].copy_from_slice(&observed[..known]);
            let count = observed.iter().zip(&visible).filter(|(observed, visible)| **observed && !**visible).count();
            if count == 0 {
                continue;
            }
            let levels = self.trained.config.model.steps;
            let loss = self.trained.model.loss(&Batch {
                frames: settings.window,
                values: &self.record.series.values[window].repeat(LEVELS),
                observed: &observed.repeat(LEVELS),
                visible: &visible.repeat(LEVELS),
                times: Times {
                    steps: &std::array::from_fn::<_, LEVELS, _>(|i| (2 * i + 1) * levels / (2 * LEVELS)),
                    phases: &self.record.series.phases[start..start + settings.window].repeat(LEVELS),
                },
                noise: PhiloxKey { seed: settings.seed, stream: u64::MAX - 1 - start as u64 },
            })?;
            squares += loss.item()? * count as f64;
            total += count;
        }
        Ok((total > 0).then(|| squares / total as f64))
    }
}

impl Training for Imputing<'_> {
    fn done(&self) -> u64 {
        self.trained.step
    }

    fn stopped(&self) -> bool {
        self.trained.stopped_early
    }

    fn advance(&mut self, windows: &[usize], epoch: u64) -> Result<Step> {
        let step = advance(self.trained, self.record, windows, epoch)?;
        self.trained.step += 1;
        Ok(step)
    }

    fn validate(&mut self, epoch: u64) -> Result<Option<f64>> {
        let Some(error) = self.validation_error()? else { return Ok(None) };
        let Trained { model, step, config, .. } = &*self.trained;
        self.trained.stopped_early = self.best.judge(&model.parameters, (*step, epoch), config.train.seed, error)?;
        Ok(Some(error))
    }

    fn parameters(&self) -> &Parameters {
        &self.trained.model.parameters
    }

    fn save(&self, path: &Path, epoch: u64) -> Result<()> {
        self.trained.save(path, epoch)
    }
}

/// Cells of a batch, drawn for one step.
struct Draw {
    values: Vec<f32>,
    observed: Vec<bool>,
    visible: Vec<bool>,
    steps: Vec<usize>,
    phases: Vec<f32>,
}

impl Draw {
    /// For each window: which of its observed cells stay visible, and a diffusion step.
    fn new(trained: &Trained, record: &Record, batch: &[usize]) -> Self {
        let settings = &trained.config.train;
        let cells = batch.len() * settings.window * record.series.nodes;
        let mut draw = Draw {
            values: Vec::with_capacity(cells),
            observed: Vec::with_capacity(cells),
            visible: Vec::with_capacity(cells),
            steps: Vec::with_capacity(batch.len()),
            phases: Vec::with_capacity(batch.len() * settings.window),
        };
        for (sample, &start) in batch.iter().enumerate() {
            let window: Range<usize> = record.cells(start..start + settings.window);
            let observed = &record.series.observed[window.clone()];
            let mut random = masks::generator(settings.seed, trained.step, sample as u64);
            draw.visible.extend(visible(trained, record, observed, &mut random));
            draw.steps.push(random.random_range(0..trained.config.model.steps));
            draw.observed.extend_from_slice(observed);
            draw.values.extend_from_slice(&record.series.values[window]);
            draw.phases.extend_from_slice(&record.series.phases[start..start + settings.window]);
        }
        draw
    }
}

/// Which of the `observed` cells of a window stay visible.
fn visible(trained: &Trained, record: &Record, observed: &[bool], random: &mut ChaCha8Rng) -> Vec<bool> {
    let settings = &trained.config.train;
    let hidden = match settings.hiding {
        Hiding::Random => masks::hide_exact(observed, settings.missing_rate, random),
        Hiding::Transplanted => {
            let train = &record.series.observed[record.cells(record.train.clone())];
            masks::transplant(observed, train, record.series.nodes, random)
        }
    };
    observed.iter().zip(hidden).map(|(observed, hidden)| *observed && !hidden).collect()
}

/// One step; one whose loss or gradient is not finite leaves the parameters as they are.
fn advance(trained: &mut Trained, record: &Record, batch: &[usize], epoch: u64) -> Result<Step> {
    let draw = Draw::new(trained, record, batch);
    let settings = &trained.config.train;
    let tape = Tape::start()?;
    let loss = trained.model.loss(&Batch {
        frames: settings.window,
        values: &draw.values,
        observed: &draw.observed,
        visible: &draw.visible,
        times: Times { steps: &draw.steps, phases: &draw.phases },
        noise: PhiloxKey { seed: settings.seed, stream: trained.step },
    })?;
    let mut adam = settings.adam();
    adam.lr *= settings.decline().factor(epoch as usize);
    descend(&mut trained.model.parameters, tape, &loss, &adam, (trained.step, epoch))
}
