//! A simulated NVIDIA GPU: runs the PTX of the kernels on the processor and finds their faults.
//!
//! Tensors lie in the host's memory. A launch gives each of them to the simulator as a buffer of its own, so that no
//! access past a tensor's end, and no read of what nothing has written, goes unseen.

use super::bind::{self, Bind};
use super::cpu;
use super::profile::Profile;
use super::ptx::{self, Slot};
use crate::error::{Error, Result};
use crate::memory::{Host, Slab};
use crate::tensor::DType;
use bytemuck::Pod;
use isobath_kernels::wgsl::Dispatches;
use isobath_kernels::{Access, Cost, Entry, Kernel, Target};
use isobath_ptx_simulator::{Argument, Buffer, Counting, Launch, Memory, Options, Permission, Report};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One kernel to look at: the processor computes what all others give.
#[derive(Clone, Copy, Debug)]
pub struct Focus {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Says why a launch that costs this much is not worth its time, and no launch of any kernel does that then.
    pub refused: fn(&Cost) -> Option<String>,
}

/// The simulated GPU's memory and counters.
pub struct Simulator {
    pub(super) slab: Slab,
    pub(super) profile: Profile,
    target: Target,
    options: Options,
    focus: Option<Focus>,
    kernels: Mutex<HashMap<&'static str, Arc<Vec<ptx::File>>>>,
    reports: Mutex<Vec<Report>>,
}

impl Simulator {
    pub(super) fn new(limit: Option<usize>, target: Target, options: Options, focus: Option<Focus>) -> Self {
        Simulator {
            slab: Slab::new(Box::new(Host::default()), limit, false),
            profile: Profile::default(),
            target,
            options,
            focus,
            kernels: Mutex::default(),
            reports: Mutex::default(),
        }
    }

    /// What the launches choose their entry points by.
    pub fn target(&self) -> Target {
        self.target
    }

    /// What the launches since the last call did, entry point by entry point; empty unless the options count.
    pub fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn run<P: Pod>(&self, kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
        if bind::check(kernel.name, kernel.buffers, bound)? == DType::F64 {
            return Err(refused("expected f32 or u32, found f64, which only the cpu computes with"));
        }
        let cost = bind::cost(kernel, parameters, bound);
        if let Some(focus) = &self.focus {
            if let Some(why) = (focus.refused)(&cost) {
                return Err(refused(format!("kernel {}: {why}", kernel.name)));
            }
            if focus.kernel != kernel.name {
                return cpu::compute(kernel, parameters, bound);
            }
        }
        let entry = kernel.entry();
        let dispatches = (kernel.ptx.dispatches)(parameters, &self.target);
        if let Some(what) = dispatches.refused {
            return Err(refused(format!("{}: {what}", kernel.name)));
        }
        let start = Instant::now();
        self.launch(&entry, bytemuck::bytes_of(parameters), bound, &dispatches).map_err(refused)?;
        self.profile.ended(kernel.name, start);
        self.profile.count(kernel.name, cost);
        Ok(())
    }

    fn launch(&self, kernel: &Entry, numbers: &[u8], bound: &[Bind<'_>], dispatches: &Dispatches) -> Outcome<()> {
        let files = self.files(kernel)?;
        let mut memory = Memory::new();
        let buffers: Vec<Option<Buffer>> = bound
            .iter()
            .zip(kernel.buffers)
            .map(|(bind, (name, access))| upload(&mut memory, name, *access, bind))
            .collect();
        let scratch = memory.reserve("scratch", 4 * dispatches.parts as usize * dispatches.part);
        for (entry, blocks) in dispatches.steps.iter().filter(|(_, blocks)| *blocks > 0) {
            let code = files.iter().find_map(|file| file.module.kernel(entry).ok());
            let code = code.ok_or_else(|| format!("{}: no file has an entry point {entry}", kernel.name))?;
            let mut rest = numbers;
            let argument = |slot| match slot {
                Slot::Buffer(number) => match buffers[number] {
                    Some(buffer) => view(&memory, buffer, kernel.buffers[number].1),
                    None => Argument::U64(0),
                },
                Slot::Numbers(bytes) => Argument::Bytes(rest.split_off(..bytes as usize).unwrap_or_default().to_vec()),
                Slot::Scratch => Argument::Buffer(scratch),
                Slot::Parts => Argument::U32(dispatches.parts),
            };
            let arguments: Vec<Argument> = ptx::slots(code, kernel)?.into_iter().map(argument).collect();
            let launch = Launch { grid: [*blocks, 1, 1], block: code.required_threads(), shared_bytes: 0 };
            let report = code.launch(&launch, &arguments, &mut memory, &self.options).map_err(|e| e.to_string())?;
            if self.options.counting != Counting::Off {
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
    fn files(&self, kernel: &Entry) -> Outcome<Arc<Vec<ptx::File>>> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = kernels.get(kernel.name) {
            return Ok(files.clone());
        }
        let files = Arc::new(ptx::read(kernel)?);
        kernels.insert(kernel.name, files.clone());
        Ok(files)
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
