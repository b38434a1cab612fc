//! Instructions, their operands and constant expressions.

use super::lexer::Token;
use super::syntax::{Entry, Instruction, Literal, Operand};
use super::{Parser, Result, SyntaxError};

impl Parser {
    /// `@!p opcode.modifiers a, b, c;`
    pub(super) fn instruction(&mut self, entry: &mut Entry) -> Result<()> {
        let guard = if self.eat('@') {
            let negated = self.eat('!');
            Some((self.known_register("a guard predicate")?, negated))
        } else {
            None
        };
        let line = self.line();
        let opcode = self.name("an instruction")?;
        let mut operands = Vec::new();
        if !self.eat(';') {
            loop {
                operands.push(self.operand()?);
                if !self.eat(',') {
                    break;
                }
            }
            self.expect(';')?;
        }
        entry.instructions.push(Instruction { line, guard, opcode, operands });
        Ok(())
    }

    fn known_register(&mut self, expected: &str) -> Result<usize> {
        let line = self.line();
        let name = self.name(expected)?;
        self.register(&name).ok_or_else(|| SyntaxError::new(line, expected, format!("`{name}`, which is not declared")))
    }

    fn operand(&mut self) -> Result<Operand> {
        match self.peek().clone() {
            Token::Mark('{') => {
                self.next();
                let mut parts = Vec::new();
                loop {
                    parts.push(self.operand()?);
                    if !self.eat(',') {
                        break;
                    }
                }
                self.expect('}')?;
                Ok(Operand::Vector(parts))
            }
            Token::Mark('[') => {
                self.next();
                let address = self.address()?;
                self.expect(']')?;
                Ok(address)
            }
            Token::Mark('!') => {
                self.next();
                Ok(Operand::Not(self.known_register("a predicate")?))
            }
            Token::Word(_) => self.named_operand(),
            _ => Ok(Operand::Literal(self.constant("an operand")?)),
        }
    }

    fn named_operand(&mut self) -> Result<Operand> {
        let name = self.name("an operand")?;
        if name == "_" {
            return Ok(Operand::Sink);
        }
        let Some(register) = self.register(&name) else {
            return Ok(if name == "WARP_SZ" { Operand::Literal(Literal::Integer(32)) } else { Operand::Name(name) });
        };
        if self.eat('|') {
            return Ok(Operand::Pair(register, self.known_register("a predicate")?));
        }
        Ok(Operand::Register(register))
    }

    /// `base`, `base + offset` or a constant; the bracket is read. A negative offset is written `base+-4`.
    fn address(&mut self) -> Result<Operand> {
        if !matches!(self.peek(), Token::Word(_)) {
            let offset = self.constant_integer("an address")?;
            return Ok(Operand::Address(None, offset));
        }
        let base = self.named_operand()?;
        let offset = if self.eat('+') { self.constant_integer("an offset")? } else { 0 };
        Ok(Operand::Address(Some(Box::new(base)), offset))
    }

    /// A constant expression with an integer value.
    pub(super) fn constant_integer(&mut self, expected: &str) -> Result<i64> {
        let line = self.line();
        match self.constant(expected)? {
            Literal::Integer(value) => Ok(value as i64),
            other => Err(SyntaxError::new(line, format!("{expected}, an integer"), format!("{other:?}"))),
        }
    }

    /// A constant expression: a literal, or integers with `+ - * / % << >>`, signs and parentheses.
    pub(super) fn constant(&mut self, expected: &str) -> Result<Literal> {
        let mut left = self.term(expected)?;
        loop {
            let line = self.line();
            let mark = match self.peek() {
                Token::Mark(mark @ ('+' | '-' | '<' | '>')) => *mark,
                _ => return Ok(left),
            };
            // A lone `>` closes `%f<8>`.
            if matches!(mark, '<' | '>') && self.tokens[self.at + 1].0 != Token::Mark(mark) {
                return Ok(left);
            }
            self.next();
            if matches!(mark, '<' | '>') {
                self.next();
            }
            let right = self.term(expected)?;
            left = combine(mark, left, right, line)?;
        }
    }

    fn term(&mut self, expected: &str) -> Result<Literal> {
        let mut left = self.factor(expected)?;
        loop {
            let line = self.line();
            let mark = match self.peek() {
                Token::Mark(mark @ ('*' | '/' | '%')) => *mark,
                _ => return Ok(left),
            };
            self.next();
            let right = self.factor(expected)?;
            left = combine(mark, left, right, line)?;
        }
    }

