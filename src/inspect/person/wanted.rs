//! What a person is found by, and the forms in which it can stand in bytes.
//!
//! In text a token counts where it stands by itself: `C-1` is not in `C-10`, and an address not in a longer one. In bytes
//! nothing parts values from each other, so there it counts anywhere, and a token of few bytes not at all: it would be
//! found in what is nobody's. Ids are looked for by their first 15 characters, which both their forms have.
//!
//! Ids are looked for as they are, in UTF-16 too; anything else in all its [`spellings`]; and everything within base64, as it
//! is and in letters of one case.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::inspect::person::spelling::{Spelling, spellings};

/// Fewest bytes of a token that is looked for in bytes.
pub const RAW_BYTES_MIN: usize = 6;

/// Fewest bytes of a pattern within base64: fewer are found by chance.
const BASE64_BYTES_MIN: usize = 10;

/// Most bytes of a text that are looked for within base64.
const BASE64_TEXT_BYTES: usize = 120;

/// Characters that an id has in both its forms.
const ID_CHARS: usize = 15;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Of a record that is the person's: a contact, a lead, an account of nobody else.
    Id,
    /// Of a record that refers to the person: an order, a case.
    Record,
    Email,
    /// What storefronts know the person by.
    Key,
    /// What the operator gave: a name, a number.
    Text,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Record => "record",
            Self::Email => "email",
            Self::Key => "key",
            Self::Text => "text",
        }
    }
}

/// Something by which a person is found, and how it is known to be the person's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub what: What,
    pub text: String,
    pub how: String,
}

impl Token {
    pub fn is_too_short_for_bytes(&self) -> bool {
        self.text.len() < RAW_BYTES_MIN
    }
}

/// How a pattern stands for its token.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    token: usize,
    is_plain: bool,
}

/// All tokens of a person, looked for at once.
#[derive(Debug)]
pub struct Wanted {
    pub tokens: Vec<Token>,
    /// What is found whole.
    whole: (AhoCorasick, Vec<Pattern>),
    /// What begins a spelling of a token.
    beginnings: (AhoCorasick, Vec<(usize, Spelling)>, Vec<usize>),
}

impl Wanted {
    pub fn new(tokens: Vec<Token>) -> anyhow::Result<Self> {
        let (mut whole, mut spelt, mut beginnings) = (Vec::new(), Vec::new(), Vec::new());
        for (at, token) in tokens.iter().enumerate() {
            let pattern = |is_plain| Pattern { token: at, is_plain };
            let is_id = matches!(token.what, What::Id | What::Record);
            let text = match is_id {
                true => token.text.get(..ID_CHARS).unwrap_or(&token.text),
                false => &token.text,
            };
            for variant in in_cases(text, is_id) {
                let forms = in_base64(&variant.as_bytes()[..variant.len().min(BASE64_TEXT_BYTES)]);
                whole.extend(forms.into_iter().map(|form| (form, pattern(false))));
            }
            if is_id {
                whole.extend(in_utf16(text).map(|form| (form, pattern(false))));
                whole.push((text.as_bytes().to_owned(), pattern(true)));
                continue;
            }
            for spelling in spellings(text) {
                let number = spelt.len();
                beginnings.extend(spelling.beginnings().into_iter().map(|start| (start, number)));
                spelt.push((at, spelling));
            }
        }
        let (whole, beginnings) = (automaton(whole)?, automaton(beginnings)?);
        Ok(Self {
            tokens,
            whole,
            beginnings: (beginnings.0, spelt, beginnings.1),
        })
    }

    /// The tokens that stand by themselves in a text.
    pub fn in_text(&self, text: &[u8]) -> BTreeSet<usize> {
        self.find(
            text,
            |_| true,
            |pattern, start, end| {
                !pattern.is_plain || stands_alone(text, start, end, self.tokens[pattern.token].what)
            },
        )
    }

    /// The tokens that are anywhere in bytes.
    pub fn in_bytes(&self, bytes: &[u8]) -> BTreeSet<usize> {
        self.find(
            bytes,
            |token| !self.tokens[token].is_too_short_for_bytes(),
            |_, _, _| true,
        )
    }

