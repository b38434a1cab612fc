//! STDDM: the network that predicts a window's values from its visible cells and a noisy sample (systems 1.4, 1.5).

use super::diffusion::{Diffusion, step_table};
use super::options::{Attention, BlockForm, Embedding, Fill, Options};
use super::region::Region;
use super::tlt::{self, EPS};
use isobath_engine::init::Init;
use isobath_engine::ops::{self, Spatial, SpatialWeights, TemporalWeights};
use isobath_engine::parameters::Parameters;
use isobath_engine::random::{PhiloxKey, normal};
use isobath_engine::{DType, Device, Error, Result, Tensor};

/// The imputer's network on one region.
pub struct Stddm {
    /// Its parameters under the published names.
    pub parameters: Parameters,
    options: Options,
    region: Region,
    diffusion: Diffusion,
    /// Sines and cosines of every step, `[L, step_width]`.
    table: Tensor,
    /// Whether the fused kernels run; else the same network from small operations.
    fused: bool,
}

/// Windows to train on, as the host has them; `[b, t, n]` each.
pub struct Batch<'a> {
    /// Frames t of a window.
    pub frames: usize,
    /// Values, 0 where nothing was observed.
    pub values: &'a [f32],
    /// What was observed.
    pub observed: &'a [bool],
    /// What of it the model may see; the rest is what it is scored on.
    pub visible: &'a [bool],
    /// Diffusion step of every window, `[b]`.
    pub steps: &'a [usize],
    /// Where the noise of this step of training comes from.
    pub noise: PhiloxKey,
}

/// Windows with their gaps filled, ready for the network.
pub struct Condition {
    /// Visible values, the fill elsewhere, `[b, t, n]`.
    pub filled: Tensor,
    /// The fill of every node in every frame, `[b, t, n]`.
    pub mean: Tensor,
    /// 1 where nothing is visible, `[b, t, n]`.
    pub hidden: Tensor,
}

impl Stddm {
    /// A network with fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// When the options contradict themselves.
    pub fn new(device: &Device, options: Options, region: Region, dtype: DType, seed: u64) -> Result<Stddm> {
        if let Some(what) = options.complaint() {
            return Err(Error::Shape { op: "stddm", what });
        }
        let parameters = parameters(&options).build(device, dtype, seed)?;
        let table = step_table(options.steps, options.step_width);
        let table = Tensor::from_f64(device, [options.steps, options.step_width], &table, dtype)?.keep()?;
        let fused =
            options.attention == Attention::Linear && options.block == BlockForm::PreNorm && !options.spatial_linear;
        let diffusion = Diffusion::new(&options);
        Ok(Stddm { parameters, options, region, diffusion, table, fused })
    }

    /// The same network from small operations instead of the fused kernels: slower, for checks.
    pub fn unfused(mut self) -> Self {
        self.fused = false;
        self
    }

    /// Its choices.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The tables of its diffusion.
    pub fn diffusion(&self) -> &Diffusion {
        &self.diffusion
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.region.nodes()
    }

    /// Fills the gaps of windows `[b, t, n]`.
    pub fn condition(&self, frames: usize, values: &[f32], visible: &[bool]) -> Result<Condition> {
        let window = frames * self.nodes();
        let (mut filled, mut mean, mut hidden) = (values.to_vec(), vec![0.0; values.len()], vec![0.0; values.len()]);
        for start in (0..values.len()).step_by(window) {
            let fill = self.fill(frames, &values[start..start + window], &visible[start..start + window]);
            for (i, fill) in (start..start + window).zip(fill.iter().cycle()) {
                mean[i] = *fill;
                if !visible[i] {
                    (filled[i], hidden[i]) = (*fill, 1.0);
                }
            }
        }
        let shape = [values.len() / window, frames, self.nodes()];
        let tensor = |v: &[f32]| self.tensor(&shape, v);
        Ok(Condition { filled: tensor(&filled)?, mean: tensor(&mean)?, hidden: tensor(&hidden)? })
    }

    /// sum_t X M / (sum_t M + 1e-5) for every node of one window.
    fn fill(&self, frames: usize, values: &[f32], visible: &[bool]) -> Vec<f32> {
        let n = self.nodes();
        let (mut sum, mut count) = (vec![0.0f32; n], vec![0.0f32; n]);
        if self.options.fill == Fill::VisibleMean {
            for t in 0..frames {
                for node in (0..n).filter(|node| visible[t * n + node]) {
                    sum[node] += values[t * n + node];
                    count[node] += 1.0;
                }
            }
        }
        sum.iter().zip(count).map(|(sum, count)| sum / (count + 1e-5)).collect()
    }

