//! Forecasts of frames that were held out, beside persistence and climatology.

use std::time::Instant;

use isobath_models::metrics::{Interval, IntervalScores, Scores};
use serde::Serialize;

use super::Imputation;
use super::ensemble::{Ensemble, Forecasts, Imputer};
use crate::data::rhythm::Step;
use crate::evaluating::{Baselines, Estimate};
use crate::progress::Progress;
use crate::record::Record;
use crate::{Error, Result};

/// Name of the ensemble in the table.
pub const STIMP: &str = "STIMP";
/// The level of the interval that is scored.
pub const LEVEL: f64 = 0.9;

/// Scores of one method over all forecasts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What forecast.
    pub method: &'static str,
    /// Over all observed labels, in the units of the transformed variable.
    #[serde(flatten)]
    pub scores: Scores,
    /// Mean over the nodes of each node's mean absolute error, as the published code scores.
    pub node_mae: f64,
    /// Mean over the nodes of each node's mean square error, as the published code scores.
    pub node_mse: f64,
    /// Mean absolute error at each lead time; none where no label was observed.
    pub lead_mae: Vec<Option<f64>>,
    /// Coverage and width of the nominal 90 % interval, where the method gives one.
    pub interval_90: Option<IntervalScores>,
    /// Coverage and width of the published band, the mean and one standard deviation between members to either side.
    pub band: Option<IntervalScores>,
    /// Time that all forecasts took, without any training.
    pub seconds: f64,
}

/// First frames of the forecasts whose labels lie in the frames that do not train, every `stride` frames.
///
/// # Errors
/// [`Error::Input`] when there is none.
pub fn origins(record: &Record, horizon: usize, history: usize, stride: usize) -> Result<Vec<usize>> {
    let (train, frames) = (record.train.end, record.series.frames);
    let origins: Vec<usize> = (train.max(history)..(frames + 1).saturating_sub(horizon)).step_by(stride).collect();
    match origins.is_empty() {
        false => Ok(origins),
        true => Err(Error::Input(format!(
            "held-out frames: expected at least the horizon of {horizon} after the {train} training frames and \
             {history} frames of history, found {}; train on fewer with --train-frames",
            frames - train
        ))),
    }
}

/// Scores the ensemble, where there is one, and every baseline on the forecasts of `horizon` frames that begin at
/// `origins`. Baselines see what the ensemble sees: climatologies the training frames, persistence all that was observed
/// before the forecast. Returns a row for each method, and in the same order what it says of the last forecast, in the
/// units of the transformed variable.
///
/// # Errors
/// [`Error::Input`] when nothing was observed that is forecast, [`Error::Interrupted`] on Ctrl-C.
pub fn score(
    ensemble: Option<(&Ensemble, &Imputer)>,
    record: &Record,
    step: Step,
    horizon: usize,
    origins: &[usize],
) -> Result<(Vec<Row>, Vec<Estimate>)> {
    let baselines = Baselines::new(record, &record.series.observed);
    let variances = ensemble.map_or(Vec::new(), |(ensemble, _)| ensemble.variances());
    let work = ensemble.map_or(Ok(0), |(ensemble, imputer)| ensemble.work(Imputation::Drawn(imputer)))?;
    let mut progress = Progress::new("forecasting", work * origins.len() as u64, 0);
    let (mut tallies, mut last): (Vec<Tally>, Vec<Estimate>) = (Vec::new(), Vec::new());
    for (number, &origin) in origins.iter().enumerate() {
        let labels = record.cells(origin..origin + horizon);
        let (mut truth, observed) = (record.series.values[labels.clone()].to_vec(), &record.series.observed[labels]);
        record.place.scaling.restore(&mut truth);
        let mut estimates = Vec::new();
        if let Some((ensemble, imputer)) = ensemble {
            let start = Instant::now();
            let imputation = Imputation::Drawn(imputer);
            let forecasts = ensemble.forecast(imputation, record, origin, (&mut progress, number as u64 * work))?;
            estimates.push(estimate(&forecasts, &variances, start.elapsed().as_secs_f64())?);
        }
        let dates = &record.field.time.dates[origin..origin + horizon];
        let baselines = baselines.forecast(origin, dates, step.frames_a_year());
        estimates.extend(baselines.into_iter().map(|estimate| (estimate, None)));
        last.clear();
        for (i, (estimate, band)) in estimates.into_iter().enumerate() {
            if tallies.len() == i {
                tallies.push(Tally::new(estimate.method, horizon, record.series.nodes));
            }
            let estimate = restored(record, estimate);
            tallies[i].add(&estimate, band.map(|b| restored_interval(record, b)).as_ref(), &truth, observed);
            last.push(estimate);
        }
    }
    let rows: Option<Vec<Row>> = tallies.into_iter().map(Tally::row).collect();
    let rows =
        rows.ok_or_else(|| Error::Input("held-out frames: expected observed values to score, found none".into()))?;
    Ok((rows, last))
}

