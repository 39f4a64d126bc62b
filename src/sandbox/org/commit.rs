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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value as Json, json};

    use super::super::super::avro::bitmap;
    use super::super::super::bus::{Position, Topic};
    use super::super::super::value::Value;
    use super::super::{Body, DEFAULT_ENTITIES, OrgOptions, RecordErrors, Transaction};
    use super::*;
    use crate::model::clock::Clock;

    const NOW: i64 = 1_790_000_000_123;

    fn org() -> Org {
        let clock = Clock::Manual(Arc::new(NOW.into()));
        let selected_entities = DEFAULT_ENTITIES.map(str::to_owned).to_vec();
        Org::new(OrgOptions {
            seed: 1,
            products: 30,
            stores: 2,
            clock,
            selected_entities,
        })
        .unwrap()
    }

    fn body(json: &Json) -> Body {
        json.as_object().unwrap().clone()
    }

    fn write<T>(org: &Org, work: impl FnOnce(&mut Transaction<'_>) -> Result<T, RecordErrors>) -> T {
        let origin = Origin {
            client: "tests".to_owned(),
            user: org.user_id(),
        };
        org.transact(&origin, work).unwrap()
    }

    fn decoded(org: &Org, since: Position) -> Vec<Json> {
        let events = org.bus().after(Topic::All, since, 1000, usize::MAX).0;
        let decode = |event: &Arc<super::super::super::bus::Event>| {
            let schema = apache_avro::Schema::parse_str(&org.event_schema(event.object).json).unwrap();
            let mut bytes = &event.payload[..];
            let value = apache_avro::reader::datum::GenericDatumReader::builder(&schema)
                .build()
                .unwrap()
                .read_value(&mut bytes)
                .unwrap();
            assert!(bytes.is_empty(), "the payload is read to its last byte");
            Json::try_from(value).unwrap()
        };
        events.iter().map(decode).collect()
    }

    #[test]
    fn events_tell_what_changed() {
        let org = org();
        let start = org.bus().tip();
        let account =
            json!({"Name": "Ana", "BillingCity": "Hobart", "AnnualRevenue": 5, "Industry": "Retail"});
        let index = org.catalog().object("Account").unwrap().index;
        let contact = org.catalog().object("Contact").unwrap().index;
        let account = write(&org, |tx| tx.create(index, &body(&account)));
        let change = json!({"BillingCity": "Perth", "Industry": null});
        write(&org, |tx| tx.update(index, account, &body(&change)));
        write(&org, |tx| tx.update(index, account, &body(&json!({}))));
        write(&org, |tx| tx.delete(index, account));
        write(&org, |tx| tx.create(contact, &body(&json!({"LastName": "Lee"}))));
        let found = decoded(&org, start);
        let header = |at: usize, field: &str| found[at]["ChangeEventHeader"][field].clone();
        assert_eq!(found.len(), 4, "contacts are not selected");
        let kinds: Vec<Json> = (0..4).map(|at| header(at, "changeType")).collect();
        assert_eq!(kinds, ["CREATE", "UPDATE", "UPDATE", "DELETE"]);
        assert_eq!(header(0, "changedFields"), json!([]));
        assert_eq!(header(0, "recordIds"), json!([account.as_str()]));
        assert_eq!(header(0, "commitTimestamp"), json!(NOW / 1000 * 1000));
        assert_eq!(found[0]["BillingAddress"]["City"], "Hobart");
        assert_eq!(
            (&found[0]["Name"], &found[0]["Industry"]),
            (&json!("Ana"), &json!("Retail"))
        );
        let positions = |name: &str| {
            let schema: Json = serde_json::from_str(&org.event_schema(index).json).unwrap();
            schema["fields"]
                .as_array()
                .unwrap()
                .iter()
                .position(|field| field["name"] == name)
                .unwrap()
        };
        let (billing, industry, stamp) = (
            positions("BillingAddress"),
            positions("Industry"),
            positions("LastModifiedDate"),
        );
        let top = bitmap(&[industry, stamp]);
        assert_eq!(
            header(1, "changedFields"),
            json!([top, format!("{billing}-0x02")])
        );
        assert_eq!(header(1, "nulledFields"), json!([bitmap(&[industry])]));
        assert_eq!(
            (&found[1]["Name"], &found[1]["BillingAddress"]["City"]),
            (&Json::Null, &json!("Perth"))
        );
        assert_eq!(header(2, "changedFields"), json!([bitmap(&[stamp])]));
        assert!(
            found[3]
                .as_object()
                .unwrap()
                .iter()
                .all(|(name, value)| name == "ChangeEventHeader" || value.is_null())
        );
        assert!(header(3, "commitNumber").as_i64().unwrap() > 1 << 53);
    }

    #[test]
    fn one_transaction_makes_one_event_per_record() {
        let org = org();
        let (order, item) = (
            org.catalog().object("Order").unwrap(),
            org.catalog().object("OrderItem").unwrap(),
        );
        let line = org.read(|records| {
            let past = records.by_external_id(order.index, order.field("External_ID__c").unwrap(), "PAST-3");
            records.children(item.index, item.field("OrderId").unwrap(), past[0])[0]
        });
        let start = org.bus().tip();
        write(&org, |tx| {
            tx.update(item.index, line, &body(&json!({"Quantity": 10})))?;
            tx.update(item.index, line, &body(&json!({"Quantity": 20})))?;
            // A record that comes and goes is no event, nor a number.
            let account = tx.create(0, &body(&json!({"Name": "A"})))?;
            tx.delete(0, account)
        });
        let found = decoded(&org, start);
        let told = found.iter().map(|event| {
            let header = &event["ChangeEventHeader"];
            format!(
                "{} {} {}",
                header["sequenceNumber"], header["changeType"], header["entityName"]
            )
            .replace('"', "")
        });
        assert_eq!(told.collect::<Vec<_>>(), ["1 UPDATE OrderItem", "2 UPDATE Order"]);
        assert_eq!(found[0]["Quantity"], 20.0);
        assert_eq!(
            found[0]["s_c__Is_Restricted_Product__c"], false,
            "a formula's value is there without a bit"
        );
        let amount = org.read(|records| {
            let of = records
                .live(item.index, line)?
                .get(item.field("OrderId")?)?
                .as_id()?;
            records
                .live(order.index, of)?
                .get(order.field("TotalAmount")?)
                .and_then(Value::as_f64)
        });
        assert_eq!(found[1]["TotalAmount"].as_f64(), amount);
        let key = |at: usize| found[at]["ChangeEventHeader"]["transactionKey"].clone();
        assert_eq!(key(0), key(1));
    }
}
