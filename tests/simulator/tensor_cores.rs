//! Matrix products from compute capability 8.0 on: which entry points run, and how far they are from f64.

use isobath_engine::device::Bind::{Absent, In, Out};
use isobath_engine::{DType, Device, Tensor};
use isobath_kernels::node_linear_backward::NODE_LINEAR_BACKWARD;
use isobath_kernels::{Precision, Target, gemm, node_linear};
use isobath_ptx_simulator::{Class, Options, Report, Row};
use isobath_tests::checks::Outcome;
use isobath_tests::{Values, cases, parity};
use libtest_mimic::{Failed, Trial};

/// The rows of the case table that multiply matrices by `gemm` or `node_linear`.
const ROWS: [&str; 6] = ["linear", "reused_operand", "matmul", "matmul_transposed", "node_linear", "node_linear_deep"];

/// Batch, m, n, k around the edges of tiles, stages and parts.
const PRODUCTS: [[usize; 4]; 14] = [
    [1, 128, 64, 32],
    [2, 128, 64, 512],
    [1, 300, 130, 1],
    [1, 129, 65, 7],
    [3, 127, 63, 16],
    [1, 257, 4, 32],
    [2, 64, 60, 17],
    [1, 1, 2000, 100],
    [1, 2000, 1, 31],
    [1, 256, 192, 48],
    [1, 192, 68, 512],
    [1, 65, 33, 1000],
    [5, 130, 12, 100],
    [1, 64, 64, 2052],
];

/// The same for tiles of 128 by 128.
const LARGE: [[usize; 4]; 4] = [[130, 100, 128, 32], [65, 196, 92, 48], [33, 200, 196, 4], [16, 512, 256, 20]];

/// The same where nothing is aligned.
const ODD: [[usize; 4]; 3] = [[65, 199, 93, 7], [33, 255, 171, 1], [65, 101, 241, 33]];

/// Samples, nodes, channels, columns, prototypes.
const LAYERS: [[usize; 5]; 10] = [
    [128, 3, 32, 32, 4],
    [64, 2, 64, 64, 10],
    [129, 2, 8, 33, 1],
    [67, 3, 31, 12, 3],
    [300, 1, 100, 40, 2],
    [65, 2, 67, 68, 9],
    [256, 2, 16, 9, 5],
    [64, 600, 9, 8, 2],
    [145, 5, 31, 29, 11],
    [72, 2, 10, 32, 8],
];

/// The same where a weight is one tile: dpool of the parts, in fours and one by one; dW of the nodes; prototypes that no
/// block holds; samples around the tiles.
const TILES: [[usize; 5]; 9] = [
    [13, 300, 8, 17, 2],
    [33, 1100, 4, 8, 8],
    [2, 600, 32, 5, 3],
    [260, 3, 32, 32, 8],
    [17, 5, 31, 29, 11],
    [129, 2, 12, 32, 19],
    [16, 2, 32, 32, 16],
    [127, 1, 32, 30, 1],
    [1, 1, 1, 1, 1],
];

