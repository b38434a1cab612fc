//! Runs every row of the case table through every check.

use isobath_engine::{DType, Device};
use isobath_tests::checks::{self, Outcome};
use isobath_tests::{Case, Values, cases, launches};
use libtest_mimic::{Arguments, Failed, Trial};

fn trial(kind: &str, name: &str, check: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::test(format!("{kind}::{name}"), move || check().map_err(Failed::from))
}

fn main() {
    let mut trials = Vec::new();
    type Check = fn(&Case) -> Outcome;
    let all: [(&str, Check); 3] =
        [("gradient", checks::gradient), ("precision", checks::precision), ("repeat", checks::repeat)];
    for (kind, check) in all {
        for case in cases::all() {
            trials.push(trial(kind, case.name, move || check(&case)));
        }
    }
    trials.push(trial("table", "every_kernel_has_a_row", every_kernel_has_a_row));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A kernel of the registry that neither a row nor `launches` runs would be a kernel that nothing checks.
fn every_kernel_has_a_row() -> Outcome {
    let device = Device::cpu();
    for case in cases::all() {
        let shape: Vec<usize> = case.axes.iter().map(|(_, limit)| (*limit).min(3)).collect();
        checks::launch(&(case.problem)(&shape, &mut Values::new(1)), &device, DType::F32)?;
    }
    for launch in launches::all() {
        (launch.run)(&device, DType::F32).map_err(|e| e.to_string())?;
    }
    let launched: Vec<&str> = device.profile().iter().map(|l| l.kernel).collect();
    let missing: Vec<&str> = isobath_kernels::ALL.iter().map(|k| k.name).filter(|k| !launched.contains(k)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no row launches {}", missing.join(", "))) }
}
