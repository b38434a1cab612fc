//! Branches, barriers, warp exchanges and matrix products.

use super::arithmetic::integer_type;
use super::opcode::Opcode;
use super::{Decoder, Problem, Result};
use crate::parse::syntax::{Operand, Type};
use crate::program::{Factor, IntegerOp, Operation, ShuffleMode, Slot, VoteMode};

fn unknown<T>(reason: &str) -> Result<T> {
    Err(Problem::Unknown(reason.to_owned()))
}

impl Decoder<'_> {
    pub(super) fn branch(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        opcode.take("uni");
        self.count(1, 1)?;
        Ok(Operation::Branch { target: self.label(0)?, reconverge: usize::MAX })
    }

    /// `bar.sync a{, b}`, `bar.arrive a, b`, `bar.warp.sync m` and the same as `barrier`.
    pub(super) fn barrier(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        if opcode.take("warp") {
            if !opcode.take("sync") {
                return unknown("it needs `.sync`");
            }
            self.count(1, 1)?;
            return Ok(Operation::WarpBarrier { members: self.source(0, Type::B32)? });
        }
        opcode.take("cta");
        let arrive = opcode.require(&[("sync", false), ("arrive", true)])?;
        opcode.take("aligned");
        self.count(if arrive { 2 } else { 1 }, 2)?;
        let name = self.source(0, Type::B32)?;
        let threads = if self.operands.len() == 2 { Some(self.source(1, Type::B32)?) } else { None };
        Ok(Operation::Barrier { name, threads, arrive })
    }

    pub(super) fn fence(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        opcode.take("sc");
        opcode.take("gl");
        opcode.skip_caching();
        self.count(0, 0)?;
        Ok(Operation::Fence)
    }

    fn sync(&self, opcode: &mut Opcode<'_>) -> Result<()> {
        if opcode.take("sync") { Ok(()) } else { unknown("it needs `.sync`") }
    }

    /// `shfl.sync.bfly.b32 d{|p}, a, b, c, members`
    pub(super) fn shuffle(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        self.only_words(opcode)?;
        self.sync(opcode)?;
        let modes = [
            ("up", ShuffleMode::Up),
            ("down", ShuffleMode::Down),
            ("bfly", ShuffleMode::Butterfly),
            ("idx", ShuffleMode::Index),
        ];
        let mode = opcode.require(&modes)?;
        self.count(5, 5)?;
        let (d, p) = match self.operands[0] {
            Operand::Pair(d, p) => {
                (self.result_of(&Operand::Register(d), Type::B32)?, Some(self.predicate_register(p)?))
            }
            _ => (self.result(0, Type::B32)?, None),
        };
        let a = self.source(1, Type::B32)?;
        let (b, c) = (self.source(2, Type::B32)?, self.source(3, Type::B32)?);
        Ok(Operation::Shuffle { mode, d, p, a, b, c, members: self.source(4, Type::B32)? })
    }

    /// `vote.sync.ballot.b32 d, {!}a, members` and `vote.sync.any.pred p, {!}a, members`
    pub(super) fn vote(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        self.sync(opcode)?;
        let modes =
            [("all", VoteMode::All), ("any", VoteMode::Any), ("uni", VoteMode::Uniform), ("ballot", VoteMode::Ballot)];
        let mode = opcode.require(&modes)?;
        self.count(3, 3)?;
        let d = match (mode, ty) {
            (VoteMode::Ballot, Type::B32) => self.result(0, Type::B32)?,
            (VoteMode::Ballot, _) | (_, Type::B32) => return unknown("`.ballot` has type b32, the others have pred"),
            _ => self.predicate(0)?,
        };
        Ok(Operation::Vote { mode, d, a: self.condition(1)?, members: self.source(2, Type::B32)? })
    }

    /// `redux.sync.add.s32 d, a, members`
    pub(super) fn reduce(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        self.sync(opcode)?;
        let ops = [
            ("add", IntegerOp::Add),
            ("min", IntegerOp::Min),
            ("max", IntegerOp::Max),
            ("and", IntegerOp::And),
            ("or", IntegerOp::Or),
            ("xor", IntegerOp::Xor),
        ];
        let op = opcode.require(&ops)?;
        let bitwise = matches!(op, IntegerOp::And | IntegerOp::Or | IntegerOp::Xor);
        if ty.bytes() != 4 || ty.is_float() || bitwise != ty.is_bits() {
            return unknown("its operation and type do not go together");
        }
        self.count(3, 3)?;
        let (d, a) = (self.result(0, ty)?, self.source(1, ty)?);
        Ok(Operation::Reduce { op, ty: integer_type(ty)?, d, a, members: self.source(2, Type::B32)? })
    }

    pub(super) fn active_mask(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        self.only_words(opcode)?;
        self.count(1, 1)?;
        Ok(Operation::ActiveMask { d: self.result(0, Type::B32)? })
    }

    /// `mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 d, a, b, c`
    pub(super) fn mma(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let types = opcode.types();
        if !["sync", "aligned", "row", "col"].into_iter().all(|m| opcode.take(m)) {
            return unknown("it is `mma.sync.aligned` with `.row.col`");
        }
        let [Type::F32, first, second, Type::F32] = types[..] else { return unknown("it accumulates in f32") };
        let factor = match (first, second) {
            (Type::Tf32, Type::Tf32) => Factor::Tf32,
            (Type::F16, Type::F16) => Factor::F16,
            (Type::Bf16, Type::Bf16) => Factor::Bf16,
            _ => return unknown("its factors are tf32, f16 or bf16, both alike"),
        };
        let shapes = match factor {
            Factor::Tf32 => [("m16n8k4", 1), ("m16n8k8", 2)],
            Factor::F16 | Factor::Bf16 => [("m16n8k8", 1), ("m16n8k16", 2)],
        };
        let steps = opcode.require(&shapes)?;
        self.count(4, 4)?;
        let d = self.slots(0, 4, Type::F32, true)?;
        let a = self.slots(1, 2 * steps, Type::B32, false)?;
        let b = self.slots(2, steps, Type::B32, false)?;
        let c = self.slots(3, 4, Type::F32, false)?;
        let four = |slots: Vec<Slot>| <[Slot; 4]>::try_from(slots).map_err(|_| Problem::Unknown("four of them".into()));
        Ok(Operation::Mma { factor, d: four(d)?, a, b, c: four(c)? })
    }

    /// The registers of a matrix; it takes no literals.
    fn slots(&mut self, index: usize, length: usize, ty: Type, write: bool) -> Result<Vec<Slot>> {
        let parts = self.vector(index, length)?;
        let slot = |part: &Operand| {
            self.place(part)?;
            if write { self.result_of(part, ty) } else { self.source_of(part, ty) }
        };
        parts.iter().map(slot).collect()
    }
}
