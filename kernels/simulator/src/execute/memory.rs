//! Loads and stores.

use super::registers::Registers;
use super::shared::Kind;
use super::warp::{Block, Warp};
use super::{Result, each, in_lane, lanes};
use crate::fault::FaultKind;
use crate::memory::Storage;
use crate::parse::syntax::Space;
use crate::program::{Address, Base, LANES, Mask, Value, WINDOW_BYTES, window};

/// The addresses of all lanes; those of inactive ones mean nothing.
#[inline]
pub(super) fn addresses(r: &Registers, address: Address, active: Mask) -> Result<[u64; LANES]> {
    let offset = address.offset as u64;
    Ok(match address.base {
        // 32-bit addresses wrap at 32 bits.
        Base::Word(slot) => {
            let base = r.get::<u32>(slot, active)?;
            each(|lane| u64::from(base[lane].wrapping_add(offset as u32)))
        }
        Base::Long(slot) => {
            let base = r.get::<u64>(slot, active)?;
            each(|lane| base[lane].wrapping_add(offset))
        }
        Base::Fixed => [offset; LANES],
    })
}

/// The space that an address is in, and the address there.
#[inline]
pub(super) fn resolve(space: Space, address: u64) -> (Space, u64) {
    if space != Space::Generic {
        return (space, address);
    }
    let windows = [Space::Shared, Space::Local, Space::Constant, Space::Parameter];
    let found = windows.into_iter().find(|space| address.wrapping_sub(window(*space)) < WINDOW_BYTES);
    found.map_or((Space::Global, address), |space| (space, address - window(space)))
}

/// Where an access goes, after all checks.
enum Target<'a> {
    Global(&'a Storage, usize),
    Shared(usize),
    Local(usize),
    Constant(usize),
    Parameter(usize),
}

/// Where all accesses of a warp go, after all checks: those of inactive lanes go where that of the first active one does.
struct Together<'a> {
    place: Place<'a>,
    offsets: [u32; LANES],
}

enum Place<'a> {
    Global(&'a Storage),
    Shared,
}

