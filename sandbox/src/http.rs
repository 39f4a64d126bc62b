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
pub mod serve;
mod soap;
mod usage;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Router};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

use self::answer::{Answer, Content, Refusal, Reply};
use self::call::Call;
use self::usage::Usage;
use super::bulk::{Jobs, ingest};
use super::clock;
use super::faults;
use super::faults::http::Outcome;
use super::oauth::Login;
use super::org::Org;
use super::pubsub::Hub;
use super::rest;
use super::rest::query::Cursors;
use super::tls::Cut;
use super::tooling::Tooling;

/// The platform's own limit is 50 MB for a request and 150 MB for an upload.
const BODY_BYTES_MAX: usize = 150 << 20;
/// Longer addresses are refused unread.
const ADDRESS_BYTES_MAX: usize = 16_384;

/// All that a request can reach.
pub struct App {
    pub org: Org,
    pub login: Login,
    pub hub: Arc<Hub>,
    pub cursors: Cursors,
    pub jobs: Jobs,
    pub ingest: ingest::Jobs,
    pub tooling: Tooling,
    pub requests: AtomicU64,
    pub usage: Usage,
    /// Requests by kind of path, for `/sandbox/stats`.
    pub paths: Mutex<BTreeMap<String, u64>>,
}

impl App {
    pub fn new(org: Org, login: Login, hub: Arc<Hub>) -> Result<Self> {
        Ok(Self {
            org,
            login,
            hub,
            cursors: Cursors::default(),
            jobs: Jobs::default(),
            ingest: ingest::Jobs::default(),
            tooling: Tooling::load()?,
            requests: AtomicU64::new(0),
            usage: Usage::default(),
            paths: Mutex::default(),
        })
    }
}

fn router(app: Arc<App>) -> Router {
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    // Bodies come compressed too; what they hold is bounded when it is read.
    let decompression = RequestDecompressionLayer::new();
    Router::new()
        .fallback(handle)
        .layer(decompression)
        .layer(compression)
        .with_state(app)
}

/// Every answer is dated by the org's clock, as the platform's are, unless a fault has dated it.
async fn handle(State(app): State<Arc<App>>, Extension(cut): Extension<Cut>, request: Request) -> Response {
    let mut response = answered(&app, &cut, request).await;
    let date = clock::http_date(app.org.clock().now());
    if let Ok(date) = HeaderValue::try_from(date) {
        response.headers_mut().entry(header::DATE).or_insert(date);
    }
    response
}

async fn answered(app: &Arc<App>, cut: &Cut, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let address = parts.uri.path_and_query().map_or("/", |address| address.as_str());
    if address.len() > ADDRESS_BYTES_MAX {
        let message = format!("the address is longer than {ADDRESS_BYTES_MAX} bytes");
        return respond(Refusal::new(414, "URI_TOO_LONG", message).into(), None);
    }
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
        return respond(or_refusal(control::answer(app, &call)), None);
    }
    app.count(&call.path);
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let outcome = faults::http::answer(app, &call, path, cut, answer).await;
    // The list of versions is not metered, and a login is no call of the API.
    if app.org.is_broken() {
        // What was not written must not be told as done.
        let refusal = Refusal::new(503, "SERVER_UNAVAILABLE", "the org's log cannot be written");
        return respond(refusal.into(), None);
    }
    let is_data = call.path.len() > 2 && call.path[1] == "data";
    let requests = is_data.then(|| app.usage.now(app.org.clock().now()));
    match outcome {
        Outcome::Whole(reply) => respond(reply, requests),
        Outcome::Half(reply) => faults::http::halve(respond(reply, requests), cut.clone()).await,
    }
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
        ["services", "Soap", rest @ ..] => soap::answer(app, call, rest),
        ["services", "data", ..] if app.login.has_left(call.header("host")) => Err(Refusal::session()),
        ["services", "data", rest @ ..] => rest::answer(app, call, rest),
        _ => Err(Refusal::not_found()),
    }
}

fn media_type(text: &str) -> &'static str {
    match text.trim_start().chars().next() {
        Some('<') => "text/html",
        Some('{' | '[') => "application/json",
        _ => "text/plain",
    }
}

fn respond(reply: Reply, usage: Option<(u64, u64)>) -> Response {
    let (content_type, body) = match reply.content {
        Content::Empty => (None, Body::empty()),
        Content::Json(json) => (
            Some("application/json;charset=UTF-8"),
            Body::from(json.to_string()),
        ),
        Content::Csv(bytes) => (Some("text/csv;charset=UTF-8"), Body::from(bytes)),
        Content::Html(page) => (Some("text/html"), Body::from(page)),
        Content::Xml(document) => (Some("text/xml;charset=UTF-8"), Body::from(document)),
        Content::Text(text) => (Some(media_type(&text)), Body::from(text)),
        Content::Raw(media_type, bytes) => (Some(media_type), Body::from(bytes)),
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
