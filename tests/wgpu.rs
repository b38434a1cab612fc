//! The GPU device: every shader is read and validated, every row of the case table and every other launch runs on an
//! adapter, and a small training steps on it.
//!
//! `ISOBATH_ADAPTER` names the adapter; without it the first one serves, software or not. Without any adapter the trials
//! that need one are listed as ignored, unless `ISOBATH_REQUIRE` lists `wgpu`: then they fail.

use isobath_engine::adam::Adam;
use isobath_engine::device::wgpu::shader::Shader;
use isobath_engine::device::wgpu::{Counters, adapters};
use isobath_engine::device::{Clock, Event};
use isobath_engine::init::Init;
use isobath_engine::parameters::Parameters;
use isobath_engine::{DType, Device, Tape, Tensor, ops};
use isobath_kernels::Entry;
use isobath_tests::checks::{self, Outcome};
use isobath_tests::{Case, Values, cases, launches, parity};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

fn main() {
    let mut trials: Vec<Trial> = isobath_kernels::ALL
        .iter()
        .filter(|kernel| kernel.wgsl.is_some())
        .map(|kernel| Trial::test(format!("shader::{}", kernel.name), || valid(kernel).map_err(Failed::from)))
        .collect();
    trials.push(Trial::test("shader::every_file_has_a_kernel", || every_file_has_a_kernel().map_err(Failed::from)));
    let absent = adapters().is_empty();
    for case in cases::all() {
        let name = format!("row::{}", case.name);
        trials.push(on_adapter(name, absent, missing(&kernels_of(&case)), move |device| parity::row(&case, device)));
    }
    for launch in launches::all() {
        let name = format!("launch::{}", launch.kernel);
        trials.push(on_adapter(name, absent, missing(&[launch.kernel]), move |d| parity::launch(&launch, d)));
    }
    trials.push(on_adapter("training::exclusive_or".into(), absent, None, |_| exclusive_or()));
    trials.push(on_adapter("device::copies".into(), absent, None, copies));
    trials.push(on_adapter("device::errors".into(), absent, None, errors));
    trials.push(on_adapter("device::budget".into(), absent, None, |_| budget()));
    trials.push(on_adapter("device::clocks".into(), absent, None, |_| clocks()));
    trials.push(on_adapter(START.into(), absent, None, |_| start()));
    trials.push(on_adapter("device::kept_pipelines".into(), absent, None, |_| kept_pipelines()));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A trial on the adapter, ignored for a reason where there is none or a shader is missing.
fn on_adapter(
    name: String,
    absent: bool,
    missing: Option<&'static str>,
    check: impl FnOnce(&Device) -> Outcome + Send + 'static,
) -> Trial {
    let required = std::env::var("ISOBATH_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name.trim() == "wgpu"));
    let reason = match missing {
        Some(kernel) => Some(format!("{kernel} has no shader yet")),
        None => (absent && !required).then(|| "needs an adapter for Vulkan, Metal or DirectX 12".into()),
    };
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
    let files = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for file in files.filter_map(Result::ok) {
        let name = file.file_name().to_string_lossy().into_owned();
        let kernel = isobath_kernels::ALL.iter().find(|kernel| format!("{}.wgsl", kernel.name) == name);
        if kernel.is_none_or(|kernel| kernel.wgsl.is_none()) {
            return Err(format!("shaders/{name}: no kernel uses it"));
        }
    }
    Ok(())
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
    let without = |name: &&&str| isobath_kernels::ALL.iter().any(|k| k.name == **name && k.wgsl.is_none());
    kernels.iter().find(without).copied()
}

fn counters(device: &Device) -> Counters {
    match device {
        Device::Wgpu(gpu) => gpu.counters(),
        Device::Cpu(_) => Counters::default(),
    }
}

/// The README's example, which makes no buffer, bind group or pipeline after its third step.
fn exclusive_or() -> Outcome {
    let train = || -> isobath_engine::Result<(f64, Counters, Counters)> {
        // Unchecked: sentinels are read back, which submits.
        let device = &Device::wgpu(&adapter())?;
        let x = Tensor::from_slice(device, [4, 2], &[0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
        let target = Tensor::from_slice(device, [4, 1], &[0.0f32, 1.0, 1.0, 0.0])?;
        let mut parameters = Parameters::builder()
            .add("up.weight", [16, 2], Init::linear(2))
            .add("up.bias", [16], Init::linear(2))
            .add("down.weight", [1, 16], Init::linear(16))
            .build(device, DType::F32, 7)?;
        let adam = Adam { lr: 0.05, ..Adam::default() };
        let (mut last, mut third) = (f64::INFINITY, counters(device));
        for step in 0..300 {
            let tape = Tape::start()?;
            let hidden = ops::linear(&x, &parameters.get("up.weight")?, Some(&parameters.get("up.bias")?))?;
            let y = ops::linear(&ops::tanh(&hidden)?, &parameters.get("down.weight")?, None)?;
            let loss = ops::sum(&ops::square(&ops::sub(&y, &target)?)?)?;
            let gradients = tape.backward(&loss)?;
            adam.step(&mut parameters, &gradients)?;
            last = loss.item()?;
            if step == 2 {
                third = counters(device);
            }
        }
        Ok((last, third, counters(device)))
    };
    let (last, third, end) = train().map_err(|e| e.to_string())?;
    if last.is_nan() || last >= 0.01 {
        return Err(format!("exclusive or is not learnt: {last}"));
    }
    if (Counters { submissions: third.submissions, ..end }) != third {
        return Err(format!("steps go on making things: {third:?} after the third, {end:?} at the end"));
    }
    // The norm of the gradient and the loss are read, each with all that was recorded before it.
    let submissions = end.submissions - third.submissions;
    if submissions > 2 * 297 {
        return Err(format!("expected 2 submissions a step at most, found {submissions} in 297 steps"));
    }
    Ok(())
}

/// What goes up comes down, by way of the ring, in several pieces and within one piece.
fn copies(device: &Device) -> Outcome {
    let check = || -> isobath_engine::Result<bool> {
        let mut same = true;
        // Below and above the size that is batched; above what is fetched at a time; and the empty tensor.
        for len in [0, 5, 16_384, 16_385, 1_500_001] {
            let values: Vec<u32> = (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
            let up = Tensor::from_slice(device, [len], &values)?;
            let kept = up.keep()?;
            same &= kept.keep()?.to_vec::<u32>()? == values && up.to_vec::<u32>()? == values;
            same &= Tensor::zeros(device, [len], DType::U32)?.to_vec::<u32>()?.iter().all(|v| *v == 0);
        }
        // More launches and uploads than one ring holds, each on what the one before it left.
        let mut x = Tensor::scalar(device, 0.0, DType::F32)?;
        for i in 0..5000 {
            x = ops::add(&x, &Tensor::scalar(device, f64::from(i % 3), DType::F32)?)?;
        }
        Ok(same && x.item()? == f64::from((0..5000).map(|i| i % 3).sum::<i32>()))
    };
    if check().map_err(|e| e.to_string())? { Ok(()) } else { Err("other bits came back".into()) }
}

/// What is refused, and in which words.
fn errors(device: &Device) -> Outcome {
    let expect = |found: Option<isobath_engine::Error>, expected: &str| match found.map(|e| e.to_string()) {
        Some(text) if text.contains(expected) => Ok(()),
        other => Err(format!("expected an error with `{expected}`, found {other:?}")),
    };
    let x = Tensor::from_slice(device, [3], &[1.0f32, 2.0, 3.0]).map_err(|e| e.to_string())?;
    expect(Tensor::zeros(device, [3], DType::F64).err(), "wgpu: expected f32 or u32, found f64")?;
    expect(Tensor::zeros(device, [1 << 20, 1 << 20], DType::F32).err(), "a tensor on this device has")?;
    expect(Device::wgpu("no such adapter").err(), "wgpu: no adapter `no such adapter`; found 0: ")?;
    if adapters().iter().all(|offer| offer.software) {
        expect(Device::wgpu("auto").err(), "software)")?;
    }
    if let Some(kernel) = missing(&["softmax"]) {
        expect(ops::softmax(&x).err(), &format!("wgpu: kernel {kernel} has no shader yet"))?;
    }
    Ok(())
}

/// The budget limits what is asked of the driver, not only what tensors take of it.
fn budget() -> Outcome {
    let limit = 1 << 20;
    let device = Device::wgpu_with(&adapter(), Some(limit), false).map_err(|e| e.to_string())?;
    let held = Tensor::zeros(&device, [1 << 17], DType::F32).map_err(|e| e.to_string())?;
    let refused = Tensor::zeros(&device, [1 << 18], DType::F32).err().map(|e| e.to_string()).unwrap_or_default();
    let reserved = device.usage().reserved;
    if reserved > limit || !refused.starts_with("out of memory: [262144] needs 1048576 bytes") {
        return Err(format!("{held:?} within {limit} bytes: {reserved} reserved, then {refused:?}"));
    }
    Ok(())
}

/// Launches of more than one submission of timestamps.
const LAUNCHES: usize = 1500;

/// Every launch is timed by the clock that is set, and by none afterwards.
fn clocks() -> Outcome {
    let check = || -> isobath_engine::Result<Outcome> {
        let device = Device::wgpu(&adapter())?;
        let square = |times: usize| -> isobath_engine::Result<f64> {
            let mut x = Tensor::from_slice(&device, [3000], &[-1.0f32; 3000])?;
            for _ in 0..times {
                x = ops::square(&x)?;
            }
            Ok(x.to_f64()?[2999])
        };
        square(1)?;
        let best = device.best_clock();
        for (clock, launches) in [(best, LAUNCHES), (Clock::Host, 10)] {
            device.set_clock(Some(clock))?;
            device.reset_profile();
            let began = Instant::now();
            let result = square(launches)?;
            let (events, wall) = (device.take_events()?, began.elapsed());
            let timed = device.profile().iter().find(|l| l.kernel == "unary").map(|l| (l.calls as usize, l.time));
            if let Err(what) = plausible(&events, launches, timed, wall) {
                return Ok(Err(format!("{clock:?}: {what}")));
            }
            if result != 1.0 {
                return Ok(Err(format!("{clock:?}: expected 1, found {result}")));
            }
        }
        device.set_clock(None)?;
        let before = counters(&device);
        square(LAUNCHES)?;
        let after = Counters { submissions: before.submissions, ..counters(&device) };
        let untimed = device.take_events()?.is_empty() && after == before;
        if best == Clock::Host {
            let refused = device.set_clock(Some(Clock::Gpu)).err().map(|e| e.to_string()).unwrap_or_default();
            return Ok(if refused.contains("offers no timestamps") { Ok(()) } else { Err(refused) });
        }
        Ok(if untimed { Ok(()) } else { Err(format!("without a clock: {before:?}, then {after:?}")) })
    };
    check().map_err(|e| e.to_string())?
}

/// One event a launch, one after the other, which take the profile's time and no more than passed meanwhile.
fn plausible(events: &[Event], launches: usize, timed: Option<(usize, Duration)>, wall: Duration) -> Outcome {
    let events: Vec<&Event> = events.iter().filter(|event| event.kernel == "unary").collect();
    let time: Duration = events.iter().map(|event| event.time).sum();
    if events.len() != launches || timed != Some((launches, time)) {
        return Err(format!(
            "expected {launches} events, found {}, of {time:?} and in the profile {timed:?}",
            events.len()
        ));
    }
    if time.is_zero() || time > wall {
        return Err(format!("the launches took {time:?} of {wall:?}"));
    }
    match events.windows(2).all(|pair| pair[0].start <= pair[1].start) {
        true => Ok(()),
        false => Err("events are not in the order of their launches".into()),
    }
}

const START: &str = "device::start";

/// A device of its own computes, and writes what it compiled when it is dropped.
fn start() -> Outcome {
    let compute = || -> isobath_engine::Result<f64> {
        let device = Device::wgpu(&adapter())?;
        ops::add(&Tensor::scalar(&device, 1.0, DType::F32)?, &Tensor::scalar(&device, 2.0, DType::F32)?)?.item()
    };
    let sum = compute().map_err(|e| e.to_string())?;
    if sum == 3.0 { Ok(()) } else { Err(format!("1 + 2 = {sum}")) }
}

/// A device starts with no cache folder, with an empty one, with the one it left, and with a damaged one, which it
/// replaces.
fn kept_pipelines() -> Outcome {
    let start = |folder: &Path| {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.args([START, "--exact"]).env("XDG_CACHE_HOME", folder).env("LOCALAPPDATA", folder);
        let output = command.output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && said.contains("1 passed") { Ok(()) } else { Err(said) }
    };
    let place = tempfile::tempdir().map_err(|e| e.to_string())?;
    let kept = || -> Result<Option<(std::path::PathBuf, Vec<u8>)>, String> {
        let Ok(mut files) = std::fs::read_dir(place.path().join("isobath")) else { return Ok(None) };
        let Some(file) = files.next() else { return Ok(None) };
        let path = file.map_err(|e| e.to_string())?.path();
        let bytes = std::fs::read(&path).map_err(|e| e.to_string())?;
        Ok(Some((path, bytes)))
    };
    start(place.path())?;
    let offered = match Device::wgpu(&adapter()).map_err(|e| e.to_string())? {
        Device::Wgpu(gpu) => gpu.adapter().abilities().pipeline_cache,
        Device::Cpu(_) => false,
    };
    let Some((path, whole)) = kept()? else {
        return if offered { Err("nothing was kept".into()) } else { Ok(()) };
    };
    start(place.path())?;
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &flipped, b"", b"no cache at all, but longer than a checksum"] {
        std::fs::write(&path, damaged).map_err(|e| e.to_string())?;
        start(place.path())?;
        if kept()?.is_none_or(|(_, found)| found == damaged) {
            return Err(format!("{} damaged bytes were not replaced", damaged.len()));
        }
    }
    // A file is no folder.
    start(&path)
}
