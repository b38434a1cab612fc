//! Arithmetic, comparison, selection and bit instructions.

use super::opcode::Opcode;
use super::{Decoder, Place, Problem, Result};
use crate::parse::syntax::{Literal, Operand, Type};
use crate::program::{BitOp, Comparison, FloatOp, IntegerOp, IntegerType, Logic, Operation, PermuteMode, Slot, Value};

fn unknown<T>(reason: String) -> Result<T> {
    Err(Problem::Unknown(reason))
}

/// The integer type of arithmetic on a type; bare sizes are unsigned.
pub(super) fn integer_type(ty: Type) -> Result<IntegerType> {
    Ok(match ty {
        Type::U16 | Type::B16 => IntegerType::U16,
        Type::S16 => IntegerType::S16,
        Type::U32 | Type::B32 => IntegerType::U32,
        Type::S32 => IntegerType::S32,
        Type::U64 | Type::B64 => IntegerType::U64,
        Type::S64 => IntegerType::S64,
        _ => return unknown(format!("type {ty:?} does not go with it")),
    })
}

fn double(ty: Type) -> Result<Type> {
    Ok(match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return unknown(format!("type {ty:?} cannot be widened")),
    })
}

impl Decoder<'_> {
    pub(super) fn arithmetic(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        match opcode.name() {
            "setp" => self.compare(opcode),
            "selp" => self.select(opcode),
            "slct" => self.select_by_sign(opcode),
            "shl" | "shr" => self.shift(opcode),
            "popc" | "clz" | "bfind" | "brev" | "bfe" | "bfi" => self.bits(opcode),
            "prmt" => self.permute(opcode),
            "lop3" => self.logic3(opcode),
            "shf" => self.funnel_shift(opcode),
            name => {
                let Some(operation) = known(name) else { return unknown(format!("`{name}` is not known")) };
                let types = opcode.types();
                let [ty] = types[..] else { return unknown("it takes one type".to_owned()) };
                match ty {
                    Type::Predicate => self.predicate_logic(name),
                    Type::F32 | Type::F64 => self.float(opcode, operation, ty),
                    _ => self.integer(opcode, operation, ty),
                }
            }
        }
    }

    fn float(&mut self, opcode: &mut Opcode<'_>, names: Known, ty: Type) -> Result<Operation> {
        let Some((mut op, sources)) = names.float else { return unknown(format!("type {ty:?} does not go with it")) };
        let flush = opcode.take("ftz");
        let saturate = opcode.take("sat");
        if opcode.take("NaN") {
            op = match op {
                FloatOp::Min => FloatOp::MinNan,
                FloatOp::Max => FloatOp::MaxNan,
                _ => return unknown("`.NaN` goes with min and max".to_owned()),
            };
        }
        self.precision(opcode, op, ty)?;
        self.count(sources + 1, sources + 1)?;
        let double = ty == Type::F64;
        if double && (flush || saturate) {
            return unknown("`.ftz` and `.sat` go with f32".to_owned());
        }
        let d = self.result(0, ty)?;
        let a = self.source(1, ty)?;
        let b = if sources > 1 { self.source(2, ty)? } else { a };
        let c = if sources > 2 { self.source(3, ty)? } else { a };
        Ok(Operation::Float { op, double, flush, saturate, d, a, b, c })
    }

    /// Takes `.rn`, `.approx` and `.full`, and asks for one of them where the instruction needs one.
    fn precision(&self, opcode: &mut Opcode<'_>, op: FloatOp, ty: Type) -> Result<()> {
        let nearest = opcode.take("rn");
        let approximate = opcode.take("approx") || (op == FloatOp::Div && opcode.take("full"));
        let (allows_nearest, allows_approximate, needed) = match op {
            FloatOp::Add | FloatOp::Sub | FloatOp::Mul => (true, false, false),
            FloatOp::Fma => (true, false, true),
            FloatOp::Div | FloatOp::Sqrt | FloatOp::Rcp => (true, ty == Type::F32, true),
            FloatOp::Rsqrt => (false, true, true),
            FloatOp::Exp2 | FloatOp::Log2 | FloatOp::Sin | FloatOp::Cos | FloatOp::Tanh => {
                (false, ty == Type::F32, true)
            }
            _ => (false, false, false),
        };
        if nearest && !allows_nearest || approximate && !allows_approximate {
            return unknown("its rounding does not go with the instruction".to_owned());
        }
        if needed && !nearest && !approximate {
            return unknown("it needs one of `.rn`, `.approx` or `.full`, as the instruction allows".to_owned());
        }
        Ok(())
    }

    fn integer(&mut self, opcode: &mut Opcode<'_>, names: Known, ty: Type) -> Result<Operation> {
        let Some((mut op, sources)) = names.integer else {
            return unknown(format!("type {ty:?} does not go with it"));
        };
        let kind = integer_type(ty)?;
        let logic =
            matches!(op, IntegerOp::And | IntegerOp::Or | IntegerOp::Xor | IntegerOp::Not | IntegerOp::LogicalNot);
        if logic != ty.is_bits() {
            return unknown(format!("type {ty:?} does not go with it"));
        }
        if matches!(op, IntegerOp::Abs | IntegerOp::Neg) && !ty.is_signed() {
            return unknown("it takes a signed type".to_owned());
        }
        self.count(sources + 1, sources + 1)?;
        if matches!(op, IntegerOp::MulLow | IntegerOp::MadLow) {
            match opcode.require(&[("lo", 0), ("hi", 1), ("wide", 2)])? {
                0 => {}
                1 => op = if op == IntegerOp::MulLow { IntegerOp::MulHigh } else { IntegerOp::MadHigh },
                _ => return self.wide(kind, ty, sources),
            }
        }
        if matches!(op, IntegerOp::Add | IntegerOp::Sub) && opcode.take("sat") {
            if ty != Type::S32 {
                return unknown("`.sat` goes with s32".to_owned());
            }
            op = if op == IntegerOp::Add { IntegerOp::AddSaturating } else { IntegerOp::SubSaturating };
        }
        let d = self.result(0, ty)?;
        let a = self.source(1, ty)?;
        let b = if sources > 1 { self.source(2, ty)? } else { a };
        let c = if sources > 2 { self.source(3, ty)? } else { a };
        Ok(Operation::Integer { op, ty: kind, d, a, b, c })
    }

    fn wide(&mut self, kind: IntegerType, ty: Type, sources: usize) -> Result<Operation> {
        let wide = double(ty)?;
        let d = self.result(0, wide)?;
        let (a, b) = (self.source(1, ty)?, self.source(2, ty)?);
        let c = if sources > 2 { Some(self.source(3, wide)?) } else { None };
        Ok(Operation::Wide { ty: kind, d, a, b, c })
    }

    fn shift(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        let left = opcode.name() == "shl";
        if left && !ty.is_bits() {
            return unknown("`shl` takes a `.b` type".to_owned());
        }
        self.count(3, 3)?;
        let (d, a) = (self.result(0, ty)?, self.source(1, ty)?);
        Ok(Operation::Shift { left, ty: integer_type(ty)?, d, a, amount: self.source(2, Type::B32)? })
    }

    /// `setp.lt{.and}{.ftz}.f32 p|q, a, b{, c}`
    fn compare(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        let flush = opcode.take("ftz");
        let logic = opcode.choose(&LOGIC);
        let integer = !ty.is_float();
        let test = opcode.require(&COMPARISONS)?;
        let unsigned_name = test.1 == Kind::Unsigned;
        if integer && test.1 == Kind::Float || !integer && unsigned_name || unsigned_name && ty.is_signed() {
            return unknown(format!("the comparison does not go with type {ty:?}"));
        }
        if integer {
            integer_type(ty)?;
        } else if !matches!(ty, Type::F32 | Type::F64) {
            return unknown(format!("type {ty:?} does not go with it"));
        }
        let operands = if logic.is_some() { 4 } else { 3 };
        self.count(operands, operands)?;
        let (p, q) = match &self.operands[0] {
            Operand::Pair(p, q) => (Some(self.predicate_register(*p)?), Some(self.predicate_register(*q)?)),
            Operand::Sink => (None, None),
            _ => (Some(self.predicate(0)?), None),
        };
        let (a, b) = (self.source(1, ty)?, self.source(2, ty)?);
        let with = match logic {
            Some(logic) => Some((logic, self.condition(3)?)),
            None => None,
        };
        Ok(Operation::Compare { test: test.0, ty, flush, with, p, q, a, b })
    }

    fn select(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        self.count(4, 4)?;
        let d = self.result(0, ty)?;
        let (a, b) = (self.source(1, ty)?, self.source(2, ty)?);
        Ok(Operation::Select { long: ty.bytes() == 8, d, a, b, p: self.predicate(3)? })
    }

    fn select_by_sign(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let flush = opcode.take("ftz");
        let types = opcode.types();
        let [ty, sign @ (Type::S32 | Type::F32)] = types[..] else {
            return unknown("it takes two types, the second s32 or f32".to_owned());
        };
        self.count(4, 4)?;
        let d = self.result(0, ty)?;
        let (a, b) = (self.source(1, ty)?, self.source(2, ty)?);
        let c = self.source(3, sign)?;
        Ok(Operation::SelectBySign { long: ty.bytes() == 8, float: sign == Type::F32, flush, d, a, b, c })
    }

    fn predicate_logic(&mut self, name: &str) -> Result<Operation> {
        let (op, invert) = match name {
            "and" => (Logic::And, false),
            "or" => (Logic::Or, false),
            "xor" => (Logic::Xor, false),
            "not" => (Logic::And, true),
            _ => return unknown("it does not go with predicates".to_owned()),
        };
        let sources = if invert { 1 } else { 2 };
        self.count(sources + 1, sources + 1)?;
        let a = self.condition(1)?;
        let b = if invert { a } else { self.condition(2)? };
        Ok(Operation::PredicateLogic { op, invert, d: self.predicate(0)?, a, b })
    }

    /// `mov.pred p, q`
    pub(super) fn move_predicate(&mut self) -> Result<Operation> {
        let a = self.condition(1)?;
        Ok(Operation::PredicateLogic { op: Logic::And, invert: false, d: self.predicate(0)?, a, b: a })
    }

    fn bits(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        if ty.bytes() < 4 || ty.is_float() {
            return unknown(format!("type {ty:?} does not go with it"));
        }
        let long = ty.bytes() == 8;
        let name = opcode.name();
        match name {
            "brev" => {
                self.count(2, 2)?;
                Ok(Operation::Reverse { long, d: self.result(0, ty)?, a: self.source(1, ty)? })
            }
            "bfe" => {
                self.count(4, 4)?;
                let (d, a) = (self.result(0, ty)?, self.source(1, ty)?);
                let (position, length) = (self.source(2, Type::B32)?, self.source(3, Type::B32)?);
                Ok(Operation::ExtractField { ty: integer_type(ty)?, d, a, position, length })
            }
            "bfi" => {
                self.count(5, 5)?;
                let d = self.result(0, ty)?;
                let (a, b) = (self.source(1, ty)?, self.source(2, ty)?);
                let (position, length) = (self.source(3, Type::B32)?, self.source(4, Type::B32)?);
                Ok(Operation::InsertField { long, d, a, b, position, length })
            }
            _ => {
                self.count(2, 2)?;
                let op = match name {
                    "popc" => BitOp::Count,
                    "clz" => BitOp::LeadingZeros,
                    _ => BitOp::Find { signed: ty.is_signed(), shift_amount: opcode.take("shiftamt") },
                };
                Ok(Operation::Bits { op, long, d: self.result(0, Type::B32)?, a: self.source(1, ty)? })
            }
        }
    }

    fn words(&mut self) -> Result<(Slot, [Slot; 3])> {
        let d = self.result(0, Type::B32)?;
        Ok((d, [self.source(1, Type::B32)?, self.source(2, Type::B32)?, self.source(3, Type::B32)?]))
    }

    fn permute(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let modes = [
            ("f4e", PermuteMode::Forward4),
            ("b4e", PermuteMode::Backward4),
            ("rc8", PermuteMode::Replicate8),
            ("ecl", PermuteMode::EdgeLeft),
            ("ecr", PermuteMode::EdgeRight),
            ("rc16", PermuteMode::Replicate16),
        ];
        let mode = opcode.choose(&modes).unwrap_or(PermuteMode::Index);
        self.only_words(opcode)?;
        self.count(4, 4)?;
        let (d, [a, b, c]) = self.words()?;
        Ok(Operation::Permute { mode, d, a, b, c })
    }

    fn logic3(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        self.only_words(opcode)?;
        self.count(5, 5)?;
        let table = match self.operands[4] {
            Operand::Literal(Literal::Integer(table @ 0..=255)) => table as u8,
            _ => {
                return Err(Problem::Operand {
                    expected: "a table of 0 to 255".into(),
                    found: "another operand".into(),
                });
            }
        };
        let (d, [a, b, c]) = self.words()?;
        Ok(Operation::Logic3 { table, d, a, b, c })
    }

    fn funnel_shift(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        self.only_words(opcode)?;
        let left = opcode.require(&[("l", true), ("r", false)])?;
        let wrap = opcode.require(&[("wrap", true), ("clamp", false)])?;
        self.count(4, 4)?;
        let (d, [a, b, c]) = self.words()?;
        Ok(Operation::FunnelShift { left, wrap, d, a, b, c })
    }

    pub(super) fn only_words(&self, opcode: &mut Opcode<'_>) -> Result<()> {
        match opcode.ty()? {
            Type::B32 => Ok(()),
            ty => unknown(format!("it takes b32, not {ty:?}")),
        }
    }

    /// `mov`: registers, predicates, special registers, addresses of variables, and vectors.
    pub(super) fn mov(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let ty = opcode.ty()?;
        self.count(2, 2)?;
        if ty == Type::Predicate {
            return self.move_predicate();
        }
        if ty.bytes() < 2 || matches!(ty, Type::F16x2 | Type::Bf16x2 | Type::Tf32) {
            return unknown(format!("type {ty:?} does not go with it"));
        }
        let operands = self.operands;
        match (&operands[0], &operands[1]) {
            (Operand::Vector(parts), whole) => {
                self.halves_or_words(parts, ty)?;
                let from = self.stored(whole, ty)?;
                let parts = parts.iter().map(|part| self.part(part, true)).collect::<Result<_>>()?;
                Ok(Operation::Split { from, parts })
            }
            (whole, Operand::Vector(parts)) => {
                self.halves_or_words(parts, ty)?;
                let parts = parts.iter().map(|part| self.part(part, false)).collect::<Result<_>>()?;
                Ok(Operation::Join { to: self.loaded(whole, ty)?, parts })
            }
            _ => {
                let a = self.moved(1, ty)?;
                Ok(Operation::Move { long: ty.bytes() == 8, d: self.result(0, ty)?, a })
            }
        }
    }

    fn part(&mut self, part: &Operand, write: bool) -> Result<Value> {
        let ty = match self.place(part) {
            Ok(Place::Half(_)) => Type::B16,
            Ok(Place::Word(_)) => Type::B32,
            Ok(place) => return super::operand::value_of(place),
            Err(problem) => return if *part == Operand::Sink { Ok(Value::Nothing) } else { Err(problem) },
        };
        if write { self.loaded(part, ty) } else { self.stored(part, ty) }
    }

    /// Checks that the parts add up to the whole.
    fn halves_or_words(&self, parts: &[Operand], ty: Type) -> Result<()> {
        let mut bytes = 0;
        for part in parts.iter().filter(|part| **part != Operand::Sink) {
            bytes = match self.place(part)? {
                Place::Half(_) => 2,
                Place::Word(_) => 4,
                _ => 0,
            };
            if bytes * parts.len() as u32 != ty.bytes() {
                break;
            }
        }
        if bytes * parts.len() as u32 == ty.bytes() {
            return Ok(());
        }
        let expected = format!("registers that make up a {ty:?}");
        Err(Problem::Operand { expected, found: format!("a vector of {} of {bytes} bytes", parts.len()) })
    }
}

