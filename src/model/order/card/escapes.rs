//! Blanks and signs as web pages and addresses write them: `&nbsp;`, `&#160;`, `%20`, `<br>`.

/// Most characters of the number of a character: `&#x2011;`.
const CODE_MAX: usize = 6;

/// Of a web page: HTML's names of blanks, dashes and characters that nobody sees.
const NAMED: [(&str, char); 11] = [
    ("&nbsp;", ' '),
    ("&ensp;", ' '),
    ("&emsp;", ' '),
    ("&thinsp;", ' '),
    ("&hyphen;", '-'),
    ("&dash;", '-'),
    ("&ndash;", '-'),
    ("&mdash;", '-'),
    ("&middot;", '.'),
    ("&shy;", '\u{ad}'),
    ("&tab;", '\t'),
];

/// The ends of lines of a web page; a blank, so that what stands before and after one is read together.
const BREAKS: [(&str, char); 4] = [("<br>", ' '), ("<br/>", ' '), ("<br />", ' '), ("<wbr>", ' ')];

/// Of an address: percent and two digits. Others are left out because track data begin with `%B` and the card number.
const PERCENT: [(&str, char); 9] = [
    ("%20", ' '),
    ("%C2%A0", ' '),
    ("%09", '\t'),
    ("%0A", '\n'),
    ("%0D", '\r'),
    ("%2B", '+'),
    ("%2C", ','),
    ("%2D", '-'),
    ("%2F", '/'),
];

/// The character that an escape at the beginning of a text stands for, and the bytes of the escape.
pub fn read(text: &str, steps: &mut usize) -> Option<(char, usize)> {
    let known: &[(&str, char)] = match text.as_bytes().first()? {
        b'&' => &NAMED,
        b'%' => &PERCENT,
        b'<' => &BREAKS,
        _ => return None,
    };
    *steps += known.len();
    let begins = |escape: &str| {
        let bytes = text.as_bytes().get(..escape.len());
        bytes.is_some_and(|bytes| bytes.eq_ignore_ascii_case(escape.as_bytes()))
    };
    let named = known.iter().find(|(escape, _)| begins(escape));
    named
        .map(|(escape, meant)| (*meant, escape.len()))
        .or_else(|| numbered(text))
}

/// `&#160;`, `&#xA0;`
fn numbered(text: &str) -> Option<(char, usize)> {
    let rest = text.strip_prefix("&#")?;
    let end = rest.bytes().take(CODE_MAX + 2).position(|byte| byte == b';')?;
    let code = &rest[..end];
    let code = match code.strip_prefix(['x', 'X']) {
        Some(code) => u32::from_str_radix(code, 16),
        None => code.parse(),
    };
    Some((char::from_u32(code.ok()?)?, end + 3))
}
