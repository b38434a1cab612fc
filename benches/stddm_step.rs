//! STDDM's forward and training step at Pearl-River size: 60 x 96 grid, 4443 sea cells, 46 frames, width 32, batch 1.
//!
//! `cargo bench -p isobath-benches --bench stddm_step` prints medians and least times, the profile of the kernels and the
//! peak resident memory. Run
//! `benches/peers/stddm_torch.py` beside it for the same of PyTorch.

use isobath_engine::adam::Adam;
use isobath_engine::random::PhiloxKey;
use isobath_engine::{DType, Device, Result, Tape};
use isobath_models::stimp::options::Options;
use isobath_models::stimp::region::{Region, RegionData};
use isobath_models::stimp::stddm::{Batch, Stddm};
use std::time::Instant;

const HEIGHT: usize = 60;
const WIDTH: usize = 96;
const NODES: usize = 4443;
const FRAMES: usize = 46;
const RUNS: usize = 15;

fn main() -> Result<()> {
    let device = Device::cpu();
    let mut model = pearl_river(&device)?;
    let cells = FRAMES * NODES;
    let values: Vec<f32> = (0..cells).map(|i| (i as f32 * 0.013).sin()).collect();
    let observed: Vec<bool> = (0..cells).map(|i| i * 2_654_435_761 % 10 > 3).collect();
    let visible: Vec<bool> = (0..cells).map(|i| observed[i] && i * 40_503 % 7 > 2).collect();
    let adam = Adam { weight_decay: 1e-4, max_norm: Some(1.0), ..Adam::default() };
    let (mut forward, mut step) = (Vec::new(), Vec::new());
    for run in 0..RUNS + 2 {
        let noise = PhiloxKey { seed: 1, stream: run as u64 };
        let steps = [run % 50];
        let batch =
            Batch { frames: FRAMES, values: &values, observed: &observed, visible: &visible, steps: &steps, noise };
        let start = Instant::now();
        let tape = Tape::start()?;
        let loss = model.loss(&batch)?;
        let gradients = tape.backward(&loss)?;
        adam.step(&mut model.parameters, &gradients)?;
        step.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let peak = peak_resident();
    let used = device.usage();
    for run in 0..RUNS + 2 {
        let condition = model.condition(FRAMES, &values, &visible)?;
        let planes = model.planes(&condition, &condition.mean)?;
        let start = Instant::now();
        model.predict(&planes, &[run % 50])?;
        forward.push(start.elapsed().as_secs_f64() * 1e3);
    }
    for (name, times) in [("forward", &mut forward), ("training step", &mut step)] {
        let timed = &mut times[2..]; // the first two warm up
        timed.sort_by(f64::total_cmp);
        println!("{name:<14} median {:7.1} ms   least {:7.1} ms", timed[timed.len() / 2], timed[0]);
    }
    println!("tensors at most {:.0} MB   peak resident {:.0} MB", used.high_water as f64 / 1e6, peak);
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
    Ok(())
}

/// The published sizes on a plausible coast with exactly 4443 sea cells.
fn pearl_river(device: &Device) -> Result<Stddm> {
    let mut cells: Vec<usize> = (0..HEIGHT * WIDTH).collect();
    // Land where a smooth field is highest.
    let relief = |i: &usize| ((i / WIDTH) as f64 * 0.11).sin() + ((i % WIDTH) as f64 * 0.07).cos();
    cells.sort_by(|a, b| relief(a).total_cmp(&relief(b)));
    cells.truncate(NODES);
    cells.sort_unstable();
    let place = |row: usize, column: usize| cells.binary_search(&(row * WIDTH + column)).ok().map(|i| i as u32);
    let (mut offsets, mut neighbours) = (vec![0], Vec::new());
    for cell in &cells {
        let (row, column) = (cell / WIDTH, cell % WIDTH);
        for r in row.saturating_sub(1)..(row + 2).min(HEIGHT) {
            for c in column.saturating_sub(1)..(column + 2).min(WIDTH) {
                neighbours.extend(place(r, c));
            }
        }
        offsets.push(neighbours.len() as u32);
    }
    let plane = |scale: f32| -> Vec<f32> { (0..NODES).map(|i| scale * (i as f32 * 0.01).sin()).collect() };
    let data = RegionData {
        offsets: &offsets,
        neighbours: &neighbours,
        mean: &plane(0.3),
        std: &plane(0.2),
        low: &[-2.0; NODES],
        high: &[2.0; NODES],
        row: &plane(1.0),
        column: &plane(1.0),
    };
    let options = Options::published();
    let region = Region::new(device, &data, &options, DType::F32)?;
    Stddm::new(device, options, region, DType::F32, 1)
}

/// Largest resident memory of this process so far in MB, as Linux has it; NaN elsewhere.
fn peak_resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1e3)
}
