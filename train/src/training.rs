//! The training loop of STDDM (STIMP, algorithm 1, with the published code's settings).
//!
//! All random numbers are counted by seed, step and sample, so a training that is interrupted and resumed ends with
//! the same bits as one that ran through.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use isobath_engine::Tape;
use isobath_engine::adam::largest_gradient;
use isobath_engine::checkpoint;
use isobath_engine::random::PhiloxKey;
use isobath_models::stimp::stddm::Batch;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::config::Hiding;
use crate::data::{atomic, masks, windows};
use crate::progress::Progress;
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::{Error, Result, interrupt};

/// Name of the file of [`Step`]s, a line of JSON each.
pub const METRICS: &str = "metrics.jsonl";

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
}

/// Trains on the training frames of `record` until the configured epochs are done, from where `trained` stands, and
/// writes the weights and the metrics into `folder`.
///
/// # Errors
/// [`Error::Input`] when the window is longer than the training record or the training diverges, which leaves the
/// last checkpoint as it is; [`Error::Interrupted`] on Ctrl-C, with a new checkpoint in `folder`.
pub fn train(trained: &mut Trained, record: &Record, folder: &Path) -> Result<Vec<Step>> {
    let settings = trained.config.train.clone();
    let starts = windows::starts(&record.train, settings.window, 1, "training")?;
    let per_epoch = starts.len().div_ceil(settings.batch) as u64;
    let total = per_epoch * settings.epochs as u64;
    let checkpoint = folder.join(trained::FILE);
    let mut log = Log::open(folder, trained.step)?;
    let mut progress = Progress::new("training", total, trained.step);
    let (mut order, mut ordered) = (Vec::new(), None);
    while trained.step < total {
        let (epoch, place) = (trained.step / per_epoch, (trained.step % per_epoch) as usize);
        if ordered != Some(epoch) {
            order = epoch_order(&starts, settings.seed, epoch);
            ordered = Some(epoch);
        }
        let batch = &order[place * settings.batch..order.len().min((place + 1) * settings.batch)];
        let step = advance(trained, record, batch, epoch)?;
        if !(step.loss.is_finite() && step.gradient_norm.is_finite()) {
            log.flush()?;
            return Err(diverged(trained, &step, "", &checkpoint));
        }
        log.write(step)?;
        let epoch_ends = (trained.step + 1).is_multiple_of(per_epoch);
        if epoch_ends && log.stands_still(epoch) {
            log.flush()?;
            return Err(diverged(trained, &step, "no step of the epoch had a gradient, ", &checkpoint));
        }
        trained.step += 1;
        progress.at(trained.step, || format!("epoch {}  loss {:.5}", epoch + 1, step.loss));
        let due = epoch_ends && (epoch + 1).is_multiple_of(settings.checkpoint_every as u64);
        let stop = interrupt::requested() && trained.step < total;
        if due || stop || trained.step == total {
            log.flush()?;
            trained.save(&checkpoint, trained.step / per_epoch)?;
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

/// Cells of a batch, drawn for one step.
struct Draw {
    values: Vec<f32>,
    observed: Vec<bool>,
    visible: Vec<bool>,
    steps: Vec<usize>,
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
        };
        for (sample, &start) in batch.iter().enumerate() {
            let window: Range<usize> = record.cells(start..start + settings.window);
            let observed = &record.series.observed[window.clone()];
            let mut random = masks::generator(settings.seed, trained.step, sample as u64);
            let hidden = match settings.hiding {
                Hiding::Random => masks::hide_exact(observed, settings.missing_rate, &mut random),
                Hiding::Transplanted => {
                    let train = &record.series.observed[record.cells(record.train.clone())];
                    masks::transplant(observed, train, record.series.nodes, &mut random)
                }
            };
            draw.steps.push(random.random_range(0..trained.config.model.steps));
            draw.visible.extend(observed.iter().zip(hidden).map(|(observed, hidden)| *observed && !hidden));
            draw.observed.extend_from_slice(observed);
            draw.values.extend_from_slice(&record.series.values[window]);
        }
        draw
    }
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
        steps: &draw.steps,
        noise: PhiloxKey { seed: settings.seed, stream: trained.step },
    })?;
    let value = loss.item()?;
    let gradients = tape.backward(&loss)?;
    let mut adam = settings.adam();
    adam.lr *= settings.decline().factor(epoch as usize);
    let gradient_norm = match value.is_finite() {
        true => adam.step(&mut trained.model.parameters, &gradients)?.gradient_norm,
        false => f64::NAN,
    };
    Ok(Step { step: trained.step, epoch, loss: value, lr: adam.lr, gradient_norm })
}

/// Says where a training failed, and which weights are left of it.
fn diverged(trained: &Trained, step: &Step, how: &str, checkpoint: &Path) -> Error {
    let Step { step, epoch, loss, lr, .. } = step;
    let largest = match largest_gradient(&trained.model.parameters) {
        Ok((name, value)) => format!("largest gradient {value:e}, in {name}"),
        Err(error) => error.to_string(),
    };
    let kept = match checkpoint::state(checkpoint) {
        Ok(state) => format!("{} keeps the weights after {} steps", checkpoint.display(), state.step),
        Err(_) => "no weights were written yet".into(),
    };
    Error::Input(format!(
        "the training diverged at step {step} (epoch {}): {how}loss {loss}, learning rate {lr:e}, {largest}; \
         a smaller train.lr may help; {kept}",
        epoch + 1
    ))
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
