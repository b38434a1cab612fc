//! Instructions on the bits of a value.

use super::integer::Operands;
use super::registers::Registers;
use super::{Result, each};
use crate::program::{BitOp, IntegerType, Mask, PermuteMode, Slot};

/// `popc`, `clz` and `bfind`.
pub(crate) fn count(r: &mut Registers, op: BitOp, long: bool, [d, a]: [Slot; 2], active: Mask) -> Result<()> {
    let value = if long {
        r.get::<u64>(a, active)?.map(|a| match op {
            BitOp::Count => a.count_ones(),
            BitOp::LeadingZeros => a.leading_zeros(),
            BitOp::Find { signed, shift_amount } => {
                find(if signed && (a as i64) < 0 { !a } else { a }.leading_zeros(), 64, shift_amount)
            }
        })
    } else {
        r.get::<u32>(a, active)?.map(|a| match op {
            BitOp::Count => a.count_ones(),
            BitOp::LeadingZeros => a.leading_zeros(),
            BitOp::Find { signed, shift_amount } => {
                find(if signed && (a as i32) < 0 { !a } else { a }.leading_zeros(), 32, shift_amount)
            }
        })
    };
    r.set::<u32>(d, value, active);
    Ok(())
}

/// The place of the first bit behind the leading zeros, or how far it has to be shifted to the top; -1 without one.
fn find(leading_zeros: u32, width: u32, shift_amount: bool) -> u32 {
    match (leading_zeros == width, shift_amount) {
        (true, _) => u32::MAX,
        (false, true) => leading_zeros,
        (false, false) => width - 1 - leading_zeros,
    }
}

/// `brev`
pub(crate) fn reverse(r: &mut Registers, long: bool, d: Slot, a: Slot, active: Mask) -> Result<()> {
    if long {
        let value = r.get::<u64>(a, active)?.map(u64::reverse_bits);
        r.set::<u64>(d, value, active);
    } else {
        let value = r.get::<u32>(a, active)?.map(u32::reverse_bits);
        r.set::<u32>(d, value, active);
    }
    Ok(())
}

/// `bfe`: position and length are taken modulo 256; past the top, a signed field is filled with the sign.
pub(crate) fn extract(
    r: &mut Registers,
    ty: IntegerType,
    [d, a, position, length]: [Slot; 4],
    active: Mask,
) -> Result<()> {
    let (position, length) = (*r.get::<u32>(position, active)?, *r.get::<u32>(length, active)?);
    let signed = matches!(ty, IntegerType::S32 | IntegerType::S64);
    if matches!(ty, IntegerType::U64 | IntegerType::S64) {
        let a = r.get::<u64>(a, active)?;
        let value = each(|i| extract_field(a[i], 64, signed, position[i] & 255, length[i] & 255));
        r.set::<u64>(d, value, active);
    } else {
        let a = r.get::<u32>(a, active)?;
        let value = each(|i| extract_field(u64::from(a[i]), 32, signed, position[i] & 255, length[i] & 255) as u32);
        r.set::<u32>(d, value, active);
    }
    Ok(())
}

fn extract_field(a: u64, width: u32, signed: bool, position: u32, length: u32) -> u64 {
    if length == 0 {
        return 0;
    }
    let top = (position + length - 1).min(width - 1);
    let sign = signed && a >> top & 1 == 1;
    let field = if position < width { a >> position } else { 0 };
    let kept = (width.saturating_sub(position)).min(length);
    let mask = if kept >= 64 { u64::MAX } else { (1 << kept) - 1 };
    if sign { field & mask | !mask } else { field & mask }
}

/// `bfi`: the low bits of `a` into `b`.
pub(crate) fn insert(
    r: &mut Registers,
    long: bool,
    [d, a, b, position, length]: [Slot; 5],
    active: Mask,
) -> Result<()> {
    let (position, length) = (*r.get::<u32>(position, active)?, *r.get::<u32>(length, active)?);
    let field = |i: usize, width: u32| {
        let (position, length) = (position[i] & 255, length[i] & 255);
        let ones = if length >= 64 { u64::MAX } else { (1u64 << length) - 1 };
        (if position < width { ones << position } else { 0 }, position & 63)
    };
    if long {
        let (a, b) = (r.get::<u64>(a, active)?, r.get::<u64>(b, active)?);
        let value = each(|i| {
            let (mask, position) = field(i, 64);
            b[i] & !mask | a[i] << position & mask
        });
        r.set::<u64>(d, value, active);
    } else {
        let (a, b) = (r.get::<u32>(a, active)?, r.get::<u32>(b, active)?);
        let value = each(|i| {
            let (mask, position) = field(i, 32);
            b[i] & !(mask as u32) | ((u64::from(a[i]) << position) & mask) as u32
        });
        r.set::<u32>(d, value, active);
    }
    Ok(())
}

fn words(r: &mut Registers, slots: Operands, active: Mask, f: impl Fn(u32, u32, u32) -> u32) -> Result<()> {
    let Operands { d, a, b, c } = slots;
    let (a, b, c) = (r.get::<u32>(a, active)?, r.get::<u32>(b, active)?, r.get::<u32>(c, active)?);
    let value = each(|i| f(a[i], b[i], c[i]));
    r.set::<u32>(d, value, active);
    Ok(())
}

/// `prmt`: bytes of `{b, a}` picked by the nibbles of `c`; a nibble's top bit asks for the byte's sign instead.
pub(crate) fn permute(r: &mut Registers, mode: PermuteMode, slots: Operands, active: Mask) -> Result<()> {
    words(r, slots, active, |a, b, c| {
        let bytes = u64::from(b) << 32 | u64::from(a);
        let s = c & 3;
        let selectors = match mode {
            PermuteMode::Index => [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15],
            PermuteMode::Forward4 => [s, s + 1, s + 2, s + 3],
            PermuteMode::Backward4 => [s, (s + 7) & 7, (s + 6) & 7, (s + 5) & 7],
            PermuteMode::Replicate8 => [s; 4],
            PermuteMode::EdgeLeft => [s, s.max(1), s.max(2), 3],
            PermuteMode::EdgeRight => [0, s.min(1), s.min(2), s],
            PermuteMode::Replicate16 => [(s & 1) * 2, (s & 1) * 2 + 1, (s & 1) * 2, (s & 1) * 2 + 1],
        };
        u32::from_le_bytes(selectors.map(|selector| {
            let byte = (bytes >> (8 * (selector & 7))) as u8;
            if selector & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
        }))
    })
}

/// `lop3`: bit `4a + 2b + c` of the table.
pub(crate) fn logic3(r: &mut Registers, table: u8, slots: Operands, active: Mask) -> Result<()> {
    words(r, slots, active, |a, b, c| {
        (0..8).filter(|case| table >> case & 1 == 1).fold(0, |value, case| {
            let pick = |bit: u32, x: u32| if case >> bit & 1 == 1 { x } else { !x };
            value | pick(2, a) & pick(1, b) & pick(0, c)
        })
    })
}

/// `shf`: the upper word of `{b, a}` shifted left, or the lower word of it shifted right.
pub(crate) fn funnel_shift(r: &mut Registers, left: bool, wrap: bool, slots: Operands, active: Mask) -> Result<()> {
    words(r, slots, active, |a, b, c| {
        let amount = if wrap { c & 31 } else { c.min(32) };
        let pair = u64::from(b) << 32 | u64::from(a);
        if left { (pair << amount >> 32) as u32 } else { (pair >> amount) as u32 }
    })
}
