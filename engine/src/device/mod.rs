//! Where tensors live and kernels run.

mod bind;
pub mod cpu;
pub mod cuda;
mod profile;
pub mod ptx;
pub mod simulator;
pub mod wgpu;

pub use bind::Bind;
pub use profile::{Clock, Event, Launches};

use crate::error::{Error, Result};
use crate::memory::{Block, Region, Slab, Usage};
use crate::shape::Shape;
use crate::tensor::{DType, Tensor};
use bytemuck::Pod;
use isobath_kernels::{Kernel, Precision, Target};
use profile::Profile;
use std::sync::Arc;

/// A device chosen at run time. Copies share its memory and its counters.
#[derive(Clone)]
pub enum Device {
    /// This computer's processor: SIMD on all cores.
    Cpu(Arc<cpu::Cpu>),
    /// An NVIDIA GPU.
    Cuda(Arc<cuda::Cuda>),
    /// The PTX of the kernels, interpreted on the processor.
    Simulator(Arc<simulator::Simulator>),
    /// A GPU behind Vulkan, Metal or DirectX 12.
    Wgpu(Arc<self::wgpu::Wgpu>),
}

impl Device {
    /// The processor, without a memory budget.
    pub fn cpu() -> Self {
        Self::cpu_with(None, false)
    }

    /// The processor with a budget in bytes, and with sentinels round every tensor when `checked`.
    pub fn cpu_with(limit: Option<usize>, checked: bool) -> Self {
        Device::Cpu(Arc::new(cpu::Cpu::new(limit, checked)))
    }

    /// The GPU that `adapter` names, without a memory budget: part of its name, its index in
    /// [`adapters`](self::wgpu::adapters), or `auto` for the fastest one, which is never a software adapter.
    ///
    /// # Errors
    /// When there is none, or it does not offer what is needed.
    pub fn wgpu(adapter: &str) -> Result<Self> {
        Self::wgpu_with(adapter, None, false)
    }

    /// The same with a budget in bytes. When `checked`, tensors have sentinels round them and shaders check their
    /// indices.
    ///
    /// # Errors
    /// As [`Device::wgpu`].
    pub fn wgpu_with(adapter: &str, limit: Option<usize>, checked: bool) -> Result<Self> {
        Ok(Device::Wgpu(Arc::new(self::wgpu::Wgpu::open(adapter, limit, checked)?)))
    }

    /// The NVIDIA GPU of this number, from 0, with a budget in bytes; `precision` is that of matrix products.
    ///
    /// # Errors
    /// When there is none, the driver is missing or too old, or the GPU does not offer what is needed.
    pub fn cuda(ordinal: usize, limit: Option<usize>, precision: Precision) -> Result<Self> {
        Self::cuda_with(ordinal, limit, precision, false)
    }

    /// The same; when `checked`, tensors have sentinels round them.
    ///
    /// # Errors
    /// As [`Device::cuda`].
    pub fn cuda_with(ordinal: usize, limit: Option<usize>, precision: Precision, checked: bool) -> Result<Self> {
        Ok(Device::Cuda(Arc::new(cuda::Cuda::open(ordinal, limit, precision, checked)?)))
    }

    /// A simulated NVIDIA GPU with a budget in bytes.
    pub fn simulator(limit: Option<usize>, target: Target, options: isobath_ptx_simulator::Options) -> Self {
        Device::Simulator(Arc::new(simulator::Simulator::new(limit, target, options, None)))
    }

    /// The same with an eye for one kernel.
    pub fn simulator_of(
        focus: simulator::Focus,
        limit: Option<usize>,
        target: Target,
        options: isobath_ptx_simulator::Options,
    ) -> Self {
        Device::Simulator(Arc::new(simulator::Simulator::new(limit, target, options, Some(focus))))
    }

