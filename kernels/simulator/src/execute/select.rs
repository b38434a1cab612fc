//! Comparisons, selections and predicates.

use super::float;
use super::registers::{Lane, Registers};
use super::{Result, each};
use crate::parse::syntax::Type;
use crate::program::{Comparison, Condition, LANES, Logic, Mask, Slot};

/// The lanes for which a test holds.
fn test<T: PartialOrd + Copy>(test: Comparison, a: [T; LANES], b: [T; LANES]) -> Mask {
    let mut mask = 0;
    for lane in 0..LANES {
        let (a, b) = (a[lane], b[lane]);
        let (less, equal, greater) = (a < b, a == b, a > b);
        let unordered = !(less | equal | greater);
        let holds = less & test.less | equal & test.equal | greater & test.greater | unordered & test.unordered;
        mask |= u32::from(holds) << lane;
    }
    mask
}

/// `setp` without its destinations: the active lanes for which the comparison holds.
pub(crate) fn compare(
    r: &Registers,
    comparison: Comparison,
    ty: Type,
    flush: bool,
    [a, b]: [Slot; 2],
    active: Mask,
) -> Result<Mask> {
    fn lanes<T: Lane + PartialOrd>(r: &Registers, c: Comparison, a: Slot, b: Slot, active: Mask) -> Result<Mask> {
        Ok(test(c, r.values::<T>(a, active)?, r.values::<T>(b, active)?))
    }
    let mask = match ty {
        Type::F32 if flush => {
            let (a, b) = (r.values::<f32>(a, active)?, r.values::<f32>(b, active)?);
            test(comparison, a.map(float::flush), b.map(float::flush))
        }
        Type::F32 => lanes::<f32>(r, comparison, a, b, active)?,
        Type::F64 => lanes::<f64>(r, comparison, a, b, active)?,
        Type::S16 => lanes::<i16>(r, comparison, a, b, active)?,
        Type::S32 => lanes::<i32>(r, comparison, a, b, active)?,
        Type::S64 => lanes::<i64>(r, comparison, a, b, active)?,
        ty if ty.bytes() == 2 => lanes::<u16>(r, comparison, a, b, active)?,
        ty if ty.bytes() == 4 => lanes::<u32>(r, comparison, a, b, active)?,
        _ => lanes::<u64>(r, comparison, a, b, active)?,
    };
    Ok(mask & active)
}

pub(crate) fn logic(op: Logic, a: Mask, b: Mask) -> Mask {
    match op {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}

/// The destinations of `setp`: `p` is the comparison and `q` its opposite, each joined with the condition.
pub(crate) fn set_predicates(
    r: &mut Registers,
    holds: Mask,
    with: Option<(Logic, Condition)>,
    [p, q]: [Option<Slot>; 2],
    active: Mask,
) -> Result<()> {
    let (mut first, mut second) = (holds, !holds);
    if let Some((op, condition)) = with {
        let condition = r.condition(condition, active)?;
        (first, second) = (logic(op, first, condition), logic(op, second, condition));
    }
    if let Some(p) = p {
        r.set_predicate(p, first, active);
    }
    if let Some(q) = q {
        r.set_predicate(q, second, active);
    }
    Ok(())
}

/// `d = a` in the lanes of `first`, `b` in the other active ones. Both are read, as on the machine.
pub(crate) fn choose<T: Lane>(r: &mut Registers, [d, a, b]: [Slot; 3], first: Mask, active: Mask) -> Result<()> {
    let (a, b) = (r.get::<T>(a, active)?, r.get::<T>(b, active)?);
    let value = each(|lane| if first >> lane & 1 == 1 { a[lane] } else { b[lane] });
    r.set::<T>(d, value, active);
    Ok(())
}

/// The lanes where `c` is at least zero; of a float, -0 is and NaN is not.
pub(crate) fn not_negative(r: &Registers, float: bool, flush: bool, c: Slot, active: Mask) -> Result<Mask> {
    let at_least = Comparison { less: false, equal: true, greater: true, unordered: false };
    if !float {
        return Ok(test(at_least, r.values::<i32>(c, active)?, [0; LANES]));
    }
    let c = r.values::<f32>(c, active)?;
    Ok(test(at_least, if flush { c.map(float::flush) } else { c }, [0.0; LANES]))
}
