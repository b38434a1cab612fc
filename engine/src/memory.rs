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
/// The smallest piece of the host's memory; its pages cost nothing until they are touched.
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
    /// Bytes of all pieces: what was asked of the operating system or the driver.
    pub reserved: usize,
}

/// Where the bytes of a slab lie.
pub(crate) trait Store: Send {
    /// The most bytes that one block can have.
    fn largest(&self) -> usize;

    /// Adds a piece of at least `bytes` and says how long it is; `None` when there is no more.
    fn grow(&mut self, bytes: usize) -> Option<usize>;

    /// The host's address of a piece, where it has one.
    fn address(&mut self, piece: usize) -> Option<NonNull<u8>>;

    /// Fills the bytes `start..start + len` of a piece.
    fn fill(&mut self, piece: usize, start: usize, len: usize, byte: u8);

    /// The bytes `start..start + len` of a piece.
    fn read(&mut self, piece: usize, start: usize, len: usize) -> Vec<u8>;
}

/// The host's own memory.
#[derive(Default)]
pub(crate) struct Host(Vec<MmapMut>);

impl Store for Host {
    fn largest(&self) -> usize {
        usize::MAX
    }

    fn grow(&mut self, bytes: usize) -> Option<usize> {
        let len = bytes.next_multiple_of(PIECE);
        let map = MmapMut::map_anon(len).ok()?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage); // only a hint
        self.0.push(map);
        Some(len)
    }

    fn address(&mut self, piece: usize) -> Option<NonNull<u8>> {
        NonNull::new(self.0[piece].as_mut_ptr())
    }

    fn fill(&mut self, piece: usize, start: usize, len: usize, byte: u8) {
        self.0[piece][start..start + len].fill(byte);
    }

    fn read(&mut self, piece: usize, start: usize, len: usize) -> Vec<u8> {
        self.0[piece][start..start + len].to_vec()
    }
}

/// A device's memory.
#[derive(Clone)]
pub struct Slab {
    state: Arc<Mutex<State>>,
}

struct State {
    store: Box<dyn Store>,
    pieces: Vec<Piece>,
    live: BTreeMap<(usize, usize), (Shape, usize)>,
    usage: Usage,
    limit: Option<usize>,
    checked: bool,
}

struct Piece {
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
    /// First byte of the content within the piece, past the sentinels.
    content: usize,
    bytes: usize,
    /// The content's address, where the host can reach it.
    at: Option<NonNull<u8>>,
}

// SAFETY: a block is the only owner of its range, and its slab outlives it; access goes through `bytes` and
// `bytes_mut`, whose callers keep the rules of shared and exclusive borrows.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Slab {
    /// An empty slab. `checked` puts sentinels round every block and fills new blocks with NaN.
    pub(crate) fn new(store: Box<dyn Store>, limit: Option<usize>, checked: bool) -> Self {
        let (pieces, live, usage) = (Vec::new(), BTreeMap::new(), Usage::default());
        let state = State { store, pieces, live, usage, limit, checked };
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

    /// Bytes of the largest block that there can be.
    pub(crate) fn largest(&self) -> usize {
        self.lock().store.largest()
    }

    /// Forgets the high-water mark: it starts again from what is in use now.
    pub fn reset_high_water(&self) {
        let mut state = self.lock();
        state.usage.high_water = state.usage.persistent + state.usage.step;
    }

    /// A block of `bytes` for a tensor of shape `shape` (named in the error).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] past the budget, or when the operating system or the driver refuses; [`Error::TooLarge`]
    /// for more than one block can hold.
    pub fn allocate(&self, bytes: usize, shape: Shape, region: Region) -> Result<Block> {
        let mut state = self.lock();
        let margin = if state.checked { ALIGN } else { 0 };
        let reserved = (bytes.max(1)).next_multiple_of(ALIGN) + 2 * margin;
        let largest = state.store.largest();
        if reserved > largest {
            return Err(Error::TooLarge { shape, requested: bytes, largest });
        }
        let in_use = state.usage.persistent + state.usage.step;
        if state.limit.is_some_and(|limit| in_use + reserved > limit) {
            return Err(state.out_of_memory(shape, bytes));
        }
        let Some((piece, start)) = state.best_fit(reserved, region).or_else(|| state.grow(reserved, region)) else {
            return Err(state.out_of_memory(shape, bytes));
        };
        state.take(piece, start, reserved, region, shape);
        let content = start + margin;
        if state.checked {
            state.store.fill(piece, start, reserved, SENTINEL);
            state.store.fill(piece, content, bytes, 0xff);
        }
        // SAFETY: the content lies within the piece.
        let at = state.store.address(piece).map(|address| unsafe { address.add(content) });
        drop(state);
        Ok(Block { slab: self.clone(), region, piece, start, reserved, content, bytes, at })
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
        let len = self.store.grow(bytes)?;
        self.usage.reserved += len;
        self.pieces.push(Piece { region, free: BTreeMap::from([(0, len)]) });
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

    fn sentinels_stand(&mut self, block: &Block) -> bool {
        let end = block.content + block.bytes;
        let mut around = self.store.read(block.piece, block.start, ALIGN);
        around.extend(self.store.read(block.piece, end, block.start + block.reserved - end));
        around.iter().all(|b| *b == SENTINEL)
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

    /// The piece of the slab in which the content lies, and its first byte there.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.piece, self.content)
    }

    fn address(&self, start: usize) -> *mut u8 {
        let at = self.at.expect("only the processor's blocks have an address");
        // SAFETY: callers have checked that the range from `start` on lies in the block.
        unsafe { at.add(start).as_ptr() }
    }

    /// The bytes `start..start + len`.
    ///
    /// # Safety
    /// Nothing may write that range while the slice lives.
    pub unsafe fn bytes(&self, start: usize, len: usize) -> &[u8] {
        assert!(start + len <= self.bytes, "a read past the end of a block");
        // SAFETY: the range lies in the block, which lies in a mapped piece; the caller excludes writers.
        unsafe { std::slice::from_raw_parts(self.address(start), len) }
    }

    /// The bytes `start..start + len`, to write.
    ///
    /// # Safety
    /// Nothing else may read or write that range while the slice lives.
    #[allow(clippy::mut_from_ref)] // disjoint ranges of one block are written by one launch
    pub unsafe fn bytes_mut(&self, start: usize, len: usize) -> &mut [u8] {
        assert!(start + len <= self.bytes, "a write past the end of a block");
        // SAFETY: the range lies in the block, which lies in a mapped piece; the caller excludes all others.
        unsafe { std::slice::from_raw_parts_mut(self.address(start), len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.slab.lock().give_back(self);
    }
}
