//! Scoring a model on cells that were hidden from it, beside estimates that need no training.

use std::ops::Range;
use std::time::Instant;

use isobath_models::metrics::{Interval, IntervalScores, Scores};
use isobath_models::stimp::sampler;
use serde::Serialize;

use crate::data::heldout::{HeldOut, HiddenCells};
use crate::imputing;
use crate::record::Record;
use crate::trained::Trained;
use crate::{Error, Result};

mod baselines;

pub use baselines::Baselines;

/// Name of the model in the table.
pub const STDDM: &str = "stddm";

/// Scores of one method at one missing rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Fraction of the observed cells that was hidden.
    pub rate: f64,
    /// What filled them.
    pub method: &'static str,
    /// In the units of the transformed variable, the mean over the windows.
    #[serde(flatten)]
    pub scores: Scores,
    /// Coverage and width of the method's 90 % interval, where it gives one.
    pub interval_90: Option<IntervalScores>,
    /// Time that all windows took, without any training.
    pub seconds: f64,
}

/// What a method says of a window, every array `[frames, nodes]` on the model's scale.
pub struct Estimate {
    /// Name of the method.
    pub method: &'static str,
    /// Best estimate.
    pub values: Vec<f32>,
    /// An interval that should hold nine tenths of the truth.
    pub interval: Option<Interval>,
    /// Standard deviation in total by Rubin's rules, of a forecast that has one.
    pub deviation: Option<Vec<f32>>,
    /// Time it took.
    pub seconds: f64,
}

/// A method without intervals, and how long it takes.
fn timed(method: &'static str, fill: impl FnOnce() -> Vec<f32>) -> Estimate {
    let start = Instant::now();
    let values = fill();
    Estimate { method, values, interval: None, deviation: None, seconds: start.elapsed().as_secs_f64() }
}

impl Estimate {
    /// The median of `count` samples of STDDM `[count, cells]`, and what lies between their 5 % and 95 % quantiles;
    /// they took `seconds`.
    pub fn of_samples(samples: &[f32], count: usize, seconds: f64) -> Self {
        let sampler::Summary { median, low, high, .. } = sampler::summarise(samples, count);
        let interval = Some(Interval { low, high });
        Estimate { method: STDDM, values: median, interval, deviation: None, seconds }
    }
}

/// Scores the estimates of one window against the transformed `truth` on the `target` cells, a row each; `rate` is the
/// share that was hidden.
///
/// # Errors
/// [`Error::Input`] when there is no target cell.
pub fn score(record: &Record, rate: f64, estimates: &[Estimate], truth: &[f32], target: &[bool]) -> Result<Vec<Row>> {
    let restore = |values: &[f32]| {
        let mut values = values.to_vec();
        record.place.scaling.restore(&mut values);
        values
    };
    let row = |Estimate { method, values, interval, seconds, .. }: &Estimate| {
        let scores = Scores::of(&restore(values), truth, target)?;
        let interval =
            interval.as_ref().map(|Interval { low, high }| Interval { low: restore(low), high: restore(high) });
        let interval_90 = interval.and_then(|interval| interval.scores(truth, target));
        Some(Row { rate, method, scores, interval_90, seconds: *seconds })
    };
    let rows: Option<Vec<Row>> = estimates.iter().map(row).collect();
    rows.ok_or_else(|| Error::Input("expected hidden cells that are observed in the data, found none".into()))
}

/// One table from the rows of each window, which have the same methods in the same order.
fn average(windows: &[Vec<Row>]) -> Vec<Row> {
    let Some(first) = windows.first() else { return Vec::new() };
    let mean = |(method, row): (usize, &Row)| {
        let rows = || windows.iter().map(|window| &window[method]);
        let scores: Vec<Scores> = rows().map(|row| row.scores).collect();
        let intervals: Vec<IntervalScores> = rows().filter_map(|row| row.interval_90).collect();
        Some(Row {
            scores: Scores::mean(&scores)?,
            interval_90: IntervalScores::mean(&intervals),
            seconds: rows().map(|row| row.seconds).sum(),
            ..*row
        })
    };
    first.iter().enumerate().filter_map(mean).collect()
}

