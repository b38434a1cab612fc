//! How a kernel runs on an NVIDIA GPU: the text of its PTX, and the launches of one call.
//!
//! `kernels/ptx/<name>.ptx` holds one entry point or several, all with the same parameters:
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

/// A kernel's code for NVIDIA GPUs.
pub struct Ptx<P: 'static> {
    /// The text of `kernels/ptx/<name>.ptx`.
    pub source: &'static str,
    /// What to launch for given parameters: entry points with their numbers of blocks.
    pub dispatches: fn(&P) -> Dispatches,
}
