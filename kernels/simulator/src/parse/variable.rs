//! Variables: `.param`, `.shared`, `.local` and `.const`, with their initial values.

use super::lexer::Token;
use super::syntax::{Entry, Literal, Space, Type, Variable};
use super::{Parser, Result, SyntaxError, align_up, is_module_space};

impl Parser {
    /// `.param .u64 x` or `.param .align 4 .b8 x[16]`, one of a kernel's parameters.
    pub(super) fn parameter(&mut self, parameters: &mut Vec<Variable>) -> Result<()> {
        if !self.eat_word(".param") {
            return self.error("`.param`");
        }
        let (variable, _) = self.declaration(Space::Parameter, end_of(parameters, Space::Parameter))?;
        if variable.dynamic {
            return self.error(format!("a size for the parameter `{}`", variable.name));
        }
        parameters.push(variable);
        Ok(())
    }

    /// `.shared` or `.local` within a kernel.
    pub(super) fn kernel_variable(&mut self, entry: &mut Entry) -> Result<()> {
        let space = self.space()?;
        let start = end_of(&entry.variables, space).max(end_of(&self.text.variables, space));
        let (variable, _) = self.declaration(space, start)?;
        if variable.dynamic {
            return self.error("a size (a dynamic array stands at module scope)");
        }
        self.expect(';')?;
        entry.variables.push(variable);
        Ok(())
    }

    /// `.const .f32 table[2] = {1.0, 2.0};` or `.extern .shared .align 16 .b8 tile[];`.
    pub(super) fn module_variable(&mut self) -> Result<()> {
        let space = self.space()?;
        if !is_module_space(space) {
            return self.error("`.shared` or `.const`");
        }
        let (variable, ty) = self.declaration(space, end_of(&self.text.variables, space))?;
        if space == Space::Constant {
            let mut bytes = if self.eat('=') { self.initial(ty)? } else { Vec::new() };
            if bytes.len() > variable.bytes as usize || variable.dynamic {
                return self.error(format!("at most {} bytes for `{}`", variable.bytes, variable.name));
            }
            bytes.resize(variable.bytes as usize, 0);
            self.text.constants.resize(variable.offset as usize, 0);
            self.text.constants.extend(bytes);
        }
        self.expect(';')?;
        self.text.variables.push(variable);
        Ok(())
    }

    fn space(&mut self) -> Result<Space> {
        Ok(match self.word("a state space")?.as_str() {
            ".shared" => Space::Shared,
            ".local" => Space::Local,
            _ => Space::Constant,
        })
    }

    /// `.align 16 .b8 name[32]`, placed at the first aligned offset from `start` on.
    fn declaration(&mut self, space: Space, start: u32) -> Result<(Variable, Type)> {
        let mut align = 0;
        let mut vector = 1;
        let mut ty = None;
        while let Token::Word(word) = self.peek().clone() {
            match word.as_str() {
                ".align" => {
                    self.next();
                    align = self.small_integer("an alignment")?;
                    if !align.is_power_of_two() {
                        return Err(SyntaxError::new(self.line(), "a power of two", format!("`.align {align}`")));
                    }
                    continue;
                }
                ".v2" => vector = 2,
                ".v4" => vector = 4,
                // Attributes of a pointer parameter: `.ptr .global .align 16`.
                ".ptr" | ".global" | ".shared" | ".local" | ".const" if space == Space::Parameter => {}
                _ if word.starts_with('.') => {
                    ty = Some(self.ty()?);
                    continue;
                }
                _ => break,
            }
            self.next();
        }
        let Some(ty) = ty.filter(|ty| *ty != Type::Predicate) else { return self.error("a type such as `.f32`") };
        let name = self.name("a variable's name")?;
        let element = ty.bytes() * vector;
        let (mut bytes, mut dynamic) = (element, false);
        while self.eat('[') {
            if self.eat(']') {
                dynamic = true;
                bytes = 0;
            } else {
                let length = self.small_integer("a length")?;
                self.expect(']')?;
                let line = self.line();
                bytes = bytes
                    .checked_mul(length)
                    .ok_or_else(|| SyntaxError::new(line, "less than 1 GiB", format!("`{name}`")))?;
            }
        }
        if u64::from(start) + u64::from(align.max(element)) + u64::from(bytes) > 1 << 30 {
            return self.error(format!("less than 1 GiB for `{name}`"));
        }
        // A pointer's `.align` tells of what it points at, so a parameter's own is never less than its size.
        let align = align.max(element);
        Ok((Variable { name, space, align, bytes, offset: align_up(start, align), dynamic }, ty))
    }

    /// The bytes of an initial value: one literal or a list in braces.
    fn initial(&mut self, ty: Type) -> Result<Vec<u8>> {
        if !self.eat('{') {
            return self.initial_element(ty);
        }
        let mut bytes = Vec::new();
        loop {
            bytes.extend(if *self.peek() == Token::Mark('{') { self.initial(ty)? } else { self.initial_element(ty)? });
            if !self.eat(',') {
                self.expect('}')?;
                return Ok(bytes);
            }
        }
    }

    fn initial_element(&mut self, ty: Type) -> Result<Vec<u8>> {
        let literal = self.constant("an initial value")?;
        let Some(bits) = literal.bits(ty) else { return self.error(format!("a value of type {ty:?} before this")) };
        Ok(bits.to_le_bytes()[..ty.bytes() as usize].to_vec())
    }
}

impl Literal {
    /// The bits of the literal as a value of a type; `None` where it cannot be one.
    pub(crate) fn bits(self, ty: Type) -> Option<u64> {
        Some(match (self, ty) {
            (Self::Single(bits), Type::F32 | Type::B32 | Type::Tf32) => u64::from(bits),
            (Self::Double(value), Type::F32) => u64::from((value as f32).to_bits()),
            (Self::Single(bits), Type::F64) => f64::from(f32::from_bits(bits)).to_bits(),
            (Self::Double(value), Type::F64 | Type::B64) => value.to_bits(),
            (Self::Integer(value), _) if !ty.is_float() => value,
            _ => return None,
        })
    }
}

fn end_of(variables: &[Variable], space: Space) -> u32 {
    variables.iter().filter(|v| v.space == space).map(|v| v.offset + v.bytes).max().unwrap_or(0)
}
