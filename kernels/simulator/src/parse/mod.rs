//! The parser: text to [`syntax::Text`].

mod instruction;
mod lexer;
pub(crate) mod syntax;
mod variable;

use std::collections::HashMap;

use lexer::Token;
use syntax::{Entry, Register, Space, Text, Type};

/// A place where the text is not what it should be.
#[derive(Clone, Debug)]
pub(crate) struct SyntaxError {
    pub(crate) line: u32,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl SyntaxError {
    pub(crate) fn new(line: u32, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { line, expected: expected.into(), found: found.into() }
    }
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// Parses a whole text.
pub(crate) fn parse(text: &str) -> Result<Text> {
    let mut parser = Parser { tokens: lexer::tokens(text)?, at: 0, scopes: Vec::new(), text: Text::default() };
    parser.module()?;
    Ok(parser.text)
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    /// The registers in sight, innermost scope last.
    scopes: Vec<HashMap<String, usize>>,
    text: Text,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn line(&self) -> u32 {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn error<T>(&self, expected: impl Into<String>) -> Result<T> {
        Err(SyntaxError::new(self.line(), expected, self.peek().to_string()))
    }

    fn eat(&mut self, mark: char) -> bool {
        let found = *self.peek() == Token::Mark(mark);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, mark: char) -> Result<()> {
        if self.eat(mark) { Ok(()) } else { self.error(format!("`{mark}`")) }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(w) if w == word);
        if found {
            self.next();
        }
        found
    }

    fn word(&mut self, expected: &str) -> Result<String> {
        match self.peek() {
            Token::Word(word) => {
                let word = word.clone();
                self.next();
                Ok(word)
            }
            _ => self.error(expected),
        }
    }

    /// A name of the program's own: no directive.
    fn name(&mut self, expected: &str) -> Result<String> {
        match self.peek() {
            Token::Word(word) if !word.starts_with('.') => self.word(expected),
            _ => self.error(expected),
        }
    }

    fn small_integer(&mut self, expected: &str) -> Result<u32> {
        let line = self.line();
        let value = self.constant_integer(expected)?;
        u32::try_from(value).map_err(|_| SyntaxError::new(line, expected, format!("`{value}`")))
    }

    fn module(&mut self) -> Result<()> {
        if !self.eat_word(".version") {
            return self.error("`.version`");
        }
        self.text.version = self.version()?;
        if !self.eat_word(".target") {
            return self.error("`.target`");
        }
        self.text.target = self.word("a target such as `sm_61`")?;
        while self.eat(',') {
            self.word("a target option")?;
        }
        loop {
            match self.peek().clone() {
                Token::End => return Ok(()),
                Token::Word(word) => match word.as_str() {
                    ".address_size" => {
                        self.next();
                        if *self.peek() != Token::Integer(64) {
                            return self.error("an address size of 64");
                        }
                        self.next();
                    }
                    ".visible" | ".weak" | ".extern" => {
                        self.next();
                    }
                    ".entry" => self.entry()?,
                    ".shared" | ".const" => self.module_variable()?,
                    ".file" | ".loc" | ".pragma" => self.skip_line(),
                    _ => return self.error("`.entry`, `.shared`, `.const` or another directive of a module"),
                },
                _ => return self.error("a directive"),
            }
        }
    }

    /// Skips the rest of a line: what only a debugger or the assembler reads.
    fn skip_line(&mut self) {
        let line = self.line();
        while self.line() == line && *self.peek() != Token::End {
            self.next();
        }
    }

    fn version(&mut self) -> Result<(u32, u32)> {
        let line = self.line();
        let Token::Double(version) = self.next() else {
            return Err(SyntaxError::new(line, "a version such as `6.0`", "something else"));
        };
        let version = ((version * 10.0).round() as u32 / 10, (version * 10.0).round() as u32 % 10);
        if version < (6, 0) {
            return Err(SyntaxError::new(line, "version 6.0 or newer", format!("{}.{}", version.0, version.1)));
        }
        Ok(version)
    }

    fn entry(&mut self) -> Result<()> {
        self.next();
        let line = self.line();
        let mut entry = Entry {
            name: self.name("the kernel's name")?,
            line,
            parameters: Vec::new(),
            registers: Vec::new(),
            variables: Vec::new(),
            instructions: Vec::new(),
            labels: Vec::new(),
            required_threads: [0; 3],
            maximal_threads: 0,
        };
        if self.eat('(') && !self.eat(')') {
            loop {
                self.parameter(&mut entry.parameters)?;
                if !self.eat(',') {
                    break;
                }
            }
            self.expect(')')?;
        }
        self.performance_directives(&mut entry)?;
        self.expect('{')?;
        self.body(&mut entry)?;
        self.text.entries.push(entry);
        Ok(())
    }

    fn performance_directives(&mut self, entry: &mut Entry) -> Result<()> {
        loop {
            if self.eat_word(".reqntid") {
                entry.required_threads = self.up_to_three()?;
            } else if self.eat_word(".maxntid") {
                entry.maximal_threads = self.up_to_three()?.iter().product();
            } else if self.eat_word(".minnctapersm") || self.eat_word(".maxnreg") {
                self.small_integer("a count")?;
            } else if self.eat_word(".pragma") {
                self.skip_line();
            } else {
                return Ok(());
            }
        }
    }

    fn up_to_three(&mut self) -> Result<[u32; 3]> {
        let mut values = [1; 3];
        values[0] = self.small_integer("a count of threads")?;
        for value in &mut values[1..] {
            if !self.eat(',') {
                break;
            }
            *value = self.small_integer("a count of threads")?;
        }
        Ok(values)
    }

    /// The statements between a kernel's braces; the opening one is read.
    fn body(&mut self, entry: &mut Entry) -> Result<()> {
        self.scopes = vec![HashMap::new()];
        while !self.scopes.is_empty() {
            match self.peek().clone() {
                Token::Mark('{') => {
                    self.next();
                    self.scopes.push(HashMap::new());
                }
                Token::Mark('}') => {
                    self.next();
                    self.scopes.pop();
                }
                Token::Mark(';') => {
                    self.next();
                }
                Token::Mark('@') => self.instruction(entry)?,
                Token::Word(word) => match word.as_str() {
                    ".reg" => self.registers(entry)?,
                    ".shared" | ".local" => self.kernel_variable(entry)?,
                    ".loc" | ".pragma" => self.skip_line(),
                    _ if word.starts_with('.') => {
                        return self.error("`.reg`, `.shared`, `.local` or an instruction");
                    }
                    _ if self.tokens[self.at + 1].0 == Token::Mark(':') => self.label(entry)?,
                    _ => self.instruction(entry)?,
                },
                _ => return self.error("an instruction, a label, a declaration or `}`"),
            }
        }
        Ok(())
    }

    fn label(&mut self, entry: &mut Entry) -> Result<()> {
        let line = self.line();
        let name = self.name("a label")?;
        self.expect(':')?;
        if entry.labels.iter().any(|(known, _)| *known == name) {
            return Err(SyntaxError::new(line, "a new label", format!("`{name}` a second time")));
        }
        entry.labels.push((name, entry.instructions.len()));
        Ok(())
    }

    /// `.reg .f32 a, b, %f<8>;`
    fn registers(&mut self, entry: &mut Entry) -> Result<()> {
        self.next();
        let start = self.line();
        let ty = self.ty()?;
        if matches!(ty, Type::Tf32) {
            return Err(SyntaxError::new(start, "a register type (tf32 values live in .b32 registers)", "`.tf32`"));
        }
        loop {
            let name = self.name("a register's name")?;
            if self.eat('<') {
                let line = self.line();
                let count = self.small_integer("a count of registers")?;
                if count > 1 << 16 {
                    return Err(SyntaxError::new(line, "at most 65536 registers", format!("`{count}`")));
                }
                self.expect('>')?;
                for index in 0..count {
                    self.declare(entry, format!("{name}{index}"), ty)?;
                }
            } else {
                self.declare(entry, name, ty)?;
            }
            if !self.eat(',') {
                break;
            }
        }
        self.expect(';')
    }

    fn declare(&mut self, entry: &mut Entry, name: String, ty: Type) -> Result<()> {
        let line = self.line();
        let Some(scope) = self.scopes.last_mut() else { return self.error("a scope") };
        if scope.insert(name.clone(), entry.registers.len()).is_some() {
            return Err(SyntaxError::new(line, "a new register", format!("`{name}` a second time")));
        }
        entry.registers.push(Register { name, ty });
        Ok(())
    }

    fn ty(&mut self) -> Result<Type> {
        match self.peek() {
            Token::Word(word) => match word.strip_prefix('.').and_then(Type::parse) {
                Some(ty) => {
                    self.next();
                    Ok(ty)
                }
                None => self.error("a type such as `.f32`"),
            },
            _ => self.error("a type such as `.f32`"),
        }
    }

    fn register(&self, name: &str) -> Option<usize> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name).copied())
    }
}

/// The next multiple of `align` from `offset` on.
pub(crate) fn align_up(offset: u32, align: u32) -> u32 {
    offset.div_ceil(align) * align
}

/// Whether a space's variables may stand at module scope.
fn is_module_space(space: Space) -> bool {
    matches!(space, Space::Shared | Space::Constant)
}
