//! What can go wrong in the engine.

use crate::shape::Shape;

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that names the operation, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Operands whose shapes do not fit the operation.
    #[error("{op}: {what}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// Which operand, the expected and the found.
        what: String,
    },
    /// Operands of different number types, or of one that the operation does not take.
    #[error("{op}: {what}")]
    Type {
        /// The operation.
        op: &'static str,
        /// Which operand, the expected and the found.
        what: String,
    },
    /// A misuse of the tape.
    #[error("tape: {0}")]
    Tape(String),
    /// A parameter that does not exist, exists twice or has another shape.
    #[error("parameter {name}: {what}")]
    Parameter {
        /// Dotted name.
        name: String,
        /// The expected and the found.
        what: String,
    },
    /// The memory budget is spent.
    #[error(
        "out of memory: {shape} needs {requested} bytes, {in_use} of a budget of {limit} bytes are in use; the largest tensors: {largest}; make the batch smaller"
    )]
    OutOfMemory {
        /// Shape asked for.
        shape: Shape,
        /// Bytes asked for.
        requested: usize,
        /// Bytes in use.
        in_use: usize,
        /// Bytes allowed.
        limit: usize,
        /// The three largest live tensors.
        largest: String,
    },
    /// A tensor larger than one binding of the device.
    #[error("{shape} needs {requested} bytes, a tensor on this device has {largest} at most: make the batch smaller")]
    TooLarge {
        /// Shape asked for.
        shape: Shape,
        /// Bytes asked for.
        requested: usize,
        /// Bytes of the largest tensor.
        largest: usize,
    },
    /// A device that does not exist, or cannot do what it is asked to.
    #[error("{device}: {what}")]
    Device {
        /// The device by name.
        device: String,
        /// The reason, and what can be done.
        what: String,
    },
    /// A device that stopped working; what its memory held is gone.
    #[error("{device} was lost: {what}; go on from the last checkpoint")]
    DeviceLost {
        /// The device by name.
        device: String,
        /// The driver's reason.
        what: String,
    },
    /// A file that could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Path of the file.
        path: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A weights or checkpoint file whose content is not what it should be.
    #[error("{path}: {what}")]
    Format {
        /// Path of the file.
        path: String,
        /// The expected and the found.
        what: String,
    },
}

/// A shape error of `op`.
pub(crate) fn shape_error<T>(op: &'static str, what: impl Into<String>) -> Result<T> {
    Err(Error::Shape { op, what: what.into() })
}
