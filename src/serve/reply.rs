//! Answers with how to ask whether they have changed. How old they may be is said by the gate ([`super::freshness`]).

use std::fmt::Display;
use std::hash::{DefaultHasher, Hasher};

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::serve::life::Life;
use crate::serve::problem::Problem;
use crate::serve::{World, cursor};
use crate::store::storefront::json as written;

/// The answers that the asker has from before, by their tags: what `If-None-Match` says. Tags name the life of the cache.
#[derive(Debug)]
pub struct IfNoneMatch {
    tags: Vec<HeaderValue>,
    pub life: Life,
}

impl FromRequestParts<World> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, world: &World) -> Result<Self, Problem> {
        Ok(Self {
            tags: told(&parts.headers),
            life: world.life()?,
        })
    }
}

fn told(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect()
}

/// A page of a list, which names where the next one begins.
pub fn page(held: &IfNoneMatch, items: &[Vec<u8>], next: Option<&str>) -> Response {
    let next = cursor::written(&held.life, next);
    hashed(held, written::list(items, next.as_deref()))
}

impl IfNoneMatch {
    /// Whether it is among them; weak tags count, as they do for reads.
    fn has(&self, tag: &str) -> bool {
        self.tags
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
pub fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = fresh(status, body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer tagged by what it says, or word that the asker's copy is still right.
pub fn hashed(held: &IfNoneMatch, body: Vec<u8>) -> Response {
    tagged(held, hash(&body), body)
}

fn hash(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("{:016x}", hasher.finish())
}

/// An answer that is the same for as long as the process runs.
pub struct Fixed {
    body: Bytes,
    tag: String,
}

impl Fixed {
    pub fn new(body: String) -> Self {
        Self {
            tag: hash(body.as_bytes()),
            body: body.into(),
        }
    }

    pub fn answer(&self, held: &IfNoneMatch) -> Response {
        tagged(held, &self.tag, self.body.clone())
    }
}

/// The same for one visitor: nothing on the way may keep it for another.
pub fn for_one(mut response: Response) -> Response {
    let value = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}

/// An answer with a tag, or word that the asker's copy is still right.
pub fn tagged(held: &IfNoneMatch, tag: impl Display, body: impl Into<Body>) -> Response {
    let tag = format!("\"{}-{tag}\"", held.life);
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
            let known = crate::serve::life::Known::default();
            let held = IfNoneMatch {
                tags: told(&headers),
                life: known.get(|| Ok::<_, std::fmt::Error>("life".to_owned())).unwrap(),
            };
            assert_eq!(held.has("\"5\""), expected, "{asked}");
        }
        assert!(told(&HeaderMap::new()).is_empty());
    }
}
