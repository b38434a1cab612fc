//! A simulated NVIDIA GPU: runs the PTX of the kernels on the processor and finds their faults.
//!
//! Tensors lie in the host's memory. A launch gives each of them to the simulator as a buffer of its own, so that no
//! access past a tensor's end, and no read of what nothing has written, goes unseen.

use super::bind::{self, Bind};
use super::profile::Profile;
use crate::error::{Error, Result};
use crate::memory::{Host, Slab};
use crate::tensor::DType;
use bytemuck::Pod;
use isobath_kernels::wgsl::Dispatches;
use isobath_kernels::{Access, Entry, Kernel};
use isobath_ptx_simulator::{Argument, Buffer, Launch, Memory, Module, Options, Permission, Report};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The simulated GPU's memory and counters.
pub struct Simulator {
    pub(super) slab: Slab,
    pub(super) profile: Profile,
    options: Options,
    modules: Mutex<HashMap<&'static str, Arc<Module>>>,
    reports: Mutex<Vec<Report>>,
}

impl Simulator {
    pub(super) fn new(limit: Option<usize>, options: Options) -> Self {
        Simulator {
            slab: Slab::new(Box::new(Host::default()), limit, false),
            profile: Profile::default(),
            options,
            modules: Mutex::default(),
            reports: Mutex::default(),
        }
    }

    /// What the launches since the last call did, entry point by entry point; empty unless the options count.
    pub fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn run<P: Pod>(&self, kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
        if bind::check(kernel.name, kernel.buffers, bound)? == DType::F64 {
            return Err(refused("expected f32 or u32, found f64, which only the cpu computes with"));
        }
        let entry = kernel.entry();
        let Some(ptx) = &kernel.ptx else {
            return Err(refused(format!("kernel {} has no PTX yet; the cpu has all", kernel.name)));
        };
        let dispatches = (ptx.dispatches)(parameters);
        if let Some(what) = dispatches.refused {
            return Err(refused(format!("{}: {what}", kernel.name)));
        }
        let start = Instant::now();
        self.launch(&entry, bytemuck::bytes_of(parameters), bound, &dispatches).map_err(refused)?;
        self.profile.ended(kernel.name, start);
        self.profile.count(kernel.name, (kernel.cost)(parameters));
        Ok(())
    }

    fn launch(&self, kernel: &Entry, numbers: &[u8], bound: &[Bind<'_>], dispatches: &Dispatches) -> Outcome<()> {
        let module = self.module(kernel)?;
        let mut memory = Memory::new();
        let buffers: Vec<Option<Buffer>> = bound
            .iter()
            .zip(kernel.buffers)
            .map(|(bind, (name, access))| upload(&mut memory, name, *access, bind))
            .collect();
        let scratch = memory.reserve("scratch", 4 * dispatches.parts as usize * dispatches.part);
        let mut common: Vec<Argument> = Vec::new();
        for (buffer, (_, access)) in buffers.iter().zip(kernel.buffers) {
            common.push(match buffer {
                Some(buffer) => view(&memory, *buffer, *access),
                None => Argument::U64(0),
            });
        }
        for (entry, blocks) in dispatches.steps.iter().filter(|(_, blocks)| *blocks > 0) {
            let code = module.kernel(entry).map_err(|e| e.to_string())?;
            let mut arguments = common.clone();
            let mut rest = numbers;
            for (name, bytes) in code.parameters().skip(common.len()) {
                arguments.push(match name {
                    "scratch" => Argument::Buffer(scratch),
                    "parts" => Argument::U32(dispatches.parts),
                    _ => Argument::Bytes(rest.split_off(..bytes as usize).unwrap_or_default().to_vec()),
                });
            }
            let launch = Launch { grid: [*blocks, 1, 1], block: code.required_threads(), shared_bytes: 0 };
            let report = code.launch(&launch, &arguments, &mut memory, &self.options).map_err(|e| e.to_string())?;
            if self.options.counting != isobath_ptx_simulator::Counting::Off {
                self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            }
        }
        for ((buffer, bind), (name, _)) in buffers.iter().zip(bound).zip(kernel.buffers) {
            if let (Some(buffer), Bind::Out(tensor)) = (buffer, bind) {
                if let Some(offset) = memory.first_unwritten(*buffer) {
                    return Err(format!("{}: nothing has written offset {offset} of {name}", kernel.name));
                }
                // SAFETY: `check` found no other use of this range, and no launch runs.
                let bytes = unsafe { tensor.bytes_mut() };
                bytes.copy_from_slice(&memory.read_bytes(*buffer, 0, bytes.len()));
            }
        }
        Ok(())
    }

    /// A kernel's PTX, read at its first launch.
    fn module(&self, kernel: &Entry) -> Outcome<Arc<Module>> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(kernel.name) {
            return Ok(module.clone());
        }
        let module = Arc::new(parse(kernel)?);
        modules.insert(kernel.name, module.clone());
        Ok(module)
    }
}

