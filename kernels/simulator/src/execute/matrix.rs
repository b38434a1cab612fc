//! `ldmatrix` and `mma.sync`.

use half::{bf16, f16};

use super::memory::addresses;
use super::registers::Registers;
use super::shared::Kind;
use super::warp::{Block, Warp};
use super::{Result, each, in_lane};
use crate::fault::FaultKind;
use crate::parse::syntax::Space;
use crate::program::{Address, Factor, LANES, Mask, Slot};

/// Checks that a whole warp takes part.
pub(super) fn check_whole_warp(active: Mask) -> Result<()> {
    if active == Mask::MAX {
        return Ok(());
    }
    in_lane(active.trailing_zeros() as usize, Err(FaultKind::AbsentLanes { members: Mask::MAX, active }))
}

impl Block<'_> {
    /// Eight lanes give the rows of a matrix of 8 by 8 halves; every lane gets two neighbours of it.
    pub(super) fn load_matrix(
        &mut self,
        warp: &mut Warp,
        address: Address,
        transposed: bool,
        d: &[Slot],
        active: Mask,
    ) -> Result<()> {
        check_whole_warp(active)?;
        let givers = Mask::MAX >> (LANES - 8 * d.len());
        let at = addresses(&warp.registers, address, givers)?;
        for (matrix, &d) in d.iter().enumerate() {
            let mut rows = [0; 8];
            for (row, offset) in rows.iter_mut().enumerate() {
                let lane = 8 * matrix + row;
                *offset = in_lane(lane, self.shared.access([warp.index, lane], at[lane], 16, Kind::Read))?;
            }
            let half = |row: usize, column: usize| self.shared.arena.load(rows[row] + 2 * column, 2) as u32;
            let value = each(|lane| {
                let (first, second) = (lane / 4, 2 * (lane % 4));
                if transposed {
                    half(second, first) | half(second + 1, first) << 16
                } else {
                    half(first, second) | half(first, second + 1) << 16
                }
            });
            warp.registers.set::<u32>(d, value, active);
        }
        self.count_traffic(Space::Shared, &at, 16, false, givers);
        Ok(())
    }
}

/// `d = a b + c` of one warp: 16 rows, 8 columns.
///
/// The machine does not say in which order and how exactly it adds: here the products are summed in f64 by rising `k`
/// and rounded once.
pub(super) fn multiply(
    r: &mut Registers,
    factor: Factor,
    [d, c]: [&[Slot; 4]; 2],
    a: &[Slot],
    b: &[Slot],
    active: Mask,
) -> Result<()> {
    check_whole_warp(active)?;
    // Values of k that one register of the four lanes of a group holds.
    let step = if factor == Factor::Tf32 { 4 } else { 8 };
    let mut left = [[0.0; 16]; 16];
    for (register, &slot) in a.iter().enumerate() {
        for (lane, bits) in r.get::<u32>(slot, active)?.iter().enumerate() {
            let (row, k) = (lane / 4 + 8 * (register % 2), step * (register / 2) + lane % 4 * (step / 4));
            fill(&mut left[row][k..], factor, *bits);
        }
    }
    let mut right = [[0.0; 16]; 8];
    for (register, &slot) in b.iter().enumerate() {
        for (lane, bits) in r.get::<u32>(slot, active)?.iter().enumerate() {
            fill(&mut right[lane / 4][step * register + lane % 4 * (step / 4)..], factor, *bits);
        }
    }
    let mut results = [[0f32; LANES]; 4];
    for (register, result) in results.iter_mut().enumerate() {
        let c = r.values::<f32>(c[register], active)?;
        for (lane, result) in result.iter_mut().enumerate() {
            let (row, column) = (lane / 4 + 8 * (register / 2), 2 * (lane % 4) + register % 2);
            let products = left[row].iter().zip(&right[column]).take(step * b.len());
            *result = products.fold(f64::from(c[lane]), |sum, (a, b)| a * b + sum) as f32;
        }
    }
    for (slot, result) in d.iter().zip(results) {
        r.set::<f32>(*slot, result.map(f32::to_bits), active);
    }
    Ok(())
}

/// The one or two factors in a register. Of a tf32 the machine ignores the low 13 bits.
fn fill(to: &mut [f64], factor: Factor, bits: u32) {
    let halves = [bits as u16, (bits >> 16) as u16];
    match factor {
        Factor::Tf32 => to[0] = f64::from(f32::from_bits(bits & !0x1fff)),
        Factor::F16 => halves.iter().zip(to).for_each(|(bits, to)| *to = f16::from_bits(*bits).to_f64()),
        Factor::Bf16 => halves.iter().zip(to).for_each(|(bits, to)| *to = bf16::from_bits(*bits).to_f64()),
    }
}
