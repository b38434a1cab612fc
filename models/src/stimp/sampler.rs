//! Imputation: the reverse chain, several samples at once (systems 1.6).

use super::stddm::{Condition, Stddm, Times};
use super::tiles::Tiles;
use isobath_engine::random::{PhiloxKey, normal};
use isobath_engine::{Result, Tensor, ops};

/// Elements `[b, n, t, c]` of the largest activation that samples run through together: 64 MiB.
const TOGETHER: usize = 16 << 20;
/// Elements of the largest activation of a tile: 32 MiB.
const TILE: usize = 8 << 20;
/// Elements of an activation above which even one sample runs tile by tile: 256 MiB, or what one tensor of the device holds.
const LARGEST: usize = 64 << 20;

/// Samples of one window: values and visible `[t, n]`, the time of year of its frames `[t]`, result `[samples, t, n]` in the network's own units, predictions
/// everywhere. The memory grows with nodes times samples, not with nodes times channels: a region of many nodes runs in
/// tiles, at twice the work. Every sample has random numbers of its own, whatever is run together. `progress` hears of every reverse
/// step done of `samples` times the diffusion steps, and stops the chain with `false`; the result is then `None`.
pub fn impute(
    model: &Stddm,
    phases: &[f32],
    values: &[f32],
    visible: &[bool],
    samples: usize,
    seed: u64,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<f32>>> {
    let frames = phases.len();
    let window = frames * model.nodes();
    let (device, dtype) = (model.parameters.device().clone(), model.parameters.dtype());
    let together = (TOGETHER / (window * model.options().channels)).clamp(1, samples.max(1));
    let tiles = match window * model.options().channels > LARGEST.min(device.largest_tensor() / dtype.bytes()) {
        true => Tiles::of(model, 1, frames, TILE)?,
        false => None,
    };
    let once = model.condition(frames, phases, values, visible)?;
    let mut out = Vec::with_capacity(samples * window);
    for first in (0..samples).step_by(together) {
        let count = together.min(samples - first);
        let phases = phases.repeat(count);
        let condition = once.repeat(count)?;
        let mut noise = |draw: usize| {
            let key = PhiloxKey { seed, stream: draw as u64 };
            normal(&device, [count, frames, model.nodes()], dtype, key, (first * window) as u64)
        };
        let done = first * model.diffusion().steps();
        let mut step = |steps: usize| progress(done + steps * count);
        match chain(model, tiles.as_ref(), &phases, &condition, &mut noise, &mut step)? {
            Some(sample) => out.extend(sample.to_f64()?.iter().map(|v| *v as f32)),
            None => return Ok(None),
        }
    }
    Ok(Some(out))
}

/// The reverse chain on `[b, t, n]`, frames at `phases` `[b, t]`. `noise(i)` gives the Gaussian numbers in the order in which they are consumed: draw 0
/// starts the chain, then one for each step above 0. `step` hears how many steps are done.
pub fn chain(
    model: &Stddm,
    tiles: Option<&Tiles>,
    phases: &[f32],
    condition: &Condition,
    noise: &mut dyn FnMut(usize) -> Result<Tensor>,
    step: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Tensor>> {
    let mut x = ops::add(&noise(0)?, &condition.fill)?;
    let last = model.diffusion().steps();
    let samples = x.shape()[0];
    for (done, l) in (0..last).rev().enumerate() {
        let (planes, steps) = (model.planes(condition, &x)?, vec![l; samples]);
        let times = Times { steps: &steps, phases };
        let predicted = match tiles {
            Some(tiles) => tiles.predict(model, &planes, times)?,
            None => model.predict(&planes, times)?,
        };
        let predicted = model.complete(predicted, condition)?;
        let fresh = if l > 0 { Some(noise(done + 1)?) } else { None };
        x = ops::posterior_step(&x, &predicted, fresh.as_ref(), model.diffusion().posterior(l))?;
        // What is told to be done is, but for the last step.
        x.device().pace()?;
        if !step(done + 1) {
            return Ok(None);
        }
    }
    Ok(Some(x))
}

/// Samples cell by cell.
pub struct Summary {
    /// Median, the point estimate.
    pub median: Vec<f32>,
    /// Mean.
    pub mean: Vec<f32>,
    /// Standard deviation between samples, unbiased; 0 for one sample.
    pub std: Vec<f32>,
    /// 5 % quantile, linear between samples.
    pub low: Vec<f32>,
    /// 95 % quantile, linear between samples.
    pub high: Vec<f32>,
}

/// Summarises `count` samples `[count, cells]` cell by cell.
pub fn summarise(samples: &[f32], count: usize) -> Summary {
    let cells = samples.len() / count.max(1);
    let room = || Vec::with_capacity(cells);
    let mut out = Summary { median: room(), mean: room(), std: room(), low: room(), high: room() };
    let mut column = vec![0.0f32; count];
    for cell in 0..cells {
        for (s, value) in column.iter_mut().enumerate() {
            *value = samples[s * cells + cell];
        }
        column.sort_by(f32::total_cmp);
        let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / count as f64;
        let squares = column.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
        out.mean.push(mean as f32);
        out.std.push((squares / (count.max(2) - 1) as f64).sqrt() as f32);
        out.median.push(quantile(&column, 0.5));
        out.low.push(quantile(&column, 0.05));
        out.high.push(quantile(&column, 0.95));
    }
    out
}

/// The quantile of sorted values, linear between them.
pub fn quantile(sorted: &[f32], q: f64) -> f32 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, share) = (at.floor() as usize, at.fract() as f32);
    let above = sorted[(below + 1).min(sorted.len() - 1)];
    sorted[below] + share * (above - sorted[below])
}
