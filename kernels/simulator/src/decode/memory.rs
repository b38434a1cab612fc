//! Loads, stores, atomics, asynchronous copies and addresses.

use super::opcode::Opcode;
use super::{Decoder, Problem, Result};
use crate::parse::syntax::{Literal, Operand, Space, Type};
use crate::program::{AtomicOp, Operation};

fn unknown<T>(reason: &str) -> Result<T> {
    Err(Problem::Unknown(reason.to_owned()))
}

/// The types and the vector length of a load or store.
fn element(opcode: &mut Opcode<'_>) -> Result<(Type, usize)> {
    let ty = opcode.ty()?;
    if matches!(ty, Type::Predicate | Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::Tf32) {
        return unknown("memory is accessed as .b, .u, .s, .f32 or .f64");
    }
    let length = opcode.choose(&[("v2", 2), ("v4", 4)]).unwrap_or(1);
    if ty.bytes() as usize * length > 16 {
        return unknown("an access has at most 16 bytes");
    }
    Ok((ty, length))
}

impl Decoder<'_> {
    pub(super) fn load(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let (ty, length) = element(opcode)?;
        let space = opcode.space();
        opcode.skip_caching();
        self.count(2, 2)?;
        let address = self.address(1, space)?;
        let parts = self.vector(0, length)?;
        let values = parts.iter().map(|part| self.loaded(part, ty)).collect::<Result<_>>()?;
        Ok(Operation::Load { address, bytes: ty.bytes() as u8, signed: ty.is_signed(), values })
    }

    pub(super) fn store(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let (ty, length) = element(opcode)?;
        let space = opcode.space();
        if matches!(space, Space::Constant | Space::Parameter) {
            return unknown("const and param memory are read only");
        }
        opcode.skip_caching();
        self.count(2, 2)?;
        let address = self.address(0, space)?;
        let parts = self.vector(1, length)?;
        let values = parts.iter().map(|part| self.stored(part, ty)).collect::<Result<_>>()?;
        Ok(Operation::Store { address, bytes: ty.bytes() as u8, values })
    }

    /// `atom.global.add.f32 d, [a], b{, c}` and `red`, which has no result.
    pub(super) fn atomic(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        let space = opcode.space();
        opcode.skip_caching();
        let ops = [
            ("add", AtomicOp::Add),
            ("min", AtomicOp::Min),
            ("max", AtomicOp::Max),
            ("inc", AtomicOp::Increment),
            ("dec", AtomicOp::Decrement),
            ("exch", AtomicOp::Exchange),
            ("cas", AtomicOp::CompareAndSwap),
            ("and", AtomicOp::And),
            ("or", AtomicOp::Or),
            ("xor", AtomicOp::Xor),
        ];
        let op = opcode.require(&ops)?;
        check_atomic(op, ty)?;
        let returns = opcode.name() == "atom";
        if !returns && matches!(op, AtomicOp::Exchange | AtomicOp::CompareAndSwap) {
            return unknown("`red` has no exchange");
        }
        if !matches!(space, Space::Global | Space::Shared | Space::Generic) {
            return unknown("atomics are in global or shared memory");
        }
        let first = usize::from(returns);
        let count = first + if op == AtomicOp::CompareAndSwap { 3 } else { 2 };
        self.count(count, count)?;
        let d = match self.operands[0] {
            Operand::Sink => None,
            _ if returns => Some(self.result(0, ty)?),
            _ => None,
        };
        let address = self.address(first, space)?;
        let b = self.source(first + 1, ty)?;
        let c = if op == AtomicOp::CompareAndSwap { self.source(first + 2, ty)? } else { b };
        Ok(Operation::Atomic { op, ty, address, d, b, c })
    }

    /// `cp.async` and its groups.
    pub(super) fn copy(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        if !opcode.take("async") || opcode.take("bulk") {
            return unknown("of `cp`, `cp.async` is known");
        }
        if opcode.take("commit_group") {
            self.count(0, 0)?;
            return Ok(Operation::CommitCopies);
        }
        if opcode.take("wait_all") {
            self.count(0, 0)?;
            return Ok(Operation::WaitCopies(None));
        }
        if opcode.take("wait_group") {
            self.count(1, 1)?;
            let groups = self.small_literal(0, "a number of groups")?;
            return Ok(Operation::WaitCopies(Some(groups)));
        }
        let whole_lines = opcode.take("cg");
        if !whole_lines && !opcode.take("ca") {
            return unknown("it needs `.ca` or `.cg`");
        }
        if !opcode.take("shared") && !opcode.take("shared::cta") || !opcode.take("global") {
            return unknown("it copies from global to shared memory: `.shared.global`");
        }
        opcode.skip_caching();
        self.count(3, 4)?;
        let (to, from) = (self.address(0, Space::Shared)?, self.address(1, Space::Global)?);
        let bytes = self.small_literal(2, "4, 8 or 16 bytes")?;
        if !(matches!(bytes, 4 | 8) && !whole_lines || bytes == 16) {
            let expected = if whole_lines { "16 bytes" } else { "4, 8 or 16 bytes" };
            return Err(Problem::Operand { expected: expected.to_owned(), found: bytes.to_string() });
        }
        let mut operation = Operation::CopyAsync { to, from, bytes: bytes as u8, source_bytes: None, ignore: None };
        let Operation::CopyAsync { source_bytes, ignore, .. } = &mut operation else { return Ok(operation) };
        if self.operands.len() == 4 {
            match self.condition(3) {
                Ok(condition) => *ignore = Some(condition),
                Err(_) => *source_bytes = Some(self.source(3, Type::B32)?),
            }
        }
        Ok(operation)
    }

    /// An operand that has to be a small integer literal.
    pub(super) fn small_literal(&self, index: usize, expected: &str) -> Result<u32> {
        match self.operands[index] {
            Operand::Literal(Literal::Integer(value)) if value <= 1 << 20 => Ok(value as u32),
            _ => Err(Problem::Operand { expected: expected.to_owned(), found: "another operand".to_owned() }),
        }
    }

    /// `ldmatrix.sync.aligned.m8n8.x4{.trans}.shared.b16 {...}, [a]`
    pub(super) fn load_matrix(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        let complete = ["sync", "aligned", "m8n8"].into_iter().all(|m| opcode.take(m));
        if !complete || ty != Type::B16 {
            return unknown("it is `ldmatrix.sync.aligned.m8n8.x1/.x2/.x4{.trans}{.shared}.b16`");
        }
        let count = opcode.require(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
        let transposed = opcode.take("trans");
        if !opcode.take("shared") && !opcode.take("shared::cta") {
            return unknown("it needs `.shared`");
        }
        self.count(2, 2)?;
        let parts = self.vector(0, count)?;
        let address = self.address(1, Space::Shared)?;
        let d = parts.iter().map(|part| self.result_of(part, Type::B32)).collect::<Result<_>>()?;
        Ok(Operation::LoadMatrix { address, transposed, d })
    }

    /// `cvta.shared.u64 d, a` and `cvta.to.shared.u64 d, a`
    pub(super) fn convert_address(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        let to_space = opcode.take("to");
        let space = opcode.space();
        if space == Space::Generic || ty != Type::U64 {
            return unknown("it needs a state space and type u64");
        }
        self.count(2, 2)?;
        let (d, a) = (self.result(0, ty)?, self.source(1, ty)?);
        Ok(Operation::ConvertAddress { space, to_space, d, a })
    }
}

/// The types that the PTX ISA gives each atomic operation.
fn check_atomic(op: AtomicOp, ty: Type) -> Result<()> {
    use Type::*;
    let types: &[Type] = match op {
        AtomicOp::Add => &[U32, S32, U64, F32, F64],
        AtomicOp::Min | AtomicOp::Max => &[U32, S32, U64, S64],
        AtomicOp::Increment | AtomicOp::Decrement => &[U32],
        _ => &[B32, B64],
    };
    if types.contains(&ty) { Ok(()) } else { unknown(&format!("type {ty:?} does not go with it")) }
}