    fn find(
        &self,
        bytes: &[u8],
        may: impl Fn(usize) -> bool,
        counts: impl Fn(Pattern, usize, usize) -> bool,
    ) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let (automaton, patterns) = &self.whole;
        for hit in automaton.find_overlapping_iter(bytes) {
            let pattern = patterns[hit.pattern().as_usize()];
            if may(pattern.token) && counts(pattern, hit.start(), hit.end()) {
                found.insert(pattern.token);
            }
        }
        let (automaton, spelt, numbers) = &self.beginnings;
        for hit in automaton.find_overlapping_iter(bytes) {
            let (token, spelling) = &spelt[numbers[hit.pattern().as_usize()]];
            if !may(*token) || found.contains(token) {
                continue;
            }
            let Some((end, is_plain)) = spelling.end(bytes, hit.start()) else {
                continue;
            };
            let pattern = Pattern {
                token: *token,
                is_plain,
            };
            if counts(pattern, hit.start(), end) {
                found.insert(*token);
            }
        }
        found
    }

    /// Whether a text is one of the tokens of a sort, as a whole.
    pub fn is_one(&self, text: &str, sorts: &[What]) -> bool {
        let is_it = |token: &Token| {
            sorts.contains(&token.what)
                && match token.what {
                    What::Id | What::Record => same_id(&token.text, text),
                    _ => token.text.to_lowercase() == text.to_lowercase(),
                }
        };
        self.tokens.iter().any(is_it)
    }
}

/// Whether two ids, of 15 or 18 characters, are of one record.
pub fn same_id(one: &str, other: &str) -> bool {
    match (one.get(..ID_CHARS), other.get(..ID_CHARS)) {
        (Some(first), Some(second)) => {
            first == second
                && [one.len(), other.len()]
                    .iter()
                    .all(|length| [15, 18].contains(length))
        }
        _ => false,
    }
}

fn automaton<P>(patterns: Vec<(Vec<u8>, P)>) -> anyhow::Result<(AhoCorasick, Vec<P>)> {
    let (texts, patterns): (Vec<Vec<u8>>, Vec<P>) = patterns.into_iter().unzip();
    let automaton = AhoCorasick::new(texts).context("look for so many texts at once: give fewer")?;
    Ok((automaton, patterns))
}

/// A text as it is; with letters beyond ASCII also in small ones and in capitals.
fn in_cases(text: &str, is_id: bool) -> BTreeSet<String> {
    let mut cases = BTreeSet::from([text.to_owned()]);
    if !is_id {
        cases.extend([text.to_lowercase(), text.to_uppercase()]);
    }
    cases
}

fn in_utf16(text: &str) -> [Vec<u8>; 2] {
    [
        text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    ]
}

/// What base64 makes of a text wherever it begins: the characters that nothing beside it changes.
fn in_base64(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for before in 0..3 {
        let bytes = [&vec![0; before][..], text].concat();
        let skipped = [0, 2, 3][before];
        let end = bytes.len() * 8 / 6;
        for engine in [&STANDARD, &URL_SAFE] {
            let form = engine.encode(&bytes).into_bytes();
            let form = form.get(skipped..end).unwrap_or_default();
            if form.len() >= BASE64_BYTES_MIN {
                forms.insert(form.to_owned());
            }
        }
    }
    forms
}

/// Whether a hit is not a part of something longer.
fn stands_alone(text: &[u8], start: usize, end: usize, what: What) -> bool {
    let joins = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80;
    let joins_key = |byte: u8| joins(byte) || matches!(byte, b'.' | b'_' | b'-' | b'+');
    let (before, after) = (&text[..start], &text[end..]);
    let is_free_before = match what {
        What::Id | What::Record | What::Text => before.last().is_none_or(|byte| !joins(*byte)),
        What::Email | What::Key => before.last().is_none_or(|byte| !joins_key(*byte)),
    };
    if !is_free_before && !is_escape(before) {
        return false;
    }
    match what {
        // The three that may follow belong to it.
        What::Id | What::Record => true,
        What::Text => after.first().is_none_or(|byte| !joins(*byte)),
        What::Email | What::Key => match after {
            [b'.' | b'-' | b'_' | b'+', next, ..] => !joins(*next),
            [next, ..] => !joins(*next),
            [] => true,
        },
    }
}

