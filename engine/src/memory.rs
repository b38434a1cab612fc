//! Planned memory: one slab a device, best fit with coalescing, a budget and a high-water mark.
//!
//! The slab hands out blocks from large pieces. Long-lived blocks (parameters, moments, graphs) and the blocks of
//! a step live in separate pieces, so that a step leaves no holes and its region is empty when it ends.

use crate::error::{Error, Result};
use crate::shape::Shape;
use memmap2::MmapMut;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Every block starts on a cache line, which is also the width of the widest vector.
const ALIGN: usize = 64;
/// The smallest piece asked of the operating system; its pages cost nothing until they are touched.
const PIECE: usize = 64 << 20;
/// What a checked slab writes on both sides of every block.
const SENTINEL: u8 = 0xa5;

/// How long a block lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// Until its owner goes: parameters, gradients, moments, graphs.
    Persistent,
    /// Within a step: activations and their gradients.
    Step,
}

/// What a slab has handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use in the persistent region.
    pub persistent: usize,
    /// Bytes in use in the step region.
    pub step: usize,
    /// The most bytes ever in use at once, both regions together.
    pub high_water: usize,
    /// Blocks whose sentinels were found overwritten (only a checked slab looks).
    pub overruns: usize,
}

/// A device's memory.
#[derive(Clone)]
pub struct Slab {
    state: Arc<Mutex<State>>,
}

struct State {
    pieces: Vec<Piece>,
    live: BTreeMap<(usize, usize), (Shape, usize)>,
    usage: Usage,
    limit: Option<usize>,
    checked: bool,
}

struct Piece {
    map: MmapMut,
    region: Region,
    /// Free ranges: start to length.
    free: BTreeMap<usize, usize>,
}

/// A range of a slab; it goes back when dropped.
pub struct Block {
    slab: Slab,
    region: Region,
    piece: usize,
    start: usize,
    reserved: usize,
    bytes: usize,
    at: NonNull<u8>,
}

