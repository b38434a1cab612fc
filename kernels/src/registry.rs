//! Every kernel, once.

use crate::{Access, Kernel};
use crate::{
    accumulate, adam, binary, clamp, columns, diffusion, embedding, gate, gemm, masked_mse, normal, permute, reduce,
    reduce_backward, select, sum_squares, unary,
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
    entry(&adam::ADAM),
    entry(&binary::BINARY),
    entry(&clamp::CLAMP),
    entry(&clamp::CLAMP_BACKWARD),
    entry(&columns::COLUMNS),
    entry(&diffusion::POSTERIOR_STEP),
    entry(&diffusion::Q_SAMPLE),
    entry(&embedding::EMBEDDING),
    entry(&embedding::EMBEDDING_BACKWARD),
    entry(&gate::GATE),
    entry(&gate::GATE_BACKWARD),
    entry(&gemm::GEMM),
    entry(&masked_mse::MASKED_MSE),
    entry(&masked_mse::MASKED_MSE_BACKWARD),
    entry(&normal::NORMAL),
    entry(&permute::PERMUTE),
    entry(&reduce::REDUCE),
    entry(&reduce_backward::REDUCE_BACKWARD),
    entry(&select::SELECT),
    entry(&select::SELECT_BACKWARD),
    entry(&sum_squares::SUM_SQUARES),
    entry(&unary::UNARY),
    entry(&unary::UNARY_BACKWARD),
];
