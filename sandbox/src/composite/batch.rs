//! `composite/batch`: up to 25 requests that have nothing to do with each other.
//!
//! They run one after the other, each for itself; each counts as a call of the API. With `haltOnError` those after
//! the first failure are not run.

use std::sync::atomic::Ordering;

use axum::http::HeaderValue;
use serde_json::{Value as Json, json};

use super::super::http::answer::{Answer, Refusal, Reply};
use super::super::http::call::Call;
use super::super::rest::{Caller, single, supported};

const PARTS_MAX: usize = 25;

pub fn answer(caller: &Caller<'_>, call: &Call) -> Answer {
    let body = call.json()?;
    let requests = body["batchRequests"]
        .as_array()
        .ok_or_else(|| Refusal::parser("batchRequests is no JSON array"))?;
    if requests.len() > PARTS_MAX {
        let message = format!("The batch can’t contain more than {PARTS_MAX} operations.");
        return Err(Refusal::new(400, "LIMIT_EXCEEDED", message));
    }
    let more = requests.len().saturating_sub(1);
    caller
        .app
        .requests
        .fetch_add(u64::try_from(more).unwrap_or_default(), Ordering::Relaxed);
    let halt = body["haltOnError"].as_bool().unwrap_or(false);
    let mut failed = false;
    let mut results = Vec::with_capacity(requests.len());
    for request in requests {
        let answer = if failed && halt {
            let message = "Batch processing halted per request";
            Err(Refusal::new(412, "BATCH_PROCESSING_HALTED", message))
        } else {
            one(caller, call, request)
        };
        let reply = answer.unwrap_or_else(Reply::from);
        failed |= reply.status >= 400;
        results.push(json!({ "statusCode": reply.status, "result": reply.body() }));
    }
    Ok(Reply::ok(json!({ "hasErrors": failed, "results": results })))
}

/// The address of a part begins with the version, or with all that stands before it.
fn one(caller: &Caller<'_>, outer: &Call, request: &Json) -> Answer {
    let text = |key: &str| {
        let missing = || Refusal::parser(format!("a batch request has no {key}"));
        request[key].as_str().ok_or_else(missing)
    };
    let mut call = Call::new(text("method")?, text("url")?);
    call.headers = outer.headers.clone();
    call.headers
        .insert("content-type", HeaderValue::from_static("application/json"));
    if let Some(body) = request.get("richInput").filter(|body| !body.is_null()) {
        call.body = body.to_string().into();
    }
    let segments = call.segments();
    let segments = segments
        .strip_prefix(&["services", "data"][..])
        .unwrap_or(&segments);
    let [version, rest @ ..] = segments else {
        return Err(Refusal::not_found());
    };
    let caller = Caller {
        app: caller.app,
        version: supported(version)?,
        origin: caller.origin.clone(),
    };
    single(&caller, &call, rest)
}
