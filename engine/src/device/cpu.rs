//! The processor as a device: kernels run in place on the slab's memory.

use super::Bind;
use crate::error::{Error, Result};
use crate::memory::Slab;
use crate::tensor::{DType, Tensor};
use bytemuck::Pod;
use isobath_kernels::buffers::Slot;
use isobath_kernels::{Access, Buffers, Cost, Kernel};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The processor's memory and counters.
pub struct Cpu {
    slab: Slab,
    launches: Mutex<BTreeMap<&'static str, Launches>>,
}

/// What one kernel has cost so far.
#[derive(Clone, Debug)]
pub struct Launches {
    /// The kernel's name.
    pub kernel: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// Wall time of all its runs.
    pub time: Duration,
    /// Operations and bytes of all its runs, as the kernel states them.
    pub cost: Cost,
}

impl Cpu {
    pub(super) fn new(slab: Slab) -> Self {
        Cpu { slab, launches: Mutex::new(BTreeMap::new()) }
    }

    pub(super) fn slab(&self) -> &Slab {
        &self.slab
    }

    pub(super) fn profile(&self) -> Vec<Launches> {
        let launches = self.launches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Launches> = launches.values().cloned().collect();
        all.sort_by_key(|l| std::cmp::Reverse(l.time));
        all
    }

    pub(super) fn run<P: Pod>(&self, kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
        let double = number_type(kernel.name, bound)? == DType::F64;
        assert_eq!(bound.len(), kernel.buffers.len(), "{}: buffers bound and declared", kernel.name);
        assert_disjoint(kernel.name, bound);
        let slots = bound.iter().zip(kernel.buffers).map(|(bind, (buffer, access))| match (bind, access) {
            // SAFETY: `assert_disjoint` found no writer of this range in the launch, and a launch returns
            // before the next one starts.
            (Bind::In(tensor), Access::Read) => Slot::Read(unsafe { tensor.bytes() }),
            (Bind::Absent, Access::Read) => Slot::Read(&[]),
            // SAFETY: `assert_disjoint` found no other use of this range in the launch.
            (Bind::Out(tensor), Access::Write | Access::Update) => Slot::Write(unsafe { tensor.bytes_mut() }),
            (Bind::Absent, _) => Slot::Write(&mut []),
            _ => panic!("{}: buffer {buffer} is declared {access:?} and bound otherwise", kernel.name),
        });
        let buffers = Buffers::new(slots.collect());
        let start = Instant::now();
        let code = if double { kernel.cpu.f64 } else { kernel.cpu.f32 };
        code(parameters, buffers);
        let (time, cost) = (start.elapsed(), (kernel.cost)(parameters));
        let mut launches = self.launches.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = launches.entry(kernel.name).or_insert_with(|| Launches {
            kernel: kernel.name,
            calls: 0,
            time: Duration::ZERO,
            cost: Cost::default(),
        });
        entry.calls += 1;
        entry.time += time;
        entry.cost.flops += cost.flops;
        entry.cost.bytes += cost.bytes;
        Ok(())
    }
}

/// The one number type of a launch; indices do not count.
fn number_type(op: &'static str, bound: &[Bind<'_>]) -> Result<DType> {
    let mut found = None;
    for bind in bound {
        let (Bind::In(tensor) | Bind::Out(tensor)) = bind else { continue };
        match (tensor.dtype(), found) {
            (DType::U32, _) => {}
            (dtype, None) => found = Some(dtype),
            (dtype, Some(first)) if dtype != first => {
                return Err(Error::Type {
                    op,
                    what: format!("expected operands of one number type, found {first} and {dtype}"),
                });
            }
            _ => {}
        }
    }
    Ok(found.unwrap_or(DType::F32))
}

fn assert_disjoint(op: &str, bound: &[Bind<'_>]) {
    let tensor = |bind: &Bind<'_>| match bind {
        Bind::In(t) | Bind::Out(t) => Some((*t).clone()),
        Bind::Absent => None,
    };
    for (i, written) in bound.iter().enumerate() {
        let Bind::Out(written) = written else { continue };
        let others = bound.iter().enumerate().filter(|(j, _)| *j != i).filter_map(|(_, b)| tensor(b));
        assert!(
            others.into_iter().all(|other: Tensor| !written.overlaps(&other)),
            "{op}: a written tensor is bound twice"
        );
    }
}