/// What the members say together, and the published band where there are several.
fn estimate(forecasts: &Forecasts, variances: &[Vec<f32>], seconds: f64) -> Result<(Estimate, Option<Interval>)> {
    let values = forecasts.mean();
    let mut estimate = Estimate { method: STIMP, values, interval: None, deviation: None, seconds };
    if forecasts.members.len() < 2 {
        return Ok((estimate, None));
    }
    let pooled = forecasts.pooled(variances)?;
    estimate.deviation = Some(pooled.total().into_iter().map(f32::sqrt).collect());
    estimate.interval = Some(pooled.interval(LEVEL).map_err(|error| Error::Fault(error.to_string()))?);
    Ok((estimate, Some(pooled.band())))
}

fn restored(record: &Record, mut estimate: Estimate) -> Estimate {
    let scaling = record.place.scaling;
    scaling.restore(&mut estimate.values);
    estimate.deviation.iter_mut().flatten().for_each(|deviation| *deviation *= scaling.factor);
    estimate.interval = estimate.interval.map(|interval| restored_interval(record, interval));
    estimate
}

fn restored_interval(record: &Record, mut interval: Interval) -> Interval {
    record.place.scaling.restore(&mut interval.low);
    record.place.scaling.restore(&mut interval.high);
    interval
}

/// Errors added up, forecast by forecast.
struct Tally {
    method: &'static str,
    nodes: usize,
    /// Absolute error, square error and number at each cell `[T', n]`.
    cells: Vec<[f64; 3]>,
    /// Sum and sum of squares of the truth.
    truth: [f64; 2],
    /// Cells inside, and widths added up, of the interval and of the band.
    inside: [Option<[f64; 2]>; 2],
    seconds: f64,
}

impl Tally {
    fn new(method: &'static str, horizon: usize, nodes: usize) -> Self {
        let cells = vec![[0.0; 3]; horizon * nodes];
        Tally { method, nodes, cells, truth: [0.0; 2], inside: [None; 2], seconds: 0.0 }
    }

    fn add(&mut self, estimate: &Estimate, band: Option<&Interval>, truth: &[f32], target: &[bool]) {
        self.seconds += estimate.seconds;
        for cell in (0..truth.len()).filter(|cell| target[*cell]) {
            let (true_value, error) =
                (f64::from(truth[cell]), f64::from(estimate.values[cell]) - f64::from(truth[cell]));
            self.cells[cell] = add(self.cells[cell], &[error.abs(), error.powi(2), 1.0]);
            self.truth = [self.truth[0] + true_value, self.truth[1] + true_value.powi(2)];
        }
        for (sums, interval) in self.inside.iter_mut().zip([estimate.interval.as_ref(), band]) {
            let count = target.iter().filter(|target| **target).count() as f64;
            if let Some(IntervalScores { coverage, width }) = interval.and_then(|i| i.scores(truth, target)) {
                let [inside, widths] = sums.unwrap_or_default();
                *sums = Some([inside + coverage * count, widths + width * count]);
            }
        }
    }

    /// The scores; `None` without any label.
    fn row(self) -> Option<Row> {
        let [absolute, square, count] = self.cells.iter().fold([0.0; 3], add);
        if count == 0.0 {
            return None;
        }
        let variance = self.truth[1] / count - (self.truth[0] / count).powi(2);
        let scores = Scores {
            mae: absolute / count,
            rmse: (square / count).sqrt(),
            r2: 1.0 - square / count / variance,
            cells: count as usize,
        };
        let lead = |cells: &[[f64; 3]]| {
            let [absolute, _, count] = cells.iter().fold([0.0; 3], add);
            (count > 0.0).then(|| absolute / count)
        };
        let node = |node: usize| self.cells.iter().skip(node).step_by(self.nodes).fold([0.0; 3], add);
        let nodes: Vec<[f64; 3]> = (0..self.nodes).map(node).filter(|sums| sums[2] > 0.0).collect();
        let over_nodes = |k: usize| nodes.iter().map(|sums| sums[k] / sums[2]).sum::<f64>() / nodes.len() as f64;
        let inside = |sums: [f64; 2]| IntervalScores { coverage: sums[0] / count, width: sums[1] / count };
        Some(Row {
            method: self.method,
            scores,
            node_mae: over_nodes(0),
            node_mse: over_nodes(1),
            lead_mae: self.cells.chunks(self.nodes).map(lead).collect(),
            interval_90: self.inside[0].map(inside),
            band: self.inside[1].map(inside),
            seconds: self.seconds,
        })
    }
}

