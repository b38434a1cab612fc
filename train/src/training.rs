//! The training loop, and the training of STDDM in it (STIMP, algorithm 1, with the published code's settings).
//!
//! All random numbers are counted by seed, step and sample, so a training that is interrupted and resumed ends with
//! the same bits as one that ran through.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use isobath_engine::adam::{Adam, StepReport, largest_gradient};
use isobath_engine::checkpoint;
use isobath_engine::parameters::Parameters;
use isobath_engine::{Tape, Tensor};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::data::{atomic, masks};
use crate::progress::Progress;
use crate::{Error, Result, interrupt};

mod best;
mod stddm;

pub(crate) use best::Best;
pub use stddm::{refit, split, train};

/// Name of the file of [`Step`]s, a line of JSON each.
pub const METRICS: &str = "metrics.jsonl";

/// Name of the folder in which a training that is done afresh chose its length.
pub const SELECTION: &str = "selection";

/// A loss that rounding alone explains, on the model's scale of about 1: that of pixels that never change.
const ROUNDING: f64 = 1e-6;

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 0.
    pub step: u64,
    /// Counted from 0.
    pub epoch: u64,
    /// Mean square error on the hidden cells of the batch.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Euclidean norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Error on the validation frames, at the end of an epoch of a training that has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
}

/// A training: what [`run`] repeats.
pub(crate) trait Training {
    /// Steps done.
    fn done(&self) -> u64;

    /// Whether it has ended before its last epoch.
    fn stopped(&self) -> bool {
        false
    }

    /// One step on the windows with these first frames.
    fn advance(&mut self, windows: &[usize], epoch: u64) -> Result<Step>;

    /// The error on the validation frames after an epoch, if there are any.
    fn validate(&mut self, _epoch: u64) -> Result<Option<f64>> {
        Ok(None)
    }

    /// What it trains.
    fn parameters(&self) -> &Parameters;

    /// Writes a checkpoint after so many epochs.
    fn save(&self, path: &Path, epoch: u64) -> Result<()>;
}

/// How often and in which order the windows are used.
pub(crate) struct Course {
    /// First frames of the windows.
    pub(crate) starts: Vec<usize>,
    /// Windows in a step.
    pub(crate) batch: usize,
    /// Passes over all windows.
    pub(crate) epochs: usize,
    /// Seed of their order.
    pub(crate) seed: u64,
    /// Epochs between checkpoints.
    pub(crate) checkpoint_every: usize,
    /// Where checkpoints go.
    pub(crate) checkpoint: PathBuf,
}

/// Steps through the epochs from where `training` stands, with its metrics, checkpoints and orderly end.
///
/// # Errors
/// As [`train()`].
pub(crate) fn run(training: &mut dyn Training, course: &Course, folder: &Path) -> Result<Vec<Step>> {
    walk(training, course, folder).map_err(|error| match error {
        Error::DeviceLost(what) => Error::DeviceLost(format!("{what}; {}", kept(&course.checkpoint))),
        other => other,
    })
}

fn walk(training: &mut dyn Training, course: &Course, folder: &Path) -> Result<Vec<Step>> {
    let per_epoch = course.starts.len().div_ceil(course.batch) as u64;
    let total = per_epoch * course.epochs as u64;
    let mut log = Log::open(folder, training.done())?;
    let mut progress = Progress::new("training", total, training.done());
    let (mut order, mut ordered) = (Vec::new(), None);
    while training.done() < total && !training.stopped() {
        let (epoch, place) = (training.done() / per_epoch, (training.done() % per_epoch) as usize);
        if ordered != Some(epoch) {
            order = epoch_order(&course.starts, course.seed, epoch);
            ordered = Some(epoch);
        }
        let batch = &order[place * course.batch..order.len().min((place + 1) * course.batch)];
        let mut step = training.advance(batch, epoch)?;
        if !(step.loss.is_finite() && step.gradient_norm.is_finite()) {
            log.flush()?;
            return Err(diverged(training.parameters(), &step, "", &course.checkpoint));
        }
        let epoch_ends = training.done().is_multiple_of(per_epoch);
        if epoch_ends {
            step.validation = training.validate(epoch)?;
        }
        log.write(step)?;
        if epoch_ends && log.stands_still(epoch) {
            log.flush()?;
            let how = "no step of the epoch had a gradient, ";
            return Err(diverged(training.parameters(), &step, how, &course.checkpoint));
        }
        progress.at(training.done(), || format!("epoch {}  loss {:.5}", epoch + 1, step.loss));
        let due = epoch_ends && (epoch + 1).is_multiple_of(course.checkpoint_every as u64);
        let end = training.done() == total || training.stopped();
        let stop = interrupt::requested() && !end;
        if due || stop || end {
            log.flush()?;
            training.save(&course.checkpoint, training.done() / per_epoch)?;
        }
        if stop {
            return Err(Error::Interrupted);
        }
    }
    Ok(log.steps)
}

