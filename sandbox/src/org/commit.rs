//! Turns what a transaction touched into its change events.
//!
//! One event per record: the first kind of change with the final data; records that changed alike share one.
//! Sequence numbers count what is not selected too, so they have gaps, as on the platform. Past a number of changed
//! fields an object's further changes are told by one overflow event, and an event that is too large becomes a gap.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;

use super::super::avro::{Body, ChangeType, EventSchema, Header, Seen};
use super::super::bus::NewEvent;
use super::super::schema::{self, Object};
use super::super::value::RecordId;
use super::manner::{Manner, Stamps, Told};
use super::records::{Record, Records};
use super::transaction::{Finished, Touched};
use super::{Org, Origin, Settings, uuid};

/// Records of one event: so many the platform handles in one go.
const MERGED_MAX: usize = 200;
/// A larger event becomes a gap event.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// What an overflow event names in place of records.
const NO_RECORD: &str = "000000000000000AAA";

/// Values that one transaction's events share.
pub(super) struct Commit<'a> {
    pub origin: &'a Origin,
    pub number: i64,
}

/// An event that may yet take in another record.
struct Pending {
    object: usize,
    ids: Vec<String>,
    kind: ChangeType,
    body: Body,
    sequence_number: i64,
}

/// The events of a transaction, in the order its records were first touched.
pub(super) fn events(org: &Org, records: &Records, finished: Finished, commit: &Commit<'_>) -> Vec<NewEvent> {
    let Finished {
        touched,
        mut rng,
        manner,
        announced,
        ..
    } = finished;
    if manner.told == Told::Silently {
        return Vec::new();
    }
    let settings = org.settings();
    let mut gathered = Gathered::new(org, records, &settings, manner);
    gathered.overflowed.extend(announced);
    let mut seen = HashSet::new();
    for Touched { object, id, before } in touched {
        if !seen.insert((object, id)) {
            continue;
        }
        let Some(after) = records.get(object, id) else {
            // Gone from the recycle bin, of which nobody is told; gone from sight, which is a deletion.
            if before.is_some_and(|before| !before.deleted) {
                gathered.take(object, id, ChangeType::Delete, None);
            }
            continue;
        };
        if let Some(kind) = change_type(before.as_ref(), after) {
            gathered.take(object, id, kind, Some((before.as_ref(), after)));
        }
    }
    let pending = gathered.finish();
    let transaction = Shared {
        origin: if manner.internal {
            String::new()
        } else {
            format!("com/salesforce/api/rest/67.0;client={}", commit.origin.client)
        },
        key: uuid(&mut rng),
        timestamp: org.clock().now().div_euclid(1000) * 1000,
        number: commit.number,
        user: commit.origin.user,
    };
    pending
        .into_iter()
        .map(|pending| transaction.event(org.event_schema(pending.object), &pending, uuid(&mut rng)))
        .collect()
}

/// None where the record came and went inside the transaction.
fn change_type(before: Option<&Record>, after: &Record) -> Option<ChangeType> {
    match (before.map(|record| record.deleted), after.deleted) {
        (None | Some(true), true) => None,
        (None, false) => Some(ChangeType::Create),
        (Some(true), false) => Some(ChangeType::Undelete),
        (Some(false), false) => Some(ChangeType::Update),
        (Some(false), true) => Some(ChangeType::Delete),
    }
}

/// Records on their way to events.
struct Gathered<'a> {
    org: &'a Org,
    records: &'a Records,
    settings: &'a Settings,
    contacts_selected: bool,
    manner: Manner,
    pending: Vec<Pending>,
    sequence_number: i64,
    /// Changed fields so far.
    changes: usize,
    /// Objects whose changes are told as a whole.
    overflowed: BTreeSet<usize>,
    /// The object of the last record, and whether it can share its event.
    last: Option<usize>,
}

impl<'a> Gathered<'a> {
    fn new(org: &'a Org, records: &'a Records, settings: &'a Settings, manner: Manner) -> Self {
        Self {
            org,
            records,
            settings,
            contacts_selected: org
                .catalog()
                .object("Contact")
                .is_some_and(|contacts| settings.selected.contains(&contacts.index)),
            manner,
            pending: Vec::new(),
            sequence_number: 0,
            changes: 0,
            overflowed: BTreeSet::new(),
            last: None,
        }
    }

