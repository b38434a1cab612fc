//! Device memory: buffers that nothing runs out of unseen.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::fault::FaultKind;
use crate::parse::syntax::Space;

/// Device memory: any number of buffers, each on its own with guard space around it.
///
/// Every argument of a launch that names a buffer or a part of one gets an address range of its own, so that no access
/// that leaves it lands in another. Memory knows which of its bytes have been written.
#[derive(Debug, Default)]
pub struct Memory {
    buffers: Vec<Storage>,
}

/// A buffer of a [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer(usize);

/// What a kernel may do with an argument's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Reads only.
    Read,
    /// Writes only; atomics are refused.
    Write,
    /// Both.
    #[default]
    ReadWrite,
}

/// A buffer's words, and a bit for each of its bytes that has been written: one word of bits per sector.
///
/// Blocks that run at the same time share them. The atomics are there for the compiler alone: they order nothing, and
/// a kernel whose blocks do not write where others read gives the same bits on any number of threads.
#[derive(Debug)]
pub(crate) struct Storage {
    name: String,
    bytes: usize,
    words: Vec<AtomicU32>,
    written: Vec<AtomicU32>,
}

fn zeros(count: usize) -> Vec<AtomicU32> {
    vec![0; count].into_iter().map(AtomicU32::new).collect()
}

/// Bytes of a sector: what global memory moves at once.
pub(crate) const SECTOR: usize = 32;

impl Memory {
    /// Memory without a buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new buffer of `bytes` bytes that nothing has written yet. The name is for messages.
    pub fn reserve(&mut self, name: &str, bytes: usize) -> Buffer {
        let (words, written) = (zeros(bytes.div_ceil(4)), zeros(bytes.div_ceil(SECTOR)));
        self.buffers.push(Storage { name: name.to_owned(), bytes, words, written });
        Buffer(self.buffers.len() - 1)
    }

    /// A new buffer with these bytes in it.
    pub fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Buffer {
        let buffer = self.reserve(name, bytes.len());
        self.write_bytes(buffer, 0, bytes);
        buffer
    }

