//! Asynchronous copies: read at once, in shared memory only when a wait says so.

use super::memory::addresses;
use super::warp::{Block, Warp};
use super::{Result, in_lane, lanes};
use crate::fault::FaultKind;
use crate::parse::syntax::Space;
use crate::program::{Address, LANES, Mask};

/// The copies of a warp that are under way, and each lane's count of committed groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    groups: [u32; LANES],
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    lane: usize,
    group: u32,
    offset: usize,
    words: [u32; 4],
    length: usize,
}

impl Block<'_> {
    /// `cp.async`: `source_bytes` are read and the rest of `bytes` is filled with zeros.
    pub(super) fn copy(
        &mut self,
        warp: &mut Warp,
        [to, from]: [Address; 2],
        bytes: u32,
        source_bytes: [u32; LANES],
        active: Mask,
    ) -> Result<()> {
        let to = addresses(&warp.registers, to, active)?;
        let from = addresses(&warp.registers, from, active)?;
        self.shared.next_instruction();
        for lane in lanes(active) {
            let read = source_bytes[lane].min(bytes);
            let words = in_lane(lane, self.source_words(from[lane], bytes, read))?;
            let offset = in_lane(lane, self.shared.begin_copy([warp.index, lane], to[lane], bytes))?;
            let (group, length) = (warp.copies.groups[lane], bytes as usize / 4);
            warp.copies.pending.push(Pending { lane, group, offset, words, length });
        }
        let reading = lanes(active).filter(|&lane| source_bytes[lane] > 0).fold(0, |mask, lane| mask | 1 << lane);
        self.count_traffic(Space::Global, &from, bytes, false, reading);
        self.count_traffic(Space::Shared, &to, bytes, true, active);
        Ok(())
    }

    fn source_words(&self, from: u64, bytes: u32, read: u32) -> std::result::Result<[u32; 4], FaultKind> {
        let mut words = [0; 4];
        if !from.is_multiple_of(u64::from(bytes)) {
            self.grid.windows.locate(from, bytes, false)?;
        }
        for byte in 0..read {
            let (window, offset) = self.grid.windows.locate(from + u64::from(byte), 1, false)?;
            if !window.storage.is_written(offset, 1) {
                let (target, offset) = (window.storage.name().to_owned(), (offset - window.start) as i64);
                return Err(FaultKind::UninitialisedMemory { space: Space::Global, target, offset });
            }
            words[byte as usize / 4] |= (window.storage.load(offset, 1) as u32) << (8 * (byte % 4));
        }
        Ok(words)
    }

    /// Ends the copies of all but the last `pending` committed groups; without a number, all copies.
    pub(super) fn wait_copies(&mut self, warp: &mut Warp, pending: Option<u32>, active: Mask) -> Result<()> {
        let groups = warp.copies.groups;
        let done = |copy: &Pending| {
            active >> copy.lane & 1 == 1 && pending.is_none_or(|pending| copy.group + pending < groups[copy.lane])
        };
        let (ended, rest) = std::mem::take(&mut warp.copies.pending).into_iter().partition(done);
        warp.copies.pending = rest;
        let ended: Vec<Pending> = ended;
        for copy in ended {
            in_lane(copy.lane, self.shared.end_copy([warp.index, copy.lane], copy.offset, &copy.words[..copy.length]))?;
        }
        Ok(())
    }
}

impl Copies {
    /// `cp.async.commit_group`
    pub(super) fn commit(&mut self, active: Mask) {
        for lane in lanes(active) {
            self.groups[lane] += 1;
        }
    }
}
