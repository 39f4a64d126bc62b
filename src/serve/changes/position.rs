//! Positions in the stream of changes: `LIFE.REV`, the life of the cache and a revision of it.

use axum::http::HeaderMap;

use crate::serve::life::{self, Life};
use crate::serve::problem::Problem;

/// The header in which browsers say where they left.
const LAST_EVENT_ID: &str = "last-event-id";

/// Where a listener left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Nowhere: it begins with what comes.
    Now,
    At(i64),
    /// In another cache than the one that is here, or one of which the life is not known.
    Elsewhere,
}

/// As browsers send it, or by `since`.
pub fn read(headers: &HeaderMap, since: Option<String>, life: &Life) -> Result<Position, Problem> {
    let header = headers
        .get(LAST_EVENT_ID)
        .map(|value| value.to_str().unwrap_or("?").to_owned())
        .filter(|text| !text.is_empty());
    let (name, text) = match (header, since) {
        (Some(text), _) => ("Last-Event-ID", text),
        (None, Some(text)) => ("since", text),
        (None, None) => return Ok(Position::Now),
    };
    parsed(&text, life).ok_or_else(|| {
        let detail =
            format!("{name} is not a position of this stream: leave it out to begin with what comes");
        Problem::bad_request(detail).on_field(name)
    })
}

fn parsed(text: &str, life: &Life) -> Option<Position> {
    let (of, rev) = match life::split(text) {
        Some((of, rev)) => (Some(of), rev),
        None => (None, text),
    };
    let is_plain = !rev.is_empty() && rev.bytes().all(|byte| byte.is_ascii_digit());
    let rev = rev.parse().ok().filter(|_| is_plain)?;
    Some(match of == Some(&**life) {
        true => Position::At(rev),
        false => Position::Elsewhere,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_position_is_one_of_this_life_or_of_another_or_refused() {
        let known = life::Known::default();
        let life = known.get(|| Ok::<_, std::fmt::Error>("0123456789ab".to_owned()));
        let life = life.unwrap();
        let (here, elsewhere) = (Position::At, Position::Elsewhere);
        for (header, since, expected) in [
            (None, None, Ok(Position::Now)),
            (Some(""), None, Ok(Position::Now)),
            (Some("0123456789ab.7"), None, Ok(here(7))),
            (Some("0123456789ab.7"), Some("0123456789ab.3"), Ok(here(7))),
            (Some(""), Some("0123456789ab.3"), Ok(here(3))),
            (None, Some("ba9876543210.3"), Ok(elsewhere)),
            (None, Some("3"), Ok(elsewhere)),
            (Some("-1"), None, Err("Last-Event-ID")),
            (Some("0123456789ab.-1"), None, Err("Last-Event-ID")),
            (Some("0123456789ab."), None, Err("Last-Event-ID")),
            (Some("0123456789AB.7"), None, Err("Last-Event-ID")),
            (None, Some("soon"), Err("since")),
            (None, Some("0123456789ab.99999999999999999999"), Err("since")),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(LAST_EVENT_ID, HeaderValue::from_static(header));
            }
            let found = read(&headers, since.map(str::to_owned), &life);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{header:?} {since:?}"),
                (Err(problem), Err(name)) => {
                    let told = format!("field: Some({name:?})");
                    assert!(format!("{problem:?}").contains(&told), "{problem:?}");
                }
                (found, expected) => panic!("{header:?} {since:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}
