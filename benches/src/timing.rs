//! Times of repeated runs, the kernels behind them and the memory they took.

use isobath_engine::{Device, Result};
use std::time::Instant;

const WARM_UP: usize = 2;
const RUNS: usize = 15;

/// Runs a task a few times, with the number of the run, prints median and least time and returns the least one in ms.
///
/// # Errors
/// The task's.
pub fn time(name: &str, mut task: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(RUNS);
    for run in 0..WARM_UP + RUNS {
        let start = Instant::now();
        task(run)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let timed = &mut times[WARM_UP..];
    timed.sort_by(f64::total_cmp);
    println!("{name:<14} median {:7.1} ms   least {:7.1} ms", timed[RUNS / 2], timed[0]);
    Ok(timed[0])
}

/// Prints the most memory that tensors and the process have taken so far.
pub fn memory(device: &Device) {
    let tensors = device.usage().high_water as f64 / 1e6;
    println!("tensors at most {tensors:.0} MB   peak resident {:.0} MB", peak_resident());
}

/// Prints the dearest kernels: calls, mean time, and the rates that their stated costs come to.
pub fn profile(device: &Device) {
    for launches in device.profile().iter().take(12) {
        let seconds = launches.time.as_secs_f64();
        println!(
            "{:<28} {:>5} calls   mean {:8.3} ms   {:6.1} GFLOP/s   {:6.1} GB/s",
            launches.kernel,
            launches.calls,
            seconds * 1e3 / launches.calls as f64,
            launches.cost.flops as f64 / seconds / 1e9,
            launches.cost.bytes as f64 / seconds / 1e9,
        );
    }
}

/// Largest resident memory of this process so far in MB, as Linux has it; NaN elsewhere.
fn peak_resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1e3)
}