/// Every trial of both precisions.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("not_asked_for", || {
        for target in [Target { capability: 75, precision: Precision::Bf16 }, target(Precision::F32)] {
            multiplies([1, 128, 64, 32], [false, false, true], target, "gemm", 1e-6)?;
            mixes(LAYERS[0], target, "node_linear", 1e-6)?;
        }
        Ok(())
    })];
    let f32_large = |size| product(size, target(Precision::F32), "gemm_f32_large".into(), 1e-6);
    trials.extend(LARGE.into_iter().chain(ODD).map(f32_large));
    trials.extend(TILES.map(|size| {
        trial(&format!("f32::node_linear::{size:?}"), move || mixes(size, Target::LEAST, "node_linear", 1e-6))
    }));
    trials.push(trial("f32::counts", || counts(target(Precision::F32))));
    trials.push(trial("f32::inner_loop", inner_loop));
    for (name, precision, most) in [("tf32", Precision::Tf32, 1e-3), ("bf16", Precision::Bf16, 1e-2)] {
        for row in cases::all().into_iter().filter(|case| ROWS.contains(&case.name)) {
            let name = format!("{name}::row::{}", row.name);
            let check = move || parity::rounded(&row, &device(target(precision), Options::default()), most);
            trials.push(trial(&name, check));
        }
        let (tile, large) = (format!("gemm_{name}"), format!("gemm_{name}_large"));
        for (size, entry) in PRODUCTS.map(|size| (size, &tile)).into_iter().chain(LARGE.map(|size| (size, &large))) {
            let (title, entry) = (format!("{name}::gemm::{size:?}"), entry.clone());
            let check = move || {
                let transposes = [[false, false], [false, true], [true, false], [true, true]];
                transposes
                    .iter()
                    .try_for_each(|&[a, b]| multiplies(size, [a, b, a != b], target(precision), &entry, most))
            };
            trials.push(trial(&title, check));
        }
        for size in LAYERS {
            let check = move || mixes(size, target(precision), &format!("node_linear_{name}"), most);
            trials.push(trial(&format!("{name}::node_linear::{size:?}"), check));
        }
        trials.push(trial(&format!("{name}::counts"), move || counts(target(precision))));
        trials.push(trial(&format!("{name}::not_finite"), move || not_finite(target(precision))));
    }
    trials
}

/// Products of one size with all transposes.
fn product(size: [usize; 4], target: Target, entry: String, most: f64) -> Trial {
    trial(&format!("{entry}::{size:?}"), move || {
        let transposes = [[false, false], [false, true], [true, false], [true, true]];
        transposes.iter().try_for_each(|&[a, b]| multiplies(size, [a, b, a != b], target, &entry, most))
    })
}

pub(crate) fn trial(name: &str, check: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::test(format!("tensor_cores::{name}"), || check().map_err(Failed::from))
}

pub(crate) fn target(precision: Precision) -> Target {
    Target { capability: 80, precision }
}

pub(crate) fn device(target: Target, options: Options) -> Device {
    Device::simulator(None, target, options)
}

/// The reports of what a simulator has launched.
pub(crate) fn reports(device: &Device) -> Vec<Report> {
    match device {
        Device::Simulator(simulator) => simulator.take_reports(),
        _ => Vec::new(),
    }
}

/// One product in f64 and twice on a simulator: by `entry`, the same bits both times, within `most` of the scale that
/// sums of k numbers between -1 and 1 have, and not as near as f32 comes. A shared operand has the batch stride 0.
fn multiplies(size: [usize; 4], flags: [bool; 3], target: Target, entry: &str, most: f64) -> Outcome {
    let ([batch, m, n, k], [transpose_a, transpose_b, shared]) = (size, flags);
    let mut values = Values::new(7);
    let copies = if shared { 1 } else { batch };
    let (a, b, bias) = (values.variable(&[copies, m, k]), values.variable(&[batch, k, n]), values.variable(&[n]));
    let parameters = gemm::Params {
        batch: batch as u32,
        m: m as u32,
        n: n as u32,
        k: k as u32,
        transpose_a: transpose_a.into(),
        transpose_b: transpose_b.into(),
        a_stride: if shared { 0 } else { (m * k) as u32 },
        b_stride: (k * n) as u32,
    };
    let run = |device: &Device, dtype| -> isobath_engine::Result<Vec<f64>> {
        let (a, b, bias) = (a.tensor(device, dtype)?, b.tensor(device, dtype)?, bias.tensor(device, dtype)?);
        let c = Tensor::empty(device, [batch, m, n], dtype)?;
        let bias = if shared { In(&bias) } else { Absent };
        device.run(&gemm::GEMM, &parameters, &[In(&a), In(&b), bias, Out(&c)])?;
        c.to_f64()
    };
    near(&format!("{size:?} {flags:?}"), run, target, entry, most * (k as f64).sqrt())
}

