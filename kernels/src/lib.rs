//! What a compute kernel is, and every kernel of Isobath.
//!
//! One kernel is one [`Kernel`] value: a name, its buffers in order, its parameters, its cost, and its
//! code for the CPU in f32 (SIMD, all cores) and in f64 (the oracle that every check is held against), and for GPUs in WGSL.
//! The crate knows nothing of tensors or of differentiation: a kernel reads and writes flat slices.
//!
//! Sizes in formulas: `b` batch, `t` frames, `n` nodes, `c` channels, `k` prototypes, `g` groups.
//! Tensors are contiguous, slowest axis first.

pub mod accumulate;
pub mod adam;
pub mod binary;
pub mod buffers;
pub mod clamp;
pub mod columns;
pub mod diffusion;
pub mod embedding;
pub mod gate;
pub mod gated_head;
pub mod gated_head_backward;
pub mod gemm;
pub mod gemm_tile;
pub mod graph_mix;
pub mod graph_mix_backward;
pub mod group_norm;
pub mod group_norm_backward;
mod lane_tile;
pub mod layer_norm;
pub mod layer_norm_backward;
pub mod layout;
pub mod linear_attention;
pub mod linear_attention_backward;
pub mod masked_mse;
pub mod multiply_add;
pub mod node_linear;
pub mod node_linear_backward;
pub mod normal;
mod partials;
pub mod permute;
pub mod philox;
pub mod ptx;
pub mod real;
pub mod reduce;
pub mod reduce_backward;
pub mod registry;
mod resources;
pub mod row_reduce;
mod rows;
pub mod select;
pub mod simd;
pub mod softmax;
pub mod softmax_attention;
pub mod softmax_attention_backward;
pub mod softmax_backward;
pub mod spmm;
pub mod sum_squares;
pub mod temporal_block;
pub mod temporal_block_backward;
mod temporal_block_launches;
mod temporal_block_narrow;
mod temporal_block_narrow_backward;
pub mod unary;
pub mod wgsl;

pub use buffers::{Access, Buffers, Element};
pub use philox::PhiloxKey;
pub use ptx::{Precision, Ptx, Target};
pub use real::Real;
pub use registry::{ALL, Entry};
pub use resources::{Resources, resources};
pub use wgsl::Wgsl;

/// What a kernel costs for given parameters; read by the planner, the profile and the benches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations (one multiply-add counts as two).
    pub flops: u64,
    /// Bytes that must move between memory and the processor in f32: each buffer that the call has touched once, but for
    /// groups larger than what a GPU's block of threads holds, which a norm reads again (see [`group_norm`]).
    pub bytes: u64,
}

/// Whether a call has the buffer of this name, which the caller may have left out.
pub type Given<'a> = &'a dyn Fn(&str) -> bool;

/// The CPU code of a kernel in both precisions.
pub struct Cpu<P> {
    /// Single precision: the product.
    pub f32: fn(&P, Buffers<'_>),
    /// Double precision: the oracle of every check.
    pub f64: fn(&P, Buffers<'_>),
}

/// One compute kernel. `P` is its parameter block: plain `u32` and `f32` fields, the same bytes on every device.
pub struct Kernel<P: 'static> {
    /// Entry point and row in every table.
    pub name: &'static str,
    /// Buffers in the order in which the code takes them.
    pub buffers: &'static [(&'static str, Access)],
    /// CPU code.
    pub cpu: Cpu<P>,
    /// GPU code.
    pub wgsl: Wgsl<P>,
    /// NVIDIA GPU code.
    pub ptx: Ptx<P>,
    /// Work for given parameters and buffers.
    pub cost: fn(&P, Given<'_>) -> Cost,
}