    fn take(
        &mut self,
        object: usize,
        id: RecordId,
        kind: ChangeType,
        rows: Option<(Option<&Record>, &Record)>,
    ) {
        let described = &self.org.catalog().objects()[object];
        self.changes += changed_fields(described, rows);
        let whole = matches!(self.manner.told, Told::Overflow | Told::Wildcard);
        if whole || self.changes > self.settings.overflow_after {
            self.overflowed.insert(object);
            return;
        }
        let selected = self.settings.selected.contains(&object);
        if !selected {
            self.sequence_number += 1;
            self.last = None;
            return;
        }
        let schema = self.org.event_schema(object);
        let gap = self.manner.told == Told::Gaps;
        let seen = Seen {
            catalog: self.org.catalog(),
            records: self.records,
            object: described,
            without_contacts: described.name == "Account" && !self.contacts_selected,
        };
        let body = match (kind, rows) {
            _ if gap => schema.empty(),
            (ChangeType::Update, Some((Some(before), after))) => {
                schema.updated(&seen, before, after, self.manner.stamps == Stamps::All)
            }
            (ChangeType::Create | ChangeType::Undelete, Some((_, after))) => schema.created(&seen, after),
            _ => schema.empty(),
        };
        let kind = if gap { kind.gap() } else { kind };
        let same = |last: &&mut Pending| {
            last.object == object && last.kind == kind && last.ids.len() < MERGED_MAX && last.body == body
        };
        let mergeable = self.settings.merge && self.last == Some(object);
        if let Some(last) = self.pending.last_mut().filter(|last| mergeable && same(last)) {
            last.ids.push(id.to_string());
            return;
        }
        self.sequence_number += 1;
        self.last = Some(object);
        self.pending.push(Pending {
            object,
            ids: vec![id.to_string()],
            kind,
            body,
            sequence_number: self.sequence_number,
        });
    }

    /// The events, those of whole objects last.
    fn finish(mut self) -> Vec<Pending> {
        for object in std::mem::take(&mut self.overflowed) {
            self.sequence_number += 1;
            if !self.settings.selected.contains(&object) {
                continue;
            }
            let described = &self.org.catalog().objects()[object];
            let (kind, record) = match self.manner.told {
                Told::Wildcard => {
                    let prefix = String::from_utf8_lossy(&described.key_prefix).into_owned();
                    (ChangeType::Update, format!("{prefix}*"))
                }
                _ => (ChangeType::GapOverflow, NO_RECORD.to_owned()),
            };
            self.pending.push(Pending {
                object,
                ids: vec![record],
                kind,
                body: self.org.event_schema(object).empty(),
                sequence_number: self.sequence_number,
            });
        }
        self.pending
    }
}

/// How much a record counts towards the overflow.
fn changed_fields(object: &Object, rows: Option<(Option<&Record>, &Record)>) -> usize {
    let own = schema::FIRST_OWN..object.fields.len();
    match rows {
        Some((Some(before), after)) if !after.deleted && !before.deleted => {
            own.filter(|at| before.get(*at) != after.get(*at)).count().max(1)
        }
        Some((_, after)) if !after.deleted => own.filter(|at| after.get(*at).is_some()).count(),
        _ => 1,
    }
}

/// What the headers of one transaction have in common.
struct Shared {
    origin: String,
    key: String,
    timestamp: i64,
    number: i64,
    user: RecordId,
}

impl Shared {
    fn event(&self, schema: &EventSchema, pending: &Pending, id: String) -> NewEvent {
        let mut header = Header {
            record_ids: pending.ids.iter().map(String::as_str).collect(),
            change_type: pending.kind,
            change_origin: &self.origin,
            transaction_key: &self.key,
            sequence_number: pending.sequence_number,
            commit_timestamp: self.timestamp,
            commit_number: self.number,
            commit_user: self.user.as_str(),
        };
        let mut payload = schema.payload(&header, &pending.body);
        if payload.len() > EVENT_BYTES_MAX {
            header.change_type = pending.kind.gap();
            payload = schema.payload(&header, &schema.empty());
        }
        NewEvent {
            object: pending.object,
            id,
            schema_id: schema.id.clone(),
            payload: Bytes::from(payload),
        }
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
    use crate::clock::Clock;

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
