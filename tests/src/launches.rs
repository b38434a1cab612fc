//! Launches of the kernels that no differentiable operation runs.

use isobath_engine::device::Bind::{In, Out};
use isobath_engine::random::{PhiloxKey, normal};
use isobath_engine::{DType, Device, Result, Tensor};
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
    ]
}

/// Numbers between -1 and 1, the same ones in both precisions.
fn wave(device: &Device, dtype: DType, pitch: f32) -> Result<Tensor> {
    let values: Vec<f64> = (0..LEN).map(|i| f64::from((i as f32 * pitch).sin())).collect();
    Tensor::from_f64(device, [LEN], &values, dtype)
}
