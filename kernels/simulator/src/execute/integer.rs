//! Integer arithmetic: wrapping, as on the machine.

use super::registers::{Lane, Registers};
use super::{Result, each};
use crate::program::{IntegerOp, IntegerType, LANES, Mask, Slot};

/// What the integer instructions need of a lane's type.
pub(crate) trait Integer: Lane {
    /// One operation on all lanes, as they lie in their registers.
    fn apply(
        op: IntegerOp,
        a: &[Self::Raw; LANES],
        b: &[Self::Raw; LANES],
        c: &[Self::Raw; LANES],
    ) -> [Self::Raw; LANES];
    /// `shl` and `shr`; amounts past the width are clamped to it.
    fn shift(self, left: bool, amount: u32) -> Self;
}

macro_rules! integer {
    ($($ty:ty, $wide:ty;)*) => {$(
        impl Integer for $ty {
            fn apply(
                op: IntegerOp,
                a: &[Self::Raw; LANES],
                b: &[Self::Raw; LANES],
                c: &[Self::Raw; LANES],
            ) -> [Self::Raw; LANES] {
                #[inline(always)]
                fn high(a: $ty, b: $ty) -> $ty {
                    ((a as $wide).wrapping_mul(b as $wide) >> <$ty>::BITS) as $ty
                }
                macro_rules! lanes {
                    ($f:expr) => {
                        each(|lane| {
                            let f: fn($ty, $ty, $ty) -> $ty = $f;
                            f(<$ty>::from_raw(a[lane]), <$ty>::from_raw(b[lane]), <$ty>::from_raw(c[lane])).to_raw()
                        })
                    };
                }
                match op {
                    IntegerOp::Add => lanes!(|a, b, _| a.wrapping_add(b)),
                    IntegerOp::AddSaturating => lanes!(|a, b, _| a.saturating_add(b)),
                    IntegerOp::Sub => lanes!(|a, b, _| a.wrapping_sub(b)),
                    IntegerOp::SubSaturating => lanes!(|a, b, _| a.saturating_sub(b)),
                    IntegerOp::MulLow => lanes!(|a, b, _| a.wrapping_mul(b)),
                    IntegerOp::MulHigh => lanes!(|a, b, _| high(a, b)),
                    IntegerOp::MadLow => lanes!(|a, b, c| a.wrapping_mul(b).wrapping_add(c)),
                    IntegerOp::MadHigh => lanes!(|a, b, c| high(a, b).wrapping_add(c)),
                    // PTX does not say what a division by zero gives; the machine gives all ones.
                    IntegerOp::Div => lanes!(|a, b, _| if b == 0 { !0 } else { a.wrapping_div(b) }),
                    IntegerOp::Rem => lanes!(|a, b, _| if b == 0 { a } else { a.wrapping_rem(b) }),
                    IntegerOp::Min => lanes!(|a, b, _| a.min(b)),
                    IntegerOp::Max => lanes!(|a, b, _| a.max(b)),
                    IntegerOp::Abs => lanes!(|a, _, _| a.max((0 as $ty).wrapping_sub(a))),
                    IntegerOp::Neg => lanes!(|a, _, _| (0 as $ty).wrapping_sub(a)),
                    IntegerOp::And => lanes!(|a, b, _| a & b),
                    IntegerOp::Or => lanes!(|a, b, _| a | b),
                    IntegerOp::Xor => lanes!(|a, b, _| a ^ b),
                    IntegerOp::Not => lanes!(|a, _, _| !a),
                    IntegerOp::LogicalNot => lanes!(|a, _, _| <$ty>::from(a == 0)),
                    IntegerOp::AbsoluteDifference => {
                        lanes!(|a, b, c| a.max(b).wrapping_sub(a.min(b)).wrapping_add(c))
                    }
                }
            }

            #[inline(always)]
            fn shift(self, left: bool, amount: u32) -> Self {
                let past = amount >= <$ty>::BITS;
                let clamped = if past { <$ty>::BITS - 1 } else { amount };
                if left { if past { 0 } else { self << clamped } } else { self >> clamped >> u32::from(past) }
            }
        }
    )*};
}

