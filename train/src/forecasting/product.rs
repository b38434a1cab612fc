//! A forecast as a file.

use isobath_models::metrics::Interval;

use super::ensemble::Forecasts;
use crate::data::cf_write::{Output, OutputVariable};
use crate::data::nodes::Transform;
use crate::data::time::TimeAxis;
use crate::record::Record;
use crate::{Error, Result, imputing};

/// What a forecast says of its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    /// The interval of Rubin's rules at this level, such as 0.9.
    Interval(f64),
    /// The mean and one standard deviation between members to either side, as published.
    Band,
    /// Nothing: a single forecaster knows no more.
    None,
}

/// A forecast, every array `[frames, height, width]`, NaN on land.
pub struct Product {
    /// When.
    pub time: TimeAxis,
    /// What low and high are.
    pub bounds: Bounds,
    /// Mean of the members, taken back from the model's scale to the variable's units.
    pub values: Vec<f32>,
    /// Ends of the bounds, taken back likewise.
    pub ends: Option<Interval>,
    /// Standard deviations within and between the imputed data sets and in total, in units of the transformed variable.
    pub spread: Option<[Vec<f32>; 3]>,
}

impl Product {
    /// Puts `forecasts` on the grid of `record` at the times of `time`, whose first frames they are; `variances` are
    /// those within the data sets.
    ///
    /// # Errors
    /// [`Error::Input`] when bounds are asked of fewer than two members or at a level that is no probability.
    pub fn new(
        record: &Record,
        forecasts: &Forecasts,
        variances: &[Vec<f32>],
        time: TimeAxis,
        bounds: Bounds,
    ) -> Result<Self> {
        let cells = time.values.len() * record.series.nodes;
        let grid = |values: &[f32]| record.place.mask.scatter(&values[..cells], f32::NAN);
        let restored = |mut values: Vec<f32>| {
            record.place.scaling.restore(&mut values);
            record.transform.invert(&mut values);
            grid(&values)
        };
        let values = restored(forecasts.mean());
        if bounds == Bounds::None {
            return Ok(Product { time, bounds, values, ends: None, spread: None });
        }
        let pooled = forecasts.pooled(variances)?;
        let Interval { low, high } = match bounds {
            Bounds::Interval(level) => pooled.interval(level).map_err(|error| Error::Input(error.to_string()))?,
            _ => pooled.band(),
        };
        let factor = record.place.scaling.factor;
        let std = |variance: &[f32]| grid(&variance.iter().map(|v| factor * v.sqrt()).collect::<Vec<_>>());
        let spread = Some([std(&pooled.within), std(&pooled.between), std(&pooled.total())]);
        let ends = Some(Interval { low: restored(low), high: restored(high) });
        Ok(Product { time, bounds, values, ends, spread })
    }

    /// The forecast as a file on the grid of `record`; `origin` is the date of the last frame that it saw.
    pub fn output<'a>(&'a self, record: &'a Record, origin: &str, source: String, history: String) -> Output<'a> {
        let field = &record.field;
        let what = field.long_name.as_ref().unwrap_or(&field.name);
        let mut output = Output::like(field, format!("{} forecast after {origin}", field.name), source, history);
        (output.time, output.comment) = (&self.time, comment(record.transform, self.bounds));
        let mut add = |suffix: &str, words: &str, standard: bool, units: Option<String>, values: &'a [f32]| {
            output.variables.push(OutputVariable {
                name: format!("{}{suffix}", field.name),
                long_name: format!("{what} ({words})"),
                standard_name: field.standard_name.clone().filter(|_| standard),
                units,
                values,
            });
        };
        add("", "forecast", true, field.units.clone(), &self.values);
        if let Some(Interval { low, high }) = &self.ends {
            let of = match self.bounds {
                Bounds::Interval(level) => format!("the {} % interval", 100.0 * level),
                _ => "one standard deviation between members".into(),
            };
            add("_low", &format!("lower end of {of}"), true, field.units.clone(), low);
            add("_high", &format!("upper end of {of}"), true, field.units.clone(), high);
        }
        let units = field.units.as_deref().unwrap_or("1");
        // The units of logarithms in UDUNITS, which xarray and CDO read.
        let (of, units) = match record.transform {
            Transform::Identity => ("", field.units.clone()),
            Transform::Log10 => (" of log10", Some(format!("lg(re 1 {units})"))),
        };
        for (kind, values) in ["within", "between", "total"].into_iter().zip(self.spread.iter().flatten()) {
            let words = match kind {
                "total" => format!("total standard deviation{of}"),
                kind => format!("standard deviation{of} {kind} imputed data sets"),
            };
            add(&format!("_std_{kind}"), &words, false, units.clone(), values);
        }
        output
    }
}

/// How the variables are to be read.
fn comment(transform: Transform, bounds: Bounds) -> String {
    let mut text = match transform {
        Transform::Identity => "The forecast is the mean of the forecasters.".to_owned(),
        Transform::Log10 => format!(
            "The forecasters work on {}; the forecast is 10 to the power of their mean, a median rather than a mean of \
             the variable.",
            imputing::scale_name(transform, None).trim_end_matches(" 1")
        ),
    };
    let inverted = if transform == Transform::Log10 { ", taken back from log10 end by end" } else { "" };
    match bounds {
        Bounds::Interval(level) => {
            text += &format!(
                " _low and _high are the ends of the {} % interval of Rubin's rules for multiple imputation{inverted}: \
                 mean -+ t sqrt(U + (1 + 1/m) B), where U is the variance within each imputed data set, from residuals \
                 on frames that did not train, and B the variance between them.",
                100.0 * level
            );
        }
        Bounds::Band => {
            text += &format!(
                " _low and _high lie one standard deviation between the forecasters below and above{inverted}; this band \
                 has no stated probability."
            );
        }
        Bounds::None => {}
    }
    text
}
