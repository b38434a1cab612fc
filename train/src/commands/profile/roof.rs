//! What a device does at most: bytes that it copies and multiply-adds that it computes in a second.

use std::fmt;

use isobath_engine::device::Bind::{In, Out};
use isobath_engine::device::Clock;
use isobath_engine::{DType, Device, Tensor, cache};
use isobath_kernels::{Cost, accumulate, multiply_add};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Elements that are copied, 64 MiB of them: more than caches hold.
const COPIED: u32 = 1 << 24;
/// Elements that are multiplied and added to.
const COMPUTED: u32 = 1 << 22;
/// Seconds of multiply-adds that are enough to measure.
const ENOUGH: f64 = 0.02;
/// Runs of which the shortest counts.
const RUNS: usize = 5;

/// Measured once for each device and kept in the user's cache folder.
#[derive(Serialize, Deserialize)]
pub(super) struct Roof {
    device: String,
    /// Bytes read and written in a second by a copy.
    bandwidth: f64,
    /// Operations in a second, two for each multiply-add.
    flops: f64,
    #[serde(skip)]
    earlier: bool,
}

impl Roof {
    /// That of a device, measured `afresh` or when it is not known yet.
    pub(super) fn of(device: &Device, clock: Clock, afresh: bool) -> Result<Roof> {
        let name = name(device);
        let file: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let file = format!("roof_{file}.json");
        let known = || serde_json::from_slice::<Roof>(&cache::read(&file)?).ok();
        if let Some(roof) = known().filter(|roof| !afresh && roof.device == name) {
            return Ok(Roof { earlier: true, ..roof });
        }
        device.set_clock(Some(clock))?;
        let roof = Roof { device: name, bandwidth: bandwidth(device)?, flops: flops(device)?, earlier: false };
        device.set_clock(None)?;
        // What cannot be written is measured again next time.
        if let Ok(text) = serde_json::to_vec(&roof) {
            cache::write(&file, &text);
        }
        Ok(roof)
    }

    /// The shortest time in which the device could do that: the roofline of Williams et al. (2009).
    pub(super) fn least_seconds(&self, cost: &Cost) -> f64 {
        (cost.bytes as f64 / self.bandwidth).max(cost.flops as f64 / self.flops)
    }
}

impl fmt::Display for Roof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.earlier { "measured before, again with --measure" } else { "measured now" };
        let (bandwidth, flops) = (1e-9 * self.bandwidth, 1e-9 * self.flops);
        write!(f, "{}\nroof: {bandwidth:.1} GB/s to copy, {flops:.1} GFLOP/s to multiply and add; {when}", self.device)
    }
}

/// The device in words: what a measurement holds for.
pub(in crate::commands) fn name(device: &Device) -> String {
    match device {
        Device::Wgpu(gpu) => format!("{}, {} {}", gpu.adapter().name, gpu.adapter().backend, gpu.adapter().driver),
        Device::Cuda(gpu) => gpu.offer().label(),
        Device::Cpu(_) | Device::Simulator(_) => {
            let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
            let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
            format!("{model}, {} threads", rayon::current_num_threads())
        }
    }
}

/// Seconds of the shortest of several runs of one launch.
fn shortest(device: &Device, launch: impl Fn() -> isobath_engine::Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        device.reset_profile();
        launch()?;
        device.finish()?;
        least = device.profile().iter().map(|l| l.time.as_secs_f64()).sum::<f64>().min(least);
    }
    Ok(least)
}

fn bandwidth(device: &Device) -> Result<f64> {
    let (x, y) = (tensor(device, COPIED)?, tensor(device, COPIED)?);
    let parameters = accumulate::Params { len: COPIED, add: 0 };
    let seconds = shortest(device, || device.run(&accumulate::ACCUMULATE, &parameters, &[In(&x), Out(&y)]))?;
    Ok((accumulate::ACCUMULATE.cost)(&parameters, &|_| true).bytes as f64 / seconds)
}

/// As many rounds as take long enough for start and end not to count.
fn flops(device: &Device) -> Result<f64> {
    let (x, y) = (tensor(device, COMPUTED)?, tensor(device, COMPUTED)?);
    let mut parameters = multiply_add::Params { len: COMPUTED, rounds: 2, a: 0.5, b: 1.0 };
    loop {
        let launch = || device.run(&multiply_add::MULTIPLY_ADD, &parameters, &[In(&x), Out(&y)]);
        let seconds = shortest(device, launch)?;
        if seconds >= ENOUGH || parameters.rounds >= 1 << 16 {
            return Ok((multiply_add::MULTIPLY_ADD.cost)(&parameters, &|_| true).flops as f64 / seconds);
        }
        parameters.rounds *= 4;
    }
}

fn tensor(device: &Device, len: u32) -> Result<Tensor> {
    Ok(Tensor::zeros(device, [len as usize], DType::F32)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_bytes_and_operations_counts() {
        let roof = Roof { device: String::new(), bandwidth: 10.0, flops: 100.0, earlier: false };
        assert_eq!(roof.least_seconds(&Cost { flops: 50, bytes: 40 }), 4.0);
        assert_eq!(roof.least_seconds(&Cost { flops: 500, bytes: 40 }), 5.0);
    }
}
