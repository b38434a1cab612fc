//! Scoring a model on cells that were hidden from it, beside fillings that need no training.

use isobath_models::baselines::{Climatology, linear_interpolation, window_mean};
use isobath_models::metrics::Scores;
use isobath_models::stimp::sampler;
use serde::Serialize;

use crate::data::heldout::HiddenCells;
use crate::imputing;
use crate::record::Record;
use crate::trained::Trained;
use crate::{Error, Result};

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
}

/// Names of the methods, the model first.
const METHODS: [&str; 4] = ["stddm", "climatology", "linear interpolation", "window mean"];

/// Fillings of one window that need no training, in the order of the table.
pub struct Baselines<'a> {
    record: &'a Record,
    climatology: Climatology,
}

impl<'a> Baselines<'a> {
    /// Learns the climatology from what is observed in the training frames of `record`.
    pub fn new(record: &'a Record) -> Self {
        let train = record.cells(record.train.clone());
        let seen = &record.series.observed[train.clone()];
        let months = record.months(record.train.clone());
        let otherwise = &record.place.statistics.mean;
        let climatology = Climatology::new(&record.series.values[train], seen, &months, otherwise);
        Baselines { record, climatology }
    }

    /// Climatology, linear interpolation and window mean of `frames` from their `visible` cells.
    pub fn fill(&self, frames: std::ops::Range<usize>, visible: &[bool]) -> [Vec<f32>; 3] {
        let values = &self.record.series.values[self.record.cells(frames.clone())];
        let otherwise = &self.record.place.statistics.mean;
        [
            self.climatology.of(&self.record.months(frames)),
            linear_interpolation(values, visible, otherwise),
            window_mean(values, visible, otherwise),
        ]
    }
}

/// Scores estimates on the model's scale, the model's first, against the transformed `truth` on the `target` cells; in
/// the order of the table.
///
/// # Errors
/// [`Error::Input`] when there is no target cell.
pub fn score(record: &Record, estimates: [Vec<f32>; 4], truth: &[f32], target: &[bool]) -> Result<[Scores; 4]> {
    let of = |mut estimate: Vec<f32>| {
        record.place.scaling.restore(&mut estimate);
        Scores::of(&estimate, truth, target)
    };
    let scores: Option<Vec<Scores>> = estimates.into_iter().map(of).collect();
    scores
        .and_then(|scores| scores.try_into().ok())
        .ok_or_else(|| Error::Input("expected hidden cells that are observed in the data, found none".into()))
}

/// The rows of a table from the scores of each window.
pub fn rows(rate: f64, windows: &[[Scores; 4]]) -> Vec<Row> {
    let of = |method: usize| windows.iter().map(|scores| scores[method]).collect::<Vec<_>>();
    let row = |(i, method)| Some(Row { rate, method, scores: Scores::mean(&of(i))? });
    METHODS.into_iter().enumerate().filter_map(row).collect()
}

/// A window that was filled.
pub struct Filling<'a> {
    /// Which cells were hidden.
    pub hidden: &'a HiddenCells,
    /// Its frames in the record.
    pub frames: std::ops::Range<usize>,
    /// What the model saw, `[frames, nodes]`.
    pub visible: &'a [bool],
    /// What it drew, `[samples, frames, nodes]` on the model's scale.
    pub samples: &'a [f32],
}

/// Hides the cells of each window in turn, fills them and scores; all of one rate. `look` is shown every window.
///
/// # Errors
/// [`Error::Input`] when a window lies outside the record or has no cell to score, [`Error::Interrupted`] on Ctrl-C.
pub fn evaluate(
    trained: &Trained,
    record: &Record,
    hidden: &[&HiddenCells],
    look: &mut dyn FnMut(Filling),
) -> Result<Vec<Row>> {
    let baselines = Baselines::new(record);
    let mut windows = Vec::with_capacity(hidden.len());
    for cells in hidden {
        let length = cells.hidden.len() / record.series.nodes;
        let frames = cells.start..cells.start + length;
        if frames.end > record.series.frames {
            return Err(Error::Input(format!(
                "held-out cells: expected windows within the {} frames of the record, found {}..{}",
                record.series.frames, frames.start, frames.end
            )));
        }
        let range = record.cells(frames.clone());
        let (mut truth, observed) =
            (record.series.values[range.clone()].to_vec(), &record.series.observed[range.clone()]);
        record.place.scaling.restore(&mut truth);
        let pairs = || observed.iter().zip(&cells.hidden);
        let target: Vec<bool> = pairs().map(|(observed, hidden)| *observed && *hidden).collect();
        let mut visible = vec![false; record.series.observed.len()];
        let shown = pairs().map(|(observed, hidden)| *observed && !hidden);
        visible[range.clone()].iter_mut().zip(shown).for_each(|(cell, shown)| *cell = shown);
        let samples = imputing::sample_window(trained, &record.series, &visible, frames.clone())?;
        let visible = &visible[range];
        look(Filling { hidden: cells, frames: frames.clone(), visible, samples: &samples });
        let median = sampler::summarise(&samples, trained.config.impute.samples).median;
        let [climatology, lines, mean] = baselines.fill(frames, visible);
        windows.push(score(record, [median, climatology, lines, mean], &truth, &target)?);
    }
    Ok(rows(hidden[0].rate, &windows))
}

/// The rows as a table for people; `scale` names the units.
pub fn table(rows: &[Row], scale: &str) -> String {
    let mut text =
        format!("{:>5}  {:<20}  {:>8}  {:>8}  {:>7}  {:>8}\n", "rate", "method", "MAE", "RMSE", "R2", "cells");
    for Row { rate, method, scores } in rows {
        let Scores { mae, rmse, r2, cells } = scores;
        text += &format!("{rate:>5.2}  {method:<20}  {mae:>8.4}  {rmse:>8.4}  {r2:>7.3}  {cells:>8}\n");
    }
    text + &format!("MAE and RMSE in {scale}")
}
