//! The PTX of every kernel, run by the simulator: every row of the case table and every other launch, with all accesses
//! checked.

mod bytes;
mod temporal_block;
mod tensor_cores;

use isobath_engine::device::ptx;
use isobath_engine::{Device, Error, Tape, Tensor, ops};
use isobath_kernels::{Entry, Target, resources};
use isobath_ptx_simulator::Options;
use isobath_tests::checks::Outcome;
use isobath_tests::trainings::{self, Training};
use isobath_tests::{cases, launches, parity};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut trials: Vec<Trial> = Vec::new();
    for kernel in isobath_kernels::ALL {
        trials.push(trial(format!("ptx::{}", kernel.name), || well_formed(kernel)));
    }
    trials.extend(bytes::trials());
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