/// The same of one layer with a weight for every node.
fn mixes(size: [usize; 5], target: Target, entry: &str, most: f64) -> Outcome {
    let [batch, nodes, channels, out, prototypes] = size;
    let mut values = Values::new(7);
    let x = values.variable(&[batch, nodes, channels]);
    let (e, pool) = (values.variable(&[nodes, prototypes]), values.variable(&[prototypes, channels, out]));
    let parameters = node_linear::Params {
        batch: batch as u32,
        nodes: nodes as u32,
        channels: channels as u32,
        out: out as u32,
        prototypes: prototypes as u32,
    };
    let run = |device: &Device, dtype| -> isobath_engine::Result<Vec<f64>> {
        let (x, e, pool) = (x.tensor(device, dtype)?, e.tensor(device, dtype)?, pool.tensor(device, dtype)?);
        let y = Tensor::empty(device, [batch, nodes, out], dtype)?;
        device.run(&node_linear::NODE_LINEAR, &parameters, &[In(&x), In(&e), In(&pool), Out(&y)])?;
        y.to_f64()
    };
    near(&format!("{size:?}"), run, target, entry, most * ((channels * prototypes) as f64).sqrt())?;
    let dy = values.variable(&[batch, nodes, out]);
    let scales = [out * prototypes, batch * channels * out, batch * nodes].map(|terms| (terms as f64).sqrt());
    let run = |device: &Device, dtype| -> isobath_engine::Result<Vec<f64>> {
        let [x, e, pool, dy] = [&x, &e, &pool, &dy].map(|input| input.tensor(device, dtype));
        let (x, e, pool, dy) = (x?, e?, pool?, dy?);
        let [dx, de, dpool] = [&x, &e, &pool].map(|x| Tensor::empty(device, x.shape(), dtype));
        let (dx, de, dpool) = (dx?, de?, dpool?);
        let bound = [In(&x), In(&e), In(&pool), In(&dy), Out(&dx), Out(&de), Out(&dpool)];
        device.run(&NODE_LINEAR_BACKWARD, &parameters, &bound)?;
        let mut all = Vec::new();
        for (gradient, scale) in [dx, de, dpool].iter().zip(scales) {
            all.extend(gradient.to_f64()?.into_iter().map(|v| v / scale));
        }
        Ok(all)
    };
    let entry = match (channels.max(out) <= 32, entry) {
        (true, "node_linear") => "node_linear_backward_whole".into(),
        (true, _) => "node_linear_backward_whole_tf32".into(),
        (false, _) => entry.replace("node_linear", "node_linear_backward"),
    };
    near(&format!("{size:?} backward"), run, target, &entry, most)
}

pub(crate) fn near(
    what: &str,
    run: impl Fn(&Device, DType) -> isobath_engine::Result<Vec<f64>>,
    target: Target,
    entry: &str,
    most: f64,
) -> Outcome {
    let device =
        device(target, Options { counting: isobath_ptx_simulator::Counting::Instructions, ..Options::default() });
    let run = |device: &Device, dtype| run(device, dtype).map_err(|e| format!("{what}: {e}"));
    let (exact, found) = (run(&Device::cpu(), DType::F64)?, run(&device, DType::F32)?);
    let reports = reports(&device);
    if reports.iter().all(|report| report.kernel != entry) {
        let found: Vec<_> = reports.iter().map(|report| &report.kernel).collect();
        return Err(format!("{what}: expected {entry}, found {found:?}"));
    }
    if found != run(&device, DType::F32)? {
        return Err(format!("{what}: a second run gave other numbers"));
    }
    let error = exact.iter().zip(&found).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    if error.is_nan() || error > most {
        return Err(format!("{what}: differs from f64 by {error:e}, more than {most:e}"));
    }
    if most > 1e-4 && error < 1e-3 * most {
        return Err(format!("{what}: differs from f64 by {error:e} only, as if nothing were rounded"));
    }
    Ok(())
}

