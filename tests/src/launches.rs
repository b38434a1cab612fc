//! Launches of the kernels that no differentiable operation runs.

use isobath_engine::device::Bind::{Absent, In, Out};
use isobath_engine::random::{PhiloxKey, normal};
use isobath_engine::{DType, Device, Result, Tensor};
use isobath_kernels::{adam, sum_squares};

/// One small launch of each.
pub fn all() -> Vec<fn(&Device) -> Result<()>> {
    vec![
        |device| normal(device, [5], DType::F32, PhiloxKey { seed: 1, stream: 0 }, 0).map(|_| ()),
        |device| {
            let (x, y) = (Tensor::zeros(device, [5], DType::F32)?, Tensor::zeros(device, [1], DType::F32)?);
            device.run(&sum_squares::SUM_SQUARES, &sum_squares::Params { len: 5 }, &[In(&x), Out(&y)])
        },
        |device| {
            let flat = || Tensor::zeros(device, [5], DType::F32);
            let settings = adam::Settings {
                lr: 1e-3,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                decay: 0.0,
                decoupled: false,
                max_norm: 0.0,
            };
            let (values, gradients, first, second) = (flat()?, flat()?, flat()?, flat()?);
            let bound = [Out(&values), In(&gradients), Out(&first), Out(&second), Absent];
            device.run(&adam::ADAM, &adam::Params::new(5, &settings, 1), &bound)
        },
    ]
}
