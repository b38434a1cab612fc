//! An operation is a forward and a backward.

use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tape;
use crate::tensor::{DType, Tensor};

/// The gradients an operation hands back, one for each of its inputs; `None` where none is wanted.
pub type Grads = Vec<Option<Tensor>>;

/// A differentiable operation, both halves written by hand.
pub trait Op: 'static {
    /// Its name in errors.
    fn name(&self) -> &'static str;

    /// Which inputs are indices (u32); all others are numbers.
    fn index_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// The result, and exactly what [`Op::backward`] reads.
    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)>;

    /// Gradients for the inputs that `wanted` names, from what the forward saved and the gradient `dy` of its result.
    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads>;
}

/// Which inputs of an operation want a gradient, and where it may be written straight away.
pub struct Wanted {
    pub(crate) inputs: Vec<Option<Destination>>,
}

/// An input that wants a gradient.
#[derive(Clone)]
pub(crate) struct Destination {
    /// The parameter's place in the flat gradient, when this is its first gradient of the pass.
    pub(crate) slot: Option<Tensor>,
}

impl Wanted {
    /// Whether input `i` wants a gradient.
    pub fn needs(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    /// A tensor to write the gradient of input `i` into; every element must be written.
    pub fn output(&self, i: usize, like: &Tensor) -> Result<Tensor> {
        self.output_shaped(i, like.shape(), like)
    }

    /// The same for an input of another shape than `like`, whose device and number type it has.
    pub fn output_shaped(&self, i: usize, shape: impl Into<Shape>, like: &Tensor) -> Result<Tensor> {
        match self.inputs.get(i) {
            Some(Some(Destination { slot: Some(slot) })) => Ok(slot.clone()),
            _ => Tensor::empty(like.device(), shape, like.dtype()),
        }
    }
}

/// Runs `op` on `x`, recording it when a tape is active on this thread and an input is tracked.
///
/// # Errors
/// Inputs on different devices or of different number types, and whatever the operation refuses.
pub fn apply(op: impl Op, x: &[&Tensor]) -> Result<Tensor> {
    let first = x[0];
    let mut number = None;
    for (i, t) in x.iter().enumerate() {
        if !t.device().same(first.device()) {
            return Err(Error::Type { op: op.name(), what: format!("input {i} lives on another device than input 0") });
        }
        if op.index_inputs().contains(&i) {
            continue;
        }
        if t.dtype() == DType::U32 {
            return Err(Error::Type { op: op.name(), what: format!("input {i}: expected f32 or f64, found {t:?}") });
        }
        if *number.get_or_insert(t.dtype()) != t.dtype() {
            let what = format!("expected inputs of one number type, found {first:?} and {t:?}");
            return Err(Error::Type { op: op.name(), what });
        }
    }
    let sources = tape::sources(op.name(), x)?;
    let plain: Vec<Tensor> = x.iter().map(|t| t.detach()).collect();
    let (y, saved) = op.forward(&plain.iter().collect::<Vec<_>>())?;
    match sources {
        Some(sources) => Ok(tape::record(Box::new(op), sources, saved, y)),
        None => Ok(y),
    }
}

/// An error unless `found` equals `expected`.
pub(crate) fn expect_shape(op: &'static str, operand: &str, found: &Shape, expected: impl Into<Shape>) -> Result<()> {
    let expected = expected.into();
    if *found == expected {
        return Ok(());
    }
    Err(Error::Shape { op, what: format!("{operand}: expected {expected}, found {found}") })
}
