//! `isobath doctor`.

use std::time::Instant;

use clap::Args;
use isobath_engine::device::wgpu::shader::Shader;
use isobath_engine::device::wgpu::{Offer, Wgpu, adapters};
use isobath_engine::{DType, Device, Tensor, device::cuda, ops, random, random::PhiloxKey};
use isobath_kernels::{ALL, Precision, wgsl};

use super::profile;
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
        let processor = profile::name(&Device::cpu());
        println!("processor: {processor}, {cores} cores, {}", simd());
        let offers = adapters();
        println!("adapters:{}", if offers.is_empty() { " none" } else { "" });
        offers.iter().enumerate().for_each(|(index, offer)| describe(index, offer));
        nvidia();
        println!("device {}: {}", device.name(), profile::name(device));
        if let Device::Wgpu(gpu) = device {
            variants(gpu)?;
        }
        let (rate, error) = product(device)?;
        println!("single-precision products: {rate:.1} GFLOP/s, relative error {error:.1e} to double precision");
        let limit = limit(device);
        if error.is_nan() || error > limit {
            return Err(Error::Fault(format!(
                "products on {} are wrong: expected a relative error of at most {limit:e}, found {error:e}",
                device.name()
            )));
        }
        println!("everything is in order");
        Ok(())
    }
}

/// The largest error of a product: rounding of a sum of that many terms is some 1e-6, of the factors that tensor cores take
/// up to 2^-11 and 2^-8 a term.
fn limit(device: &Device) -> f64 {
    let target = match device {
        Device::Cuda(gpu) => gpu.target(),
        Device::Simulator(simulator) => simulator.target(),
        Device::Cpu(_) | Device::Wgpu(_) => return 1e-4,
    };
    match target.precision {
        Precision::F32 => 1e-4,
        Precision::Tf32 => 2e-3,
        Precision::Bf16 => 2e-2,
    }
}

/// The NVIDIA GPUs for --device cuda, or why there is none.
fn nvidia() {
    match cuda::offers() {
        Err(isobath_engine::Error::Device { what, .. }) => println!("NVIDIA GPUs: none, {what}"),
        Err(error) => println!("NVIDIA GPUs: none, {error}"),
        Ok(offers) => {
            println!("NVIDIA GPUs:");
            offers.iter().for_each(|gpu| println!("  {}: {}, {} MiB", gpu.ordinal, gpu.label(), gpu.memory >> 20));
        }
    }
}

/// An adapter, its limits that matter and what it has.
fn describe(index: usize, offer: &Offer) {
    let kind = if offer.software { ", computes on the processor" } else { "" };
    println!("  {index}: {} ({}, {}{kind})", offer.name, offer.backend, offer.driver);
    let a = offer.abilities();
    let mebibytes = |bytes: u64| bytes >> 20;
    println!(
        "     buffers of {} MiB, bindings of {} MiB, {} a shader; workgroups of {} that share {} KiB",
        mebibytes(a.buffer_bytes),
        mebibytes(a.binding_bytes),
        a.bindings,
        a.workgroup_size,
        a.workgroup_bytes >> 10
    );
    let subgroups = match a.subgroups {
        Some([least, most]) if least == most => format!("subgroups of {least}"),
        Some([least, most]) => format!("subgroups of {least} to {most}"),
        None => "no subgroups".into(),
    };
    let has = |has, what: &str| format!("{}{what}", if has { "" } else { "no " });
    println!("     {subgroups}, {}, {}", has(a.timestamps, "timestamps"), has(a.pipeline_cache, "pipeline cache"));
}

/// Which kernels would run with subgroup operations on this adapter, and which without.
fn variants(gpu: &Wgpu) -> Result<()> {
    let mut names = [const { Vec::new() }; 2];
    for kernel in ALL {
        let shader = Shader::new(kernel).map_err(Error::Fault)?;
        let offered = shader.entries.iter().any(|entry| entry.name.ends_with(wgsl::SUBGROUPS));
        let variant = usize::from(!(offered && gpu.adapter().abilities().subgroups.is_some()));
        names[variant].push(kernel.name);
    }
    for (names, what) in names.iter().zip(["with subgroups", "plain"]) {
        if !names.is_empty() {
            println!("  {what}: {}", names.join(", "));
        }
    }
    Ok(())
}

/// GFLOP/s of a matrix product in f32, and its largest error relative to the same in f64 on the processor.
fn product(device: &Device) -> Result<(f64, f64)> {
    let multiply = |device: &Device, dtype| -> Result<(Tensor, f64)> {
        let draw = |stream| random::normal(device, [SIZE, SIZE], dtype, PhiloxKey { seed: 1, stream }, 0);
        let (a, b) = (draw(0)?, draw(1)?);
        ops::linear(&a, &b, None)?;
        device.finish()?;
        let start = Instant::now();
        let product = ops::linear(&a, &b, None)?;
        device.finish()?;
        Ok((product, start.elapsed().as_secs_f64()))
    };
    let (single, seconds) = multiply(device, DType::F32)?;
    let (double, _) = multiply(&Device::cpu(), DType::F64)?;
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