    /// A host array as a tensor of the network's number type.
    pub fn tensor(&self, shape: &[usize], values: &[f32]) -> Result<Tensor> {
        let device = self.parameters.device();
        match self.parameters.dtype() {
            DType::F32 => Tensor::from_slice(device, shape, values),
            dtype => Tensor::from_f64(device, shape, &values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), dtype),
        }
    }

    /// The noisy sample of every window at its own step: `x0` and `noise` `[b, t, n]`.
    pub fn noisy(&self, x0: &Tensor, noise: &Tensor, steps: &[usize]) -> Result<Tensor> {
        let (signal, sigma): (Vec<f64>, Vec<f64>) = steps.iter().map(|l| self.diffusion.q_sample(*l)).unzip();
        let row = |v: &[f64]| Tensor::from_f64(x0.device(), [v.len()], v, x0.dtype());
        ops::q_sample(x0, noise, &row(&signal)?, &row(&sigma)?)
    }

    /// The network's input planes `[2, b, t, n]`: the filled values, and the sample where nothing is visible.
    pub fn planes(&self, condition: &Condition, sample: &Tensor) -> Result<Tensor> {
        ops::stack(&[&condition.filled, &ops::mul(sample, &condition.hidden)?], 0)
    }

    /// The masked squared error of a batch, to be recorded on a tape.
    pub fn loss(&self, batch: &Batch<'_>) -> Result<Tensor> {
        let condition = self.condition(batch.frames, batch.values, batch.visible)?;
        let shape = *condition.filled.shape();
        let values = self.tensor(shape.dims(), batch.values)?;
        let noise = normal(values.device(), shape, values.dtype(), batch.noise, 0)?;
        let clean = if self.options.noise_on_truth { &values } else { &condition.filled };
        let planes = self.planes(&condition, &self.noisy(clean, &noise, batch.steps)?)?;
        let scored = batch.observed.iter().zip(batch.visible).map(|(o, v)| if *o && !v { 1.0 } else { 0.0 });
        let mask = self.tensor(shape.dims(), &scored.collect::<Vec<f32>>())?;
        self.loss_of(&planes, batch.steps, &values, &mask)
    }

    /// The masked squared error of the prediction from given planes.
    pub fn loss_of(&self, planes: &Tensor, steps: &[usize], values: &Tensor, mask: &Tensor) -> Result<Tensor> {
        if self.fused {
            return self.spatial(&self.temporal(planes, steps)?, Some((values, mask)));
        }
        ops::masked_mse(&self.predict(planes, steps)?, values, mask)
    }

    /// The prediction `[b, t, n]` from planes `[2, b, t, n]` at the diffusion steps `[b]`.
    pub fn predict(&self, planes: &Tensor, steps: &[usize]) -> Result<Tensor> {
        self.spatial(&self.temporal(planes, steps)?, None)
    }

    fn temporal(&self, planes: &Tensor, steps: &[usize]) -> Result<Tensor> {
        let shift = self.shift(steps, planes.shape()[2])?;
        let weights = self.temporal_weights()?;
        if self.fused {
            return ops::temporal_block(planes, &shift, &weights, self.options.heads, EPS);
        }
        tlt::composed(planes, &shift, &weights, &self.options)
    }

    /// Input bias plus step embedding, the same for every frame, `[b, t, c]`.
    fn shift(&self, steps: &[usize], frames: usize) -> Result<Tensor> {
        let device = self.parameters.device();
        let index: Vec<u32> = steps.iter().map(|l| *l as u32).collect();
        let rows = ops::embedding(&self.table, &Tensor::from_slice(device, [steps.len()], &index)?)?;
        let layer = |x: &Tensor, name: &str| -> Result<Tensor> {
            let (weight, bias) = self.pair(&format!("diffusion_embedding.{name}"))?;
            ops::silu(&ops::linear(x, &weight, Some(&bias))?)
        };
        let embedding = layer(&layer(&rows, "projection1")?, "projection2")?;
        let shift = ops::add(&embedding, &self.parameters.get("input_projection.bias")?)?;
        let frames = Tensor::zeros(device, [1, frames, 1], self.parameters.dtype())?;
        ops::add(&ops::reshape(&shift, [steps.len(), 1, self.options.channels])?, &frames)
    }

    fn pair(&self, name: &str) -> Result<(Tensor, Tensor)> {
        Ok((self.parameters.get(&format!("{name}.weight"))?, self.parameters.get(&format!("{name}.bias"))?))
    }

    fn temporal_weights(&self) -> Result<TemporalWeights> {
        let get = |name: &str| self.parameters.get(&format!("time_encoding.layers.layers.0.{name}.weight"));
        let pair = |name: &str| self.pair(&format!("time_encoding.layers.layers.0.{name}"));
        Ok(TemporalWeights {
            input: self.parameters.get("input_projection.weight")?,
            norm1: pair("0.norm")?,
            qkv: [get("0.fn.to_q")?, get("0.fn.to_k")?, get("0.fn.to_v")?],
            out: pair("0.fn.to_out")?,
            norm2: pair("1.norm")?,
            up: pair("1.fn.fn.w1")?,
            down: pair("1.fn.fn.w2")?,
        })
    }

    /// Prototype weights of every node, `[n, k]`.
    fn node_embedding(&self) -> Result<Tensor> {
        let weight = self.parameters.get("projection1.weight")?;
        if self.options.embedding == Embedding::Node {
            return ops::linear(&self.region.features, &weight, None);
        }
        let bias = self.parameters.get("projection1.bias")?;
        let own = ops::linear(&self.region.features, &weight, Some(&bias))?;
        let (n, k) = (self.nodes(), self.options.prototypes);
        ops::reshape(&ops::spmm(&self.region.graph, &ops::reshape(&own, [1, n, k])?)?, [n, k])
    }

    /// From h `[b, n, t, c]` to the prediction, or to the loss with `(values, mask)`.
    fn spatial(&self, h: &Tensor, target: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
        let weights = SpatialWeights {
            embedding: self.node_embedding()?,
            pool: self.parameters.get("spatial_encoding.weights_pool")?,
            norm: self.pair("gn")?,
            gate: Some(self.pair("mid_projection")?),
            out: self.pair("output_projection")?,
        };
        if self.fused {
            let spatial = Spatial {
                graph: self.region.graph.clone(),
                residual: true,
                groups: self.options.groups,
                eps: EPS,
                bounds: self.options.clamp.then(|| self.region.bounds.clone()),
            };
            return ops::spatial_block(h, &weights, &spatial, target);
        }
        self.composed_spatial(h, &weights)
    }

    /// The spatial half from small operations.
    fn composed_spatial(&self, h: &Tensor, w: &SpatialWeights) -> Result<Tensor> {
        let (b, n, t, c) = (h.shape()[0], h.shape()[1], h.shape()[2], h.shape()[3]);
        let h = ops::reshape(&ops::permute(h, &[0, 2, 1, 3])?, [b * t, n, c])?;
        let mut mixed = ops::node_linear(&ops::spmm(&self.region.graph, &h)?, &w.embedding, &w.pool)?;
        if self.options.spatial_linear {
            let (weight, bias) = self.pair("spatial_encoding.linear")?;
            mixed = ops::linear(&mixed, &weight, Some(&bias))?;
        }
        let y = ops::group_norm(&ops::add(&h, &mixed)?, &w.norm.0, &w.norm.1, self.options.groups, EPS)?;
        let y = match &w.gate {
            Some((weight, bias)) => ops::gate(&ops::linear(&y, weight, Some(bias))?)?,
            None => y,
        };
        let y = ops::reshape(&ops::linear(&y, &w.out.0, Some(&w.out.1))?, [b, t, n])?;
        if !self.options.clamp {
            return Ok(y);
        }
        ops::clamp(&y, &self.region.bounds.0, &self.region.bounds.1)
    }
}

