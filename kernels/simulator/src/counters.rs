//! What is counted while a kernel runs.

use crate::memory::SECTOR;
use crate::program::{LANES, Mask};

/// Banks of shared memory, each four bytes wide.
const BANKS: usize = 32;

/// The counts of one instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times that a warp executed it.
    pub warps: u64,
    /// Times that a thread did, its guard being true.
    pub threads: u64,
    /// Times that the threads of a warp parted here.
    pub divergent: u64,
    /// Global accesses of a warp.
    pub requests: u64,
    /// Sectors of 32 bytes that they touched.
    pub sectors: u64,
    /// Sectors that hold as many bytes as they asked for, each byte once.
    pub ideal_sectors: u64,
    /// Times that shared memory was busy: one for each turn of its banks.
    pub wavefronts: u64,
    /// Turns that were only needed because lanes asked a bank for different words.
    pub bank_conflicts: u64,
}

impl Counts {
    /// The sum of two.
    pub fn plus(self, other: Self) -> Self {
        Self {
            warps: self.warps + other.warps,
            threads: self.threads + other.threads,
            divergent: self.divergent + other.divergent,
            requests: self.requests + other.requests,
            sectors: self.sectors + other.sectors,
            ideal_sectors: self.ideal_sectors + other.ideal_sectors,
            wavefronts: self.wavefronts + other.wavefronts,
            bank_conflicts: self.bank_conflicts + other.bank_conflicts,
        }
    }

    /// Adds a global access: aligned ones of one size, which are the same or apart.
    pub(crate) fn count_global(&mut self, at: &[u64; LANES], bytes: u32, active: Mask) {
        let mut sorted = [0; LANES];
        let mut count = 0;
        for (lane, &address) in at.iter().enumerate() {
            if active >> lane & 1 == 1 {
                sorted[count] = address;
                count += 1;
            }
        }
        let sorted = &mut sorted[..count];
        if !sorted.is_sorted() {
            sorted.sort_unstable();
        }
        let (mut distinct, mut sectors) = (0, 0);
        let (mut last, mut last_sector) = (u64::MAX, u64::MAX);
        for &address in sorted.iter() {
            distinct += u64::from(address != last);
            sectors += u64::from(address / SECTOR as u64 != last_sector);
            (last, last_sector) = (address, address / SECTOR as u64);
        }
        self.requests += 1;
        self.sectors += sectors;
        self.ideal_sectors += (distinct * u64::from(bytes)).div_ceil(SECTOR as u64);
    }

    /// Adds a shared access. Wide ones go in halves (8 bytes) or quarters (16 bytes) of a warp, each in as many turns
    /// as the most words that one bank has to give.
    pub(crate) fn count_shared(&mut self, at: &[u64; LANES], bytes: u32, active: Mask) {
        let words = bytes.div_ceil(4) as usize;
        let group = LANES / words;
        for first in (0..LANES).step_by(group) {
            let mut asked = [0; LANES];
            let mut count = 0;
            for lane in (first..first + group).filter(|lane| active >> lane & 1 == 1) {
                for word in 0..words {
                    asked[count] = (at[lane] / 4) as u32 + word as u32;
                    count += 1;
                }
            }
            let turns = turns(&asked[..count]);
            self.wavefronts += turns;
            self.bank_conflicts += turns.saturating_sub(1);
        }
    }
}

/// The most words that one bank has to give for the accesses of a group of lanes.
fn turns(words: &[u32]) -> u64 {
    let mut first = [0; BANKS];
    let mut asked = 0u32;
    let mut conflict = false;
    for &word in words {
        let bank = word as usize % BANKS;
        conflict |= asked >> bank & 1 == 1 && first[bank] != word;
        first[bank] = word;
        asked |= 1 << bank;
    }
    if !conflict {
        return u64::from(asked != 0);
    }
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut counts = [0; BANKS];
    sorted.into_iter().for_each(|word| counts[word as usize % BANKS] += 1);
    counts.into_iter().max().unwrap_or(0)
}

/// The counts of a kernel, one row for each instruction.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) rows: Vec<Counts>,
}

impl Counters {
    pub(crate) fn new(instructions: usize) -> Self {
        Self { rows: vec![Counts::default(); instructions] }
    }

    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (row, other) in self.rows.iter_mut().zip(&other.rows) {
            *row = row.plus(*other);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(at: impl Fn(u64) -> u64, bytes: u32, active: Mask) -> (u64, u64) {
        let mut counts = Counts::default();
        counts.count_global(&std::array::from_fn(|lane| at(lane as u64)), bytes, active);
        (counts.sectors, counts.ideal_sectors)
    }

    fn shared(at: impl Fn(u64) -> u64, bytes: u32) -> (u64, u64) {
        let mut counts = Counts::default();
        counts.count_shared(&std::array::from_fn(|lane| at(lane as u64)), bytes, Mask::MAX);
        (counts.wavefronts, counts.bank_conflicts)
    }

    #[test]
    fn sectors_of_a_request() {
        assert_eq!(global(|lane| 4 * lane, 4, Mask::MAX), (4, 4));
        assert_eq!(global(|lane| 16 * lane, 16, Mask::MAX), (16, 16));
        assert_eq!(global(|lane| 128 * lane, 4, Mask::MAX), (32, 4));
        assert_eq!(global(|lane| 16 + 4 * (31 - lane), 4, Mask::MAX), (5, 4));
        assert_eq!(global(|_| 64, 4, Mask::MAX), (1, 1));
        assert_eq!(global(|lane| 4 * lane, 4, 1 << 31), (1, 1));
    }

    #[test]
    fn turns_of_the_banks() {
        assert_eq!(shared(|lane| 4 * lane, 4), (1, 0));
        assert_eq!(shared(|_| 12, 4), (1, 0));
        assert_eq!(shared(|lane| 8 * lane, 4), (2, 1));
        assert_eq!(shared(|lane| 128 * lane, 4), (32, 31));
        assert_eq!(shared(|lane| 132 * lane, 4), (1, 0));
        assert_eq!(shared(|lane| 8 * lane, 8), (2, 0));
        assert_eq!(shared(|lane| 16 * lane, 16), (4, 0));
        assert_eq!(shared(|lane| 32 * lane, 16), (8, 4));
    }
}
