//! Shared memory of a block, with the check for races.
//!
//! Each warp has a clock for every warp: how far it knows that warp to be. A barrier joins the clocks of those who meet
//! there. An access is ordered behind an earlier one of another warp if the clock covers that one (Flanagan and Freund
//! 2009, "FastTrack: efficient and precise dynamic race detection"). Of the reads of a cell, those of the last two
//! warps are kept, and so of its atomics, which is exact as long as barriers are for the whole block.

use std::ops::Range;

use super::arena::Arena;
use super::each;
use crate::fault::FaultKind;
use crate::parse::syntax::Space;
use crate::program::LANES;

/// Most warps of a block.
pub(crate) const WARPS: usize = 32;

/// How memory is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Atomic,
}

/// Who accessed a cell and when: the warp in the low five bits, its clock above; a clock of 0 stands for nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp(u32);

impl Stamp {
    fn new(warp: usize, clock: u32) -> Self {
        Self(clock << 5 | warp as u32)
    }

    fn warp(self) -> usize {
        self.0 as usize % WARPS
    }

    fn clock(self) -> u32 {
        self.0 >> 5
    }
}

/// The clock at which a new block starts afresh, far below the 27 bits of a stamp.
const LATE: u32 = 1 << 26;

/// The last accesses of some bytes, but for the very last read.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    writer: Stamp,
    earlier_reader: Stamp,
    atomics: [Stamp; 2],
}

/// Notes an access, and keeps the last one of another warp.
fn push(last: &mut Stamp, earlier: &mut Stamp, stamp: Stamp) {
    if last.warp() != stamp.warp() {
        *earlier = *last;
    }
    *last = stamp;
}

#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) arena: Arena,
    cells: Vec<Cell>,
    /// The last read of each cell.
    readers: Vec<Stamp>,
    /// Bytes of a cell.
    granule: usize,
    clocks: Vec<[u32; WARPS]>,
    /// Copies under way, per word.
    in_flight: Vec<u8>,
    copies: usize,
    check_races: bool,
}

impl Shared {
    pub(crate) fn new(bytes: usize, granule: u32, warps: usize, check_races: bool) -> Self {
        let cells = if check_races { bytes.div_ceil(granule as usize) } else { 0 };
        Self {
            arena: Arena::new(Space::Shared, bytes),
            cells: vec![Cell::default(); cells],
            readers: vec![Stamp::default(); cells],
            granule: granule as usize,
            clocks: std::iter::repeat_n([0; WARPS], warps).collect(),
            in_flight: vec![0; bytes.div_ceil(4)],
            copies: 0,
            check_races,
        }
    }

    /// Back to the state of a new block. What earlier blocks did counts as done before a barrier.
    pub(crate) fn forget(&mut self) {
        self.arena.forget();
        self.meet(0..self.clocks.len());
        if self.clocks.iter().enumerate().any(|(warp, clocks)| clocks[warp] > LATE) {
            self.cells.fill(Cell::default());
            self.readers.fill(Stamp::default());
            self.clocks.fill([0; WARPS]);
            self.meet(0..self.clocks.len());
        }
        if self.copies > 0 {
            self.in_flight.fill(0);
            self.copies = 0;
        }
    }

    /// Orders what the warps did before a barrier ahead of what they do behind it.
    pub(crate) fn meet(&mut self, warps: impl Iterator<Item = usize> + Clone) {
        let mut joined = [0; WARPS];
        for warp in warps.clone() {
            joined.iter_mut().zip(self.clocks[warp]).for_each(|(a, b)| *a = (*a).max(b));
        }
        for warp in warps {
            self.clocks[warp] = joined;
            self.clocks[warp][warp] += 1;
        }
    }

    /// Checks and notes an access of a warp; returns its offset.
    #[inline]
    pub(crate) fn access(&mut self, warp: usize, address: u64, bytes: u32, kind: Kind) -> Result<usize, FaultKind> {
        let offset = self.arena.locate(address, bytes)?;
        if self.copies > 0 {
            let words = offset / 4..(offset + bytes as usize).div_ceil(4);
            if self.in_flight[words].iter().any(|&copies| copies > 0) {
                return Err(FaultKind::CopyInFlight { offset: offset as u32 });
            }
        }
        if kind != Kind::Write {
            self.arena.check_written(offset, bytes)?;
        }
        if self.check_races {
            self.note(warp, offset, bytes, kind)?;
        }
        Ok(offset)
    }

