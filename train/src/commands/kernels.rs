//! `isobath kernels`.

use clap::{Args, ValueEnum};
use isobath_engine::Device;
use isobath_engine::device::wgpu::shader::{EntryPoint, Shader};
use isobath_engine::device::{Launches, ptx};
use isobath_kernels::{ALL, Access, Entry, resources};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::synthetic::{Imputer, Shape, train_forecaster};
use crate::{Error, Result};

/// List every compute kernel, and what a training step asks of each
#[derive(Args)]
#[command(after_help = "Examples:\n  isobath kernels\n  isobath kernels --model stddm --nodes 4443 --frames 46")]
pub(super) struct Kernels {
    /// Count the operations and bytes of one training step of this model, which runs on the processor
    #[arg(long, value_enum)]
    model: Option<Model>,
    #[command(flatten)]
    shape: Shape,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// STIMP's diffusion imputer
    Stddm,
    /// STIMP's forecaster
    Forecaster,
}

impl Kernels {
    pub(super) fn run(&self) -> Result<()> {
        match (self.model, self.json) {
            (None, false) => ALL.iter().try_for_each(print),
            (None, true) => print_json(ALL.iter().map(described).collect::<Result<_>>()?),
            (Some(model), json) => {
                let launches = launches(model, &self.shape)?;
                match json {
                    true => print_json(launches.iter().map(costs).collect()),
                    false => print_costs(&launches),
                }
            }
        }
    }
}

/// A kernel's row, and one for each entry point of its shader and of its PTX.
fn print(kernel: &Entry) -> Result<()> {
    let buffers: Vec<String> =
        kernel.buffers.iter().map(|(name, access)| format!("{name}: {}", word(*access))).collect();
    let (name, devices, bytes) = (kernel.name, DEVICES.join(" "), kernel.parameters);
    println!("{name:<28} {devices} {bytes:>4} B of parameters   {}", buffers.join(", "));
    for entry in entries(kernel)? {
        println!(
            "  wgsl {:<36} workgroup {:>4}, shared {:>5} B, bindings {:>2}",
            entry.name,
            entry.workgroup_size,
            entry.workgroup_bytes,
            entry.bindings.len()
        );
    }
    for entry in ptx_entries(kernel)? {
        let registers: Vec<String> = entry.registers.iter().map(|(gpu, count)| format!("{gpu} {count}")).collect();
        println!(
            "  ptx  {:<36} block     {:>4}, shared {:>5} B, registers {}",
            entry.name,
            entry.threads,
            entry.shared_bytes,
            registers.join(", ")
        );
    }
    Ok(())
}

/// One entry point of a kernel's PTX.
struct PtxEntry {
    name: String,
    /// Threads of a block.
    threads: u32,
    /// Bytes of shared memory of a block.
    shared_bytes: u32,
    /// GPUs and the registers of a thread on each.
    registers: Vec<(String, u32)>,
}

fn ptx_entries(kernel: &Entry) -> Result<Vec<PtxEntry>> {
    let files = ptx::read(kernel).map_err(Error::Fault)?;
    let entries = files.iter().flat_map(|file| file.module.kernels()).map(|entry| {
        let found = resources(entry.name());
        let registers = found.iter().flat_map(|r| r.registers.iter().flatten());
        PtxEntry {
            name: entry.name().to_owned(),
            threads: entry.required_threads().iter().product(),
            shared_bytes: entry.shared_bytes(),
            registers: registers.map(|(capability, count)| (format!("sm_{capability}"), *count)).collect(),
        }
    });
    Ok(entries.collect())
}

/// The same as JSON.
fn described(kernel: &Entry) -> Result<Value> {
    let entry = |entry: EntryPoint| {
        json!({
            "name": entry.name,
            "workgroup_size": entry.workgroup_size,
            "workgroup_bytes": entry.workgroup_bytes,
            "bindings": entry.bindings.len(),
        })
    };
    let ptx_entry = |entry: PtxEntry| {
        json!({
            "name": entry.name,
            "threads": entry.threads,
            "shared_bytes": entry.shared_bytes,
            "registers": entry.registers.into_iter().collect::<BTreeMap<_, _>>(),
        })
    };
    let buffer = |(name, access): &(&str, Access)| json!({ "name": name, "access": word(*access) });
    Ok(json!({
        "kernel": kernel.name,
        "devices": DEVICES,
        "parameter_bytes": kernel.parameters,
        "buffers": kernel.buffers.iter().map(buffer).collect::<Vec<_>>(),
        "wgsl": entries(kernel)?.into_iter().map(entry).collect::<Vec<_>>(),
        "ptx": ptx_entries(kernel)?.into_iter().map(ptx_entry).collect::<Vec<_>>(),
    }))
}

/// All of them have code for each kernel.
const DEVICES: [&str; 4] = ["cpu", "wgpu", "cuda", "simulator"];

/// What can be dispatched of a kernel's shader.
fn entries(kernel: &Entry) -> Result<Vec<EntryPoint>> {
    Ok(Shader::new(kernel).map_err(Error::Fault)?.entries)
}

fn word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Update => "update",
    }
}

/// The launches of one training step, that with the most operations first.
fn launches(model: Model, shape: &Shape) -> Result<Vec<Launches>> {
    let device = Device::cpu();
    match model {
        Model::Stddm => {
            let mut imputer = Imputer::new(&device, shape)?;
            device.reset_profile();
            imputer.train(0)?;
        }
        Model::Forecaster => {
            train_forecaster(&device, shape)?;
        }
    }
    let mut launches = device.profile();
    launches.sort_by_key(|l| std::cmp::Reverse((l.cost.flops, l.cost.bytes)));
    Ok(launches)
}

fn print_costs(launches: &[Launches]) -> Result<()> {
    println!("{:<28} {:>6} {:>14} {:>14} {:>11}", "kernel", "calls", "flops", "bytes", "flops/byte");
    for l in launches {
        let intensity = l.cost.flops as f64 / l.cost.bytes.max(1) as f64;
        println!("{:<28} {:>6} {:>14} {:>14} {intensity:>11.2}", l.kernel, l.calls, l.cost.flops, l.cost.bytes);
    }
    let total = |of: fn(&Launches) -> u64| launches.iter().map(of).sum::<u64>();
    let (calls, flops, bytes) = (total(|l| l.calls), total(|l| l.cost.flops), total(|l| l.cost.bytes));
    println!("{:<28} {calls:>6} {flops:>14} {bytes:>14}", "one training step");
    Ok(())
}

fn costs(launches: &Launches) -> Value {
    json!({
        "kernel": launches.kernel,
        "calls": launches.calls,
        "flops": launches.cost.flops,
        "bytes": launches.cost.bytes,
    })
}

fn print_json(rows: Vec<Value>) -> Result<()> {
    println!("{:#}", Value::Array(rows));
    Ok(())
}
