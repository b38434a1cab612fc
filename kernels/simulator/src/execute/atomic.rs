//! Atomics and reductions in memory, lane after lane.

use super::memory::{addresses, resolve};
use super::registers::Lane;
use super::shared::Kind;
use super::warp::{Block, Warp};
use super::{Result, in_lane, lanes};
use crate::fault::FaultKind;
use crate::parse::syntax::{Space, Type};
use crate::program::{Address, AtomicOp, LANES, Mask, Slot};

impl Block<'_> {
    pub(super) fn atomic(
        &mut self,
        warp: &mut Warp,
        op: AtomicOp,
        ty: Type,
        address: Address,
        (d, b, c): (Option<Slot>, Slot, Slot),
        active: Mask,
    ) -> Result<()> {
        let long = ty.bytes() == 8;
        let at = addresses(&warp.registers, address, active)?;
        let read = |slot| -> Result<[u64; LANES]> {
            let r = &warp.registers;
            Ok(if long { *r.get::<u64>(slot, active)? } else { r.get::<u32>(slot, active)?.map(u64::from) })
        };
        let (b, c) = (read(b)?, read(c)?);
        let mut before = [0; LANES];
        for lane in lanes(active) {
            let (space, address) = resolve(address.space, at[lane]);
            let update = |old| updated(op, ty, old, b[lane], c[lane]);
            before[lane] = in_lane(lane, self.update([warp.index, lane], space, address, ty.bytes(), update))?;
        }
        self.count_traffic(address.space, &at, ty.bytes(), true, active);
        match d {
            Some(d) if long => warp.registers.set::<u64>(d, before, active),
            Some(d) => warp.registers.set::<u32>(d, before.map(|v| v as u32), active),
            None => {}
        }
        Ok(())
    }

    /// Replaces the value at an address and returns the old one.
    fn update(
        &mut self,
        by: [usize; 2],
        space: Space,
        address: u64,
        bytes: u32,
        new: impl Fn(u64) -> u64,
    ) -> std::result::Result<u64, FaultKind> {
        match space {
            Space::Shared => {
                let offset = self.shared.access(by, address, bytes, Kind::Atomic)?;
                let old = self.shared.arena.load(offset, bytes);
                self.shared.arena.store(offset, bytes, new(old));
                Ok(old)
            }
            Space::Global | Space::Generic => {
                self.grid.windows.locate(address, bytes, false)?;
                let (window, offset) = self.grid.windows.locate(address, bytes, true)?;
                if !window.storage.is_written(offset, bytes) {
                    let (target, offset) = (window.storage.name().to_owned(), (offset - window.start) as i64);
                    return Err(FaultKind::UninitialisedMemory { space: Space::Global, target, offset });
                }
                let old = window.storage.load(offset, bytes);
                window.storage.store(offset, bytes, new(old));
                Ok(old)
            }
            _ => {
                let target = format!("{space} memory");
                Err(FaultKind::Forbidden { target, write: true, offset: address as i64 })
            }
        }
    }
}

fn updated(op: AtomicOp, ty: Type, old: u64, b: u64, c: u64) -> u64 {
    match op {
        AtomicOp::Exchange => b,
        AtomicOp::CompareAndSwap => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Increment => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Decrement => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Add => match ty {
            Type::F32 => u64::from((f32::from_raw(old as u32) + f32::from_raw(b as u32)).to_raw()),
            Type::F64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
            _ if ty.bytes() == 4 => u64::from((old as u32).wrapping_add(b as u32)),
            _ => old.wrapping_add(b),
        },
        AtomicOp::Min | AtomicOp::Max => {
            let less = match ty {
                Type::S32 => (b as i32) < old as i32,
                Type::S64 => (b as i64) < old as i64,
                _ => b < old,
            };
            if less == (op == AtomicOp::Min) { b } else { old }
        }
    }
}
