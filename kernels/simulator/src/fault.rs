//! Faults: what stops a launch, and where.

use std::fmt;
use std::sync::Arc;

use crate::parse::syntax::Space;

/// A fault of a launch: what went wrong, at which instruction, in which thread of which block.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The kernel.
    pub kernel: String,
    /// The name of the PTX text.
    pub file: Arc<str>,
    /// The line of the instruction, from 1; of the kernel's entry where no instruction is at fault.
    pub line: u32,
    /// That line of the text.
    pub text: String,
    /// Where it happened; `None` where the launch itself is at fault.
    pub place: Option<Place>,
}

/// A thread of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `%ctaid`.
    pub block: [u32; 3],
    /// `%tid`.
    pub thread: [u32; 3],
}

/// What a fault is.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// The launch does not fit the kernel: arguments, threads of a block, an empty grid.
    Launch {
        /// What the kernel asks for.
        expected: String,
        /// What the launch gives.
        found: String,
    },
    /// An access outside of every buffer, or outside of a block's or a thread's own memory.
    OutOfBounds {
        /// The state space.
        space: Space,
        /// The buffer nearest below the address, or the space.
        target: String,
        /// Bytes of the target.
        size: u64,
        /// The first byte accessed, from the start of the target.
        offset: i64,
        /// Bytes accessed.
        bytes: u32,
    },
    /// An address that is no multiple of the access's size.
    Misaligned {
        /// The state space.
        space: Space,
        /// The buffer or the space.
        target: String,
        /// The first byte accessed, from the start of the target.
        offset: i64,
        /// Bytes accessed, of which the address has to be a multiple.
        bytes: u32,
    },
    /// A write to a buffer that is given for reading, or a read of one that is given for writing.
    Forbidden {
        /// The buffer.
        target: String,
        /// Whether it was a write.
        write: bool,
        /// The first byte accessed, from the start of the buffer.
        offset: i64,
    },
    /// A read of memory that nothing has written.
    UninitialisedMemory {
        /// The state space.
        space: Space,
        /// The buffer or the space.
        target: String,
        /// The first byte read, from the start of the target.
        offset: i64,
    },
    /// A read of a register that nothing has written.
    UninitialisedRegister {
        /// The register's name.
        register: String,
    },
    /// Two warps access the same bytes of shared memory, one of them writes, and no barrier is between.
    Race {
        /// The byte of shared memory.
        offset: u32,
        /// Whether this access is a write.
        write: bool,
        /// The other warp.
        other_warp: u32,
        /// Whether the other warp wrote.
        other_write: bool,
    },
    /// Two lanes of a warp access the same bytes of shared memory in two instructions, one of which writes, and no barrier
    /// is between, `bar.warp.sync` at least.
    WarpRace {
        /// The byte of shared memory.
        offset: u32,
        /// Whether this access is a write.
        write: bool,
        /// Whether the other lane wrote.
        other_write: bool,
    },
    /// An access to shared memory that an asynchronous copy is still filling.
    CopyInFlight {
        /// The byte of shared memory.
        offset: u32,
    },
    /// A barrier that not all live threads of a warp reach together, or that warps reach at different lines.
    DivergentBarrier {
        /// What is known of the others.
        others: String,
    },
    /// A barrier's number or its count of threads is none that a block has.
    InvalidBarrier {
        /// The barrier, of 0 to 15.
        name: u32,
        /// The threads it waits for, a multiple of 32.
        threads: Option<u32>,
    },
    /// Warps wait at barriers that the other warps have left behind or never reach.
    Deadlock {
        /// Which warps wait where.
        waiting: String,
    },
    /// A warp-wide instruction that names lanes which do not execute it.
    AbsentLanes {
        /// The lanes named.
        members: u32,
        /// The lanes that execute it.
        active: u32,
    },
    /// A shuffle that reads from a lane which does not take part.
    InactiveSource {
        /// The lane read.
        lane: u32,
    },
    /// A warp executed as many instructions as the launch allows: most likely a loop that does not end.
    Budget {
        /// The limit.
        instructions: u64,
    },
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::OutOfBounds { space, target, size, offset, bytes } => {
                write!(f, "{bytes} bytes at offset {offset} of {target}, which has {size}, in {space} memory")
            }
            Self::Misaligned { space, target, offset, bytes } => {
                write!(f, "offset {offset} of {target} in {space} memory is no multiple of {bytes} bytes")
            }
            Self::Forbidden { target, write, offset } => {
                let (done, given) = if *write { ("write to", "reading") } else { ("read of", "writing") };
                write!(f, "{done} offset {offset} of {target}, which is given for {given} only")
            }
            Self::UninitialisedMemory { space, target, offset } => {
                write!(f, "read of offset {offset} of {target} in {space} memory, which nothing has written")
            }
            Self::UninitialisedRegister { register } => {
                write!(f, "read of register {register}, which nothing has written")
            }
            Self::Race { offset, write, other_warp, other_write } => {
                let name = |write: bool| if write { "write" } else { "read" };
                let (this, other) = (name(*write), name(*other_write));
                write!(
                    f,
                    "race: {this} of shared byte {offset} after a {other} by warp {other_warp}, no barrier between"
                )
            }
            Self::WarpRace { offset, write, other_write } => {
                let name = |write: bool| if write { "write" } else { "read" };
                let (this, other) = (name(*write), name(*other_write));
                write!(
                    f,
                    "race: {this} of shared byte {offset} after a {other} by another lane, no bar.warp.sync between"
                )
            }
            Self::CopyInFlight { offset } => {
                write!(f, "access to shared byte {offset}, which an asynchronous copy is still filling")
            }
            Self::DivergentBarrier { others } => write!(f, "divergent barrier: {others}"),
            Self::InvalidBarrier { name, threads: Some(threads) } => {
                write!(f, "barrier {name} for {threads} threads: expected 0 to 15, and a multiple of 32 threads")
            }
            Self::InvalidBarrier { name, threads: None } => write!(f, "barrier {name}: expected 0 to 15"),
            Self::Deadlock { waiting } => write!(f, "barriers that never complete: {waiting}"),
            Self::AbsentLanes { members, active } => {
                write!(f, "lanes {members:#010x} are named, but lanes {active:#010x} execute the instruction")
            }
            Self::InactiveSource { lane } => write!(f, "the value of lane {lane}, which does not take part, is read"),
            Self::Budget { instructions } => {
                write!(f, "a warp executed {instructions} instructions: a loop that does not end?")
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: kernel {}", self.file, self.line, self.kernel)?;
        if let Some(place) = self.place {
            write!(f, ", block {:?}, thread {:?}", place.block, place.thread)?;
        }
        write!(f, ": {}: `{}`", self.kind, self.text)
    }
}

impl std::error::Error for Fault {}
