//! REST calls.
use std::sync::Arc;
use serde_json::{Map, Value};
use crate::config;
use crate::model::clock::{Clock, Millis};
use crate::salesforce::auth::Session;
use crate::salesforce::Error;

/// A logged-in client of one org; cheap to clone.
#[derive(Clone)]
pub struct Org { inner: Arc<Inner> }
struct Inner;

/// Which rows a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope { Live, WithDeleted }

/// One page of a query's rows.
#[derive(Debug)]
pub struct Page {
    /// Without `attributes`.
    pub records: Vec<Map<String, Value>>,
    /// Path of the next page.
    pub next: Option<String>,
    pub total: u64,
}

/// The answer to one part of a composite or graph request.
#[derive(Clone, Debug, PartialEq)]
pub struct PartResult { pub reference: Option<String>, pub status: u16, pub body: Value }

/// Requests left in the rolling 24 hours, as last told by `Sforce-Limit-Info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiUsage { pub used: u64, pub limit: u64 }

impl Org {
    /// Reads the secrets, without calling the org.
    pub fn new(_config: &config::Org, _clock: Clock) -> Result<Self, Error> { unimplemented!() }
    /// The current session, logging in where there is none.
    pub async fn session(&self) -> Result<Session, Error> { unimplemented!() }
    /// Logs in again unless the session is already newer than `stale`; many callers cause one login.
    pub async fn renew(&self, _stale: &Session) -> Result<Session, Error> { unimplemented!() }
    /// `/services/data/vNN.N`
    pub fn data_path(&self) -> String { unimplemented!() }
    pub fn api_usage(&self) -> Option<ApiUsage> { unimplemented!() }
    /// The org's clock by its last `Date` header, else ours.
    pub fn org_time(&self) -> Millis { unimplemented!() }
    pub async fn query(&self, _soql: &str, _scope: Scope) -> Result<Page, Error> { unimplemented!() }
    pub async fn next_page(&self, _next: &str) -> Result<Page, Error> { unimplemented!() }
    /// Rows by id, at most 2,000, `None` where a row is missing or not visible; in the order of `ids`.
    pub async fn retrieve(&self, _object: &str, _ids: &[String], _fields: &[String]) -> Result<Vec<Option<Map<String, Value>>>, Error> { unimplemented!() }
    /// A row by external id; `None` where there is none.
    pub async fn by_external_id(&self, _object: &str, _field: &str, _value: &str, _fields: &[&str]) -> Result<Option<Map<String, Value>>, Error> { unimplemented!() }
    /// `POST composite` with the given body; the results in order.
    pub async fn composite(&self, _body: &Value) -> Result<Vec<PartResult>, Error> { unimplemented!() }
    /// `POST composite/graph` with one graph of the given parts; the results in order.
    pub async fn graph(&self, _parts: &[Value]) -> Result<Vec<PartResult>, Error> { unimplemented!() }
}
