//! How a long text changed, in the form change events carry: a unified diff under the new text's SHA-256.
//!
//! `--- \n+++ <64 hex digits>\n@@ -2,7 +2,7 @@\n ...`. The platform sends the text itself where more than half of
//! its characters or a quarter of its lines changed, and where the difference would be no shorter.

/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;
/// Larger tables of lines are not compared line by line: everything between the first and last change counts.
const CELLS_MAX: usize = 1 << 20;

/// One line of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The difference from `before` to `after`; none where the whole text is to be sent.
pub(super) fn unified(before: &str, after: &str) -> Option<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (
        before.split_inclusive('\n').collect(),
        after.split_inclusive('\n').collect(),
    );
    let edits = edits(&old, &new);
    let (mut lines, mut bytes) = (0usize, 0usize);
    for edit in &edits {
        if let Edit::Gone(line) | Edit::New(line) = edit {
            (lines, bytes) = (lines + 1, bytes + line.len());
        }
    }
    let changed_lines = lines.div_ceil(2);
    if changed_lines * 4 > old.len().max(new.len()) || bytes > before.len().max(after.len()) {
        return None;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, after.as_bytes());
    let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = format!("--- \n+++ {hash}\n");
    for hunk in hunks(&edits) {
        write_hunk(&mut text, &edits, hunk);
    }
    (text.len() < after.len()).then_some(text)
}

/// The shortest edits between two lists of lines, or nearly.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Edit<'a>> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let (old_middle, new_middle) = (
        &old_rest[..old_rest.len() - tail],
        &new_rest[..new_rest.len() - tail],
    );
    let mut edits: Vec<Edit<'a>> = old[..head].iter().map(|line| Edit::Same(line)).collect();
    if old_middle.len().saturating_mul(new_middle.len()) > CELLS_MAX {
        edits.extend(old_middle.iter().map(|line| Edit::Gone(line)));
        edits.extend(new_middle.iter().map(|line| Edit::New(line)));
    } else {
        middle(old_middle, new_middle, &mut edits);
    }
    edits.extend(
        old_rest[old_rest.len() - tail..]
            .iter()
            .map(|line| Edit::Same(line)),
    );
    edits
}

/// By the longest common subsequence.
fn middle<'a>(old: &[&'a str], new: &[&'a str], edits: &mut Vec<Edit<'a>>) {
    let width = new.len() + 1;
    let mut longest = vec![0u32; (old.len() + 1) * width];
    for at in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            longest[at * width + to] = if old[at] == new[to] {
                longest[(at + 1) * width + to + 1] + 1
            } else {
                longest[(at + 1) * width + to].max(longest[at * width + to + 1])
            };
        }
    }
    let (mut at, mut to) = (0, 0);
    while at < old.len() || to < new.len() {
        if at < old.len() && to < new.len() && old[at] == new[to] {
            edits.push(Edit::Same(old[at]));
            (at, to) = (at + 1, to + 1);
        } else if to == new.len()
            || (at < old.len() && longest[(at + 1) * width + to] >= longest[at * width + to + 1])
        {
            edits.push(Edit::Gone(old[at]));
            at += 1;
        } else {
            edits.push(Edit::New(new[to]));
            to += 1;
        }
    }
}

/// Ranges of edits that are shown together.
fn hunks(edits: &[Edit<'_>]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in edits
        .iter()
        .enumerate()
        .filter(|(_, edit)| !matches!(edit, Edit::Same(_)))
    {
        let (start, end) = (at.saturating_sub(CONTEXT), (at + CONTEXT + 1).min(edits.len()));
        match hunks.last_mut() {
            Some(last) if last.end >= start => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

fn write_hunk(text: &mut String, edits: &[Edit<'_>], hunk: std::ops::Range<usize>) {
    let count = |edits: &[Edit<'_>]| {
        let old = edits.iter().filter(|edit| !matches!(edit, Edit::New(_))).count();
        let new = edits.iter().filter(|edit| !matches!(edit, Edit::Gone(_))).count();
        (old, new)
    };
    let (old_before, new_before) = count(&edits[..hunk.start]);
    let (old_lines, new_lines) = count(&edits[hunk.clone()]);
    // A side without lines is said to start at the line before.
    let start = |before: usize, lines: usize| if lines == 0 { before } else { before + 1 };
    text.push_str(&format!(
        "@@ -{},{old_lines} +{},{new_lines} @@\n",
        start(old_before, old_lines),
        start(new_before, new_lines)
    ));
    for edit in &edits[hunk] {
        let (sign, line) = match edit {
            Edit::Same(line) => (' ', line),
            Edit::Gone(line) => ('-', line),
            Edit::New(line) => ('+', line),
        };
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[usize]) -> String {
        let lines = lines
            .iter()
            .map(|line| format!("line {line} of a text that goes on for a while"));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_small_change_is_told_with_the_hash_of_the_new_text() {
        let before: Vec<usize> = (1..=40).collect();
        let mut after = before.clone();
        after[9] = 1000;
        after.remove(29);
        let diff = unified(&text(&before), &text(&after)).unwrap();
        let lines: Vec<&str> = diff.lines().collect();
        assert_eq!(lines[0], "--- ");
        assert_eq!((&lines[1][..4], lines[1].len()), ("+++ ", 68));
        assert_eq!(lines[2], "@@ -7,7 +7,7 @@");
        assert_eq!(lines[6], "-line 10 of a text that goes on for a while");
        assert_eq!(lines[7], "+line 1000 of a text that goes on for a while");
        assert_eq!(lines[11], "@@ -27,7 +27,6 @@");
        assert_eq!(lines.len(), 19);
    }

    #[test]
    fn a_large_change_is_not_told_by_its_difference() {
        let before: Vec<usize> = (1..=40).collect();
        let mut after = before.clone();
        after.iter_mut().take(15).for_each(|line| *line += 100);
        assert_eq!(unified(&text(&before), &text(&after)), None);
        assert_eq!(
            unified(&"x".repeat(2000), &"y".repeat(2000)),
            None,
            "one long line"
        );
    }

    #[test]
    fn a_last_line_without_its_end_says_so() {
        let before: Vec<usize> = (1..=30).collect();
        let mut after = before.clone();
        after[29] = 99;
        let diff = unified(&text(&before), &text(&after)).unwrap();
        assert_eq!(diff.matches("\\ No newline at end of file").count(), 2);
    }
}
