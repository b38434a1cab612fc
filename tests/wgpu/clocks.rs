//! The clocks that time launches, and the pipelines that are kept for the next start.

use crate::adapter;
use crate::models::counters;
use isobath_engine::device::wgpu::Counters;
use isobath_engine::device::{Clock, Event};
use isobath_engine::{DType, Device, Tensor, ops};
use isobath_tests::checks::Outcome;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Launches of more than one submission of timestamps.
const LAUNCHES: usize = 1500;

/// Every launch is timed by the clock that is set, and by none afterwards.
pub(super) fn clocks() -> Outcome {
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

pub(super) const START: &str = "device::start";

/// A device of its own computes, and writes what it compiled when it is dropped.
pub(super) fn start() -> Outcome {
    let compute = || -> isobath_engine::Result<f64> {
        let device = Device::wgpu(&adapter())?;
        ops::add(&Tensor::scalar(&device, 1.0, DType::F32)?, &Tensor::scalar(&device, 2.0, DType::F32)?)?.item()
    };
    let sum = compute().map_err(|e| e.to_string())?;
    if sum == 3.0 { Ok(()) } else { Err(format!("1 + 2 = {sum}")) }
}

/// A device starts with no cache folder, with an empty one, with the one it left, and with a damaged one, which it
/// replaces.
pub(super) fn kept_pipelines() -> Outcome {
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
        Device::Cpu(_) | Device::Cuda(_) | Device::Simulator(_) => false,
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
