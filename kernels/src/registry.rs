//! Every kernel, once.

use crate::{Access, Kernel};
#[rustfmt::skip] // one line a kernel
use crate::{
    accumulate,
    gated_head,
    gated_head_backward,
    gemm,
    graph_mix,
    graph_mix_backward,
    reduce,
    reduce_backward,
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
}

const fn entry<P>(kernel: &Kernel<P>) -> Entry {
    Entry { name: kernel.name, buffers: kernel.buffers }
}

/// Every kernel of Isobath. A kernel that is not here is not tested.
#[rustfmt::skip] // one line a kernel
pub static ALL: &[Entry] = &[
    entry(&accumulate::ACCUMULATE),
    entry(&gated_head::GATED_HEAD),
    entry(&gated_head_backward::GATED_HEAD_BACKWARD),
    entry(&gemm::GEMM),
    entry(&graph_mix::GRAPH_MIX),
    entry(&graph_mix_backward::GRAPH_MIX_BACKWARD),
    entry(&reduce::REDUCE),
    entry(&reduce_backward::REDUCE_BACKWARD),
    entry(&temporal_block::TEMPORAL_BLOCK),
    entry(&temporal_block_backward::TEMPORAL_BLOCK_BACKWARD),
    entry(&unary::UNARY),
    entry(&unary::UNARY_BACKWARD),
];
