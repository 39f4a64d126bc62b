//! Which records changed: the org's own lists of them, for many objects in one call.
//!
//! `sobjects/X/updated` and `sobjects/X/deleted` name the records that were written or deleted within a span of whole
//! minutes, and how far the list is complete: a transaction that is still under way holds `latestDateCovered` at its
//! start (REST API guide, sObject Get Updated and Get Deleted). A composite request takes 25 parts and counts as one
//! call whatever they are (Composite); only queries and collections are limited to five of the parts.

use serde_json::{Value, json};

use crate::model::clock::{Millis, format_datetime, parse_datetime};
use crate::salesforce::rest::PartResult;
use crate::salesforce::{ApiError, Error, Org};

/// Parts of a composite request.
const PARTS_MAX: usize = 25;

const MINUTE_MILLIS: Millis = 60_000;

/// An object, and from when to when by the org's clock. The org cuts both to the minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub object: String,
    pub start: Millis,
    pub end: Millis,
}

/// What changed in a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists {
    /// Ids of records that were created, updated or undeleted.
    pub updated: Vec<String>,
    pub deleted: Vec<String>,
    /// Everything that was committed before is in the lists. Never after the span's end.
    pub covered: Millis,
}

/// The lists of one object, or why the org has none for it.
pub type Listed = Result<Lists, String>;

/// The minute that a time is in.
pub fn whole_minute(at: Millis) -> Millis {
    at.div_euclid(MINUTE_MILLIS) * MINUTE_MILLIS
}

impl Org {
    /// The lists of each object, in their order, by one call for each 25 lists.
    pub async fn changed(&self, spans: &[Span]) -> Result<Vec<Listed>, Error> {
        let parts: Vec<Value> = spans
            .iter()
            .enumerate()
            .flat_map(|(index, span)| ["updated", "deleted"].map(|list| self.part(index, span, list)))
            .collect();
        let mut results = Vec::with_capacity(parts.len());
        for parts in parts.chunks(PARTS_MAX) {
            let answered = self
                .composite(&json!({"allOrNone": false, "compositeRequest": parts}))
                .await?;
            let is_whole = answered.len() == parts.len();
            results.extend(answered);
            if !is_whole {
                break;
            }
        }
        let both = |index: usize| results.get(2 * index..2 * index + 2).unwrap_or_default();
        let spans = spans.iter().enumerate();
        Ok(spans.map(|(index, span)| lists(span, both(index))).collect())
    }

    fn part(&self, index: usize, span: &Span, list: &str) -> Value {
        // What was deleted is listed from more than a minute on only, and is gone twice as well as once.
        let start = match list {
            "deleted" => span.start - MINUTE_MILLIS,
            _ => span.start,
        };
        // A plus sign would be read as a space.
        let time = |at| format_datetime(at).replace('Z', "%2B00:00");
        let (object, path) = (&span.object, self.data_path());
        let url = format!(
            "{path}/sobjects/{object}/{list}/?start={}&end={}",
            time(start),
            time(span.end)
        );
        json!({"method": "GET", "url": url, "referenceId": format!("{list}{index}")})
    }
}

fn lists(span: &Span, parts: &[PartResult]) -> Listed {
    let [updated, deleted] = parts else {
        return Err("the org answered fewer parts than it was asked for".to_owned());
    };
    for part in parts {
        if part.status != 200 {
            let error = ApiError::all_of(&part.body).into_iter().next();
            let said = error.map_or_else(String::new, |error| format!(" {}: {}", error.code, error.message));
            return Err(format!("the org refused its list with {}{said}", part.status));
        }
    }
    let covered = |part: &PartResult| {
        part.body["latestDateCovered"]
            .as_str()
            .and_then(parse_datetime)
            .ok_or_else(|| "the list does not say how far it is complete".to_owned())
    };
    let ids = |values: &Value, id: &dyn Fn(&Value) -> Option<String>| {
        let values = values.as_array().ok_or("the list has no records")?;
        let ids: Option<Vec<String>> = values.iter().map(id).collect();
        ids.ok_or("a record of the list has no id")
    };
    let earliest = deleted.body["earliestDateAvailable"]
        .as_str()
        .and_then(parse_datetime);
    if earliest.is_some_and(|earliest| earliest > span.start) {
        return Err("what was deleted is no longer listed from then on".to_owned());
    }
    Ok(Lists {
        updated: ids(&updated.body["ids"], &|id| Some(id.as_str()?.to_owned()))?,
        deleted: ids(&deleted.body["deletedRecords"], &|record| {
            Some(record["id"].as_str()?.to_owned())
        })?,
        covered: covered(updated)?.min(covered(deleted)?).min(span.end),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(status: u16, body: Value) -> PartResult {
        PartResult {
            reference: None,
            status,
            body,
        }
    }

    #[test]
    fn a_list_is_complete_as_far_as_the_org_says() {
        let at = |time: &str| parse_datetime(&format!("2026-11-29T{time}Z")).unwrap();
        let span = Span {
            object: "Product2".to_owned(),
            start: at("10:00:00"),
            end: at("10:05:00"),
        };
        let updated = |covered: &str| json!({"ids": ["01tA"], "latestDateCovered": covered});
        let deleted = |earliest: &str, covered: &str| {
            json!({
                "deletedRecords": [{"id": "01tB", "deletedDate": "2026-11-29T10:01:00.000+0000"}],
                "earliestDateAvailable": earliest, "latestDateCovered": covered,
            })
        };
        let listed = |updated: Value, deleted: Value| lists(&span, &[part(200, updated), part(200, deleted)]);
        let end = "2026-11-29T10:05:00.000+0000";
        let long_ago = "2026-11-01T00:00:00.000+0000";
        for (of_updated, of_deleted, covered) in [
            (end, end, "10:05:00"),
            ("2026-11-29T10:02:00.000+0000", end, "10:02:00"),
            (end, "2026-11-29T10:01:00.000+0000", "10:01:00"),
            // No list is believed to know what is to come.
            (
                "2026-11-29T11:00:00.000+0000",
                "2026-11-29T11:00:00.000+0000",
                "10:05:00",
            ),
        ] {
            let lists = listed(updated(of_updated), deleted(long_ago, of_deleted)).unwrap();
            assert_eq!(lists.covered, at(covered));
            assert_eq!(
                (lists.updated, lists.deleted),
                (vec!["01tA".to_owned()], vec!["01tB".to_owned()])
            );
        }
        for (updated, deleted) in [
            (json!({"ids": ["01tA"]}), deleted(long_ago, end)),
            (json!({"latestDateCovered": end}), deleted(long_ago, end)),
            (
                json!({"ids": [7], "latestDateCovered": end}),
                deleted(long_ago, end),
            ),
            (updated(end), deleted("2026-11-29T10:01:00.000+0000", end)),
            (
                updated(end),
                json!({"deletedRecords": [{}], "latestDateCovered": end}),
            ),
        ] {
            assert!(
                listed(updated.clone(), deleted.clone()).is_err(),
                "{updated} {deleted}"
            );
        }
        let refusal = json!([{"errorCode": "INVALID_REPLICATION_DATE", "message": "start is too old"}]);
        let refused = lists(&span, &[part(400, refusal), part(200, deleted(long_ago, end))]);
        assert!(refused.unwrap_err().contains("start is too old"));
        assert!(lists(&span, &[part(200, updated(end))]).is_err());
    }

    #[test]
    fn a_minute_begins_at_its_first_millisecond() {
        assert_eq!(whole_minute(119_999), 60_000);
        assert_eq!(whole_minute(120_000), 120_000);
    }
}
