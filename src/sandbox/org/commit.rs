//! Turns what a transaction touched into its change events.
//!
//! One event per record: the first kind of change with the final data. Sequence numbers count every touched
//! record, so they have gaps where an object is not selected, as on the platform.

use std::collections::HashSet;

use bytes::Bytes;

use super::super::avro::{ChangeType, Header};
use super::super::bus::NewEvent;
use super::records::{Record, Records};
use super::transaction::Touched;
use super::{Org, Origin, uuid};

/// Values that one transaction's events share.
pub(super) struct Commit<'a> {
    pub origin: &'a Origin,
    pub number: i64,
    pub rng: fastrand::Rng,
}

/// The events of a transaction, in the order its records were first touched.
pub(super) fn events(
    org: &Org,
    records: &Records,
    touched: Vec<Touched>,
    mut commit: Commit<'_>,
) -> Vec<NewEvent> {
    let origin = format!("com/salesforce/api/rest/67.0;client={}", commit.origin.client);
    let key = uuid(&mut commit.rng);
    let commit_timestamp = org.clock().now().div_euclid(1000) * 1000;
    let mut seen = HashSet::new();
    let mut events = Vec::new();
    let mut sequence_number = 0;
    for Touched { object, id, before } in touched {
        if !seen.insert((object, id)) {
            continue;
        }
        let Some(after) = records.get(object, id) else {
            continue;
        };
        let Some(change_type) = change_type(before.as_ref(), after) else {
            continue;
        };
        sequence_number += 1;
        if !org.is_selected(object) {
            continue;
        }
        let header = Header {
            record_ids: vec![id.as_str()],
            change_type,
            change_origin: &origin,
            transaction_key: &key,
            sequence_number,
            commit_timestamp,
            commit_number: commit.number,
            commit_user: commit.origin.user.as_str(),
        };
        events.push(event(
            org,
            object,
            &header,
            before.as_ref(),
            after,
            uuid(&mut commit.rng),
        ));
    }
    events
}

/// None where the record came and went inside the transaction.
fn change_type(before: Option<&Record>, after: &Record) -> Option<ChangeType> {
    match (before.is_some_and(|record| !record.deleted), after.deleted) {
        (false, true) => None,
        (false, false) => Some(ChangeType::Create),
        (true, false) => Some(ChangeType::Update),
        (true, true) => Some(ChangeType::Delete),
    }
}

fn event(
    org: &Org,
    object: usize,
    header: &Header<'_>,
    before: Option<&Record>,
    after: &Record,
    id: String,
) -> NewEvent {
    let schema = org.event_schema(object);
    let described = &org.catalog().objects()[object];
    let payload = match (header.change_type, before) {
        (ChangeType::Update, Some(before)) => schema.updated(described, header, before, after),
        (ChangeType::Delete, _) => schema.deleted(header),
        _ => schema.created(described, header, after),
    };
    NewEvent {
        object,
        id,
        schema_id: schema.id.clone(),
        payload: Bytes::from(payload),
    }
}
