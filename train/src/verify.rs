//! Parity: recomputes the numbers of a fixture file made by a published implementation.

use crate::data::nodes::{SeaMask, stencil};
use crate::{Error, Result};
use isobath_engine::weights::Weights;
use isobath_engine::{DType, Device, Tape, Tensor};
use isobath_models::stimp::options::Options;
use isobath_models::stimp::region::{Region, RegionData};
use isobath_models::stimp::sampler::chain;
use isobath_models::stimp::stddm::{Condition, Stddm};
use std::path::Path;

/// Largest relative error of an output or a loss.
pub const OUTPUT_LIMIT: f64 = 1e-5;
/// Largest error of a gradient relative to its norm.
pub const GRADIENT_LIMIT: f64 = 1e-4;

/// One compared array.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in the file.
    pub name: String,
    /// Euclidean norm of the difference over that of the file's array.
    pub error: f64,
    /// The largest error that passes.
    pub limit: f64,
}

impl Row {
    /// Whether the error is within the limit; an error that is no number is not.
    pub fn ok(&self) -> bool {
        self.error <= self.limit
    }

    fn new(name: &str, found: &[f64], expected: &[f64], limit: f64) -> Row {
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let difference = norm(&mut found.iter().zip(expected).map(|(f, e)| f - e));
        let error = if found.len() == expected.len() {
            difference / norm(&mut expected.iter().copied()).max(f64::MIN_POSITIVE)
        } else {
            f64::INFINITY
        };
        Row { name: name.into(), error, limit }
    }
}

/// Network input, prediction, loss, every gradient and the sampler's chain of an STDDM fixture, against this engine.
///
/// # Errors
/// When the file is none, lacks an array, or holds one of another shape.
pub fn stddm(path: &Path, device: &Device) -> Result<Vec<Row>> {
    let file = Weights::open(path)?;
    let fixture = Fixture::new(path, &file)?;
    let model = fixture.model(&file, device)?;
    let &[b, frames, _, n] = file.shape("in/values")? else {
        return Err(Error::Input(format!("{}: in/values: expected [b, t, 1, n]", path.display())));
    };
    let shape = [b, frames, n];
    let tensor = |name: &str| -> Result<Tensor> { Ok(model.tensor(&shape, &file.to_f32(name)?)?) };
    let flags = |name: &str| -> Result<Vec<bool>> { Ok(file.to_f32(name)?.iter().map(|v| *v > 0.5).collect()) };
    let (observed, visible) = (flags("in/observed_mask")?, flags("in/visible_mask")?);
    let steps: Vec<usize> = file.to_f64("in/step")?.iter().map(|l| *l as usize).collect();
    let values = file.to_f32("in/values")?;

    let condition = model.condition(frames, &values, &visible)?;
    let sample = model.noisy(&condition.filled, &tensor("in/noise")?, &steps)?;
    let planes = model.planes(&condition, &sample)?;
    let mut rows =
        vec![Row::new("out/network_input", &interleaved(&planes)?, &file.to_f64("out/network_input")?, OUTPUT_LIMIT)];
    let mut compare = |name: &str, found: &Tensor, limit: f64| -> Result<()> {
        rows.push(Row::new(name, &found.to_f64()?, &file.to_f64(name)?, limit));
        Ok(())
    };
    compare("out/prediction", &model.predict(&planes, &steps)?, OUTPUT_LIMIT)?;

    let scored: Vec<f32> = observed.iter().zip(&visible).map(|(o, v)| f32::from(*o && !v)).collect();
    let tape = Tape::start()?;
    let loss = model.loss_of(&planes, &steps, &tensor("in/values")?, &model.tensor(&shape, &scored)?)?;
    let gradients = tape.backward(&loss)?;
    compare("out/loss", &loss, OUTPUT_LIMIT)?;
    let names: Vec<String> = model.parameters.names().map(String::from).collect();
    for name in names {
        compare(&format!("grad/{name}"), &model.parameters.gradient(&gradients, &name)?, GRADIENT_LIMIT)?;
    }

    let noise = file.to_f32("in/sampler_noise")?;
    let condition: Condition = model.condition(frames, &values, &observed)?;
    let mut draw = |i: usize| model.tensor(&shape, &noise[i * values.len()..(i + 1) * values.len()]);
    if let Some(sample) = chain(&model, &condition, &mut draw, &mut |_| true)? {
        compare("out/sample", &sample, OUTPUT_LIMIT)?;
    }
    Ok(rows)
}

/// Planes `[2, b, t, n]` in the file's order `[b, t, 1, 2, n]`.
fn interleaved(planes: &Tensor) -> Result<Vec<f64>> {
    let all = planes.to_f64()?;
    let (first, second) = all.split_at(all.len() / 2);
    let n = planes.shape().last();
    Ok(first.chunks(n).zip(second.chunks(n)).flat_map(|(a, b)| a.iter().chain(b).copied()).collect())
}

/// The region of a fixture.
struct Fixture {
    sea: SeaMask,
    mean: Vec<f32>,
    std: Vec<f32>,
    low: Vec<f32>,
    high: Vec<f32>,
}

impl Fixture {
    fn new(path: &Path, file: &Weights) -> Result<Fixture> {
        let &[height, width] = file.shape("in/sea")? else {
            return Err(Error::Input(format!("{}: in/sea: expected [h, w]", path.display())));
        };
        let sea = file.to_f32("in/sea")?.iter().map(|v| *v > 0.5).collect();
        let sea = SeaMask::new(sea, height, width)?;
        let at_nodes = |name: &str| -> Result<Vec<f32>> {
            let plane = file.to_f32(name)?;
            Ok(sea.nodes.iter().map(|i| plane[*i]).collect())
        };
        let (mean, std) = (at_nodes("in/mean")?, at_nodes("in/std")?);
        Ok(Fixture { mean, std, low: file.to_f32("in/low")?, high: file.to_f32("in/high")?, sea })
    }

    /// The network with the file's parameters; arrays that take no part in the computation stay in the file.
    fn model(&self, file: &Weights, device: &Device) -> Result<Stddm> {
        let graph = stencil(&self.sea);
        let row: Vec<f32> =
            self.sea.nodes.iter().map(|i| (i / self.sea.width) as f32 / self.sea.height as f32).collect();
        let column: Vec<f32> =
            self.sea.nodes.iter().map(|i| (i % self.sea.width) as f32 / self.sea.width as f32).collect();
        let data = RegionData {
            offsets: &graph.offsets,
            neighbours: &graph.neighbours,
            mean: &self.mean,
            std: &self.std,
            low: &self.low,
            high: &self.high,
            row: &row,
            column: &column,
        };
        let options = Options::published();
        let region = Region::new(device, &data, &options, DType::F32)?;
        let mut model = Stddm::new(device, options, region, DType::F32, 0)?;
        let names: Vec<String> = model.parameters.names().map(String::from).collect();
        for name in names {
            model.parameters.set(&name, &file.to_f32(&format!("param/{name}"))?)?;
        }
        Ok(model)
    }
}
