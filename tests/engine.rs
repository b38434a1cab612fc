//! Memory over a training, and the errors that the tape, the parameters and the memory budget promise.

use isobath_engine::adam::Adam;
use isobath_engine::graph::Csr;
use isobath_engine::init::Init;
use isobath_engine::ops::{self, Spatial, SpatialWeights, TemporalWeights};
use isobath_engine::parameters::Parameters;
use isobath_engine::{DType, Device, Result, Tape, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Sizes of the small training: planes, batch, frames, nodes, channels, hidden width.
const SIZES: [usize; 6] = [2, 2, 11, 37, 8, 16];

fn parameters(device: &Device) -> Result<Parameters> {
    let [f, b, t, _, c, hidden] = SIZES;
    let matrix = |rows, columns| ([rows, columns], Init::linear(columns));
    let mut builder = Parameters::builder().add("shift", [b, t, c], Init::Normal { std: 0.1 });
    let matrices = [
        ("input", matrix(c, f)),
        ("query", matrix(c, c)),
        ("key", matrix(c, c)),
        ("value", matrix(c, c)),
        ("out", matrix(c, c)),
        ("up", matrix(hidden, c)),
        ("down", matrix(c, hidden)),
    ];
    for (name, (shape, init)) in matrices {
        builder = builder.add(name, shape, init);
    }
    for (name, width) in [("out.bias", c), ("up.bias", hidden), ("down.bias", c)] {
        builder = builder.add(name, [width], Init::linear(c));
    }
    for name in ["norm1.scale", "norm1.shift", "norm2.scale", "norm2.shift"] {
        builder = builder.add(name, [c], Init::Normal { std: 1.0 });
    }
    builder.build(device, DType::F32, 3)
}

fn temporal_weights(parameters: &Parameters) -> Result<TemporalWeights> {
    let p = |name: &str| parameters.get(name);
    Ok(TemporalWeights {
        input: p("input")?,
        norm1: (p("norm1.scale")?, p("norm1.shift")?),
        qkv: [p("query")?, p("key")?, p("value")?],
        out: (p("out")?, p("out.bias")?),
        norm2: (p("norm2.scale")?, p("norm2.shift")?),
        up: (p("up")?, p("up.bias")?),
        down: (p("down")?, p("down.bias")?),
    })
}

/// One training step on inputs of its own: fit the block's output to a target where a mask allows. Returns the loss.
fn step(parameters: &mut Parameters, seed: u64) -> Result<f64> {
    let [f, b, t, n, c, _] = SIZES;
    let mut rng = StdRng::seed_from_u64(seed);
    let device = parameters.device().clone();
    let mut draw = |shape: [usize; 4], low: f64| {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(low..1.0)).collect();
        Tensor::from_f64(&device, shape, &values, DType::F32)
    };
    let (planes, target) = (draw([f, b, t, n], -1.0)?, draw([b, n, t, c], -1.0)?);
    let mask = draw([b, n, t, c], 0.0)?;
    let tape = Tape::start()?;
    let y = ops::temporal_block(&planes, &parameters.get("shift")?, &temporal_weights(parameters)?, 2, 1e-5)?;
    let loss = ops::masked_mse(&y, &target, &mask)?;
    let gradients = tape.backward(&loss)?;
    Adam { lr: 1e-2, ..Adam::default() }.step(parameters, &gradients)?;
    loss.item()
}

#[test]
fn memory_of_a_training_stays_as_it_was_after_its_first_step() -> Result<()> {
    let device = Device::cpu_with(None, true);
    let mut parameters = parameters(&device)?;
    let kept = device.usage().persistent;
    let (mut peaks, mut losses) = (Vec::new(), Vec::new());
    for seed in 0..50 {
        device.reset_high_water();
        losses.push(step(&mut parameters, seed)?);
        let usage = device.usage();
        assert_eq!((usage.step, usage.persistent), (0, kept), "bytes left in use after step {}", seed + 1);
        peaks.push(usage.high_water);
    }
    assert_eq!(device.usage().overruns, 0);
    assert!(peaks[1..].iter().all(|peak| *peak == peaks[1]), "high-water marks of the steps: {peaks:?}");
    // The planes, the target, the mask and the result are there at once.
    let [f, b, t, n, c, _] = SIZES;
    assert!(peaks[1] >= kept + 4 * b * t * n * (f + 3 * c), "{} bytes at most", peaks[1]);
    assert!(losses[49] < 0.8 * losses[0], "the loss went from {} to {}", losses[0], losses[49]);
    Ok(())
}

#[test]
fn a_step_that_fails_leaves_no_memory_and_no_tape_behind() -> Result<()> {
    let needed = {
        let device = Device::cpu();
        step(&mut parameters(&device)?, 0)?;
        device.usage().high_water
    };
    // One byte short: the last allocation of the step fails.
    let device = Device::cpu_with(Some(needed - 1), false);
    let mut parameters = parameters(&device)?;
    let kept = device.usage().persistent;
    let error = step(&mut parameters, 0).unwrap_err().to_string();
    assert!(error.starts_with("out of memory: ["), "{error}");
    assert_eq!((device.usage().step, device.usage().persistent), (0, kept));
    drop(Tape::start()?);
    Ok(())
}

