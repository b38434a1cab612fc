//! What goes wrong on the GPU, and which launch is to blame.

use super::memory::Pinned;
use super::modules::Function;
use crate::error::Error;
use cudarc::driver::result::DriverError;
use cudarc::driver::sys::{self, CUresult, CUstream};
use std::collections::VecDeque;
use std::rc::Rc;

/// The error of a device by the name under which it was asked for.
pub(super) fn refused(what: impl Into<String>) -> Error {
    Error::Device { device: "cuda".into(), what: what.into() }
}

/// The driver's name of an error and what it says of it.
pub(super) fn text(error: DriverError) -> String {
    let name = error.error_name().map_or("an unknown error".into(), |name| name.to_string_lossy());
    let said = error.error_string().map_or("".into(), |said| said.to_string_lossy());
    format!("{name} ({said})")
}

/// Whether nothing works any more after this error.
pub(super) fn is_final(error: DriverError) -> bool {
    use CUresult::*;
    #[rustfmt::skip] // one line a kind
    let fatal = [
        CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_MISALIGNED_ADDRESS, CUDA_ERROR_INVALID_ADDRESS_SPACE,
        CUDA_ERROR_ILLEGAL_INSTRUCTION, CUDA_ERROR_INVALID_PC, CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ASSERT,
        CUDA_ERROR_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_TIMEOUT,
        CUDA_ERROR_ECC_UNCORRECTABLE, CUDA_ERROR_NVLINK_UNCORRECTABLE,
        CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_DEINITIALIZED, CUDA_ERROR_UNKNOWN,
    ];
    fatal.contains(&error.0)
}

/// What was handed to the GPU, and how much of it is done: the GPU counts in a word that the host can read whatever the
/// driver says.
pub(super) struct Progress {
    word: Pinned,
    /// Launches and graphs so far.
    issued: u32,
    /// The last ones of them.
    pending: VecDeque<Issued>,
}

/// What is counted as one.
pub(super) enum Issued {
    /// A launch of so many blocks.
    Launch(Rc<Function>, u32),
    /// A graph with these launches in it.
    Graph(Rc<str>),
}

impl Progress {
    pub(super) fn new() -> Result<Self, DriverError> {
        Ok(Progress { word: Pinned::new(size_of::<u32>())?, issued: 0, pending: VecDeque::new() })
    }

    /// Hands something over, and has the GPU count it when it is done.
    pub(super) fn follow(
        &mut self,
        issued: Issued,
        stream: CUstream,
        hand_over: impl FnOnce() -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        while self.pending.len() > self.left() {
            self.pending.pop_front();
        }
        self.issued = self.issued.wrapping_add(1);
        self.pending.push_back(issued);
        hand_over()?;
        // SAFETY: pinned memory has the same address on the GPU, and outlives the stream's work.
        unsafe { sys::cuMemsetD32Async(self.word.address(), self.issued, 1, stream) }.result()
    }

    /// All is done.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    /// What failed: the first of what is not done where the GPU did, the last one where the driver refused it.
    pub(super) fn culprit(&self, error: DriverError) -> Option<String> {
        let back = if is_final(error) { self.left() } else { 1 };
        Some(match self.pending.get(self.pending.len().checked_sub(back)?)? {
            Issued::Graph(what) => what.to_string(),
            Issued::Launch(function, blocks) => {
                let (kernel, entry, [x, y, z]) = (function.kernel, function.entry, function.threads);
                format!("kernel {kernel}, entry point {entry}, {blocks} blocks of {x}x{y}x{z} threads")
            }
        })
    }

    /// How many are not done.
    fn left(&self) -> usize {
        self.issued.wrapping_sub(self.done()) as usize
    }

    fn done(&self) -> u32 {
        // SAFETY: the word is an aligned u32 that lives as long as `self`; the GPU may write it at any time.
        unsafe { self.word.pointer().cast::<u32>().read_volatile() }
    }
}
