//! The GPU device: every shader is read and validated, every row of the case table and every other launch runs on an
//! adapter, small trainings step on it, and it holds against the numbers of the published implementation.
//!
//! `ISOBATH_ADAPTER` names the adapter; without it the first one serves, software or not. Without any adapter the trials
//! that need one are listed as ignored, unless `ISOBATH_REQUIRE` lists `wgpu`: then they fail.

mod clocks;
mod device;
mod lost;
mod models;

use isobath_engine::Device;
use isobath_engine::device::wgpu::adapters;
use isobath_engine::device::wgpu::shader::Shader;
use isobath_kernels::Entry;
use isobath_tests::checks::Outcome;
use isobath_tests::{cases, launches, parity};
use isobath_train::verify::{self, Row};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

fn main() {
    let mut trials: Vec<Trial> = isobath_kernels::ALL
        .iter()
        .map(|kernel| Trial::test(format!("shader::{}", kernel.name), || valid(kernel).map_err(Failed::from)))
        .collect();
    trials.push(Trial::test("shader::every_file_has_a_kernel", || every_file_has_a_kernel().map_err(Failed::from)));
    let absent = adapters().is_empty();
    for case in cases::all() {
        let name = format!("row::{}", case.name);
        trials.push(on_adapter(name, absent, None, move |device| parity::row(&case, device)));
    }
    for launch in launches::all() {
        let name = format!("launch::{}", launch.kernel);
        trials.push(on_adapter(name, absent, None, move |d| parity::launch(&launch, d)));
    }
    let mut add = |name: &str, obstacle: &Option<String>, check: fn(&Device) -> Outcome| {
        trials.push(on_adapter(name.into(), absent, obstacle.clone(), check));
    };
    add("training::exclusive_or", &None, |_| models::exclusive_or());
    add("training::stddm", &None, |_| models::train_stddm());
    add("training::stddm_in_large_batches", &None, |_| models::train_in_large_batches());
    add("training::forecaster", &None, |_| models::train_forecaster());
    add("impute::stddm", &None, |_| models::impute());
    add("impute::in_tiles", &None, |_| models::impute_in_tiles());
    add("device::copies", &None, device::copies);
    add("device::errors", &None, device::errors);
    add("device::budget", &None, |_| device::budget());
    add("device::clocks", &None, |_| clocks::clocks());
    add(clocks::START, &None, |_| clocks::start());
    add("device::kept_pipelines", &None, |_| clocks::kept_pipelines());
    add("lost::between_steps", &None, |_| lost::between_steps());
    add("lost::in_a_training", &None, |_| lost::in_a_training());
    let no_data = fixture("").err();
    add("verify::stddm", &no_data, |device| parity("stddm", verify::stddm, device));
    add("verify::forecaster", &no_data, |device| parity("forecaster", verify::forecaster, device));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A trial on the adapter, ignored where there is none or there is another obstacle.
fn on_adapter(
    name: String,
    absent: bool,
    obstacle: Option<String>,
    check: impl FnOnce(&Device) -> Outcome + Send + 'static,
) -> Trial {
    let required = std::env::var("ISOBATH_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name.trim() == "wgpu"));
    let no_adapter = || (absent && !required).then(|| "needs an adapter for Vulkan, Metal or DirectX 12".into());
    let reason = obstacle.or_else(no_adapter);
    let trial = Trial::test(name, move || with_device(check).map_err(Failed::from)).with_ignored_flag(reason.is_some());
    match reason {
        Some(reason) => trial.with_kind(reason),
        None => trial,
    }
}

/// Runs a check on the one device of this process, alone: a software adapter takes all cores anyway, and pipelines are
/// made once.
fn with_device(check: impl FnOnce(&Device) -> Outcome) -> Outcome {
    static DEVICE: OnceLock<Mutex<Result<Device, String>>> = OnceLock::new();
    let open = || Mutex::new(Device::wgpu_with(&adapter(), None, true).map_err(|e| e.to_string()));
    match &*DEVICE.get_or_init(open).lock().unwrap_or_else(PoisonError::into_inner) {
        Ok(device) => check(device),
        Err(what) => Err(what.clone()),
    }
}

fn adapter() -> String {
    std::env::var("ISOBATH_ADAPTER").unwrap_or("0".into())
}

fn valid(kernel: &Entry) -> Outcome {
    Shader::new(kernel).map(|_| ())
}

/// A shader that no kernel bears the name of would be a shader that nothing checks.
fn every_file_has_a_kernel() -> Outcome {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
    let files = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for file in files.filter_map(Result::ok) {
        let name = file.file_name().to_string_lossy().into_owned();
        if isobath_kernels::ALL.iter().flat_map(|kernel| kernel.wgsl).all(|(file, _)| *file != name) {
            return Err(format!("shaders/{name}: no kernel uses it"));
        }
    }
    Ok(())
}

/// A device whose tensors have no sentinels: those are read back, which submits.
fn unchecked() -> isobath_engine::Result<Device> {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    match DEVICE.get() {
        Some(device) => Ok(device.clone()),
        None => Device::wgpu(&adapter()).map(|device| DEVICE.get_or_init(|| device).clone()),
    }
}

/// A fixture of the published implementation, which lies beside the data sets.
fn fixture(model: &str) -> Result<PathBuf, String> {
    let folder = std::env::var_os("ISOBATH_DATA").ok_or("needs ISOBATH_DATA")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Ok(root.join(folder).join(format!("../fixtures/{model}.safetensors")))
}

type Verify = fn(&Path, &Device) -> isobath_train::Result<Vec<Row>>;

/// `isobath verify --device wgpu`.
fn parity(model: &str, verify: Verify, device: &Device) -> Outcome {
    let rows = verify(&fixture(model)?, device).map_err(|e| e.to_string())?;
    let failed: Vec<String> = rows.iter().filter(|row| !row.ok()).map(|row| format!("{row:?}")).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("{} of {}: {}", failed.len(), rows.len(), failed.join(", "))) }
}
