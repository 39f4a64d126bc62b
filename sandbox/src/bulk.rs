//! Bulk API 2.0 query jobs.
//!
//! A job is evaluated when it is created: it keeps the ids that matched and nothing else, so a job over a million
//! rows costs some megabytes. A page of its result is written on demand and shows the rows as they are when the page
//! is read, those in the recycle bin too; a row that has left that since the job began is left out of its page. A locator is a position in the list of ids,
//! so it stays valid however often it is read. `resultPages` names the pages of a result, five at a time.

mod csv_page;
pub mod ingest;
mod load;
mod pages;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::http::answer::{Answer, Content, Refusal, Reply};
use super::http::call::Call;
use super::rest::Caller;
use super::soql::{Query, Scope};
use super::value::{RecordId, Value};
use crate::clock::Millis;

/// Rows of a page where neither the client nor `/sandbox/bulk` says how many.
const PAGE_ROWS: usize = 50_000;
/// The oldest job goes when there are more.
const JOBS_MAX: usize = 200;

/// All jobs of the org.
pub struct Jobs {
    state: Mutex<State>,
    page_rows: AtomicUsize,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            page_rows: AtomicUsize::new(PAGE_ROWS),
        }
    }
}

#[derive(Default)]
struct State {
    created: usize,
    jobs: BTreeMap<String, Arc<Job>>,
}

struct Job {
    id: String,
    operation: Operation,
    object: String,
    query: Query,
    ids: Vec<RecordId>,
    /// `67.0`; pages are given to this version alone.
    version: String,
    created: Millis,
    created_by: RecordId,
    aborted: AtomicBool,
    delimiter: csv_page::Delimiter,
    crlf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Operation {
    #[serde(rename = "query")]
    Query,
    #[serde(rename = "queryAll")]
    QueryAll,
}

/// The body of a new job.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    operation: Operation,
    query: String,
    #[serde(default)]
    column_delimiter: csv_page::Delimiter,
    line_ending: Option<String>,
}

impl Jobs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows of a page where the client does not say how many.
    pub fn page_rows(&self) -> usize {
        self.page_rows.load(Ordering::Relaxed)
    }

    pub fn set_page_rows(&self, rows: usize) {
        self.page_rows.store(rows.max(1), Ordering::Relaxed);
    }

    pub fn created(&self) -> usize {
        self.state().created
    }

    fn get(&self, id: &str) -> Result<Arc<Job>, Refusal> {
        let id = RecordId::parse(id).ok_or_else(Refusal::not_found)?;
        self.state()
            .jobs
            .get(id.as_str())
            .cloned()
            .ok_or_else(Refusal::not_found)
    }

    fn put(&self, job: Job) -> Arc<Job> {
        let job = Arc::new(job);
        let mut state = self.state();
        state.jobs.insert(job.id.clone(), job.clone());
        if state.jobs.len() > JOBS_MAX {
            state.jobs.pop_first();
        }
        job
    }

    fn next_id(&self) -> String {
        let mut state = self.state();
        state.created += 1;
        RecordId::new(*b"750", state.created as u64).to_string()
    }
}

/// `rest` is the path after `jobs/query`.
pub fn answer(caller: &Caller<'_>, call: &Call, rest: &[&str]) -> Answer {
    let jobs = &caller.app.jobs;
    match (call.method.as_str(), rest) {
        ("POST", []) => create(caller, call),
        ("GET", []) => {
            let records: Vec<Json> = jobs.state().jobs.values().map(|job| job.shown(true)).collect();
            Ok(Reply::ok(
                json!({ "done": true, "records": records, "nextRecordsUrl": null }),
            ))
        }
        ("GET", [id]) => Ok(Reply::ok(jobs.get(id)?.shown(true))),
        ("PATCH", [id]) => abort(caller, call, id),
        ("DELETE", [id]) => {
            let job = jobs.get(id)?;
            jobs.state().jobs.remove(&job.id);
            Ok(Reply::empty(204))
        }
        ("GET", [id, "results"]) => results(caller, call, id),
        ("GET", [id, "resultPages"]) => pages::list(caller, call, id),
        _ => Err(Refusal::not_found()),
    }
}

fn create(caller: &Caller<'_>, call: &Call) -> Answer {
    let wanted: Wanted = call.parsed()?;
    let org = &caller.app.org;
    let now = org.clock().now();
    let query = Query::compile(
        caller.catalog(),
        &wanted.query,
        now,
        wanted.operation == Operation::QueryAll,
    )?;
    if let Some(message) = query.bulk_refusal() {
        return Err(Refusal::new(400, "API_ERROR", message));
    }
    let ids = org.read(|records| {
        let scope = Scope {
            catalog: org.catalog(),
            records,
        };
        query.rows(&scope).iter().map(|row| row.id()).collect()
    });
    let job = caller.app.jobs.put(Job {
        id: caller.app.jobs.next_id(),
        operation: wanted.operation,
        object: org.catalog().objects()[query.object()].name.clone(),
        query,
        ids,
        version: caller.version.to_owned(),
        created: now,
        created_by: org.user_id(),
        aborted: AtomicBool::new(false),
        delimiter: wanted.column_delimiter,
        crlf: wanted.line_ending.as_deref() == Some("CRLF"),
    });
    Ok(Reply::ok(job.shown(false)))
}

