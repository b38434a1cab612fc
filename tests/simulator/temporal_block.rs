//! `temporal_block` and its backward from compute capability 8.0 on: which entry points run, what they count, and how far
//! they are from f64.

use crate::tensor_cores::{device, near, reports, target, trial};
use isobath_engine::device::Bind::{In, Out};
use isobath_engine::{DType, Device, Tensor};
use isobath_kernels::{Precision, Target, temporal_block};
use isobath_ptx_simulator::{Counting, Options, Report};
use isobath_tests::checks::{Outcome, pull_back};
use isobath_tests::{Case, Input, Values, cases, parity};
use libtest_mimic::Trial;

/// The entry points that have forms for tensor cores.
const ENTRIES: [&str; 4] = [
    "temporal_block_window",
    "temporal_block_backward_window_attended",
    "temporal_block_backward_window_feed",
    "temporal_block_backward_window_attention",
];

/// What is added to the name of each entry point, where it runs.
type Forms = [Option<&'static str>; 4];
const F32: Forms = [Some(""); 4];
const NONE: Forms = [None; 4];

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
const LEFT: [([usize; 6], Forms); 4] = [
    ([1, 46, 3, 2, 16, 64], F32),
    ([1, 46, 5, 3, 8, 32], F32),
    ([1, 49, 3, 2, 32, 32], NONE),
    ([1, 46, 2, 2, 33, 64], NONE),
];

/// Samples, frames, nodes, planes, hidden units of windows of 32 channels, for the forward alone.
const WINDOWS: [[usize; 5]; 9] = [
    [2, 46, 5, 2, 128],
    [1, 48, 3, 3, 32],
    [3, 25, 3, 1, 64],
    [1, 7, 9, 2, 40],
    [1, 33, 1, 2, 8],
    [1, 32, 4, 5, 16],
    [2, 16, 1, 4, 96],
    [1, 17, 2, 1, 27],
    [1, 1, 3, 2, 1],
];

/// Every trial.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("temporal_block::not_asked_for", || {
        check(TAKEN[0], Target { capability: 75, precision: Precision::Bf16 }, F32, 1e-5)?;
        check(TAKEN[0], target(Precision::F32), F32, 1e-5)
    })];
    let precisions = [
        // Gradients pass four products or more, each with factors that are off by up to 5e-4.
        ("tf32", Precision::Tf32, [1e-3, 3e-3], ["_tf32", "_tf32", "_tf32", "_tf32"]),
        // The finer rounding serves the attention's backward in both.
        ("bf16", Precision::Bf16, [1e-2, 1e-2], ["_bf16", "_bf16", "_bf16", "_tf32"]),
    ];
    for (name, precision, [most, most_back], forms) in precisions {
        let of = target(precision);
        let named = |what: &str| format!("{name}::temporal_block::{what}");
        for row in cases::all().into_iter().filter(|case| case.name.starts_with("temporal_block")) {
            let name = named(&format!("row::{}", row.name));
            trials.push(trial(&name, move || parity::rounded(&row, &device(of, Options::default()), most_back)));
        }
        for (heads, shape) in TAKEN {
            let forms = if heads == 1 { forms.map(Some) } else { [Some(""), Some(""), Some(forms[2]), Some("")] };
            let check = move || check((heads, shape), of, forms, most_back);
            trials.push(trial(&named(&format!("{heads} {shape:?}")), check));
        }
        for (shape, forms) in LEFT {
            trials.push(trial(&named(&format!("left {shape:?}")), move || check((1, shape), of, forms, 1e-5)));
        }
        for size in WINDOWS {
            trials.push(trial(&named(&format!("forward {size:?}")), move || attends(size, of, forms[0], most)));
        }
        trials.push(trial(&named("not_finite"), move || missing(of)));
        trials.push(trial(&named("counts"), move || counts(of)));
    }
    trials
}

fn row(name: &str) -> Result<Case, String> {
    cases::all().into_iter().find(|case| case.name == name).ok_or_else(|| format!("no row {name}"))
}

/// Result and gradients within `most` of the largest element and twice the same bits, by the entry points of these forms.
fn check((heads, shape): (usize, [usize; 6]), target: Target, forms: Forms, most: f64) -> Outcome {
    let row = row(if heads == 1 { "temporal_block" } else { "temporal_block_heads" })?;
    let device = device(target, Options { counting: Counting::Instructions, ..Options::default() });
    parity::rounded_at(&row, &shape, 1, &device, most)?;
    let found: Vec<_> = windows(&device).into_iter().map(|report| report.kernel).collect();
    let names = ENTRIES.iter().zip(forms).filter_map(|(entry, form)| Some(format!("{entry}{}", form?)));
    let expected: Vec<_> = names.clone().chain(names).collect();
    if found == expected { Ok(()) } else { Err(format!("expected {expected:?}, found {found:?}")) }
}

/// The reports of the entry points in question.
fn windows(device: &Device) -> Vec<Report> {
    let of_windows = |report: &Report| ENTRIES.iter().any(|entry| report.kernel.starts_with(entry));
    reports(device).into_iter().filter(of_windows).collect()
}

