//! Bulk API 2.0 ingest jobs: records in as CSV, and what became of each.
//!
//! A job is opened, takes one upload, and is closed; closing runs it, so that a client's first look finds it done.
//! What is kept of a finished job are its three results, with the oldest going when there is too much of them. The
//! work itself is `load`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::super::http::answer::{Answer, Refusal, Reply};
use super::super::http::call::Call;
use super::super::rest::Caller;
use super::super::rest::rows::external_id;
use super::super::value::{RecordId, Value};
use super::csv_page::Delimiter;
use super::load::{self, Loaded, Work};
use crate::clock::Millis;

/// The oldest jobs go when there are more, or when what they hold is more than this.
const JOBS_MAX: usize = 200;
const HELD_BYTES_MAX: usize = 512 << 20;

/// What is done with each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    Insert,
    Update,
    Upsert,
    Delete,
    HardDelete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::HardDelete => "hardDelete",
        }
    }
}

/// How far a job is.
#[derive(Clone, Debug)]
enum State {
    /// Waiting for its upload, or for being closed.
    Open(Option<Bytes>),
    /// With the upload that was never run.
    Aborted(Bytes),
    Complete(Loaded),
    /// The upload as a whole was no use; with it and the reason.
    Failed(Bytes, String),
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "Open",
            Self::Aborted(_) => "Aborted",
            Self::Complete(_) => "JobComplete",
            Self::Failed(..) => "Failed",
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Self::Open(upload) => upload.as_ref().map_or(0, Bytes::len),
            Self::Aborted(upload) | Self::Failed(upload, _) => upload.len(),
            Self::Complete(loaded) => loaded.successful.len() + loaded.failed.len(),
        }
    }
}

struct Job {
    id: String,
    operation: Operation,
    /// Position of the object.
    object: usize,
    object_name: String,
    /// Position and name of the key field of an upsert.
    key: Option<(usize, String)>,
    version: String,
    created: Millis,
    created_by: RecordId,
    delimiter: Delimiter,
    crlf: bool,
    state: Mutex<State>,
}

/// All ingest jobs of the org, oldest first.
#[derive(Default)]
pub struct Jobs(Mutex<Listed>);

#[derive(Default)]
struct Listed {
    created: u64,
    jobs: VecDeque<Arc<Job>>,
}

impl Jobs {
    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Result<Arc<Job>, Refusal> {
        let id = RecordId::parse(id).ok_or_else(Refusal::not_found)?;
        let listed = self.listed();
        let found = listed.jobs.iter().find(|job| job.id == id.as_str());
        found.cloned().ok_or_else(Refusal::not_found)
    }

    fn next_id(&self) -> String {
        let mut listed = self.listed();
        listed.created += 1;
        // Above the ids of query jobs, which are numbered by themselves.
        RecordId::new(*b"750", (1 << 32) + listed.created).to_string()
    }

    fn put(&self, job: Arc<Job>) {
        self.listed().jobs.push_back(job);
        self.make_room();
    }

    fn make_room(&self) {
        let mut listed = self.listed();
        let mut held: usize = listed.jobs.iter().map(|job| job.state().held_bytes()).sum();
        while listed.jobs.len() > 1 && (listed.jobs.len() > JOBS_MAX || held > HELD_BYTES_MAX) {
            if let Some(gone) = listed.jobs.pop_front() {
                held -= gone.state().held_bytes();
            }
        }
    }
}

/// The body of a new job.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    object: String,
    operation: Operation,
    external_id_field_name: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    column_delimiter: Delimiter,
    line_ending: Option<String>,
}