/// What an opcode's name stands for: the operation and its number of sources, by kind of type.
#[derive(Clone, Copy)]
struct Known {
    integer: Option<(IntegerOp, usize)>,
    float: Option<(FloatOp, usize)>,
}

fn known(name: &str) -> Option<Known> {
    use {FloatOp as F, IntegerOp as I};
    let both = |integer, float, sources| Known { integer: Some((integer, sources)), float: Some((float, sources)) };
    let integer = |op, sources| Known { integer: Some((op, sources)), float: None };
    let float = |op, sources| Known { integer: None, float: Some((op, sources)) };
    Some(match name {
        "add" => both(I::Add, F::Add, 2),
        "sub" => both(I::Sub, F::Sub, 2),
        "mul" => both(I::MulLow, F::Mul, 2),
        "mad" => both(I::MadLow, F::Fma, 3),
        "div" => both(I::Div, F::Div, 2),
        "min" => both(I::Min, F::Min, 2),
        "max" => both(I::Max, F::Max, 2),
        "abs" => both(I::Abs, F::Abs, 1),
        "neg" => both(I::Neg, F::Neg, 1),
        "rem" => integer(I::Rem, 2),
        "sad" => integer(I::AbsoluteDifference, 3),
        "and" => integer(I::And, 2),
        "or" => integer(I::Or, 2),
        "xor" => integer(I::Xor, 2),
        "not" => integer(I::Not, 1),
        "cnot" => integer(I::LogicalNot, 1),
        "fma" => float(F::Fma, 3),
        "copysign" => float(F::Copysign, 2),
        "sqrt" => float(F::Sqrt, 1),
        "rcp" => float(F::Rcp, 1),
        "rsqrt" => float(F::Rsqrt, 1),
        "ex2" => float(F::Exp2, 1),
        "lg2" => float(F::Log2, 1),
        "sin" => float(F::Sin, 1),
        "cos" => float(F::Cos, 1),
        "tanh" => float(F::Tanh, 1),
        _ => return None,
    })
}

