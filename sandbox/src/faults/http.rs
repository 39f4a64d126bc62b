//! What staged faults do to HTTP requests.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde_json::Value as Json;

use super::rule::Failure;
use super::{Fault, Named, Occasion, delay};
use crate::http::App;
use crate::http::answer::{Answer, Refusal, Reply};
use crate::http::call::Call;
use crate::tls::Cut;

/// How long the half that a client is to see may take to leave.
const HALF_BODY: Duration = Duration::from_millis(50);

/// The answer to a request, and how much of it is to leave.
pub enum Outcome {
    Whole(Reply),
    /// To be sent by [`halve`].
    Half(Reply),
}

/// Answers a request by `answer`, unless a rule strikes it.
pub async fn answer(
    app: &Arc<App>,
    call: &Call,
    path: &str,
    cut: &Cut,
    answer: fn(&App, &Call) -> Answer,
) -> Outcome {
    let occasion = Occasion::Request {
        method: &call.method,
        path,
    };
    let answered = || answer(app, call).unwrap_or_else(Reply::from);
    let lifted = app.org.faults().lifted();
    let Some(fault) = app.org.faults().meet(&occasion, app.org.clock().now()) else {
        return Outcome::Whole(answered());
    };
    Outcome::Whole(match fault {
        Fault::Status(failure) => failed(&named_as_asked(failure, &call.body)),
        Fault::Delay { delay_ms } => {
            let reply = answered();
            delay(delay_ms, &lifted).await;
            reply
        }
        Fault::Edit { edit } => edit.apply(answered()),
        Fault::CommitLater { commit_after_ms } => {
            cut.cut();
            let (app, call, pending) = (Arc::clone(app), call.clone(), app.org.faults().pending());
            tokio::task::spawn(async move {
                delay(commit_after_ms, &lifted).await;
                // Nobody is told how it ended.
                drop(answer(&app, &call));
                drop(pending);
            });
            Reply::empty(204)
        }
        Fault::Named(Named::DropBefore) => {
            cut.cut();
            Reply::empty(204)
        }
        Fault::Named(Named::DropAfterCommit) => {
            let reply = answered();
            cut.cut();
            reply
        }
        Fault::Named(Named::DropMidBody) => return Outcome::Half(answered()),
        Fault::Named(Named::ExpireSessions) => {
            app.login.sessions.expire_all();
            answered()
        }
        Fault::Named(Named::MoveInstance) => {
            app.login.move_instance();
            answered()
        }
        Fault::Named(Named::LimitExceeded) => refused(403),
        Fault::Named(Named::Maintenance) => refused(503),
        // The others are no faults of requests; a rule for them is refused when it is set.
        Fault::Named(_) => answered(),
    })
}

/// A staged body whose parts have the names of the request's own: `record*` stands for the one that begins so.
fn named_as_asked(mut failure: Failure, request: &[u8]) -> Failure {
    let Some(body) = failure.body.as_mut().filter(|body| body.contains("*\"")) else {
        return failure;
    };
    let asked: Json = serde_json::from_slice(request).unwrap_or_default();
    let parts = asked.get("compositeRequest");
    let parts = parts.or_else(|| asked.pointer("/graphs/0/compositeRequest"));
    for part in parts.and_then(Json::as_array).into_iter().flatten() {
        let name = part["referenceId"].as_str().unwrap_or_default();
        let beginning = name.rsplit_once('_').map_or(name, |(beginning, _)| beginning);
        *body = body.replace(&format!("\"{beginning}*\""), &format!("\"{name}\""));
    }
    failure
}

fn refused(status: u16) -> Reply {
    failed(&Failure {
        status,
        code: None,
        message: None,
        retry_after_seconds: None,
        html: false,
        body: None,
        location: None,
    })
}

/// A staged error: what the platform, or its edge, answers with this status.
pub fn failed(failure: &Failure) -> Reply {
    let mut reply = match &failure.body {
        Some(body) => Reply::text(failure.status, body.clone()),
        None => page_or_problem(failure),
    };
    reply.location.clone_from(&failure.location);
    if let Some(seconds) = failure.retry_after_seconds {
        reply.headers.push(("retry-after", seconds.to_string()));
    }
    reply
}

fn page_or_problem(failure: &Failure) -> Reply {
    let status = failure.status;
    if failure.html || (matches!(status, 420 | 502 | 504) && failure.code.is_none()) {
        return Reply::html(
            status,
            "<html><body><h1>We are down for maintenance.</h1></body></html>",
        );
    }
    let (usual_code, usual_message) = match status {
        401 => ("INVALID_SESSION_ID", "Session expired or invalid"),
        403 => ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        429 => (
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
        ),
        500 => (
            "UNKNOWN_EXCEPTION",
            "An unexpected error occurred. Please include this ErrorId if you contact support: 1-1 (1)",
        ),
        503 => ("SERVER_UNAVAILABLE", "Server Unavailable"),
        _ => ("UNKNOWN_EXCEPTION", "An unexpected error occurred."),
    };
    let code = failure.code.as_deref().unwrap_or(usual_code);
    let message = failure.message.as_deref().unwrap_or(usual_message);
    Refusal::new(status, code, message).into()
}

/// The first half of an answer's body, then a reset; the headers promise all of it.
pub async fn halve(response: Response, cut: Cut) -> Response {
    let (mut head, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = bytes.slice(..bytes.len() / 2);
    let end = stream::once(async move {
        tokio::time::sleep(HALF_BODY).await;
        cut.cut();
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    let chunks = stream::iter([Ok(half)]).chain(end);
    head.headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    // Compressed on the way, the body would have another length than the one promised.
    head.headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("identity"));
    Response::from_parts(head, Body::from_stream(chunks))
}
