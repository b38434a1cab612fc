//! `isobath doctor`.

use std::time::Instant;

use clap::Args;
use isobath_engine::{DType, Device, Tensor, ops, random, random::PhiloxKey};

use crate::{Error, Result};

/// Say what this machine has, and check that it computes correctly
#[derive(Args)]
#[command(after_help = "Example:\n  isobath doctor --threads 2")]
pub(super) struct Doctor {}

/// Rows, columns and depth of the product that is timed.
const SIZE: usize = 768;

impl Doctor {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        println!("isobath {}, {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!("device {}: {cores} cores, {} threads, {}", device.name(), rayon::current_num_threads(), simd());
        let (rate, error) = product(device)?;
        println!("single-precision products: {rate:.0} GFLOP/s, relative error {error:.1e} to double precision");
        // Rounding of a sum of that many terms is some 1e-6.
        if error.is_nan() || error > 1e-4 {
            return Err(Error::Fault(format!(
                "the processor's products are wrong: expected a relative error of at most 1e-4, found {error:e}"
            )));
        }
        println!("everything is in order");
        Ok(())
    }
}

/// GFLOP/s of a matrix product in f32, and its largest error relative to the same in f64.
fn product(device: &Device) -> Result<(f64, f64)> {
    let draw = |dtype, stream| random::normal(device, [SIZE, SIZE], dtype, PhiloxKey { seed: 1, stream }, 0);
    let multiply = |dtype| -> Result<(Tensor, f64)> {
        let (a, b) = (draw(dtype, 0)?, draw(dtype, 1)?);
        ops::linear(&a, &b, None)?;
        let start = Instant::now();
        let product = ops::linear(&a, &b, None)?;
        Ok((product, start.elapsed().as_secs_f64()))
    };
    let (single, seconds) = multiply(DType::F32)?;
    let (double, _) = multiply(DType::F64)?;
    let (single, double) = (single.to_f64()?, double.to_f64()?);
    let largest = double.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let error = single.iter().zip(&double).fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs()));
    Ok((2.0 * (SIZE as f64).powi(3) / seconds / 1e9, error / largest))
}

/// The vector instructions that the kernels choose from.
fn simd() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return "AVX2 and FMA";
        }
    }
    "baseline vector instructions"
}
