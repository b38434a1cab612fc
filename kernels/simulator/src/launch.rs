//! What a launch is: geometry, arguments, options.

use std::ops::Range;

use crate::memory::{Buffer, Permission};

/// The geometry of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z: at most 1024 in all.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
}

impl Launch {
    /// A grid of blocks along x, without dynamic shared memory.
    pub fn linear(blocks: u32, threads: u32) -> Self {
        Self { grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes: 0 }
    }
}

/// An argument of a launch, as wide as the kernel's parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// The address of a whole buffer, to read and write.
    Buffer(Buffer),
    /// The address of a part of a buffer; no other part can be reached through it.
    View {
        /// The buffer.
        buffer: Buffer,
        /// The bytes of it.
        range: Range<usize>,
        /// What the kernel may do with them.
        permission: Permission,
    },
    /// A number.
    U32(u32),
    /// A number.
    S32(i32),
    /// A number.
    F32(f32),
    /// A number.
    U64(u64),
    /// A number.
    F64(f64),
    /// A structure: `.param .align 4 .b8 name[16]`.
    Bytes(Vec<u8>),
}

/// How much is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// Nothing.
    #[default]
    Off,
    /// Executions of every instruction, divergent branches, flops.
    Instructions,
    /// Also sectors of global memory and turns of the banks of shared memory.
    Traffic,
}

/// How a launch is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How much is counted.
    pub counting: Counting,
    /// Whether races in shared memory are looked for.
    pub check_races: bool,
    /// Instructions that a warp may execute.
    pub budget: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { counting: Counting::Off, check_races: true, budget: 50_000_000 }
    }
}

impl Options {
    /// All checks, and everything counted.
    pub fn counting() -> Self {
        Self { counting: Counting::Traffic, ..Self::default() }
    }
}
