//! Texts that came as a difference to what they were.
//!
//! A long text may be sent as a unified diff whose head names the SHA-256 of the whole new text:
//! `--- \n+++ <64 hex digits>\n@@ -1,3 +1,4 @@\n ...` (Change Data Capture guide, "diffFields"). The result is
//! taken only if it has that hash: what the diff was made from is not certain to be what is stored, since
//! browsers send other line ends than the org keeps, and the org trims.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

/// Most lines a result may have; a text field holds at most 131,072 characters.
const LINES_MAX: usize = 200_000;

/// How a difference begins that was erased: what follows is the whole text that stands in. No real one begins so.
pub const WHOLE: &str = "=== ";

/// The new text; `None` where the diff does not fit the old one, or the result is not the text that was meant.
pub fn patch(old: &str, diff: &str) -> Option<String> {
    if let Some(whole) = diff.strip_prefix(WHOLE) {
        return Some(whole.to_owned());
    }
    let mut lines = diff.strip_suffix('\n').unwrap_or(diff).split('\n');
    lines.next()?.strip_prefix("---")?;
    let hash = lines.next()?.strip_prefix("+++")?.trim();
    let hunks: Vec<&str> = lines.collect();
    let old_lines: Vec<&str> = old.split('\n').collect();
    let new_lines = apply(&old_lines, &hunks)?;
    let new = new_lines.join("\n");
    // A last line without an end, and one whose end was not counted, look the same in a diff.
    let trimmed = new.trim_end_matches('\n');
    [new.as_str(), trimmed, &format!("{trimmed}\n")]
        .into_iter()
        .find(|text| is(text, hash))
        .map(str::to_owned)
}

fn is(text: &str, hash: &str) -> bool {
    let mut hex = String::with_capacity(64);
    for byte in digest(&SHA256, text.as_bytes()).as_ref() {
        let _ = write!(hex, "{byte:02x}");
    }
    hex.eq_ignore_ascii_case(hash)
}

fn apply<'t>(old: &[&'t str], hunks: &[&'t str]) -> Option<Vec<&'t str>> {
    let mut new = Vec::with_capacity(old.len());
    let mut at = 0;
    for line in hunks {
        if new.len() > LINES_MAX {
            return None;
        }
        if let Some(head) = line.strip_prefix("@@ ") {
            let start = first_line(head)?;
            new.extend_from_slice(old.get(at..start)?);
            at = start;
        } else if let Some(text) = line.strip_prefix('+') {
            new.push(text);
        } else if let Some(text) = line.strip_prefix('-') {
            if *old.get(at)? != text {
                return None;
            }
            at += 1;
        } else if line.starts_with('\\') {
            // `\ No newline at end of file`
        } else {
            let text = line.strip_prefix(' ').unwrap_or(line);
            if *old.get(at)? != text {
                return None;
            }
            new.push(text);
            at += 1;
        }
    }
    new.extend_from_slice(old.get(at..)?);
    Some(new)
}

/// Index of the old line that a hunk begins at: `-3,2 +3,4 @@` begins at 2; `-0,0` before all.
fn first_line(head: &str) -> Option<usize> {
    let old = head.strip_prefix('-')?.split([',', ' ']).next()?;
    let number: usize = old.parse().ok()?;
    // A hunk that takes nothing away names the line it comes after.
    let takes_nothing = head.split(' ').next()?.ends_with(",0");
    Some(if takes_nothing {
        number
    } else {
        number.checked_sub(1)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> String {
        digest(&SHA256, text.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    #[test]
    fn a_difference_is_taken_only_if_it_gives_the_text_that_was_meant() {
        let old = "one\ntwo\nthree\nfour\nfive";
        let cases = [
            ("@@ -2,1 +2,1 @@\n-two\n+TWO", Some("one\nTWO\nthree\nfour\nfive")),
            (
                "@@ -1,2 +1,3 @@\n one\n+and\n two\n@@ -5 +6,1 @@\n-five\n+6\n",
                Some("one\nand\ntwo\nthree\nfour\n6"),
            ),
            (
                "@@ -0,0 +1,1 @@\n+zero",
                Some("zero\none\ntwo\nthree\nfour\nfive"),
            ),
            (
                "@@ -5,0 +6,1 @@\n+six\n\\ No newline at end of file",
                Some("one\ntwo\nthree\nfour\nfive\nsix"),
            ),
            ("@@ -2,1 +2,1 @@\n-2\n+TWO", None),
            ("@@ -9,1 +9,1 @@\n-x\n+y", None),
            ("@@ nonsense", None),
        ];
        for (hunks, expected) in cases {
            let diff = format!("--- \n+++ {}\n{hunks}", hash(expected.unwrap_or("?")));
            assert_eq!(patch(old, &diff).as_deref(), expected, "{hunks}");
        }
        let wrong = format!("--- \n+++ {}\n@@ -2,1 +2,1 @@\n-two\n+TWO", hash("another"));
        assert_eq!(patch(old, &wrong), None);
        assert_eq!(patch(old, "+++ --- "), None);
        assert_eq!(patch(old, ""), None);
    }

    #[test]
    fn the_last_line_may_or_may_not_end() {
        let diff = format!("--- \n+++ {}\n@@ -1,1 +1,1 @@\n-a\n+b\n", hash("b\n"));
        assert_eq!(patch("a", &diff).as_deref(), Some("b\n"));
    }
}
