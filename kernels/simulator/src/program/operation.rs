//! What instructions do, and the operands they do it with.

use crate::parse::syntax::{Space, Type};

use super::Slot;

/// A register that a memory access reads or writes, with its width.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// 16 bits, kept zero-extended in a word.
    Half(Slot),
    Word(Slot),
    Long(Slot),
    /// A result that is not wanted.
    Nothing,
}

/// Where an address comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    Word(Slot),
    Long(Slot),
    /// A variable or a constant: the offset is the address.
    Fixed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) space: Space,
    pub(crate) base: Base,
    pub(crate) offset: i64,
}

/// A predicate operand, possibly negated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    pub(crate) slot: Slot,
    pub(crate) negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntegerType {
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntegerOp {
    Add,
    AddSaturating,
    Sub,
    SubSaturating,
    MulLow,
    MulHigh,
    MadLow,
    MadHigh,
    Div,
    Rem,
    Min,
    Max,
    Abs,
    Neg,
    And,
    Or,
    Xor,
    Not,
    LogicalNot,
    AbsoluteDifference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatOp {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Min,
    Max,
    /// `min.NaN` and `max.NaN`: NaN if either is.
    MinNan,
    MaxNan,
    Abs,
    Neg,
    Copysign,
    Sqrt,
    Rcp,
    Rsqrt,
    Exp2,
    Log2,
    Sin,
    Cos,
    Tanh,
}

/// What a comparison holds for; the unordered ones also for NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(crate) less: bool,
    pub(crate) equal: bool,
    pub(crate) greater: bool,
    pub(crate) unordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// Instructions that look at the bits of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BitOp {
    Count,
    LeadingZeros,
    /// `bfind`: the place of the most significant bit that is not the sign.
    Find {
        signed: bool,
        shift_amount: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
    /// To nearest, ties away from zero (`.rna`, tf32 only).
    NearestAway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uniform,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    Min,
    Max,
    Increment,
    Decrement,
    Exchange,
    CompareAndSwap,
    And,
    Or,
    Xor,
}

/// The element types of `mma.sync`'s factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    Tf32,
    F16,
    Bf16,
}

/// What an instruction does.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Integer {
        op: IntegerOp,
        ty: IntegerType,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    /// `mul.wide` and `mad.wide`: the factors have type `ty`, the rest twice its width.
    Wide {
        ty: IntegerType,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Option<Slot>,
    },
    Shift {
        left: bool,
        ty: IntegerType,
        d: Slot,
        a: Slot,
        amount: Slot,
    },
    Float {
        op: FloatOp,
        double: bool,
        flush: bool,
        saturate: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Compare {
        test: Comparison,
        ty: Type,
        flush: bool,
        with: Option<(Logic, Condition)>,
        p: Option<Slot>,
        q: Option<Slot>,
        a: Slot,
        b: Slot,
    },
    /// `slct`: a where c >= 0.
    SelectBySign {
        long: bool,
        float: bool,
        flush: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Select {
        long: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        p: Slot,
    },
    /// On predicates; `mov` and `not` are `and` with true.
    PredicateLogic {
        op: Logic,
        invert: bool,
        d: Slot,
        a: Condition,
        b: Condition,
    },
    Bits {
        op: BitOp,
        long: bool,
        d: Slot,
        a: Slot,
    },
    Reverse {
        long: bool,
        d: Slot,
        a: Slot,
    },
    ExtractField {
        ty: IntegerType,
        d: Slot,
        a: Slot,
        position: Slot,
        length: Slot,
    },
    InsertField {
        long: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        position: Slot,
        length: Slot,
    },
    Permute {
        mode: PermuteMode,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Logic3 {
        table: u8,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    FunnelShift {
        left: bool,
        wrap: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Convert {
        from: Type,
        to: Type,
        rounding: Rounding,
        integral: bool,
        saturate: bool,
        flush: bool,
        /// The result's register has 16 bits.
        narrow: bool,
        d: Slot,
        a: Slot,
    },
    /// Two f32 to a pair of halves: `a` the upper one.
    ConvertPair {
        to: Type,
        rounding: Rounding,
        relu: bool,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    Move {
        long: bool,
        d: Slot,
        a: Slot,
    },
    /// `mov` from or to a vector: parts from the least significant one up.
    Split {
        from: Value,
        parts: Vec<Value>,
    },
    Join {
        to: Value,
        parts: Vec<Value>,
    },
    /// `cvta` of a window's address: `add` is the window's start.
    ConvertAddress {
        space: Space,
        to_space: bool,
        d: Slot,
        a: Slot,
    },
    Load {
        address: Address,
        bytes: u8,
        signed: bool,
        values: Vec<Value>,
    },
    Store {
        address: Address,
        bytes: u8,
        values: Vec<Value>,
    },
    Atomic {
        op: AtomicOp,
        ty: Type,
        address: Address,
        d: Option<Slot>,
        b: Slot,
        c: Slot,
    },
    CopyAsync {
        to: Address,
        from: Address,
        bytes: u8,
        source_bytes: Option<Slot>,
        ignore: Option<Condition>,
    },
    CommitCopies,
    /// Waits until at most so many groups are under way; `None`: until nothing is.
    WaitCopies(Option<u32>),
    LoadMatrix {
        address: Address,
        transposed: bool,
        d: Vec<Slot>,
    },
    Mma {
        factor: Factor,
        d: [Slot; 4],
        a: Vec<Slot>,
        b: Vec<Slot>,
        c: [Slot; 4],
    },
    Shuffle {
        mode: ShuffleMode,
        d: Slot,
        p: Option<Slot>,
        a: Slot,
        b: Slot,
        c: Slot,
        members: Slot,
    },
    Vote {
        mode: VoteMode,
        d: Slot,
        a: Condition,
        members: Slot,
    },
    Reduce {
        op: IntegerOp,
        ty: IntegerType,
        d: Slot,
        a: Slot,
        members: Slot,
    },
    ActiveMask {
        d: Slot,
    },
    Barrier {
        name: Slot,
        threads: Option<Slot>,
        arrive: bool,
    },
    WarpBarrier {
        members: Slot,
    },
    Fence,
    Branch {
        target: usize,
        reconverge: usize,
    },
    Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PermuteMode {
    Index,
    Forward4,
    Backward4,
    Replicate8,
    EdgeLeft,
    EdgeRight,
    Replicate16,
}
