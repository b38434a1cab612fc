//! Estimates that need no training, for a record.

use std::cell::OnceCell;
use std::ops::Range;
use std::time::Instant;

use isobath_models::baselines::{
    Climatology, Dineof, OptimalInterpolation, Season, Variability, linear_interpolation, persistence,
    seasonal_persistence, window_mean,
};

use super::{Estimate, timed};
use crate::data::time::Date;
use crate::record::Record;

/// Samples of optimal interpolation that tell its interval.
const DRAWS: usize = 20;
/// Days between frames from which on a year of 8-day periods says no more than a year of months.
const MONTHLY: f64 = 28.0;

/// The baselines of a record, in the order of the table: climatology by month and, where the frames are less than a
/// month apart, by 8-day period; linear interpolation in time; the mean of the window; DINEOF; optimal interpolation.
pub struct Baselines<'a> {
    record: &'a Record,
    climatologies: Vec<(&'static str, Season, Climatology)>,
    /// The level of each node, `[nodes]`.
    means: Vec<f32>,
    /// What may be looked at of the training frames, `[train, nodes]`.
    seen: Vec<bool>,
    /// Learnt when it is first asked for, which a forecast never does.
    interpolation: OnceCell<OptimalInterpolation>,
}

impl<'a> Baselines<'a> {
    /// Learns the climatologies from the `visible` cells `[frames, nodes]` of the training frames of `record`, which
    /// leave out all that will be scored.
    pub fn new(record: &'a Record, visible: &[bool]) -> Self {
        let train = record.cells(record.train.clone());
        let (values, seen) = (&record.series.values[train.clone()], &visible[train]);
        let nodes = record.series.nodes;
        let known = || (0..seen.len()).filter(|cell| seen[*cell]);
        let mean = known().map(|cell| f64::from(values[cell])).sum::<f64>() / known().count().max(1) as f64;
        // A node that is never seen takes the mean of the field.
        let means = window_mean(values, seen, &vec![mean as f32; nodes])[..nodes].to_vec();
        let mut seasons = vec![("monthly climatology", Season::Month)];
        if record.field.time.typical_step().is_some_and(|days| days < MONTHLY) {
            seasons.push(("8-day climatology", Season::EightDays));
        }
        let learn = |(name, season): (&'static str, Season)| {
            let periods = record.periods(season, record.train.clone());
            (name, season, Climatology::new(values, seen, season, &periods, &means))
        };
        let climatologies = seasons.into_iter().map(learn).collect();
        Baselines { record, climatologies, means, seen: seen.to_vec(), interpolation: OnceCell::new() }
    }

    /// Optimal interpolation by what the training frames say.
    fn interpolation(&self) -> &OptimalInterpolation {
        self.interpolation.get_or_init(|| {
            let Record { series, place, train, .. } = self.record;
            let values = &series.values[self.record.cells(train.clone())];
            let variability = Variability::learn(values, &self.seen, &series.phases[train.clone()]);
            OptimalInterpolation::new(variability, &place.mask.places())
        })
    }

    /// The estimates of every cell of `frames` from the `visible` ones of these frames.
    pub fn fill(&self, frames: Range<usize>, visible: &[bool]) -> Vec<Estimate> {
        let (record, means) = (self.record, &self.means[..]);
        let values = &record.series.values[record.cells(frames.clone())];
        let times = &record.field.time.values[frames.clone()];
        let climatology = |(name, season, climatology): &(&'static str, Season, Climatology)| {
            timed(name, || climatology.of(&record.periods(*season, frames.clone())))
        };
        let mut estimates: Vec<Estimate> = self.climatologies.iter().map(climatology).collect();
        estimates.push(timed("linear interpolation", || linear_interpolation(values, visible, times, means)));
        estimates.push(timed("window mean", || window_mean(values, visible, means)));
        estimates.push(timed("DINEOF", || Dineof::default().fill(values, visible, means).values));
        estimates.push(self.interpolate(frames, visible));
        estimates
    }

    /// The estimate of optimal interpolation, and between which quantiles of its errors the truth should lie.
    fn interpolate(&self, frames: Range<usize>, visible: &[bool]) -> Estimate {
        let interpolation = self.interpolation();
        let start = Instant::now();
        let series = &self.record.series;
        let (phases, values) = (&series.phases[frames.clone()], &series.values[self.record.cells(frames.clone())]);
        let mut samples = interpolation.fill(phases, values, visible).repeat(DRAWS);
        interpolation.spread(&mut samples, frames, visible, 0);
        let estimate = Estimate::of_samples(&samples, DRAWS, start.elapsed().as_secs_f64());
        Estimate { method: "optimal interpolation", ..estimate }
    }

    /// The forecasts of frames with these `dates`, which follow frame `origin - 1`: persistence, seasonal persistence for
    /// years of `year` frames, both from all that was observed before, and the climatologies.
    pub fn forecast(&self, origin: usize, dates: &[Date], year: usize) -> Vec<Estimate> {
        let (record, means, horizon) = (self.record, &self.means[..], dates.len());
        let past = record.cells(0..origin);
        let (values, seen) = (&record.series.values[past.clone()], &record.series.observed[past]);
        let climatology = |(name, season, climatology): &(&'static str, Season, Climatology)| {
            let period = |date: &Date| season.period(date.month, date.day_of_year);
            timed(name, || climatology.of(&dates.iter().map(period).collect::<Vec<_>>()))
        };
        let mut estimates = vec![
            timed("persistence", || persistence(values, seen, horizon, means)),
            timed("seasonal persistence", || seasonal_persistence(values, seen, year, horizon, means)),
        ];
        estimates.extend(self.climatologies.iter().map(climatology));
        estimates
    }
}