impl<'a> Block<'a> {
    /// Checks the accesses of a warp at once, if they are to shared memory or one buffer; none where a lane may have
    /// something to complain about or another space is meant.
    fn together(
        &mut self,
        warp: &Warp,
        space: Space,
        at: &[u64; LANES],
        bytes: u32,
        kind: Kind,
        active: Mask,
    ) -> Option<Together<'a>> {
        let first = at[active.trailing_zeros() as usize];
        let at = each(|lane| if active >> lane & 1 == 1 { at[lane] } else { first });
        if at.iter().fold(0, |bits, at| bits | at) & u64::from(bytes - 1) != 0 {
            return None;
        }
        match space {
            Space::Global => {
                let (window, base) = self.grid.windows.window(first, kind == Kind::Write)?;
                let farthest = at.iter().fold(0, |most, at| at.wrapping_sub(base).max(most));
                if farthest.checked_add(u64::from(bytes)).is_none_or(|end| end > window.bytes as u64) {
                    return None;
                }
                let start = u32::try_from(window.start).ok()?;
                start.checked_add(u32::try_from(farthest).ok()?)?;
                let offsets = each(|lane| at[lane].wrapping_sub(base) as u32 + start);
                let known = kind == Kind::Write
                    || window.complete
                    || offsets.iter().all(|at| window.storage.is_written(*at as usize, bytes));
                known.then_some(Together { place: Place::Global(window.storage), offsets })
            }
            Space::Shared => {
                let offsets = self.shared.access_all(warp.index, &at, bytes, kind, active)?;
                Some(Together { place: Place::Shared, offsets })
            }
            _ => None,
        }
    }

    /// Checks an access of one lane.
    #[inline]
    fn target(
        &mut self,
        warp: &Warp,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
        kind: Kind,
    ) -> std::result::Result<Target<'a>, FaultKind> {
        let write = kind == Kind::Write;
        match space {
            Space::Global | Space::Generic => {
                let (window, offset) = self.grid.windows.locate(address, bytes, write)?;
                if !write && !window.storage.is_written(offset, bytes) {
                    let (target, offset) = (window.storage.name().to_owned(), (offset - window.start) as i64);
                    return Err(FaultKind::UninitialisedMemory { space: Space::Global, target, offset });
                }
                Ok(Target::Global(window.storage, offset))
            }
            Space::Shared => Ok(Target::Shared(self.shared.access([warp.index, lane], address, bytes, kind)?)),
            Space::Local => {
                let offset = warp.local[lane].locate(address, bytes)?;
                if !write {
                    warp.local[lane].check_written(offset, bytes)?;
                }
                Ok(Target::Local(offset))
            }
            Space::Constant => Ok(Target::Constant(self.grid.constants.locate(address, bytes)?)),
            Space::Parameter => {
                let offset = self.grid.parameters.locate(address, bytes)?;
                self.grid.parameters.check_written(offset, bytes)?;
                Ok(Target::Parameter(offset))
            }
        }
    }

    pub(super) fn load(
        &mut self,
        warp: &mut Warp,
        address: Address,
        bytes: u32,
        signed: bool,
        values: &[Value],
        active: Mask,
    ) -> Result<()> {
        let at = addresses(&warp.registers, address, active)?;
        let total = bytes * values.len() as u32;
        if let (Space::Parameter, Base::Fixed) = (address.space, address.base) {
            return self.load_parameter(warp, at[0], bytes, signed, values, active);
        }
        let found = if bytes == 4 { self.together(warp, address.space, &at, total, Kind::Read, active) } else { None };
        match found {
            Some(found) => self.load_words(warp, &found, signed, values, active),
            None => self.load_each(warp, address.space, &at, bytes, signed, values, active)?,
        }
        self.count_traffic(address.space, &at, total, false, active);
        Ok(())
    }

    /// Loads what is the same for all lanes.
    fn load_parameter(
        &self,
        warp: &mut Warp,
        at: u64,
        bytes: u32,
        signed: bool,
        values: &[Value],
        active: Mask,
    ) -> Result<()> {
        let (parameters, total) = (&self.grid.parameters, bytes * values.len() as u32);
        let place = parameters.locate(at, total);
        let place = place.and_then(|place| parameters.check_written(place, total).map(|()| place));
        let place = in_lane(active.trailing_zeros() as usize, place)?;
        for (value, step) in values.iter().zip((0..).step_by(bytes as usize)) {
            let loaded = parameters.load(place + step, bytes);
            let loaded = if signed { extend(loaded, bytes) } else { loaded };
            set_value(&mut warp.registers, *value, [loaded; LANES], active);
        }
        Ok(())
    }

    /// Loads words that have been found to be there.
    fn load_words(&self, warp: &mut Warp, found: &Together<'_>, signed: bool, values: &[Value], active: Mask) {
        for (value, step) in values.iter().zip((0..).step_by(4)) {
            let words: [u32; LANES] = match found.place {
                Place::Global(storage) => each(|lane| storage.word(found.offsets[lane] + step)),
                Place::Shared => each(|lane| self.shared.arena.word(found.offsets[lane] + step)),
            };
            match *value {
                Value::Word(slot) => warp.registers.set::<u32>(slot, words, active),
                value if signed => {
                    set_value(&mut warp.registers, value, words.map(|v| extend(u64::from(v), 4)), active);
                }
                value => set_value(&mut warp.registers, value, words.map(u64::from), active),
            }
        }
    }

    /// Checks and loads lane by lane.
    #[allow(clippy::too_many_arguments)]
    fn load_each(
        &mut self,
        warp: &mut Warp,
        space: Space,
        at: &[u64; LANES],
        bytes: u32,
        signed: bool,
        values: &[Value],
        active: Mask,
    ) -> Result<()> {
        let total = bytes * values.len() as u32;
        let mut loaded = [[0u64; LANES]; 4];
        for lane in lanes(active) {
            let (space, address) = resolve(space, at[lane]);
            let target = in_lane(lane, self.target(warp, lane, space, address, total, Kind::Read))?;
            for (i, values) in loaded[..values.len()].iter_mut().enumerate() {
                let step = i * bytes as usize;
                values[lane] = match target {
                    Target::Global(storage, offset) => storage.load(offset + step, bytes),
                    Target::Shared(offset) => self.shared.arena.load(offset + step, bytes),
                    Target::Local(offset) => warp.local[lane].load(offset + step, bytes),
                    Target::Constant(offset) => self.grid.constants.load(offset + step, bytes),
                    Target::Parameter(offset) => self.grid.parameters.load(offset + step, bytes),
                };
            }
        }
        for (value, loaded) in values.iter().zip(loaded) {
            let loaded = if signed { loaded.map(|v| extend(v, bytes)) } else { loaded };
            set_value(&mut warp.registers, *value, loaded, active);
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        warp: &mut Warp,
        address: Address,
        bytes: u32,
        values: &[Value],
        active: Mask,
    ) -> Result<()> {
        let at = addresses(&warp.registers, address, active)?;
        let total = bytes * values.len() as u32;
        self.shared.next_instruction();
        let found = if bytes == 4 { self.together(warp, address.space, &at, total, Kind::Write, active) } else { None };
        match found {
            Some(found) => self.store_words(&warp.registers, &found, values, active)?,
            None => self.store_each(warp, address.space, &at, bytes, values, active)?,
        }
        self.count_traffic(address.space, &at, total, true, active);
        Ok(())
    }

    /// Stores words where nothing speaks against it.
    fn store_words(&mut self, r: &Registers, found: &Together<'_>, values: &[Value], active: Mask) -> Result<()> {
        for (value, step) in values.iter().zip((0..).step_by(4)) {
            let words = match *value {
                Value::Word(slot) => *r.get::<u32>(slot, active)?,
                value => get_value(r, value, active)?.map(|wide| wide as u32),
            };
            for lane in lanes(active) {
                match found.place {
                    Place::Global(storage) => storage.set_word(found.offsets[lane] + step, words[lane]),
                    Place::Shared => self.shared.arena.set_word(found.offsets[lane] + step, words[lane]),
                }
            }
        }
        let total = 4 * values.len() as u32;
        for lane in lanes(active) {
            match found.place {
                Place::Global(storage) => storage.mark(found.offsets[lane] as usize, total),
                Place::Shared => self.shared.arena.mark(found.offsets[lane] as usize, total),
            }
        }
        Ok(())
    }

    /// Checks and stores lane by lane.
    fn store_each(
        &mut self,
        warp: &mut Warp,
        space: Space,
        at: &[u64; LANES],
        bytes: u32,
        values: &[Value],
        active: Mask,
    ) -> Result<()> {
        let total = bytes * values.len() as u32;
        let mut stored = [[0u64; LANES]; 4];
        for (stored, value) in stored.iter_mut().zip(values) {
            *stored = get_value(&warp.registers, *value, active)?;
        }
        for lane in lanes(active) {
            let (space, address) = resolve(space, at[lane]);
            if matches!(space, Space::Constant | Space::Parameter) {
                let (target, offset) = (format!("{space} memory"), address as i64);
                return in_lane(lane, Err(FaultKind::Forbidden { target, write: true, offset }));
            }
            let target = in_lane(lane, self.target(warp, lane, space, address, total, Kind::Write))?;
            for (i, values) in stored[..values.len()].iter().enumerate() {
                let step = i * bytes as usize;
                match target {
                    Target::Global(storage, offset) => storage.store(offset + step, bytes, values[lane]),
                    Target::Shared(offset) => self.shared.arena.store(offset + step, bytes, values[lane]),
                    Target::Local(offset) => warp.local[lane].store(offset + step, bytes, values[lane]),
                    Target::Constant(_) | Target::Parameter(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Counts sectors of global and wavefronts of shared memory.
    pub(super) fn count_traffic(&mut self, space: Space, at: &[u64; LANES], bytes: u32, write: bool, active: Mask) {
        if !self.grid.options.traffic || active == 0 {
            return;
        }
        let row = &mut self.counters.rows[self.instruction];
        match resolve(space, at[active.trailing_zeros() as usize]).0 {
            Space::Global => {
                row.count_global(at, bytes, active);
                lanes(active).for_each(|lane| self.grid.windows.touch(at[lane], write));
            }
            Space::Shared => row.count_shared(at, bytes, active),
            _ => {}
        }
    }
}

fn extend(value: u64, bytes: u32) -> u64 {
    let shift = 64 - 8 * bytes;
    ((value << shift) as i64 >> shift) as u64
}

/// Writes a register of any width with the low bits of a value.
pub(super) fn set_value(r: &mut Registers, value: Value, bits: [u64; LANES], active: Mask) {
    match value {
        Value::Half(slot) => r.set::<u32>(slot, bits.map(|v| v as u32 & 0xffff), active),
        Value::Word(slot) => r.set::<u32>(slot, bits.map(|v| v as u32), active),
        Value::Long(slot) => r.set::<u64>(slot, bits, active),
        Value::Nothing => {}
    }
}

/// A register of any width.
pub(super) fn get_value(r: &Registers, value: Value, active: Mask) -> Result<[u64; LANES]> {
    Ok(match value {
        Value::Half(slot) | Value::Word(slot) => r.get::<u32>(slot, active)?.map(u64::from),
        Value::Long(slot) => *r.get::<u64>(slot, active)?,
        Value::Nothing => [0; LANES],
    })
}
