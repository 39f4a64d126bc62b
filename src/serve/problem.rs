//! Errors as storefronts get them: `application/problem+json` (RFC 9457), one sentence that says what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::model::body;
use crate::model::freshness::Progress;
use crate::model::order::parse::Invalid;
use crate::model::order::rules::Rule;
use crate::serve::audit::sums::Lack;
use crate::store::outbox::OutboxError;
use crate::store::reader::is_broken_off;
use crate::telemetry::metrics::AUDIT_FAILURES;
use crate::telemetry::seldom::Seldom;

const TOO_SLOW: &str = "too-slow";

/// Beside an answer that was given up for the time that its read took.
#[derive(Clone, Copy, Debug)]
pub struct TooSlow;

/// An error on its way to whoever asked.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// The last part of the problem's type.
    kind: &'static str,
    detail: String,
    field: Option<String>,
    /// The word of a rule, as products have it.
    reason: Option<&'static str>,
    retry_after_seconds: Option<u32>,
    /// Of a first load that is not complete.
    progress: Option<Progress>,
    /// What an operator lacks, which the audit is told.
    lack: Option<Lack>,
}

impl Problem {
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            field: None,
            reason: None,
            retry_after_seconds: None,
            progress: None,
            lack: None,
        }
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// For a body that is too large, or did not come to its end.
    pub fn bad_body(status: StatusCode) -> Self {
        let detail = "the body cannot be taken: at most 1 MiB is, and it has to arrive whole";
        Self::new(status, "bad-body", detail)
    }

    /// For what will be there later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Self {
            retry_after_seconds: Some(5),
            ..problem
        }
    }

    /// For a read that had no turn: as many are waiting as may.
    pub fn too_busy() -> Self {
        let detail = "more is being read than can be answered in time: try again";
        Self {
            retry_after_seconds: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-busy", detail)
        }
    }

    /// For a read that was broken off.
    fn too_slow() -> Self {
        let detail = "the answer took too long to make, and was given up: ask for less, by a filter or a smaller limit";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, TOO_SLOW, detail)
    }

    /// For what is made of objects that have never been complete.
    pub fn initializing(progress: Progress) -> Self {
        let Progress { complete, needed } = progress;
        let detail = match needed {
            0 => "nothing is loaded yet, and what the org has is not known: try again; /readyz says what stands in the way".to_owned(),
            _ => format!("the first load is not complete: {complete} of the {needed} objects that this needs are loaded; try again"),
        };
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "initializing", detail);
        Self {
            retry_after_seconds: Some(5),
            progress: Some(progress),
            ..problem
        }
    }

    /// For a request that may ask for what is there, and did not.
    pub fn or_partial(mut self) -> Self {
        if self.progress.is_some_and(|progress| progress.needed > 0) {
            self.detail
                .push_str(", or ask for what is there with partial=true");
        }
        self
    }

    /// For what is not done where it cannot be written down.
    pub fn unaudited(error: OutboxError) -> Self {
        if !matches!(error, OutboxError::Write(_)) {
            return error.into();
        }
        AUDIT_FAILURES.count([]);
        let sentence = "nothing was done, because it could not be written to the audit: check the space left on the disk of [state] dir, and try again";
        Self::unavailable(sentence)
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What an operator lacks who is refused this.
    pub fn lack(&self) -> Option<Lack> {
        self.lack
    }

    pub fn for_lack_of(self, lack: Lack) -> Self {
        Self {
            lack: Some(lack),
            ..self
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    pub fn on_field(self, field: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..self
        }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let Invalid { field, message, rule } = invalid;
        let detail = if field.is_empty() {
            format!("the body {message}")
        } else {
            format!("{field} {message}")
        };
        let kind = rule.map_or("invalid-order", |_| "not-purchasable");
        Self {
            reason: rule.map(Rule::word),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, kind, detail).on_field(field)
        }
    }
}

/// The cache cannot be read: the operator's matter, and the log's.
impl From<body::Refusal> for Problem {
    fn from(refusal: body::Refusal) -> Self {
        match refusal {
            body::Refusal::Member(invalid) => invalid.into(),
            body::Refusal::Whole(_) => Self::bad_request(refusal.sentence("the body")),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        if is_broken_off(&error) {
            return Self::too_slow();
        }
        static TOLD: Seldom = Seldom::untold();
        if let Some(count) = TOLD.happened() {
            let error = format!("{error:#}");
            tracing::error!(
                error,
                count,
                "the cache cannot be read; it was so {count} times since this was told"
            );
        }
        Self::unavailable("the cache cannot be read just now: try again")
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<OutboxError> for Problem {
    fn from(error: OutboxError) -> Self {
        match error {
            OutboxError::Replaced(told) => return Self::unavailable(told),
            // The writer has told of its own trouble.
            OutboxError::Write(_) => {}
            error => {
                static TOLD: Seldom = Seldom::untold();
                if let Some(count) = TOLD.happened() {
                    tracing::error!(%error, count, "the outbox cannot be used; it was so {count} times since this was told");
                }
            }
        }
        Self::unavailable("orders cannot be kept just now: send it again under the same key")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:storesync:problem:{}", self.kind),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        if let Some(Progress { complete, needed }) = self.progress {
            body["progress"] = json!({"objects_loaded": complete, "objects_needed": needed});
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(lack) = self.lack {
            response.extensions_mut().insert(lack);
        }
        if self.kind == TOO_SLOW {
            response.extensions_mut().insert(TooSlow);
        }
        response
    }
}

/// For an address that takes other methods.
pub fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this address takes another method",
    )
}
