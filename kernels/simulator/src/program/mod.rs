//! The internal form of a kernel: registers resolved to slots, types to enums.

mod class;
mod operation;

use std::sync::Arc;

use crate::parse::syntax::{Space, Variable};

pub use class::Class;
pub(crate) use operation::*;

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;

/// A lane's bits, one per lane of a warp.
pub(crate) type Mask = u32;

/// Index into one of the three register files. Literals and special registers have slots too, filled at the start.
pub(crate) type Slot = u16;

/// The special registers that a kernel can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Lane,
    Warp,
    Warps,
    LanesEqual,
    LanesLess,
    LanesLessEqual,
    LanesGreater,
    LanesGreaterEqual,
    DynamicShared,
    TotalShared,
}

/// One decoded instruction.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) line: u32,
    pub(crate) guard: Option<Condition>,
    pub(crate) operation: Operation,
    pub(crate) class: Class,
    /// Floating-point operations of one thread.
    pub(crate) flops: u32,
}

/// Names of the declared registers by slot, for messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) words: Vec<String>,
    pub(crate) longs: Vec<String>,
    pub(crate) predicates: Vec<String>,
}

/// The three register files as a warp finds them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    pub(crate) names: Names,
    /// Literals: their slots and values.
    pub(crate) words: Vec<(Slot, u32)>,
    pub(crate) longs: Vec<(Slot, u64)>,
    pub(crate) specials: Vec<(Slot, Special)>,
}

/// A decoded kernel.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) file: Arc<str>,
    /// The text, line by line.
    pub(crate) lines: Arc<[String]>,
    pub(crate) line: u32,
    pub(crate) parameters: Vec<Variable>,
    pub(crate) constants: Arc<[u8]>,
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) layout: Layout,
    pub(crate) shared_bytes: u32,
    pub(crate) local_bytes: u32,
    /// Whether blocks run one after the other: the order of global atomics is the order of blocks.
    pub(crate) ordered: bool,
    /// Bytes of the smallest access to shared memory: what the race check tells apart.
    pub(crate) granule: u32,
    pub(crate) registers: u32,
    pub(crate) required_threads: [u32; 3],
    pub(crate) maximal_threads: u32,
}

/// Where the shared window starts in the generic address space.
pub(crate) const SHARED_WINDOW: u64 = 0x7f01_0000_0000_0000;
/// Where the local window starts in the generic address space.
pub(crate) const LOCAL_WINDOW: u64 = 0x7f02_0000_0000_0000;
/// Where the const window starts in the generic address space.
pub(crate) const CONSTANT_WINDOW: u64 = 0x7f03_0000_0000_0000;
/// Where the param window starts in the generic address space.
pub(crate) const PARAMETER_WINDOW: u64 = 0x7f04_0000_0000_0000;
/// Bytes of each of these windows.
pub(crate) const WINDOW_BYTES: u64 = 1 << 40;

/// The start of a space's window in the generic address space; global memory is there as it is.
pub(crate) fn window(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Constant => CONSTANT_WINDOW,
        Space::Parameter => PARAMETER_WINDOW,
        Space::Global | Space::Generic => 0,
    }
}