/// The parameters under the published names, drawn as the published code draws them (systems 1.4, initialisation).
fn parameters(o: &Options) -> isobath_engine::parameters::Builder {
    let (d, hidden, k) = (o.channels, o.hidden(), o.prototypes);
    let mut builder = Parameters::builder();
    let mut add = |name: &str, shape: &[usize], init: Init| {
        builder = std::mem::take(&mut builder).add(name, shape, init);
    };
    let mut linear = |name: &str, out: usize, inner: usize, init: Init, bias: bool| {
        add(&format!("{name}.weight"), &[out, inner], init);
        if bias {
            add(&format!("{name}.bias"), &[out], Init::linear(inner));
        }
    };
    linear("input_projection", d, 2, Init::kaiming_normal(2), true);
    linear("diffusion_embedding.projection1", d, o.step_width, Init::linear(o.step_width), true);
    linear("diffusion_embedding.projection2", d, d, Init::linear(d), true);
    let block = "time_encoding.layers.layers.0";
    for name in ["to_q", "to_k", "to_v"] {
        linear(&format!("{block}.0.fn.{name}"), d, d, Init::linear(d), false);
    }
    linear(&format!("{block}.0.fn.to_out"), d, d, Init::linear(d), true);
    linear(&format!("{block}.1.fn.fn.w1"), hidden, d, Init::linear(d), true);
    linear(&format!("{block}.1.fn.fn.w2"), d, hidden, Init::linear(hidden), true);
    linear("projection1", k, o.features(), Init::linear(o.features()), o.embedding == Embedding::NeighbourSum);
    linear("mid_projection", 2 * d, d, Init::kaiming_normal(d), true);
    linear("output_projection", 1, d, Init::kaiming_normal(d), true);
    if o.spatial_linear {
        linear("spatial_encoding.linear", d, d, Init::linear(d), true);
    }
    // Xavier on a 3-D tensor [k, in, out] counts fan_in = in out and fan_out = k out.
    add("spatial_encoding.weights_pool", &[k, d, d], Init::xavier_normal(d * d, k * d));
    for name in [format!("{block}.0.norm"), format!("{block}.1.norm"), "gn".into()] {
        add(&format!("{name}.weight"), &[d], Init::Ones);
        add(&format!("{name}.bias"), &[d], Init::Zeros);
    }
    builder
}
