//! Shared memory of a block, with the check for races.
//!
//! Each warp has a clock for every warp: how far it knows that warp to be. A barrier joins the clocks of those who meet
//! there. An access is ordered behind an earlier one of another warp if the clock covers that one (Flanagan and Freund
//! 2009, "FastTrack: efficient and precise dynamic race detection"). Of the reads of a cell, those of the last two
//! warps are kept, and so of its atomics, which is exact as long as barriers are for the whole block. The clock of a warp
//! moves on at its own `bar.warp.sync` too: at one clock no lane may read or write what another lane of the warp wrote,
//! nor write what another read, unless one instruction did both. From compute capability 7.0 on, lanes of a warp are in
//! step only there.

use std::ops::Range;

use super::arena::Arena;
use super::{each, lanes};
use crate::fault::FaultKind;
use crate::parse::syntax::Space;
use crate::program::{LANES, Mask};

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

/// Who of a warp: a lane, or more of them than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Party(u8);

impl Party {
    const SEVERAL: Self = Self(LANES as u8);

    fn one(lane: usize) -> Self {
        Self(lane as u8)
    }

    fn joined(self, other: Self) -> Self {
        if self == other { self } else { Self::SEVERAL }
    }
}

/// An access of some lanes of a warp.
#[derive(Clone, Copy, Debug, Default)]
struct Access {
    stamp: Stamp,
    party: Party,
}

impl Access {
    /// Whether another lane than those of a later access had a part in this one, and no barrier of the warp is between.
    fn beside(self, later: Self) -> bool {
        self.stamp == later.stamp && self.party.joined(later.party) == Party::SEVERAL
    }
}

/// The last accesses of some bytes, but for the very last read.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    writer: Access,
    /// The instruction of the last write, as [`Shared::instruction`] counts.
    instruction: u32,
    earlier_reader: Stamp,
    atomic: Access,
    earlier_atomic: Stamp,
}

/// Notes an access, and keeps the last one of another warp.
fn push(last: &mut Access, earlier: &mut Stamp, access: Access) {
    if last.stamp.warp() != access.stamp.warp() {
        *earlier = last.stamp;
    }
    let party = if last.stamp == access.stamp { last.party.joined(access.party) } else { access.party };
    *last = Access { party, ..access };
}

#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) arena: Arena,
    cells: Vec<Cell>,
    /// The last read of each cell.
    readers: Vec<Access>,
    /// Instructions that may have accessed shared memory.
    instruction: u32,
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
            readers: vec![Access::default(); cells],
            instruction: 0,
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
            self.readers.fill(Access::default());
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

    /// Orders what the lanes of a warp did before its barrier ahead of what they do behind it.
    pub(crate) fn meet_lanes(&mut self, warp: usize) {
        self.clocks[warp][warp] += 1;
    }

    /// The writes that follow belong to the next instruction.
    pub(crate) fn next_instruction(&mut self) {
        self.instruction = self.instruction.wrapping_add(1);
    }

    /// Checks and notes an access of a lane of a warp; returns its offset.
    #[inline]
    pub(crate) fn access(
        &mut self,
        [warp, lane]: [usize; 2],
        address: u64,
        bytes: u32,
        kind: Kind,
    ) -> Result<usize, FaultKind> {
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
            self.note(warp, Party::one(lane), offset, bytes, kind)?;
        }
        Ok(offset)
    }

    /// Checks and notes the reads or writes of the active lanes of a warp, of aligned addresses; returns their offsets,
    /// or nothing where one of them, taken by itself, has something to complain about.
    pub(crate) fn access_all(
        &mut self,
        warp: usize,
        at: &[u64; LANES],
        bytes: u32,
        kind: Kind,
        active: Mask,
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
            // Lanes often share what they read with their neighbours.
            let mut lanes = lanes(active).peekable();
            while let Some(lane) = lanes.next() {
                let mut party = Party::one(lane);
                while lanes.next_if(|next| offsets[*next] == offsets[lane]).is_some() {
                    party = Party::SEVERAL;
                }
                self.note(warp, party, offsets[lane] as usize, bytes, kind).ok()?;
            }
        }
        Some(offsets)
    }

    #[inline]
    fn note(&mut self, warp: usize, party: Party, offset: usize, bytes: u32, kind: Kind) -> Result<(), FaultKind> {
        let access = Access { stamp: Stamp::new(warp, self.clocks[warp][warp]), party };
        let range = offset / self.granule..(offset + bytes as usize).div_ceil(self.granule);
        // Had anyone else written since the same read, that would have been a race already.
        let again = |last: &Access| last.stamp == access.stamp && last.party.joined(party) == last.party;
        if kind == Kind::Read && self.readers[range.clone()].iter().all(again) {
            return Ok(());
        }
        self.note_cells(access, range, kind)
    }

    fn note_cells(&mut self, access: Access, range: Range<usize>, kind: Kind) -> Result<(), FaultKind> {
        let warp = access.stamp.warp();
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
            let within = |other_write: bool| FaultKind::WarpRace {
                offset: (index * self.granule) as u32,
                write: kind != Kind::Read,
                other_write,
            };
            let together = kind == Kind::Write && cell.instruction == self.instruction;
            if concurrent(&cell.writer.stamp) {
                return Err(race(cell.writer.stamp, true));
            }
            if cell.writer.beside(access) && !together {
                return Err(within(true));
            }
            let atomics = [cell.atomic.stamp, cell.earlier_atomic];
            if let Some(atomic) = atomics.into_iter().find(concurrent).filter(|_| kind != Kind::Atomic) {
                return Err(race(atomic, true));
            }
            let readers = [last.stamp, cell.earlier_reader];
            if let Some(reader) = readers.into_iter().find(concurrent).filter(|_| kind != Kind::Read) {
                return Err(race(reader, false));
            }
            if kind != Kind::Read && last.beside(access) {
                return Err(within(false));
            }
            if kind != Kind::Atomic && cell.atomic.beside(access) {
                return Err(within(true));
            }
            match kind {
                Kind::Read => push(last, &mut cell.earlier_reader, access),
                Kind::Atomic => push(&mut cell.atomic, &mut cell.earlier_atomic, access),
                Kind::Write => {
                    let party = if together { cell.writer.party.joined(access.party) } else { access.party };
                    cell.writer = Access { party, ..access };
                    cell.instruction = self.instruction;
                }
            }
        }
        Ok(())
    }

    /// Notes that an asynchronous copy begins to fill up to 16 aligned bytes.
    pub(crate) fn begin_copy(&mut self, by: [usize; 2], address: u64, bytes: u32) -> Result<usize, FaultKind> {
        let offset = self.access(by, address, bytes, Kind::Write)?;
        self.arena.forget_at(offset, bytes);
        for word in offset / 4..(offset + bytes as usize) / 4 {
            self.in_flight[word] = 1;
        }
        self.copies += 1;
        Ok(offset)
    }

    /// Ends a copy: its words are there.
    pub(crate) fn end_copy(&mut self, by: [usize; 2], offset: usize, words: &[u32]) -> Result<(), FaultKind> {
        self.copies -= 1;
        self.in_flight[offset / 4..offset / 4 + words.len()].fill(0);
        for (i, word) in words.iter().enumerate() {
            self.access(by, (offset + 4 * i) as u64, 4, Kind::Write)?;
            self.arena.store(offset + 4 * i, 4, u64::from(*word));
        }
        Ok(())
    }
}
