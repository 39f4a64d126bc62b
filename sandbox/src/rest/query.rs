//! `query` and `queryAll`, and the cursors behind `nextRecordsUrl`.
//!
//! A cursor keeps the ids that matched when the query was first asked; each page shows the rows as they are when
//! the page is read, without those that have been deleted since.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value as Json, json};

use super::{Access, Caller};
use crate::http::answer::{Answer, Refusal, Reply};
use crate::http::call::Call;
use crate::org::Record;
use crate::soql::{Query, Scope};
use crate::tooling;
use crate::value::RecordId;

const PAGE_ROWS: usize = 2_000;
const PAGE_ROWS_MIN: usize = 200;
/// The oldest cursor is released for a new one.
const CURSORS_MAX: usize = 50;

/// Queries with pages still to be read.
#[derive(Default)]
pub struct Cursors(Mutex<State>);

#[derive(Default)]
struct State {
    opened: u64,
    open: VecDeque<(String, Arc<Cursor>)>,
}

struct Cursor {
    query: Query,
    ids: Vec<RecordId>,
    deleted_too: bool,
    page_rows: usize,
}

impl Cursors {
    fn open(&self, cursor: Cursor) -> String {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.opened += 1;
        let locator = RecordId::new(*b"0r8", state.opened).to_string();
        if state.open.len() == CURSORS_MAX {
            state.open.pop_front();
        }
        state.open.push_back((locator.clone(), Arc::new(cursor)));
        locator
    }

    fn get(&self, locator: &str) -> Option<Arc<Cursor>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .open
            .iter()
            .find(|(name, _)| name == locator)
            .map(|(_, cursor)| cursor.clone())
    }
}

pub fn answer(
    caller: &Caller<'_>,
    access: &Access<'_, '_>,
    call: &Call,
    rest: &[&str],
    deleted_too: bool,
) -> Answer {
    if call.method != "GET" {
        return Err(Refusal::method_not_allowed(&call.method));
    }
    match rest {
        [] => {
            let text = call
                .parameter("q")
                .ok_or_else(|| Refusal::new(400, "MALFORMED_QUERY", "a query string has to be specified"))?;
            first_page(caller, access, call, text, deleted_too)
        }
        [locator] => next_page(caller, access, locator),
        _ => Err(Refusal::not_found()),
    }
}

fn first_page(
    caller: &Caller<'_>,
    access: &Access<'_, '_>,
    call: &Call,
    text: &str,
    deleted_too: bool,
) -> Answer {
    let org = &caller.app.org;
    let query = match Query::compile(caller.catalog(), text, org.clock().now(), deleted_too) {
        Ok(query) => query,
        Err(error) => {
            let of_definitions = (error.code == "INVALID_TYPE").then(|| tooling::definitions(caller, text));
            return of_definitions.flatten().unwrap_or_else(|| Err(error.into()));
        }
    };
    let scope = caller.scope(access);
    let rows = query.rows(&scope);
    if query.is_count() {
        return Ok(Reply::ok(
            json!({ "totalSize": rows.len(), "done": true, "records": [] }),
        ));
    }
    if let Some(groups) = query.groups(&scope, &rows) {
        return Ok(Reply::ok(
            json!({ "totalSize": groups.len(), "done": true, "records": groups }),
        ));
    }
    let page_rows = call
        .batch_size()
        .map_or(PAGE_ROWS, |size| size.clamp(PAGE_ROWS_MIN, PAGE_ROWS));
    let page = &rows[..rows.len().min(page_rows)];
    let records = query.records(&scope, page, caller.version);
    let total = rows.len();
    let next = (total > page_rows).then(|| {
        let ids = rows.iter().map(|row| row.id()).collect();
        let locator = caller.app.cursors.open(Cursor {
            query,
            ids,
            deleted_too,
            page_rows,
        });
        (locator, page_rows)
    });
    Ok(Reply::ok(page_json(caller, total, records, next)))
}

fn next_page(caller: &Caller<'_>, access: &Access<'_, '_>, locator: &str) -> Answer {
    let invalid = || Refusal::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
    let (name, from) = locator.rsplit_once('-').ok_or_else(invalid)?;
    let from: usize = from.parse().map_err(|_| invalid())?;
    let cursor = caller.app.cursors.get(name).ok_or_else(invalid)?;
    let total = cursor.ids.len();
    if from >= total {
        return Err(invalid());
    }
    let to = total.min(from + cursor.page_rows);
    let scope = caller.scope(access);
    let rows = present(
        &scope,
        cursor.query.object(),
        &cursor.ids[from..to],
        cursor.deleted_too,
    );
    let records = cursor.query.records(&scope, &rows, caller.version);
    let next = (to < total).then(|| (name.to_owned(), to));
    Ok(Reply::ok(page_json(caller, total, records, next)))
}

/// The rows of ids that are still there.
pub fn present<'a>(scope: &Scope<'a>, object: usize, ids: &[RecordId], deleted_too: bool) -> Vec<&'a Record> {
    let rows = ids.iter().filter_map(|id| scope.records.get(object, *id));
    rows.filter(|row| deleted_too || !row.deleted).collect()
}

fn page_json(caller: &Caller<'_>, total: usize, records: Vec<Json>, next: Option<(String, usize)>) -> Json {
    let mut json = Map::new();
    json.insert("totalSize".to_owned(), Json::from(total));
    json.insert("done".to_owned(), Json::from(next.is_none()));
    if let Some((locator, from)) = next {
        let url = format!("/services/data/v{}/query/{locator}-{from}", caller.version);
        json.insert("nextRecordsUrl".to_owned(), Json::from(url));
    }
    json.insert("records".to_owned(), Json::Array(records));
    Json::Object(json)
}
