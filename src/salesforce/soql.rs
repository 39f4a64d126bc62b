//! Values in queries.

/// A text as a literal of a query.
pub fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal.push('\'');
    literal
}

/// Whether a key may stand in the path of an address. Of others some cannot: the platform takes `.xml` at the end for a
/// format and `%2F` for a slash.
pub fn is_plain(key: &str) -> bool {
    key.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_does_not_end_a_literal() {
        for (text, expected) in [
            ("C-7", "'C-7'"),
            ("O'Neil", r"'O\'Neil'"),
            (r"a\' OR", r"'a\\\' OR'"),
        ] {
            assert_eq!(literal(text), expected);
        }
    }
}
