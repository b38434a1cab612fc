//! `isobath kernels`.

use clap::{Args, ValueEnum};
use isobath_engine::Device;
use isobath_engine::device::Launches;
use isobath_engine::device::wgpu::shader::{EntryPoint, Shader};
use isobath_kernels::{ALL, Access, Entry};
use serde_json::{Value, json};

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

/// A kernel's row, and one for each entry point of its shader.
fn print(kernel: &Entry) -> Result<()> {
    let buffers: Vec<String> =
        kernel.buffers.iter().map(|(name, access)| format!("{name}: {}", word(*access))).collect();
    let (name, devices, bytes) = (kernel.name, devices(kernel).join(" "), kernel.parameters);
    println!("{name:<28} {devices:<24} {bytes:>4} B of parameters   {}", buffers.join(", "));
    for entry in entries(kernel)? {
        println!(
            "  {:<36} workgroup {:>4}, shared {:>5} B, bindings {:>2}",
            entry.name,
            entry.workgroup_size,
            entry.workgroup_bytes,
            entry.bindings.len()
        );
    }
    Ok(())
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
    let buffer = |(name, access): &(&str, Access)| json!({ "name": name, "access": word(*access) });
    Ok(json!({
        "kernel": kernel.name,
        "devices": devices(kernel),
        "parameter_bytes": kernel.parameters,
        "buffers": kernel.buffers.iter().map(buffer).collect::<Vec<_>>(),
        "entry_points": entries(kernel)?.into_iter().map(entry).collect::<Vec<_>>(),
    }))
}

/// The devices that have code for a kernel.
fn devices(kernel: &Entry) -> &'static [&'static str] {
    if kernel.ptx.is_some() { &["cpu", "wgpu", "cuda", "simulator"] } else { &["cpu", "wgpu"] }
}

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
