//! Integer arithmetic: wrapping, as on the machine.

use super::registers::{Lane, Registers};
use super::{Result, each};
use crate::program::{IntegerOp, IntegerType, LANES, Mask, Slot};

/// What the integer instructions need of a lane's type.
pub(crate) trait Integer: Lane {
    /// One operation on all lanes.
    fn apply(op: IntegerOp, a: [Self; LANES], b: [Self; LANES], c: [Self; LANES]) -> [Self; LANES];
    /// `shl` and `shr`; amounts past the width are clamped to it.
    fn shift(self, left: bool, amount: u32) -> Self;
}

#[inline(always)]
fn zip<T: Copy + Default>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> T) -> [T; LANES] {
    each(|lane| f(a[lane], b[lane]))
}

macro_rules! integer {
    ($($ty:ty, $wide:ty;)*) => {$(
        impl Integer for $ty {
            fn apply(op: IntegerOp, a: [Self; LANES], b: [Self; LANES], c: [Self; LANES]) -> [Self; LANES] {
                let high = |a, b| ((a as $wide).wrapping_mul(b as $wide) >> <$ty>::BITS) as $ty;
                match op {
                    IntegerOp::Add => zip(a, b, <$ty>::wrapping_add),
                    IntegerOp::AddSaturating => zip(a, b, <$ty>::saturating_add),
                    IntegerOp::Sub => zip(a, b, <$ty>::wrapping_sub),
                    IntegerOp::SubSaturating => zip(a, b, <$ty>::saturating_sub),
                    IntegerOp::MulLow => zip(a, b, <$ty>::wrapping_mul),
                    IntegerOp::MulHigh => zip(a, b, high),
                    IntegerOp::MadLow => zip(zip(a, b, <$ty>::wrapping_mul), c, <$ty>::wrapping_add),
                    IntegerOp::MadHigh => zip(zip(a, b, high), c, <$ty>::wrapping_add),
                    // PTX does not say what a division by zero gives; the machine gives all ones.
                    IntegerOp::Div => zip(a, b, |a, b| if b == 0 { !0 } else { a.wrapping_div(b) }),
                    IntegerOp::Rem => zip(a, b, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }),
                    IntegerOp::Min => zip(a, b, <$ty>::min),
                    IntegerOp::Max => zip(a, b, <$ty>::max),
                    IntegerOp::Abs => a.map(|a| a.max((0 as $ty).wrapping_sub(a))),
                    IntegerOp::Neg => a.map(|a| (0 as $ty).wrapping_sub(a)),
                    IntegerOp::And => zip(a, b, |a, b| a & b),
                    IntegerOp::Or => zip(a, b, |a, b| a | b),
                    IntegerOp::Xor => zip(a, b, |a, b| a ^ b),
                    IntegerOp::Not => a.map(|a| !a),
                    IntegerOp::LogicalNot => a.map(|a| <$ty>::from(a == 0)),
                    IntegerOp::AbsoluteDifference => {
                        zip(zip(a, b, |a, b| a.max(b).wrapping_sub(a.min(b))), c, <$ty>::wrapping_add)
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
    let (a, b, c) = (r.values::<T>(a, active)?, r.values::<T>(b, active)?, r.values::<T>(c, active)?);
    r.put(d, T::apply(op, a, b, c), active);
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
    let (a, b) = (r.values::<T>(a, active)?, r.values::<T>(b, active)?);
    let (a, b) = (each(|lane| W::from(a[lane])), each(|lane| W::from(b[lane])));
    let value = match c {
        Some(c) => W::apply(IntegerOp::MadLow, a, b, r.values::<W>(c, active)?),
        None => W::apply(IntegerOp::MulLow, a, b, a),
    };
    r.put(d, value, active);
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
    let (a, amount) = (r.values::<T>(a, active)?, r.get::<u32>(amount, active)?);
    let value = each(|lane| a[lane].shift(left, amount[lane]));
    r.put(d, value, active);
    Ok(())
}
