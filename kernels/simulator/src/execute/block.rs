//! A block: warps one after the other up to the next barrier, and the control flow of each.

use super::registers::FileName;
use super::warp::{Block, Frame, Waiting, Warp};
use super::{Cause, Result, Trouble, in_lane};
use crate::fault::{Fault, FaultKind, Place};
use crate::program::{LANES, Mask, Operation, Slot};

/// Barriers of a block.
const BARRIERS: u32 = 16;

impl Block<'_> {
    /// Runs a block from its start to its end.
    pub(super) fn run(&mut self, warps: &mut [Warp], place: [u32; 3]) -> std::result::Result<(), Box<Fault>> {
        self.place = place;
        self.shared.forget();
        self.arrived.clear();
        for warp in warps.iter_mut() {
            warp.restart(self.grid, place);
        }
        loop {
            for warp in warps.iter_mut().filter(|warp| warp.waiting.is_none() && warp.live != 0) {
                self.run_warp(warp).map_err(|trouble| self.fault(warp.index, *trouble))?;
            }
            if warps.iter().all(|warp| warp.live == 0) {
                return Ok(());
            }
            self.release(warps)?;
        }
    }

    fn fault(&self, warp: usize, trouble: Trouble) -> Box<Fault> {
        let names = &self.grid.program.layout.names;
        let kind = match trouble.cause {
            Cause::Fault(kind) => kind,
            Cause::Undefined(file, slot) => {
                let names = match file {
                    FileName::Words => &names.words,
                    FileName::Longs => &names.longs,
                    FileName::Predicates => &names.predicates,
                };
                FaultKind::UninitialisedRegister { register: names[usize::from(slot)].clone() }
            }
        };
        let thread = self.grid.thread(warp as u32, trouble.lane);
        self.grid.fault(kind, self.instruction, Some(Place { block: self.place, thread }))
    }

    /// Runs a warp until it waits at a barrier or ends.
    fn run_warp(&mut self, warp: &mut Warp) -> Result<()> {
        let program = self.grid.program;
        let (counting, budget) = (self.grid.options.counting, self.grid.options.budget);
        while let Some(&frame) = warp.frames.last() {
            if frame.mask == 0 || frame.pc == frame.until {
                warp.frames.pop();
                continue;
            }
            self.instruction = frame.pc;
            let instruction = &program.instructions[frame.pc];
            if warp.executed == budget {
                let lane = frame.mask.trailing_zeros() as usize;
                return in_lane(lane, Err(FaultKind::Budget { instructions: budget }));
            }
            warp.executed += 1;
            let active = match instruction.guard {
                Some(guard) => warp.registers.condition(guard, frame.mask)?,
                None => frame.mask,
            };
            if counting {
                let row = &mut self.counters.rows[frame.pc];
                row.warps += 1;
                row.threads += u64::from(active.count_ones());
            }
            match instruction.operation {
                Operation::Branch { target, reconverge } => self.branch(warp, frame, target, reconverge, active),
                Operation::Exit => {
                    warp.live &= !active;
                    warp.frames.iter_mut().for_each(|frame| frame.mask &= !active);
                    advance(warp);
                }
                Operation::Barrier { name, threads, arrive } if active != 0 => {
                    let waiting = self.barrier(warp, name, threads, active)?;
                    advance(warp);
                    if !arrive {
                        warp.waiting = Some(waiting);
                        return Ok(());
                    }
                    self.arrived.push((waiting, warp.index));
                }
                _ => {
                    if active != 0 {
                        self.step(warp, &instruction.operation, active)?;
                    }
                    advance(warp);
                }
            }
        }
        Ok(())
    }

    /// Checks that a warp reaches a barrier as a whole.
    fn barrier(&self, warp: &Warp, name: Slot, threads: Option<Slot>, active: Mask) -> Result<Waiting> {
        let lane = active.trailing_zeros() as usize;
        if active != warp.live {
            let others = format!("lanes {:#010x} of the warp do not reach it with this one", warp.live & !active);
            return in_lane(lane, Err(FaultKind::DivergentBarrier { others }));
        }
        let name = warp.registers.get::<u32>(name, active)?[lane];
        let threads = match threads {
            Some(slot) => Some(warp.registers.get::<u32>(slot, active)?[lane]),
            None => None,
        };
        if name >= BARRIERS || threads.is_some_and(|threads| threads == 0 || threads % LANES as u32 != 0) {
            return in_lane(lane, Err(FaultKind::InvalidBarrier { name, threads }));
        }
        Ok(Waiting { name, threads, instruction: self.instruction })
    }

    fn branch(&mut self, warp: &mut Warp, frame: Frame, target: usize, reconverge: usize, taken: Mask) {
        let stay = frame.mask & !taken;
        let Some(top) = warp.frames.last_mut() else { return };
        if stay == 0 {
            top.pc = target;
            return;
        }
        if taken == 0 {
            top.pc += 1;
            return;
        }
        if self.grid.options.counting {
            self.counters.rows[frame.pc].divergent += 1;
        }
        // The frame waits where its lanes meet, unless it ends there anyway.
        if reconverge == frame.until {
            warp.frames.pop();
        } else {
            top.pc = reconverge;
        }
        for (pc, mask) in [(frame.pc + 1, stay), (target, taken)] {
            if pc != reconverge {
                warp.frames.push(Frame { pc, mask, until: reconverge });
            }
        }
    }

    /// Lets the warps of every complete barrier go on.
    fn release(&mut self, warps: &mut [Warp]) -> std::result::Result<(), Box<Fault>> {
        let mut released = false;
        for name in 0..BARRIERS {
            let at = |warp: &Warp| warp.waiting.filter(|waiting| waiting.name == name);
            let Some((first, waiting)) = warps.iter().find_map(|warp| Some((warp.index, at(warp)?))) else { continue };
            let arrived = self.arrived.iter().filter(|(waiting, _)| waiting.name == name);
            let come: Vec<usize> = warps.iter().filter(|warp| at(warp).is_some()).map(|warp| warp.index).collect();
            let come: Vec<usize> = come.into_iter().chain(arrived.map(|(_, warp)| *warp)).collect();
            let needed = match waiting.threads {
                Some(threads) => threads as usize / LANES,
                None => warps.iter().filter(|warp| warp.live != 0).count(),
            };
            if come.len() < needed {
                continue;
            }
            let other = warps.iter().find(|warp| at(warp).is_some_and(|w| w.instruction != waiting.instruction));
            if let Some(other) = other.filter(|_| waiting.threads.is_none()) {
                let line = self.grid.program.instructions[waiting.instruction].line;
                let others = format!("warp {first} waits at line {line}");
                return Err(self.barrier_fault(other, FaultKind::DivergentBarrier { others }));
            }
            self.shared.meet(come.iter().copied());
            self.arrived.retain(|(waiting, _)| waiting.name != name);
            for warp in warps.iter_mut().filter(|warp| warp.waiting.is_some_and(|w| w.name == name)) {
                warp.waiting = None;
            }
            released = true;
        }
        match warps.iter().find(|warp| warp.waiting.is_some()) {
            Some(stuck) if !released => {
                let lines = warps.iter().filter_map(|warp| {
                    let waiting = warp.waiting?;
                    let line = self.grid.program.instructions[waiting.instruction].line;
                    Some(format!("warp {} at line {line} (barrier {})", warp.index, waiting.name))
                });
                let waiting = lines.collect::<Vec<_>>().join(", ");
                Err(self.barrier_fault(stuck, FaultKind::Deadlock { waiting }))
            }
            _ => Ok(()),
        }
    }

    fn barrier_fault(&self, warp: &Warp, kind: FaultKind) -> Box<Fault> {
        let instruction = warp.waiting.map_or(self.instruction, |waiting| waiting.instruction);
        let thread = self.grid.thread(warp.index as u32, warp.live.trailing_zeros());
        self.grid.fault(kind, instruction, Some(Place { block: self.place, thread }))
    }
}

fn advance(warp: &mut Warp) {
    if let Some(frame) = warp.frames.last_mut() {
        frame.pc += 1;
    }
}
