//! How a kernel runs on an NVIDIA GPU: the text of its PTX, and the launches of one call.
//!
//! `kernels/ptx/<name>.ptx` holds one entry point or several, all with the same parameters. More of them stand in
//! `<name>.<part>.ptx`: those that need a newer GPU, or simply did not fit the page.
//!
//! ```ptx
//! .visible .entry scale(
//!     .param .u64 x,          // the address of every buffer, by its name, in declared order;
//!     .param .u64 y,          // 0 for an optional buffer that the caller left out
//!     .param .u32 len,        // the parameter block, number by number; an array of n is a `.b8 name[4 n]`
//!     .param .f32 factor,
//!     .param .u64 scratch,    // where entry points use it: the address of the scratch memory
//!     .param .u32 parts       // and the number of parts that it has
//! )
//! .reqntid 256                // the threads of a block
//! ```
//!
//! Every buffer starts at a multiple of 64 bytes. A grid has one axis.

use crate::wgsl::Dispatches;

/// The rounding of the factors of matrix products on GPUs; sums are always those of f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// None: 24 bits.
    #[default]
    F32,
    /// 11 bits, the range of f32, on the tensor cores of compute capability 8.0 and later.
    Tf32,
    /// 8 bits, the range of f32, on the tensor cores of compute capability 8.0 and later.
    Bf16,
}

/// The GPU at hand, for launches that choose between entry points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its compute capability: 61 for 6.1, the least that kernels run on.
    pub capability: u32,
    /// How exactly matrices are multiplied.
    pub precision: Precision,
}

impl Target {
    /// The least that kernels run on: compute capability 6.1, all of f32.
    pub const LEAST: Self = Self { capability: 61, precision: Precision::F32 };

    /// The least that multiplies matrices so.
    pub fn least(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::LEAST,
            Precision::Tf32 | Precision::Bf16 => Self { capability: 80, precision },
        }
    }

    /// How matrices are multiplied on it: in f32 without tensor cores that round as asked.
    pub fn factors(&self) -> Precision {
        if self.capability >= 80 { self.precision } else { Precision::F32 }
    }
}

/// A kernel's code for NVIDIA GPUs.
pub struct Ptx<P: 'static> {
    /// Names and texts of its files in `kernels/ptx`: `<name>.ptx` first, then `<name>.<part>.ptx`. Each is a module of
    /// its own, loaded when one of its entry points is launched.
    pub files: &'static [(&'static str, &'static str)],
    /// What to launch for given parameters: entry points with their numbers of blocks.
    pub dispatches: fn(&P, &Target) -> Dispatches,
}
