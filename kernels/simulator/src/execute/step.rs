//! One instruction of one warp: what is not control flow.

use super::integer::Operands;
use super::memory::{get_value, set_value};
use super::registers::Registers;
use super::warp::{Block, Warp};
use super::{Result, bits, convert, float, integer, matrix, select};
use crate::program::{LANES, Mask, Operation, Value, window};

impl Block<'_> {
    /// Executes an instruction in the active lanes, of which there is at least one.
    pub(super) fn step(&mut self, warp: &mut Warp, operation: &Operation, active: Mask) -> Result<()> {
        match *operation {
            Operation::Load { address, bytes, signed, ref values } => {
                self.load(warp, address, u32::from(bytes), signed, values, active)
            }
            Operation::Store { address, bytes, ref values } => {
                self.store(warp, address, u32::from(bytes), values, active)
            }
            Operation::Atomic { op, ty, address, d, b, c } => self.atomic(warp, op, ty, address, (d, b, c), active),
            Operation::CopyAsync { to, from, bytes, source_bytes, ignore } => {
                let bytes = u32::from(bytes);
                let mut read = match source_bytes {
                    Some(slot) => *warp.registers.get::<u32>(slot, active)?,
                    None => [bytes; LANES],
                };
                if let Some(ignore) = ignore {
                    super::lanes(warp.registers.condition(ignore, active)?).for_each(|lane| read[lane] = 0);
                }
                self.copy(warp, [to, from], bytes, read, active)
            }
            Operation::CommitCopies => {
                warp.copies.commit(active);
                Ok(())
            }
            Operation::WaitCopies(pending) => self.wait_copies(warp, pending, active),
            Operation::LoadMatrix { address, transposed, ref d } => {
                self.load_matrix(warp, address, transposed, d, active)
            }
            Operation::Shuffle { mode, d, p, a, b, c, members } => {
                warp.check_members(members, active)?;
                warp.shuffle(mode, [d, a, b, c], p, active)
            }
            Operation::Vote { mode, d, a, members } => {
                warp.check_members(members, active)?;
                let holds = warp.registers.condition(a, active)?;
                warp.vote(mode, d, holds, active);
                Ok(())
            }
            Operation::Reduce { op, ty, d, a, members } => {
                warp.check_members(members, active)?;
                warp.reduce(op, ty, [d, a], active)
            }
            Operation::WarpBarrier { members } => {
                warp.check_members(members, active)?;
                self.shared.meet_lanes(warp.index);
                Ok(())
            }
            Operation::Fence => Ok(()),
            _ => compute(&mut warp.registers, operation, active),
        }
    }
}

