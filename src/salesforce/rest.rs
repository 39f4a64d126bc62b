//! REST calls: one HTTP client, one session, and an honest account of what may have happened.
//!
//! The difference that matters to callers is kept in the error's type: [`Error::Unreachable`] means that the
//! org cannot have done anything, [`Error::AnswerLost`] that it may have. Nothing is retried here but a call
//! that the org refused for its session, after one new login.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};

use crate::config;
use crate::model::calls::{Calls, Purpose};
use crate::model::clock::{Clock, Millis, Moment};
use crate::salesforce::Error;
use crate::salesforce::auth::Session;
use crate::salesforce::client::{self, reason, without_query};
use crate::salesforce::login::Login;
use crate::salesforce::soql::{is_plain, literal};

pub use crate::salesforce::pages::Page;

/// Longest time for a body that is read as it comes.
const BODY_TIMEOUT: Duration = Duration::from_secs(4 * 3_600);

/// A client of one org; cheap to clone, all clones share one session.
#[derive(Clone)]
pub struct Org {
    inner: Arc<Inner>,
    /// What the calls of this clone are counted for.
    purpose: Purpose,
}

struct Inner {
    http: Mutex<reqwest::Client>,
    config: config::Org,
    login: Login,
    clock: Clock,
    usage: [AtomicU64; 2],
    calls: Mutex<Calls>,
}

/// Which rows a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Live,
    /// Rows in the recycle bin too; they carry `IsDeleted`.
    WithDeleted,
}

/// The answer to one part of a composite or graph request.
#[derive(Clone, Debug, PartialEq)]
pub struct PartResult {
    pub reference: Option<String>,
    pub status: u16,
    pub body: Value,
}

/// Requests of the rolling 24 hours, as last told by `Sforce-Limit-Info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiUsage {
    pub used: u64,
    pub limit: u64,
}

/// The statuses with which the API answers what it has done. Any other of 2xx is of something on the way: one that took
/// the request and has not handed it over yet (202), or that tells a part of an answer (206).
fn is_done(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT
    )
}

