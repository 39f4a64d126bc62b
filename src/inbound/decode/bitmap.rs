//! Reads the bitmaps in which an event's header names its fields.
//!
//! An entry is `0x8002` (fields of the event) or `4-0x01` (members of the compound at decimal position 4).
//! The digits are big-endian whole bytes; counted from the right, bit i means position i of the record that
//! the event was written with, the header being position 0. The top-level entry is absent when it has no
//! bits, so the first entry may be a nested one.

/// One entry of `changedFields`, `nulledFields` or `diffFields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The compound whose members the bits name; `None`: the event's own fields.
    pub parent: Option<usize>,
    digits: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `None` where the text is not of the form.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (parent, hex) = match text.iter().position(|byte| *byte == b'-') {
            Some(dash) => (Some(position(&text[..dash])?), &text[dash + 1..]),
            None => (None, text),
        };
        let digits = hex.strip_prefix(b"0x").or_else(|| hex.strip_prefix(b"0X"))?;
        let whole = !digits.is_empty() && digits.len().is_multiple_of(2);
        (whole && digits.iter().all(u8::is_ascii_hexdigit)).then_some(Self { parent, digits })
    }

    /// The positions that are set, in ascending order.
    pub fn positions(self) -> impl Iterator<Item = usize> + 'a {
        self.digits.rchunks(16).enumerate().flat_map(|(index, digits)| {
            let word = |word, digit: &u8| word << 4 | u64::from((digit & 0xf) + 9 * (digit >> 6));
            let mut rest = digits.iter().fold(0_u64, word);
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }
}

/// A decimal position. `parse` alone would take a sign.
fn position(text: &[u8]) -> Option<usize> {
    if text.iter().all(u8::is_ascii_digit) {
        str::from_utf8(text).ok()?.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_the_right() {
        let cases: [(&str, Option<usize>, &[usize]); 7] = [
            ("0x8002", None, &[1, 15]),
            ("0x00", None, &[]),
            ("0x100000000000800000", None, &[23, 68]),
            ("0xa0060140", None, &[6, 8, 17, 18, 29, 31]),
            ("0xA0060140", None, &[6, 8, 17, 18, 29, 31]),
            ("6-0x0180", Some(6), &[7, 8]),
            ("12-0x01", Some(12), &[0]),
        ];
        for (text, parent, expected) in cases {
            let entry = Entry::parse(text.as_bytes()).unwrap();
            assert_eq!(entry.parent, parent, "{text}");
            assert_eq!(entry.positions().collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let cases = [
            "",
            "0x",
            "0x1",
            "8002",
            "0x80g2",
            "-0x01",
            "+4-0x01",
            "4-",
            "4-01",
            "4-5-0x01",
            "x-0x01",
            "4-0x1",
            "99999999999999999999999-0x01",
            "0x0é",
        ];
        for text in cases {
            assert_eq!(Entry::parse(text.as_bytes()), None, "{text}");
        }
    }
}
