//! The backward of `temporal_block` from compute capability 8.0 on: which entry points run, what they count, and how far
//! they are from f64.

use isobath_engine::{DType, Device};
use isobath_kernels::{Precision, Target};
use isobath_ptx_simulator::{Counting, Options, Report};
use isobath_tests::checks::{Outcome, pull_back};
use isobath_tests::{Values, cases, parity};
use libtest_mimic::{Failed, Trial};

/// The entry points that have a form for tensor cores, and what is added to their names.
const ENTRIES: [&str; 2] = ["temporal_block_backward_window_feed", "temporal_block_backward_window_attention"];
type Forms = [&'static str; 2];
const F32: Forms = ["", ""];

/// Heads; batch, frames, nodes, planes, channels of a head, hidden units: those that tensor cores take.
const TAKEN: [(usize, [usize; 6]); 9] = [
    (1, [3, 46, 7, 2, 32, 128]),
    (1, [1, 46, 9, 1, 32, 64]),
    (2, [3, 25, 3, 3, 16, 48]),
    (1, [1, 48, 5, 2, 32, 96]),
    (2, [1, 46, 3, 8, 16, 32]),
    (1, [1, 25, 1, 2, 32, 7]),
    (1, [5, 31, 3, 1, 32, 72]),
    (1, [2, 48, 1, 1, 32, 124]),
    (1, [1, 33, 1, 1, 32, 16]),
];

/// Those that they leave to f32, window by window or, where windows do not fill blocks, by other entry points.
const LEFT: [([usize; 6], Option<Forms>); 4] = [
    ([1, 46, 3, 2, 16, 64], Some(F32)),
    ([1, 46, 5, 3, 8, 32], Some(F32)),
    ([1, 7, 11, 2, 32, 64], None),
    ([1, 49, 3, 2, 32, 32], None),
];

/// Every trial.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("not_asked_for".into(), || {
        check(TAKEN[0], Target { capability: 75, precision: Precision::Bf16 }, Some(F32), 1e-5)?;
        check(TAKEN[0], Target { capability: 80, precision: Precision::F32 }, Some(F32), 1e-5)
    })];
    let precisions = [
        ("tf32", Precision::Tf32, ["_tf32", "_tf32"], 3e-3),
        // The finer rounding serves the attention in both.
        ("bf16", Precision::Bf16, ["_bf16", "_tf32"], 1e-2),
    ];
    for (name, precision, forms, most) in precisions {
        let target = Target { capability: 80, precision };
        for of in TAKEN {
            let forms = if of.0 == 1 { forms } else { [forms[0], ""] };
            trials.push(trial(format!("{name}::{of:?}"), move || check(of, target, Some(forms), most)));
        }
        for (shape, forms) in LEFT {
            trials.push(trial(format!("{name}::left::{shape:?}"), move || check((1, shape), target, forms, most)));
        }
        trials.push(trial(format!("{name}::counts"), move || counts(target)));
    }
    trials
}

fn trial(name: String, check: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::test(format!("tensor_cores::temporal_block::{name}"), || check().map_err(Failed::from))
}

/// Result and gradients within `most` of the largest element and twice the same bits, by the entry points of these forms.
fn check((heads, shape): (usize, [usize; 6]), target: Target, forms: Option<Forms>, most: f64) -> Outcome {
    let row = if heads == 1 { "temporal_block" } else { "temporal_block_heads" };
    let case = cases::all().into_iter().find(|case| case.name == row).ok_or("no such row")?;
    let options = Options { counting: Counting::Instructions, ..Options::default() };
    let device = Device::simulator(None, target, options);
    parity::rounded_at(&case, &shape, 1, &device, most)?;
    let found: Vec<_> = reports(&device).into_iter().map(|report| report.kernel).collect();
    let names = |forms: Forms| [0, 1].map(|i| format!("{}{}", ENTRIES[i], forms[i]));
    let expected: Vec<_> = forms.into_iter().flat_map(|forms| [names(forms), names(forms)].concat()).collect();
    if found == expected { Ok(()) } else { Err(format!("expected {expected:?}, found {found:?}")) }
}

/// Shared memory without conflicts, and a fourth of the instructions that f32 takes.
fn counts(target: Target) -> Outcome {
    let case = cases::all().into_iter().find(|case| case.name == "temporal_block").ok_or("no such row")?;
    let count = |target| {
        let (device, shape) = (Device::simulator(None, target, Options::counting()), [1, 46, 400, 2, 32, 128]);
        let problem = (case.problem)(&shape, &mut Values::new(1));
        pull_back(&problem, &device, DType::F32, &mut Values::new(2))?;
        Ok::<_, String>(reports(&device))
    };
    for (most, report) in count(Target::LEAST)?.iter().zip(count(target)?) {
        let (most, warps, conflicts) = (most.total().warps, report.total().warps, report.total().bank_conflicts);
        if 4 * warps > most || conflicts > 0 {
            return Err(format!("{most} instructions in f32, {conflicts} conflicts in {report}"));
        }
    }
    Ok(())
}

/// The reports of the entry points in question.
fn reports(device: &Device) -> Vec<Report> {
    let Device::Simulator(simulator) = device else { return Vec::new() };
    let reports = simulator.take_reports().into_iter();
    reports.filter(|report| ENTRIES.iter().any(|entry| report.kernel.starts_with(entry))).collect()
}
