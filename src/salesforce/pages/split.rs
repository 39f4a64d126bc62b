//! A body that cannot be read as JSON, taken apart into its records, so that they can be read one by one.
//!
//! Looks at brackets and quotes alone, which a value that cannot be read leaves as they are.

/// A list of records, and the body without it.
pub(super) struct Parts<'b> {
    pub records: Vec<&'b [u8]>,
    /// The body with an empty list in place of the records.
    pub rest: Vec<u8>,
}

/// Takes apart a list of records, or an object whose member `records` is one; `None` where the body is neither, or is
/// cut off.
pub(super) fn split(body: &[u8]) -> Option<Parts<'_>> {
    let body = body.trim_ascii();
    let start = match body.first()? {
        b'[' => 0,
        b'{' => {
            let (.., value) = members(body)?.find(|(key, _)| *key == b"records")?;
            (body[value] == b'[').then_some(value)?
        }
        _ => return None,
    };
    let end = value_end(body, start)?;
    let mut records = Vec::new();
    let mut at = skip_blank(body, start + 1);
    while at < end - 1 {
        let record_end = value_end(body, at)?;
        records.push(&body[at..record_end]);
        at = skip_blank(body, record_end);
        match body.get(at)? {
            b',' => at = skip_blank(body, at + 1),
            b']' => {}
            _ => return None,
        }
    }
    let rest = [&body[..=start], &body[end - 1..]].concat();
    Some(Parts { records, rest })
}

/// The `Id` of a record.
pub(super) fn id_of(record: &[u8]) -> Option<String> {
    let (.., value) = members(record)?.find(|(key, _)| *key == b"Id")?;
    let end = value_end(record, value)?;
    serde_json::from_slice(&record[value..end]).ok()
}

/// The members of an object: a key without its quotes, and where its value begins.
fn members(object: &[u8]) -> Option<impl Iterator<Item = (&[u8], usize)>> {
    (object.first() == Some(&b'{')).then_some(())?;
    let mut at = 1;
    Some(std::iter::from_fn(move || {
        at = skip_blank(object, at);
        if object.get(at) == Some(&b',') {
            at = skip_blank(object, at + 1);
        }
        let key_end = value_end(object, at).filter(|_| object[at] == b'"')?;
        let key = &object[at + 1..key_end - 1];
        let colon = skip_blank(object, key_end);
        (object.get(colon) == Some(&b':')).then_some(())?;
        let value = skip_blank(object, colon + 1);
        at = value_end(object, value)?;
        Some((key, value))
    }))
}

fn skip_blank(body: &[u8], at: usize) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    at + (rest.len() - rest.trim_ascii_start().len())
}

/// Behind the value that begins here; `None` where it is cut off.
fn value_end(body: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in body.iter().enumerate().skip(start) {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quoted = false;
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return (at > start).then_some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' | b':' if depth == 0 => return (at > start).then_some(at),
            _ => {}
        }
    }
    None
}
