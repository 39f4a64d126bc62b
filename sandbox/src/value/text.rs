//! A text of a row. Short ones, which most are, lie in the row itself; long ones are shared.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// So many bytes fit where the address of a longer text would be.
const SHORT_BYTES: usize = 22;

/// An immutable text; a clone costs no allocation.
#[derive(Clone)]
pub struct Text(Inner);

#[derive(Clone)]
enum Inner {
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    Long(Arc<str>),
}

impl Text {
    fn short(text: &str) -> Option<Self> {
        let mut bytes = [0; SHORT_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        let length = text.len() as u8;
        Some(Self(Inner::Short { length, bytes }))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::short(text).unwrap_or_else(|| Self(Inner::Long(text.into())))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self::short(&text).unwrap_or(Self(Inner::Long(text)))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            // Only whole texts are ever put in.
            Inner::Short { length, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default()
            }
            Inner::Long(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;

    #[test]
    fn texts_of_every_length_are_what_they_were() {
        for length in 0..40 {
            let text = "é".repeat(length);
            assert_eq!(&*Text::from(text.as_str()), text);
            assert_eq!(Text::from(text.clone()), Text::from(Arc::<str>::from(text)));
        }
        assert_eq!(size_of::<Value>(), 24, "a value is no larger for it");
    }
}