/// Whether a text ends in an escape of JSON, such as `\n`, whose letter is none.
fn is_escape(text: &[u8]) -> bool {
    let ends = |length: usize| text.len().checked_sub(length).map(|at| &text[at..]);
    ends(2).is_some_and(|end| end[0] == b'\\') || ends(6).is_some_and(|end| end.starts_with(b"\\u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(tokens: &[(What, &str)]) -> Wanted {
        let tokens = tokens.iter().map(|(what, text)| Token {
            what: *what,
            text: (*text).to_owned(),
            how: String::new(),
        });
        Wanted::new(tokens.collect()).unwrap()
    }

    #[test]
    fn a_token_stands_by_itself_in_text() {
        let wanted = wanted(&[
            (What::Id, "003000000000001AAA"),
            (What::Email, "ana@example.com"),
            (What::Key, "C-1"),
            (What::Text, "Ångström"),
        ]);
        for (text, expected) in [
            ("of 003000000000001AAA", &[0][..]),
            ("of 003000000000001 only", &[0]),
            ("of 003000000000001aaa, whatever its end", &[0]),
            ("not 1003000000000001AAA", &[]),
            ("not 00300000000000a", &[]),
            ("{\"email\":\"Ana@Example.com\"}", &[1]),
            ("Mail me.\\nana@example.com.", &[1]),
            ("joana@example.com, x.ana@example.com, ana@example.com.au", &[]),
            ("ana%40example.com", &[1]),
            ("key c-1, not C-10 or WC-1 or C-1-2", &[2]),
            ("C-10", &[]),
            ("ÅNGSTRÖM and \\u00e5ngstr\\u00f6m", &[3]),
            ("Ångströms", &[]),
            ("A\u{30a}NGSTRO\u{308}M", &[3]),
            ("A\u{30a}ngstro\u{308}ms", &[]),
        ] {
            let found: Vec<usize> = wanted.in_text(text.as_bytes()).into_iter().collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_token_is_found_in_bytes_in_every_form_and_a_short_one_is_not() {
        let wanted = wanted(&[(What::Email, "ana@example.com"), (What::Key, "C-1")]);
        let utf16: Vec<u8> = "Ana@example.com"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        let mut all = vec![b"0ANA@example.comC-1x".to_vec(), utf16];
        for before in ["", "1", "12", "123"] {
            let text = format!("{before}ana@example.com?");
            all.extend([
                STANDARD.encode(&text).into_bytes(),
                URL_SAFE.encode(&text).into_bytes(),
            ]);
        }
        for bytes in all {
            assert_eq!(wanted.in_bytes(&bytes), BTreeSet::from([0]), "{bytes:?}");
        }
        assert!(wanted.in_bytes(b"ana@example.org C-1").is_empty());
    }

    #[test]
    fn a_token_is_found_however_each_of_its_characters_is_written() {
        let wanted = wanted(&[
            (What::Email, "ana.quill+shop@example.com"),
            (What::Text, "Müßigbrück of O'Hara"),
            (What::Text, "Ana Quillson"),
        ]);
        let wide =
            |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for (bytes, expected) in [
            (b"ana.quill+shop%40example.com".to_vec(), 0),
            (b"ANA.quill%2bshop@Example.com".to_vec(), 0),
            (b"ana%2Equill%2Bshop%40example%2ecom".to_vec(), 0),
            (b"ana.quill\\u002bshop@example.com".to_vec(), 0),
            (b"ana.quill+shop\\u0040EXAMPLE.com".to_vec(), 0),
            (
                b"{\\\"e\\\":\\\"ana.quill\\\\u002Bshop\\\\u0040example.com".to_vec(),
                0,
            ),
            ("MÜßIGBRÜCK OF O'HARA".into(), 1),
            ("MÜSSIGBRÜCK OF O\\u0027HARA".into(), 1),
            ("mu\u{308}ßigbru\u{308}ck%20of+O%27Hara".into(), 1),
            (b"M\xfc\xdfigbr\xfcck of O'Hara".to_vec(), 1),
            (b"M%FC%DFigbr%fcck+of+O%27Hara".to_vec(), 1),
            (wide("MÜßIGBRÜCK of O'HARA", u16::to_le_bytes), 1),
            (wide("müßigbrÜck OF o'Hara", u16::to_be_bytes), 1),
            (b"name=Ana+Quillson&x".to_vec(), 2),
        ] {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(wanted.in_bytes(&bytes), BTreeSet::from([expected]), "{shown}");
            assert_eq!(wanted.in_text(&bytes), BTreeSet::from([expected]), "{shown}");
        }
    }
}
