//! How many blocks a multiprocessor holds at once.

/// A multiprocessor's limits (CUDA C++ programming guide, "Technical specifications per compute capability").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiprocessor {
    /// The compute capability: 61 of a GTX 1050, 90 of an H200.
    pub capability: u32,
    /// Warps at once.
    pub warps: u32,
    /// Blocks at once.
    pub blocks: u32,
    /// 32-bit registers.
    pub registers: u32,
    /// Bytes of shared memory.
    pub shared_bytes: u32,
    /// Most bytes of shared memory of a block.
    pub block_shared_bytes: u32,
    /// Bytes of shared memory that the system takes from each block.
    pub reserved_shared_bytes: u32,
    /// Bytes in which shared memory is given out.
    pub shared_unit: u32,
}

impl Multiprocessor {
    /// sm_61: Pascal, as in a GTX 1050.
    pub const SM_61: Self = Self {
        capability: 61,
        warps: 64,
        blocks: 32,
        registers: 65_536,
        shared_bytes: 96 << 10,
        block_shared_bytes: 48 << 10,
        reserved_shared_bytes: 0,
        shared_unit: 256,
    };
    /// sm_90: Hopper, as in an H200.
    pub const SM_90: Self = Self {
        capability: 90,
        warps: 64,
        blocks: 32,
        registers: 65_536,
        shared_bytes: 228 << 10,
        block_shared_bytes: 227 << 10,
        reserved_shared_bytes: 1 << 10,
        shared_unit: 128,
    };
}

/// Registers are given to a warp in units of this many.
const REGISTER_UNIT: u32 = 256;
/// The schedulers of a multiprocessor: each has a quarter of the registers.
const SCHEDULERS: u32 = 4;
/// Registers of a thread are counted in units of this many.
const THREAD_UNIT: u32 = 8;
/// Most registers of a thread.
const THREAD_REGISTERS: u32 = 255;

/// What keeps a multiprocessor from holding more blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Its warps.
    Warps,
    /// Its blocks.
    Blocks,
    /// Its registers.
    Registers,
    /// Its shared memory.
    SharedMemory,
}

/// How much of a multiprocessor a kernel can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Blocks at once; 0 if a block does not fit at all.
    pub blocks: u32,
    /// Warps at once.
    pub warps: u32,
    /// Warps that the multiprocessor could hold.
    pub most_warps: u32,
    /// What is exhausted first.
    pub limit: Limit,
}

impl Occupancy {
    /// The occupancy of blocks of so many threads, with so many registers each and so many bytes of shared memory.
    pub fn new(multiprocessor: &Multiprocessor, threads: u32, registers: u32, shared_bytes: u32) -> Self {
        let m = multiprocessor;
        let warps = threads.div_ceil(32).max(1);
        let per_thread = registers.clamp(1, THREAD_REGISTERS).next_multiple_of(THREAD_UNIT);
        let per_warp = (32 * per_thread).next_multiple_of(REGISTER_UNIT);
        let by_registers = m.registers / SCHEDULERS / per_warp * SCHEDULERS / warps;
        let shared = (shared_bytes + m.reserved_shared_bytes).next_multiple_of(m.shared_unit);
        let by_shared = match shared_bytes {
            bytes if bytes > m.block_shared_bytes => 0,
            0 if m.reserved_shared_bytes == 0 => u32::MAX,
            _ => m.shared_bytes / shared,
        };
        let limits = [
            (m.warps / warps, Limit::Warps),
            (m.blocks, Limit::Blocks),
            (by_registers, Limit::Registers),
            (by_shared, Limit::SharedMemory),
        ];
        let (blocks, limit) = limits.into_iter().min_by_key(|(blocks, _)| *blocks).unwrap_or((0, Limit::Blocks));
        Self { blocks, warps: blocks * warps, most_warps: m.warps, limit }
    }

    /// The part of the multiprocessor's warps that is used.
    pub fn fraction(&self) -> f64 {
        f64::from(self.warps) / f64::from(self.most_warps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known rows of NVIDIA's occupancy calculator.
    #[test]
    fn blocks_of_a_multiprocessor() {
        let pascal = |threads, registers, shared| {
            let o = Occupancy::new(&Multiprocessor::SM_61, threads, registers, shared);
            (o.blocks, o.limit)
        };
        assert_eq!(pascal(256, 32, 0), (8, Limit::Warps));
        assert_eq!(pascal(32, 32, 0), (32, Limit::Blocks));
        // 33 registers count as 40: 1280 a warp, 12 warps of each scheduler.
        assert_eq!(pascal(256, 33, 0), (6, Limit::Registers));
        assert_eq!(pascal(256, 119, 16_640), (2, Limit::Registers));
        assert_eq!(pascal(64, 32, 48 << 10), (2, Limit::SharedMemory));
        assert_eq!(pascal(64, 32, 49 << 10), (0, Limit::SharedMemory));
        let hopper = Occupancy::new(&Multiprocessor::SM_90, 128, 128, 75 << 10);
        assert_eq!((hopper.blocks, hopper.warps, hopper.limit), (3, 12, Limit::SharedMemory));
    }
}
