//! Checks of a GPU against the processor.

use crate::checks::{Outcome, PullBack, on_drawn_shapes, pull_back, same_bits};
use crate::launches::Launch;
use crate::{Case, Values};
use isobath_engine::{DType, Device};

/// Shapes drawn for one row; software adapters are slow.
const SHAPES: u32 = 6;

/// Result and gradients on `device` against the processor's f64, the same bits on a second run, and no tensor written
/// past its ends. `device` must be checked.
pub fn row(case: &Case, device: &Device) -> Outcome {
    let check = |case: &Case, shape: &[usize], seed: u64| {
        let problem = (case.problem)(shape, &mut Values::new(seed));
        let run = |device: &Device, dtype| pull_back(&problem, device, dtype, &mut Values::new(seed + 1));
        let (exact, single) = (run(&Device::cpu(), DType::F64)?, run(&Device::cpu(), DType::F32)?);
        let before = device.usage().overruns;
        let found = run(device, DType::F32)?;
        if device.usage().overruns > before {
            return Err("a kernel wrote past the end of a tensor".into());
        }
        // A gradient that is zero by cancellation keeps the rounding of its terms, which are as large as the others.
        let least = outputs(&exact).iter().map(|(_, pick)| 0.1 * largest(pick(&exact))).fold(LEAST, f64::max);
        for (name, pick) in outputs(&exact) {
            near(pick(&found), pick(&single), pick(&exact), least).map_err(|what| format!("{name}: {what}"))?;
        }
        if !same_bits(&found, &run(device, DType::F32)?) {
            return Err("a second run gave other bits".into());
        }
        Ok(())
    };
    on_drawn_shapes(case, SHAPES, check)?;
    check(case, case.large, 1)
}

/// The same with factors of products rounded: errors of up to `most` of the largest element.
pub fn rounded(case: &Case, device: &Device, most: f64) -> Outcome {
    let check = |case: &Case, shape: &[usize], seed: u64| rounded_at(case, shape, seed, device, most);
    on_drawn_shapes(case, SHAPES, check)?;
    check(case, case.large, 1)
}

/// The same of one shape.
pub fn rounded_at(case: &Case, shape: &[usize], seed: u64, device: &Device, most: f64) -> Outcome {
    let problem = (case.problem)(shape, &mut Values::new(seed));
    let run = |device: &Device, dtype| pull_back(&problem, device, dtype, &mut Values::new(seed + 1));
    let (exact, found) = (run(&Device::cpu(), DType::F64)?, run(device, DType::F32)?);
    for (name, pick) in outputs(&exact) {
        let scale = pick(&exact).iter().fold(1e-2, |m: f64, v| m.max(v.abs()));
        let error = worst(pick(&found), pick(&exact));
        if error > most * scale {
            return Err(format!("{name}: differs from f64 by {error:e} at a scale of {scale:e}"));
        }
    }
    if !same_bits(&found, &run(device, DType::F32)?) {
        return Err("a second run gave other bits".into());
    }
    Ok(())
}

/// The numbers that a launch writes on `device` against the processor's f64.
pub fn launch(launch: &Launch, device: &Device) -> Outcome {
    let run = |device: &Device, dtype| (launch.run)(device, dtype).map_err(|e| e.to_string());
    let before = device.usage().overruns;
    let found = run(device, DType::F32)?;
    if device.usage().overruns > before {
        return Err("it wrote past the end of a tensor".into());
    }
    near(&found, &run(&Device::cpu(), DType::F32)?, &run(&Device::cpu(), DType::F64)?, LEAST)
}

type Pick = Box<dyn Fn(&PullBack) -> &[f64]>;

/// The result and every gradient, by name.
fn outputs(all: &PullBack) -> Vec<(String, Pick)> {
    let result: (String, Pick) = ("result".into(), Box::new(|all| &all.0));
    let gradient = |i: usize| -> (String, Pick) { (format!("gradient of input {i}"), Box::new(move |all| &all.2[i])) };
    std::iter::once(result).chain((0..all.2.len()).map(gradient)).collect()
}

/// The least scale of numbers.
const LEAST: f64 = 1e-2;

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// error(device) <= 4 error(processor in f32) + 1e-6 scale, both against f64; the scale is `least` or more.
fn near(found: &[f64], single: &[f64], exact: &[f64], least: f64) -> Outcome {
    let scale = largest(exact).max(least);
    let (ours, theirs) = (worst(found, exact), worst(single, exact));
    if found.len() == exact.len() && ours <= 4.0 * theirs + 1e-6 * scale {
        return Ok(());
    }
    Err(format!("differs from f64 by {ours:e} where the processor's f32 does by {theirs:e}, at a scale of {scale:e}"))
}

/// The largest error; a NaN is infinitely far.
fn worst(found: &[f64], exact: &[f64]) -> f64 {
    let far = |(x, y): (&f64, &f64)| if x.is_nan() { f64::INFINITY } else { (x - y).abs() };
    found.iter().zip(exact).map(far).fold(0.0, f64::max)
}
