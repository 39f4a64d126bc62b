//! The pages of a query, held against what the org announced.
//!
//! A query's result is whole when its last page says `done` and names no next page, every page names the same
//! `totalSize`, and as many different records came. Anything else is an error: who reads asks again, and takes nothing
//! for deleted because it was not there.
//!
//! A record whose JSON cannot be read (half of a surrogate pair, bytes that are no UTF-8, a number without end) does
//! not spoil its page: it is named by its id, and the others are read.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use reqwest::Method;
use serde_json::{Map, Value, from_slice, json};

use crate::salesforce::client::without_query;
use crate::salesforce::pages::split::split;
use crate::salesforce::rest::Scope;
use crate::salesforce::{Error, Org};

pub use self::begin::QUERIES_PER_CALL;

mod begin;
mod split;

/// One page of a query's rows.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// Without `attributes`.
    pub records: Vec<Map<String, Value>>,
    /// Records of this page that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Path of the next page.
    pub next: Option<String>,
    pub total: u64,
}

/// A record whose values cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub id: String,
    pub reason: String,
}

/// A member that no record has: the org's own is taken off each.
const MARK: &str = "attributes";

impl Unreadable {
    /// In place of the record's row.
    pub fn into_row(self) -> Map<String, Value> {
        let members = [("Id", Value::from(self.id)), (MARK, Value::from(self.reason))];
        members
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }
}

/// Why the record of a row could not be read, where it could not.
pub fn unreadable(row: &Map<String, Value>) -> Option<&str> {
    row.get(MARK).and_then(Value::as_str)
}

impl Page {
    /// All records; a record that cannot be read is there with its id alone, see [`unreadable`].
    pub fn into_rows(self) -> Vec<Map<String, Value>> {
        let unreadable = self.unreadable.into_iter().map(Unreadable::into_row);
        self.records.into_iter().chain(unreadable).collect()
    }
}

/// A record, or why it cannot be read.
pub(super) type Read = Result<Map<String, Value>, Unreadable>;

/// A query under way.
pub struct Pages<'o> {
    org: &'o Org,
    next: Next,
    whole: Whole,
}

#[derive(Debug)]
enum Next {
    First {
        soql: String,
        scope: Scope,
    },
    /// It came with others, in one call.
    Ready {
        path: String,
        page: Page,
    },
    Further(String),
    None,
}

impl Org {
    /// A further page, by the path that the page before it named.
    pub async fn next_page(&self, next: &str) -> Result<Page, Error> {
        let answer = self.call(Method::GET, next, None).await?;
        self.page(next, &answer.body)
    }

    fn page(&self, path: &str, body: &[u8]) -> Result<Page, Error> {
        page_of(body).map_err(|reason| self.unreadable_body(path, body, &reason))
    }

    /// A result of one page is whole, or an error.
    fn first(&self, path: &str, page: Page) -> Result<Page, Error> {
        let came = (page.records.len() + page.unreadable.len()) as u64;
        match page.next {
            None if came != page.total => {
                let reason = format!("{came} of the {} rows that it announced came", page.total);
                Err(self.unreadable(path, &reason))
            }
            _ => Ok(page),
        }
    }

    /// Rows by id, at most 2,000 of them, in the order of `ids`: `None` where a row is missing or hidden.
    pub async fn retrieve(
        &self,
        object: &str,
        ids: &[String],
        fields: &[String],
    ) -> Result<Vec<Option<Map<String, Value>>>, Error> {
        let path = format!("{}/composite/sobjects/{object}", self.data_path());
        let rows = self.retrieve_each(object, ids, fields).await?.into_iter();
        rows.map(|row| match row {
            None => Ok(None),
            Some(Ok(row)) => Ok(Some(row)),
            Some(Err(Unreadable { id, reason })) => {
                Err(self.unreadable(&path, &format!("the record {id}: {reason}")))
            }
        })
        .collect()
    }

