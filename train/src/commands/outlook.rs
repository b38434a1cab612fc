//! Forecasts on their way into a report.

use std::path::Path;

use isobath_models::metrics::Interval;

use super::report;
use crate::data::time::{Date, TimeAxis};
use crate::evaluating::Estimate;
use crate::forecasting::scoring::{LEVEL, Row, STIMP, shown};
use crate::forecasting::{Bounds, Ensemble, FILE, Imputer, Residuals, member_folder};
use crate::html::{self, Curve, LeadErrors, Report, Score, View};
use crate::record::Record;
use crate::{Error, Result};

/// Frames that are shown before a forecast, for each that is forecast.
const PAST: usize = 2;

/// A forecast and what was observed before it, every array `[frames, height, width]` in the variable's units.
pub(super) struct Outlook {
    name: String,
    time: TimeAxis,
    /// Frames before the forecast.
    past: usize,
    observed: Vec<f32>,
    /// What was observed since, if anything was.
    truth: Option<Vec<f32>>,
    method: String,
    estimate: Vec<f32>,
    /// What the ends are, and the ends.
    ends: Option<(String, Interval)>,
    /// Standard deviation in total, in units of the transformed variable.
    deviation: Option<Vec<f32>>,
}

impl Outlook {
    /// A forecast of the frames of `time` from `origin` on, with its bounds and its standard deviation in total.
    pub(super) fn new(
        record: &Record,
        time: &TimeAxis,
        origin: usize,
        estimate: &[f32],
        ends: Option<(String, &Interval)>,
        deviation: Option<&[f32]>,
    ) -> Self {
        let pixels = record.place.mask.sea.len();
        let horizon = estimate.len() / pixels;
        let frames = origin.saturating_sub(PAST * horizon)..origin + horizon;
        let past = origin - frames.start;
        let known = record.part(frames.start..frames.end.min(record.series.frames));
        let mut truth = known.seen(&known.series.observed);
        truth.resize(frames.len() * pixels, f32::NAN);
        let (before, missing) = (&truth[..past * pixels], vec![f32::NAN; past * pixels]);
        let after = |values: &[f32]| [&missing, values].concat();
        let ends = ends.map(|(name, ends)| (name, Interval { low: after(&ends.low), high: after(&ends.high) }));
        Outlook {
            name: format!("forecast after {}", time.dates[origin - 1]),
            time: time.slice(frames),
            past,
            observed: [before, &vec![f32::NAN; estimate.len()]].concat(),
            estimate: [before, estimate].concat(),
            truth: (origin < record.series.frames).then_some(truth),
            method: "forecast".into(),
            ends,
            deviation: deviation.map(after),
        }
    }

    /// The same, by a method that needs no training.
    pub(super) fn by(self, method: &str) -> Self {
        Outlook { method: format!("{} ({method})", self.method), ..self }
    }

    /// The last of the forecasts that were scored, by the models or else by the method of least error.
    pub(super) fn last(record: &Record, origin: usize, rows: &[Row], estimates: &[Estimate]) -> Option<Self> {
        let own = rows.iter().position(|row| row.method == STIMP);
        let least = || (0..rows.len()).min_by(|a, b| rows[*a].scores.mae.total_cmp(&rows[*b].scores.mae));
        let estimate = &estimates[own.or_else(least)?];
        let scatter = |values: &[f32]| record.place.mask.scatter(values, f32::NAN);
        let grid = |values: &[f32]| {
            let mut values = values.to_vec();
            record.transform.invert(&mut values);
            scatter(&values)
        };
        let ends = estimate.interval.as_ref();
        let ends = ends.map(|ends| Interval { low: grid(&ends.low), high: grid(&ends.high) });
        let ends = ends.as_ref().map(|ends| (bounds_name(Bounds::Interval(LEVEL)), ends));
        let (values, deviation) = (grid(&estimate.values), estimate.deviation.as_deref().map(scatter));
        let outlook = Self::new(record, &record.field.time, origin, &values, ends, deviation.as_deref());
        let outlook = if own.is_some() { outlook } else { outlook.by(estimate.method) };
        Some(Outlook { name: format!("held-out {}", outlook.name), ..outlook })
    }

    /// The dates of the forecast.
    pub(super) fn dates(&self) -> &[Date] {
        &self.time.dates[self.past..]
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            name: self.name.clone(),
            time: &self.time,
            observed: &self.observed,
            truth: self.truth.as_deref(),
            estimate_name: self.method.clone(),
            estimate: &self.estimate,
            spread: None,
            deviation: self.deviation.as_deref(),
            interval: self.ends.as_ref().map(|(name, ends)| html::Interval {
                name: name.clone(),
                low: &ends.low,
                high: &ends.high,
            }),
            forecast: Some(self.past),
        }
    }
}

