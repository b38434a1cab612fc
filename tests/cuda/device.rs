//! Copies, errors, the budget, clocks and graphs.

use isobath_engine::device::cuda::Counters;
use isobath_engine::device::{Clock, Event};
use isobath_engine::{DType, Device, Error, Result, Tensor, ops};
use isobath_kernels::Precision;
use isobath_tests::checks::Outcome;
use std::time::{Duration, Instant};

/// A device whose tensors have no sentinels: those are read back, which hands everything over.
pub(super) fn unchecked() -> Result<Device> {
    Device::cuda(0, None, Precision::F32)
}

/// What a GPU has made and handed over so far.
pub(super) fn counters(device: &Device) -> Counters {
    match device {
        Device::Cuda(gpu) => gpu.counters(),
        _ => Counters::default(),
    }
}

fn outcome(check: impl FnOnce() -> Result<Outcome>) -> Outcome {
    check().map_err(|e| e.to_string())?
}

/// What goes up comes down: more than is staged or fetched at a time, within a piece and between pieces.
pub(super) fn copies(device: &Device) -> Outcome {
    outcome(|| {
        let mut same = true;
        for len in [0, 5, 16_384, 3_000_001, 6_000_000] {
            let values: Vec<u32> = (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
            let up = Tensor::from_slice(device, [len], &values)?;
            let kept = up.keep()?;
            same &= kept.keep()?.to_vec::<u32>()? == values && up.to_vec::<u32>()? == values;
            same &= Tensor::zeros(device, [len], DType::U32)?.to_vec::<u32>()?.iter().all(|v| *v == 0);
        }
        // More launches and uploads than are collected at a time, each on what the one before it left.
        let mut x = Tensor::scalar(device, 0.0, DType::F32)?;
        for i in 0..3000 {
            x = ops::add(&x, &Tensor::scalar(device, f64::from(i % 3), DType::F32)?)?;
        }
        same &= x.item()? == f64::from((0..3000).map(|i| i % 3).sum::<i32>());
        Ok(if same { Ok(()) } else { Err("other bits came back".into()) })
    })
}

/// What is refused, and in which words.
pub(super) fn errors(device: &Device) -> Outcome {
    let expect = |found: Option<Error>, expected: &str| match found.map(|e| e.to_string()) {
        Some(text) if text.contains(expected) => Ok(()),
        other => Err(format!("expected an error with `{expected}`, found {other:?}")),
    };
    expect(Tensor::zeros(device, [3], DType::F64).err(), "cuda: expected f32 or u32, found f64")?;
    expect(Tensor::zeros(device, [1 << 20, 1 << 20], DType::F32).err(), "a tensor on this device has")?;
    expect(Device::cuda(99, None, Precision::F32).err(), "cuda: no GPU 99; found 0: ")
}

/// The budget limits what is asked of the driver, not only what tensors take of it; the slab reports just that.
pub(super) fn budget() -> Outcome {
    let limit = 1 << 20;
    outcome(|| {
        let device = Device::cuda(0, Some(limit), Precision::F32)?;
        let held = Tensor::zeros(&device, [1 << 17], DType::F32)?;
        let refused = Tensor::zeros(&device, [1 << 18], DType::F32).err().map(|e| e.to_string()).unwrap_or_default();
        let reserved = device.usage().reserved;
        if reserved > limit || !refused.starts_with("out of memory: [262144] needs 1048576 bytes") {
            return Ok(Err(format!("{held:?} within {limit} bytes: {reserved} reserved, then {refused:?}")));
        }
        let asked = counters(&device).bytes;
        let same = asked == reserved as u64;
        Ok(if same { Ok(()) } else { Err(format!("{asked} bytes were asked of the driver, {reserved} are reported")) })
    })
}

/// Squares ones so many times, as one piece of work.
fn square(device: &Device, times: usize) -> Result<f64> {
    let mut x = Tensor::from_slice(device, [3000], &[-1.0f32; 3000])?;
    for _ in 0..times {
        x = ops::square(&x)?;
    }
    Ok(x.to_f64()?[2999])
}

/// Every launch is timed by the clock that is set, and by none afterwards.
pub(super) fn clocks() -> Outcome {
    outcome(|| {
        let device = unchecked()?;
        square(&device, 1)?;
        if device.best_clock() != Clock::Gpu {
            return Ok(Err("its own clock is the best one".into()));
        }
        for (clock, launches) in [(Clock::Gpu, 1500), (Clock::Host, 10)] {
            device.set_clock(Some(clock))?;
            device.reset_profile();
            let began = Instant::now();
            let result = square(&device, launches)?;
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
        square(&device, 10)?;
        Ok(if device.take_events()?.is_empty() { Ok(()) } else { Err("events without a clock".into()) })
    })
}

/// One event a launch, one after the other, which take the profile's time and no more than passed meanwhile.
fn plausible(events: &[Event], launches: usize, timed: Option<(usize, Duration)>, wall: Duration) -> Outcome {
    let time: Duration = events.iter().map(|event| event.time).sum();
    let named = events.iter().all(|event| event.kernel == "unary" && event.entry.starts_with("unary"));
    if !named || events.len() != launches || timed != Some((launches, time)) {
        let found = events.len();
        return Err(format!("expected {launches} events, found {found}, of {time:?} and in the profile {timed:?}"));
    }
    if time.is_zero() || time > wall {
        return Err(format!("the launches took {time:?} of {wall:?}"));
    }
    match events.windows(2).all(|pair| pair[0].start <= pair[1].start) {
        true => Ok(()),
        false => Err("events are not in the order of their launches".into()),
    }
}

/// Work that comes again is launched by itself, then made a graph, then launched as one; little work never is, and more
/// kinds of work than are kept make way for each other.
pub(super) fn graphs() -> Outcome {
    outcome(|| {
        let device = unchecked()?;
        let mut all = Vec::new();
        for times in [10, 10, 10, 3, 3, 3, 10] {
            square(&device, times)?;
            let c = counters(&device);
            all.push([c.graphs, c.graph_launches, c.launches]);
        }
        let expected = [[0, 0, 10], [1, 1, 10], [1, 2, 10], [1, 2, 13], [1, 2, 16], [1, 2, 19], [1, 3, 19]];
        if all != expected {
            return Ok(Err(format!("graphs, their launches, launches: expected {expected:?}, found {all:?}")));
        }
        for times in 11..31 {
            let results = [square(&device, times)?, square(&device, times)?, square(&device, times)?];
            if results != [1.0; 3] {
                return Ok(Err(format!("{times} squares: {results:?}")));
            }
        }
        let c = counters(&device);
        let found = [c.graphs, c.graph_launches];
        Ok(if found == [21, 43] { Ok(()) } else { Err(format!("{found:?} graphs and launches of them")) })
    })
}

/// A graph does its work with the numbers and at the places of this time: launches, uploads, copies and zeros all change.
pub(super) fn changing_graphs() -> Outcome {
    let round = |device: &Device, i: u32, held: &mut Vec<Tensor>| -> Result<Vec<f64>> {
        let x = Tensor::from_slice(device, [500], &[i as f32; 500])?;
        let zeros = Tensor::zeros(device, [500], DType::F32)?;
        let copy = x.keep()?;
        let mut y = ops::add(&zeros, &copy)?;
        for k in 0..6 {
            y = ops::affine(&y, 1.0 + i as f32, k as f32)?;
        }
        // What is held moves what comes next.
        held.extend([x, zeros, copy, y.clone()]);
        y.to_f64()
    };
    outcome(|| {
        let (device, cpu) = (unchecked()?, Device::cpu());
        let (mut held, mut unmoved) = (Vec::new(), Vec::new());
        for i in 0..6 {
            let (found, expected) = (round(&device, i, &mut held)?, round(&cpu, i, &mut unmoved)?);
            if found != expected {
                return Ok(Err(format!("round {i}: expected {}, found {}", expected[0], found[0])));
            }
        }
        let c = counters(&device);
        let (graphs, found) = ([1, 5, 7], [c.graphs, c.graph_launches, c.launches]);
        Ok(if found == graphs { Ok(()) } else { Err(format!("expected {graphs:?}, found {found:?}")) })
    })
}

/// Every use of a device that was given up says so.
pub(super) fn given_up() -> Outcome {
    outcome(|| {
        let device = unchecked()?;
        let x = Tensor::from_slice(&device, [3], &[1.0f32, 2.0, 3.0])?;
        if let Device::Cuda(gpu) = &device {
            gpu.lose();
        }
        let found = [
            x.to_vec::<f32>().err(),
            ops::square(&x).err(),
            Tensor::scalar(&device, 1.0, DType::F32).err(),
            Tensor::zeros(&device, [20 << 20], DType::F32).err(),
            device.pace().err(),
            device.finish().err(),
            device.set_clock(Some(Clock::Gpu)).err(),
        ];
        let lost = found.iter().all(|error| matches!(error, Some(Error::DeviceLost { .. })));
        Ok(if lost { Ok(()) } else { Err(format!("{found:?}")) })
    })
}
