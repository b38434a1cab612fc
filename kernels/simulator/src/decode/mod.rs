//! Decoding: registers to slots, opcodes to [`Operation`]s, labels to instructions.

mod arithmetic;
mod control;
mod convert;
mod memory;
mod opcode;
mod operand;

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Error;
use crate::flow::Flow;
use crate::parse::align_up;
use crate::parse::syntax::{self, Entry, Operand, Space, Text, Type, Variable};
use crate::program::{Class, Condition, Instruction, Layout, Operation, Program, Slot, Special};
use opcode::Opcode;

/// Why an instruction cannot be decoded.
#[derive(Debug)]
enum Problem {
    Operand { expected: String, found: String },
    Unknown(String),
}

type Result<T> = std::result::Result<T, Problem>;

/// The general-purpose registers that an instruction reads and writes: words, then longs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) guarded: bool,
    read: Vec<(bool, Slot)>,
    written: Vec<(bool, Slot)>,
}

impl Access {
    /// Registers read, the longs numbered after `words` words.
    pub(crate) fn reads(&self, words: usize) -> impl Iterator<Item = usize> + '_ {
        self.read.iter().map(move |&(long, slot)| usize::from(slot) + if long { words } else { 0 })
    }

    /// Registers written, the longs numbered after `words` words.
    pub(crate) fn writes(&self, words: usize) -> impl Iterator<Item = usize> + '_ {
        self.written.iter().map(move |&(long, slot)| usize::from(slot) + if long { words } else { 0 })
    }
}

/// The file of a register and its slot there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Half(Slot),
    Word(Slot),
    Long(Slot),
    Predicate(Slot),
}

struct Decoder<'a> {
    entry: &'a Entry,
    variables: HashMap<&'a str, &'a Variable>,
    labels: HashMap<&'a str, usize>,
    places: Vec<Place>,
    /// Registers declared of the two general-purpose files; literals and special registers follow them.
    declared: [usize; 2],
    used: [usize; 2],
    layout: Layout,
    words: HashMap<u32, Slot>,
    longs: HashMap<u64, Slot>,
    specials: Vec<(Special, Slot)>,
    /// The operands of the instruction at hand.
    operands: &'a [Operand],
    access: Access,
}

/// Where a kernel comes from.
pub(crate) struct Source<'a> {
    pub(crate) file: Arc<str>,
    pub(crate) lines: Arc<[String]>,
    pub(crate) constants: Arc<[u8]>,
    pub(crate) text: &'a Text,
}

/// Decodes one kernel of a text.
pub(crate) fn decode(source: &Source<'_>, entry: &Entry) -> std::result::Result<Program, Error> {
    let mut decoder = Decoder::new(source, entry)?;
    let mut instructions = Vec::with_capacity(entry.instructions.len());
    let mut accesses = Vec::with_capacity(entry.instructions.len());
    for instruction in &entry.instructions {
        decoder.operands = &instruction.operands;
        decoder.access = Access::default();
        let decoded = decoder.instruction(instruction).map_err(|problem| error(source, instruction, problem))?;
        instructions.push(decoded);
        accesses.push(std::mem::take(&mut decoder.access));
    }
    if !instructions.last().is_some_and(|last| last.guard.is_none() && is_end(&last.operation)) {
        let line = entry.instructions.last().map_or(entry.line, |last| last.line);
        return Err(syntax_error(source, line, "`ret` or a branch at the end of the kernel", "`}`"));
    }
    let flow = flow(&instructions);
    let meetings = flow.reconvergence();
    for (instruction, meeting) in instructions.iter_mut().zip(meetings) {
        if let Operation::Branch { reconverge, .. } = &mut instruction.operation {
            *reconverge = meeting;
        }
    }
    let registers = flow.register_pressure(&accesses, decoder.declared);
    let shared = || decoder.variables.values().filter(|v| v.space == Space::Shared);
    let end = shared().filter(|v| !v.dynamic).map(|v| v.offset + v.bytes).max().unwrap_or(0);
    let align = shared().filter(|v| v.dynamic).map(|v| v.align).max().unwrap_or(1);
    let local = entry.variables.iter().filter(|v| v.space == Space::Local).map(|v| v.offset + v.bytes);
    Ok(Program {
        name: entry.name.clone(),
        file: source.file.clone(),
        lines: source.lines.clone(),
        line: entry.line,
        parameters: entry.parameters.clone(),
        constants: source.constants.clone(),
        shared_bytes: align_up(end, align),
        local_bytes: local.max().unwrap_or(0),
        ordered: instructions.iter().any(|i| is_global_atomic(&i.operation)),
        granule: instructions.iter().filter_map(|i| shared_width(&i.operation)).min().unwrap_or(4).clamp(1, 4),
        instructions,
        layout: decoder.layout,
        registers,
        required_threads: entry.required_threads,
        maximal_threads: entry.maximal_threads,
    })
}

