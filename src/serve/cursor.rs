//! Where the next page of a list begins: the life of the cache and the key of the last row, `LIFE.KEY`.

use axum::http::StatusCode;

use crate::serve::life::{self, Life};
use crate::serve::problem::Problem;

/// What keys of a list look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An id.
    Id,
    /// What the list is ordered by, a blank, and an id.
    Ordered,
}

/// The key in a cursor that was given with an earlier page.
pub fn read(text: &str, life: &Life, form: Form) -> Result<String, Problem> {
    let wrong = || {
        let detail =
            "cursor is not one that a page was answered with: leave it out to begin with the first page";
        Problem::bad_request(detail).on_field("cursor")
    };
    let (of, key) = life::split(text).ok_or_else(wrong)?;
    let is_key = match form {
        Form::Id => is_id(key),
        Form::Ordered => key.rsplit_once(' ').is_some_and(|(_, id)| is_id(id)),
    };
    if !is_key {
        return Err(wrong());
    }
    if of != &**life {
        let detail =
            "cursor is of a cache that is no longer there: leave it out to begin with the first page";
        return Err(Problem::new(StatusCode::GONE, "other-life", detail).on_field("cursor"));
    }
    Ok(key.to_owned())
}

/// The cursor for the page after a key.
pub fn written(life: &Life, key: Option<&str>) -> Option<String> {
    key.map(|key| format!("{life}.{key}"))
}

fn is_id(text: &str) -> bool {
    text.len() == 18 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
