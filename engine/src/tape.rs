//! The tape: what was computed, in order, and the walk back.
//!
//! A tape records on the thread that started it. Each recorded operation is a node that knows the nodes of its
//! inputs and keeps what its backward reads. Watched tensors and parameters are leaves. [`Tape::backward`] consumes
//! the tape: it visits the nodes newest first and frees each one as soon as it has been used.

use crate::error::{Error, Result};
use crate::op::{Destination, Op, Wanted, expect_shape};
use crate::tensor::Tensor;
use isobath_kernels::accumulate;
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a tensor stands on a tape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    tape: u64,
    node: usize,
}

/// A tensor whose gradient the backward returns.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) id: u64,
    /// The parameter's place in a flat gradient.
    pub(crate) slot: Option<Tensor>,
}

/// A number that no other leaf or tape has.
pub(crate) fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

enum Node {
    Leaf(Arc<Leaf>),
    Op { op: Box<dyn Op>, inputs: Vec<Option<usize>>, saved: Vec<Tensor> },
}

struct Record {
    id: u64,
    nodes: Vec<Node>,
    leaves: HashMap<u64, usize>,
}

thread_local! {
    static ACTIVE: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// A running record of operations on this thread.
pub struct Tape {
    id: u64,
    /// A tape belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl Tape {
    /// Starts recording on this thread.
    ///
    /// # Errors
    /// When a tape is already recording here.
    pub fn start() -> Result<Tape> {
        ACTIVE.with_borrow_mut(|active| {
            if active.is_some() {
                return Err(Error::Tape("another tape is recording on this thread".into()));
            }
            let id = fresh_id();
            *active = Some(Record { id, nodes: Vec::new(), leaves: HashMap::new() });
            Ok(Tape { id, thread: PhantomData })
        })
    }

    /// The same tensor as a leaf: its gradient will be among those that [`Tape::backward`] returns.
    pub fn watch(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.detach().with_leaf(Leaf { id: fresh_id(), slot: None }))
    }

    /// Ends the record and returns the gradients of the scalar `loss` with respect to every leaf it depends on.
    ///
    /// # Errors
    /// When `loss` is not a scalar of this tape.
    pub fn backward(self, loss: &Tensor) -> Result<Gradients> {
        if loss.len() != 1 {
            return Err(Error::Tape(format!("the loss must be a scalar, found {}", loss.shape())));
        }
        let one = Tensor::from_f64(loss.device(), loss.shape(), &[1.0], loss.dtype())?;
        Ok(Gradients { loss: Some(loss.detach()), ..self.backward_from(loss, &one)? })
    }

    /// Ends the record and returns, for every leaf, its Jacobian transposed times `dy`, the gradient of some scalar
    /// with respect to `y`.
    ///
    /// # Errors
    /// When `y` is not of this tape, or `dy` has another shape.
    pub fn backward_from(self, y: &Tensor, dy: &Tensor) -> Result<Gradients> {
        expect_shape("backward", "the gradient of the result", dy.shape(), y.shape())?;
        let record = ACTIVE.with_borrow_mut(Option::take);
        let mut record = record.ok_or_else(|| Error::Tape("no tape is recording on this thread".into()))?;
        let root = match y.trace() {
            Some(trace) if trace.tape == record.id => trace.node,
            _ => return Err(Error::Tape("the result does not depend on any parameter or watched tensor".into())),
        };
        let mut gradients: Vec<Option<Tensor>> = (0..record.nodes.len()).map(|_| None).collect();
        gradients[root] = Some(dy.detach());
        let mut reached = HashMap::new();
        while let Some(node) = record.nodes.pop() {
            let Some(dy) = gradients[record.nodes.len()].take() else { continue };
            match node {
                Node::Leaf(leaf) => {
                    reached.insert(leaf.id, dy);
                }
                Node::Op { op, inputs, saved } => {
                    let wanted = Wanted {
                        inputs: (0..inputs.len()).map(|k| destination(&record, &gradients, &inputs, k)).collect(),
                    };
                    let found = op.backward(saved, &dy, &wanted)?;
                    drop(dy);
                    for ((input, grad), want) in inputs.iter().zip(found).zip(wanted.inputs) {
                        if let (Some(input), Some(grad)) = (input, grad) {
                            let slot = want.and_then(|w| w.slot);
                            gradients[*input] = Some(join(gradients[*input].take(), grad, slot)?);
                        }
                    }
                }
            }
        }
        Ok(Gradients { reached, loss: None })
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        ACTIVE.with_borrow_mut(|active| {
            if active.as_ref().is_some_and(|record| record.id == self.id) {
                *active = None;
            }
        });
    }
}

