//! Every kernel, once.

use crate::{Access, Kernel};
#[rustfmt::skip] // one line a module
use crate::{
    accumulate,
    adam,
    binary,
    clamp,
    columns,
    diffusion,
    embedding,
    gate,
    gated_head,
    gated_head_backward,
    gemm,
    graph_mix,
    graph_mix_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    linear_attention,
    linear_attention_backward,
    masked_mse,
    multiply_add,
    node_linear,
    node_linear_backward,
    normal,
    permute,
    reduce,
    reduce_backward,
    select,
    softmax,
    softmax_attention,
    softmax_attention_backward,
    softmax_backward,
    spmm,
    sum_squares,
    temporal_block,
    temporal_block_backward,
    unary,
};

/// What tables and tests need of a kernel, whatever its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The kernel's name.
    pub name: &'static str,
    /// Its buffers in order.
    pub buffers: &'static [(&'static str, Access)],
    /// Bytes of its parameter block.
    pub parameters: usize,
    /// Names and texts of the files of its shader.
    pub wgsl: &'static [(&'static str, &'static str)],
    /// Names and texts of the files of its PTX.
    pub ptx: &'static [(&'static str, &'static str)],
}

impl<P> Kernel<P> {
    /// The kernel's row in [`ALL`].
    pub const fn entry(&self) -> Entry {
        Entry {
            name: self.name,
            buffers: self.buffers,
            parameters: size_of::<P>(),
            wgsl: self.wgsl.files,
            ptx: self.ptx.files,
        }
    }
}

/// Every kernel of Isobath. A kernel that is not here is not tested.
#[rustfmt::skip] // one line a kernel
pub static ALL: &[Entry] = &[
    accumulate::ACCUMULATE.entry(),
    adam::ADAM.entry(),
    binary::BINARY.entry(),
    clamp::CLAMP.entry(),
    clamp::CLAMP_BACKWARD.entry(),
    columns::COLUMNS.entry(),
    diffusion::Q_SAMPLE.entry(),
    diffusion::POSTERIOR_STEP.entry(),
    embedding::EMBEDDING.entry(),
    embedding::EMBEDDING_BACKWARD.entry(),
    gate::GATE.entry(),
    gate::GATE_BACKWARD.entry(),
    gated_head::GATED_HEAD.entry(),
    gated_head_backward::GATED_HEAD_BACKWARD.entry(),
    gemm::GEMM.entry(),
    graph_mix::GRAPH_MIX.entry(),
    graph_mix_backward::GRAPH_MIX_BACKWARD.entry(),
    group_norm::GROUP_NORM.entry(),
    group_norm_backward::GROUP_NORM_BACKWARD.entry(),
    layer_norm::LAYER_NORM.entry(),
    layer_norm_backward::LAYER_NORM_BACKWARD.entry(),
    linear_attention::LINEAR_ATTENTION.entry(),
    linear_attention_backward::LINEAR_ATTENTION_BACKWARD.entry(),
    masked_mse::MASKED_MSE.entry(),
    masked_mse::MASKED_MSE_BACKWARD.entry(),
    multiply_add::MULTIPLY_ADD.entry(),
    node_linear::NODE_LINEAR.entry(),
    node_linear_backward::NODE_LINEAR_BACKWARD.entry(),
    normal::NORMAL.entry(),
    permute::PERMUTE.entry(),
    reduce::REDUCE.entry(),
    reduce_backward::REDUCE_BACKWARD.entry(),
    select::SELECT.entry(),
    select::SELECT_BACKWARD.entry(),
    softmax::SOFTMAX.entry(),
    softmax_attention::SOFTMAX_ATTENTION.entry(),
    softmax_attention_backward::SOFTMAX_ATTENTION_BACKWARD.entry(),
    softmax_backward::SOFTMAX_BACKWARD.entry(),
    spmm::SPMM.entry(),
    sum_squares::SUM_SQUARES.entry(),
    temporal_block::TEMPORAL_BLOCK.entry(),
    temporal_block_backward::TEMPORAL_BLOCK_BACKWARD.entry(),
    unary::UNARY.entry(),
    unary::UNARY_BACKWARD.entry(),
];