/// The windows of an epoch in the order in which they are used.
fn epoch_order(starts: &[usize], seed: u64, epoch: u64) -> Vec<usize> {
    let mut order = starts.to_vec();
    // Steps count from 0, so their generators never have this number.
    order.shuffle(&mut masks::generator(seed, u64::MAX, epoch));
    order
}

/// One step down the gradient of a loss that `tape` recorded; one whose loss or gradient is not finite leaves the
/// parameters as they are.
pub(crate) fn descend(
    parameters: &mut Parameters,
    tape: Tape,
    loss: &Tensor,
    adam: &Adam,
    (step, epoch): (u64, u64),
) -> Result<Step> {
    let gradients = tape.backward(loss)?;
    let StepReport { loss, gradient_norm } = adam.step(parameters, &gradients)?;
    let loss = loss.unwrap_or(f64::NAN);
    Ok(Step { step, epoch, loss, lr: adam.lr, gradient_norm, validation: None })
}

/// The number of epochs after which the validation was best, if there was one.
pub fn best_epochs(steps: &[Step]) -> Option<usize> {
    let validated = steps.iter().filter_map(|step| Some((step.epoch, step.validation?)));
    validated.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(epoch, _)| epoch as usize + 1)
}

/// Says where a training failed, and which weights are left of it.
fn diverged(parameters: &Parameters, step: &Step, how: &str, checkpoint: &Path) -> Error {
    let Step { step, epoch, loss, lr, .. } = step;
    let largest = match largest_gradient(parameters) {
        Ok((name, value)) => format!("largest gradient {value:e}, in {name}"),
        Err(error) => error.to_string(),
    };
    Error::Input(format!(
        "the training diverged at step {step} (epoch {}): {how}loss {loss}, learning rate {lr:e}, {largest}; \
         a smaller train.lr may help; {}",
        epoch + 1,
        kept(checkpoint)
    ))
}

/// The weights that are left of a training.
fn kept(checkpoint: &Path) -> String {
    match checkpoint::state(checkpoint) {
        Ok(state) => format!("{} keeps the weights after {} steps", checkpoint.display(), state.step),
        Err(_) => "no weights were written yet".into(),
    }
}

fn write_line(file: &mut impl Write, step: &Step) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, step)?;
    writeln!(file)
}

/// The file of metrics, and all steps in it.
struct Log {
    path: PathBuf,
    file: BufWriter<File>,
    steps: Vec<Step>,
}

impl Log {
    /// Opens the file for the step `next`, leaving out later steps of an earlier run.
    fn open(folder: &Path, next: u64) -> Result<Self> {
        let path = folder.join(METRICS);
        let failed = |error| Error::file(&path, error);
        let mut steps: Vec<Step> = Vec::new();
        if next > 0 && path.exists() {
            let lines = BufReader::new(File::open(&path).map_err(failed)?).lines();
            // A line that was cut off belongs to a step that is done again.
            steps.extend(lines.map_while(|line| serde_json::from_str::<Step>(&line.ok()?).ok()));
            steps.retain(|step| step.step < next);
        }
        // What is kept of an earlier run must outlive a failure here.
        atomic::write(&path, |file| steps.iter().try_for_each(|step| write_line(file, step)))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        Ok(Log { file: BufWriter::new(file), path, steps })
    }

    /// Whether no step of `epoch` had a gradient, although there was something to learn: every unit is saturated.
    fn stands_still(&self, epoch: u64) -> bool {
        let steps = || self.steps.iter().rev().take_while(|step| step.epoch == epoch);
        steps().all(|step| step.gradient_norm == 0.0) && steps().any(|step| step.loss > ROUNDING)
    }

    fn write(&mut self, step: Step) -> Result<()> {
        write_line(&mut self.file, &step).map_err(|error| Error::file(&self.path, error))?;
        self.steps.push(step);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| Error::file(&self.path, error))
    }
}