/// Shared memory without conflicts, and at most a fourth of the instructions that f32 takes.
fn counts(tensor_cores: Target) -> Outcome {
    let row = row("temporal_block")?;
    let count = |target: Target| {
        let device = device(target, Options::counting());
        let problem = (row.problem)(&[1, 46, 400, 2, 32, 128], &mut Values::new(1));
        pull_back(&problem, &device, DType::F32, &mut Values::new(2))?;
        Ok::<_, String>(windows(&device))
    };
    let (plain, ours) = (count(target(Precision::F32))?, count(tensor_cores)?);
    if [plain.len(), ours.len()] != [ENTRIES.len(); 2] {
        return Err(format!("expected {} launches, found {} and {}", ENTRIES.len(), plain.len(), ours.len()));
    }
    for (plain, ours) in plain.iter().zip(ours) {
        let (most, found) = (plain.total().warps, ours.total());
        if 4 * found.warps > most || found.bank_conflicts > 0 {
            return Err(format!("{most} instructions in f32, {} conflicts in {ours}", found.bank_conflicts));
        }
    }
    Ok(())
}

/// The forward of one head within `most` of the scale of its results, by the entry point of this form.
fn attends(size: [usize; 5], target: Target, form: &str, most: f64) -> Outcome {
    let block = Block::new(size, &mut Values::new(7));
    let run = |device: &Device, dtype| block.run(device, dtype);
    near(&format!("{size:?}"), run, target, &format!("{}{form}", ENTRIES[0]), 4.0 * most)
}

/// The planes, shift and weights of a temporal block of 32 channels with one head.
struct Block {
    parameters: temporal_block::Params,
    inputs: Vec<Input>,
}

impl Block {
    fn new([batch, frames, nodes, planes, hidden]: [usize; 5], values: &mut Values) -> Self {
        let c = 32;
        let of = |len: usize| len as u32;
        let parameters = temporal_block::Params {
            batch: of(batch),
            frames: of(frames),
            nodes: of(nodes),
            inputs: of(planes),
            channels: of(c),
            hidden: of(hidden),
            heads: 1,
            eps: 1e-5,
        };
        let weights = [c * planes, c, c, c * c, c * c, c * c, c * c, c, c, c, hidden * c, hidden, c * hidden, c];
        let mut inputs =
            vec![values.variable(&[planes, batch, frames, nodes]), values.variable_in(&[batch, frames, c], -3.0, 3.0)];
        // Far enough apart that both softmaxes choose, so that a number in a wrong place shows.
        let spreads = [0.4, 1.5, 0.4, 0.8, 0.8, 0.6, 0.6, 0.4, 1.5, 0.4, 0.4, 0.4, 0.4, 0.4];
        let weights = weights.into_iter().zip(spreads);
        inputs.extend(weights.map(|(len, spread)| values.variable_in(&[len], -spread, spread)));
        Block { parameters, inputs }
    }

    fn run(&self, device: &Device, dtype: DType) -> isobath_engine::Result<Vec<f64>> {
        let inputs: Vec<_> =
            self.inputs.iter().map(|input| input.tensor(device, dtype)).collect::<isobath_engine::Result<_>>()?;
        self.of(device, &inputs)
    }

    fn of(&self, device: &Device, inputs: &[Tensor]) -> isobath_engine::Result<Vec<f64>> {
        let p = &self.parameters;
        let shape = [p.batch, p.nodes, p.frames, p.channels].map(|len| len as usize);
        let h = Tensor::empty(device, shape, inputs[0].dtype())?;
        let bound: Vec<_> = inputs.iter().map(In).chain([Out(&h)]).collect();
        device.run(&temporal_block::TEMPORAL_BLOCK, p, &bound)?;
        h.to_f64()
    }
}

/// NaN in a plane reaches the node's window and no other, NaN in any weight every number that it has a part in.
fn missing(target: Target) -> Outcome {
    let block = Block::new([2, 46, 3, 2, 64], &mut Values::new(5));
    let run = |input: usize, at: usize| -> isobath_engine::Result<[Vec<f64>; 2]> {
        let with_nan = |device: &Device| {
            let tensors = block.inputs.iter().enumerate().map(|(i, x)| {
                let mut numbers = x.tensor(device, DType::F32)?.to_vec::<f32>()?;
                if i == input {
                    numbers[at] = f32::from_bits(0x7fff_ffff);
                }
                Tensor::from_slice(device, x.tensor(device, DType::F32)?.shape(), &numbers)
            });
            block.of(device, &tensors.collect::<isobath_engine::Result<Vec<_>>>()?)
        };
        Ok([with_nan(&device(target, Options::default()))?, with_nan(&Device::cpu())?])
    };
    for (input, at) in
        [(0, 4), (1, 70), (3, 5), (5, 9), (6, 77), (7, 100), (8, 13), (9, 1), (12, 40), (13, 20), (14, 3)]
    {
        let [found, expected] = run(input, at).map_err(|e| e.to_string())?;
        let differs = found.iter().zip(&expected).position(|(x, y)| x.is_nan() != y.is_nan());
        if let Some(place) = differs {
            return Err(format!(
                "NaN at {at} of input {input}: at {place} expected {}, found {}",
                expected[place], found[place]
            ));
        }
    }
    Ok(())
}