/// No bank conflicts at all, global memory only in whole sectors.
fn counts(target: Target) -> Outcome {
    for size in [[1, 256, 256, 256], [32, 256, 256, 32]] {
        for flags in [[0, 0], [0, 1], [1, 0], [1, 1]] {
            let report = count(size, flags, target).map_err(|e| e.to_string())?;
            let total = report.total();
            if total.bank_conflicts > 0 || total.sectors != total.ideal_sectors {
                return Err(format!("{size:?}, transposed {flags:?}: {report}"));
            }
        }
    }
    Ok(())
}

/// On the least GPU, 88 of 100 instructions of gemm's inner loop are multiply-adds, and shared memory has no conflicts.
fn inner_loop() -> Outcome {
    for flags in [[0, 0], [0, 1], [1, 0], [1, 1]] {
        let report = count([1, 256, 256, 256], flags, Target::LEAST).map_err(|e| e.to_string())?;
        let most = report.rows.iter().map(|row| row.counts.warps).max().unwrap_or_default();
        let inner: Vec<_> = report.rows.iter().filter(|row| 2 * row.counts.warps > most).collect();
        let warps = |rows: &mut dyn Iterator<Item = &&Row>| rows.map(|row| row.counts.warps).sum::<u64>() as f64;
        let fma = warps(&mut inner.iter().filter(|row| row.class == Class::Fma)) / warps(&mut inner.iter());
        let conflicts: u64 = inner.iter().map(|row| row.counts.bank_conflicts).sum();
        if report.kernel != "gemm" || fma < 0.88 || conflicts > 0 {
            return Err(format!("transposed {flags:?}: {:.1} % FMA, {conflicts} conflicts in {report}", 100.0 * fma));
        }
    }
    Ok(())
}

/// What a product counts; both factors are shared by the batch.
fn count(size: [u32; 4], [transpose_a, transpose_b]: [u32; 2], target: Target) -> isobath_engine::Result<Report> {
    let (device, [batch, m, n, k]) = (device(target, Options::counting()), size);
    let mut values = Values::new(3);
    let mut matrix = |rows: u32| values.variable(&[rows as usize, k as usize]).tensor(&device, DType::F32);
    let (a, b) = (matrix(m)?, matrix(n)?);
    let c = Tensor::empty(&device, [batch, m, n].map(|len| len as usize), DType::F32)?;
    let parameters = gemm::Params { batch, m, n, k, transpose_a, transpose_b, a_stride: 0, b_stride: 0 };
    device.run(&gemm::GEMM, &parameters, &[In(&a), In(&b), Absent, Out(&c)])?;
    Ok(reports(&device).remove(0))
}

/// NaN of any bits and infinities in one row of a reach that row of c and no other.
fn not_finite(target: Target) -> Outcome {
    let run = || -> isobath_engine::Result<Vec<f64>> {
        let device = device(target, Options::default());
        let mut rows = vec![1.0f32; 64 * 64];
        let odd = [f32::NAN, f32::from_bits(0x7fff_ffff), f32::from_bits(0xffff_ffff), f32::INFINITY, f32::MAX];
        for (row, odd) in odd.into_iter().enumerate() {
            rows[64 * row + 7 * row] = odd;
        }
        let a = Tensor::from_slice(&device, [64, 64], &rows)?;
        let b = Tensor::from_slice(&device, [64, 64], &[0.5f32; 64 * 64])?;
        let c = Tensor::empty(&device, [64, 64], DType::F32)?;
        let parameters =
            gemm::Params { batch: 1, m: 64, n: 64, k: 64, transpose_a: 0, transpose_b: 0, a_stride: 0, b_stride: 0 };
        device.run(&gemm::GEMM, &parameters, &[In(&a), In(&b), Absent, Out(&c)])?;
        c.to_f64()
    };
    let found = run().map_err(|e| e.to_string())?;
    let right = found.iter().enumerate().all(|(i, v)| match i / 64 {
        0..3 => v.is_nan(),
        3 => *v == f64::INFINITY,
        4 => *v > 1e38,
        _ => *v == 32.0,
    });
    if right { Ok(()) } else { Err(format!("found {:?}", found.iter().step_by(64).take(8).collect::<Vec<_>>())) }
}
