//! What goes wrong with drivers and GPUs, and in which words the device says so: each in a program of its own, whose driver
//! the environment tells what to do.

use crate::stand_in::LIBRARIES;
use isobath_engine::{DType, Device, Result, Tensor, ops};
use isobath_kernels::Precision;
use isobath_tests::checks::Outcome;
use std::process::Command;

/// In place of trials: run a scenario and print every outcome on a line.
pub(super) const SAY: &str = "--say";

type Check = fn(&Device) -> Outcome;

pub(super) fn all() -> Vec<(&'static str, Check)> {
    vec![
        ("no_driver", |_| {
            let expected = "cuda: no NVIDIA driver found (libcuda.so.1 cannot be loaded)";
            expect(&run("open", "", |command| _ = command.env_remove(LIBRARIES))?, &[expected])
        }),
        ("old_driver", |_| {
            let expected = "cuda: the driver is too old: it knows CUDA 11.3, needed is 11.4 (driver 470 or later)";
            expect(&said("open", "old-driver")?, &[expected])
        }),
        ("no_device", |_| expect(&said("open", "no-device")?, &["cuda: the driver finds no NVIDIA GPU"])),
        ("old_gpu", |_| {
            let expected = "cuda: stand-in for a GPU (compute capability 5.2, CUDA 13.0 driver): kernels need compute \
                            capability 6.1";
            expect(&said("open", "capability:52")?, &[expected])
        }),
        ("precision", |_| {
            let refused = "cuda: stand-in for a GPU (compute capability 6.1, CUDA 13.0 driver) multiplies matrices in f32 \
                           alone; tf32 and bf16 need compute capability 8.0";
            expect(&said("tf32", "")?, &[refused])?;
            let opened = "cuda, stand-in for a GPU (compute capability 8.0, CUDA 13.0 driver)";
            expect(&said("tf32", "capability:80")?, &[opened])
        }),
        ("out_of_memory", |_| {
            let expected = "out of memory: [20000000] needs 80000000 bytes, 160000000 of a budget of 300000000 bytes are in \
                            use; the largest tensors: [20000000] (80000000 bytes), [20000000] (80000000 bytes); make the \
                            batch smaller";
            expect(&said("fill", "memory:300000000")?, &["2 tensors", expected])
        }),
        ("kernel_fault", |_| {
            let what = "cuda was lost: kernel unary, entry point unary, 3 blocks of 256x1x1 threads: \
                        CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered); go on from the last \
                        checkpoint";
            expect(&said("sums", "fault:unary")?, &[what, what, what])
        }),
        ("graph_fault", |_| {
            let what = "cuda was lost: one of the 10 launches of a graph (unary; ISOBATH_CUDA_GRAPHS=off tells which): \
                        CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered); go on from the last \
                        checkpoint";
            expect(&said("squares", "fault-in-graph")?, &["1", what, what])
        }),
        // Graphs that the driver does not change are built again.
        ("refused_update", |_| expect(&said("lines", "refuse-update")?, &["1", "11", "21", "31"])),
        ("refused_ptx", |_| {
            let what = "cuda: the driver refuses kernels/ptx/unary.ptx: CUDA_ERROR_INVALID_PTX (a PTX JIT compilation \
                        failed): ptxas application ptx input, line 12; error: Unknown modifier '.wide' ptxas fatal: stop";
            expect(&said("sums", "refuse:unary")?, &[what, what, "[1.0, 2.0, 3.0]"])
        }),
    ]
}

/// The lines that a scenario prints where the driver does what is wished.
fn said(scenario: &str, wish: &str) -> std::result::Result<Vec<String>, String> {
    run(scenario, wish, |_| {})
}

fn run(scenario: &str, wish: &str, change: impl FnOnce(&mut Command)) -> std::result::Result<Vec<String>, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args([SAY, scenario]).env("ISOBATH_STAND_IN", wish).env_remove("ISOBATH_PTX");
    change(&mut command);
    let output = command.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    match output.status.success() {
        true => Ok(text.lines().map(str::to_owned).collect()),
        false => Err(format!("{scenario}: {text}{}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn expect(found: &[String], expected: &[&str]) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("expected {expected:#?}, found {found:#?}")) }
}

/// Runs a scenario and prints what comes of it.
pub(super) fn say(scenario: &str) {
    let open = |precision| Device::cuda(0, None, precision);
    let describe = |device: Result<Device>| device.map_or_else(|e| e.to_string(), |device| device.description());
    match scenario {
        "open" => println!("{}", describe(open(Precision::F32))),
        "tf32" => println!("{}", describe(open(Precision::Tf32))),
        _ => match open(Precision::F32) {
            Err(error) => println!("{error}"),
            Ok(device) => compute(scenario, &device),
        },
    }
}

fn compute(scenario: &str, device: &Device) {
    let tell = |outcome: Result<String>| println!("{}", outcome.unwrap_or_else(|e| e.to_string()));
    match scenario {
        // The square is neither the first launch nor the last.
        "sums" => {
            let sums = || -> Result<String> {
                let x = Tensor::from_slice(device, [3000], &[1.0f32; 3000])?;
                let y = ops::square(&ops::add(&x, &x)?)?;
                Ok(ops::add(&y, &x)?.to_vec::<f32>()?[0].to_string())
            };
            tell(sums());
            tell(sums());
            tell((|| Ok(format!("{:?}", Tensor::from_slice(device, [3], &[1.0f32, 2.0, 3.0])?.to_vec::<f32>()?)))());
        }
        "lines" => (0..4u8).for_each(|i| {
            let line = || -> Result<String> {
                let one = Tensor::from_slice(device, [7], &[1.0f32; 7])?;
                Ok((0..10).try_fold(one, |x, _| ops::affine(&x, 1.0, f32::from(i)))?.to_vec::<f32>()?[6].to_string())
            };
            tell(line());
        }),
        "squares" => (0..3).for_each(|_| {
            let squares = || -> Result<String> {
                let one = Tensor::from_slice(device, [3000], &[1.0f32; 3000])?;
                Ok((0..10).try_fold(one, |x, _| ops::square(&x))?.to_vec::<f32>()?[0].to_string())
            };
            tell(squares());
        }),
        "fill" => {
            let mut held = Vec::new();
            let error = loop {
                match Tensor::zeros(device, [20_000_000], DType::F32) {
                    Ok(tensor) => held.push(tensor),
                    Err(error) => break error,
                }
            };
            println!("{} tensors\n{error}", held.len());
        }
        other => println!("no scenario {other}"),
    }
}