    /// A new buffer with these numbers in it.
    pub fn add_f32(&mut self, name: &str, values: &[f32]) -> Buffer {
        self.add_bytes(name, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// A new buffer with these numbers in it.
    pub fn add_u32(&mut self, name: &str, values: &[u32]) -> Buffer {
        self.add_bytes(name, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// Bytes of a buffer.
    pub fn bytes(&self, buffer: Buffer) -> usize {
        self.buffers[buffer.0].bytes
    }

    /// Writes bytes at an offset.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write_bytes(&mut self, buffer: Buffer, offset: usize, bytes: &[u8]) {
        let storage = &self.buffers[buffer.0];
        assert!(offset + bytes.len() <= storage.bytes, "{}: bytes past the end", storage.name);
        let head = bytes.len().min(offset.next_multiple_of(4) - offset);
        let (words, tail) = bytes[head..].as_chunks::<4>();
        for (i, byte) in bytes[..head].iter().enumerate() {
            storage.store(offset + i, 1, u64::from(*byte));
        }
        let start = offset + head;
        for (place, word) in storage.words[start / 4..].iter().zip(words) {
            place.store(u32::from_le_bytes(*word), Relaxed);
        }
        storage.mark_all(start, start + 4 * words.len());
        for (i, byte) in tail.iter().enumerate() {
            storage.store(start + 4 * words.len() + i, 1, u64::from(*byte));
        }
    }

    /// Bytes of a buffer from an offset on; zero, or what was there before it was forgotten, where nothing has written.
    ///
    /// # Panics
    /// If the buffer has fewer.
    pub fn read_bytes(&self, buffer: Buffer, offset: usize, length: usize) -> Vec<u8> {
        let words = &self.buffers[buffer.0].words[offset / 4..(offset + length).div_ceil(4)];
        let bytes = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes());
        bytes.skip(offset % 4).take(length).collect()
    }

    /// The numbers of a whole buffer.
    pub fn read_f32(&self, buffer: Buffer) -> Vec<f32> {
        self.buffers[buffer.0].words.iter().map(|word| f32::from_bits(word.load(Relaxed))).collect()
    }

    /// The numbers of a whole buffer.
    pub fn read_u32(&self, buffer: Buffer) -> Vec<u32> {
        self.buffers[buffer.0].words.iter().map(|word| word.load(Relaxed)).collect()
    }

    /// The first byte of a buffer that nothing has written.
    pub fn first_unwritten(&self, buffer: Buffer) -> Option<usize> {
        let storage = &self.buffers[buffer.0];
        let mut sectors = storage.written.iter().map(|bits| bits.load(Relaxed).trailing_ones() as usize).enumerate();
        let (sector, first) = sectors.find(|(_, first)| *first < SECTOR)?;
        Some(sector * SECTOR + first).filter(|byte| *byte < storage.bytes)
    }

    /// Makes a part of a buffer count as never written.
    pub fn forget(&mut self, buffer: Buffer, offset: usize, length: usize) {
        let storage = &self.buffers[buffer.0];
        for at in offset..offset + length {
            storage.written[at / SECTOR].fetch_and(!(1 << (at % SECTOR)), Relaxed);
        }
    }

    pub(crate) fn storage(&self, buffer: Buffer) -> Option<&Storage> {
        self.buffers.get(buffer.0)
    }
}

impl Storage {
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// 1, 2, 4 or 8 bytes at an aligned offset.
    #[inline]
    pub(crate) fn load(&self, offset: usize, bytes: u32) -> u64 {
        let word = |at: usize| u64::from(self.words[at / 4].load(Relaxed));
        match bytes {
            8 => word(offset) | word(offset + 4) << 32,
            4 => word(offset),
            _ => word(offset) >> (8 * (offset % 4)) & ((1 << (8 * bytes)) - 1),
        }
    }

    /// Writes 1, 2, 4 or 8 bytes at an aligned offset.
    #[inline]
    pub(crate) fn store(&self, offset: usize, bytes: u32, value: u64) {
        match bytes {
            8 => {
                self.words[offset / 4].store(value as u32, Relaxed);
                self.words[offset / 4 + 1].store((value >> 32) as u32, Relaxed);
            }
            4 => self.words[offset / 4].store(value as u32, Relaxed),
            _ => {
                // Another block may write the word's other bytes at the same time.
                let shift = 8 * (offset % 4);
                let mask = ((1u32 << (8 * bytes)) - 1) << shift;
                let merge = |old: u32| Some(old & !mask | (value as u32) << shift & mask);
                let _ = self.words[offset / 4].fetch_update(Relaxed, Relaxed, merge);
            }
        }
        self.mark(offset, bytes);
    }

    /// A word at an aligned offset.
    #[inline(always)]
    pub(crate) fn word(&self, offset: u32) -> u32 {
        self.words[offset as usize / 4].load(Relaxed)
    }

    /// Writes a word at an aligned offset without marking it as written.
    #[inline(always)]
    pub(crate) fn set_word(&self, offset: u32, value: u32) {
        self.words[offset as usize / 4].store(value, Relaxed);
    }

    /// Marks the bytes from `start` to `end` as written, both multiples of 4.
    fn mark_all(&self, start: usize, end: usize) {
        let (first, last) = (start.next_multiple_of(SECTOR).min(end), end - end % SECTOR);
        (start..first).step_by(4).for_each(|at| self.mark(at, 4));
        if first < last {
            self.written[first / SECTOR..last / SECTOR].iter().for_each(|bits| bits.store(u32::MAX, Relaxed));
        }
        (last.max(first)..end).step_by(4).for_each(|at| self.mark(at, 4));
    }

    /// Whether all of a range has been written, and what lies before it in its first sector.
    pub(crate) fn is_complete(&self, range: Range<usize>) -> bool {
        let whole = &self.written[range.start / SECTOR..range.end / SECTOR];
        let rest = range.end % SECTOR;
        whole.iter().all(|bits| bits.load(Relaxed) == u32::MAX)
            && (rest == 0 || self.written[range.end / SECTOR].load(Relaxed).trailing_ones() as usize >= rest)
    }

    /// Notes that up to 16 aligned bytes have been written.
    #[inline(always)]
    pub(crate) fn mark(&self, offset: usize, bytes: u32) {
        let mask = ((1u64 << bytes) - 1) as u32;
        let bits = mask << (offset % SECTOR);
        let sector = &self.written[offset / SECTOR];
        if sector.load(Relaxed) & bits != bits {
            sector.fetch_or(bits, Relaxed);
        }
    }

    /// Whether at most 16 bytes at an offset aligned to their number have all been written.
    #[inline]
    pub(crate) fn is_written(&self, offset: usize, bytes: u32) -> bool {
        let bits = ((1u64 << bytes) - 1) as u32;
        self.written[offset / SECTOR].load(Relaxed) >> (offset % SECTOR) & bits == bits
    }
}

/// A part of a buffer as a launch sees it, at addresses of its own.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) start: usize,
    pub(crate) bytes: usize,
    pub(crate) permission: Permission,
    /// Whether all of it was written before the launch.
    pub(crate) complete: bool,
    pub(crate) touched: Touched,
}

/// A bit for each sector of a window that has been read, and one for each that has been written.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    read: Vec<AtomicU32>,
    written: Vec<AtomicU32>,
}

