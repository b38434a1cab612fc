//! `cvt`: conversions between types.

use super::opcode::Opcode;
use super::{Decoder, Place, Problem, Result};
use crate::parse::syntax::{Operand, Type};
use crate::program::{Operation, Rounding, Slot};

/// `.rni` rounds to an integral value, `.rn` to a value of the target type.
const ROUNDINGS: [(&str, (Rounding, bool)); 9] = [
    ("rni", (Rounding::Nearest, true)),
    ("rzi", (Rounding::Zero, true)),
    ("rmi", (Rounding::Down, true)),
    ("rpi", (Rounding::Up, true)),
    ("rn", (Rounding::Nearest, false)),
    ("rz", (Rounding::Zero, false)),
    ("rm", (Rounding::Down, false)),
    ("rp", (Rounding::Up, false)),
    ("rna", (Rounding::NearestAway, false)),
];

fn unknown<T>(reason: &str) -> Result<T> {
    Err(Problem::Unknown(reason.to_owned()))
}

impl Decoder<'_> {
    pub(super) fn convert(&mut self, opcode: &mut Opcode<'_>) -> Result<Operation> {
        let types = opcode.types();
        let [to, from] = types[..] else { return unknown("it takes two types") };
        let rounding = opcode.choose(&ROUNDINGS);
        if matches!(to, Type::F16x2 | Type::Bf16x2) {
            return self.convert_pair(opcode, to, from, rounding);
        }
        self.count(2, 2)?;
        let flush = opcode.take("ftz");
        let saturate = opcode.take("sat");
        if [to, from].iter().any(|ty| ty.is_bits() || matches!(ty, Type::Predicate | Type::F16x2 | Type::Bf16x2)) {
            return unknown("it converts between signed, unsigned and floating-point types");
        }
        if from == Type::Tf32 || to == Type::Tf32 && from != Type::F32 {
            return unknown("tf32 comes from f32");
        }
        check_rounding(to, from, rounding)?;
        let (rounding, integral) = rounding.unwrap_or((Rounding::Nearest, false));
        if saturate && to == Type::Tf32 {
            return unknown("`.sat` does not go with tf32");
        }
        let d = self.wide_result(to)?;
        let a = self.wide_source(from)?;
        let narrow = matches!(self.place(&self.operands[0])?, Place::Half(_));
        Ok(Operation::Convert { from, to, rounding, integral, saturate, flush, narrow, d, a })
    }

    fn convert_pair(
        &mut self,
        opcode: &mut Opcode<'_>,
        to: Type,
        from: Type,
        rounding: Option<(Rounding, bool)>,
    ) -> Result<Operation> {
        let Some((rounding @ (Rounding::Nearest | Rounding::Zero), false)) = rounding else {
            return unknown("it needs `.rn` or `.rz`");
        };
        if from != Type::F32 {
            return unknown("pairs of halves come from f32");
        }
        let relu = opcode.take("relu");
        self.count(3, 3)?;
        let d = self.packed_result()?;
        let (a, b) = (self.source(1, Type::F32)?, self.source(2, Type::F32)?);
        Ok(Operation::ConvertPair { to, rounding, relu, d, a, b })
    }

    /// The result's slot; bytes go to a register of any wider integer type.
    fn wide_result(&mut self, ty: Type) -> Result<Slot> {
        match self.operands[0].clone() {
            Operand::Register(_) if ty.bytes() == 1 => {
                let operand = self.operands[0].clone();
                self.narrow_place(&operand)?;
                self.result_of(&operand, self.declared_bits(&operand)?)
            }
            _ if ty == Type::Tf32 => self.packed_result(),
            _ => self.result(0, ty),
        }
    }

    /// The slot of a tf32 or of two halves, which as for ptxas no register of another float can be.
    fn packed_result(&mut self) -> Result<Slot> {
        if let Operand::Register(register) = self.operands[0] {
            let declared = &self.entry.registers[register];
            if !declared.ty.is_bits() && declared.ty.is_float() {
                let found = format!("`{}` of type {:?}", declared.name, declared.ty);
                return Err(Problem::Operand { expected: "a register of type B32".into(), found });
            }
        }
        self.result(0, Type::B32)
    }

    /// The source's slot; the low byte of any wider integer register is one too.
    fn wide_source(&mut self, ty: Type) -> Result<Slot> {
        let operand = self.operands[1].clone();
        if ty.bytes() == 1 && matches!(operand, Operand::Register(_)) {
            self.narrow_place(&operand)?;
            let bits = self.declared_bits(&operand)?;
            return self.source_of(&operand, bits);
        }
        self.source(1, if ty.bytes() == 1 { Type::B16 } else { ty })
    }

    fn narrow_place(&self, operand: &Operand) -> Result<()> {
        match self.place(operand)? {
            Place::Half(_) | Place::Word(_) => Ok(()),
            _ => unknown("bytes live in registers of 16 or 32 bits"),
        }
    }

    fn declared_bits(&self, operand: &Operand) -> Result<Type> {
        Ok(if matches!(self.place(operand)?, Place::Half(_)) { Type::B16 } else { Type::B32 })
    }
}

/// The rules of the PTX ISA on where a rounding must, may and may not stand.
fn check_rounding(to: Type, from: Type, rounding: Option<(Rounding, bool)>) -> Result<()> {
    let (narrowing, to_integer) = (to.is_float() && to.bytes() < from.bytes(), from.is_float() && !to.is_float());
    match rounding {
        Some((Rounding::NearestAway, _)) if to != Type::Tf32 => unknown("`.rna` goes with tf32"),
        None if to == Type::Tf32 => unknown("it needs `.rna`"),
        Some((Rounding::NearestAway, _)) => Ok(()),
        Some(_) if to == Type::Tf32 => unknown("tf32 takes `.rna`"),
        None if to_integer => unknown("it needs one of `.rni`, `.rzi`, `.rmi`, `.rpi`"),
        None if narrowing || to.is_float() && !from.is_float() => unknown("it needs one of `.rn`, `.rz`, `.rm`, `.rp`"),
        Some((_, integral)) if to_integer && !integral => unknown("an integer takes `.rni`, `.rzi`, `.rmi` or `.rpi`"),
        Some((_, true)) if !to_integer && (to != from) => unknown("an integral rounding keeps the type"),
        Some(_) if !to.is_float() && !from.is_float() => unknown("integers take no rounding"),
        Some((rounding, false)) if matches!(to, Type::F16 | Type::Bf16) && rounding != Rounding::Nearest => {
            unknown("halves take `.rn`")
        }
        _ => Ok(()),
    }
}
