//! Operands to slots, with the checks of type and size that an assembler makes.

use super::{Decoder, Place, Problem, Result};
use crate::parse::syntax::{Operand, Space, Type};
use crate::program::{Address, Base, Condition, Slot, Special, Value};

fn mismatch<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T> {
    Err(Problem::Operand { expected: expected.into(), found: found.into() })
}

impl Decoder<'_> {
    /// Checks the number of operands.
    pub(super) fn count(&self, least: usize, most: usize) -> Result<()> {
        let count = self.operands.len();
        if (least..=most).contains(&count) {
            return Ok(());
        }
        let expected = if least == most { format!("{least} operands") } else { format!("{least} to {most} operands") };
        mismatch(expected, count.to_string())
    }

    /// Checks that a register can hold values of a type.
    fn check(&self, register: usize, ty: Type) -> Result<Place> {
        let declared = &self.entry.registers[register];
        let same_kind = declared.ty.is_bits() || ty.is_bits() || declared.ty.is_float() == ty.is_float();
        if declared.ty.bytes() != ty.bytes() || !same_kind || ty == Type::Predicate {
            let name = &declared.name;
            return mismatch(format!("a register of type {ty:?}"), format!("`{name}` of type {:?}", declared.ty));
        }
        Ok(self.places[register])
    }

    pub(super) fn read(&mut self, place: Place) {
        match place {
            Place::Half(slot) | Place::Word(slot) => self.access.read.push((false, slot)),
            Place::Long(slot) => self.access.read.push((true, slot)),
            Place::Predicate(_) => {}
        }
    }

    fn written(&mut self, place: Place) {
        match place {
            Place::Half(slot) | Place::Word(slot) => self.access.written.push((false, slot)),
            Place::Long(slot) => self.access.written.push((true, slot)),
            Place::Predicate(_) => {}
        }
    }

    /// The slot of a source operand of a type of at least 16 bits.
    pub(super) fn source(&mut self, index: usize, ty: Type) -> Result<Slot> {
        let operand = self.operands[index].clone();
        self.source_of(&operand, ty)
    }

    pub(super) fn source_of(&mut self, operand: &Operand, ty: Type) -> Result<Slot> {
        match operand {
            Operand::Register(register) => {
                let place = self.check(*register, ty)?;
                self.read(place);
                Ok(slot_of(place))
            }
            Operand::Literal(literal) => match literal.bits(ty) {
                Some(bits) => self.literal(bits, ty),
                None => mismatch(format!("a value of type {ty:?}"), format!("{literal:?}")),
            },
            other => mismatch(
                "a register or a literal (special registers and addresses of variables need a `mov`)",
                describe(other),
            ),
        }
    }

    /// The source of a `mov`, which also reads special registers and the addresses of variables.
    pub(super) fn moved(&mut self, index: usize, ty: Type) -> Result<Slot> {
        let Operand::Name(name) = self.operands[index].clone() else { return self.source(index, ty) };
        if let Some(special) = special(&name) {
            if ty.bytes() != 4 {
                return mismatch(format!("a value of type {ty:?}"), format!("`{name}` of 32 bits"));
            }
            return self.special(special);
        }
        match self.variables.contains_key(name.as_str()) {
            true if ty.bytes() >= 4 && !ty.is_float() => {
                let offset = self.variable_address(&name);
                self.literal(offset as u64, ty)
            }
            _ => mismatch("a register, a literal, a variable or a special register", format!("`{name}`")),
        }
    }

    /// The slot that holds a literal.
    fn literal(&mut self, bits: u64, ty: Type) -> Result<Slot> {
        if ty.bytes() == 8 {
            if let Some(&slot) = self.longs.get(&bits) {
                return Ok(slot);
            }
            let slot = self.new_slot(1)?;
            self.longs.insert(bits, slot);
            self.layout.longs.push((slot, bits));
            return Ok(slot);
        }
        let bits = bits as u32 & if ty.bytes() == 2 { 0xffff } else { u32::MAX };
        if let Some(&slot) = self.words.get(&bits) {
            return Ok(slot);
        }
        let slot = self.new_slot(0)?;
        self.words.insert(bits, slot);
        self.layout.words.push((slot, bits));
        Ok(slot)
    }

    fn special(&mut self, special: Special) -> Result<Slot> {
        if let Some((_, slot)) = self.specials.iter().find(|(known, _)| *known == special) {
            return Ok(*slot);
        }
        let slot = self.new_slot(0)?;
        self.specials.push((special, slot));
        self.layout.specials.push((slot, special));
        Ok(slot)
    }

    fn new_slot(&mut self, file: usize) -> Result<Slot> {
        let Ok(slot) = Slot::try_from(self.used[file]) else { return mismatch("at most 65536 registers", "more") };
        self.used[file] += 1;
        Ok(slot)
    }

    /// The slot of a result of a type of at least 16 bits.
    pub(super) fn result(&mut self, index: usize, ty: Type) -> Result<Slot> {
        let operand = self.operands[index].clone();
        self.result_of(&operand, ty)
    }

    pub(super) fn result_of(&mut self, operand: &Operand, ty: Type) -> Result<Slot> {
        match operand {
            Operand::Register(register) => {
                let place = self.check(*register, ty)?;
                self.written(place);
                Ok(slot_of(place))
            }
            other => mismatch(format!("a register of type {ty:?}"), describe(other)),
        }
    }

    pub(super) fn predicate_register(&self, register: usize) -> Result<Slot> {
        match self.places[register] {
            Place::Predicate(slot) => Ok(slot),
            _ => mismatch("a predicate", format!("`{}`", self.entry.registers[register].name)),
        }
    }

    pub(super) fn predicate(&self, index: usize) -> Result<Slot> {
        match &self.operands[index] {
            Operand::Register(register) => self.predicate_register(*register),
            other => mismatch("a predicate", describe(other)),
        }
    }

    /// A predicate that may be negated.
    pub(super) fn condition(&self, index: usize) -> Result<Condition> {
        match &self.operands[index] {
            Operand::Register(p) => Ok(Condition { slot: self.predicate_register(*p)?, negated: false }),
            Operand::Not(p) => Ok(Condition { slot: self.predicate_register(*p)?, negated: true }),
            other => mismatch("a predicate", describe(other)),
        }
    }

    /// The parts of a vector operand, or the operand alone.
    pub(super) fn parts(&self, index: usize) -> Vec<Operand> {
        match &self.operands[index] {
            Operand::Vector(parts) => parts.clone(),
            single => vec![single.clone()],
        }
    }

    /// The parts of a vector operand of a given length.
    pub(super) fn vector(&self, index: usize, length: usize) -> Result<Vec<Operand>> {
        let parts = self.parts(index);
        if parts.len() != length {
            return mismatch(format!("a vector of {length}"), format!("one of {}", parts.len()));
        }
        Ok(parts)
    }

    /// The register that a load fills, which may be wider than what is loaded.
    pub(super) fn loaded(&mut self, operand: &Operand, ty: Type) -> Result<Value> {
        let Operand::Register(register) = operand else {
            return match operand {
                Operand::Sink => Ok(Value::Nothing),
                other => mismatch("a register", describe(other)),
            };
        };
        self.check_width(*register, ty)?;
        let place = self.places[*register];
        self.written(place);
        value_of(place)
    }

    /// The register or literal that a store reads, which may be wider than what is stored.
    pub(super) fn stored(&mut self, operand: &Operand, ty: Type) -> Result<Value> {
        if let Operand::Register(register) = operand {
            self.check_width(*register, ty)?;
            let place = self.places[*register];
            self.read(place);
            return value_of(place);
        }
        let wide = if ty.bytes() == 1 { Type::B16 } else { ty };
        let slot = self.source_of(operand, wide)?;
        Ok(match wide.bytes() {
            2 => Value::Half(slot),
            4 => Value::Word(slot),
            _ => Value::Long(slot),
        })
    }

    fn check_width(&self, register: usize, ty: Type) -> Result<()> {
        let declared = &self.entry.registers[register];
        let wide_enough = declared.ty.bytes() >= ty.bytes();
        let float = declared.ty.is_float() && declared.ty.bytes() != ty.bytes();
        let kind = declared.ty.is_float() != ty.is_float() && !declared.ty.is_bits() && !ty.is_bits();
        if !wide_enough || float || kind || declared.ty == Type::Predicate {
            let found = format!("`{}` of type {:?}", declared.name, declared.ty);
            return mismatch(format!("a register for a {ty:?}"), found);
        }
        Ok(())
    }

    pub(super) fn place(&self, operand: &Operand) -> Result<Place> {
        match operand {
            Operand::Register(register) => Ok(self.places[*register]),
            other => mismatch("a register", describe(other)),
        }
    }

    /// A `[base + offset]` operand.
    pub(super) fn address(&mut self, index: usize, space: Space) -> Result<Address> {
        let Operand::Address(base, offset) = &self.operands[index] else {
            return mismatch("an address in brackets", describe(&self.operands[index]));
        };
        match base.as_deref() {
            None if space == Space::Local => Ok(Address { space, base: Base::Fixed, offset: *offset }),
            None => mismatch("a register or a variable (constant addresses are for local memory)", offset.to_string()),
            Some(Operand::Register(register)) => {
                let place = self.places[*register];
                self.read(place);
                let base = match place {
                    Place::Word(slot) if matches!(space, Space::Shared | Space::Local | Space::Constant) => {
                        Base::Word(slot)
                    }
                    Place::Long(slot) => Base::Long(slot),
                    _ => {
                        let register = &self.entry.registers[*register];
                        let found = format!("`{}` of type {:?}", register.name, register.ty);
                        return mismatch(format!("an address in {space} memory"), found);
                    }
                };
                Ok(Address { space, base, offset: *offset })
            }
            Some(Operand::Name(name)) => match self.variables.get(name.as_str()) {
                Some(variable) if variable.space == space => {
                    let base = self.variable_address(name);
                    Ok(Address { space, base: Base::Fixed, offset: base + offset })
                }
                Some(variable) => {
                    mismatch(format!("a variable in {space} memory"), format!("`{name}` in {}", variable.space))
                }
                None => mismatch("a register or a variable", format!("`{name}`, which is not declared")),
            },
            Some(other) => mismatch("a register or a variable", describe(other)),
        }
    }

    /// A variable's offset in its space; dynamic arrays start behind all others.
    fn variable_address(&self, name: &str) -> i64 {
        let Some(variable) = self.variables.get(name) else { return 0 };
        if !variable.dynamic {
            return i64::from(variable.offset);
        }
        let shared = || self.variables.values().filter(|v| v.space == variable.space);
        let end = shared().filter(|v| !v.dynamic).map(|v| v.offset + v.bytes).max().unwrap_or(0);
        let align = shared().filter(|v| v.dynamic).map(|v| v.align).max().unwrap_or(1);
        i64::from(crate::parse::align_up(end, align))
    }

    pub(super) fn label(&self, index: usize) -> Result<usize> {
        match &self.operands[index] {
            Operand::Name(name) => match self.labels.get(name.as_str()) {
                Some(&target) if target < self.entry.instructions.len() => Ok(target),
                Some(_) => mismatch("an instruction behind the label", format!("`{name}` at the kernel's end")),
                None => mismatch("a label of this kernel", format!("`{name}`")),
            },
            other => mismatch("a label", describe(other)),
        }
    }
}

