//! The processor as a device: kernels run in place on the slab's memory.

use super::bind::{self, Bind};
use super::profile::Profile;
use crate::error::Result;
use crate::memory::{Host, Slab};
use crate::tensor::DType;
use bytemuck::Pod;
use isobath_kernels::buffers::Slot;
use isobath_kernels::{Access, Buffers, Kernel};
use std::time::Instant;

/// The processor's memory and counters.
pub struct Cpu {
    pub(super) slab: Slab,
    pub(super) profile: Profile,
}

impl Cpu {
    pub(super) fn new(limit: Option<usize>, checked: bool) -> Self {
        Cpu { slab: Slab::new(Box::new(Host::default()), limit, checked), profile: Profile::default() }
    }

    pub(super) fn run<P: Pod>(&self, kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
        let start = Instant::now();
        compute(kernel, parameters, bound)?;
        self.profile.ended(kernel.name, start);
        self.profile.count(kernel.name, bind::cost(kernel, parameters, bound));
        Ok(())
    }
}

/// Runs a kernel's code for the processor on tensors in the host's memory.
pub(super) fn compute<P: Pod>(kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
    let double = bind::check(kernel.name, kernel.buffers, bound)? == DType::F64;
    let slots = bound.iter().zip(kernel.buffers).map(|(bind, (_, access))| match bind {
        // SAFETY: `check` found no writer of this range in the launch, and a launch returns before the next one
        // starts.
        Bind::In(tensor) => Slot::Read(unsafe { tensor.bytes() }),
        // SAFETY: `check` found no other use of this range in the launch.
        Bind::Out(tensor) => Slot::Write(unsafe { tensor.bytes_mut() }),
        Bind::Absent if *access == Access::Read => Slot::Read(&[]),
        Bind::Absent => Slot::Write(&mut []),
    });
    let buffers = Buffers::new(slots.collect());
    let code = if double { kernel.cpu.f64 } else { kernel.cpu.f32 };
    code(parameters, buffers);
    Ok(())
}
