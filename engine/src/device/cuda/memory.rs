//! Memory of the GPU in pieces, and pinned memory of the host on the way there.

use super::Gpu;
use crate::memory::Store;
use cudarc::driver::result::{self, DriverError};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of the smallest piece without a budget.
const PIECE: usize = 64 << 20;
/// What the length of a piece is a multiple of under a small budget.
const GRAIN: usize = 1 << 12;
/// Bytes of the first pinned memory for uploads.
const STAGING: usize = 16 << 20;
/// Bytes of the most pinned memory for uploads: larger ones go in parts.
pub(super) const MOST_STAGING: usize = 256 << 20;

/// Memory of the host that the GPU copies from and to by itself.
pub(super) struct Pinned {
    at: NonNull<u8>,
    pub(super) len: usize,
}

impl Pinned {
    /// Memory of `len` bytes, all zero.
    pub(super) fn new(len: usize) -> Result<Self, DriverError> {
        // SAFETY: the memory is written before anyone reads it.
        let at = unsafe { result::malloc_host(len, 0) }?.cast::<u8>();
        let at = NonNull::new(at).ok_or(DriverError(cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY))?;
        // SAFETY: these are the bytes just allocated.
        unsafe { at.write_bytes(0, len) };
        Ok(Pinned { at, len })
    }

    pub(super) fn pointer(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    /// Its address, for the host and for the GPU.
    pub(super) fn address(&self) -> u64 {
        self.at.as_ptr() as u64
    }

    /// The first `len` bytes.
    ///
    /// # Safety
    /// The GPU must not be writing them.
    pub(super) unsafe fn bytes(&self, len: usize) -> &[u8] {
        assert!(len <= self.len, "a read past the end of pinned memory");
        // SAFETY: the range lies in the memory; the caller excludes writers.
        unsafe { std::slice::from_raw_parts(self.pointer(), len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it. A driver that refuses has lost the GPU, and the memory with it.
        let _ = unsafe { result::free_host(self.pointer().cast()) };
    }
}

/// Pinned memory that holds uploads until the GPU has fetched them.
#[derive(Default)]
pub(super) struct Staging {
    memory: Option<Pinned>,
    used: usize,
    /// How often memory was allocated.
    pub(super) allocations: u64,
}

impl Staging {
    /// Copies bytes to pinned memory and says where they are; `None` when there is no room left.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<u64> {
        let memory = self.memory.as_ref().filter(|memory| memory.len - self.used >= bytes.len())?;
        // SAFETY: the range lies in the memory, and nothing uses what lies past `used`.
        let to = unsafe { memory.pointer().add(self.used) };
        // SAFETY: as above; the host's bytes lie elsewhere.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.used = (self.used + bytes.len()).next_multiple_of(64).min(memory.len);
        Some(to as u64)
    }

    /// The GPU has fetched all.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// Makes room for `bytes` and more once the GPU has fetched all.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), DriverError> {
        let now = self.memory.as_ref().map_or(STAGING / 4, |memory| memory.len);
        let wanted = (4 * now).max(bytes.next_power_of_two()).min(MOST_STAGING);
        if wanted > now || self.memory.is_none() {
            self.memory = None;
            self.memory = Some(Pinned::new(wanted)?);
            self.allocations += 1;
        }
        self.used = 0;
        Ok(())
    }
}

/// The slab's pieces on the GPU.
pub(super) struct Pieces {
    gpu: Arc<Gpu>,
    largest: usize,
    /// Bytes of the smallest piece.
    piece: usize,
    /// Bytes that the budget leaves for further pieces.
    left: usize,
}

impl Pieces {
    /// Pieces within a budget, on a GPU with `memory` bytes.
    pub(super) fn new(gpu: Arc<Gpu>, memory: usize, limit: Option<usize>) -> Self {
        // Under a small budget no region may take most of it.
        let piece = limit.map_or(PIECE, |limit| (limit / 8).clamp(GRAIN, PIECE).next_multiple_of(GRAIN));
        let left = limit.map_or(usize::MAX, |limit| limit - limit % GRAIN);
        Pieces { gpu, largest: memory, piece, left }
    }
}

impl Store for Pieces {
    fn largest(&self) -> usize {
        self.largest
    }

    fn grow(&mut self, bytes: usize) -> Option<usize> {
        // Where the card is nearly full, a piece of no more than is needed may still fit.
        let rounded = [self.piece, GRAIN].map(|to| bytes.next_multiple_of(to).min(self.left));
        let mut fitting = rounded.into_iter().filter(|len| *len >= bytes);
        let len = fitting.find(|len| self.gpu.lock().add_piece(*len))?;
        self.left -= len;
        Some(len)
    }

    fn address(&mut self, _: usize) -> Option<NonNull<u8>> {
        None
    }

    fn fill(&mut self, piece: usize, start: usize, len: usize, byte: u8) {
        // A fault stays with the device: its next use reports it.
        let _ = self.gpu.lock().write((piece, start), &vec![byte; len]);
    }

    fn read(&mut self, piece: usize, start: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        // As in `fill`.
        let _ = self.gpu.lock().read((piece, start), &mut bytes);
        bytes
    }
}