    /// Checks and notes the reads or writes of all lanes of a warp, of aligned addresses; returns their offsets, or
    /// nothing where one of them, taken by itself, has something to complain about.
    pub(crate) fn access_all(
        &mut self,
        warp: usize,
        at: &[u64; LANES],
        bytes: u32,
        kind: Kind,
    ) -> Option<[u32; LANES]> {
        let farthest = at.iter().fold(0, |most, at| most.max(*at));
        if self.copies > 0 || farthest >= 1 << 31 || farthest as usize + bytes as usize > self.arena.len() {
            return None;
        }
        let offsets = each(|lane| at[lane] as u32);
        if kind == Kind::Read && !offsets.iter().all(|at| self.arena.is_written(*at as usize, bytes)) {
            return None;
        }
        if self.check_races {
            let mut last = u32::MAX;
            for offset in offsets {
                // Lanes often share what they read with their neighbours.
                if offset != last {
                    self.note(warp, offset as usize, bytes, kind).ok()?;
                }
                last = offset;
            }
        }
        Some(offsets)
    }

    #[inline]
    fn note(&mut self, warp: usize, offset: usize, bytes: u32, kind: Kind) -> Result<(), FaultKind> {
        let stamp = Stamp::new(warp, self.clocks[warp][warp]);
        let range = offset / self.granule..(offset + bytes as usize).div_ceil(self.granule);
        // Had anyone written since the warp's own read, that would have been a race already.
        if kind == Kind::Read && self.readers[range.clone()].iter().all(|last| *last == stamp) {
            return Ok(());
        }
        self.note_cells(stamp, range, kind)
    }

    fn note_cells(&mut self, stamp: Stamp, range: Range<usize>, kind: Kind) -> Result<(), FaultKind> {
        let warp = stamp.warp();
        let known = &self.clocks[warp];
        let concurrent = |other: &Stamp| other.clock() > known[other.warp()] && other.warp() != warp;
        let cells = self.cells[range.clone()].iter_mut().zip(&mut self.readers[range.clone()]);
        for (index, (cell, last)) in range.zip(cells) {
            let race = |other: Stamp, other_write: bool| FaultKind::Race {
                offset: (index * self.granule) as u32,
                write: kind != Kind::Read,
                other_warp: other.warp() as u32,
                other_write,
            };
            if concurrent(&cell.writer) {
                return Err(race(cell.writer, true));
            }
            if let Some(atomic) = cell.atomics.into_iter().find(concurrent).filter(|_| kind != Kind::Atomic) {
                return Err(race(atomic, true));
            }
            let readers = [*last, cell.earlier_reader];
            if let Some(reader) = readers.into_iter().find(concurrent).filter(|_| kind != Kind::Read) {
                return Err(race(reader, false));
            }
            match kind {
                Kind::Read => push(last, &mut cell.earlier_reader, stamp),
                Kind::Atomic => {
                    let [last, earlier] = &mut cell.atomics;
                    push(last, earlier, stamp);
                }
                Kind::Write => cell.writer = stamp,
            }
        }
        Ok(())
    }

    /// Notes that an asynchronous copy begins to fill up to 16 aligned bytes.
    pub(crate) fn begin_copy(&mut self, warp: usize, address: u64, bytes: u32) -> Result<usize, FaultKind> {
        let offset = self.access(warp, address, bytes, Kind::Write)?;
        self.arena.forget_at(offset, bytes);
        for word in offset / 4..(offset + bytes as usize) / 4 {
            self.in_flight[word] = 1;
        }
        self.copies += 1;
        Ok(offset)
    }

    /// Ends a copy: its words are there.
    pub(crate) fn end_copy(&mut self, warp: usize, offset: usize, words: &[u32]) -> Result<(), FaultKind> {
        self.copies -= 1;
        self.in_flight[offset / 4..offset / 4 + words.len()].fill(0);
        for (i, word) in words.iter().enumerate() {
            self.access(warp, (offset + 4 * i) as u64, 4, Kind::Write)?;
            self.arena.store(offset + 4 * i, 4, u64::from(*word));
        }
        Ok(())
    }
}