fn add(a: [f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// The rows as tables for people, over all lead times and at some; `scale` names the units.
pub fn table(rows: &[Row], scale: &str) -> String {
    let mut text = format!(
        "{:<22}  {:>8}  {:>8}  {:>7}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}\n",
        "method", "MAE", "RMSE", "R2", "node MAE", "cells", "seconds", "in 90 %", "width"
    );
    for Row { method, scores, node_mae, interval_90, seconds, .. } in rows {
        let Scores { mae, rmse, r2, cells } = scores;
        let (coverage, width) = match interval_90 {
            Some(IntervalScores { coverage, width }) => (format!("{:.1} %", 100.0 * coverage), format!("{width:.4}")),
            None => ("-".into(), "-".into()),
        };
        text += &format!(
            "{method:<22}  {mae:>8.4}  {rmse:>8.4}  {r2:>7.3}  {node_mae:>8.4}  {cells:>8}  {seconds:>8.2}  \
             {coverage:>8}  {width:>8}\n"
        );
    }
    let leads = shown(rows.first().map_or(0, |row| row.lead_mae.len()));
    text += &format!("\n{:<22}", "MAE by frames ahead");
    leads.iter().for_each(|lead| text += &format!("  {:>8}", lead + 1));
    for Row { method, lead_mae, .. } in rows {
        text += &format!("\n{method:<22}");
        for lead in &leads {
            text += &lead_mae[*lead].map_or(format!("  {:>8}", "-"), |mae| format!("  {mae:>8.4}"));
        }
    }
    text += &format!(
        "\n\nMAE, RMSE and width in {scale}; node MAE: mean of the nodes' own errors, as published; in 90 %: truth \
         within the interval of Rubin's rules"
    );
    for IntervalScores { coverage, width } in rows.iter().filter_map(|row| row.band) {
        let share = 100.0 * coverage;
        text +=
            &format!("\nThe published band, one standard deviation between members: {share:.1} %, width {width:.4}");
    }
    text
}

/// Lead times for a table, from 0: at most six.
pub fn shown(horizon: usize) -> Vec<usize> {
    let mut leads: Vec<usize> = [1, 2, 3, 6, 12, 23, 46, 92].into_iter().filter(|lead| *lead < horizon).collect();
    leads.push(horizon);
    if leads.len() > 6 {
        leads.drain(1..leads.len() - 5);
    }
    leads.into_iter().filter(|lead| *lead > 0).map(|lead| lead - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_agrees_with_scores_of_all_cells_at_once() {
        let (horizon, nodes) = (2, 3);
        let value = |i: usize| ((i * 37) % 11) as f32 / 3.0;
        // Node 2 is never observed.
        let target: Vec<bool> = (0..24).map(|i| i % 3 != 2 && i % 5 != 0).collect();
        let truth: Vec<f32> = (0..24).map(value).collect();
        let values: Vec<f32> = (0..24).map(|i| value(i + 5)).collect();
        let interval = |cells: &[f32]| Interval {
            low: cells.iter().map(|v| v - 1.0).collect(),
            high: cells.iter().map(|v| v + 1.0).collect(),
        };
        let mut tally = Tally::new("any", horizon, nodes);
        for (i, cells) in values.chunks(6).enumerate() {
            let range = 6 * i..6 * i + 6;
            let (values, interval) = (cells.to_vec(), Some(interval(cells)));
            let estimate = Estimate { method: "any", values, interval, deviation: None, seconds: 0.5 };
            tally.add(&estimate, None, &truth[range.clone()], &target[range]);
        }
        let row = tally.row().expect("labels");
        let scores = Scores::of(&values, &truth, &target).expect("labels");
        for (found, expected) in
            [(row.scores.mae, scores.mae), (row.scores.rmse, scores.rmse), (row.scores.r2, scores.r2)]
        {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        assert_eq!((row.scores.cells, row.seconds, row.band), (scores.cells, 2.0, None));
        let of = |keep: &dyn Fn(usize) -> bool| {
            let target: Vec<bool> = (0..24).map(|i| target[i] && keep(i)).collect();
            Scores::of(&values, &truth, &target).map(|scores| scores.mae)
        };
        let node = |node: usize| of(&|i| i % 3 == node).expect("labels");
        assert!((row.node_mae - (node(0) + node(1)) / 2.0).abs() < 1e-9);
        let lead = of(&|i| i % 6 < 3).expect("labels");
        assert!((row.lead_mae[0].expect("labels") - lead).abs() < 1e-9);
        let covered = interval(&values).scores(&truth, &target).expect("labels").coverage;
        assert!((row.interval_90.expect("an interval").coverage - covered).abs() < 1e-9);
        assert_eq!(Tally::new("any", 1, 1).row(), None);
    }

    #[test]
    fn a_table_shows_a_few_lead_times() {
        assert_eq!((shown(1), shown(2), shown(12)), (vec![0], vec![0, 1], vec![0, 1, 2, 5, 11]));
        assert_eq!(shown(46), [0, 2, 5, 11, 22, 45]);
    }
}