// SAFETY: a block is the only owner of its range, and its slab outlives it; access goes through `bytes` and
// `bytes_mut`, whose callers keep the rules of shared and exclusive borrows.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Slab {
    /// An empty slab. `checked` puts sentinels round every block and fills new blocks with NaN.
    pub fn new(limit: Option<usize>, checked: bool) -> Self {
        let state = State { pieces: Vec::new(), live: BTreeMap::new(), usage: Usage::default(), limit, checked };
        Slab { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in use.
    pub fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// Forgets the high-water mark: it starts again from what is in use now.
    pub fn reset_high_water(&self) {
        let mut state = self.lock();
        state.usage.high_water = state.usage.persistent + state.usage.step;
    }

    /// A block of `bytes` for a tensor of shape `shape` (named in the error).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] past the budget, or when the operating system refuses.
    pub fn allocate(&self, bytes: usize, shape: Shape, region: Region) -> Result<Block> {
        let mut state = self.lock();
        let margin = if state.checked { ALIGN } else { 0 };
        let reserved = (bytes.max(1)).next_multiple_of(ALIGN) + 2 * margin;
        let in_use = state.usage.persistent + state.usage.step;
        if state.limit.is_some_and(|limit| in_use + reserved > limit) {
            return Err(state.out_of_memory(shape, bytes));
        }
        let Some((piece, start)) = state.best_fit(reserved, region).or_else(|| state.grow(reserved, region)) else {
            return Err(state.out_of_memory(shape, bytes));
        };
        state.take(piece, start, reserved, region, shape);
        if state.checked {
            let range = &mut state.pieces[piece].map[start..start + reserved];
            range.fill(SENTINEL);
            range[margin..margin + bytes].fill(0xff);
        }
        let at = NonNull::from(&mut state.pieces[piece].map[start + margin]);
        drop(state);
        Ok(Block { slab: self.clone(), region, piece, start, reserved, bytes, at })
    }
}

impl State {
    /// The smallest free range that holds `bytes`.
    fn best_fit(&self, bytes: usize, region: Region) -> Option<(usize, usize)> {
        let pieces = self.pieces.iter().enumerate().filter(|(_, p)| p.region == region);
        let ranges = pieces.flat_map(|(i, p)| p.free.iter().map(move |(start, len)| (*len, i, *start)));
        ranges.filter(|(len, ..)| *len >= bytes).min().map(|(_, piece, start)| (piece, start))
    }

    fn grow(&mut self, bytes: usize, region: Region) -> Option<(usize, usize)> {
        let len = bytes.next_multiple_of(PIECE);
        let map = MmapMut::map_anon(len).ok()?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage); // only a hint
        self.pieces.push(Piece { map, region, free: BTreeMap::from([(0, len)]) });
        Some((self.pieces.len() - 1, 0))
    }

    fn take(&mut self, piece: usize, start: usize, bytes: usize, region: Region, shape: Shape) {
        let free = &mut self.pieces[piece].free;
        let len = free.remove(&start).unwrap_or(0);
        if len > bytes {
            free.insert(start + bytes, len - bytes);
        }
        self.live.insert((piece, start), (shape, bytes));
        *self.counter(region) += bytes;
        self.usage.high_water = self.usage.high_water.max(self.usage.persistent + self.usage.step);
    }

    fn give_back(&mut self, block: &Block) {
        if self.checked && !self.sentinels_stand(block) {
            self.usage.overruns += 1;
        }
        self.live.remove(&(block.piece, block.start));
        *self.counter(block.region) -= block.reserved;
        let free = &mut self.pieces[block.piece].free;
        let (mut start, mut len) = (block.start, block.reserved);
        if let Some(next) = free.remove(&(start + len)) {
            len += next;
        }
        if let Some((&before, &before_len)) = free.range(..start).next_back()
            && before + before_len == start
        {
            free.remove(&before);
            start = before;
            len += before_len;
        }
        free.insert(start, len);
    }

    fn sentinels_stand(&self, block: &Block) -> bool {
        let range = &self.pieces[block.piece].map[block.start..block.start + block.reserved];
        let (head, rest) = range.split_at(ALIGN);
        head.iter().chain(&rest[block.bytes..]).all(|b| *b == SENTINEL)
    }

    fn counter(&mut self, region: Region) -> &mut usize {
        match region {
            Region::Persistent => &mut self.usage.persistent,
            Region::Step => &mut self.usage.step,
        }
    }

    fn out_of_memory(&self, shape: Shape, requested: usize) -> Error {
        let mut sizes: Vec<_> = self.live.values().collect();
        sizes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let largest: Vec<String> =
            sizes.iter().take(3).map(|(shape, bytes)| format!("{shape} ({bytes} bytes)")).collect();
        let in_use = self.usage.persistent + self.usage.step;
        let limit = self.limit.unwrap_or(in_use);
        Error::OutOfMemory { shape, requested, in_use, limit, largest: largest.join(", ") }
    }
}

impl Block {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the block holds nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The bytes `start..start + len`.
    ///
    /// # Safety
    /// Nothing may write that range while the slice lives.
    pub unsafe fn bytes(&self, start: usize, len: usize) -> &[u8] {
        assert!(start + len <= self.bytes, "a read past the end of a block");
        // SAFETY: the range lies in the block, which lies in a mapped piece; the caller excludes writers.
        unsafe { std::slice::from_raw_parts(self.at.add(start).as_ptr(), len) }
    }

    /// The bytes `start..start + len`, to write.
    ///
    /// # Safety
    /// Nothing else may read or write that range while the slice lives.
    #[allow(clippy::mut_from_ref)] // disjoint ranges of one block are written by one launch
    pub unsafe fn bytes_mut(&self, start: usize, len: usize) -> &mut [u8] {
        assert!(start + len <= self.bytes, "a write past the end of a block");
        // SAFETY: the range lies in the block, which lies in a mapped piece; the caller excludes all others.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start).as_ptr(), len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.slab.lock().give_back(self);
    }
}