impl Touched {
    /// For a window of so many bytes, wherever it starts within a sector.
    pub(crate) fn new(bytes: usize) -> Self {
        let words = bytes.div_ceil(SECTOR * 32) + 1;
        Self { read: zeros(words), written: zeros(words) }
    }

    fn mark(&self, sector: usize, write: bool) {
        let bits = if write { &self.written } else { &self.read };
        if let Some(word) = bits.get(sector / 32).filter(|word| word.load(Relaxed) >> (sector % 32) & 1 == 0) {
            word.fetch_or(1 << (sector % 32), Relaxed);
        }
    }
}

/// Address bits within a window: 64 GiB, half of them guard space.
const WINDOW_BITS: u32 = 36;
/// Buffers start at multiples of this, as those of the driver do.
const ALIGNMENT: usize = 256;

/// The windows of a launch: one for every argument that is a buffer.
#[derive(Debug, Default)]
pub(crate) struct Windows<'a>(Vec<Window<'a>>);

impl<'a> Windows<'a> {
    /// Adds a window and returns its address, as aligned as the window is within its buffer.
    pub(crate) fn add(&mut self, window: Window<'a>) -> u64 {
        self.0.push(window);
        self.address(self.0.len() - 1)
    }

    fn address(&self, index: usize) -> u64 {
        ((index as u64 + 1) << WINDOW_BITS) + (1 << (WINDOW_BITS - 1)) + (self.0[index].start % ALIGNMENT) as u64
    }

    /// The window at an address and the offset there in its buffer, if the access is allowed.
    #[inline]
    pub(crate) fn locate(&self, address: u64, bytes: u32, write: bool) -> Result<(&Window<'a>, usize), FaultKind> {
        let index = (address >> WINDOW_BITS).wrapping_sub(1) as usize;
        if let Some(window) = self.0.get(index) {
            let offset = address.wrapping_sub(self.address(index)) as i64;
            let inside = offset >= 0 && offset as u64 + u64::from(bytes) <= window.bytes as u64;
            let allowed = window.permission != if write { Permission::Read } else { Permission::Write };
            if inside && allowed && address.is_multiple_of(u64::from(bytes)) {
                return Ok((window, window.start + offset as usize));
            }
        }
        Err(self.explain(address, bytes, write))
    }

