//! Splits SOQL text into words, literals and marks.
//!
//! A word keeps its dots, so `Account.Owner.Name` is one token. Dates and datetimes are told from numbers by
//! shape; an offset's plus sign may have become a space on its way through a URL, and is read as one.

use crate::clock::{Millis, parse_date, parse_datetime};

use super::Malformed;

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    Date(Millis),
    DateTime(Millis),
    /// `TODAY`, `LAST_N_DAYS:7`, in capitals.
    DateName(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum TokenKind {
    Word,
    Mark,
    Literal(Literal),
}

#[derive(Clone, Debug)]
pub struct Token<'a> {
    pub kind: TokenKind,
    pub text: &'a str,
}

/// `NAME` or `NAME:n`, in capitals.
pub fn is_date_name(name: &str) -> bool {
    super::dates::range(name, 0).is_some()
}

pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, Malformed> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (kind, length) = match byte {
            b'\'' => quoted(&text[at..])?,
            b'0'..=b'9' | b'-' | b'+' | b'.' => number_or_date(&text[at..])?,
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => (TokenKind::Word, word_length(&bytes[at..])),
            _ => mark(&text[at..])?,
        };
        found.push(Token {
            kind,
            text: &text[at..at + length],
        });
        at += length;
    }
    Ok(found)
}

fn word_length(bytes: &[u8]) -> usize {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':');
    bytes.iter().position(|byte| !part(byte)).unwrap_or(bytes.len())
}

fn mark(text: &str) -> Result<(TokenKind, usize), Malformed> {
    let two = ["!=", "<>", "<=", ">="].iter().any(|mark| text.starts_with(mark));
    if two {
        return Ok((TokenKind::Mark, 2));
    }
    match text.chars().next() {
        Some('(' | ')' | ',' | '=' | '<' | '>') => Ok((TokenKind::Mark, 1)),
        other => Err(Malformed(format!("unexpected token: '{}'", other.unwrap_or(' ')))),
    }
}

fn quoted(text: &str) -> Result<(TokenKind, usize), Malformed> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => return Ok((TokenKind::Literal(Literal::Text(value)), at + 1)),
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n' | 'N') => value.push('\n'),
                Some('r' | 'R') => value.push('\r'),
                Some('t' | 'T') => value.push('\t'),
                Some('b' | 'B') => value.push('\u{8}'),
                Some('f' | 'F') => value.push('\u{c}'),
                // Kept with their backslash: LIKE gives them a meaning of their own.
                Some(escaped @ ('%' | '_')) => value.extend(['\\', escaped]),
                Some(escaped @ ('\'' | '"' | '\\')) => value.push(escaped),
                Some(escaped) => {
                    return Err(Malformed(format!(
                        "Invalid string literal '{text}'. Illegal character sequence '\\{escaped}' in string literal."
                    )));
                }
                None => break,
            },
            _ => value.push(character),
        }
    }
    Err(Malformed(format!(
        "line 1:{} mismatched character '<EOF>' expecting '''",
        text.len()
    )))
}

fn number_or_date(text: &str) -> Result<(TokenKind, usize), Malformed> {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b':');
    let bytes = text.as_bytes();
    let mut length = bytes.iter().position(|byte| !part(byte)).unwrap_or(bytes.len());
    let is_datetime = bytes
        .get(..11)
        .is_some_and(|start| start[4] == b'-' && start[10].eq_ignore_ascii_case(&b'T'));
    if is_datetime && !ends_in_zone(&text[..length]) && bytes.get(length) == Some(&b' ') {
        let zone = bytes.get(length + 1..length + 6);
        if zone.is_some_and(|zone| zone[0].is_ascii_digit() && matches!(zone[2], b':' | b'0'..=b'9')) {
            let colon = bytes.get(length + 3) == Some(&b':');
            length += if colon { 6 } else { 5 };
        }
    }
    let written = &text[..length];
    let literal = if is_datetime {
        datetime(written).map(Literal::DateTime)
    } else if bytes.get(4) == Some(&b'-') && length == 10 {
        parse_date(written).map(Literal::Date)
    } else {
        written
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Literal::Number)
    };
    match literal {
        Some(literal) => Ok((TokenKind::Literal(literal), length)),
        None => Err(Malformed(format!("unexpected token: '{written}'"))),
    }
}

fn ends_in_zone(text: &str) -> bool {
    let time = text.get(11..).unwrap_or_default();
    time.ends_with(['Z', 'z']) || time.contains(['+', '-'])
}

fn datetime(text: &str) -> Option<Millis> {
    parse_datetime(&text.replace(' ', "+")).or_else(|| {
        // An offset without a colon, as in the platform's own JSON.
        let (rest, offset) = text.split_at_checked(text.len().checked_sub(5)?)?;
        let (hours, minutes) = offset.split_at_checked(3)?;
        parse_datetime(&format!("{rest}{}:{minutes}", hours.replace(' ', "+")))
    })
}
