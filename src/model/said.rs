//! What people say of themselves and of why they do something: names and reasons, as the audit keeps them.

/// Most bytes of one.
pub const BYTES_MAX: usize = 4_000;

/// Why such a text is not taken, as one sentence; `what` is what it is called where it was given.
pub fn refusal(what: &str, text: &str) -> Option<String> {
    if text.len() > BYTES_MAX {
        let bytes = text.len();
        return Some(format!("{what} has {bytes} bytes: give at most {BYTES_MAX}"));
    }
    let control = text.chars().find(|c| c.is_control())?;
    let code = u32::from(control);
    Some(format!(
        "{what} has the control character U+{code:04X}: leave it out"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_line_of_so_many_bytes() {
        for text in ["", "kim", "Zoë called: \u{5d0}", &"a".repeat(BYTES_MAX)] {
            assert_eq!(refusal("reason", text), None, "{text}");
        }
        let long = "é".repeat(BYTES_MAX / 2 + 1);
        assert_eq!(
            refusal("reason", &long).unwrap(),
            "reason has 4002 bytes: give at most 4000"
        );
        for (text, code) in [("a\nb", "U+000A"), ("\u{1b}[31m", "U+001B"), ("\u{85}", "U+0085")] {
            let told = refusal("actor", text).unwrap();
            assert_eq!(
                told,
                format!("actor has the control character {code}: leave it out")
            );
        }
    }
}
