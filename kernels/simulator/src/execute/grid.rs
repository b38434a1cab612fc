//! A grid: arguments, special registers, blocks on all cores.

use std::sync::Mutex;

use rayon::prelude::*;

use super::arena::Arena;
use super::shared::{Shared, WARPS};
use super::warp::{Block, Warp};
use crate::counters::{Counters, Counts};
use crate::fault::{Fault, FaultKind, Place};
use crate::launch::{Argument, Launch, Options};
use crate::memory::{Memory, Permission, Touched, Window, Windows};
use crate::parse::syntax::Space;
use crate::program::{LANES, Program, Special};

/// Most bytes of shared memory of a block, on any device.
const SHARED_BYTES: u64 = 227 << 10;

/// What all blocks of a launch have in common.
pub(super) struct Grid<'a> {
    pub(super) program: &'a Program,
    pub(super) launch: &'a Launch,
    pub(super) options: Switches,
    pub(super) windows: Windows<'a>,
    pub(super) parameters: Arena,
    pub(super) constants: Arena,
}

/// The options of a launch as the inner loops ask for them.
#[derive(Clone, Copy)]
pub(super) struct Switches {
    pub(super) counting: bool,
    pub(super) traffic: bool,
    pub(super) races: bool,
    pub(super) budget: u64,
}

/// Runs a grid and returns the counts of each instruction, and the different sectors that were read and written.
///
/// The blocks share `memory` by reference: see [`crate::Memory`].
pub(crate) fn run(
    program: &Program,
    launch: &Launch,
    arguments: &[Argument],
    memory: &mut Memory,
    options: &Options,
) -> Result<(Vec<Counts>, [u64; 2]), Box<Fault>> {
    let grid = Grid::new(program, launch, arguments, memory, options)?;
    let blocks = u64::from(launch.grid[0]) * u64::from(launch.grid[1]) * u64::from(launch.grid[2]);
    if program.ordered {
        let mut worker = Worker::new(&grid);
        for block in 0..blocks {
            worker.run(block)?;
        }
        return Ok((worker.block.counters.rows, grid.windows.touched()));
    }
    // The fault of the first block that has one, whatever the order in which they run.
    let first: Mutex<Option<(u64, Box<Fault>)>> = Mutex::new(None);
    let lock = || first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let counters = (0..blocks)
        .into_par_iter()
        .fold(
            || None,
            |worker: Option<Worker<'_>>, block| {
                let mut worker = worker.unwrap_or_else(|| Worker::new(&grid));
                if lock().as_ref().is_some_and(|(faulty, _)| *faulty < block) {
                    return Some(worker);
                }
                if let Err(fault) = worker.run(block) {
                    let mut first = lock();
                    if first.as_ref().is_none_or(|(faulty, _)| block < *faulty) {
                        *first = Some((block, fault));
                    }
                }
                Some(worker)
            },
        )
        .filter_map(|worker| Some(worker?.block.counters))
        .reduce(|| Counters::new(program.instructions.len()), |sum, counters| sum.plus(&counters));
    match first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some((_, fault)) => Err(fault),
        None => Ok((counters.rows, grid.windows.touched())),
    }
}

/// A block and its warps, used for one place of the grid after the other.
struct Worker<'a> {
    block: Block<'a>,
    warps: Vec<Warp>,
}

impl<'a> Worker<'a> {
    fn new(grid: &'a Grid<'a>) -> Self {
        let warps = grid.threads().div_ceil(LANES);
        let bytes = grid.program.shared_bytes as usize + grid.launch.shared_bytes as usize;
        let shared = Shared::new(bytes, grid.program.granule, warps, grid.options.races);
        let counters = Counters::new(grid.program.instructions.len());
        let block = Block { grid, shared, counters, place: [0; 3], instruction: 0, arrived: Vec::new() };
        Self { block, warps: (0..warps).map(|index| Warp::new(grid, index)).collect() }
    }

    fn run(&mut self, block: u64) -> Result<(), Box<Fault>> {
        let [x, y, _] = self.block.grid.launch.grid.map(u64::from);
        let place = [block % x, block / x % y, block / (x * y)].map(|axis| axis as u32);
        self.block.run(&mut self.warps, place)
    }
}

impl<'a> Grid<'a> {
    fn new(
        program: &'a Program,
        launch: &'a Launch,
        arguments: &[Argument],
        memory: &'a Memory,
        options: &Options,
    ) -> Result<Self, Box<Fault>> {
        let switches = Switches {
            counting: options.counting != crate::Counting::Off,
            traffic: options.counting == crate::Counting::Traffic,
            races: options.check_races,
            budget: options.budget,
        };
        let mut grid = Self {
            program,
            launch,
            options: switches,
            windows: Windows::default(),
            parameters: Arena::new(Space::Parameter, 0),
            constants: Arena::filled(Space::Constant, &program.constants),
        };
        grid.check_geometry()?;
        grid.set_arguments(arguments, memory)?;
        Ok(grid)
    }

    fn mismatch<T>(&self, expected: String, found: String) -> Result<T, Box<Fault>> {
        let program = self.program;
        Err(Box::new(Fault {
            kind: FaultKind::Launch { expected, found },
            kernel: program.name.clone(),
            file: program.file.clone(),
            line: program.line,
            text: source_line(program, program.line),
            place: None,
        }))
    }

