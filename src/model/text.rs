//! Text that was checked where it was read, and is carried as the bytes it came as.
//!
//! Most texts of an event go to a column without anyone looking into them, and SQLite takes bytes. A `&str` can
//! only be made by the standard library's check, which for the short texts that events are made of costs more
//! than all else that decoding does; looking for bytes above 127 a word at a time costs little, and only
//! text that has some needs the full check. Whoever needs a `&str` pays for it then.

use std::fmt;

use serde::{Serialize, Serializer};

/// Text that is UTF-8.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// `None` where the bytes are not UTF-8.
    #[inline(always)]
    pub fn checked(bytes: &'a [u8]) -> Option<Self> {
        (is_ascii(bytes) || str::from_utf8(bytes).is_ok()).then_some(Self(bytes))
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub fn as_str(self) -> &'a str {
        // Never the default: there is no way to make one of other bytes.
        str::from_utf8(self.0).unwrap_or_default()
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    // The last word overlaps the ones before it, so that no bytes are left over.
    match bytes.last_chunk::<8>() {
        Some(last) => {
            let (words, _) = bytes.as_chunks::<8>();
            let seen = words.iter().fold(u64::from_le_bytes(*last), |seen, word| {
                seen | u64::from_le_bytes(*word)
            });
            seen & HIGH_BITS == 0
        }
        None => bytes.iter().fold(0, |seen, byte| seen | byte) < 0x80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_standard_library_takes() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..0x80)).collect();
            if random.bool() && !bytes.is_empty() {
                let place = random.usize(..bytes.len());
                bytes[place] = random.u8(..);
            }
            if random.u8(..4) == 0 {
                bytes.extend("é€𝄞".bytes().skip(random.usize(..2)));
            }
            let expected = str::from_utf8(&bytes).ok();
            assert_eq!(Text::checked(&bytes).map(Text::as_str), expected, "{bytes:?}");
            refused += usize::from(expected.is_none());
        }
        assert!((1_000..19_000).contains(&refused), "{refused} were not UTF-8");
    }
}
