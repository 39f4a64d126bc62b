//! The pages of a query job's result, for clients that fetch them side by side. Since version 58.

use serde_json::json;

use super::{locator, readable};
use crate::http::answer::{Answer, Refusal, Reply};
use crate::http::call::Call;
use crate::rest::Caller;

const VERSION_MIN: f64 = 58.0;

/// The most pages of one list.
const PAGES_MAX: usize = 5;

pub(super) fn list(caller: &Caller<'_>, call: &Call, id: &str) -> Answer {
    let version: f64 = caller.version.parse().unwrap_or_default();
    if version < VERSION_MIN {
        return Err(Refusal::not_found());
    }
    let job = readable(caller, id)?;
    let from = job.asked_from(call)?;
    let rows = caller.app.jobs.page_rows();
    let to = job.ids.len().min(from.saturating_add(rows * PAGES_MAX));
    let base = format!("/services/data/v{version:.1}/jobs/query/{}", job.id);
    // Without rows there is one page all the same.
    let starts = (from..to.max(from + 1)).step_by(rows);
    let pages: Vec<_> = starts
        .map(|start| json!({ "resultUrl": format!("{base}/results?locator={}", locator(start)) }))
        .collect();
    let done = to >= job.ids.len();
    let next = (!done).then(|| format!("{base}/resultPages?locator={}", locator(to)));
    Ok(Reply::ok(
        json!({ "resultPages": pages, "nextRecordsUrl": next, "done": done }),
    ))
}
