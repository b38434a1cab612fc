//! Filling the gaps of a whole record, window by window, with several samples.

use std::ops::Range;
use std::path::Path;

use isobath_models::stimp::sampler::{self, Summary};

use crate::config::{Blend, Impute, Spread};
use crate::data::cf_write::{self, Output, OutputFlag};
use crate::data::netcdf::{self, Field};
use crate::data::nodes::{SeaMask, Series, Transform};
use crate::data::windows;
use crate::html::{Interval, View};
use crate::progress::Progress;
use crate::record::Record;
use crate::trained::Trained;
use crate::{Error, Result, interrupt};

/// Frames of a window of [`interpolate`], at most; a longer one takes more memory and gains little.
const INTERPOLATED: usize = 46;

/// What the flag of a cell means, in the order of its values.
pub const ORIGINS: [&str; 3] = ["land", "imputed", "observed"];

/// Draws samples of every cell of a record, `[samples, frames, nodes]` on the model's scale, from the `visible` cells
/// `[frames, nodes]` of its series. Where windows overlap, each sample is blended with the same sample of the next
/// window; between two independent samples that narrows their spread.
///
/// # Errors
/// [`Error::Input`] when the record is shorter than the window, [`Error::Interrupted`] on Ctrl-C.
pub fn sample(trained: &Trained, series: &Series, visible: &[bool]) -> Result<Vec<f32>> {
    let settings = &trained.config.impute;
    let mut progress = Progress::new("imputing", work(trained, series.frames, settings.samples)?, 0);
    draw(trained, settings, series, visible, (&mut progress, 0))
}

/// `count` imputed data sets of a record, `[count, frames, nodes]` on the model's scale: samples where nothing was
/// observed, the observed cells as they are. They differ from those of another seed. `progress` is told of its
/// [`work`], of which so many steps were done before.
///
/// # Errors
/// As [`sample`].
pub fn data_sets(
    trained: &Trained,
    series: &Series,
    (count, seed): (usize, u64),
    progress: (&mut Progress, u64),
) -> Result<Vec<f32>> {
    let settings = Impute { samples: count, seed, ..trained.config.impute.clone() };
    let mut sets = draw(trained, &settings, series, &series.observed, progress)?;
    for set in sets.chunks_mut(series.values.len()) {
        let cells = set.iter_mut().zip(&series.values).zip(&series.observed);
        cells.filter(|(_, seen)| **seen).for_each(|((cell, value), _)| *cell = *value);
    }
    Ok(sets)
}

/// First frames of the windows that cover a record of so many frames.
fn starts(trained: &Trained, frames: usize) -> Result<Vec<usize>> {
    let window = trained.config.train.window;
    let stride = trained.config.impute.stride.unwrap_or(window.div_ceil(2));
    windows::covering(&(0..frames), window, stride, "whole")
}

/// Steps of the reverse chain that all samples of a record take.
///
/// # Errors
/// [`Error::Input`] when the record is shorter than the window.
pub fn work(trained: &Trained, frames: usize, samples: usize) -> Result<u64> {
    Ok((starts(trained, frames)?.len() * trained.config.model.steps * samples) as u64)
}

/// Samples under other settings than those of the weights; so many steps were done before.
fn draw(
    trained: &Trained,
    settings: &Impute,
    series: &Series,
    visible: &[bool],
    (progress, before): (&mut Progress, u64),
) -> Result<Vec<f32>> {
    let (nodes, window) = (series.nodes, trained.config.train.window);
    let steps = trained.config.model.steps * settings.samples;
    let starts = starts(trained, series.frames)?;
    let errors = (settings.spread == Spread::Interpolation).then(|| trained.interpolation());
    blended(settings, series, (&starts, window), &mut |number, frames| {
        let before = before + (number * steps) as u64;
        let mut drawn = window_samples(trained, settings, series, visible, frames.clone(), (&mut *progress, before))?;
        if let Some(errors) = &errors {
            let cells = frames.start * nodes..frames.end * nodes;
            errors.spread(&mut drawn, frames, &visible[cells], settings.seed);
        }
        Ok(drawn)
    })
}