/// `rest` is the path after `jobs/ingest`.
pub fn answer(caller: &Caller<'_>, call: &Call, rest: &[&str]) -> Answer {
    let jobs = &caller.app.ingest;
    let (id, part) = match rest {
        [] => {
            return match call.method.as_str() {
                "POST" => create(caller, call),
                "GET" => Ok(list(caller)),
                method => Err(Refusal::method_not_allowed(method)),
            };
        }
        [id] => (id, None),
        [id, part] => (id, Some(part.to_ascii_lowercase())),
        _ => return Err(Refusal::not_found()),
    };
    let job = jobs.get(id)?;
    match (call.method.as_str(), part.as_deref()) {
        ("GET", None) => Ok(Reply::ok(job.shown(true))),
        ("PATCH", None) => turn(caller, call, &job),
        ("DELETE", None) => delete(jobs, &job),
        ("PUT", Some("batches")) => upload(jobs, call, &job),
        ("GET", Some("successfulresults")) => Ok(Reply::csv(job.results(|loaded| &loaded.successful))),
        ("GET", Some("failedresults")) => Ok(Reply::csv(job.results(|loaded| &loaded.failed))),
        ("GET", Some("unprocessedrecords")) => Ok(Reply::csv(job.unprocessed())),
        (method, None | Some("batches")) => Err(Refusal::method_not_allowed(method)),
        _ => Err(Refusal::not_found()),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "INVALIDJOB", message)
}

fn wrong_state(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "INVALIDJOBSTATE", message)
}

fn create(caller: &Caller<'_>, call: &Call) -> Answer {
    let wanted: Wanted = call.parsed()?;
    let org = &caller.app.org;
    if wanted.content_type.as_deref().is_some_and(|kind| kind != "CSV") {
        return Err(invalid("InvalidJob : contentType must be CSV"));
    }
    let object = org.catalog().object(&wanted.object).ok_or_else(|| {
        let message = format!("InvalidJob : Unable to find object: {}", wanted.object);
        Refusal::new(400, "INVALIDENTITY", message)
    })?;
    let key = match (wanted.operation, wanted.external_id_field_name) {
        (Operation::Upsert, None) => {
            return Err(invalid("InvalidJob : externalIdFieldName is required for upsert"));
        }
        (Operation::Upsert, Some(name)) if name.eq_ignore_ascii_case("Id") => {
            Some((super::super::schema::ID, "Id".to_owned()))
        }
        (Operation::Upsert, Some(name)) => {
            let at = external_id(object, &name).map_err(|_| {
                invalid(format!(
                    "InvalidJob : Field name provided, {name} does not match an External ID for {}",
                    object.name
                ))
            })?;
            Some((at, object.fields[at].name.clone()))
        }
        _ => None,
    };
    let job = Arc::new(Job {
        id: caller.app.ingest.next_id(),
        operation: wanted.operation,
        object: object.index,
        object_name: object.name.clone(),
        key,
        version: caller.version.to_owned(),
        created: org.clock().now(),
        created_by: org.user_id(),
        delimiter: wanted.column_delimiter,
        crlf: wanted.line_ending.as_deref() == Some("CRLF"),
        state: Mutex::new(State::Open(None)),
    });
    caller.app.ingest.put(job.clone());
    Ok(Reply::ok(job.shown(false)))
}

fn list(caller: &Caller<'_>) -> Reply {
    let jobs: Vec<Arc<Job>> = caller.app.ingest.listed().jobs.iter().cloned().collect();
    let records: Vec<Json> = jobs.iter().rev().map(|job| job.shown(false)).collect();
    Reply::ok(json!({ "done": true, "records": records, "nextRecordsUrl": null }))
}

fn upload(jobs: &Jobs, call: &Call, job: &Job) -> Answer {
    let kind = call.header("content-type").unwrap_or("text/csv");
    if !kind.trim_start().to_ascii_lowercase().starts_with("text/csv") {
        let message = format!("the upload must be text/csv, not {kind}");
        return Err(Refusal::new(415, "UNSUPPORTED_MEDIA_TYPE", message));
    }
    {
        let mut state = job.state();
        match &*state {
            State::Open(None) => *state = State::Open(Some(call.body.clone())),
            State::Open(Some(_)) => {
                let message = format!(
                    "Found multiple contents for job: <{}>, please 'Close' / 'Abort' / 'Delete' the current Job then \
                     create a new Job and make sure you only do 'PUT' once on a given Job.",
                    job.id
                );
                return Err(Refusal::new(400, "API_ERROR", message));
            }
            other => {
                let message = format!("the job {} is {} and takes no more uploads", job.id, other.name());
                return Err(wrong_state(message));
            }
        }
    }
    jobs.make_room();
    Ok(Reply::empty(201))
}

