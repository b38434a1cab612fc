//! Two GPUs and what a launch can reach on them at best.

use isobath_kernels::resources;
use isobath_ptx_simulator::{Multiprocessor, Occupancy, Report};

/// A GPU's roofs.
pub struct Gpu {
    /// Its name.
    pub name: &'static str,
    /// One of its multiprocessors.
    pub multiprocessor: Multiprocessor,
    /// How many of them it has.
    pub multiprocessors: u32,
    /// Bytes from and to memory in a second.
    pub bandwidth: f64,
    /// Operations in f32 in a second, two for each multiply-add.
    pub flops: f64,
}

/// The least and the most that kernels are tuned for: a GTX 1050 by its data sheet, an H200 by a measured copy and its
/// data sheet.
pub const GPUS: [Gpu; 2] = [
    Gpu {
        name: "GTX 1050",
        multiprocessor: Multiprocessor::SM_61,
        multiprocessors: 5,
        bandwidth: 112e9,
        flops: 1.86e12,
    },
    Gpu { name: "H200", multiprocessor: Multiprocessor::SM_90, multiprocessors: 132, bandwidth: 4.3e12, flops: 67e12 },
];

/// What a launch can reach on a GPU at best: the roofline of Williams et al. (2009), with a roof for instructions too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Seconds to move every sector that is touched once.
    pub memory: f64,
    /// Seconds for the operations, were all of them multiply-adds.
    pub arithmetic: f64,
    /// Seconds to issue the instructions, one for each multiply-add that the GPU could do.
    pub issue: f64,
}

impl Gpu {
    /// The roofs of some work.
    pub fn bound(&self, bytes: u64, flops: u64, instructions: u64) -> Bound {
        Bound {
            memory: bytes as f64 / self.bandwidth,
            arithmetic: flops as f64 / self.flops,
            issue: 2.0 * instructions as f64 / self.flops,
        }
    }

    /// The intensity in flops a byte from which on arithmetic is what limits.
    pub fn ridge(&self) -> f64 {
        self.flops / self.bandwidth
    }

    /// Registers of a thread, as ptxas counts them for this GPU, or else as the simulator estimates them.
    pub fn registers(&self, report: &Report) -> u32 {
        let known = resources(&report.kernel).into_iter().flat_map(|found| found.registers.into_iter().flatten());
        let own = known.filter(|(capability, _)| *capability == self.multiprocessor.capability);
        own.map(|(_, count)| count).next().unwrap_or(report.registers)
    }

    /// How many blocks of a launch a multiprocessor holds.
    pub fn occupancy(&self, report: &Report) -> Occupancy {
        Occupancy::new(&self.multiprocessor, report.threads, self.registers(report), report.shared_bytes)
    }

    /// How often the blocks of a launch fill the whole GPU.
    pub fn waves(&self, report: &Report) -> f64 {
        let at_once = self.occupancy(report).blocks * self.multiprocessors;
        report.blocks as f64 / f64::from(at_once)
    }
}

impl Bound {
    /// The shortest time of the roofline.
    pub fn seconds(&self) -> f64 {
        self.memory.max(self.arithmetic)
    }

    /// Which roof of the roofline it is.
    pub fn roof(&self) -> &'static str {
        if self.memory >= self.arithmetic { "memory" } else { "arithmetic" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_bytes_and_operations_counts() {
        let [small, _] = &GPUS;
        let bound = small.bound(112_000_000, 1_860_000, 0);
        assert_eq!((bound.roof(), bound.seconds()), ("memory", 1e-3));
        let bound = small.bound(112_000, 1_860_000_000, 930_000_000);
        assert_eq!((bound.roof(), bound.seconds(), bound.issue), ("arithmetic", 1e-3, 1e-3));
    }
}