/// Where the gradient of input `k` may go: a parameter's slot, unless something is or will be there already.
fn destination(
    record: &Record,
    gradients: &[Option<Tensor>],
    inputs: &[Option<usize>],
    k: usize,
) -> Option<Destination> {
    let input = inputs[k]?;
    let slot = match &record.nodes[input] {
        Node::Leaf(leaf) if gradients[input].is_none() && !inputs[..k].contains(&inputs[k]) => leaf.slot.clone(),
        _ => None,
    };
    Some(Destination { slot })
}

/// Adds `grad` to the gradient found so far.
fn join(so_far: Option<Tensor>, grad: Tensor, slot: Option<Tensor>) -> Result<Tensor> {
    let Some(sum) = so_far else {
        return match slot {
            // An operation that hands on a tensor it already had did not write into the slot.
            Some(slot) if !slot.overlaps(&grad) => copy_into(&slot, &grad),
            _ => Ok(grad),
        };
    };
    let sum = if sum.is_sole_owner() || sum.leaf().is_some() {
        sum
    } else {
        copy_into(&Tensor::empty(sum.device(), sum.shape(), sum.dtype())?, &sum)?
    };
    accumulate_into(&sum, &grad, true)?;
    Ok(sum)
}

fn copy_into(target: &Tensor, source: &Tensor) -> Result<Tensor> {
    accumulate_into(target, source, false)?;
    Ok(target.clone())
}

fn accumulate_into(target: &Tensor, source: &Tensor, add: bool) -> Result<()> {
    let parameters = accumulate::Params { len: target.len() as u32, add: u32::from(add) };
    target.device().run(
        &accumulate::ACCUMULATE,
        &parameters,
        &[crate::device::Bind::In(source), crate::device::Bind::Out(target)],
    )
}

/// The nodes of an operation's inputs, or `None` when nothing needs recording.
pub(crate) fn sources(op: &'static str, x: &[&Tensor]) -> Result<Option<Vec<Option<usize>>>> {
    ACTIVE.with_borrow_mut(|active| {
        let Some(record) = active else { return Ok(None) };
        let mut nodes = Vec::with_capacity(x.len());
        for (i, t) in x.iter().enumerate() {
            nodes.push(match (t.trace(), t.leaf()) {
                (Some(trace), _) if trace.tape == record.id => Some(trace.node),
                (Some(_), _) => {
                    return Err(Error::Tape(format!(
                        "{op}: input {i} belongs to a finished tape; detach it or compute it anew"
                    )));
                }
                (None, Some(leaf)) => Some(record.leaf(leaf)),
                (None, None) => None,
            });
        }
        Ok(nodes.iter().any(Option::is_some).then_some(nodes))
    })
}

impl Record {
    fn leaf(&mut self, leaf: &Arc<Leaf>) -> usize {
        *self.leaves.entry(leaf.id).or_insert_with(|| {
            self.nodes.push(Node::Leaf(leaf.clone()));
            self.nodes.len() - 1
        })
    }
}

/// Puts an operation that has just run on the active tape.
pub(crate) fn record(op: Box<dyn Op>, inputs: Vec<Option<usize>>, saved: Vec<Tensor>, y: Tensor) -> Tensor {
    ACTIVE.with_borrow_mut(|active| match active {
        None => y,
        Some(record) => {
            record.nodes.push(Node::Op { op, inputs, saved });
            y.with_trace(Some(Trace { tape: record.id, node: record.nodes.len() - 1 }))
        }
    })
}

/// The gradients of one backward pass.
pub struct Gradients {
    reached: HashMap<u64, Tensor>,
    loss: Option<Tensor>,
}

impl Gradients {
    /// The loss whose gradients these are; none after [`Tape::backward_from`].
    pub(crate) fn loss(&self) -> Option<&Tensor> {
        self.loss.as_ref()
    }

    /// The gradient of a watched tensor or parameter.
    ///
    /// # Errors
    /// When the loss did not depend on it, or it was never watched.
    pub fn get(&self, x: &Tensor) -> Result<&Tensor> {
        let leaf =
            x.leaf().ok_or_else(|| Error::Tape(format!("a tensor {} that is no leaf has no gradient", x.shape())))?;
        self.reached
            .get(&leaf.id)
            .ok_or_else(|| Error::Tape(format!("the loss does not depend on this tensor {}", x.shape())))
    }

    /// Whether the loss depended on the leaf `id`.
    pub(crate) fn reaches(&self, id: u64) -> bool {
        self.reached.contains_key(&id)
    }
}
