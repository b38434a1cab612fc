//! What an operation binds to a kernel's buffers.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use isobath_kernels::{Access, Cost, Kernel};

/// A tensor bound to a kernel's buffer.
#[derive(Clone, Copy)]
pub enum Bind<'a> {
    /// Read by the kernel.
    In(&'a Tensor),
    /// Written (or updated in place) by the kernel.
    Out(&'a Tensor),
    /// An optional input that the caller leaves out.
    Absent,
}

impl<'a> Bind<'a> {
    /// The tensor, unless it is left out.
    pub(super) fn tensor(self) -> Option<&'a Tensor> {
        match self {
            Bind::In(tensor) | Bind::Out(tensor) => Some(tensor),
            Bind::Absent => None,
        }
    }
}

/// The number type of a launch, which all its numbers share; indices do not count.
///
/// # Panics
/// When the buffers are not bound as declared, or a written tensor shares memory with another: faults of the operation.
pub(super) fn check(op: &'static str, declared: &[(&str, Access)], bound: &[Bind<'_>]) -> Result<DType> {
    assert_eq!(bound.len(), declared.len(), "{op}: buffers bound and declared");
    for (i, (bind, (buffer, access))) in bound.iter().zip(declared).enumerate() {
        match (bind, access) {
            (Bind::In(_), Access::Read) | (Bind::Absent, _) => {}
            (Bind::Out(written), Access::Write | Access::Update) => {
                let mut others = bound.iter().enumerate().filter(|(j, _)| *j != i).filter_map(|(_, b)| b.tensor());
                assert!(others.all(|other| !written.overlaps(other)), "{op}: a written tensor is bound twice");
            }
            _ => panic!("{op}: buffer {buffer} is declared {access:?} and bound otherwise"),
        }
    }
    number_type(op, bound)
}

/// What a call costs with these buffers.
pub(super) fn cost<P>(kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Cost {
    let given = |name: &str| kernel.buffers.iter().zip(bound).any(|(b, bind)| b.0 == name && bind.tensor().is_some());
    (kernel.cost)(parameters, &given)
}

fn number_type(op: &'static str, bound: &[Bind<'_>]) -> Result<DType> {
    let mut found = None;
    for tensor in bound.iter().filter_map(|bind| bind.tensor()) {
        match (tensor.dtype(), found) {
            (DType::U32, _) => {}
            (dtype, None) => found = Some(dtype),
            (dtype, Some(first)) if dtype != first => {
                return Err(Error::Type {
                    op,
                    what: format!("expected operands of one number type, found {first} and {dtype}"),
                });
            }
            _ => {}
        }
    }
    Ok(found.unwrap_or(DType::F32))
}
