//! The PTX of every kernel, run by the simulator: every row of the case table and every other launch, with all accesses
//! checked.

mod temporal_block;
mod tensor_cores;

use isobath_engine::device::{Launches, ptx};
use isobath_engine::{DType, Device, Error, Tape, Tensor, ops};
use isobath_kernels::{Entry, Target, resources};
use isobath_ptx_simulator::{Options, Report};
use isobath_tests::checks::{self, Outcome};
use isobath_tests::trainings::{self, Training};
use isobath_tests::{Case, Values, cases, launches, parity};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut trials: Vec<Trial> = Vec::new();
    for kernel in isobath_kernels::ALL {
        trials.push(trial(format!("ptx::{}", kernel.name), || well_formed(kernel)));
    }
    for case in cases::all() {
        let (name, tight) = (format!("bytes::{}", case.name), case.name == "group_norm_whole");
        trials.push(trial(name, move || bytes(&case, case.large, tight)));
    }
    for case in cases::all().into_iter().filter(|case| case.name == "spatial_block_loss") {
        // The model's batch, frames and width.
        trials.push(trial(format!("bytes::{}_of_the_model", case.name), move || {
            bytes(&case, &[16, 46, 96, 16, 8], true)
        }));
    }
    for case in cases::all() {
        trials.push(trial(format!("row::{}", case.name), move || parity::row(&case, &simulator(Options::default()))));
    }
    for launch in launches::all() {
        let name = format!("launch::{}", launch.kernel);
        trials.push(trial(name, move || parity::launch(&launch, &simulator(Options::default()))));
    }
    trials.push(trial("training::stddm".into(), || three_steps(trainings::stddm_training)));
    trials.push(trial("training::forecaster".into(), || three_steps(trainings::forecaster_training)));
    trials.push(trial("far_and_missing_numbers".into(), far_and_missing_numbers));
    trials.extend(tensor_cores::trials());
    trials.extend(temporal_block::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(name: String, check: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::test(name, || check().map_err(Failed::from))
}

fn simulator(options: Options) -> Device {
    Device::simulator(None, Target::LEAST, options)
}

/// The contract of [`isobath_kernels::ptx`], and a row of the table of resources for each entry point.
fn well_formed(kernel: &Entry) -> Outcome {
    for entry in ptx::read(kernel)?.iter().flat_map(|file| file.module.kernels()) {
        let (name, found) = (entry.name(), entry.shared_bytes());
        let row = resources(name).ok_or_else(|| format!("resources.tsv has no row `{name}`"))?;
        if row.shared_bytes != found {
            return Err(format!(
                "{name}: resources.tsv says {} bytes of shared memory, found {found}",
                row.shared_bytes
            ));
        }
    }
    Ok(())
}

/// Operations a byte from which on a GPU's arithmetic is what bounds a kernel: 17 on a GTX 1050, 16 on an H200.
const RIDGE: f64 = 16.0;

/// Times the bytes of its cost that a kernel may move, in general.
const MOST: f64 = 1.1;

/// Times the bytes of its cost that a kernel may move; `tight` where a problem is one that it was written for.
fn allowance(kernel: &str, tight: bool) -> f64 {
    match (kernel, tight) {
        // Its cost leaves out the tensor that it adds to, where there is one.
        ("spmm", _) => 1.51,
        (_, true) => MOST,
        // Numbers one by one into every second place of the result fill half of each sector.
        ("columns", _) => 1.51,
        // Here both gradients are asked for; models ask for one, which is what the cost counts.
        ("masked_mse_backward", _) => 1.26,
        // A group that no block's registers hold is read again.
        ("group_norm", _) => 1.51,
        ("group_norm_backward", _) => 1.72,
        // dy is read for dx and for dW, and each block keeps a dpool of its own.
        ("node_linear_backward", _) => 2.4,
        // Few windows: weights of nodes and their gradients weigh as much as the numbers.
        ("graph_mix", _) => 2.1,
        ("graph_mix_backward", _) => 2.7,
        ("gated_head_backward", _) => 1.9,
        _ => MOST,
    }
}

/// With caches as large as they like to be, the launches of a large problem move hardly more than their kernels' costs,
/// where it is memory that bounds them.
fn bytes(case: &Case, shape: &[usize], tight: bool) -> Outcome {
    let device = simulator(Options::counting());
    let problem = (case.problem)(shape, &mut Values::new(1));
    checks::pull_back(&problem, &device, DType::F32, &mut Values::new(2))?;
    let Device::Simulator(simulator) = &device else { return Err("expected the simulator".into()) };
    let reports = simulator.take_reports();
    let mut wrong = Vec::new();
    for Launches { kernel, cost, .. } in device.profile() {
        let file = |report: &Report| report.file.rsplit('/').next()?.split('.').next().map(|name| name == kernel);
        let sectors = |r: &Report| r.distinct_sectors_read + r.distinct_sectors_written;
        let moved = 32 * reports.iter().filter(|r| file(r) == Some(true)).map(sectors).sum::<u64>();
        let [ratio, intensity] = [moved, cost.flops].map(|of| of as f64 / cost.bytes as f64);
        if moved == 0 || intensity < RIDGE && ratio > allowance(kernel, tight) {
            wrong.push(format!(
                "{kernel} moves {moved} bytes, {ratio:.3} times its cost, at {intensity:.1} flops a byte"
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// The processor's losses of three steps of a training.
fn three_steps<M>(training: fn(&Device) -> Result<Training<M>, Error>) -> Outcome {
    let course = |device: Device| training(&device)?.run(3, &mut |_, _| ());
    let both = || Ok((course(simulator(Options::default()))?, course(Device::cpu())?));
    let (found, expected) = both().map_err(|e: Error| e.to_string())?;
    found.agrees_with(&expected)
}

/// Activations of what a training that fails produces: NaN must come through, and far numbers must not become NaN.
fn far_and_missing_numbers() -> Outcome {
    type Function = fn(&Tensor) -> Result<Tensor, Error>;
    let functions: [(&str, Function); 6] = [
        ("sigmoid", ops::sigmoid),
        ("silu", ops::silu),
        ("tanh", ops::tanh),
        ("gelu", ops::gelu),
        ("relu", ops::relu),
        ("gate", |x| ops::gate(&ops::stack(&[x, x], 1)?)),
    ];
    let numbers = [f32::NAN, -1e4, -90.0, 0.0, 90.0, 1e4, f32::NAN];
    for (name, function) in functions {
        let of = |device: &Device| -> Result<[Vec<f32>; 2], Error> {
            let tape = Tape::start()?;
            let x = tape.watch(&Tensor::from_slice(device, [7], &numbers)?)?;
            let y = function(&x)?;
            let grads = tape.backward(&ops::sum(&y)?)?;
            Ok([y.to_vec()?, grads.get(&x)?.to_vec()?])
        };
        let found = of(&simulator(Options::default())).map_err(|e| e.to_string())?;
        let expected = of(&Device::cpu()).map_err(|e| e.to_string())?;
        let same =
            |(x, y): (&f32, &f32)| x.is_nan() == y.is_nan() && (x.is_nan() || (x - y).abs() <= 1e-6 * y.abs().max(1.0));
        if !found.iter().flatten().zip(expected.iter().flatten()).all(same) {
            return Err(format!("{name} and its derivative: expected {expected:?}, found {found:?}"));
        }
    }
    Ok(())
}