/// Instructions on registers alone.
fn compute(r: &mut Registers, operation: &Operation, active: Mask) -> Result<()> {
    match *operation {
        Operation::Float { op, double, flush, saturate, d, a, b, c } => {
            let modifiers = float::Modifiers { flush, saturate };
            float::float(r, op, double, modifiers, Operands { d, a, b, c }, active)
        }
        Operation::Integer { op, ty, d, a, b, c } => integer::integer(r, op, ty, Operands { d, a, b, c }, active),
        Operation::Wide { ty, d, a, b, c } => integer::wide(r, ty, [d, a, b], c, active),
        Operation::Shift { left, ty, d, a, amount } => integer::shift(r, left, ty, [d, a, amount], active),
        Operation::Move { long: false, d, a } => {
            let value = *r.get::<u32>(a, active)?;
            r.set::<u32>(d, value, active);
            Ok(())
        }
        Operation::Move { long: true, d, a } => {
            let value = *r.get::<u64>(a, active)?;
            r.set::<u64>(d, value, active);
            Ok(())
        }
        Operation::Compare { test, ty, flush, with, p, q, a, b } => {
            let holds = select::compare(r, test, ty, flush, [a, b], active)?;
            select::set_predicates(r, holds, with, [p, q], active)
        }
        Operation::Select { long, d, a, b, p } => {
            let first = r.condition(crate::program::Condition { slot: p, negated: false }, active)?;
            choose(r, long, [d, a, b], first, active)
        }
        Operation::SelectBySign { long, float, flush, d, a, b, c } => {
            let first = select::not_negative(r, float, flush, c, active)?;
            choose(r, long, [d, a, b], first, active)
        }
        Operation::PredicateLogic { op, invert, d, a, b } => {
            let value = select::logic(op, r.condition(a, active)?, r.condition(b, active)?);
            r.set_predicate(d, if invert { !value } else { value }, active);
            Ok(())
        }
        Operation::Convert { from, to, rounding, integral, saturate, flush, narrow, d, a } => {
            let conversion = convert::Conversion { from, to, rounding, integral, saturate, flush, narrow };
            convert::convert(r, conversion, [d, a], active)
        }
        Operation::ConvertPair { to, rounding, relu, d, a, b } => {
            convert::convert_pair(r, to, rounding, relu, [d, a, b], active)
        }
        Operation::Mma { factor, ref d, ref a, ref b, ref c } => matrix::multiply(r, factor, [d, c], a, b, active),
        Operation::ConvertAddress { space, to_space, d, a } => {
            let start = window(space);
            let add = if to_space { start.wrapping_neg() } else { start };
            let value = r.get::<u64>(a, active)?.map(|a| a.wrapping_add(add));
            r.set::<u64>(d, value, active);
            Ok(())
        }
        Operation::Split { from, ref parts } => {
            let whole = get_value(r, from, active)?;
            let width = width(from) / parts.len() as u32;
            for (i, part) in parts.iter().enumerate() {
                set_value(r, *part, whole.map(|v| v >> (width * i as u32)), active);
            }
            Ok(())
        }
        Operation::Join { to, ref parts } => {
            let width = width(to) / parts.len() as u32;
            let mut whole = [0; LANES];
            for (i, part) in parts.iter().enumerate() {
                let part = get_value(r, *part, active)?;
                whole.iter_mut().zip(part).for_each(|(whole, part)| *whole |= part << (width * i as u32));
            }
            set_value(r, to, whole, active);
            Ok(())
        }
        _ => compute_bits(r, operation, active),
    }
}

fn compute_bits(r: &mut Registers, operation: &Operation, active: Mask) -> Result<()> {
    match *operation {
        Operation::Bits { op, long, d, a } => bits::count(r, op, long, [d, a], active),
        Operation::Reverse { long, d, a } => bits::reverse(r, long, d, a, active),
        Operation::ExtractField { ty, d, a, position, length } => {
            bits::extract(r, ty, [d, a, position, length], active)
        }
        Operation::InsertField { long, d, a, b, position, length } => {
            bits::insert(r, long, [d, a, b, position, length], active)
        }
        Operation::Permute { mode, d, a, b, c } => bits::permute(r, mode, Operands { d, a, b, c }, active),
        Operation::Logic3 { table, d, a, b, c } => bits::logic3(r, table, Operands { d, a, b, c }, active),
        Operation::FunnelShift { left, wrap, d, a, b, c } => {
            bits::funnel_shift(r, left, wrap, Operands { d, a, b, c }, active)
        }
        Operation::ActiveMask { d } => {
            r.set::<u32>(d, [active; LANES], active);
            Ok(())
        }
        _ => unreachable!("control flow and memory are executed by the block"),
    }
}

fn choose(r: &mut Registers, long: bool, slots: [crate::program::Slot; 3], first: Mask, active: Mask) -> Result<()> {
    if long { select::choose::<u64>(r, slots, first, active) } else { select::choose::<u32>(r, slots, first, active) }
}

fn width(value: Value) -> u32 {
    match value {
        Value::Half(_) => 16,
        Value::Word(_) | Value::Nothing => 32,
        Value::Long(_) => 64,
    }
}