/// An answer that is not an error.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Org {
    /// Reads the secrets and certificates that the configuration names, without calling the org.
    pub fn new(config: &config::Org, clock: Clock) -> Result<Self, Error> {
        let inner = Inner {
            http: Mutex::new(client::http(config)?),
            config: config.clone(),
            login: Login::new(config)?,
            clock,
            usage: [AtomicU64::new(0), AtomicU64::new(0)],
            calls: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            purpose: Purpose::default(),
        })
    }

    /// The same, whose calls are counted for something else.
    pub fn for_purpose(&self, purpose: Purpose) -> Self {
        Self {
            purpose,
            ..self.clone()
        }
    }

    /// The calls that were made, by what they were for.
    pub fn calls(&self) -> Calls {
        self.counted().clone()
    }

    /// Goes on with what was counted before.
    pub fn recall(&self, calls: Calls) {
        *self.counted() = calls;
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.inner
            .calls
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts a call while it is made: one that is dropped half way may have reached the org. One that has not is taken back.
    async fn counting<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let now = self.moment().wall;
        self.counted().count(self.purpose, now);
        let answered = call.await;
        if matches!(answered, Err(Error::Unreachable { .. })) {
            self.counted().take_back(self.purpose, now);
        }
        answered
    }

    pub(super) fn config(&self) -> &config::Org {
        &self.inner.config
    }

    /// Where the Pub/Sub API is.
    pub fn pubsub_url(&self) -> &str {
        &self.inner.config.pubsub_url
    }

    pub(super) fn login(&self) -> &Login {
        &self.inner.login
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(super) fn http(&self) -> reqwest::Client {
        self.inner
            .http
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Requests from now on go by this client.
    pub(super) fn set_http(&self, http: reqwest::Client) {
        *self
            .inner
            .http
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = http;
    }

    /// `/services/data/vNN.N`
    pub fn data_path(&self) -> String {
        format!(
            "/services/data/v{}",
            self.inner.config.api_version.trim_start_matches('v')
        )
    }

    /// `None` before the first call.
    pub fn api_usage(&self) -> Option<ApiUsage> {
        let [used, limit] = [0, 1].map(|of| self.inner.usage[of].load(Ordering::Relaxed));
        (limit > 0).then_some(ApiUsage { used, limit })
    }

    /// Now, by this machine's clocks.
    pub fn moment(&self) -> Moment {
        self.inner.clock.moment()
    }

    /// The time by the org's clock, for ages: ours before the org has told it.
    pub fn org_time(&self) -> Millis {
        self.inner.login.clock().time(self.moment())
    }

    /// The time by the org's clock, for where to read from: rather too early than too late.
    pub fn org_time_at_least(&self) -> Millis {
        self.inner.login.clock().time_at_least(self.moment())
    }

    /// A row was read that the org stamped then.
    pub fn saw_stamp(&self, stamp: Millis) {
        self.inner.login.clock().stamped(stamp, self.moment());
    }

    /// Whether the org has told a time that is later than it can be, and no login since: what is asked up to a time may
    /// then end too early.
    pub fn is_time_doubted(&self) -> bool {
        self.inner.login.clock().is_doubted()
    }

    /// A time of ours by the org's clock.
    pub fn as_org_time(&self, ours: Millis) -> Millis {
        let now = self.moment();
        self.inner.login.clock().time(now) - (now.wall - ours)
    }

    /// What the last answer's `Date` says of the two clocks. Proxies write it too.
    pub fn date_ahead_millis(&self) -> Option<Millis> {
        self.inner.login.clock().date_ahead_millis()
    }

    /// A row by external id; `None` where there is none. A key that cannot stand in an address is queried for.
    pub async fn by_external_id(
        &self,
        object: &str,
        field: &str,
        value: &str,
        fields: &[&str],
    ) -> Result<Option<Map<String, Value>>, Error> {
        let fields = fields.join(",");
        if !is_plain(value) {
            let condition = format!("{field} = {}", literal(value));
            let soql = format!("SELECT {fields} FROM {object} WHERE {condition} LIMIT 1");
            return Ok(self.query(&soql, Scope::Live).await?.records.pop());
        }
        let path = format!(
            "{}/sobjects/{object}/{field}/{value}?fields={fields}",
            self.data_path()
        );
        match self.call(Method::GET, &path, None).await {
            Ok(answer) => {
                let mut row: Map<String, Value> = self.json(&path, &answer.body)?;
                row.shift_remove("attributes");
                Ok(Some(row))
            }
            // An unknown field answers 404 too; that must not look like an absent row.
            Err(Error::Refused { status: 404, errors })
                if errors
                    .iter()
                    .all(|error| !error.message.contains("external ID field")) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// One call with the session, and once more with a new one where the org refused the old.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let session = self.session().await?;
        match self.send(&session, method.clone(), path, body).await {
            Err(error) if is_session_refusal(&error) => {
                let session = self.renew(&session).await?;
                self.send(&session, method, path, body).await
            }
            answer => answer,
        }
    }

    /// A call to the login address that needs no session.
    pub(super) async fn ask_openly(&self, path: &str) -> Result<Answer, Error> {
        let url = format!("{}{path}", self.inner.config.login_url.trim_end_matches('/'));
        self.answer(
            None,
            self.http().get(&url).header(ACCEPT, "application/json"),
            path,
        )
        .await
    }

    async fn send(
        &self,
        session: &Session,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let is_read = method == Method::GET;
        let request = self.request(session, method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = self.answer(Some(session), request, path);
        if is_read {
            return self.until_closed(path, answer).await;
        }
        answer.await
    }

    fn request(&self, session: &Session, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", session.instance_url);
        let request = self.http().request(method, &url);
        request
            .header(AUTHORIZATION, format!("Bearer {}", session.access_token))
            .header(ACCEPT, "application/json, text/csv")
    }

    /// The answer to a GET with its body still to be read, within a time that suits a body of any length.
    pub(super) async fn open(&self, path: &str) -> Result<reqwest::Response, Error> {
        let session = self.session().await?;
        let opened = match self.open_noted(&session, path).await {
            Err(error) if is_session_refusal(&error) => {
                let session = self.renew(&session).await?;
                self.open_noted(&session, path).await
            }
            opened => opened,
        };
        client::count(path, opened.as_ref().err());
        opened
    }

    async fn open_noted(&self, session: &Session, path: &str) -> Result<reqwest::Response, Error> {
        let opened = self.until_closed(path, self.counting(self.open_with(session, path)));
        let opened = opened.await;
        self.note_answer(Some(session), opened.as_ref());
        opened
    }

    async fn open_with(&self, session: &Session, path: &str) -> Result<reqwest::Response, Error> {
        let request = self.request(session, Method::GET, path).timeout(BODY_TIMEOUT);
        let lost = |error: reqwest::Error| transport_error(path, &error);
        let answer = request.send().await.map_err(lost)?;
        self.note(answer.headers());
        if is_done(answer.status()) {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(lost)?;
        Err(Error::of_answer(without_query(path), status, &body))
    }

    async fn answer(
        &self,
        session: Option<&Session>,
        request: reqwest::RequestBuilder,
        path: &str,
    ) -> Result<Answer, Error> {
        let answered = match session {
            Some(_) => self.counting(self.answer_of(request, path)).await,
            // A login is none of the API's calls.
            None => self.answer_of(request, path).await,
        };
        self.note_answer(session, answered.as_ref());
        client::count(path, answered.as_ref().err());
        answered
    }

    async fn answer_of(&self, request: reqwest::RequestBuilder, path: &str) -> Result<Answer, Error> {
        let lost = |error: reqwest::Error| transport_error(path, &error);
        let answer = request.send().await.map_err(lost)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        self.note(&headers);
        let body = answer.bytes().await.map_err(lost)?;
        if is_done(status) {
            return Ok(Answer { headers, body });
        }
        Err(Error::of_answer(without_query(path), status.as_u16(), &body))
    }

    fn note(&self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let usage = text("sforce-limit-info").and_then(api_usage);
        if let Some(usage) = usage {
            self.inner.usage[0].store(usage.used, Ordering::Relaxed);
            self.inner.usage[1].store(usage.limit, Ordering::Relaxed);
        }
        if let Some(date) = client::date(headers) {
            self.inner.login.clock().dated(date, self.moment());
        }
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| Error::of_body(without_query(path), body, &error))
    }

    #[expect(clippy::unused_self, reason = "reads as the org's answer at its callers")]
    pub(super) fn unreadable(&self, path: &str, reason: &str) -> Error {
        Error::Unreadable {
            url: without_query(path).to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// Two refusals carry the same status and would be refused for ever: a session that is not for REST.
fn is_session_refusal(error: &Error) -> bool {
    match error {
        Error::Refused { status: 401, errors } => !errors.iter().any(|error| {
            error.message.contains("not valid for use with the REST API")
                || error.message.contains("not attached to Agent")
        }),
        _ => false,
    }
}

fn transport_error(path: &str, error: &reqwest::Error) -> Error {
    let (url, reason) = (without_query(path).to_owned(), reason(error));
    if error.is_connect() || error.is_builder() {
        Error::Unreachable { url, reason }
    } else {
        Error::AnswerLost { url, reason }
    }
}

/// `api-usage=10018/100000`, which may be followed by the usage of single apps.
fn api_usage(header: &str) -> Option<ApiUsage> {
    let (used, limit) = header
        .split(';')
        .next()?
        .trim()
        .strip_prefix("api-usage=")?
        .split_once('/')?;
    Some(ApiUsage {
        used: used.parse().ok()?,
        limit: limit.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::ApiError;

    #[test]
    fn reads_the_usage_header() {
        assert_eq!(
            api_usage("api-usage=18/5000"),
            Some(ApiUsage {
                used: 18,
                limit: 5000
            })
        );
        let with_app = "api-usage=25/5000; per-app-api-usage=17/250(appName=sample)";
        assert_eq!(
            api_usage(with_app),
            Some(ApiUsage {
                used: 25,
                limit: 5000
            })
        );
        assert_eq!(api_usage("usage unknown"), None);
    }

    #[test]
    fn a_session_that_rest_will_never_take_is_not_renewed() {
        let refused = |message: &str| Error::Refused {
            status: 401,
            errors: vec![ApiError {
                code: "INVALID_SESSION_ID".to_owned(),
                message: message.to_owned(),
                ..ApiError::default()
            }],
        };
        assert!(is_session_refusal(&refused("Session expired or invalid")));
        assert!(!is_session_refusal(&refused(
            "This session is not valid for use with the REST API"
        )));
    }
}
