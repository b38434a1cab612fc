//! Where tensors live and kernels run.

pub mod cpu;

use crate::error::Result;
use crate::memory::{Block, Region, Slab, Usage};
use crate::shape::Shape;
use crate::tensor::Tensor;
use bytemuck::Pod;
use isobath_kernels::Kernel;
use std::sync::Arc;

/// A device chosen at run time. Copies share its memory and its counters.
#[derive(Clone)]
pub enum Device {
    /// This computer's processor: SIMD on all cores.
    Cpu(Arc<cpu::Cpu>),
}

/// A tensor bound to a kernel's buffer.
#[derive(Clone, Copy)]
pub enum Bind<'a> {
    /// Read by the kernel.
    In(&'a Tensor),
    /// Written (or updated in place) by the kernel.
    Out(&'a Tensor),
    /// An optional input that the caller leaves out.
    Absent,
}

impl Device {
    /// The processor, without a memory budget.
    pub fn cpu() -> Self {
        Self::cpu_with(None, false)
    }

    /// The processor with a budget in bytes, and with sentinels round every tensor when `checked`.
    pub fn cpu_with(limit: Option<usize>, checked: bool) -> Self {
        Device::Cpu(Arc::new(cpu::Cpu::new(Slab::new(limit, checked))))
    }

    /// The name by which the device is asked for.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu(_) => "cpu",
        }
    }

    /// What its memory holds.
    pub fn usage(&self) -> Usage {
        self.slab().usage()
    }

    /// Forgets the high-water mark of its memory.
    pub fn reset_high_water(&self) {
        self.slab().reset_high_water();
    }

    /// Launches so far and their wall time, by kernel, slowest first.
    pub fn profile(&self) -> Vec<cpu::Launches> {
        match self {
            Device::Cpu(cpu) => cpu.profile(),
        }
    }

    /// Whether two handles mean the same device.
    pub fn same(&self, other: &Device) -> bool {
        let (Device::Cpu(a), Device::Cpu(b)) = (self, other);
        Arc::ptr_eq(a, b)
    }

    /// Runs `kernel`: `bound` are its buffers in declared order.
    ///
    /// # Panics
    /// When a written tensor shares memory with another bound one, or the number of buffers is not the declared
    /// one: faults of the operation, not of data.
    pub fn run<P: Pod>(&self, kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
        match self {
            Device::Cpu(cpu) => cpu.run(kernel, parameters, bound),
        }
    }

    pub(crate) fn allocate(&self, bytes: usize, shape: Shape, region: Region) -> Result<Block> {
        self.slab().allocate(bytes, shape, region)
    }

    fn slab(&self) -> &Slab {
        match self {
            Device::Cpu(cpu) => cpu.slab(),
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
