//! What a character is to somebody who reads a number.

/// What a character counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Character {
    Digit(u8),
    Letter,
    Blank,
    /// Punctuation and signs; dashes of all kinds are `-`.
    Sign(char),
    /// What is not seen: zero-width characters, marks on other characters.
    Nothing,
}

/// First character, the digit it stands for, and how many follow each other. In the order of the characters.
const DIGITS: [(u32, u8, u32); 63] = [
    (0x30, 0, 10),
    (0xB2, 2, 2),
    (0xB9, 1, 1),
    (0x660, 0, 10),
    (0x6F0, 0, 10),
    (0x7C0, 0, 10),
    (0x966, 0, 10),
    (0x9E6, 0, 10),
    (0xA66, 0, 10),
    (0xAE6, 0, 10),
    (0xB66, 0, 10),
    (0xBE6, 0, 10),
    (0xC66, 0, 10),
    (0xCE6, 0, 10),
    (0xD66, 0, 10),
    (0xDE6, 0, 10),
    (0xE50, 0, 10),
    (0xED0, 0, 10),
    (0xF20, 0, 10),
    (0x1040, 0, 10),
    (0x1090, 0, 10),
    (0x17E0, 0, 10),
    (0x1810, 0, 10),
    (0x1946, 0, 10),
    (0x19D0, 0, 10),
    (0x1A80, 0, 10),
    (0x1A90, 0, 10),
    (0x1B50, 0, 10),
    (0x1BB0, 0, 10),
    (0x1C40, 0, 10),
    (0x1C50, 0, 10),
    (0x2070, 0, 1),
    (0x2074, 4, 6),
    (0x2080, 0, 10),
    (0x2460, 1, 9),
    (0x24EA, 0, 1),
    (0x24F5, 1, 9),
    (0x24FF, 0, 1),
    (0x2776, 1, 9),
    (0x2780, 1, 9),
    (0x278A, 1, 9),
    (0xA620, 0, 10),
    (0xA8D0, 0, 10),
    (0xA900, 0, 10),
    (0xA9D0, 0, 10),
    (0xA9F0, 0, 10),
    (0xAA50, 0, 10),
    (0xABF0, 0, 10),
    (0xFF10, 0, 10),
    (0x104A0, 0, 10),
    (0x10D30, 0, 10),
    (0x11066, 0, 10),
    (0x110F0, 0, 10),
    (0x11136, 0, 10),
    (0x111D0, 0, 10),
    // Mathematical digits, five styles after each other.
    (0x1D7CE, 0, 10),
    (0x1D7D8, 0, 10),
    (0x1D7E2, 0, 10),
    (0x1D7EC, 0, 10),
    (0x1D7F6, 0, 10),
    (0x1E140, 0, 10),
    (0x1E950, 0, 10),
    (0x1FBF0, 0, 10),
];

impl Character {
    pub fn of(c: char) -> Self {
        match c {
            '0'..='9' => Self::Digit(c as u8 - b'0'),
            _ if is_unseen(c) => Self::Nothing,
            // No-break, narrow and ideographic blanks too; and what pastes as one.
            _ if c.is_whitespace() || matches!(c, '\u{2800}' | '\u{3164}') => Self::Blank,
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Self::Sign(c),
            _ => match digit(c) {
                Some(digit) => Self::Digit(digit),
                None if is_dash(c) => Self::Sign('-'),
                None if matches!(
                    c,
                    '.' | '\u{b7}'
                        | '\u{2022}'
                        | '\u{2024}'
                        | '\u{2219}'
                        | '\u{22c5}'
                        | '\u{ff0e}'
                        | '\u{3002}'
                ) =>
                {
                    Self::Sign('.')
                }
                None if matches!(c, '\u{2044}' | '\u{2215}' | '\u{ff0f}') => Self::Sign('/'),
                None if c.is_alphanumeric() => Self::Letter,
                None => Self::Sign(c),
            },
        }
    }
}

fn digit(c: char) -> Option<u8> {
    let c = u32::from(c);
    let index = DIGITS
        .partition_point(|(first, _, _)| *first <= c)
        .checked_sub(1)?;
    let (first, value, count) = DIGITS[index];
    let offset = c - first;
    u8::try_from(offset)
        .ok()
        .filter(|_| offset < count)
        .map(|offset| value + offset)
}

fn is_dash(c: char) -> bool {
    matches!(
        c,
        '\u{58a}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{207b}'
                | '\u{208b}'
                | '\u{2212}'
                | '\u{2500}'
                | '\u{2501}'
                | '\u{2e3a}'
                | '\u{2e3b}'
                | '\u{30fc}'
                | '\u{fe58}'
                | '\u{fe63}'
                | '\u{ff0d}'
                | '\u{ff70}'
    )
}

/// Format characters, marks that combine, variation selectors and the like.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}' | '\u{e}'..='\u{1b}' | '\u{7f}' | '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}'
            | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}
