//! Launches of the kernels that no differentiable operation runs, or not in this way.

use isobath_engine::device::Bind::{In, Out};
use isobath_engine::ops::{self, Spatial, SpatialWeights};
use isobath_engine::random::{PhiloxKey, normal};
use isobath_engine::{Csr, DType, Device, Result, Tensor};
use isobath_kernels::{adam, multiply_add, sum_squares};

/// Elements of a launch: several tasks, and no multiple of anything.
const LEN: usize = 70_001;

/// A launch of one kernel.
pub struct Launch {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Runs it and returns what it wrote.
    pub run: fn(&Device, DType) -> Result<Vec<f64>>,
}

/// One launch of each.
pub fn all() -> Vec<Launch> {
    vec![
        Launch {
            kernel: "normal",
            run: |device, dtype| {
                normal(device, [LEN], dtype, PhiloxKey { seed: 1 << 40 | 7, stream: 3 << 33 }, (1 << 34) - 5)?.to_f64()
            },
        },
        Launch {
            kernel: "sum_squares",
            run: |device, dtype| {
                let (x, y) = (wave(device, dtype, 1.0)?, Tensor::empty(device, [1], dtype)?);
                let parameters = sum_squares::Params { len: LEN as u32 };
                device.run(&sum_squares::SUM_SQUARES, &parameters, &[In(&x), Out(&y)])?;
                y.to_f64()
            },
        },
        Launch {
            kernel: "multiply_add",
            run: |device, dtype| {
                let (x, y) = (wave(device, dtype, 0.7)?, Tensor::empty(device, [LEN], dtype)?);
                let parameters = multiply_add::Params { len: LEN as u32, rounds: 3, a: 0.99, b: 0.1 };
                device.run(&multiply_add::MULTIPLY_ADD, &parameters, &[In(&x), Out(&y)])?;
                y.to_f64()
            },
        },
        Launch {
            kernel: "adam",
            run: |device, dtype| {
                let settings = adam::Settings {
                    lr: 1e-2,
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    decay: 0.1,
                    decoupled: false,
                    max_norm: 3.0,
                };
                let (values, first) = (wave(device, dtype, 0.3)?, wave(device, dtype, 0.1)?);
                let (gradients, second) = (wave(device, dtype, 0.7)?, Tensor::zeros(device, [LEN], dtype)?);
                let norm_squared = Tensor::scalar(device, 16.0, dtype)?;
                let bound = [Out(&values), In(&gradients), Out(&first), Out(&second), In(&norm_squared)];
                device.run(&adam::ADAM, &adam::Params::new(LEN as u32, &settings, 3), &bound)?;
                Ok([values.to_f64()?, first.to_f64()?, second.to_f64()?].concat())
            },
        },
        Launch { kernel: "graph_mix", run: middle_of_a_path },
    ]
}

/// The mix of nodes in the middle of a path, which is how regions too large for the memory are worked off.
fn middle_of_a_path(device: &Device, dtype: DType) -> Result<Vec<f64>> {
    let (nodes, rows, [b, t, c, k]) = (70, 11..62, [2, 9, 21, 3]);
    let neighbours: Vec<u32> = (0..nodes).flat_map(|i: u32| [i.saturating_sub(1), i]).collect();
    let offsets: Vec<u32> = (0..=nodes).map(|i| 2 * i).collect();
    let tensor = |shape: &[usize]| shaped(device, dtype, 0.7, shape);
    let weights = SpatialWeights {
        embedding: tensor(&[rows.len(), k])?,
        pool: tensor(&[k, c, c])?,
        norm: (tensor(&[c])?, tensor(&[c])?),
        gate: None,
        out: (tensor(&[1, c])?, tensor(&[1])?),
    };
    let graph = Csr::new(device, nodes as usize, &offsets, &neighbours, None, dtype)?;
    let spatial = Spatial { graph, residual: true, groups: 3, eps: 1e-2, bounds: None };
    let (z, stats) = ops::spatial_mix(&tensor(&[b, nodes as usize, t, c])?, &weights, &spatial, rows)?;
    Ok([z.to_f64()?, stats.to_f64()?].concat())
}

/// Numbers between -1 and 1, the same ones in both precisions.
fn wave(device: &Device, dtype: DType, pitch: f32) -> Result<Tensor> {
    shaped(device, dtype, pitch, &[LEN])
}

fn shaped(device: &Device, dtype: DType, pitch: f32, shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f64> = (0..shape.iter().product()).map(|i: usize| f64::from((i as f32 * pitch).sin())).collect();
    Tensor::from_f64(device, shape, &values, dtype)
}
