//! Small memories of one owner: shared, local, const and param.

use crate::fault::FaultKind;
use crate::parse::syntax::Space;

/// Bytes at addresses from 0 on, with a bit for each one that has been written.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    space: Space,
    bytes: usize,
    words: Vec<u32>,
    written: Vec<u32>,
}

impl Arena {
    /// Bytes that nothing has written.
    pub(crate) fn new(space: Space, bytes: usize) -> Self {
        let words = bytes.div_ceil(16) * 4;
        Self { space, bytes, words: vec![0; words], written: vec![0; bytes.div_ceil(32)] }
    }

    /// Bytes that are there from the start.
    pub(crate) fn filled(space: Space, bytes: &[u8]) -> Self {
        let mut arena = Self::new(space, bytes.len());
        for (at, byte) in bytes.iter().enumerate() {
            arena.store(at, 1, u64::from(*byte));
        }
        arena
    }

    /// Makes everything count as never written.
    pub(crate) fn forget(&mut self) {
        self.written.fill(0);
    }

    /// Makes up to 16 aligned bytes count as never written.
    pub(crate) fn forget_at(&mut self, offset: usize, bytes: u32) {
        self.written[offset / 32] &= !((((1u64 << bytes) - 1) as u32) << (offset % 32));
    }

    /// The offset of an access, if it is within `bytes` from `base` on and aligned.
    #[inline]
    pub(crate) fn locate(&self, address: u64, bytes: u32) -> Result<usize, FaultKind> {
        let end = address.checked_add(u64::from(bytes));
        if end.is_some_and(|end| end <= self.bytes as u64) && address.is_multiple_of(u64::from(bytes)) {
            return Ok(address as usize);
        }
        let (space, target, offset) = (self.space, format!("{} memory", self.space), address as i64);
        Err(if end.is_some_and(|end| end <= self.bytes as u64) {
            FaultKind::Misaligned { space, target, offset, bytes }
        } else {
            FaultKind::OutOfBounds { space, target, size: self.bytes as u64, offset, bytes }
        })
    }

    /// Checks that up to 16 aligned bytes have been written.
    #[inline]
    pub(crate) fn check_written(&self, offset: usize, bytes: u32) -> Result<(), FaultKind> {
        if self.is_written(offset, bytes) {
            return Ok(());
        }
        let (space, target) = (self.space, format!("{} memory", self.space));
        Err(FaultKind::UninitialisedMemory { space, target, offset: offset as i64 })
    }

    /// 1, 2, 4 or 8 aligned bytes.
    #[inline]
    pub(crate) fn load(&self, offset: usize, bytes: u32) -> u64 {
        match bytes {
            8 => u64::from(self.words[offset / 4]) | u64::from(self.words[offset / 4 + 1]) << 32,
            4 => u64::from(self.words[offset / 4]),
            _ => u64::from(self.words[offset / 4]) >> (8 * (offset % 4)) & ((1 << (8 * bytes)) - 1),
        }
    }

    /// Writes 1, 2, 4 or 8 aligned bytes.
    #[inline]
    pub(crate) fn store(&mut self, offset: usize, bytes: u32, value: u64) {
        match bytes {
            8 => {
                self.words[offset / 4] = value as u32;
                self.words[offset / 4 + 1] = (value >> 32) as u32;
            }
            4 => self.words[offset / 4] = value as u32,
            _ => {
                let shift = 8 * (offset % 4);
                let mask = ((1u32 << (8 * bytes)) - 1) << shift;
                let word = &mut self.words[offset / 4];
                *word = *word & !mask | (value as u32) << shift & mask;
            }
        }
        self.mark(offset, bytes);
    }

    /// A word at an aligned offset.
    #[inline(always)]
    pub(crate) fn word(&self, offset: u32) -> u32 {
        self.words[offset as usize / 4]
    }

    /// Writes a word at an aligned offset without marking it as written.
    #[inline(always)]
    pub(crate) fn set_word(&mut self, offset: u32, value: u32) {
        self.words[offset as usize / 4] = value;
    }

    /// Notes that up to 16 aligned bytes have been written.
    #[inline(always)]
    pub(crate) fn mark(&mut self, offset: usize, bytes: u32) {
        self.written[offset / 32] |= (((1u64 << bytes) - 1) as u32) << (offset % 32);
    }

    /// Bytes of the memory.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Whether up to 16 aligned bytes have been written.
    #[inline(always)]
    pub(crate) fn is_written(&self, offset: usize, bytes: u32) -> bool {
        let bits = ((1u64 << bytes) - 1) as u32;
        self.written[offset / 32] >> (offset % 32) & bits == bits
    }
}
