//! Parity: recomputes the numbers of a fixture file made by a published implementation.

use crate::data::nodes::{SeaMask, stencil};
use crate::{Error, Result};
use isobath_engine::parameters::Parameters;
use isobath_engine::weights::Weights;
use isobath_engine::{DType, Device, Tape, Tensor};
use isobath_models::stimp::forecaster::{self, Forecaster};
use isobath_models::stimp::options::Options;
use isobath_models::stimp::region::{Region, RegionData, RegionOptions};
use isobath_models::stimp::sampler::chain;
use isobath_models::stimp::stddm::{Condition, Stddm, Times};
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
    let options = Options::published();
    let bounds = (file.to_f32("in/low")?, file.to_f32("in/high")?);
    let region = fixture.region(device, &bounds, options.region())?;
    let mut model = Stddm::new(device, options, region, DType::F32, 0)?;
    set_parameters(&file, &mut model.parameters)?;
    let shape = windows_shape(path, &file, "in/values")?;
    let frames = shape[1];
    let tensor = |name: &str| -> Result<Tensor> { Ok(model.tensor(&shape, &file.to_f32(name)?)?) };
    let flags = |name: &str| -> Result<Vec<bool>> { Ok(file.to_f32(name)?.iter().map(|v| *v > 0.5).collect()) };
    let (observed, visible) = (flags("in/observed_mask")?, flags("in/visible_mask")?);
    let steps: Vec<usize> = file.to_f64("in/step")?.iter().map(|l| *l as usize).collect();
    let values = file.to_f32("in/values")?;

    let condition = model.condition(frames, &[], &values, &visible)?;
    let times = Times { steps: &steps, phases: &[] };
    let sample = model.noisy(&condition.filled, &tensor("in/noise")?, &steps)?;
    let planes = model.planes(&condition, &sample)?;
    let mut rows =
        vec![Row::new("out/network_input", &interleaved(&planes)?, &file.to_f64("out/network_input")?, OUTPUT_LIMIT)];
    rows.push(output(&file, "out/prediction", &model.predict(&planes, times)?)?);

    let scored: Vec<f32> = observed.iter().zip(&visible).map(|(o, v)| f32::from(*o && !v)).collect();
    let (values_there, mask) = (tensor("in/values")?, model.tensor(&shape, &scored)?);
    rows.extend(loss_and_gradients(&file, &model.parameters, || model.loss_of(&planes, times, &values_there, &mask))?);

    let noise = file.to_f32("in/sampler_noise")?;
    let condition: Condition = model.condition(frames, &[], &values, &observed)?;
    let mut draw = |i: usize| model.tensor(&shape, &noise[i * values.len()..(i + 1) * values.len()]);
    if let Some(sample) = chain(&model, None, &[], &condition, &mut draw, &mut |_| true)? {
        rows.push(output(&file, "out/sample", &sample)?);
    }
    Ok(rows)
}

/// Prediction, loss and every gradient of a fixture of the forecaster, against this engine.
///
/// # Errors
/// As for [`stddm`].
pub fn forecaster(path: &Path, device: &Device) -> Result<Vec<Row>> {
    let file = Weights::open(path)?;
    let fixture = Fixture::new(path, &file)?;
    let (windows, labels) = (windows_shape(path, &file, "in/values")?, windows_shape(path, &file, "in/labels")?);
    let options = forecaster::Options { frames: windows[1], horizon: labels[1], ..forecaster::Options::published() };
    // Forecasts are not clamped: the bounds do not count.
    let free = vec![0.0; fixture.mean.len()];
    let region = fixture.region(device, &(free.clone(), free), options.region())?;
    let mut model = Forecaster::new(device, options, region, DType::F32, 0)?;
    set_parameters(&file, &mut model.parameters)?;
    let tensor =
        |name: &str, shape: [usize; 3]| -> Result<Tensor> { Ok(model.parameters.tensor(shape, &file.to_f32(name)?)?) };
    let (values, truth) = (tensor("in/values", windows)?, tensor("in/labels", labels)?);
    let mask = tensor("in/label_mask", labels)?;
    let mut rows = vec![output(&file, "out/prediction", &model.predict(&values)?)?];
    rows.extend(loss_and_gradients(&file, &model.parameters, || model.loss_of(&values, &truth, &mask))?);
    Ok(rows)
}

/// One output of the model beside the file's.
fn output(file: &Weights, name: &str, found: &Tensor) -> Result<Row> {
    Ok(Row::new(name, &found.to_f64()?, &file.to_f64(name)?, OUTPUT_LIMIT))
}

/// The loss and the gradient of every parameter beside the file's.
fn loss_and_gradients(
    file: &Weights,
    parameters: &Parameters,
    loss: impl FnOnce() -> isobath_engine::Result<Tensor>,
) -> Result<Vec<Row>> {
    let tape = Tape::start()?;
    let loss = loss()?;
    let gradients = tape.backward(&loss)?;
    let mut rows = vec![output(file, "out/loss", &loss)?];
    for name in parameters.names() {
        let found = parameters.gradient(&gradients, name)?.to_f64()?;
        let name = format!("grad/{name}");
        rows.push(Row::new(&name, &found, &file.to_f64(&name)?, GRADIENT_LIMIT));
    }
    Ok(rows)
}

/// The file's parameters; arrays that take no part in the computation stay in the file.
fn set_parameters(file: &Weights, parameters: &mut Parameters) -> Result<()> {
    let names: Vec<String> = parameters.names().map(String::from).collect();
    names.iter().try_for_each(|name| Ok(parameters.set(name, &file.to_f32(&format!("param/{name}"))?)?))
}

/// The shape `[b, t, n]` of windows `[b, t, 1, n]`.
fn windows_shape(path: &Path, file: &Weights, name: &str) -> Result<[usize; 3]> {
    match *file.shape(name)? {
        [b, t, 1, n] => Ok([b, t, n]),
        ref found => Err(Error::Input(format!("{}: {name}: expected [b, t, 1, n], found {found:?}", path.display()))),
    }
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
}

impl Fixture {
    fn new(path: &Path, file: &Weights) -> Result<Fixture> {
        let &[height, width] = file.shape("in/sea")? else {
            return Err(Error::Input(format!("{}: in/sea: expected [h, w]", path.display())));
        };
        let sea = file.to_f32("in/sea")?.iter().map(|v| *v > 0.5).collect();
        let sea = SeaMask::new(sea, height, width)?;
        // Statistics stand on the grid or at the nodes.
        let at_nodes = |name: &str| -> Result<Vec<f32>> {
            let values = file.to_f32(name)?;
            let on_grid = values.len() == height * width;
            Ok(if on_grid { sea.nodes.iter().map(|i| values[*i]).collect() } else { values })
        };
        Ok(Fixture { mean: at_nodes("in/mean")?, std: at_nodes("in/std")?, sea })
    }

    fn region(&self, device: &Device, (low, high): &(Vec<f32>, Vec<f32>), options: RegionOptions) -> Result<Region> {
        let graph = stencil(&self.sea);
        let SeaMask { height, width, ref nodes, .. } = self.sea;
        let row: Vec<f32> = nodes.iter().map(|i| (i / width) as f32 / height as f32).collect();
        let column: Vec<f32> = nodes.iter().map(|i| (i % width) as f32 / width as f32).collect();
        let data = RegionData {
            offsets: &graph.offsets,
            neighbours: &graph.neighbours,
            mean: &self.mean,
            std: &self.std,
            variability: None,
            places: &[],
            low,
            high,
            row: &row,
            column: &column,
        };
        Ok(Region::new(device, &data, options, DType::F32)?)
    }
}
