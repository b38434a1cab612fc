//! How fast the simulator runs the PTX of four kernels: thread-instructions a second.
//!
//! `cargo bench -p isobath-benches --bench simulator` prints, for each way of counting, the best of several runs, with
//! races in shared memory looked for as in the tests. An argument keeps the kernels whose names contain it. On Linux
//! the rate by the time that the threads spent at work stands beside the one by the clock: the first says what a core
//! does, whatever else the machine is busy with.

use isobath_engine::{Device, Result, Tensor, ops};
use isobath_kernels::Target;
use isobath_ptx_simulator::{Counting, Options};
use std::time::Instant;

const RUNS: usize = 7;

/// A launch of one kernel on operands that are there.
type Task = Box<dyn Fn() -> Result<Tensor>>;

fn main() -> Result<()> {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    println!("{:<12} {:>10} {:<14} {:>10} {:>12}", "kernel", "million", "counting", "M/s", "M/s of a core");
    for (name, task) in KERNELS.iter().filter(|(name, _)| name.contains(&filter)) {
        for counting in [Counting::Off, Counting::Instructions, Counting::Traffic] {
            let millions = millions(*task)?;
            let device = Device::simulator(None, Target::LEAST, Options { counting, ..Options::default() });
            let task = task(&device)?;
            task()?;
            let (mut clock, mut work) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..RUNS {
                let (start, spent) = (Instant::now(), at_work());
                task()?;
                clock = clock.min(start.elapsed().as_secs_f64());
                work = work.min(at_work() - spent);
            }
            let counting = format!("{counting:?}");
            println!("{name:<12} {millions:>10.1} {counting:<14} {:>10.0} {:>12.0}", millions / clock, millions / work);
        }
    }
    Ok(())
}

/// Puts the operands on a device.
type Make = fn(&Device) -> Result<Task>;

const KERNELS: [(&str, Make); 4] = [
    ("gemm", |device| {
        let [a, b] = [numbers(device, &[512, 256])?, numbers(device, &[384, 256])?];
        Ok(Box::new(move || ops::matmul(&a, &b, true)))
    }),
    ("layer_norm", |device| {
        let x = numbers(device, &[16_384, 128])?;
        let [gamma, beta] = [numbers(device, &[128])?, numbers(device, &[128])?];
        Ok(Box::new(move || ops::layer_norm(&x, &gamma, &beta, 1e-5)))
    }),
    ("gate", |device| {
        let x = numbers(device, &[16_384, 256])?;
        Ok(Box::new(move || ops::gate(&x)))
    }),
    ("node_linear", |device| {
        let x = numbers(device, &[128, 200, 32])?;
        let [e, pool] = [numbers(device, &[200, 8])?, numbers(device, &[8, 32, 32])?];
        Ok(Box::new(move || ops::node_linear(&x, &e, &pool)))
    }),
];

fn numbers(device: &Device, shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.7).sin()).collect();
    Tensor::from_slice(device, shape, &values)
}

/// Thread-instructions of a task in millions.
fn millions(task: Make) -> Result<f64> {
    let counting = Options { counting: Counting::Instructions, ..Options::default() };
    let device = Device::simulator(None, Target::LEAST, counting);
    task(&device)?()?;
    let Device::Simulator(simulator) = &device else { return Ok(0.0) };
    Ok(simulator.take_reports().iter().map(|report| report.total().threads).sum::<u64>() as f64 / 1e6)
}

/// Seconds that the threads of this process have computed, as Linux has them; NaN elsewhere.
fn at_work() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    spent.reduce(|a, b| a + b).map_or(f64::NAN, |nanoseconds| 1e-9 * nanoseconds)
}