    /// As [`Org::retrieve`], where a row that cannot be read does not stand in the way of the others.
    pub async fn retrieve_each(
        &self,
        object: &str,
        ids: &[String],
        fields: &[String],
    ) -> Result<Vec<Option<Result<Map<String, Value>, Unreadable>>>, Error> {
        let path = format!("{}/composite/sobjects/{object}", self.data_path());
        let answer = self
            .call(Method::POST, &path, Some(&json!({"ids": ids, "fields": fields})))
            .await?;
        let rows =
            list_of(&answer.body).map_err(|reason| self.unreadable_body(&path, &answer.body, &reason))?;
        if rows.len() != ids.len() {
            return Err(self.unreadable(&path, "it has not one row for each id"));
        }
        for (asked, row) in ids.iter().zip(&rows) {
            let told = match row {
                Some(Ok(row)) => row.get("Id").and_then(Value::as_str),
                Some(Err(unreadable)) => Some(unreadable.id.as_str()),
                None => None,
            };
            if told.is_some_and(|told| !same_id(told, asked)) {
                return Err(self.unreadable(&path, "its rows are not in the order of the ids"));
            }
        }
        Ok(rows)
    }

    /// A body that is not the org's JSON at all is told as what it is.
    fn unreadable_body(&self, path: &str, body: &[u8], reason: &str) -> Error {
        match from_slice::<serde::de::IgnoredAny>(body) {
            Err(error) if !matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) => {
                Error::of_body(without_query(path), body, &error)
            }
            _ => self.unreadable(path, reason),
        }
    }

    /// A query whose pages are all to be read.
    pub fn pages(&self, soql: String, scope: Scope) -> Pages<'_> {
        Pages {
            org: self,
            next: Next::First { soql, scope },
            whole: Whole::default(),
        }
    }
}

impl Pages<'_> {
    /// The next page; `None` after the last. The last is an error where the result is not whole with it.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        let (page, path) = match std::mem::replace(&mut self.next, Next::None) {
            Next::None => return Ok(None),
            Next::First { soql, scope } => (self.org.query(&soql, scope).await?, "query".to_owned()),
            Next::Ready { path, page } => (page, path),
            Next::Further(path) => (self.org.next_page(&path).await?, path),
        };
        self.whole
            .take(&page)
            .map_err(|reason| self.org.unreadable(&path, &reason))?;
        if let Some(next) = &page.next {
            self.next = Next::Further(next.clone());
        }
        Ok(Some(page))
    }
}

/// Ids of 15 and of 18 characters name one record.
fn same_id(one: &str, other: &str) -> bool {
    one.get(..15).is_some_and(|one| other.starts_with(one)) || one == other
}

/// What came of a result so far.
#[derive(Debug, Default)]
struct Whole {
    announced: Option<u64>,
    /// Hashes of the ids, by a key of this query's own.
    ids: HashSet<u64>,
    hasher: RandomState,
    paths: HashSet<String>,
}

impl Whole {
    fn take(&mut self, page: &Page) -> Result<(), String> {
        let announced = *self.announced.get_or_insert(page.total);
        if announced != page.total {
            return Err(format!(
                "a page announces {} rows in all, and the first announced {announced}",
                page.total
            ));
        }
        let read = page
            .records
            .iter()
            .map(|record| record.get("Id").and_then(Value::as_str));
        let unreadable = page.unreadable.iter().map(|record| Some(record.id.as_str()));
        for id in read.chain(unreadable) {
            let id = id.ok_or("a record has no Id")?;
            if !self.ids.insert(self.hasher.hash_one(id)) {
                return Err(format!("the record {id} came twice"));
            }
        }
        match &page.next {
            Some(next) if !self.paths.insert(next.clone()) => {
                Err("a page names a next page that was read before".to_owned())
            }
            Some(_) => Ok(()),
            None if self.ids.len() as u64 == announced => Ok(()),
            None => Err(format!(
                "{} of the {announced} rows that it announced came",
                self.ids.len()
            )),
        }
    }
}