    fn check_geometry(&self) -> Result<(), Box<Fault>> {
        let (grid, block) = (self.launch.grid, self.launch.block);
        let threads = block.iter().try_fold(1u32, |product, axis| product.checked_mul(*axis));
        let most = (WARPS * LANES) as u32;
        if grid.contains(&0) || !threads.is_some_and(|threads| (1..=most).contains(&threads)) {
            let found = format!("a grid of {grid:?} blocks of {block:?}");
            return self.mismatch(format!("at least one block of 1 to {most} threads"), found);
        }
        let shared = u64::from(self.program.shared_bytes) + u64::from(self.launch.shared_bytes);
        if shared > SHARED_BYTES {
            let expected = format!("at most {SHARED_BYTES} bytes of shared memory, static and dynamic");
            return self.mismatch(expected, shared.to_string());
        }
        let (required, maximal) = (self.program.required_threads, self.program.maximal_threads);
        if required != [0; 3] && required != block {
            return self.mismatch(format!("blocks of {required:?} threads (.reqntid)"), format!("{block:?}"));
        }
        if maximal != 0 && self.threads() > maximal as usize {
            return self.mismatch(format!("blocks of at most {maximal} threads (.maxntid)"), format!("{block:?}"));
        }
        Ok(())
    }

    fn set_arguments(&mut self, arguments: &[Argument], memory: &'a Memory) -> Result<(), Box<Fault>> {
        let parameters = &self.program.parameters;
        if parameters.len() != arguments.len() {
            return self.mismatch(format!("{} arguments", parameters.len()), arguments.len().to_string());
        }
        let bytes = parameters.iter().map(|p| p.offset + p.bytes).max().unwrap_or(0);
        let mut arena = Arena::new(Space::Parameter, bytes as usize);
        for (parameter, argument) in parameters.iter().zip(arguments) {
            let value = self.argument_bytes(&parameter.name, argument, memory)?;
            if value.len() != parameter.bytes as usize {
                let expected = format!("{} bytes for `{}`", parameter.bytes, parameter.name);
                return self.mismatch(expected, format!("{} bytes", value.len()));
            }
            for (at, byte) in value.into_iter().enumerate() {
                arena.store(parameter.offset as usize + at, 1, u64::from(byte));
            }
        }
        self.parameters = arena;
        Ok(())
    }

    fn argument_bytes(&mut self, name: &str, argument: &Argument, memory: &'a Memory) -> Result<Vec<u8>, Box<Fault>> {
        let (buffer, range, permission) = match argument {
            Argument::Buffer(buffer) => (*buffer, None, Permission::ReadWrite),
            Argument::View { buffer, range, permission } => (*buffer, Some(range.clone()), *permission),
            Argument::U32(value) => return Ok(value.to_le_bytes().to_vec()),
            Argument::S32(value) => return Ok(value.to_le_bytes().to_vec()),
            Argument::F32(value) => return Ok(value.to_le_bytes().to_vec()),
            Argument::U64(value) => return Ok(value.to_le_bytes().to_vec()),
            Argument::F64(value) => return Ok(value.to_le_bytes().to_vec()),
            Argument::Bytes(bytes) => return Ok(bytes.clone()),
        };
        let Some(storage) = memory.storage(buffer) else {
            return self.mismatch(format!("a buffer of this memory for `{name}`"), format!("{buffer:?}"));
        };
        let range = range.unwrap_or(0..storage.len());
        if range.start > range.end || range.end > storage.len() {
            let expected = format!("a part of the {} bytes of {} for `{name}`", storage.len(), storage.name());
            return self.mismatch(expected, format!("{range:?}"));
        }
        let touched = if self.options.traffic { Touched::new(range.len()) } else { Touched::default() };
        let complete = storage.is_complete(range.clone());
        let window = Window { storage, start: range.start, bytes: range.len(), permission, complete, touched };
        Ok(self.windows.add(window).to_le_bytes().to_vec())
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> usize {
        self.launch.block.iter().product::<u32>() as usize
    }

    /// `%tid` of a lane.
    pub(super) fn thread(&self, warp: u32, lane: u32) -> [u32; 3] {
        let [x, y, _] = self.launch.block;
        let thread = warp * LANES as u32 + lane;
        [thread % x, thread / x % y, thread / (x * y)]
    }

    pub(super) fn special(&self, special: Special, block: [u32; 3], warp: u32, lane: u32) -> u32 {
        match special {
            Special::Thread(axis) => self.thread(warp, lane)[axis],
            Special::Threads(axis) => self.launch.block[axis],
            Special::Block(axis) => block[axis],
            Special::Blocks(axis) => self.launch.grid[axis],
            Special::Lane => lane,
            Special::Warp => warp,
            Special::Warps => self.threads().div_ceil(LANES) as u32,
            Special::LanesEqual => 1 << lane,
            Special::LanesLess => (1 << lane) - 1,
            Special::LanesLessEqual => u32::MAX >> (31 - lane),
            Special::LanesGreater => !(u32::MAX >> (31 - lane)),
            Special::LanesGreaterEqual => !((1 << lane) - 1),
            Special::DynamicShared => self.launch.shared_bytes,
            Special::TotalShared => self.program.shared_bytes + self.launch.shared_bytes,
        }
    }

    /// A fault at an instruction.
    pub(super) fn fault(&self, kind: FaultKind, instruction: usize, place: Option<Place>) -> Box<Fault> {
        let program = self.program;
        let line = program.instructions[instruction].line;
        let text = source_line(program, line);
        Box::new(Fault { kind, kernel: program.name.clone(), file: program.file.clone(), line, text, place })
    }
}

/// A line of a program's text, without blanks around it.
fn source_line(program: &Program, line: u32) -> String {
    program.lines.get(line as usize - 1).map_or("", |line| line.trim()).to_owned()
}
