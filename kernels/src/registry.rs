//! Every kernel, once.

use crate::{Access, Kernel};
use crate::{accumulate, adam, gemm, reduce, reduce_backward, sum_squares, unary};

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
    entry(&gemm::GEMM),
    entry(&reduce::REDUCE),
    entry(&reduce_backward::REDUCE_BACKWARD),
    entry(&sum_squares::SUM_SQUARES),
    entry(&unary::UNARY),
    entry(&unary::UNARY_BACKWARD),
];
