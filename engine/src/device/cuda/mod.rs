//! An NVIDIA GPU, driven through the driver alone: no toolkit is needed, neither to build nor to run.
//!
//! The driver's library is loaded when a GPU is first asked for; it compiles the PTX of a kernel when the kernel is first
//! launched, and keeps the result in its own cache on disk. Tensors lie in a slab of a few large pieces of memory.
//!
//! Launches, uploads and copies are collected, and handed over when the host reads a tensor. What is handed over is a
//! sequence of entry points and grids; one that comes a second time becomes a graph, and from then on the whole of it is
//! one call of the driver, in which only addresses and numbers change. So a steady training step is one graph launch.
//! `ISOBATH_CUDA_GRAPHS=off` has all launches go out one by one: where a kernel faults, the error then names it. What PTX
//! looks like: [`isobath_kernels::ptx`].

mod commands;
mod driver;
mod events;
mod fault;
mod graph;
mod memory;
mod modules;
mod node;

pub use commands::Counters;
pub use driver::{Offer, Version, offers};

use super::bind::{self, Bind};
use super::profile::{Clock, Profile};
use crate::error::{Error, Result};
use crate::memory::{Region, Slab};
use crate::shape::Shape;
use crate::tensor::DType;
use bytemuck::Pod;
use commands::{Commands, Place};
use cudarc::driver::result::{ctx, device, primary_ctx};
use cudarc::driver::sys::{CUcontext, CUdevice};
use fault::{refused, text};
use isobath_kernels::wgsl::Dispatches;
use isobath_kernels::{Entry, Kernel, Precision, Target};
use memory::Pieces;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// An NVIDIA GPU's memory, commands and counters.
pub struct Cuda {
    pub(super) slab: Slab,
    pub(super) profile: Arc<Profile>,
    offer: Offer,
    target: Target,
    gpu: Arc<Gpu>,
}

/// What launches and the slab share.
struct Gpu {
    commands: ManuallyDrop<Mutex<Commands>>,
    context: CUcontext,
    device: CUdevice,
}

// SAFETY: the context's handle may be used on any thread.
unsafe impl Send for Gpu {}
// SAFETY: as above; the commands are behind a lock.
unsafe impl Sync for Gpu {}

impl Gpu {
    fn open(ordinal: usize) -> std::result::Result<Self, cudarc::driver::result::DriverError> {
        let device = device::get(ordinal as i32)?;
        // SAFETY: the driver has just named the GPU.
        let context = unsafe { primary_ctx::retain(device)? };
        // SAFETY: the context was retained above, and is released when the GPU is dropped.
        unsafe { ctx::set_current(context)? };
        let graphs = std::env::var("ISOBATH_CUDA_GRAPHS").as_deref() != Ok("off");
        let commands = Commands::new(context, graphs).inspect_err(|_| {
            // SAFETY: as above; nothing else was made.
            let _ = unsafe { primary_ctx::release(device) };
        })?;
        Ok(Gpu { commands: ManuallyDrop::new(Mutex::new(commands)), context, device })
    }

    fn lock(&self) -> MutexGuard<'_, Commands> {
        // A panic between two commands leaves those before it as they were.
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        self.enter();
        commands
    }

    /// Makes the context that of this thread. Where the driver refuses, the next call says why.
    fn enter(&self) {
        // SAFETY: the context is retained as long as `self` lives.
        let _ = unsafe { ctx::set_current(self.context) };
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.enter();
        // SAFETY: this is the only drop, and nothing uses the commands afterwards; the context outlives them.
        unsafe {
            ManuallyDrop::drop(&mut self.commands);
            let _ = primary_ctx::release(self.device);
        }
    }
}