/// Reads one page.
pub(super) fn page_of(body: &[u8]) -> Result<Page, String> {
    let (mut page, records) = records_of(body, |page: &mut Map<String, Value>| {
        page.get_mut("records").map(Value::take)
    })?;
    let total = page.get("totalSize").and_then(Value::as_u64);
    let done = page.get("done").and_then(Value::as_bool);
    let next = match page.remove("nextRecordsUrl") {
        None | Some(Value::Null) => None,
        Some(Value::String(next)) if next.starts_with('/') => Some(next),
        Some(_) => return Err("its nextRecordsUrl is no path".to_owned()),
    };
    let total = total.ok_or("it has no totalSize")?;
    match (done.ok_or("it does not say whether it is done")?, &next) {
        (true, Some(_)) => return Err("it is done and names a next page".to_owned()),
        (false, None) => return Err("it is not done and names no next page".to_owned()),
        _ => {}
    }
    let mut read = Page {
        next,
        total,
        ..Page::default()
    };
    for record in records {
        match record {
            Some(Ok(record)) => read.records.push(record),
            Some(Err(unreadable)) => read.unreadable.push(unreadable),
            None => return Err("a record is null".to_owned()),
        }
    }
    Ok(read)
}

/// Reads a list of records, `None` where one is null.
pub(super) fn list_of(body: &[u8]) -> Result<Vec<Option<Read>>, String> {
    Ok(records_of(body, |list: &mut Value| Some(list.take()))?.1)
}

/// Reads a body, and its records one by one where one of them stands in the way.
fn records_of<T: serde::de::DeserializeOwned>(
    body: &[u8],
    list: impl FnOnce(&mut T) -> Option<Value>,
) -> Result<(T, Vec<Option<Read>>), String> {
    let (mut rest, parts) = match from_slice::<T>(body) {
        Ok(whole) => (whole, None),
        Err(error) => match split(body) {
            Some(parts) => (
                from_slice(&parts.rest).map_err(|_| error.to_string())?,
                Some(parts.records),
            ),
            None => return Err(error.to_string()),
        },
    };
    let Some(Value::Array(read)) = list(&mut rest) else {
        return Err("it has no records".to_owned());
    };
    let records = match parts {
        None => read.into_iter().map(record).collect::<Result<_, _>>(),
        Some(parts) => parts.iter().map(|part| apart(part)).collect(),
    };
    Ok((rest, records?))
}

/// A record without the `attributes` that REST adds; `None` for null.
pub(super) fn record(value: Value) -> Result<Option<Read>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Object(mut record) => {
            record.shift_remove("attributes");
            Ok(Some(Ok(record)))
        }
        _ => Err("a record is no object".to_owned()),
    }
}

