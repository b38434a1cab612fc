//! What the parser makes of a text: modules, kernels and instructions as they are written.

/// The type of a register, a variable or an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    B8,
    B16,
    B32,
    B64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
    Predicate,
}

impl Type {
    /// The type of a suffix without its dot: `u32`, `f16x2`, `pred`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "s8" => Self::S8,
            "s16" => Self::S16,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "b8" => Self::B8,
            "b16" => Self::B16,
            "b32" => Self::B32,
            "b64" => Self::B64,
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "tf32" => Self::Tf32,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "pred" => Self::Predicate,
            _ => return None,
        })
    }

    /// Bytes of a value; 0 for a predicate.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::Predicate => 0,
            Self::U8 | Self::S8 | Self::B8 => 1,
            Self::U16 | Self::S16 | Self::B16 | Self::F16 | Self::Bf16 => 2,
            Self::U64 | Self::S64 | Self::B64 | Self::F64 => 8,
            Self::U32 | Self::S32 | Self::B32 | Self::F32 | Self::F16x2 | Self::Bf16x2 | Self::Tf32 => 4,
        }
    }

    pub(crate) fn is_float(self) -> bool {
        use Type::*;
        matches!(self, F16 | F16x2 | Bf16 | Bf16x2 | Tf32 | F32 | F64)
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Whether the type is a bare size, which goes with every type of that size.
    pub(crate) fn is_bits(self) -> bool {
        matches!(self, Self::B8 | Self::B16 | Self::B32 | Self::B64)
    }
}

/// The state spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Device memory: the buffers of a launch.
    Global,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// The module's constants.
    Constant,
    /// The arguments of a launch.
    Parameter,
    /// An address that says itself which of the other spaces it is in.
    Generic,
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Space::Global => "global",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Constant => "const",
            Space::Parameter => "param",
            Space::Generic => "generic",
        })
    }
}

/// A register as it is declared.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    pub(crate) name: String,
    pub(crate) ty: Type,
}

/// A variable of a state space, at its place in that space.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) space: Space,
    pub(crate) align: u32,
    pub(crate) bytes: u32,
    pub(crate) offset: u32,
    /// Declared as `name[]`: as long as the launch makes it.
    pub(crate) dynamic: bool,
}

/// A literal of an instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Literal {
    Integer(u64),
    Single(u32),
    Double(f64),
}

/// An operand of an instruction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    /// An index into the kernel's registers.
    Register(usize),
    /// `!p`.
    Not(usize),
    /// `p|q`.
    Pair(usize, usize),
    /// A special register, a variable or a label.
    Name(String),
    Literal(Literal),
    /// `{a, b}`.
    Vector(Vec<Operand>),
    /// `[base + offset]`; the base is a register, a name or nothing.
    Address(Option<Box<Operand>>, i64),
    /// `_`: a result that is not wanted.
    Sink,
}

/// An instruction as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) line: u32,
    /// `@p` or `@!p`: the register and whether it is negated.
    pub(crate) guard: Option<(usize, bool)>,
    pub(crate) opcode: String,
    pub(crate) operands: Vec<Operand>,
}

/// An entry point as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) parameters: Vec<Variable>,
    pub(crate) registers: Vec<Register>,
    /// Shared and local variables of the kernel.
    pub(crate) variables: Vec<Variable>,
    pub(crate) instructions: Vec<Instruction>,
    /// Labels and the index of the instruction that follows.
    pub(crate) labels: Vec<(String, usize)>,
    /// `.reqntid`, or all zero.
    pub(crate) required_threads: [u32; 3],
    /// `.maxntid`'s product, or 0.
    pub(crate) maximal_threads: u32,
}

/// A text as it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) version: (u32, u32),
    pub(crate) target: String,
    /// Variables at module scope: shared and const.
    pub(crate) variables: Vec<Variable>,
    /// The bytes of the const space.
    pub(crate) constants: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}