impl Cuda {
    pub(super) fn open(ordinal: usize, limit: Option<usize>, precision: Precision, checked: bool) -> Result<Self> {
        let offer = driver::choose(ordinal)?;
        let target = Target { capability: offer.capability, precision };
        if precision != Precision::F32 && target.capability < 80 {
            return Err(refused(format!(
                "{} multiplies matrices in f32 alone; tf32 and bf16 need compute capability 8.0",
                offer.label()
            )));
        }
        let gpu = Gpu::open(ordinal).map_err(|error| refused(format!("{}: {}", offer.label(), text(error))))?;
        let gpu = Arc::new(gpu);
        let store = Pieces::new(gpu.clone(), offer.memory, limit);
        // Without a budget the card is one.
        let slab = Slab::new(Box::new(store), Some(limit.unwrap_or(offer.memory)), checked);
        Ok(Cuda { slab, profile: Arc::default(), offer, target, gpu })
    }

    /// The GPU that was opened.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// What the launches choose their entry points by.
    pub fn target(&self) -> Target {
        self.target
    }

    /// What the device has made and handed over so far.
    pub fn counters(&self) -> Counters {
        self.gpu.lock().counters()
    }

    /// Gives the GPU up, as after a fault: whatever uses it from now on fails with [`Error::DeviceLost`]. For tests of what
    /// follows.
    pub fn lose(&self) {
        self.gpu.lock().lose("it was given up");
    }

    /// Whether a tensor can be made.
    pub(super) fn expect(&self, dtype: DType) -> Result<()> {
        match dtype {
            DType::F32 | DType::U32 => self.gpu.lock().check(),
            DType::F64 => Err(Error::Type {
                op: "cuda",
                what: "expected f32 or u32, found f64, which only the cpu computes with".into(),
            }),
        }
    }

    pub(super) fn run<P: Pod>(&self, kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
        bind::check(kernel.name, kernel.buffers, bound)?;
        let dispatches = (kernel.ptx.dispatches)(parameters, &self.target);
        if let Some(what) = dispatches.refused {
            return Err(refused(format!("{}: {what}", kernel.name)));
        }
        let numbers = bytemuck::bytes_of(parameters);
        if self.profile.clock() == Some(Clock::Host) {
            self.finish()?;
            let start = Instant::now();
            self.launch(&kernel.entry(), numbers, bound, &dispatches)?;
            self.finish()?;
            self.profile.ended(kernel.name, start);
        } else {
            self.launch(&kernel.entry(), numbers, bound, &dispatches)?;
        }
        self.profile.count(kernel.name, bind::cost(kernel, parameters, bound));
        Ok(())
    }

    fn launch(&self, kernel: &Entry, numbers: &[u8], bound: &[Bind<'_>], dispatches: &Dispatches) -> Result<()> {
        // Taken before and given back after the lock on the commands, which the slab takes too. Launches that use the
        // memory next come later on the same stream.
        let scratch = match (dispatches.parts as usize, dispatches.part) {
            (0, _) | (_, 0) => None,
            (parts, part) => Some(self.slab.allocate(4 * parts * part, Shape::new(&[parts, part]), Region::Step)?),
        };
        let tensors = bound.iter().map(|bind| bind.tensor().map(|tensor| tensor.place()));
        let places: Vec<Option<Place>> = tensors.chain([scratch.as_ref().map(|block| block.place())]).collect();
        self.gpu.lock().launch(kernel, numbers, &places, dispatches)
    }

    /// Waits until all launches are done.
    pub(super) fn finish(&self) -> Result<()> {
        self.gpu.lock().finish()
    }

    /// Times launches from now on, or no more.
    pub(super) fn set_clock(&self, clock: Option<Clock>) -> Result<()> {
        self.gpu.lock().time((clock == Some(Clock::Gpu)).then(|| self.profile.clone()))?;
        self.profile.set_clock(clock);
        Ok(())
    }

    pub(super) fn read(&self, place: Place, bytes: &mut [u8]) -> Result<()> {
        self.gpu.lock().read(place, bytes)
    }

    pub(super) fn pace(&self) -> Result<()> {
        self.gpu.lock().pace()
    }

    pub(super) fn write(&self, place: Place, bytes: &[u8]) -> Result<()> {
        self.gpu.lock().write(place, bytes)
    }

    pub(super) fn clear(&self, place: Place, len: usize) -> Result<()> {
        self.gpu.lock().clear(place, len)
    }

    pub(super) fn copy(&self, from: Place, to: Place, len: usize) -> Result<()> {
        self.gpu.lock().copy(from, to, len)
    }
}
