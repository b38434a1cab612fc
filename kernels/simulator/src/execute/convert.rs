//! `cvt`: conversions, by way of a 128-bit integer or an f64, which hold every source exactly.

use half::{bf16, f16};

use super::float;
use super::registers::Registers;
use super::{Result, each};
use crate::parse::syntax::Type;
use crate::program::{LANES, Mask, Rounding, Slot};

/// A conversion's types and modifiers.
#[derive(Clone, Copy)]
pub(crate) struct Conversion {
    pub(crate) from: Type,
    pub(crate) to: Type,
    pub(crate) rounding: Rounding,
    /// Rounds to an integral value.
    pub(crate) integral: bool,
    pub(crate) saturate: bool,
    pub(crate) flush: bool,
    /// The result's register has 16 bits.
    pub(crate) narrow: bool,
}

/// A source value.
#[derive(Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

pub(crate) fn convert(r: &mut Registers, conversion: Conversion, [d, a]: [Slot; 2], active: Mask) -> Result<()> {
    let Conversion { from, to, .. } = conversion;
    match (from, to) {
        (Type::U32, Type::U64 | Type::S64) => {
            let a = r.get::<u32>(a, active)?;
            let value = each(|lane| u64::from(a[lane]));
            r.set::<u64>(d, value, active);
            return Ok(());
        }
        (Type::U32, Type::F32) if conversion.rounding == Rounding::Nearest => {
            let a = r.get::<u32>(a, active)?;
            let value = each(|lane| (a[lane] as f32).to_bits());
            r.set::<u32>(d, value, active);
            return Ok(());
        }
        _ => {}
    }
    let bits: [u64; LANES] =
        if from.bytes() == 8 { *r.get::<u64>(a, active)? } else { r.get::<u32>(a, active)?.map(u64::from) };
    let value = bits.map(|bits| target_bits(conversion, number(from, bits, conversion.flush)));
    if to.bytes() == 8 {
        r.set::<u64>(d, value, active);
    } else {
        let kept = if conversion.narrow { 0xffff } else { u32::MAX };
        r.set::<u32>(d, value.map(|v| v as u32 & kept), active);
    }
    Ok(())
}

/// `cvt.rn.f16x2.f32 d, a, b`: `a` in the upper half.
pub(crate) fn convert_pair(
    r: &mut Registers,
    to: Type,
    rounding: Rounding,
    relu: bool,
    [d, a, b]: [Slot; 3],
    active: Mask,
) -> Result<()> {
    let to = if to == Type::F16x2 { Type::F16 } else { Type::Bf16 };
    let convert = |x: f32| {
        let x = if relu && !x.is_nan() { x.max(0.0) } else { x };
        half_bits(to, f64::from(x), rounding)
    };
    let (a, b) = (r.values::<f32>(a, active)?, r.values::<f32>(b, active)?);
    let value = each(|lane| u32::from(convert(a[lane])) << 16 | u32::from(convert(b[lane])));
    r.set::<u32>(d, value, active);
    Ok(())
}

fn number(from: Type, bits: u64, flush: bool) -> Number {
    use Number::{Float, Integer};
    match from {
        Type::U8 => Integer(i128::from(bits as u8)),
        Type::S8 => Integer(i128::from(bits as i8)),
        Type::U16 => Integer(i128::from(bits as u16)),
        Type::S16 => Integer(i128::from(bits as i16)),
        Type::U32 => Integer(i128::from(bits as u32)),
        Type::S32 => Integer(i128::from(bits as i32)),
        Type::S64 => Integer(i128::from(bits as i64)),
        Type::F16 => Float(f16::from_bits(bits as u16).to_f64()),
        Type::Bf16 => Float(bf16::from_bits(bits as u16).to_f64()),
        Type::F32 => {
            let value = f32::from_bits(bits as u32);
            Float(f64::from(if flush { float::flush(value) } else { value }))
        }
        Type::F64 => Float(f64::from_bits(bits)),
        _ => Integer(i128::from(bits)),
    }
}

