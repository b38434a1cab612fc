//! The checks that every row of the case table runs through.

use crate::{Case, Input, Kind, Problem, Values};
use isobath_engine::{DType, Device, Tape, Tensor};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rand::RngExt;

/// What a check reports: nothing, or one sentence.
pub type Outcome = Result<(), String>;

fn text(error: isobath_engine::Error) -> String {
    error.to_string()
}

/// Lengths to draw for one axis: 1, primes, multiples of four and anything up to the axis' limit.
fn length(limit: usize) -> BoxedStrategy<usize> {
    let primes: Vec<usize> =
        [2, 3, 5, 7, 11, 13, 17, 31, 37, 61, 67, 127].into_iter().filter(|p| *p <= limit).collect();
    if limit < 4 {
        return (1..=limit).boxed();
    }
    let fours = (1..=limit / 4).prop_map(|n| 4 * n);
    prop_oneof![1 => Just(1), 3 => proptest::sample::select(primes), 2 => fours, 2 => 1..=limit].boxed()
}

/// Runs `check` on shapes and seeds that proptest draws, the same ones every time, and shrinks what fails.
pub(crate) fn on_drawn_shapes(case: &Case, cases: u32, check: impl Fn(&Case, &[usize], u64) -> Outcome) -> Outcome {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 64, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let lengths: Vec<_> = case.axes.iter().map(|(_, limit)| length(*limit)).collect();
    let result = runner.run(&(lengths, any::<u32>()), |(shape, seed)| {
        check(case, &shape, u64::from(seed))
            .map_err(|what| TestCaseError::fail(format!("{} {shape:?}: {what}", case.name)))
    });
    result.map_err(|e| e.to_string())
}

/// ⟨J v, u⟩ by central differences against ⟨v, Jᵀ u⟩ in f64, one random direction a shape, to 1e-6.
pub fn gradient(case: &Case) -> Outcome {
    on_drawn_shapes(case, 24, |case, shape, seed| {
        let mut values = Values::new(seed);
        let problem = (case.problem)(shape, &mut values);
        let device = Device::cpu();
        let directions: Vec<Vec<f64>> = problem.inputs.iter().map(|input| direction(input, &mut values)).collect();
        let (y, u, grads) = pull_back(&problem, &device, DType::F64, &mut values)?;
        let expected: f64 = grads.iter().zip(&directions).map(|(g, v)| dot(g, v)).sum();
        let moved = |step: f64| -> Result<f64, String> {
            let inputs: Vec<Input> = problem.inputs.iter().zip(&directions).map(|(x, v)| shifted(x, v, step)).collect();
            Ok(dot(&forward(&problem, &inputs, &device)?, &u))
        };
        // Fourth order: the error of the difference itself stays below 1e-9.
        let h = 1e-3;
        let slope = (8.0 * (moved(h)? - moved(-h)?) - (moved(2.0 * h)? - moved(-2.0 * h)?)) / (12.0 * h);
        let scale =
            expected.abs() + grads.iter().map(|g| dot(g, g).sqrt()).sum::<f64>() + 1e-3 * dot(&y, &y).sqrt() + 1e-12;
        if (slope - expected).abs() <= 1e-6 * scale {
            return Ok(());
        }
        Err(format!("the derivative by differences is {slope:e}, by the backward {expected:e}"))
    })
}

fn shifted(input: &Input, v: &[f64], step: f64) -> Input {
    Input { values: input.values.iter().zip(v).map(|(x, v)| x + step * v).collect(), ..input.clone() }
}

