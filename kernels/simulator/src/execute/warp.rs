//! The state of a block and of its warps, and the lane exchanges of a warp.

use super::arena::Arena;
use super::copy::Copies;
use super::grid::Grid;
use super::registers::Registers;
use super::shared::Shared;
use super::{Result, in_lane, lanes};
use crate::counters::Counters;
use crate::fault::FaultKind;
use crate::parse::syntax::Space;
use crate::program::{IntegerOp, IntegerType, LANES, Mask, ShuffleMode, Slot, VoteMode};

use super::integer::Integer;

/// Lanes that go the same way, and where they meet the others again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) pc: usize,
    pub(super) mask: Mask,
    /// The instruction at which the frame ends.
    pub(super) until: usize,
}

/// A barrier that a warp has reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) name: u32,
    /// Threads that have to come; all live ones without a number.
    pub(super) threads: Option<u32>,
    pub(super) instruction: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Warp {
    pub(super) index: usize,
    pub(super) registers: Registers,
    pub(super) frames: Vec<Frame>,
    /// Lanes that have not left.
    pub(super) live: Mask,
    /// Local memory of each lane.
    pub(super) local: Vec<Arena>,
    pub(super) copies: Copies,
    pub(super) executed: u64,
    pub(super) waiting: Option<Waiting>,
}

impl Warp {
    pub(super) fn new(grid: &Grid<'_>, index: usize) -> Self {
        Self {
            index,
            registers: Registers::new(&grid.program.layout),
            frames: Vec::new(),
            live: 0,
            local: vec![Arena::new(Space::Local, grid.program.local_bytes as usize); LANES],
            copies: Copies::default(),
            executed: 0,
            waiting: None,
        }
    }

    /// Back to the first instruction, with as many lanes as the block has for this warp.
    pub(super) fn restart(&mut self, grid: &Grid<'_>, block: [u32; 3]) {
        let first = self.index * LANES;
        let count = (grid.threads() - first).min(LANES);
        self.live = Mask::MAX >> (LANES - count);
        self.frames = vec![Frame { pc: 0, mask: self.live, until: grid.program.instructions.len() }];
        self.registers.forget(&grid.program.layout);
        let warp = self.index as u32;
        self.registers.set_specials(&grid.program.layout, |special, lane| grid.special(special, block, warp, lane));
        self.local.iter_mut().for_each(Arena::forget);
        self.copies = Copies::default();
        self.executed = 0;
        self.waiting = None;
    }

    /// Checks that every lane which takes part names exactly the live lanes that do.
    pub(super) fn check_members(&self, members: Slot, active: Mask) -> Result<()> {
        let members = self.registers.get::<u32>(members, active)?;
        for lane in lanes(active) {
            if members[lane] & self.live != active || members[lane] >> lane & 1 == 0 {
                return in_lane(lane, Err(FaultKind::AbsentLanes { members: members[lane], active }));
            }
        }
        Ok(())
    }

    pub(super) fn shuffle(
        &mut self,
        mode: ShuffleMode,
        [d, a, b, c]: [Slot; 4],
        p: Option<Slot>,
        active: Mask,
    ) -> Result<()> {
        let r = &mut self.registers;
        let (a, b, c) = (*r.get::<u32>(a, active)?, *r.get::<u32>(b, active)?, *r.get::<u32>(c, active)?);
        let (mut value, mut inside) = (a, 0);
        for lane in lanes(active) {
            let (clamp, segment) = (c[lane] & 31, c[lane] >> 8 & 31);
            let (this, by) = (lane as u32, b[lane] & 31);
            let least = this & segment;
            let most = least | clamp & !segment;
            let (source, in_range) = match mode {
                ShuffleMode::Up => (this.wrapping_sub(by), this as i32 - by as i32 >= most as i32),
                ShuffleMode::Down => (this + by, this + by <= most),
                ShuffleMode::Butterfly => (this ^ by, this ^ by <= most),
                ShuffleMode::Index => (least | by & !segment, least | by & !segment <= most),
            };
            if in_range {
                if active >> source & 1 == 0 {
                    return in_lane(lane, Err(FaultKind::InactiveSource { lane: source }));
                }
                value[lane] = a[source as usize];
                inside |= 1 << lane;
            }
        }
        r.set::<u32>(d, value, active);
        if let Some(p) = p {
            r.set_predicate(p, inside, active);
        }
        Ok(())
    }

    pub(super) fn vote(&mut self, mode: VoteMode, d: Slot, holds: Mask, active: Mask) {
        let r = &mut self.registers;
        let result = match mode {
            VoteMode::Ballot => return r.set::<u32>(d, [holds; LANES], active),
            VoteMode::All => holds == active,
            VoteMode::Any => holds != 0,
            VoteMode::Uniform => holds == active || holds == 0,
        };
        r.set_predicate(d, if result { active } else { 0 }, active);
    }

    /// `redux.sync`
    pub(super) fn reduce(&mut self, op: IntegerOp, ty: IntegerType, [d, a]: [Slot; 2], active: Mask) -> Result<()> {
        fn fold<T: Integer>(r: &mut Registers, op: IntegerOp, d: Slot, a: Slot, active: Mask) -> Result<()> {
            let a = r.get::<T>(a, active)?;
            let first = a[active.trailing_zeros() as usize];
            let rest = lanes(active & (active - 1));
            let sum = rest.fold(first, |sum, lane| T::apply(op, &[sum; LANES], &[a[lane]; LANES], &[sum; LANES])[0]);
            r.set::<T>(d, [sum; LANES], active);
            Ok(())
        }
        match ty {
            IntegerType::S32 => fold::<i32>(&mut self.registers, op, d, a, active),
            _ => fold::<u32>(&mut self.registers, op, d, a, active),
        }
    }
}

/// A block as its warps see it.
pub(super) struct Block<'a> {
    pub(super) grid: &'a Grid<'a>,
    pub(super) shared: Shared,
    pub(super) counters: Counters,
    /// `%ctaid`.
    pub(super) place: [u32; 3],
    /// The instruction at hand.
    pub(super) instruction: usize,
    /// Barriers and the warps that have arrived there without waiting.
    pub(super) arrived: Vec<(Waiting, usize)>,
}