fn target_bits(conversion: Conversion, value: Number) -> u64 {
    let Conversion { to, rounding, integral, saturate, flush, .. } = conversion;
    if !to.is_float() {
        return integer_bits(to, saturate, rounding, value);
    }
    let value = match value {
        Number::Integer(value) => return integer_to_float(to, value, rounding),
        Number::Float(value) if integral => round(value, rounding),
        Number::Float(value) => value,
    };
    let value = if saturate { if value > 0.0 { value.min(1.0) } else { 0.0 } } else { value };
    match to {
        Type::F64 => value.to_bits(),
        Type::F32 => {
            let narrow = narrow(value, rounding);
            u64::from(if flush { float::flush(narrow) } else { narrow }.to_bits())
        }
        Type::Tf32 => u64::from(tf32(value as f32)),
        _ => u64::from(half_bits(to, value, rounding)),
    }
}

/// Floats are clamped to the target's range, NaN becomes 0; integers wrap unless `.sat` clamps them.
fn integer_bits(to: Type, saturate: bool, rounding: Rounding, value: Number) -> u64 {
    let width = 8 * to.bytes();
    let (least, most) = match to.is_signed() {
        true => (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1),
        false => (0, (1i128 << width) - 1),
    };
    let value = match value {
        Number::Integer(value) if saturate => value.clamp(least, most),
        Number::Integer(value) => value,
        // `as` clamps to the range of an i128 and makes NaN 0.
        Number::Float(value) => (round(value, rounding) as i128).clamp(least, most),
    };
    // Bytes are extended to the register's width by their sign.
    match (to, width) {
        (Type::S8, _) => u64::from(value as i8 as u32),
        (_, 64) => value as u64,
        _ => value as u64 & ((1 << width) - 1),
    }
}

fn round(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
        Rounding::NearestAway => value.round(),
    }
}

fn integer_to_float(to: Type, value: i128, rounding: Rounding) -> u64 {
    match to {
        Type::F64 => {
            let near = value as f64;
            directed(near, (near as i128).cmp(&value), rounding, f64::next_up, f64::next_down).to_bits()
        }
        Type::F32 => {
            let near = value as f32;
            u64::from(directed(near, (near as i128).cmp(&value), rounding, f32::next_up, f32::next_down).to_bits())
        }
        // Through f64, 53 bits: exact below 2^53, and beyond, both halves overflow or keep so few bits that the
        // first rounding cannot make a tie.
        _ => u64::from(half_bits(to, value as f64, rounding)),
    }
}

/// An f64 as an f32 in a direction.
fn narrow(value: f64, rounding: Rounding) -> f32 {
    let near = value as f32;
    match f64::from(near).partial_cmp(&value) {
        Some(order) if value.is_finite() => directed(near, order, rounding, f32::next_up, f32::next_down),
        _ => near,
    }
}

/// From the nearest value, which compares to the exact one as given, to the one that the rounding asks for.
fn directed<T: PartialOrd + Default + Copy>(
    near: T,
    order: std::cmp::Ordering,
    rounding: Rounding,
    up: fn(T) -> T,
    down: fn(T) -> T,
) -> T {
    let positive = near > T::default();
    let toward_zero = rounding == Rounding::Zero;
    if order.is_gt() && (rounding == Rounding::Down || toward_zero && positive) {
        down(near)
    } else if order.is_lt() && (rounding == Rounding::Up || toward_zero && !positive) {
        up(near)
    } else {
        near
    }
}

/// The nearest value with 10 bits of fraction, ties away from zero; the low 13 bits are zero.
pub(crate) fn tf32(value: f32) -> u32 {
    let bits = value.to_bits();
    if value.is_finite() {
        bits.wrapping_add(0x1000) & !0x1fff
    } else if value.is_nan() {
        0x7fff_ffff
    } else {
        bits
    }
}

/// The bits of a half. Towards zero, a magnitude that was rounded up goes back by one.
fn half_bits(to: Type, value: f64, rounding: Rounding) -> u16 {
    let (bits, near) = match to {
        Type::F16 => (f16::from_f64(value).to_bits(), f16::from_f64(value).to_f64()),
        _ => (bf16::from_f64(value).to_bits(), bf16::from_f64(value).to_f64()),
    };
    if rounding == Rounding::Zero && value.is_finite() && near.abs() > value.abs() { bits - 1 } else { bits }
}
