//! Bulk API 2.0 queries: whole objects as CSV, page by page.
//!
//! A job's results can be read again as long as it lives (seven days), by locators that are opaque. There are two ways
//! through them. Each page names the next, so that only one can be under way; the end is the locator `null`, spelled
//! out. Or, from version 58 on, lists name up to five pages each, which can be fetched side by side, and the next
//! list; how long such a page is, is the org's choice. A job must be read with the API version it was made with.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use crate::salesforce::pieces::{Lines, header_of};
use crate::salesforce::{Error, Org};

/// How often a running job is asked after: at once for small ones, less often as it takes longer.
const POLL_FIRST: Duration = Duration::from_millis(100);
const POLL_LONGEST: Duration = Duration::from_secs(10);

/// A query job that has completed.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: String,
    pub rows: u64,
}

/// The org took the query and ended its job without results, as for objects that Bulk cannot read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the query job ended without results ({reason})")]
pub struct Failed {
    reason: String,
}

/// One page of results: CSV with a header row, every value quoted, null and empty both `""`.
#[derive(Debug)]
pub struct CsvPage {
    pub csv: Bytes,
    pub rows: u64,
    pub next: Option<String>,
}

/// Pages that can be fetched side by side, by their paths.
#[derive(Debug, PartialEq, Eq)]
pub struct PageList {
    pub pages: Vec<String>,
    /// Path of the next list.
    pub next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultPages {
    result_pages: Vec<ResultPage>,
    // The documentation's table and its example differ.
    #[serde(alias = "nextRecordUrl")]
    next_records_url: Option<String>,
    done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultPage {
    result_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobInfo {
    id: String,
    state: String,
    number_records_processed: Option<u64>,
    error_message: Option<String>,
}

impl Org {
    /// Starts a query over live rows and waits until its results are ready.
    pub async fn bulk_query(&self, soql: &str) -> Result<Result<Job, Failed>, Error> {
        let path = format!("{}/jobs/query", self.data_path());
        let body =
            json!({"operation": "query", "query": soql, "columnDelimiter": "COMMA", "lineEnding": "LF"});
        let answer = self.call(Method::POST, &path, Some(&body)).await?;
        let mut job: JobInfo = self.json(&path, &answer.body)?;
        let path = format!("{path}/{}", job.id);
        let mut wait = POLL_FIRST;
        loop {
            match job.state.as_str() {
                "JobComplete" => {
                    let rows = job
                        .number_records_processed
                        .ok_or_else(|| self.unreadable(&path, "it does not say how many rows it found"))?;
                    return Ok(Ok(Job { id: job.id, rows }));
                }
                "Failed" | "Aborted" => {
                    let reason = job
                        .error_message
                        .unwrap_or_else(|| format!("the job is {}", job.state));
                    return Ok(Err(Failed { reason }));
                }
                _ => tokio::time::sleep(wait).await,
            }
            wait = (wait * 2).min(POLL_LONGEST);
            let answer = self.call(Method::GET, &path, None).await?;
            job = self.json(&path, &answer.body)?;
        }
    }

    /// A page of at most `rows_max` rows of these columns, from `locator` on, or from the beginning where it is `None`.
    pub async fn bulk_page(
        &self,
        job: &Job,
        columns: &[String],
        locator: Option<&str>,
        rows_max: u32,
    ) -> Result<CsvPage, Error> {
        let mut path = format!(
            "{}/jobs/query/{}/results?maxRecords={rows_max}",
            self.data_path(),
            job.id
        );
        if let Some(locator) = locator {
            path.push_str("&locator=");
            path.push_str(locator);
        }
        let answer = self.call(Method::GET, &path, None).await?;
        let read = || {
            let rows = rows_announced(&answer.headers)?;
            let next = next_locator(&answer.headers)?;
            if next.is_some() && next.as_deref() == locator {
                return Err("it names itself as the next page".to_owned());
            }
            let mut lines = Lines::default();
            lines.push(&answer.body);
            lines.end(&header_of(&answer.body), columns, rows)?;
            Ok((rows, next))
        };
        let (rows, next) = read().map_err(|reason| self.unreadable(&path, &reason))?;
        Ok(CsvPage {
            rows,
            next,
            csv: answer.body,
        })
    }

    /// Path of the first list of a job's pages.
    pub fn bulk_page_list_path(&self, job: &Job) -> String {
        format!("{}/jobs/query/{}/resultPages", self.data_path(), job.id)
    }

    /// A list of pages. Refused with 404 or 400 where the org has none.
    pub async fn bulk_page_list(&self, path: &str) -> Result<PageList, Error> {
        let answer = self.call(Method::GET, path, None).await?;
        page_list(self.json(path, &answer.body)?).map_err(|reason| self.unreadable(path, reason))
    }

    /// Tells the org that a job's results are no longer needed.
    pub async fn bulk_delete(&self, job: &Job) -> Result<(), Error> {
        let path = format!("{}/jobs/query/{}", self.data_path(), job.id);
        self.call(Method::DELETE, &path, None).await.map(drop)
    }
}

/// The number of rows that a page announces.
pub(super) fn rows_announced(headers: &HeaderMap) -> Result<u64, String> {
    let text = headers
        .get("sforce-numberofrecords")
        .and_then(|rows| rows.to_str().ok());
    let rows = text.and_then(|rows| rows.trim().parse().ok());
    rows.ok_or_else(|| "it does not say how many rows it has (Sforce-NumberOfRecords)".to_owned())
}

/// The locator of the next page; the last page says `null`.
fn next_locator(headers: &HeaderMap) -> Result<Option<String>, String> {
    let text = headers.get("sforce-locator").and_then(|next| next.to_str().ok());
    match text {
        None | Some("") => Err("it does not say whether more follows (Sforce-Locator)".to_owned()),
        Some("null") => Ok(None),
        Some(next) => Ok(Some(next.to_owned())),
    }
}

/// A list that says that more follows and not where would lose the rest.
fn page_list(list: ResultPages) -> Result<PageList, &'static str> {
    let path = |url: String| match url.find("/services/") {
        Some(start) => Ok(url[start..].to_owned()),
        None => Err("a page has no path of the API"),
    };
    let pages = list.result_pages.into_iter().map(|page| path(page.result_url));
    let next = match (list.done, list.next_records_url) {
        (true, _) => None,
        (false, Some(next)) => Some(path(next)?),
        (false, None) => return Err("it does not say where the next pages are"),
    };
    Ok(PageList {
        pages: pages.collect::<Result<_, _>>()?,
        next,
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_page_announces_its_rows_and_whether_more_follow() {
        let headers = |of: &[(&'static str, &'static str)]| {
            let of = of
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            HeaderMap::from_iter(of)
        };
        let of = |of: &[(&'static str, &'static str)]| {
            let headers = headers(of);
            (rows_announced(&headers).ok(), next_locator(&headers).ok())
        };
        let (rows, next) = ("sforce-numberofrecords", "sforce-locator");
        for (told, expected) in [
            (vec![(rows, "7"), (next, "null")], (Some(7), Some(None))),
            (
                vec![(rows, "0"), (next, "MTA")],
                (Some(0), Some(Some("MTA".to_owned()))),
            ),
            (vec![(rows, "many"), (next, "")], (None, None)),
            (vec![(rows, "-1")], (None, None)),
            (vec![(next, "null")], (None, Some(None))),
        ] {
            assert_eq!(of(&told), expected, "{told:?}");
        }
    }

    #[test]
    fn reads_lists_of_pages_and_refuses_one_that_breaks_off() {
        let read = |json: serde_json::Value| page_list(serde_json::from_value(json).unwrap());
        let results = "/services/data/v67.0/jobs/query/750/results?locator=A";
        let next = "/services/data/v67.0/jobs/query/750/resultPages?locator=F";
        let one = json!([{"resultUrl": results}]);
        let list = |next: Option<&str>| PageList {
            pages: vec![results.to_owned()],
            next: next.map(str::to_owned),
        };
        for key in ["nextRecordsUrl", "nextRecordUrl"] {
            let told = read(json!({"resultPages": one, key: next, "done": false}));
            assert_eq!(told, Ok(list(Some(next))));
        }
        let whole = format!("https://shop.my.salesforce.com{results}");
        let told = read(json!({"resultPages": [{"resultUrl": whole}], "done": true, "nextRecordsUrl": null}));
        assert_eq!(told, Ok(list(None)));
        assert!(read(json!({"resultPages": one, "done": false})).is_err());
        assert!(read(json!({"resultPages": [{"resultUrl": "A"}], "done": true})).is_err());
    }
}
