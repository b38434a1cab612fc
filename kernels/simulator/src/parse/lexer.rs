//! Text to tokens, each with its line.

use super::SyntaxError;

/// A token of PTX text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name, an opcode with its modifiers (`ld.global.v4.f32`), a directive (`.reg`), a special register (`%tid.x`).
    Word(String),
    /// An integer literal, in two's complement.
    Integer(u64),
    /// `0f3F800000`: the bits of an f32.
    Single(u32),
    /// `0d3FF0000000000000` or `1.5`: an f64.
    Double(f64),
    /// A quoted string, without its quotes.
    Text(String),
    /// A punctuation character.
    Mark(char),
    /// The end of the text.
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(word) => write!(f, "`{word}`"),
            Token::Integer(value) => write!(f, "`{value}`"),
            Token::Single(bits) => write!(f, "`0f{bits:08X}`"),
            Token::Double(value) => write!(f, "`{value}`"),
            Token::Text(text) => write!(f, "\"{text}\""),
            Token::Mark(mark) => write!(f, "`{mark}`"),
            Token::End => write!(f, "the end of the text"),
        }
    }
}

/// Splits a text into tokens and their lines; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, u32)>, SyntaxError> {
    let mut lexer = Lexer { rest: text, line: 1 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank()?;
        let line = lexer.line;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push((token, line));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

impl<'a> Lexer<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (head, rest) = self.rest.split_at(bytes);
        self.line += head.matches('\n').count() as u32;
        self.rest = rest;
        head
    }

    fn skip_blank(&mut self) -> Result<(), SyntaxError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if self.rest.starts_with("//") {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                let Some(end) = self.rest.find("*/") else {
                    return Err(SyntaxError::new(self.line, "`*/`", "a comment that does not end"));
                };
                self.take(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Token, SyntaxError> {
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        if first.is_ascii_digit() {
            return self.number();
        }
        if first == '"' {
            let Some(end) = self.rest[1..].find('"') else {
                return Err(SyntaxError::new(self.line, "`\"`", "a string that does not end"));
            };
            let quoted = self.take(end + 2);
            return Ok(Token::Text(quoted[1..=end].to_owned()));
        }
        let word = self.word_length();
        if word == 0 {
            return Ok(Token::Mark(self.take(first.len_utf8()).chars().next().unwrap_or(first)));
        }
        // A lone `%` is the remainder of constant expressions.
        let word = self.take(word);
        Ok(if word == "%" { Token::Mark('%') } else { Token::Word(word.to_owned()) })
    }

    /// Bytes of the word at the front; `::` belongs to it (`.L2::128B`, `.shared::cta`).
    fn word_length(&self) -> usize {
        let mut length = 0;
        loop {
            let rest = &self.rest[length..];
            length += rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let after = &self.rest[length..];
            if length > 0 && after.starts_with("::") && after[2..].starts_with(is_name) {
                length += 2;
            } else {
                return length;
            }
        }
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let mut end = self.rest.find(|c| !is_name(c) || c == '%').unwrap_or(self.rest.len());
        // 1.5e-3: the sign belongs to the number; a hexadecimal number has no exponent.
        let decimal = !self.rest.starts_with("0x") && !self.rest.starts_with("0f") && !self.rest.starts_with("0d");
        if decimal && self.rest[..end].contains('.') && self.rest[..end].ends_with(['e', 'E']) {
            let after = &self.rest[end..];
            if after.starts_with(['+', '-']) {
                end += 1 + after[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len() - 1);
            }
        }
        let line = self.line;
        let text = self.take(end);
        literal(text).ok_or_else(|| SyntaxError::new(line, "a number", format!("`{text}`")))
    }
}

fn literal(text: &str) -> Option<Token> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Token::Integer);
    let hexadecimal = |prefix: [&str; 2], digits: usize| {
        let body = text.strip_prefix(prefix[0]).or_else(|| text.strip_prefix(prefix[1]))?;
        (body.len() == digits).then(|| u64::from_str_radix(body, 16).ok()).flatten()
    };
    if let Some(bits) = hexadecimal(["0f", "0F"], 8) {
        return Some(Token::Single(bits as u32));
    }
    if let Some(bits) = hexadecimal(["0d", "0D"], 16) {
        return Some(Token::Double(f64::from_bits(bits)));
    }
    let integer = text.strip_suffix('U').unwrap_or(text);
    if let Some(digits) = integer.strip_prefix("0x").or_else(|| integer.strip_prefix("0X")) {
        return radix(digits, 16);
    }
    if let Some(digits) = integer.strip_prefix("0b").or_else(|| integer.strip_prefix("0B")) {
        return radix(digits, 2);
    }
    if text.contains('.') {
        return text.parse().ok().map(Token::Double);
    }
    match integer.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => radix(digits, 8),
        _ => radix(integer, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Token> {
        tokens(text).unwrap().into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn literals_of_every_kind() {
        let expected = [
            Token::Integer(31),
            Token::Integer(31),
            Token::Integer(31),
            Token::Integer(5),
            Token::Single(0x3f80_0000),
            Token::Double(1.0),
            Token::Double(1.5e-3),
            Token::End,
        ];
        assert_eq!(kinds("31 0x1FU 037 0b101 0f3F800000 0d3FF0000000000000 1.5e-3"), expected);
        assert!(tokens("0f3F80").is_err());
        assert!(tokens("12ab").is_err());
    }

    #[test]
    fn comments_keep_the_count_of_lines() {
        let tokens = tokens("/* one\ntwo */ a // rest\n\n  cp.async.cg.shared.global.L2::128B L:").unwrap();
        assert_eq!(tokens[0], (Token::Word("a".into()), 2));
        assert_eq!(tokens[1], (Token::Word("cp.async.cg.shared.global.L2::128B".into()), 4));
        assert_eq!(tokens[2..4], [(Token::Word("L".into()), 4), (Token::Mark(':'), 4)]);
    }
}