integer! {
    u16, u32;
    i16, i32;
    u32, u64;
    i32, i64;
    u64, u128;
    i64, i128;
}

/// The slots of a three-operand instruction.
#[derive(Clone, Copy)]
pub(crate) struct Operands {
    pub(crate) d: Slot,
    pub(crate) a: Slot,
    pub(crate) b: Slot,
    pub(crate) c: Slot,
}

pub(crate) fn integer(r: &mut Registers, op: IntegerOp, ty: IntegerType, slots: Operands, active: Mask) -> Result<()> {
    match ty {
        IntegerType::U16 => apply::<u16>(r, op, slots, active),
        IntegerType::S16 => apply::<i16>(r, op, slots, active),
        IntegerType::U32 => apply::<u32>(r, op, slots, active),
        IntegerType::S32 => apply::<i32>(r, op, slots, active),
        IntegerType::U64 => apply::<u64>(r, op, slots, active),
        IntegerType::S64 => apply::<i64>(r, op, slots, active),
    }
}

fn apply<T: Integer>(r: &mut Registers, op: IntegerOp, slots: Operands, active: Mask) -> Result<()> {
    let Operands { d, a, b, c } = slots;
    let value = T::apply(op, r.get::<T>(a, active)?, r.get::<T>(b, active)?, r.get::<T>(c, active)?);
    r.set::<T>(d, value, active);
    Ok(())
}

/// `mul.wide` and `mad.wide`.
pub(crate) fn wide(
    r: &mut Registers,
    ty: IntegerType,
    [d, a, b]: [Slot; 3],
    c: Option<Slot>,
    active: Mask,
) -> Result<()> {
    match ty {
        IntegerType::U16 => multiply::<u16, u32>(r, d, a, b, c, active),
        IntegerType::S16 => multiply::<i16, i32>(r, d, a, b, c, active),
        IntegerType::U32 | IntegerType::U64 => multiply::<u32, u64>(r, d, a, b, c, active),
        IntegerType::S32 | IntegerType::S64 => multiply::<i32, i64>(r, d, a, b, c, active),
    }
}

fn multiply<T: Lane, W: Integer + From<T>>(
    r: &mut Registers,
    d: Slot,
    a: Slot,
    b: Slot,
    c: Option<Slot>,
    active: Mask,
) -> Result<()> {
    let [a, b] = [r.get::<T>(a, active)?, r.get::<T>(b, active)?];
    let [a, b] = [a, b].map(|raw| each(|lane| W::from(T::from_raw(raw[lane])).to_raw()));
    let value = match c {
        Some(c) => W::apply(IntegerOp::MadLow, &a, &b, r.get::<W>(c, active)?),
        None => W::apply(IntegerOp::MulLow, &a, &b, &a),
    };
    r.set::<W>(d, value, active);
    Ok(())
}

pub(crate) fn shift(
    r: &mut Registers,
    left: bool,
    ty: IntegerType,
    [d, a, amount]: [Slot; 3],
    active: Mask,
) -> Result<()> {
    match ty {
        IntegerType::U16 => shift_lanes::<u16>(r, left, d, a, amount, active),
        IntegerType::S16 => shift_lanes::<i16>(r, left, d, a, amount, active),
        IntegerType::U32 => shift_lanes::<u32>(r, left, d, a, amount, active),
        IntegerType::S32 => shift_lanes::<i32>(r, left, d, a, amount, active),
        IntegerType::U64 => shift_lanes::<u64>(r, left, d, a, amount, active),
        IntegerType::S64 => shift_lanes::<i64>(r, left, d, a, amount, active),
    }
}

fn shift_lanes<T: Integer>(r: &mut Registers, left: bool, d: Slot, a: Slot, amount: Slot, active: Mask) -> Result<()> {
    let (a, amount) = (r.get::<T>(a, active)?, r.get::<u32>(amount, active)?);
    let value = match left {
        true => each(|lane| T::from_raw(a[lane]).shift(true, amount[lane]).to_raw()),
        false => each(|lane| T::from_raw(a[lane]).shift(false, amount[lane]).to_raw()),
    };
    r.set::<T>(d, value, active);
    Ok(())
}
