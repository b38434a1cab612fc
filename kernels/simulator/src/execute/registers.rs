//! The registers of a warp: a lane's value next to its neighbour's, so that loops over lanes vectorise.

use super::{Cause, Result, Trouble, each};
use crate::program::{Condition, LANES, Layout, Mask, Slot, Special};

/// One register file: the values and, per register, the lanes that have been written.
#[derive(Clone, Debug)]
pub(crate) struct File<T> {
    values: Vec<T>,
    defined: Vec<Mask>,
}

impl<T: Copy> File<T> {
    fn new(count: usize, zero: T) -> Self {
        Self { values: vec![zero; count], defined: vec![0; count] }
    }
}

/// Names a register file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    Words,
    Longs,
    Predicates,
}

#[derive(Clone, Debug)]
pub(crate) struct Registers {
    words: File<[u32; LANES]>,
    longs: File<[u64; LANES]>,
    predicates: File<Mask>,
}

/// A value of a lane: how it lies in its register file.
pub(crate) trait Lane: Copy + Default {
    type Raw: Copy + Default;
    const FILE: FileName;
    fn file(registers: &Registers) -> &File<[Self::Raw; LANES]>;
    fn file_mut(registers: &mut Registers) -> &mut File<[Self::Raw; LANES]>;
    fn from_raw(raw: Self::Raw) -> Self;
    fn to_raw(self) -> Self::Raw;
}

macro_rules! lane {
    ($($ty:ty: $raw:ty, $file:ident, $name:ident, |$r:ident| $from:expr, |$v:ident| $to:expr;)*) => {$(
        impl Lane for $ty {
            type Raw = $raw;
            const FILE: FileName = FileName::$name;
            #[inline(always)]
            fn file(registers: &Registers) -> &File<[$raw; LANES]> {
                &registers.$file
            }
            #[inline(always)]
            fn file_mut(registers: &mut Registers) -> &mut File<[$raw; LANES]> {
                &mut registers.$file
            }
            #[inline(always)]
            fn from_raw($r: $raw) -> Self {
                $from
            }
            #[inline(always)]
            fn to_raw(self) -> $raw {
                let $v = self;
                $to
            }
        }
    )*};
}

lane! {
    u16: u32, words, Words, |r| r as u16, |v| u32::from(v);
    i16: u32, words, Words, |r| r as i16, |v| u32::from(v as u16);
    u32: u32, words, Words, |r| r, |v| v;
    i32: u32, words, Words, |r| r as i32, |v| v as u32;
    f32: u32, words, Words, |r| f32::from_bits(r), |v| v.to_bits();
    u64: u64, longs, Longs, |r| r, |v| v;
    i64: u64, longs, Longs, |r| r as i64, |v| v as u64;
    f64: u64, longs, Longs, |r| f64::from_bits(r), |v| v.to_bits();
}

impl Registers {
    /// Registers with nothing but the literals in them.
    pub(crate) fn new(layout: &Layout) -> Self {
        let names = &layout.names;
        let words = names.words.len() + layout.words.len() + layout.specials.len();
        let longs = names.longs.len() + layout.longs.len();
        let mut registers = Self {
            words: File::new(words, [0; LANES]),
            longs: File::new(longs, [0; LANES]),
            predicates: File::new(names.predicates.len(), 0),
        };
        for &(slot, value) in &layout.words {
            registers.set::<u32>(slot, [value; LANES], Mask::MAX);
        }
        for &(slot, value) in &layout.longs {
            registers.set::<u64>(slot, [value; LANES], Mask::MAX);
        }
        registers
    }

    /// Fills the slots of the special registers.
    pub(crate) fn set_specials(&mut self, layout: &Layout, value: impl Fn(Special, u32) -> u32) {
        for &(slot, special) in &layout.specials {
            self.set::<u32>(slot, each(|lane| value(special, lane as u32)), Mask::MAX);
        }
    }

    /// Forgets all but literals and special registers.
    pub(crate) fn forget(&mut self, layout: &Layout) {
        self.words.defined[..layout.names.words.len()].fill(0);
        self.longs.defined[..layout.names.longs.len()].fill(0);
        self.predicates.defined.fill(0);
    }

    /// The lanes of a register, all active ones of which have been written.
    #[inline(always)]
    pub(crate) fn get<T: Lane>(&self, slot: Slot, active: Mask) -> Result<&[T::Raw; LANES]> {
        let file = T::file(self);
        let missing = active & !file.defined[usize::from(slot)];
        if missing != 0 {
            return Err(undefined(T::FILE, slot, missing));
        }
        Ok(&file.values[usize::from(slot)])
    }

    /// Like [`Registers::get`], as a copy with the lane's type.
    #[inline(always)]
    pub(crate) fn values<T: Lane>(&self, slot: Slot, active: Mask) -> Result<[T; LANES]> {
        let raw = self.get::<T>(slot, active)?;
        Ok(each(|lane| T::from_raw(raw[lane])))
    }

    /// Writes the active lanes of a register with values of its type.
    #[inline(always)]
    pub(crate) fn put<T: Lane>(&mut self, slot: Slot, values: [T; LANES], active: Mask) {
        self.set::<T>(slot, each(|lane| values[lane].to_raw()), active);
    }

    /// Writes the active lanes of a register.
    #[inline(always)]
    pub(crate) fn set<T: Lane>(&mut self, slot: Slot, values: [T::Raw; LANES], active: Mask) {
        let file = T::file_mut(self);
        file.defined[usize::from(slot)] |= active;
        let register = &mut file.values[usize::from(slot)];
        if active == Mask::MAX {
            *register = values;
        } else {
            for (lane, value) in values.into_iter().enumerate() {
                if active >> lane & 1 == 1 {
                    register[lane] = value;
                }
            }
        }
    }

    /// The active lanes for which a condition holds.
    #[inline(always)]
    pub(crate) fn condition(&self, condition: Condition, active: Mask) -> Result<Mask> {
        let slot = usize::from(condition.slot);
        let missing = active & !self.predicates.defined[slot];
        if missing != 0 {
            return Err(undefined(FileName::Predicates, condition.slot, missing));
        }
        let value = self.predicates.values[slot];
        Ok(active & if condition.negated { !value } else { value })
    }

    pub(crate) fn set_predicate(&mut self, slot: Slot, value: Mask, active: Mask) {
        let slot = usize::from(slot);
        self.predicates.defined[slot] |= active;
        self.predicates.values[slot] = self.predicates.values[slot] & !active | value & active;
    }
}

#[cold]
fn undefined(file: FileName, slot: Slot, missing: Mask) -> Box<Trouble> {
    Box::new(Trouble { lane: missing.trailing_zeros(), cause: Cause::Undefined(file, slot) })
}