/// One record's own JSON.
fn apart(json: &[u8]) -> Result<Option<Read>, String> {
    let error = match from_slice(json) {
        Ok(value) => return record(value),
        Err(error) => error,
    };
    let id = split::id_of(json).ok_or_else(|| error.to_string())?;
    // The position is of the record's own text, and of no use to anybody.
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or(&reason).to_owned();
    Ok(Some(Err(Unreadable { id, reason })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(json: &Value) -> Result<Page, String> {
        page_of(json.to_string().as_bytes())
    }

    #[test]
    fn a_page_says_whether_it_is_the_last_or_cannot_be_read() {
        let one = json!([{"attributes": {"type": "A"}, "Id": "001"}]);
        let next = "/services/data/v67.0/query/0r8-2000";
        let last = page(&json!({"totalSize": 1, "done": true, "records": one})).unwrap();
        assert_eq!((last.records.len(), last.next, last.total), (1, None, 1));
        assert!(!last.records[0].contains_key("attributes"));
        let more = page(&json!({"totalSize": 9, "done": false, "nextRecordsUrl": next, "records": one}));
        assert_eq!(more.unwrap().next.as_deref(), Some(next));
        for (broken, word) in [
            (json!({"totalSize": 1, "done": true}), "no records"),
            (json!({"done": true, "records": one}), "totalSize"),
            (
                json!({"totalSize": "1", "done": true, "records": one}),
                "totalSize",
            ),
            (json!({"totalSize": 1, "records": one}), "done"),
            (
                json!({"totalSize": 9, "done": false, "records": one}),
                "no next page",
            ),
            (
                json!({"totalSize": 9, "done": false, "nextRecordsUrl": null, "records": one}),
                "no next page",
            ),
            (
                json!({"totalSize": 9, "done": true, "nextRecordsUrl": next, "records": one}),
                "names a next page",
            ),
            (
                json!({"totalSize": 9, "done": false, "nextRecordsUrl": 7, "records": one}),
                "no path",
            ),
            (
                json!({"totalSize": 1, "done": true, "records": ["001"]}),
                "no object",
            ),
            (json!({"totalSize": 1, "done": true, "records": [null]}), "null"),
        ] {
            let error = page(&broken).unwrap_err();
            assert!(error.contains(word), "{broken}: {error}");
        }
        for broken in [
            "",
            "{",
            "{\"totalSize\":1,\"done\":true,\"records\":[{\"Id\":\"001\"}",
        ] {
            assert!(page_of(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_result_is_whole_or_an_error() {
        let page = |ids: &[&str], next: Option<&str>, total| Page {
            records: ids
                .iter()
                .map(|id| Map::from_iter([("Id".to_owned(), json!(id))]))
                .collect(),
            next: next.map(str::to_owned),
            total,
            ..Page::default()
        };
        let read = |pages: &[Page]| {
            let mut whole = Whole::default();
            pages.iter().try_for_each(|page| whole.take(page))
        };
        let first = || page(&["1", "2"], Some("/a"), 3);
        assert_eq!(read(&[page(&[], None, 0)]), Ok(()));
        assert_eq!(read(&[first(), page(&["3"], None, 3)]), Ok(()));
        for (pages, word) in [
            (vec![page(&["1"], None, 2)], "1 of the 2 rows"),
            (vec![page(&["1", "2"], None, 1)], "2 of the 1 rows"),
            (vec![first(), page(&[], None, 3)], "2 of the 3 rows"),
            (vec![first(), page(&["3"], None, 4)], "announces 4"),
            (vec![first(), page(&["2"], None, 3)], "came twice"),
            (vec![first(), page(&["3"], Some("/a"), 3)], "read before"),
        ] {
            let error = read(&pages).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_does_not_spoil_the_others() {
        let body = |record: &[u8]| {
            let mut body =
                br#"{"totalSize":2,"done":true,"records":[{"Id":"001","Name":"a ] } \" b"},"#.to_vec();
            body.extend_from_slice(record);
            body.extend_from_slice(b"]}");
            body
        };
        let broken: [&[u8]; 4] = [
            br#"{"attributes":{"Id":"x"},"Id":"002","Name":"half \ud83d of a pair"}"#,
            b"{\"Id\":\"002\",\"Name\":\"not \xff UTF-8\"}",
            br#"{"Id":"002","Price":1e999}"#,
            br#"{"Inner":{"Id":"x"},"Id":"002","Name":"\ud83d"}"#,
        ];
        for record in broken {
            let page = page_of(&body(record)).unwrap();
            let ids: Vec<&str> = page.unreadable.iter().map(|of| of.id.as_str()).collect();
            assert_eq!((page.records.len(), ids), (1, vec!["002"]));
            assert!(!page.unreadable[0].reason.contains("line"), "{page:?}");
        }
        assert!(
            page_of(&body(br#"{"Name":"\ud83d"}"#)).is_err(),
            "whose record it is, is not known"
        );
        let list = list_of(br#"[{"Id":"001"}, null, {"Id":"002","Name":"\ud83d"}]"#).unwrap();
        let told: Vec<Option<bool>> = list.iter().map(|read| read.as_ref().map(Result::is_ok)).collect();
        assert_eq!(told, [Some(true), None, Some(false)]);
        assert!(list_of(b"[{\"Id\":\"001\"}, \"002\"]").is_err());
        assert!(list_of(br#"[{"Id":"002","Name":"\ud83d"}"#).is_err(), "cut off");
    }
}
