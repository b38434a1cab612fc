//! What instructions are counted as.

use super::{Factor, FloatOp, Operation};
use crate::parse::syntax::Space;

/// What an instruction is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Fused multiply-add of floating point.
    Fma,
    /// Other floating-point arithmetic.
    Float,
    /// Approximations on the special-function unit.
    SpecialFunction,
    /// Matrix products of a warp.
    Matrix,
    /// Integer arithmetic and logic.
    Integer,
    /// Comparisons and selections.
    Predicate,
    /// Conversions between types.
    Convert,
    /// Moves between registers, shuffles and votes.
    Move,
    /// Loads from global, local, const or param memory.
    Load,
    /// Stores to global or local memory.
    Store,
    /// Loads from shared memory.
    SharedLoad,
    /// Stores to shared memory.
    SharedStore,
    /// Asynchronous copies from global to shared memory.
    Copy,
    /// Atomics and reductions in memory.
    Atomic,
    /// Branches, exits, barriers and fences.
    Control,
}

impl Class {
    /// Every class, in the order of reports.
    pub const ALL: [Class; 15] = [
        Class::Fma,
        Class::Float,
        Class::SpecialFunction,
        Class::Matrix,
        Class::Integer,
        Class::Predicate,
        Class::Convert,
        Class::Move,
        Class::Load,
        Class::Store,
        Class::SharedLoad,
        Class::SharedStore,
        Class::Copy,
        Class::Atomic,
        Class::Control,
    ];

    /// The class of an operation.
    pub(crate) fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Float { op, .. } => match op {
                FloatOp::Fma => Class::Fma,
                FloatOp::Rcp | FloatOp::Rsqrt | FloatOp::Sqrt | FloatOp::Exp2 | FloatOp::Log2 => Class::SpecialFunction,
                FloatOp::Sin | FloatOp::Cos | FloatOp::Tanh | FloatOp::Div => Class::SpecialFunction,
                _ => Class::Float,
            },
            Operation::Mma { .. } => Class::Matrix,
            Operation::Compare { .. }
            | Operation::SelectBySign { .. }
            | Operation::Select { .. }
            | Operation::PredicateLogic { .. } => Class::Predicate,
            Operation::Convert { .. } | Operation::ConvertPair { .. } => Class::Convert,
            Operation::Move { .. }
            | Operation::Split { .. }
            | Operation::Join { .. }
            | Operation::ConvertAddress { .. }
            | Operation::Shuffle { .. }
            | Operation::Vote { .. }
            | Operation::ActiveMask { .. } => Class::Move,
            Operation::Load { address, .. } if address.space == Space::Shared => Class::SharedLoad,
            Operation::Store { address, .. } if address.space == Space::Shared => Class::SharedStore,
            Operation::LoadMatrix { .. } => Class::SharedLoad,
            Operation::Load { .. } => Class::Load,
            Operation::Store { .. } => Class::Store,
            Operation::Atomic { .. } => Class::Atomic,
            Operation::CopyAsync { .. } | Operation::CommitCopies | Operation::WaitCopies(_) => Class::Copy,
            Operation::Barrier { .. }
            | Operation::WarpBarrier { .. }
            | Operation::Fence
            | Operation::Branch { .. }
            | Operation::Exit => Class::Control,
            _ => Class::Integer,
        }
    }
}

impl Operation {
    /// Floating-point operations of one thread: two of a multiply-add, none of a minimum or a change of sign.
    pub(crate) fn flops(&self) -> u32 {
        match self {
            Operation::Float { op, .. } => match op {
                FloatOp::Fma => 2,
                FloatOp::Min | FloatOp::Max | FloatOp::MinNan | FloatOp::MaxNan => 0,
                FloatOp::Abs | FloatOp::Neg | FloatOp::Copysign => 0,
                _ => 1,
            },
            // 2 * 16 * 8 * k of a warp.
            Operation::Mma { factor, a, .. } => 8 * a.len() as u32 / 2 * if *factor == Factor::Tf32 { 4 } else { 8 },
            _ => 0,
        }
    }
}