/// `{"state": "UploadComplete"}` runs the job, `{"state": "Aborted"}` ends it.
fn turn(caller: &Caller<'_>, call: &Call, job: &Job) -> Answer {
    let body = call.json()?;
    let mut state = job.state();
    let State::Open(upload) = &*state else {
        let message = format!(
            "the job {} is {} and cannot be changed any more",
            job.id,
            state.name()
        );
        return Err(wrong_state(message));
    };
    let upload = upload.clone();
    *state = match (body["state"].as_str(), upload) {
        (Some("Aborted"), upload) => State::Aborted(upload.unwrap_or_default()),
        (Some("UploadComplete"), Some(upload)) => match job.run(caller, &upload) {
            Ok(loaded) => State::Complete(loaded),
            Err(reason) => State::Failed(upload, reason),
        },
        (Some("UploadComplete"), None) => {
            return Err(wrong_state(
                "the job has no upload yet: PUT its data to batches first",
            ));
        }
        _ => {
            return Err(wrong_state(
                "a job's state can be set to UploadComplete or Aborted",
            ));
        }
    };
    let shown = job.json(&state, false);
    drop(state);
    caller.app.ingest.make_room();
    Ok(Reply::ok(shown))
}

fn delete(jobs: &Jobs, job: &Job) -> Answer {
    if matches!(&*job.state(), State::Open(_)) {
        let message = "the job is open: abort it, or close it, before it is deleted";
        return Err(Refusal::new(400, "API_ERROR", message));
    }
    jobs.listed().jobs.retain(|other| other.id != job.id);
    Ok(Reply::empty(204))
}

impl Job {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, caller: &Caller<'_>, upload: &[u8]) -> Result<Loaded, String> {
        let org = &caller.app.org;
        let work = Work {
            org,
            origin: &caller.origin,
            object: &org.catalog().objects()[self.object],
            operation: self.operation,
            key: self.key.as_ref().map(|(at, _)| *at),
            delimiter: self.delimiter,
            crlf: self.crlf,
        };
        load::run(&work, upload)
    }

    /// Results of rows; none where the job did not run.
    fn results(&self, part: impl Fn(&Loaded) -> &Vec<u8>) -> Vec<u8> {
        match &*self.state() {
            State::Complete(loaded) => part(loaded).clone(),
            _ => Vec::new(),
        }
    }

    /// All that was uploaded, where the job did not run.
    fn unprocessed(&self) -> Vec<u8> {
        match &*self.state() {
            State::Aborted(upload) | State::Failed(upload, _) => upload.to_vec(),
            State::Complete(loaded) => loaded.header.clone(),
            State::Open(_) => Vec::new(),
        }
    }

    /// A job that was just closed says that it has been taken in; every later look finds it complete.
    fn shown(&self, later: bool) -> Json {
        self.json(&self.state(), later)
    }

    fn json(&self, state: &State, later: bool) -> Json {
        let taken_in = !later && matches!(state, State::Complete(_) | State::Failed(..));
        let created = Value::DateTime(self.created).to_json();
        let mut json = json!({
            "id": self.id,
            "operation": self.operation.name(),
            "object": self.object_name,
            "createdById": self.created_by.as_str(),
            "createdDate": created.clone(),
            "systemModstamp": created,
            "state": if taken_in { "UploadComplete" } else { state.name() },
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": self.version.parse::<f64>().unwrap_or_default(),
            "contentUrl": format!("services/data/v{}/jobs/ingest/{}/batches", self.version, self.id),
            "lineEnding": if self.crlf { "CRLF" } else { "LF" },
            "columnDelimiter": self.delimiter.name(),
        });
        if let Some((_, key)) = &self.key {
            json["externalIdFieldName"] = Json::from(key.as_str());
        }
        if !later {
            return json;
        }
        let (processed, failed) = match state {
            State::Complete(loaded) => (loaded.succeeded_count + loaded.failed_count, loaded.failed_count),
            _ => (0, 0),
        };
        json["jobType"] = Json::from("V2Ingest");
        json["retries"] = Json::from(0);
        json["totalProcessingTime"] = Json::from(1);
        json["apiActiveProcessingTime"] = Json::from(1);
        json["apexProcessingTime"] = Json::from(0);
        json["numberRecordsProcessed"] = Json::from(processed);
        json["numberRecordsFailed"] = Json::from(failed);
        if let State::Failed(_, reason) = state {
            json["errorMessage"] = Json::from(reason.as_str());
        }
        json
    }
}
