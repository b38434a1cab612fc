//! `isobath profile`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use isobath_engine::Device;
use isobath_engine::device::{Clock, Event, Launches};

use super::synthetic::{Imputer, Shape, count};
use crate::Result;

mod roof;
mod trace;

use roof::Roof;
pub(super) use roof::name;

/// Time every kernel of a training step and of an imputation, beside what the device can do at most
#[derive(Args)]
#[command(after_help = "Examples:\n  isobath profile --nodes 4443 --frames 46\n  \
    isobath profile --device wgpu --trace trace.json    # open it in ui.perfetto.dev")]
pub(super) struct Profile {
    #[command(flatten)]
    shape: Shape,
    /// Steps of training, and reverse steps of the imputation
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count(1 << 12))]
    steps: usize,
    /// Write a trace of all launches for Perfetto or Chrome: a JSON file
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Measure copy bandwidth and multiply-add rate again, rather than use those of the last time
    #[arg(long)]
    measure: bool,
}

/// What ran, and when.
struct Part {
    what: &'static str,
    steps: usize,
    /// Seconds of a step that no clock disturbed.
    seconds: f64,
    launches: Vec<Launches>,
    events: Vec<Event>,
}

impl Profile {
    pub(super) fn run(&self, device: &Device) -> Result<()> {
        if let Some(path) = &self.trace {
            crate::data::atomic::expect_replaceable(path)?;
        }
        let mut imputer = Imputer::new(device, &self.shape)?;
        let clock = device.best_clock();
        let roof = Roof::of(device, clock, self.measure)?;
        println!("{roof}");
        let Shape { batch, frames, nodes, .. } = self.shape;
        println!("STDDM: batch {batch}, {frames} frames, {nodes} nodes, {} channels", imputer.channels());
        if matches!(device, Device::Wgpu(_)) && clock == Clock::Host {
            println!("this adapter offers no timestamps: each time has the way to the GPU and back in it");
        }
        let (steps, reverse) = (self.steps, self.steps.min(imputer.steps()));
        let train = |imputer: &mut Imputer, steps| (0..steps).try_for_each(|i| imputer.train(i));
        let impute = |imputer: &mut Imputer, steps| imputer.impute(steps);
        let parts = [
            measure(device, clock, &mut imputer, "training step", steps, train)?,
            measure(device, clock, &mut imputer, "reverse step of an imputation", reverse, impute)?,
        ];
        parts.iter().for_each(|part| part.print(&roof));
        match &self.trace {
            None => Ok(()),
            Some(path) => {
                trace::write(path, device, &parts)?;
                println!("\nwrote {}", path.display());
                Ok(())
            }
        }
    }
}

/// Runs steps to warm up, after which an NVIDIA GPU has its graph, then without any clock, then with one.
fn measure(
    device: &Device,
    clock: Clock,
    imputer: &mut Imputer,
    what: &'static str,
    steps: usize,
    run: impl Fn(&mut Imputer, usize) -> Result<()>,
) -> Result<Part> {
    run(imputer, steps.min(3))?;
    device.finish()?;
    let start = Instant::now();
    run(imputer, steps)?;
    device.finish()?;
    let seconds = start.elapsed().as_secs_f64() / steps as f64;
    device.set_clock(Some(clock))?;
    device.reset_profile();
    run(imputer, steps)?;
    let (events, launches) = (device.take_events()?, device.profile());
    device.set_clock(None)?;
    Ok(Part { what, steps, seconds, launches, events })
}

impl Part {
    fn print(&self, roof: &Roof) {
        let total: f64 = self.launches.iter().map(|l| l.time.as_secs_f64()).sum();
        let each = 1e3 * total / self.steps as f64;
        println!("\n{}: {:.3} ms, kernels {each:.3} ms; {} of them:", self.what, 1e3 * self.seconds, self.steps);
        println!(
            "{:<28} {:>6} {:>10} {:>10} {:>7} {:>8} {:>9} {:>7}",
            "kernel", "calls", "total ms", "mean us", "share", "GB/s", "GFLOP/s", "roof"
        );
        for l in &self.launches {
            let seconds = l.time.as_secs_f64();
            let (share, rate) = (100.0 * seconds / total, |count: u64| 1e-9 * count as f64 / seconds);
            println!(
                "{:<28} {:>6} {:>10.3} {:>10.1} {share:>5.1} % {:>8.3} {:>9.3} {:>5.0} %",
                l.kernel,
                l.calls,
                1e3 * seconds,
                1e6 * seconds / l.calls as f64,
                rate(l.cost.bytes),
                rate(l.cost.flops),
                100.0 * roof.least_seconds(&l.cost) / seconds,
            );
        }
    }
}