const LOGIC: [(&str, Logic); 3] = [("and", Logic::And), ("or", Logic::Or), ("xor", Logic::Xor)];

/// Which types a comparison's name goes with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Unsigned,
    Float,
}

const fn test(less: bool, equal: bool, greater: bool, unordered: bool) -> Comparison {
    Comparison { less, equal, greater, unordered }
}

const COMPARISONS: [(&str, (Comparison, Kind)); 18] = [
    ("eq", (test(false, true, false, false), Kind::Any)),
    ("ne", (test(true, false, true, false), Kind::Any)),
    ("lt", (test(true, false, false, false), Kind::Any)),
    ("le", (test(true, true, false, false), Kind::Any)),
    ("gt", (test(false, false, true, false), Kind::Any)),
    ("ge", (test(false, true, true, false), Kind::Any)),
    ("lo", (test(true, false, false, false), Kind::Unsigned)),
    ("ls", (test(true, true, false, false), Kind::Unsigned)),
    ("hi", (test(false, false, true, false), Kind::Unsigned)),
    ("hs", (test(false, true, true, false), Kind::Unsigned)),
    ("equ", (test(false, true, false, true), Kind::Float)),
    ("neu", (test(true, false, true, true), Kind::Float)),
    ("ltu", (test(true, false, false, true), Kind::Float)),
    ("leu", (test(true, true, false, true), Kind::Float)),
    ("gtu", (test(false, false, true, true), Kind::Float)),
    ("geu", (test(false, true, true, true), Kind::Float)),
    ("num", (test(true, true, true, false), Kind::Float)),
    ("nan", (test(false, false, false, true), Kind::Float)),
];