    /// The name by which the device is asked for.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu(_) => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Simulator(_) => "simulator",
            Device::Wgpu(_) => "wgpu",
        }
    }

    /// The name by which the device is asked for, and which GPU it is.
    pub fn description(&self) -> String {
        match self {
            Device::Cpu(_) | Device::Simulator(_) => self.name().to_owned(),
            Device::Cuda(gpu) => format!("{}, {}", self.name(), gpu.offer().label()),
            Device::Wgpu(gpu) => format!("{}, {}", self.name(), gpu.adapter().label()),
        }
    }

    /// Whether it is a GPU that the processor only imitates.
    pub fn is_software_gpu(&self) -> bool {
        matches!(self, Device::Wgpu(gpu) if gpu.adapter().software)
    }

    /// Bytes of the largest tensor that it can hold, memory permitting.
    pub fn largest_tensor(&self) -> usize {
        self.slab().largest()
    }

    /// What its memory holds.
    pub fn usage(&self) -> Usage {
        self.slab().usage()
    }

    /// Forgets the high-water mark of its memory.
    pub fn reset_high_water(&self) {
        self.slab().reset_high_water();
    }

    /// Launches so far and their time, by kernel, slowest first. On a GPU whose launches are timed, the times of those
    /// that wait to be submitted are missing: see [`Device::finish`].
    pub fn profile(&self) -> Vec<Launches> {
        self.counted().launches()
    }

    /// Forgets the launches so far.
    pub fn reset_profile(&self) {
        self.counted().reset();
    }

    /// The best clock for its launches: the GPU's own where it has one.
    pub fn best_clock(&self) -> Clock {
        match self {
            Device::Cuda(_) => Clock::Gpu,
            Device::Wgpu(gpu) if gpu.adapter().abilities().timestamps => Clock::Gpu,
            _ => Clock::Host,
        }
    }

    /// Times every launch from now on, each by itself, and remembers it as an [`Event`]; with `None`, no more. A GPU works
    /// slower while its launches are timed, as they no longer overlap.
    ///
    /// # Errors
    /// [`Clock::Gpu`] on a device that has no such clock, a device that was lost.
    pub fn set_clock(&self, clock: Option<Clock>) -> Result<()> {
        match self {
            Device::Cpu(_) | Device::Simulator(_) if clock == Some(Clock::Gpu) => {
                Err(Error::Device { device: self.name().into(), what: "it has no clock but the host's".into() })
            }
            Device::Simulator(simulator) => {
                simulator.profile.set_clock(clock);
                Ok(())
            }
            Device::Cpu(cpu) => {
                cpu.profile.set_clock(clock);
                Ok(())
            }
            Device::Cuda(gpu) => gpu.set_clock(clock),
            Device::Wgpu(gpu) => gpu.set_clock(clock),
        }
    }

    /// Waits for all launches: what was timed since the clock was set or this was last asked, first one first.
    ///
    /// # Errors
    /// A device that was lost.
    pub fn take_events(&self) -> Result<Vec<Event>> {
        self.finish()?;
        Ok(self.counted().take_events())
    }

    /// Waits until all launches are done. On the processor they are.
    ///
    /// # Errors
    /// A device that was lost.
    pub fn finish(&self) -> Result<()> {
        match self {
            Device::Cpu(_) | Device::Simulator(_) => Ok(()),
            Device::Cuda(gpu) => gpu.finish(),
            Device::Wgpu(gpu) => gpu.finish(),
        }
    }

    fn counted(&self) -> &Profile {
        match self {
            Device::Cpu(cpu) => &cpu.profile,
            Device::Simulator(simulator) => &simulator.profile,
            Device::Cuda(gpu) => &gpu.profile,
            Device::Wgpu(gpu) => &gpu.profile,
        }
    }

    /// Whether two handles mean the same device.
    pub fn same(&self, other: &Device) -> bool {
        match (self, other) {
            (Device::Cpu(a), Device::Cpu(b)) => Arc::ptr_eq(a, b),
            (Device::Cuda(a), Device::Cuda(b)) => Arc::ptr_eq(a, b),
            (Device::Simulator(a), Device::Simulator(b)) => Arc::ptr_eq(a, b),
            (Device::Wgpu(a), Device::Wgpu(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Runs `kernel`: `bound` are its buffers in declared order. A GPU runs it later, in the order of the launches.
    ///
    /// # Errors
    /// Operands of two number types, a kernel that the device has no code for, a device that was lost.
    ///
    /// # Panics
    /// When a written tensor shares memory with another bound one, or the number of buffers is not the declared
    /// one: faults of the operation, not of data.
    pub fn run<P: Pod>(&self, kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
        match self {
            Device::Cpu(cpu) => cpu.run(kernel, parameters, bound),
            Device::Simulator(simulator) => simulator.run(kernel, parameters, bound),
            Device::Cuda(gpu) => gpu.run(kernel, parameters, bound),
            Device::Wgpu(gpu) => gpu.run(kernel, parameters, bound),
        }
    }

    /// Makes a GPU start on what was recorded so far, and waits until it is done with what it had at the last call: for long
    /// work whose results nobody reads meanwhile. Elsewhere launches are done when they return.
    ///
    /// # Errors
    /// When the device was lost.
    pub fn pace(&self) -> Result<()> {
        match self {
            Device::Cpu(_) | Device::Simulator(_) => Ok(()),
            Device::Cuda(gpu) => gpu.pace(),
            Device::Wgpu(gpu) => gpu.pace(),
        }
    }

    pub(crate) fn allocate(&self, shape: Shape, dtype: DType, region: Region) -> Result<Block> {
        match self {
            Device::Cuda(gpu) => gpu.expect(dtype)?,
            Device::Wgpu(gpu) => gpu.expect_number_type(dtype)?,
            Device::Cpu(_) | Device::Simulator(_) => {}
        }
        self.slab().allocate(shape.len() * dtype.bytes(), shape, region)
    }

    /// Copies a tensor's elements to the host.
    pub(crate) fn read(&self, tensor: &Tensor, bytes: &mut [u8]) -> Result<()> {
        match self {
            // SAFETY: no launch runs while the host reads: launches return when they are done.
            Device::Cpu(_) | Device::Simulator(_) => bytes.copy_from_slice(unsafe { tensor.bytes() }),
            Device::Cuda(gpu) => gpu.read(tensor.place(), bytes)?,
            Device::Wgpu(gpu) => gpu.read(tensor.place(), bytes)?,
        }
        Ok(())
    }

    /// Replaces a tensor's elements, which nothing else uses, by the host's.
    pub(crate) fn write(&self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        match self {
            // SAFETY: the caller is the only user of the content, and no launch runs.
            Device::Cpu(_) | Device::Simulator(_) => unsafe { tensor.bytes_mut() }.copy_from_slice(bytes),
            Device::Cuda(gpu) => gpu.write(tensor.place(), bytes)?,
            Device::Wgpu(gpu) => gpu.write(tensor.place(), bytes)?,
        }
        Ok(())
    }

    /// Replaces a tensor's elements, which nothing else uses, by zeros.
    pub(crate) fn clear(&self, tensor: &Tensor) -> Result<()> {
        match self {
            // SAFETY: as in `write`.
            Device::Cpu(_) | Device::Simulator(_) => unsafe { tensor.bytes_mut() }.fill(0),
            Device::Cuda(gpu) => gpu.clear(tensor.place(), tensor.len() * tensor.dtype().bytes())?,
            Device::Wgpu(gpu) => gpu.clear(tensor.place(), tensor.len() * tensor.dtype().bytes())?,
        }
        Ok(())
    }

    /// Copies `from` to `to`, a tensor of the same size just made.
    pub(crate) fn copy(&self, from: &Tensor, to: &Tensor) -> Result<()> {
        match self {
            // SAFETY: as in `read` and `write`; `to` is memory of its own.
            Device::Cpu(_) | Device::Simulator(_) => unsafe { to.bytes_mut().copy_from_slice(from.bytes()) },
            Device::Cuda(gpu) => gpu.copy(from.place(), to.place(), to.len() * to.dtype().bytes())?,
            Device::Wgpu(gpu) => gpu.copy(from.place(), to.place(), to.len() * to.dtype().bytes())?,
        }
        Ok(())
    }

    fn slab(&self) -> &Slab {
        match self {
            Device::Cpu(cpu) => &cpu.slab,
            Device::Simulator(simulator) => &simulator.slab,
            Device::Cuda(gpu) => &gpu.slab,
            Device::Wgpu(gpu) => &gpu.slab,
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