type Outcome<T> = std::result::Result<T, String>;

fn refused(what: impl Into<String>) -> Error {
    Error::Device { device: "simulator".into(), what: what.into() }
}

fn upload(memory: &mut Memory, name: &str, access: Access, bind: &Bind<'_>) -> Option<Buffer> {
    let tensor = bind.tensor()?;
    // SAFETY: no launch runs while the host reads.
    let bytes = unsafe { tensor.bytes() };
    Some(match access {
        Access::Write => memory.reserve(name, bytes.len()),
        Access::Read | Access::Update => memory.add_bytes(name, bytes),
    })
}

fn view(memory: &Memory, buffer: Buffer, access: Access) -> Argument {
    let permission = if access == Access::Read { Permission::Read } else { Permission::ReadWrite };
    Argument::View { buffer, range: 0..memory.bytes(buffer), permission }
}

/// Reads a kernel's PTX and holds its entry points against the kernel: see [`isobath_kernels::ptx`] for what they must
/// look like. `ISOBATH_PTX` names a folder from which the text is read instead of the build's.
///
/// # Errors
/// The file, line and reason of what is wrong; the kernel's name when it has no PTX.
pub fn parse(kernel: &Entry) -> std::result::Result<Module, String> {
    let built_in = kernel.ptx.ok_or_else(|| format!("kernel {} has no PTX yet", kernel.name))?;
    let file = format!("kernels/ptx/{}.ptx", kernel.name);
    let module = match std::env::var_os("ISOBATH_PTX") {
        None => Module::parse(&file, built_in),
        Some(folder) => {
            let path = std::path::Path::new(&folder).join(format!("{}.ptx", kernel.name));
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            Module::parse(&path.display().to_string(), &text)
        }
    }
    .map_err(|e| e.to_string())?;
    for entry in module.kernels() {
        check_entry(entry, kernel).map_err(|what| format!("{file}: entry {}: {what}", entry.name()))?;
    }
    Ok(module)
}

fn check_entry(entry: &isobath_ptx_simulator::Kernel, kernel: &Entry) -> Outcome<()> {
    if !entry.name().starts_with(kernel.name) {
        return Err(format!("its name must begin with `{}`", kernel.name));
    }
    if entry.required_threads().contains(&0) {
        return Err("it must state the threads of a block by .reqntid".into());
    }
    let mut parameters = entry.parameters();
    for (expected, _) in kernel.buffers {
        match parameters.next() {
            Some((name, 8)) if name == *expected => {}
            found => return Err(format!("expected the address `{expected}`, found {found:?}")),
        }
    }
    let mut left = kernel.parameters as u32;
    for (name, bytes) in parameters {
        match (name, bytes) {
            ("scratch", 8) | ("parts", 4) if left == 0 => {}
            _ if bytes <= left => left -= bytes,
            _ => return Err(format!("`{name}` lies past the {} bytes of the kernel's parameters", kernel.parameters)),
        }
    }
    match left {
        0 => Ok(()),
        left => Err(format!("{left} bytes of the kernel's {} bytes of parameters are missing", kernel.parameters)),
    }
}