    /// The window that an address lies in and its own address, if it may be read or written.
    #[inline]
    pub(crate) fn window(&self, address: u64, write: bool) -> Option<(&Window<'a>, u64)> {
        let index = (address >> WINDOW_BITS).wrapping_sub(1) as usize;
        let forbidden = if write { Permission::Read } else { Permission::Write };
        let window = self.0.get(index).filter(|window| window.permission != forbidden)?;
        Some((window, self.address(index)))
    }

    /// Notes that a sector has been read or written.
    pub(crate) fn touch(&self, address: u64, write: bool) {
        let index = (address >> WINDOW_BITS).wrapping_sub(1) as usize;
        if let Some(window) = self.0.get(index) {
            let start = self.address(index) / SECTOR as u64;
            window.touched.mark((address / SECTOR as u64).wrapping_sub(start) as usize, write);
        }
    }

    /// Different sectors that have been read and written, in all windows.
    pub(crate) fn touched(&self) -> [u64; 2] {
        let ones = |bits: &[AtomicU32]| bits.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum::<u64>();
        self.0.iter().fold([0; 2], |[read, written], window| {
            [read + ones(&window.touched.read), written + ones(&window.touched.written)]
        })
    }

    #[cold]
    fn explain(&self, address: u64, bytes: u32, write: bool) -> FaultKind {
        let space = Space::Global;
        let index = ((address >> WINDOW_BITS).wrapping_sub(1) as usize).min(self.0.len().wrapping_sub(1));
        let Some(window) = self.0.get(index).filter(|_| address >> WINDOW_BITS != 0) else {
            let target = "no buffer".to_owned();
            return FaultKind::OutOfBounds { space, target, size: 0, offset: address as i64, bytes };
        };
        let (target, size) = (window.storage.name().to_owned(), window.bytes as u64);
        let offset = address.wrapping_sub(self.address(index)) as i64;
        if offset < 0 || offset as u64 + u64::from(bytes) > size {
            FaultKind::OutOfBounds { space, target, size, offset, bytes }
        } else if !address.is_multiple_of(u64::from(bytes)) {
            FaultKind::Misaligned { space, target, offset, bytes }
        } else {
            FaultKind::Forbidden { target, write, offset }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_in_and_out_at_any_offset() {
        let mut memory = Memory::new();
        let buffer = memory.reserve("x", 40);
        let bytes: Vec<u8> = (1..=23).collect();
        memory.write_bytes(buffer, 3, &bytes);
        assert_eq!(memory.read_bytes(buffer, 3, 23), bytes);
        assert_eq!(memory.read_bytes(buffer, 2, 3), [0, 1, 2]);
        let storage = memory.storage(buffer).unwrap();
        assert!(storage.is_written(4, 4) && !storage.is_written(0, 4) && !storage.is_written(24, 4));
        assert_eq!((storage.load(4, 2), storage.load(25, 1)), (0x0302, 23));
    }

    #[test]
    fn windows_are_apart_and_as_aligned_as_their_buffers() {
        let mut memory = Memory::new();
        let buffer = memory.add_f32("x", &[0.0; 100]);
        let storage = memory.storage(buffer).unwrap();
        let mut windows = Windows::default();
        let mut add = |start, bytes| {
            let touched = Touched::new(bytes);
            let (permission, complete) = (Permission::ReadWrite, false);
            windows.add(Window { storage, start, bytes, permission, complete, touched })
        };
        let [first, second] = [add(0, 16), add(264, 64)];
        assert_eq!((first % 256, second % 256), (0, 8));
        assert_eq!(windows.locate(second + 60, 4, false).unwrap().1, 324);
        for address in [first - 4, first + 16, second + 64, second - 8, 0, u64::MAX - 3] {
            let found = windows.locate(address, 4, false);
            assert!(matches!(found, Err(FaultKind::OutOfBounds { .. })), "{found:?}");
        }
        windows.touch(second, false);
        windows.touch(second + 4, false);
        windows.touch(second + 63, true);
        assert_eq!(windows.touched(), [1, 1]);
    }
}
