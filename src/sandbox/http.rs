//! The HTTP side of the org: one door for every request.
//!
//! A request is read whole, meets the staged faults, is answered by a plain function under the org's lock, and
//! its answer is written. There is one handler and no route table, since the platform's paths carry versions,
//! object names and slashes at will. A client that goes away before its request is read whole changes nothing;
//! one that goes away later finds it done.

pub mod answer;
pub mod call;
mod control;
mod login;
mod usage;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use self::answer::{Answer, Content, Refusal, Reply};
use self::call::Call;
use self::usage::Usage;
use super::bulk::Jobs;
use super::faults::{Fault, Faults, Named};
use super::oauth::Login;
use super::org::Org;
use super::rest;
use super::rest::query::Cursors;
use super::tls::Cut;

/// The platform's own limit is 50 MB for a request and 150 MB for an upload.
const BODY_BYTES_MAX: usize = 150 << 20;

/// All that a request can reach.
pub struct App {
    pub org: Org,
    pub login: Login,
    pub faults: Faults,
    pub cursors: Cursors,
    pub jobs: Jobs,
    pub requests: AtomicU64,
    pub usage: Usage,
    /// Requests by kind of path, for `/sandbox/stats`.
    pub paths: Mutex<BTreeMap<String, u64>>,
}

impl App {
    pub fn new(org: Org, login: Login) -> Self {
        Self {
            org,
            login,
            faults: Faults::default(),
            cursors: Cursors::default(),
            jobs: Jobs::default(),
            requests: AtomicU64::new(0),
            usage: Usage::default(),
            paths: Mutex::default(),
        }
    }
}

pub fn router(app: Arc<App>) -> Router {
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    Router::new().fallback(handle).layer(compression).with_state(app)
}

async fn handle(
    State(app): State<Arc<App>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let address = parts.uri.path_and_query().map_or("/", |address| address.as_str());
    let mut call = Call::new(parts.method.as_str(), address);
    call.headers = parts.headers;
    match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => call.body = body,
        Err(error) => {
            let refusal = Refusal::new(
                413,
                "REQUEST_TOO_LARGE",
                format!("the request's body cannot be read: {error}"),
            );
            return respond(refusal.into(), None);
        }
    }
    if call.path.first().is_some_and(|first| first == "sandbox") {
        return respond(or_refusal(control::answer(&app, &call)), None);
    }
    let path = parts.uri.path();
    app.count(&call.path);
    let fault = app.faults.meet(&call.method, path);
    let (reply, late) = match fault {
        None => (or_refusal(answer(&app, &call)), Duration::ZERO),
        Some(Fault::Status {
            status,
            code,
            message,
            html,
        }) => (
            failure(status, code.as_deref(), message.as_deref(), html),
            Duration::ZERO,
        ),
        Some(Fault::Delay { delay_ms }) => (or_refusal(answer(&app, &call)), Duration::from_millis(delay_ms)),
        Some(Fault::Named(Named::DropBefore)) => {
            cut.cut();
            (Reply::empty(204), Duration::ZERO)
        }
        Some(Fault::Named(Named::DropAfterCommit)) => {
            let reply = or_refusal(answer(&app, &call));
            cut.cut();
            (reply, Duration::ZERO)
        }
        Some(Fault::Named(Named::ExpireSessions)) => {
            app.login.sessions.expire_all();
            (or_refusal(answer(&app, &call)), Duration::ZERO)
        }
    };
    if late > Duration::ZERO {
        tokio::time::sleep(late).await;
    }
    // The list of versions is not metered, and a login is no call of the API.
    if app.org.is_broken() {
        // What was not written must not be told as done.
        let refusal = Refusal::new(503, "SERVER_UNAVAILABLE", "the org's log cannot be written");
        return respond(refusal.into(), None);
    }
    let is_data = call.path.len() > 2 && call.path[1] == "data";
    respond(reply, is_data.then(|| app.usage.now(app.org.clock().now())))
}

/// Paths are told apart so far; what follows is an id, a key or a query.
const COUNTED_SEGMENTS: usize = 2;

impl App {
    fn count(&self, path: &[String]) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let data = path.len() > 2 && path[0] == "services" && path[1] == "data";
        let from = if data { 3.min(path.len()) } else { 0 };
        let told: Vec<&str> = path[from..]
            .iter()
            .take(COUNTED_SEGMENTS)
            .map(String::as_str)
            .collect();
        let key = if told.first() == Some(&"query") {
            "query".to_owned()
        } else {
            told.join("/")
        };
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        *paths.entry(key).or_default() += 1;
    }
}

fn or_refusal(answer: Answer) -> Reply {
    answer.unwrap_or_else(Reply::from)
}

/// Everything that faults can strike.
fn answer(app: &App, call: &Call) -> Answer {
    match call.segments().as_slice() {
        ["services", "oauth2", rest @ ..] => login::answer(app, call, rest),
        ["id", organization, user] => login::identity(app, call, organization, user),
        ["services", "data", rest @ ..] => rest::answer(app, call, rest),
        _ => Err(Refusal::not_found()),
    }
}

/// A staged error: what the platform, or its edge, answers with this status.
fn failure(status: u16, code: Option<&str>, message: Option<&str>, html: bool) -> Reply {
    if html || (matches!(status, 420 | 502 | 504) && code.is_none()) {
        return Reply::html(
            status,
            "<html><body><h1>We are down for maintenance.</h1></body></html>",
        );
    }
    let (usual_code, usual_message) = match status {
        401 => ("INVALID_SESSION_ID", "Session expired or invalid"),
        403 => ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        500 => (
            "UNKNOWN_EXCEPTION",
            "An unexpected error occurred. Please include this ErrorId if you contact support: 1-1 (1)",
        ),
        503 => ("SERVER_UNAVAILABLE", "Server Unavailable"),
        _ => ("UNKNOWN_EXCEPTION", "An unexpected error occurred."),
    };
    Refusal::new(
        status,
        code.unwrap_or(usual_code),
        message.unwrap_or(usual_message),
    )
    .into()
}

fn respond(reply: Reply, usage: Option<(u64, u64)>) -> Response {
    let (content_type, body) = match reply.content {
        Content::Empty => (None, Body::empty()),
        Content::Json(json) => (
            Some("application/json;charset=UTF-8"),
            Body::from(json.to_string()),
        ),
        Content::Csv(bytes) => (Some("text/csv"), Body::from(bytes)),
        Content::Html(page) => (Some("text/html"), Body::from(page)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    let limit = usage.map(|(used, max)| ("sforce-limit-info", format!("api-usage={used}/{max}")));
    let location = reply.location.map(|location| ("location", location));
    for (name, value) in reply.headers.into_iter().chain(limit).chain(location) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}
