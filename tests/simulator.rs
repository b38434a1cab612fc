//! The PTX of every kernel, run by the simulator: every row of the case table and every other launch, with all accesses
//! checked.

mod tensor_cores;

use isobath_engine::device::ptx;
use isobath_engine::{DType, Device};
use isobath_kernels::Target;
use isobath_ptx_simulator::Options;
use isobath_tests::checks::{self, Outcome};
use isobath_tests::{Case, Values, cases, launches, parity};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut trials: Vec<Trial> = isobath_kernels::ALL
        .iter()
        .filter(|kernel| kernel.ptx.is_some())
        .map(|kernel| {
            Trial::test(format!("ptx::{}", kernel.name), || ptx::read(kernel).map(drop).map_err(Failed::from))
        })
        .collect();
    for case in cases::all() {
        let name = format!("row::{}", case.name);
        trials.push(simulated(name, missing(&kernels_of(&case)), move |device| parity::row(&case, device)));
    }
    for launch in launches::all() {
        let name = format!("launch::{}", launch.kernel);
        trials.push(simulated(name, missing(&[launch.kernel]), move |device| parity::launch(&launch, device)));
    }
    trials.extend(tensor_cores::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn simulated(
    name: String,
    missing: Option<&'static str>,
    check: impl FnOnce(&Device) -> Outcome + Send + 'static,
) -> Trial {
    let run = || check(&Device::simulator(None, Target::LEAST, Options::default())).map_err(Failed::from);
    match missing {
        Some(kernel) => Trial::test(name, run).with_ignored_flag(true).with_kind(format!("{kernel} has no PTX yet")),
        None => Trial::test(name, run),
    }
}

/// The kernels that a row launches.
fn kernels_of(case: &Case) -> Vec<&'static str> {
    let device = Device::cpu();
    let shape: Vec<usize> = case.axes.iter().map(|(_, limit)| (*limit).min(3)).collect();
    // A row that fails is reported by the checks on the processor.
    let _ = checks::launch(&(case.problem)(&shape, &mut Values::new(1)), &device, DType::F32);
    device.profile().iter().map(|launches| launches.kernel).collect()
}

fn missing(kernels: &[&'static str]) -> Option<&'static str> {
    let without = |name: &&&str| isobath_kernels::ALL.iter().any(|k| k.name == **name && k.ptx.is_none());
    kernels.iter().find(without).copied()
}