    fn factor(&mut self, expected: &str) -> Result<Literal> {
        match self.peek().clone() {
            Token::Integer(value) => {
                self.next();
                Ok(Literal::Integer(value))
            }
            Token::Single(bits) => {
                self.next();
                Ok(Literal::Single(bits))
            }
            Token::Double(value) => {
                self.next();
                Ok(Literal::Double(value))
            }
            Token::Mark('-') => {
                self.next();
                Ok(match self.factor(expected)? {
                    Literal::Integer(value) => Literal::Integer(value.wrapping_neg()),
                    Literal::Single(bits) => Literal::Single(bits ^ 0x8000_0000),
                    Literal::Double(value) => Literal::Double(-value),
                })
            }
            Token::Mark('~') => {
                self.next();
                let value = self.factor(expected)?;
                combine('^', value, Literal::Integer(u64::MAX), self.line())
            }
            Token::Mark('(') => {
                self.next();
                let value = self.constant(expected)?;
                self.expect(')')?;
                Ok(value)
            }
            _ => self.error(expected),
        }
    }
}

fn combine(mark: char, a: Literal, b: Literal, line: u32) -> Result<Literal> {
    let (Literal::Integer(a), Literal::Integer(b)) = (a, b) else {
        return Err(SyntaxError::new(line, "integers in a constant expression", "a floating-point literal"));
    };
    let value = match mark {
        '+' => Some(a.wrapping_add(b)),
        '-' => Some(a.wrapping_sub(b)),
        '*' => Some(a.wrapping_mul(b)),
        '/' => (a as i64).checked_div(b as i64).map(|v| v as u64),
        '%' => (a as i64).checked_rem(b as i64).map(|v| v as u64),
        '<' => Some(a.wrapping_shl(b as u32)),
        '>' => Some(a.wrapping_shr(b as u32)),
        _ => Some(a ^ b),
    };
    value.map(Literal::Integer).ok_or_else(|| SyntaxError::new(line, "a divisor other than zero", "`0`"))
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;
    use crate::parse::syntax::{Literal, Operand};

    fn kernel(body: &str) -> String {
        format!(".version 6.0\n.target sm_61\n.address_size 64\n.visible .entry k(.param .u64 x)\n{{\n{body}\n}}\n")
    }

    #[test]
    fn operands_of_every_kind() {
        let text = kernel(
            ".reg .f32 %f<3>, acc; .reg .b64 p; .reg .pred q, r;\n\
             @!q ld.global.v2.f32 {acc, %f2}, [p + 4*(2+1)];\nL: setp.lt.f32 q|r, acc, 0f3F800000;",
        );
        let text = parse(&text).unwrap();
        let entry = &text.entries[0];
        let [load, compare] = &entry.instructions[..] else { panic!("two instructions") };
        assert_eq!((load.line, load.guard), (7, Some((5, true))));
        let vector = Operand::Vector(vec![Operand::Register(3), Operand::Register(2)]);
        assert_eq!(load.operands, [vector, Operand::Address(Some(Box::new(Operand::Register(4))), 12)]);
        assert_eq!(compare.operands[0], Operand::Pair(5, 6));
        assert_eq!(compare.operands[2], Operand::Literal(Literal::Single(0x3f80_0000)));
        assert_eq!(entry.labels, [("L".to_owned(), 1)]);
    }

    #[test]
    fn inner_scopes_hide_outer_registers() {
        let text = parse(&kernel(".reg .b32 a;\n{ .reg .b64 a; mov.b64 a, 1; }\nmov.b32 a, 1;")).unwrap();
        let instructions = &text.entries[0].instructions;
        assert_eq!(instructions[0].operands[0], Operand::Register(1));
        assert_eq!(instructions[1].operands[0], Operand::Register(0));
    }

    #[test]
    fn errors_say_line_expected_and_found() {
        let error = parse(&kernel(".reg .f32 a;\nadd.f32 a, a a;")).unwrap_err();
        assert_eq!((error.line, error.expected.as_str(), error.found.as_str()), (7, "`;`", "`a`"));
        let error = parse(".version 5.0\n.target sm_61").unwrap_err();
        assert_eq!((error.line, error.expected.as_str(), error.found.as_str()), (1, "version 6.0 or newer", "5.0"));
        let error = parse(&kernel("@p ret;")).unwrap_err();
        assert_eq!(error.found, "`p`, which is not declared");
    }
}