fn slot_of(place: Place) -> Slot {
    match place {
        Place::Half(slot) | Place::Word(slot) | Place::Long(slot) | Place::Predicate(slot) => slot,
    }
}

pub(super) fn value_of(place: Place) -> Result<Value> {
    match place {
        Place::Half(slot) => Ok(Value::Half(slot)),
        Place::Word(slot) => Ok(Value::Word(slot)),
        Place::Long(slot) => Ok(Value::Long(slot)),
        Place::Predicate(_) => mismatch("a register that is no predicate", "a predicate"),
    }
}

fn describe(operand: &Operand) -> String {
    match operand {
        Operand::Register(_) => "a register".to_owned(),
        Operand::Not(_) => "a negated predicate".to_owned(),
        Operand::Pair(..) => "a pair `p|q`".to_owned(),
        Operand::Name(name) => format!("`{name}`"),
        Operand::Literal(literal) => format!("{literal:?}"),
        Operand::Vector(parts) => format!("a vector of {}", parts.len()),
        Operand::Address(..) => "an address".to_owned(),
        Operand::Sink => "`_`".to_owned(),
    }
}

fn special(name: &str) -> Option<Special> {
    let axis = |name: &str| match name {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    if let Some((vector, component)) = name.split_once('.') {
        let axis = axis(component)?;
        return match vector {
            "%tid" => Some(Special::Thread(axis)),
            "%ntid" => Some(Special::Threads(axis)),
            "%ctaid" => Some(Special::Block(axis)),
            "%nctaid" => Some(Special::Blocks(axis)),
            _ => None,
        };
    }
    Some(match name {
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%nwarpid" => Special::Warps,
        "%lanemask_eq" => Special::LanesEqual,
        "%lanemask_lt" => Special::LanesLess,
        "%lanemask_le" => Special::LanesLessEqual,
        "%lanemask_gt" => Special::LanesGreater,
        "%lanemask_ge" => Special::LanesGreaterEqual,
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" => Special::TotalShared,
        _ => return None,
    })
}
