//! Device `cuda`: rows of the case table and all other launches, small trainings that end in one graph launch a step,
//! copies, clocks, and every fault with its words.
//!
//! With an NVIDIA GPU they run on it. Without one, or when `ISOBATH_CUDA` is `stand-in`, this program starts itself again
//! with the stand-in driver in place of NVIDIA's: the host's code is the same, the PTX simulator is the GPU.

mod device;
mod faults;
mod stand_in;
mod training;

use isobath_engine::Device;
use isobath_engine::device::cuda;
use isobath_kernels::Precision;
use isobath_tests::checks::Outcome;
use isobath_tests::{cases, launches, parity};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, flag, scenario] = &words[..]
        && flag == faults::SAY
    {
        faults::say(scenario);
        return ExitCode::SUCCESS;
    }
    if let Some(code) = stand_in::start_again() {
        return code;
    }
    libtest_mimic::run(&Arguments::from_args(), trials()).exit_code()
}

fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let absent = (!stand_in::is_here()).then(cuda::offers).and_then(Result::err).map(|error| error.to_string());
    for case in cases::all() {
        let name = format!("row::{}", case.name);
        trials.push(on_gpu(name, absent.clone(), move |device| parity::row(&case, device)));
    }
    for launch in launches::all() {
        let name = format!("launch::{}", launch.kernel);
        trials.push(on_gpu(name, absent.clone(), move |device| parity::launch(&launch, device)));
    }
    let mut add = |name: &str, check: fn(&Device) -> Outcome| {
        trials.push(on_gpu(name.into(), absent.clone(), check));
    };
    add("training::exclusive_or", |_| training::exclusive_or());
    add("training::stddm", |_| training::stddm());
    add("training::forecaster", |_| training::forecaster());
    add("device::copies", device::copies);
    add("device::errors", device::errors);
    add("device::budget", |_| device::budget());
    add("device::clocks", |_| device::clocks());
    add("device::graphs", |_| device::graphs());
    add("device::changing_graphs", |_| device::changing_graphs());
    add("lost::given_up", |_| device::given_up());
    for (name, check) in faults::all() {
        let obstacle = (!stand_in::is_here()).then(|| "needs the stand-in driver".into());
        trials.push(on_gpu(format!("fault::{name}"), obstacle, check));
    }
    trials
}

/// A trial on the GPU, one at a time.
fn on_gpu(name: String, obstacle: Option<String>, check: impl FnOnce(&Device) -> Outcome + Send + 'static) -> Trial {
    let trial = Trial::test(name, move || with_device(check).map_err(Failed::from));
    match obstacle {
        Some(obstacle) => trial.with_ignored_flag(true).with_kind(obstacle),
        None => trial,
    }
}

/// Runs a check on the one checked device of this process, alone.
fn with_device(check: impl FnOnce(&Device) -> Outcome) -> Outcome {
    static DEVICE: OnceLock<Mutex<Result<Device, String>>> = OnceLock::new();
    let open = || Mutex::new(Device::cuda_with(0, None, Precision::F32, true).map_err(|e| e.to_string()));
    match &*DEVICE.get_or_init(open).lock().unwrap_or_else(PoisonError::into_inner) {
        Ok(device) => check(device),
        Err(what) => Err(what.clone()),
    }
}