/// What the ends of these bounds are.
pub(super) fn bounds_name(bounds: Bounds) -> String {
    match bounds {
        Bounds::Interval(level) => format!("{:.4} % interval", 100.0 * level).replace(".0000", ""),
        Bounds::Band => "one standard deviation between forecasters".into(),
        Bounds::None => "none".into(),
    }
}

/// The settings of the forecasters as TOML, after those of the imputer where there is one.
pub(super) fn settings(imputer: Option<&Imputer>, ensemble: &Ensemble) -> Result<String> {
    let failed = |error: toml::ser::Error| Error::Fault(error.to_string());
    let forecasting = toml::to_string(&ensemble.config).map_err(failed)?;
    let imputing = match imputer {
        Some(imputer) => format!("# Imputer\n\n{}\n", toml::to_string(&imputer.trained.config).map_err(failed)?),
        None => String::new(),
    };
    Ok(format!("{imputing}# Forecasters\n\n{forecasting}"))
}

/// What the forecasters are; `units` are those of the transformed variable.
pub(super) fn facts(ensemble: &Ensemble, record: &Record, units: &str) -> Vec<(String, String)> {
    let (members, config) = (&ensemble.members, &ensemble.config);
    let steps = || members.iter().map(|member| member.step);
    let (least, most) = (steps().min().unwrap_or(0), steps().max().unwrap_or(0));
    let steps = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let factor = f64::from(record.place.scaling.factor).powi(2);
    let residuals: Vec<&Residuals> = members.iter().filter_map(|member| member.residuals.as_ref()).collect();
    let variance = |lead: usize| {
        let sum = residuals.iter().map(|residuals| f64::from(residuals.lead[lead])).sum::<f64>();
        format!("{:.4}", factor * sum / residuals.len() as f64)
    };
    let horizon = config.model.horizon;
    let held_out = residuals.iter().all(|residuals| residuals.held_out);
    let whose = if held_out { "validation frames" } else { "the frames that trained" };
    let frames = if horizon > 1 {
        format!("{} one frame ahead, {} {horizon} frames ahead", variance(0), variance(horizon - 1))
    } else {
        variance(0)
    };
    let window = config.model.frames;
    let facts = [
        ("Forecasters", format!("{}, trained for {steps} steps, {window} frames to {horizon}", members.len())),
        ("Residual variance", format!("{frames} (({units})²), on {whose}")),
        ("Seeds of the forecasts", format!("{} in training, {} in sampling", config.train.seed, config.ensemble.seed)),
    ];
    facts.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()
}

/// The training of the first forecaster in `folder`.
pub(super) fn curve(ensemble: &Ensemble, folder: &Path) -> Curve {
    report::curve(&format!("forecaster 1 of {}", ensemble.members.len()), &member_folder(folder, 0).join(FILE))
}

/// Adds the scores of forecasts to a page.
pub(super) fn add_scores(page: &mut Report, rows: &[Row], heading: &str) {
    let score = |row: &Row| Score {
        group: heading.to_owned(),
        method: row.method.into(),
        own: row.method == STIMP,
        scores: row.scores,
        interval: row.interval_90,
        seconds: row.seconds,
    };
    page.scores.extend(rows.iter().map(score));
    let errors = |row: &Row| {
        let leads = shown(row.lead_mae.len()).into_iter().map(|lead| (lead + 1, row.lead_mae[lead]));
        LeadErrors { method: row.method.to_owned(), mae: leads.collect() }
    };
    page.lead_errors = rows.iter().map(errors).collect();
    let own = rows.iter().find(|row| row.method == STIMP);
    let others = rows.iter().filter(|row| row.method != STIMP);
    let best = others.min_by(|a, b| a.scores.mae.total_cmp(&b.scores.mae));
    let value = |row: &Row| format!("{:.4} {}", row.scores.mae, page.score_units);
    if let Some(row) = own {
        page.highlights.push(("mean error of forecasts".into(), value(row)));
    }
    if let Some(row) = best {
        page.highlights.push((format!("of {}, the best without training", row.method), value(row)));
    }
    if let Some(interval) = own.and_then(|row| row.interval_90) {
        let inside = format!("{:.1} %", 100.0 * interval.coverage);
        page.highlights.push(("of the truth inside the 90 % interval".into(), inside));
    }
}
