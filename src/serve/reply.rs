//! Answers with how to ask whether they have changed. How old they may be is said by the gate ([`super::freshness`]).

use std::convert::Infallible;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hasher};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

/// The answers that the asker has from before, by their tags: what `If-None-Match` says.
#[derive(Debug)]
pub struct IfNoneMatch(Vec<HeaderValue>);

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::told(&parts.headers))
    }
}

impl IfNoneMatch {
    fn told(headers: &HeaderMap) -> Self {
        Self(headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect())
    }

    /// Whether it is among them; weak tags count, as they do for reads.
    fn has(&self, tag: &str) -> bool {
        self.0
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| {
                value
                    .split(',')
                    .map(str::trim)
                    .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
            })
    }
}

/// An answer of JSON.
pub fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = fresh(status, Body::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer tagged by what it says, or word that the asker's copy is still right.
pub fn hashed(held: &IfNoneMatch, body: Vec<u8>) -> Response {
    let mut hasher = DefaultHasher::new();
    hasher.write(&body);
    tagged(held, format_args!("{:016x}", hasher.finish()), body)
}

/// The same for one visitor: nothing on the way may keep it for another.
pub fn for_one(mut response: Response) -> Response {
    let value = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}

/// An answer with a tag, or word that the asker's copy is still right.
pub fn tagged(held: &IfNoneMatch, tag: impl Display, body: Vec<u8>) -> Response {
    let tag = format!("\"{tag}\"");
    let mut response = if held.has(&tag) {
        fresh(StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        json(StatusCode::OK, body)
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn fresh(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // May be kept, and must be asked about before it is used.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_the_asker_s_tag() {
        for (asked, expected) in [
            ("\"5\"", true),
            ("W/\"5\"", true),
            ("\"4\", \"5\"", true),
            ("*", true),
            ("\"55\"", false),
            ("5", false),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(asked))]);
            assert_eq!(IfNoneMatch::told(&headers).has("\"5\""), expected, "{asked}");
        }
        assert!(!IfNoneMatch::told(&HeaderMap::new()).has("\"5\""));
    }
}