/// Samples of every cell of a record by optimal interpolation, `[samples, frames, nodes]` on the model's scale: the estimate,
/// moved by draws of its error.
///
/// # Errors
/// [`Error::Interrupted`] on Ctrl-C.
pub fn interpolate(record: &Record, settings: &Impute) -> Result<Vec<f32>> {
    let Record { series, place, .. } = record;
    let interpolation = place.interpolation();
    let window = series.frames.min(INTERPOLATED);
    let starts = windows::covering(&(0..series.frames), window, window.div_ceil(2), "whole")?;
    let mut progress = Progress::new("interpolating", starts.len() as u64, 0);
    blended(settings, series, (&starts, window), &mut |number, frames| {
        progress.at(number as u64, || format!("frames {} to {}", frames.start, frames.end - 1));
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        let cells = frames.start * series.nodes..frames.end * series.nodes;
        let (phases, visible) = (&series.phases[frames.clone()], &series.observed[cells.clone()]);
        let mut samples = interpolation.fill(phases, &series.values[cells], visible).repeat(settings.samples);
        interpolation.spread(&mut samples, frames, visible, settings.seed);
        Ok(samples)
    })
}

/// Samples of a whole record, `[samples, frames, nodes]`, from those of the windows of `window` frames at `starts`; `fill`
/// gives those of each, `[samples, window, nodes]`.
fn blended(
    settings: &Impute,
    series: &Series,
    (starts, window): (&[usize], usize),
    fill: &mut dyn FnMut(usize, Range<usize>) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    if let [start] = starts {
        return fill(0, *start..start + window);
    }
    let (nodes, cells, samples) = (series.nodes, series.values.len(), settings.samples);
    let mut sums = vec![0.0f32; samples * cells];
    let mut weights = vec![0.0f32; series.frames];
    for (number, &start) in starts.iter().enumerate() {
        let drawn = fill(number, start..start + window)?;
        for frame in 0..window {
            let weight = blend_weight(settings.blend, frame, window);
            weights[start + frame] += weight;
            for (sample, drawn) in drawn.chunks(window * nodes).enumerate() {
                let sum = &mut sums[sample * cells + (start + frame) * nodes..][..nodes];
                let row = &drawn[frame * nodes..][..nodes];
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    for (row, values) in sums.chunks_mut(nodes).enumerate() {
        values.iter_mut().for_each(|value| *value /= weights[row % series.frames]);
    }
    Ok(sums)
}

/// Samples of the window `frames`, `[samples, frames, nodes]`; so many steps were done before.
fn window_samples(
    trained: &Trained,
    settings: &Impute,
    series: &Series,
    visible: &[bool],
    frames: Range<usize>,
    (progress, before): (&mut Progress, u64),
) -> Result<Vec<f32>> {
    let range = frames.start * series.nodes..frames.end * series.nodes;
    let visible = &visible[range.clone()];
    let values: Vec<f32> =
        series.values[range].iter().zip(visible).map(|(value, seen)| if *seen { *value } else { 0.0 }).collect();
    // Windows differ in their noise, also where one seed follows another.
    let seed = settings.seed ^ (frames.start as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut go_on = |done: usize| {
        progress.at(before + done as u64, || format!("frames {} to {}", frames.start, frames.end - 1));
        !interrupt::requested()
    };
    sampler::impute(
        &trained.model,
        &series.phases[frames.clone()],
        &values,
        visible,
        settings.samples,
        seed,
        &mut go_on,
    )?
    .ok_or(Error::Interrupted)
}

/// Samples of a single window, `[samples, frames, nodes]`.
///
/// # Errors
/// [`Error::Interrupted`] on Ctrl-C.
pub fn sample_window(trained: &Trained, series: &Series, visible: &[bool], frames: Range<usize>) -> Result<Vec<f32>> {
    let settings = &trained.config.impute;
    let mut progress = Progress::new("imputing", (trained.config.model.steps * settings.samples) as u64, 0);
    let mut drawn = window_samples(trained, settings, series, visible, frames.clone(), (&mut progress, 0))?;
    if settings.spread == Spread::Interpolation {
        let cells = frames.start * series.nodes..frames.end * series.nodes;
        trained.interpolation().spread(&mut drawn, frames, &visible[cells], settings.seed);
    }
    Ok(drawn)
}

fn blend_weight(blend: Blend, frame: usize, window: usize) -> f32 {
    match blend {
        Blend::Average => 1.0,
        Blend::Centre => (frame + 1).min(window - frame) as f32,
    }
}

/// A record without gaps, every array `[frames, height, width]` in the variable's units, NaN on land.
pub struct Filled {
    /// Best estimate: the median of the samples.
    pub median: Vec<f32>,
    /// Mean of the samples.
    pub mean: Vec<f32>,
    /// Standard deviation of the samples.
    pub std: Vec<f32>,
    /// 5 % quantile of the samples.
    pub q05: Vec<f32>,
    /// 95 % quantile of the samples.
    pub q95: Vec<f32>,
    /// Which of [`ORIGINS`] a cell is.
    pub origin: Vec<i8>,
}

impl Filled {
    /// Sums up `samples` on the model's scale in the variable's units, and puts the `visible` cells back as they are in
    /// the file.
    pub fn new(record: &Record, visible: &[bool], mut samples: Vec<f32>, count: usize) -> Self {
        // Quantiles and the logarithm commute; means and deviations do not, so the samples go back first.
        record.place.scaling.restore(&mut samples);
        record.transform.invert(&mut samples);
        let Summary { median, mean, std, low, high } = sampler::summarise(&samples, count);
        let mask = &record.place.mask;
        let known = known_values(record, visible, mask);
        let filled = |values: Vec<f32>| {
            let cells = values.iter().zip(&known);
            let cells: Vec<f32> = cells.map(|(value, known)| known.unwrap_or(*value)).collect();
            mask.scatter(&cells, f32::NAN)
        };
        let spread: Vec<f32> =
            std.iter().zip(visible).map(|(value, visible)| if *visible { 0.0 } else { *value }).collect();
        let origin: Vec<i8> = visible.iter().map(|visible| if *visible { 2 } else { 1 }).collect();
        Filled {
            median: filled(median),
            mean: filled(mean),
            std: mask.scatter(&spread, f32::NAN),
            q05: filled(low),
            q95: filled(high),
            origin: mask.scatter(&origin, 0),
        }
    }

    /// Reads what [`Filled::output`] wrote of `record`.
    ///
    /// # Errors
    /// As [`netcdf::read`], and [`Error::Input`] when it is of another size.
    pub fn read(path: &Path, record: &Record) -> Result<Self> {
        let read = |suffix: &str| {
            let values = netcdf::read(path, &format!("{}{suffix}", record.field.name))?.values;
            match (values.len(), record.field.values.len()) {
                (found, expected) if found == expected => Ok(values),
                (found, expected) => {
                    let path = path.display();
                    Err(Error::Input(format!(
                        "{path}: expected {expected} values, as many as in the data, found {found}"
                    )))
                }
            }
        };
        let origin: Vec<i8> = record.series.observed.iter().map(|seen| if *seen { 2 } else { 1 }).collect();
        Ok(Filled {
            median: read("")?,
            mean: read("_mean")?,
            std: read("_std")?,
            q05: read("_q05")?,
            q95: read("_q95")?,
            origin: record.place.mask.scatter(&origin, 0),
        })
    }

    /// The result as a view of a report: what was `seen` `[frames, height, width]`, and what was hidden if it is known.
    pub fn view<'a>(&'a self, field: &'a Field, name: String, seen: &'a [f32], truth: Option<&'a [f32]>) -> View<'a> {
        View {
            name,
            time: &field.time,
            observed: seen,
            truth,
            estimate_name: "imputed (median)".into(),
            estimate: &self.median,
            spread: Some(&self.std),
            deviation: None,
            interval: Some(Interval { name: "5 to 95 % of the samples".into(), low: &self.q05, high: &self.q95 }),
            forecast: None,
        }
    }

    /// The result as a file on the grid of `record`.
    pub fn output<'a>(&'a self, record: &'a Record, source: String, history: String) -> Output<'a> {
        let field = &record.field;
        let mut output = Output::like(field, format!("{} without gaps", field.name), source, history);
        let Filled { median, mean, std, q05, q95, origin } = self;
        output.add_summary(field, cf_write::Summary { median, mean, std, q05, q95 });
        let (name, long_name) = (format!("{}_origin", field.name), format!("origin of {}", field.name));
        output.flags.push(OutputFlag { name, long_name, meanings: &ORIGINS, values: origin });
        output
    }
}

/// The file's own value of every visible cell.
fn known_values(record: &Record, visible: &[bool], mask: &SeaMask) -> Vec<Option<f32>> {
    let frames: Range<usize> = 0..record.series.frames;
    let pixels = mask.sea.len();
    let cells = frames.flat_map(|frame| mask.nodes.iter().map(move |pixel| frame * pixels + pixel));
    cells.zip(visible).map(|(cell, visible)| visible.then(|| record.field.values[cell])).collect()
}

/// Name of the model's scale, for titles and tables.
pub fn scale_name(transform: Transform, units: Option<&str>) -> String {
    let units = units.unwrap_or("1");
    match transform {
        Transform::Identity => units.to_owned(),
        Transform::Log10 => format!("log10 {units}"),
    }
}
