//! The bytes that kernels move by the simulator's counts, beside those that their costs state.

use isobath_engine::device::Launches;
use isobath_engine::{DType, Device};
use isobath_kernels::{Precision, Target};
use isobath_ptx_simulator::{Options, Report};
use isobath_tests::checks::{self, Outcome};
use isobath_tests::{Case, Values, cases};
use libtest_mimic::Trial;

/// Operations a byte from which on a GPU's arithmetic is what bounds a kernel: 17 on a GTX 1050, 16 on an H200.
const RIDGE: f64 = 16.0;

/// Times the bytes of its cost that a kernel may move, in general.
const MOST: f64 = 1.1;

/// Rows whose large shape is one that their kernels were written for.
const TIGHT: [&str; 4] = ["group_norm", "group_norm_offset", "group_norm_whole", "node_linear_wide"];

/// Further shapes of rows: the model's, and a batch of one window.
const SHAPES: [(&str, &str, [usize; 5], bool, Precision); 4] = [
    ("spatial_block_loss", "of_the_model", [16, 46, 96, 16, 8], true, Precision::F32),
    ("spatial_block_loss", "of_one_window", [1, 46, 253, 16, 8], false, Precision::F32),
    ("node_linear", "of_the_model", [736, 37, 8, 32, 32], true, Precision::F32),
    ("node_linear", "of_the_model_in_tf32", [736, 37, 8, 32, 32], true, Precision::Tf32),
];

/// A trial for every row of the case table at its large shape, and for the further shapes.
pub(crate) fn trials() -> Vec<Trial> {
    let rows = cases::all().into_iter().map(|case| {
        let shape = match case.name {
            // Of seven frames hardly anything but the weights of the nodes would move.
            "spatial_block_prediction" => &[1, 46, 1009, 5, 3],
            _ => case.large,
        };
        crate::trial(format!("bytes::{}", case.name), move || {
            bytes(&case, shape, TIGHT.contains(&case.name), Target::LEAST)
        })
    });
    let further = SHAPES.into_iter().map(|(row, name, shape, tight, precision)| {
        crate::trial(format!("bytes::{row}_{name}"), move || {
            let case = cases::all().into_iter().find(|case| case.name == row).ok_or("no such row")?;
            bytes(&case, &shape, tight, Target::least(precision))
        })
    });
    rows.chain(further).collect()
}

/// Times the bytes of its cost that a kernel may move; `tight` where a problem is one that it was written for.
fn allowance(kernel: &str, tight: bool) -> f64 {
    match (kernel, tight) {
        (_, true) => MOST,
        // Numbers one by one into every second place of the result fill half of each sector.
        ("columns", _) => 1.51,
        // Groups whose channels do not come in fours are read again however small they are.
        ("group_norm", _) => 1.51,
        ("group_norm_backward", _) => 1.72,
        // A weight of more than one tile: dy is read for dx and for dW, and each block leaves a dpool of its own.
        ("node_linear_backward", _) => 2.34,
        // The gradients of all nodes' matrices go through memory, which a batch of one window does not outweigh: a block
        // that added them up would need more nodes than there are prototypes, and a large GPU would have too few blocks.
        ("graph_mix_backward", _) => 1.28,
        // Every block leaves the gradients of the weights, and a batch of one window gives it few nodes.
        ("gated_head_backward", _) => 1.2,
        _ => MOST,
    }
}

/// With caches as large as they like to be, the launches of a large problem move hardly more than their kernels' costs,
/// where it is memory that bounds them.
fn bytes(case: &Case, shape: &[usize], tight: bool, target: Target) -> Outcome {
    let device = Device::simulator(None, target, Options::counting());
    let problem = (case.problem)(shape, &mut Values::new(1));
    checks::pull_back(&problem, &device, DType::F32, &mut Values::new(2))?;
    let Device::Simulator(simulator) = &device else { return Err("expected the simulator".into()) };
    let reports = simulator.take_reports();
    let mut wrong = Vec::new();
    for Launches { kernel, cost, .. } in device.profile() {
        let file = |report: &Report| report.file.rsplit('/').next()?.split('.').next().map(|name| name == kernel);
        let sectors = |r: &Report| r.distinct_sectors_read + r.distinct_sectors_written;
        let moved = 32 * reports.iter().filter(|r| file(r) == Some(true)).map(sectors).sum::<u64>();
        let [ratio, intensity] = [moved, cost.flops].map(|of| of as f64 / cost.bytes as f64);
        if moved == 0 || intensity < RIDGE && ratio > allowance(kernel, tight) {
            wrong.push(format!(
                "{kernel} moves {moved} bytes, {ratio:.3} times its cost, at {intensity:.1} flops a byte"
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}
