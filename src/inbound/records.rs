//! Reading mirrored rows by their ids, in whichever way the org allows.
//!
//! A collection reads many in one call and tells which are not there. An org, or a proxy before it, may refuse
//! collections and composites: then rows are read by queries that are short enough for an address, which takes more calls.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::inbound::prepare::Planned;
use crate::salesforce::pages::Unreadable;
use crate::salesforce::rest::Scope;
use crate::salesforce::{Error, Org};

type Row = Map<String, Value>;

/// How many rows of an object the org has that meet these conditions.
pub(super) async fn count(org: &Org, planned: &Planned, conditions: &[&str]) -> Result<u64, Error> {
    let soql = planned.query("COUNT(Id) n", conditions);
    let page = org.query(&soql, Scope::Live).await?;
    let n = page.records.first().and_then(|row| row.get("n"));
    n.and_then(Value::as_u64).ok_or_else(|| Error::Unreadable {
        url: soql,
        reason: "it counts rows and does not say how many".to_owned(),
    })
}

/// Mirrored rows by id, in the order of `ids`; `None` where the org has none, or one that is not mirrored. One that cannot
/// be read says so, see [`unreadable`](crate::salesforce::pages::unreadable).
pub(super) async fn read_records(
    org: &Org,
    planned: &Planned,
    ids: &[String],
) -> Result<Vec<Option<Row>>, Error> {
    let read = match planned.filter {
        None => by_collection(org, planned, ids).await,
        // What does not meet the object's condition is not mirrored: to the cache it is not there.
        Some(_) => by_query(org, planned, ids).await,
    };
    match read {
        Err(error) if error.is_way_refused() => {
            let object = &planned.table.object;
            tracing::debug!(%object, "records of {object} are read by queries: {error}");
            by_short_queries(org, planned, ids).await
        }
        read => read,
    }
}

async fn by_collection(org: &Org, planned: &Planned, ids: &[String]) -> Result<Vec<Option<Row>>, Error> {
    let object = &planned.table.object;
    let records = org.retrieve_each(object, ids, &planned.fields()).await?;
    let row = |record: Result<_, Unreadable>| record.unwrap_or_else(Unreadable::into_row);
    Ok(records.into_iter().map(|record| record.map(row)).collect())
}

/// So many at a time that no query needs a composite to travel in.
async fn by_short_queries(org: &Org, planned: &Planned, ids: &[String]) -> Result<Vec<Option<Row>>, Error> {
    let mut records = Vec::with_capacity(ids.len());
    let mut count = ids.len();
    while count > 1 && !org.fits_address(&query(planned, &ids[..count]), Scope::Live) {
        count = count.div_ceil(2);
    }
    for ids in ids.chunks(count.max(1)) {
        records.extend(by_query(org, planned, ids).await?);
    }
    Ok(records)
}

fn query(planned: &Planned, ids: &[String]) -> String {
    let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    planned.select(&[&format!("Id IN ({})", list.join(","))])
}

async fn by_query(org: &Org, planned: &Planned, ids: &[String]) -> Result<Vec<Option<Row>>, Error> {
    let mut pages = org.pages(query(planned, ids), Scope::Live);
    let mut found: HashMap<String, Row> = HashMap::new();
    while let Some(page) = pages.next().await? {
        for record in page.into_rows() {
            if let Some(id) = record.get("Id").and_then(Value::as_str) {
                found.insert(id.to_owned(), record);
            }
        }
    }
    Ok(ids.iter().map(|id| found.remove(id)).collect())
}