fn direction(input: &Input, values: &mut Values) -> Vec<f64> {
    let unit = |rng: &mut rand::rngs::StdRng| if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    match input.kind {
        Kind::Variable => input.values.iter().map(|_| unit(values.rng())).collect(),
        _ => vec![0.0; input.values.len()],
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn forward(problem: &Problem, operands: &[Input], device: &Device) -> Result<Vec<f64>, String> {
    let inputs: Result<Vec<Tensor>, _> = operands.iter().map(|i| i.tensor(device, DType::F64)).collect();
    let y = (problem.apply)(&inputs.map_err(text)?).map_err(text)?;
    y.to_f64().map_err(text)
}

/// The result y, a random u, and Jᵀ u for every input (zeros where an input has no gradient).
pub type PullBack = (Vec<f64>, Vec<f64>, Vec<Vec<f64>>);

/// Runs a problem and its backward.
///
/// # Errors
/// Those of the operation.
pub fn pull_back(problem: &Problem, device: &Device, dtype: DType, values: &mut Values) -> Result<PullBack, String> {
    let run = |values: &mut Values| -> isobath_engine::Result<PullBack> {
        let tape = Tape::start()?;
        let mut inputs = Vec::new();
        for input in &problem.inputs {
            let tensor = input.tensor(device, dtype)?;
            inputs.push(if input.kind == Kind::Variable { tape.watch(&tensor)? } else { tensor });
        }
        let y = (problem.apply)(&inputs)?;
        let u: Vec<f64> = (0..y.len()).map(|_| f64::from(values.rng().random_range(-1.0f32..1.0))).collect();
        let gradients = tape.backward_from(&y, &Tensor::from_f64(device, y.shape(), &u, dtype)?)?;
        let mut all = Vec::new();
        for (tensor, input) in inputs.iter().zip(&problem.inputs) {
            all.push(match input.kind {
                Kind::Variable => gradients.get(tensor)?.to_f64()?,
                _ => vec![0.0; input.values.len()],
            });
        }
        Ok((y.to_f64()?, u, all))
    };
    run(values).map_err(text)
}

/// Runs a problem forward and backward on `device`.
pub fn launch(problem: &Problem, device: &Device, dtype: DType) -> Outcome {
    pull_back(problem, device, dtype, &mut Values::new(1)).map(|_| ())
}

/// Result and gradients in f32 against f64: within 2e-5 of the largest element.
pub fn precision(case: &Case) -> Outcome {
    let check = |case: &Case, shape: &[usize], seed: u64| {
        let problem = (case.problem)(shape, &mut Values::new(seed));
        let device = Device::cpu();
        let single = pull_back(&problem, &device, DType::F32, &mut Values::new(seed + 1))?;
        let double = pull_back(&problem, &device, DType::F64, &mut Values::new(seed + 1))?;
        let named = |name: String, s: &[f64], d: &[f64]| {
            let scale = d.iter().fold(1e-2, |m: f64, v| m.max(v.abs()));
            let worst = s
                .iter()
                .zip(d)
                .fold(0.0, |m: f64, (s, d)| if s.is_nan() { f64::INFINITY } else { m.max((s - d).abs()) });
            if worst <= 2e-5 * scale {
                Ok(())
            } else {
                Err(format!("{name}: f32 differs from f64 by {worst:e} at a scale of {scale:e}"))
            }
        };
        named("result".into(), &single.0, &double.0)?;
        for (i, (s, d)) in single.2.iter().zip(&double.2).enumerate() {
            named(format!("gradient of input {i}"), s, d)?;
        }
        Ok(())
    };
    on_drawn_shapes(case, 24, check)?;
    check(case, case.large, 1)
}

/// The same bits on a second run, on one thread and on two; and no tensor written past its end.
pub fn repeat(case: &Case) -> Outcome {
    let check = |case: &Case, shape: &[usize], seed: u64| {
        let problem = (case.problem)(shape, &mut Values::new(seed));
        let run = |threads: usize| -> Result<PullBack, String> {
            let device = Device::cpu_with(None, true);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
            // Everything runs on a thread of the pool, so that the kernels inside share the pool's threads.
            let found = pool.install(|| pull_back(&problem, &device, DType::F32, &mut Values::new(seed + 1)));
            if device.usage().overruns > 0 {
                return Err("a kernel wrote past the end of a tensor".into());
            }
            found
        };
        let first = run(2)?;
        for (threads, what) in [(2, "a second run gave other bits"), (1, "one thread gave other bits than two")] {
            if !same_bits(&first, &run(threads)?) {
                return Err(what.into());
            }
        }
        Ok(())
    };
    on_drawn_shapes(case, 8, check)?;
    check(case, case.large, 1)
}

pub(crate) fn same_bits(a: &PullBack, b: &PullBack) -> bool {
    let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    bits(&a.0) == bits(&b.0) && a.2.iter().zip(&b.2).all(|(a, b)| bits(a) == bits(b))
}
