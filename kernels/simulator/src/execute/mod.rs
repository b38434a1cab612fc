//! The executor: a grid of blocks, warps in lock-step.

mod arena;
mod atomic;
mod bits;
mod block;
mod convert;
mod copy;
mod float;
mod grid;
mod integer;
mod matrix;
mod memory;
mod registers;
mod select;
mod shared;
mod step;
mod warp;

use crate::fault::FaultKind;
use crate::program::{LANES, Slot};

pub(crate) use grid::run;

/// A fault before it is known where it happened.
#[derive(Debug)]
struct Trouble {
    lane: u32,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// A register that nothing has written.
    Undefined(registers::FileName, Slot),
    Fault(FaultKind),
}

type Result<T> = std::result::Result<T, Box<Trouble>>;

/// A value for each lane: a plain loop, which the compiler vectorises where `std::array::from_fn` is not inlined.
#[inline(always)]
fn each<T: Copy + Default>(f: impl Fn(usize) -> T) -> [T; LANES] {
    let mut values = [T::default(); LANES];
    for (lane, value) in values.iter_mut().enumerate() {
        *value = f(lane);
    }
    values
}

/// Puts a lane to a fault.
fn in_lane<T>(lane: usize, result: std::result::Result<T, FaultKind>) -> Result<T> {
    result.map_err(|kind| Box::new(Trouble { lane: lane as u32, cause: Cause::Fault(kind) }))
}

/// The lanes of a mask, ascending.
fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lane)
    })
}