fn syntax_error(source: &Source<'_>, line: u32, expected: &str, found: &str) -> Error {
    Error::Syntax { file: source.file.to_string(), line, expected: expected.to_owned(), found: found.to_owned() }
}

fn error(source: &Source<'_>, instruction: &syntax::Instruction, problem: Problem) -> Error {
    match problem {
        Problem::Operand { expected, found } => syntax_error(source, instruction.line, &expected, &found),
        Problem::Unknown(reason) => Error::UnknownInstruction {
            file: source.file.to_string(),
            line: instruction.line,
            instruction: instruction.opcode.clone(),
            reason,
        },
    }
}

fn is_end(operation: &Operation) -> bool {
    matches!(operation, Operation::Exit | Operation::Branch { .. })
}

fn is_global_atomic(operation: &Operation) -> bool {
    matches!(operation, Operation::Atomic { address, .. } if address.space != Space::Shared)
}

/// Bytes of one element of an access to shared memory.
fn shared_width(operation: &Operation) -> Option<u32> {
    match operation {
        Operation::Load { address, bytes, .. } | Operation::Store { address, bytes, .. } => {
            matches!(address.space, Space::Shared | Space::Generic).then_some(u32::from(*bytes))
        }
        _ => None,
    }
}

fn flow(instructions: &[Instruction]) -> Flow {
    let always = |i: &Instruction| i.guard.is_none() && is_end(&i.operation);
    Flow {
        falls_through: instructions.iter().map(|i| !always(i)).collect(),
        targets: instructions
            .iter()
            .map(|i| match i.operation {
                Operation::Branch { target, .. } => Some(target),
                _ => None,
            })
            .collect(),
        exits: instructions.iter().map(|i| matches!(i.operation, Operation::Exit)).collect(),
    }
}

impl<'a> Decoder<'a> {
    fn new(source: &Source<'a>, entry: &'a Entry) -> std::result::Result<Self, Error> {
        let mut layout = Layout::default();
        let names = &mut layout.names;
        let mut places = Vec::with_capacity(entry.registers.len());
        for register in &entry.registers {
            let (file, place): (_, fn(Slot) -> Place) = match register.ty {
                Type::Predicate => (&mut names.predicates, Place::Predicate),
                ty if ty.bytes() == 8 => (&mut names.longs, Place::Long),
                ty if ty.bytes() == 4 => (&mut names.words, Place::Word),
                _ => (&mut names.words, Place::Half),
            };
            let Ok(slot) = Slot::try_from(file.len()) else {
                return Err(syntax_error(source, entry.line, "at most 65536 registers", "more"));
            };
            file.push(register.name.clone());
            places.push(place(slot));
        }
        let declared = [layout.names.words.len(), layout.names.longs.len()];
        let all = source.text.variables.iter().chain(&entry.variables).chain(&entry.parameters);
        Ok(Self {
            entry,
            variables: all.map(|v| (v.name.as_str(), v)).collect(),
            labels: entry.labels.iter().map(|(name, index)| (name.as_str(), *index)).collect(),
            places,
            declared,
            used: declared,
            layout,
            words: HashMap::new(),
            longs: HashMap::new(),
            specials: Vec::new(),
            operands: &[],
            access: Access::default(),
        })
    }

    fn instruction(&mut self, instruction: &syntax::Instruction) -> Result<Instruction> {
        let guard = match instruction.guard {
            Some((register, negated)) => Some(Condition { slot: self.predicate_register(register)?, negated }),
            None => None,
        };
        let mut opcode = Opcode::new(&instruction.opcode);
        let operation = self.operation(&mut opcode)?;
        opcode.finish()?;
        self.access.guarded = guard.is_some();
        let class = Class::of(&operation);
        Ok(Instruction { line: instruction.line, guard, class, flops: operation.flops(), operation })
    }

    fn operation(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        match opcode.name() {
            "mov" => self.mov(opcode),
            "ld" | "ldu" => self.load(opcode),
            "st" => self.store(opcode),
            "atom" | "red" => self.atomic(opcode),
            "cp" => self.copy(opcode),
            "ldmatrix" => self.load_matrix(opcode),
            "cvta" => self.convert_address(opcode),
            "cvt" => self.convert(opcode),
            "mma" => self.mma(opcode),
            "shfl" => self.shuffle(opcode),
            "vote" => self.vote(opcode),
            "redux" => self.reduce(opcode),
            "activemask" => self.active_mask(opcode),
            "bar" | "barrier" => self.barrier(opcode),
            "membar" | "fence" => self.fence(opcode),
            "bra" => self.branch(opcode),
            "ret" | "exit" => {
                opcode.take("uni");
                self.count(0, 0)?;
                Ok(Operation::Exit)
            }
            _ => self.arithmetic(opcode),
        }
    }
}