/// A window that was filled and scored.
pub struct Filling<'a> {
    /// Which cells were hidden.
    pub cells: &'a HiddenCells,
    /// Its frames in the record.
    pub frames: Range<usize>,
    /// What the methods saw, `[frames, nodes]`.
    pub visible: &'a [bool],
    /// What the model drew, `[samples, frames, nodes]` on the model's scale, where there is a model.
    pub samples: Option<Vec<f32>>,
    /// What every method says.
    pub estimates: &'a [Estimate],
    /// How near each came, in the same order.
    pub rows: &'a [Row],
}

/// Hides the cells of each window in turn, fills them with the model, where there is one, and the baselines, and scores;
/// all of one rate. `look` is shown every window. The climatologies see no cell that is hidden at this rate in any window.
///
/// # Errors
/// [`Error::Input`] when a window lies outside the record or has no cell to score, [`Error::Interrupted`] on Ctrl-C.
pub fn evaluate(
    trained: Option<&Trained>,
    record: &Record,
    heldout: &HeldOut,
    rate: f64,
    look: &mut dyn FnMut(Filling),
) -> Result<Vec<Row>> {
    let series = &record.series;
    let hidden = heldout.hidden(series.frames, Some(rate))?;
    let never_hidden: Vec<bool> = series.observed.iter().zip(hidden).map(|(seen, hidden)| *seen && !hidden).collect();
    let baselines = Baselines::new(record, &never_hidden);
    let mut windows = Vec::new();
    for cells in heldout.at_rate(rate)? {
        let frames = cells.start..cells.start + heldout.window;
        let range = record.cells(frames.clone());
        let (mut truth, observed) = (series.values[range.clone()].to_vec(), &series.observed[range.clone()]);
        record.place.scaling.restore(&mut truth);
        let pairs = || observed.iter().zip(&cells.hidden);
        let target: Vec<bool> = pairs().map(|(observed, hidden)| *observed && *hidden).collect();
        let shown: Vec<bool> = pairs().map(|(observed, hidden)| *observed && !hidden).collect();
        let (mut estimates, mut samples) = (Vec::new(), None);
        if let Some(trained) = trained {
            let mut visible = vec![false; series.observed.len()];
            visible[range].copy_from_slice(&shown);
            let start = Instant::now();
            let drawn = imputing::sample_window(trained, series, &visible, frames.clone())?;
            let seconds = start.elapsed().as_secs_f64();
            estimates.push(Estimate::of_samples(&drawn, trained.config.impute.samples, seconds));
            samples = Some(drawn);
        }
        estimates.extend(baselines.fill(frames.clone(), &shown));
        let rows = score(record, rate, &estimates, &truth, &target)?;
        look(Filling { cells, frames, visible: &shown, samples, estimates: &estimates, rows: &rows });
        windows.push(rows);
    }
    Ok(average(&windows))
}

/// The rows as a table for people; `scale` names the units.
pub fn table(rows: &[Row], scale: &str) -> String {
    let mut text = format!(
        "{:>5}  {:<20}  {:>8}  {:>8}  {:>7}  {:>8}  {:>8}  {:>8}  {:>8}\n",
        "rate", "method", "MAE", "RMSE", "R2", "cells", "seconds", "in 90 %", "width"
    );
    for Row { rate, method, scores, interval_90, seconds } in rows {
        let Scores { mae, rmse, r2, cells } = scores;
        let (coverage, width) = match interval_90 {
            Some(IntervalScores { coverage, width }) => (format!("{:.1} %", 100.0 * coverage), format!("{width:.4}")),
            None => ("-".into(), "-".into()),
        };
        text += &format!(
            "{rate:>5.2}  {method:<20}  {mae:>8.4}  {rmse:>8.4}  {r2:>7.3}  {cells:>8}  {seconds:>8.2}  {coverage:>8}  \
             {width:>8}\n"
        );
    }
    text + &format!("MAE, RMSE and width in {scale}; in 90 %: truth within the method's 90 % interval")
}
