//! Errors of a text: what keeps a module from loading.

use thiserror::Error;

/// Why a PTX text cannot be loaded, or a kernel not be found in it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The text is not PTX as this crate reads it.
    #[error("{file}:{line}: expected {expected}, found {found}")]
    Syntax {
        /// The text's name.
        file: String,
        /// The line, from 1.
        line: u32,
        /// What may stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// An instruction, or one of its modifiers, that the simulator does not know.
    #[error("{file}:{line}: unknown instruction `{instruction}`: {reason}")]
    UnknownInstruction {
        /// The text's name.
        file: String,
        /// The line, from 1.
        line: u32,
        /// The opcode with its modifiers.
        instruction: String,
        /// Which part of it is not known.
        reason: String,
    },
    /// The module has no kernel of that name.
    #[error("{file}: kernel `{kernel}` not found; the file has: {known}")]
    UnknownKernel {
        /// The text's name.
        file: String,
        /// The name asked for.
        kernel: String,
        /// The kernels of the file.
        known: String,
    },
}