/// The result is there from the beginning, so an abort only takes it away.
fn abort(caller: &Caller<'_>, call: &Call, id: &str) -> Answer {
    let job = caller.app.jobs.get(id)?;
    if call.json()?["state"] != "Aborted" {
        return Err(Refusal::new(
            400,
            "INVALIDJOBSTATE",
            "a query job's state can only be set to Aborted",
        ));
    }
    job.aborted.store(true, Ordering::SeqCst);
    Ok(Reply::ok(job.shown(true)))
}

/// A job whose results may be read, by this version of the API.
fn readable(caller: &Caller<'_>, id: &str) -> Result<Arc<Job>, Refusal> {
    let job = caller.app.jobs.get(id)?;
    if job.version != caller.version {
        let message = format!(
            "the job was created by API version {} and can be read by that one only",
            job.version
        );
        return Err(Refusal::new(409, "API_ERROR", message));
    }
    if job.aborted.load(Ordering::SeqCst) {
        return Err(Refusal::new(
            400,
            "INVALIDJOBSTATE",
            "the job was aborted and has no results",
        ));
    }
    Ok(job)
}

fn results(caller: &Caller<'_>, call: &Call, id: &str) -> Answer {
    let job = readable(caller, id)?;
    let from = job.asked_from(call)?;
    let wanted = match call.parameter("maxRecords") {
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|rows| *rows > 0)
            .ok_or_else(|| Refusal::new(400, "API_ERROR", "maxRecords is no whole number above 0"))?,
        None => caller.app.jobs.page_rows(),
    };
    let to = job.ids.len().min(from.saturating_add(wanted));
    let (bytes, rows) = caller.app.org.read(|records| {
        let scope = Scope {
            catalog: caller.app.org.catalog(),
            records,
        };
        job.page(&scope, &job.ids[from..to])
    });
    let next = if to < job.ids.len() {
        locator(to)
    } else {
        "null".to_owned()
    };
    let mut reply = Reply::empty(200);
    reply.content = Content::Csv(bytes);
    reply.headers = vec![
        ("sforce-locator", next),
        ("sforce-numberofrecords", rows.to_string()),
    ];
    Ok(reply)
}

fn locator(position: usize) -> String {
    URL_SAFE_NO_PAD.encode(position.to_string())
}

fn position(locator: &str) -> Option<usize> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(locator).ok()?)
        .ok()?
        .parse()
        .ok()
}

impl Job {
    /// The place that a call's locator stands for; the beginning where it has none.
    fn asked_from(&self, call: &Call) -> Result<usize, Refusal> {
        let locator = call.parameter("locator");
        let from = match locator.filter(|locator| !locator.is_empty() && *locator != "null") {
            Some(locator) => position(locator).filter(|from| *from <= self.ids.len()),
            None => Some(0),
        };
        from.ok_or_else(|| Refusal::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator"))
    }

    fn page(&self, scope: &Scope<'_>, ids: &[RecordId]) -> (Vec<u8>, usize) {
        let rows = super::rest::query::present(scope, self.query.object(), ids, true);
        let mut page = csv_page::Page::new(self.delimiter, self.crlf, &self.query.header());
        for row in &rows {
            self.query.cells(scope, row, |value| page.cell(value));
            page.end_row();
        }
        (page.bytes(), rows.len())
    }

    /// A new job says that it has been taken in; every later look finds it complete.
    fn shown(&self, later: bool) -> Json {
        let state = match (self.aborted.load(Ordering::SeqCst), later) {
            (true, _) => "Aborted",
            (false, true) => "JobComplete",
            (false, false) => "UploadComplete",
        };
        let operation = if self.operation == Operation::Query {
            "query"
        } else {
            "queryAll"
        };
        let created = Value::DateTime(self.created).to_json();
        let mut json = Map::new();
        let mut set = |key: &str, value: Json| json.insert(key.to_owned(), value);
        set("id", Json::from(self.id.as_str()));
        set("operation", Json::from(operation));
        set("object", Json::from(self.object.as_str()));
        set("createdById", Json::from(self.created_by.as_str()));
        set("createdDate", created.clone());
        set("systemModstamp", created);
        set("state", Json::from(state));
        set("concurrencyMode", Json::from("Parallel"));
        set("contentType", Json::from("CSV"));
        set(
            "apiVersion",
            Json::from(self.version.parse::<f64>().unwrap_or_default()),
        );
        if later {
            set("jobType", Json::from("V2Query"));
        }
        set("lineEnding", Json::from(if self.crlf { "CRLF" } else { "LF" }));
        set("columnDelimiter", Json::from(self.delimiter.name()));
        if later {
            set("numberRecordsProcessed", Json::from(self.ids.len()));
            set("retries", Json::from(0));
            set("totalProcessingTime", Json::from(1));
            set("isPkChunkingSupported", Json::from(true));
        }
        Json::Object(json)
    }
}