#[test]
fn out_of_memory_names_the_request_the_budget_and_the_three_largest_tensors() -> Result<()> {
    let device = Device::cpu_with(Some(4096), false);
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape, DType::F32);
    let held = [zeros(&[3])?, zeros(&[4, 64])?, zeros(&[2, 64])?, zeros(&[8, 64])?];
    let error = zeros(&[130]).unwrap_err().to_string();
    let expected = "out of memory: [130] needs 520 bytes, 3648 of a budget of 4096 bytes are in use; the largest tensors: \
                    [8, 64] (2048 bytes), [4, 64] (1024 bytes), [2, 64] (512 bytes); make the batch smaller";
    assert_eq!(error, expected);
    drop(held);
    assert_eq!(zeros(&[8, 128])?.len(), 1024);
    Ok(())
}

#[test]
fn a_tensor_of_a_finished_tape_is_refused() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, [2], &[1.0f32, 2.0])?;
    let tape = Tape::start()?;
    let y = ops::square(&tape.watch(&x)?)?;
    tape.backward(&ops::sum(&y)?)?;
    // Without a tape it is a tensor like any other.
    assert_eq!(ops::sum(&y)?.item()?, 5.0);
    let tape = Tape::start()?;
    let error = ops::add(&tape.watch(&x)?, &y).err().map(|e| e.to_string());
    let expected = "tape: add: input 1 belongs to a finished tape; detach it or compute it anew";
    assert_eq!(error.as_deref(), Some(expected));
    assert_eq!(ops::add(&tape.watch(&x)?, &y.detach())?.to_vec::<f32>()?, [2.0, 6.0]);
    Ok(())
}

#[test]
fn what_the_loss_did_not_reach_has_no_gradient() -> Result<()> {
    let device = Device::cpu();
    let parameters = Parameters::builder()
        .add("used", [3], Init::linear(3))
        .add("unused", [3], Init::linear(3))
        .build(&device, DType::F32, 1)?;
    let tape = Tape::start()?;
    let (used, unused) = (parameters.get("used")?, parameters.get("unused")?);
    let product = ops::mul(&used, &unused)?;
    let gradients = tape.backward(&ops::sum(&ops::square(&used)?)?)?;
    let text = |error: isobath_engine::Error| error.to_string();
    assert_eq!(parameters.gradient(&gradients, "used")?.to_f64()?, gradients.get(&used)?.to_f64()?);
    let error = parameters.gradient(&gradients, "unused").map_err(text).unwrap_err();
    assert_eq!(error, "parameter unused: the loss does not depend on it");
    let error = gradients.get(&unused).map_err(text).unwrap_err();
    assert_eq!(error, "tape: the loss does not depend on this tensor [3]");
    let error = gradients.get(&product).map_err(text).unwrap_err();
    assert_eq!(error, "tape: a tensor [3] that is no leaf has no gradient");
    Ok(())
}

#[test]
fn an_operation_on_numbers_refuses_indices() -> Result<()> {
    let device = Device::cpu();
    let index = Tensor::from_slice(&device, [2], &[1u32, 2])?;
    let error = ops::square(&index).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("unary: input 0: expected f32 or f64, found u32 [2] on cpu"));
    Ok(())
}

#[test]
fn a_spatial_block_refuses_what_does_not_fit() -> Result<()> {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape, DType::F32);
    let error = |n: usize, prototypes: usize, groups: usize| -> Result<Option<String>> {
        let pair = |shape: &[usize]| Ok::<_, isobath_engine::Error>((zeros(shape)?, zeros(&[shape[0]])?));
        let weights = SpatialWeights {
            embedding: zeros(&[3, prototypes])?,
            pool: zeros(&[prototypes, 4, 4])?,
            norm: pair(&[4])?,
            gate: None,
            out: pair(&[1, 4])?,
        };
        let graph = Csr::new(&device, 3, &[0, 1, 2, 3], &[1, 2, 0], None, DType::F32)?;
        let spatial = Spatial { graph, residual: true, groups, eps: 1e-5, bounds: None };
        let block = ops::spatial_block(&zeros(&[2, n, 5, 4])?, &weights, &spatial, None);
        Ok(block.err().map(|e| e.to_string()))
    };
    let refused = |what: &str| Some(format!("spatial_block: {what}"));
    assert_eq!(error(3, 2, 2)?, None);
    assert_eq!(error(7, 2, 2)?, refused("h [b, n, t, c]: n = 7, the graph has 3 nodes"));
    assert_eq!(error(3, 2, 3)?, refused("h [b, n, t, c]: c = 4 is not a multiple of groups = 3"));
    assert_eq!(error(3, 0, 2)?, refused("embedding [n, k]: expected at least one prototype, found k = 0"));
    Ok(())
}

#[test]
fn a_temporal_block_refuses_what_does_not_fit() -> Result<()> {
    let parameters = parameters(&Device::cpu())?;
    let [f, b, t, n, _, _] = SIZES;
    let error = |planes: [usize; 4], heads: usize| -> Result<Option<String>> {
        let planes = Tensor::zeros(parameters.device(), planes, DType::F32)?;
        let weights = temporal_weights(&parameters)?;
        let block = ops::temporal_block(&planes, &parameters.get("shift")?, &weights, heads, 1e-5);
        Ok(block.err().map(|e| e.to_string()))
    };
    let refused = |what: &str| Some(format!("temporal_block: {what}"));
    assert_eq!(error([f, b, t, n], 2)?, None);
    assert_eq!(error([f, b, t, n], 3)?, refused("shift [b, t, c]: c = 8 is not a multiple of heads = 3"));
    assert_eq!(error([0, b, t, n], 2)?, refused("planes [f, b, t, n]: expected at least one plane, found f = 0"));
    assert_eq!(error([f, b, t + 1, n], 2)?, refused("shift [b, t, c]: expected [2, 12, 8], found [2, 11, 8]"));
    Ok(())
}
