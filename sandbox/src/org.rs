//! The org itself: its rows, its rules, and the one door through which rows change.
//!
//! [`Org::transact`] holds the write lock for the whole transaction, so transactions are serial, their events
//! leave in commit order, and two upserts of one new key cannot both create. Readers wait for a commit, never
//! see half of it.

mod commit;
mod commits;
mod convert;
mod draft;
pub mod error;
mod fields;
mod generation;
pub mod locks;
mod manner;
mod merge;
pub(crate) mod orders;
pub(crate) mod person;
pub mod record_types;
pub mod records;
mod recycle;
mod reshape;
mod restore;
pub mod rules;
mod settings;
pub mod transaction;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use anyhow::{Result, anyhow};

pub use commits::Commits;
pub use error::{RecordError, RecordErrors};
use generation::Generation;
use locks::Locks;
pub use manner::{Manner, Stamps, Told};
pub use records::{Record, Records};
pub use settings::Settings;
pub use transaction::{Body, Savepoint, Transaction};

use super::avro::EventSchema;
use super::bus::Bus;
use super::faults::Faults;
use super::persist::{self, Journal, Note, standing};
use super::schema::Catalog;
use super::seed;
use super::value::RecordId;
use crate::clock::{Clock, Millis};

/// How an org is made.
#[derive(Clone, Debug)]
pub struct OrgOptions {
    pub seed: u64,
    pub products: usize,
    pub stores: usize,
    pub clock: Clock,
    /// API names of the objects selected for change data capture.
    pub selected_entities: Vec<String>,
}

/// The entities that an org without an add-on can select.
pub const DEFAULT_ENTITIES: [&str; 5] = ["Account", "Order", "OrderItem", "Product2", "PricebookEntry"];

/// Who makes a change: named in its events.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The connected app's name, as in `client=...` of changeOrigin.
    pub client: String,
    pub user: RecordId,
}

/// The first system change number: past 2^53, where a reader that keeps numbers as floats fails.
const FIRST_COMMIT_NUMBER: i64 = 11_520_000_000_000_000;

struct Inside {
    first: Generation,
    settings: RwLock<Arc<Settings>>,
    clock: Clock,
    records: RwLock<Records>,
    bus: Bus,
    faults: Faults,
    rng: Mutex<fastrand::Rng>,
    commit_number: AtomicI64,
    id: RecordId,
    user: RecordId,
    locks: Locks,
    commits: Commits,
    /// Where the org is kept on disk, if it is.
    journal: OnceLock<Arc<Journal>>,
    /// How the org that is kept was made.
    origin: OnceLock<persist::Origin>,
}

/// A running org; clones share it.
#[derive(Clone)]
pub struct Org {
    inside: Arc<Inside>,
}

impl Org {
    /// A seeded org. The same options give the same records; times come from the clock.
    pub fn new(options: OrgOptions) -> Result<Self> {
        let now = options.clock.now();
        Self::seeded_at(options, now)
    }

    /// The same as an org that was made at `now`.
    pub(super) fn seeded_at(options: OrgOptions, now: Millis) -> Result<Self> {
        let catalog = Catalog::load()?;
        let selected = options.selected_entities.iter().map(|name| {
            let object = catalog
                .object(name)
                .ok_or_else(|| anyhow!("the sandbox has no object {name} to select"))?;
            Ok(object.index)
        });
        let selected = selected.collect::<Result<BTreeSet<usize>>>()?;
        let mut records = Records::new(&catalog);
        let as_of = OrgOptions {
            clock: standing(now),
            ..options.clone()
        };
        let seeded = seed::fill(&catalog, &mut records, &as_of)?;
        let inside = Inside {
            first: Generation::first(catalog),
            settings: RwLock::new(Arc::new(Settings::new(selected))),
            records: RwLock::new(records),
            bus: Bus::new(options.clock.clone(), options.seed),
            faults: Faults::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(options.seed.wrapping_add(1))),
            commit_number: AtomicI64::new(FIRST_COMMIT_NUMBER),
            clock: options.clock,
            id: seeded.organization,
            user: seeded.user,
            locks: Locks::default(),
            commits: Commits::default(),
            journal: OnceLock::new(),
            origin: OnceLock::new(),
        };
        Ok(Self {
            inside: Arc::new(inside),
        })
    }

    pub fn catalog(&self) -> &Catalog {
        &self.inside.first.newest().catalog
    }

    /// The catalogue as a user may see it.
    pub fn catalog_of(&self, user: RecordId) -> &Catalog {
        let newest = self.inside.first.newest();
        newest.views.get(&user).unwrap_or(&newest.catalog)
    }

    /// What can be set while the org runs.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(
            &self
                .inside
                .settings
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Changes the settings; from the next commit on they hold.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self
            .inside
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut settings));
        self.note(&Note::Settings(Box::new(Settings::clone(&settings))));
    }

    pub fn clock(&self) -> &Clock {
        &self.inside.clock
    }

    /// Moves the org's time on; false where it runs by the system's clock. What is too old leaves the event log.
    pub fn advance(&self, millis: i64) -> bool {
        let moved = self.inside.clock.advance(millis);
        self.note(&Note::Clock(self.inside.clock.moved()));
        self.inside.bus.expire();
        moved
    }

    /// Rows that somebody else is said to hold.
    pub fn locks(&self) -> &Locks {
        &self.inside.locks
    }

    /// What was committed, and when.
    pub fn commits(&self) -> &Commits {
        &self.inside.commits
    }

    pub fn bus(&self) -> &Bus {
        &self.inside.bus
    }

    /// The staged faults, which strike requests, calls and writes.
    pub fn faults(&self) -> &Faults {
        &self.inside.faults
    }

    /// The id of the organization.
    pub fn id(&self) -> RecordId {
        self.inside.id
    }

    /// The id of the integration user that every login is.
    pub fn user_id(&self) -> RecordId {
        self.inside.user
    }

    /// Whether change events of an object are published.
    pub fn is_selected(&self, object: usize) -> bool {
        self.settings().selected.contains(&object)
    }

    /// The schema of an object's change events.
    pub fn event_schema(&self, object: usize) -> &EventSchema {
        &self.inside.first.newest().schemas[object]
    }

    /// The schemas of all objects' change events.
    pub fn event_schemas(&self) -> &[Arc<EventSchema>] {
        &self.inside.first.newest().schemas
    }

    /// The schema that events were once written by.
    pub fn schema_by_id(&self, id: &str) -> Option<&EventSchema> {
        self.inside.first.schema(id)
    }

    /// Reads under the read lock. Keep it short.
    pub fn read<T>(&self, look: impl FnOnce(&Records) -> T) -> T {
        look(&self.inside.records.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` as one transaction. An `Err` undoes all of it and nothing is published.
    pub fn transact<T, E>(
        &self,
        origin: &Origin,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let rng = self
            .inside
            .rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fork();
        let mut records = self
            .inside
            .records
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut transaction = Transaction::new(self, &mut records, origin.user, rng);
        let start = transaction.savepoint();
        let outcome = work(&mut transaction);
        if outcome.is_err() {
            transaction.rollback_to(start);
            return outcome;
        }
        let mut finished = transaction.finish();
        let later = std::mem::take(&mut finished.later);
        let step = finished.rng.clone().i64(1..500);
        let number = self.inside.commit_number.fetch_add(step, Ordering::Relaxed);
        let rows = self.rows_to_keep(&records, &finished, number);
        let (catalog, touched, now) = (self.catalog(), &finished.touched, self.clock().now());
        self.inside.commits.note(catalog, &records, touched, now);
        // Still under the write lock, so that events stand in the log in commit order.
        let events = commit::events(self, &records, finished, &commit::Commit { origin, number });
        self.inside.bus.commit(rows, events);
        self.tidy_up(&records);
        drop(records);
        self.run_later(later);
        outcome
    }
}

/// A random UUID of version 4.
pub(super) fn uuid(rng: &mut fastrand::Rng) -> String {
    let number = (rng.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{number:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::bus::{Event, Topic};
    use super::super::value::Value;
    use super::*;

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

    fn object(org: &Org, name: &str) -> usize {
        org.catalog().object(name).unwrap().index
    }

    fn body(json: &Json) -> Body {
        json.as_object().unwrap().clone()
    }

    fn origin(org: &Org) -> Origin {
        Origin {
            client: "tests".to_owned(),
            user: org.user_id(),
        }
    }

    fn create(org: &Org, name: &str, json: &Json) -> Result<RecordId, RecordErrors> {
        org.transact(&origin(org), |tx| tx.create(object(org, name), &body(json)))
    }

    fn update(org: &Org, name: &str, id: RecordId, json: &Json) -> Result<(), RecordErrors> {
        org.transact(&origin(org), |tx| tx.update(object(org, name), id, &body(json)))
    }

    fn delete(org: &Org, name: &str, id: RecordId) -> Result<(), RecordErrors> {
        org.transact(&origin(org), |tx| tx.delete(object(org, name), id))
    }

    fn value(org: &Org, name: &str, id: RecordId, field: &str) -> Option<Value> {
        let described = org.catalog().object(name).unwrap();
        let field = described.field(field).unwrap();
        org.read(|records| records.get(described.index, id)?.get(field).cloned())
    }

    fn code<T: std::fmt::Debug>(outcome: Result<T, RecordErrors>) -> String {
        outcome.unwrap_err()[0].status_code.to_string()
    }

    /// The entry of SKU-1 in the first store's book.
    fn entry(org: &Org) -> (RecordId, RecordId) {
        let described = org.catalog().object("PricebookEntry").unwrap();
        let store = org.catalog().object("s_c__Store__c").unwrap();
        let book_at = store.field("s_c__Pricebook_Id__c").unwrap();
        org.read(|records| {
            let book = records
                .all(store.index)
                .next()
                .unwrap()
                .get(book_at)
                .unwrap()
                .as_id()
                .unwrap();
            let product = RecordId::new(*b"01t", 1);
            let entries = records.children(described.index, described.field("Product2Id").unwrap(), product);
            let in_book = |id: &RecordId| {
                let entry = records.get(described.index, *id).unwrap();
                entry.get(described.field("Pricebook2Id").unwrap()) == Some(&Value::Id(book))
            };
            (entries.into_iter().find(in_book).unwrap(), book)
        })
    }

    fn order(org: &Org) -> (RecordId, RecordId) {
        let (entry, book) = entry(org);
        let order = json!({"Account": {"External_ID__c": "c-1"}, "EffectiveDate": "2026-11-22", "Status": "Draft",
            "Pricebook2Id": book.as_str(), "External_ID__c": "WEB-1"});
        (create(org, "Order", &order).unwrap(), entry)
    }

    fn item(order: RecordId, entry: RecordId, quantity: f64) -> Json {
        json!({"OrderId": order.as_str(), "PricebookEntryId": entry.as_str(), "Quantity": quantity, "UnitPrice": 19.9})
    }

    fn events(org: &Org, since: super::super::bus::Position) -> Vec<Arc<Event>> {
        org.bus().after(Topic::All, since, 1000, usize::MAX).0
    }

    #[test]
    fn bodies_are_refused_in_the_platforms_codes() {
        let org = org();
        let table = [
            (json!({"Name": "A", "Nope": 1}), "INVALID_FIELD"),
            (json!({"Phone": "1"}), "REQUIRED_FIELD_MISSING"),
            (
                json!({"Name": "A", "CreatedDate": "2026-01-01"}),
                "INVALID_FIELD_FOR_INSERT_UPDATE",
            ),
            (json!({"Name": "x".repeat(256)}), "STRING_TOO_LONG"),
            (
                json!({"Name": "A", "CurrencyIsoCode": "XXX"}),
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            ),
            (json!({"Name": "A", "AnnualRevenue": "much"}), "JSON_PARSER_ERROR"),
            (
                json!({"Name": "A", "NumberOfEmployees": 1.5}),
                "JSON_PARSER_ERROR",
            ),
            (json!({"Name": "A", "ParentId": "nonsense"}), "MALFORMED_ID"),
            (
                json!({"Name": "A", "ParentId": "001Sb0000999999"}),
                "INVALID_CROSS_REFERENCE_KEY",
            ),
            (
                json!({"Name": "A", "ParentId": "003Sb0000000001"}),
                "FIELD_INTEGRITY_EXCEPTION",
            ),
            (
                json!({"Name": "A", "Parent": {"External_ID__c": "none"}}),
                "INVALID_FIELD",
            ),
            (json!({"Name": "A", "External_ID__c": "c-1"}), "DUPLICATE_VALUE"),
        ];
        for (body, expected) in table {
            assert_eq!(code(create(&org, "Account", &body)), expected, "{body}");
        }
        let start = org.bus().tip();
        assert!(events(&org, start).is_empty());
        let errors = create(
            &org,
            "Account",
            &json!({"Name": "A", "Parent": {"External_ID__c": "none"}}),
        )
        .unwrap_err();
        let text = "Foreign key external ID: none not found for field External_ID__c in entity Account";
        assert_eq!(errors[0].message, text);
    }

    #[test]
    fn an_order_follows_the_order_rules() {
        let org = org();
        let no_account = json!({"EffectiveDate": "2026-11-22", "Status": "Draft"});
        assert_eq!(
            create(&org, "Order", &no_account).unwrap_err()[0].message,
            "Select an account."
        );
        let (order, entry) = order(&org);
        assert_eq!(
            value(&org, "Order", order, "StatusCode"),
            Some(Value::text("Draft"))
        );
        assert_eq!(
            code(update(&org, "Order", order, &json!({"Status": "Activated"}))),
            "FAILED_ACTIVATION"
        );
        assert_eq!(
            code(create(&org, "OrderItem", &item(order, entry, 0.0))),
            "FIELD_INTEGRITY_EXCEPTION"
        );
        let first = create(&org, "OrderItem", &item(order, entry, 2.0)).unwrap();
        assert_eq!(
            value(&org, "Order", order, "TotalAmount"),
            Some(Value::Double(39.8))
        );
        assert_eq!(
            value(&org, "OrderItem", first, "CurrencyIsoCode"),
            Some(Value::text("AUD"))
        );
        assert!(value(&org, "OrderItem", first, "ListPrice").is_some());
        let moved = json!({"OrderId": order.as_str()});
        assert_eq!(
            code(update(&org, "OrderItem", first, &moved)),
            "INVALID_FIELD_FOR_INSERT_UPDATE"
        );
        update(&org, "OrderItem", first, &json!({"Quantity": 3})).unwrap();
        assert_eq!(
            value(&org, "Order", order, "TotalAmount"),
            Some(Value::Double(59.7))
        );
        assert_eq!(
            code(update(&org, "Order", order, &json!({"Pricebook2Id": null}))),
            "FIELD_INTEGRITY_EXCEPTION"
        );
        update(&org, "Order", order, &json!({"Status": "Activated"})).unwrap();
        update(&org, "Order", order, &json!({"Status": "Activated"})).unwrap();
        assert_eq!(
            code(create(&org, "OrderItem", &item(order, entry, 1.0))),
            "ENTITY_IS_LOCKED"
        );
        let more = json!({"Quantity": 4});
        assert_eq!(code(update(&org, "OrderItem", first, &more)), "ENTITY_IS_LOCKED");
        assert_eq!(code(delete(&org, "OrderItem", first)), "ENTITY_IS_LOCKED");
        assert_eq!(code(delete(&org, "Order", order)), "DELETE_FAILED");
        update(&org, "Order", order, &json!({"Status": "Draft"})).unwrap();
        delete(&org, "Order", order).unwrap();
        assert_eq!(
            value(&org, "OrderItem", first, "IsDeleted"),
            Some(Value::Boolean(true))
        );
        assert_eq!(code(delete(&org, "Order", order)), "ENTITY_IS_DELETED");
        assert_eq!(
            code(delete(&org, "Order", RecordId::new(*b"801", 99_999))),
            "NOT_FOUND"
        );
    }

    #[test]
    fn a_failed_transaction_leaves_no_trace() {
        let org = org();
        let account = object(&org, "Account");
        let (start, count) = (org.bus().tip(), org.read(|records| records.count(account)));
        let outcome: Result<(), RecordErrors> = org.transact(&origin(&org), |tx| {
            let id = tx.create(account, &body(&json!({"Name": "A", "External_ID__c": "X-1"})))?;
            tx.update(account, id, &body(&json!({"Phone": "1"})))?;
            tx.create(account, &body(&json!({"Name": "B", "External_ID__c": "x-1"})))
                .map(drop)
        });
        assert_eq!(code(outcome), "DUPLICATE_VALUE");
        assert_eq!(org.read(|records| records.count(account)), count);
        assert!(events(&org, start).is_empty());
        // The key is free again, and a savepoint undoes only what follows it.
        org.transact(&origin(&org), |tx| {
            tx.create(account, &body(&json!({"Name": "A", "External_ID__c": "X-1"})))?;
            let savepoint = tx.savepoint();
            tx.create(account, &body(&json!({"Name": "B"})))?;
            tx.rollback_to(savepoint);
            Ok::<_, RecordErrors>(())
        })
        .unwrap();
        assert_eq!(
            (
                org.read(|records| records.count(account)),
                events(&org, start).len()
            ),
            (count + 1, 1)
        );
    }

    #[test]
    fn an_upsert_creates_once_and_updates_then() {
        let org = org();
        let account = object(&org, "Account");
        let key = org
            .catalog()
            .object("Account")
            .unwrap()
            .field("External_ID__c")
            .unwrap();
        let upsert = |key_value: &str| {
            let body = body(&json!({"Name": "Ana"}));
            org.transact(&origin(&org), |tx| {
                tx.upsert(account, key, &Value::text(key_value), &body)
            })
            .unwrap()
        };
        let (id, created) = upsert("K-1");
        assert_eq!((upsert("k-1"), created), ((id, false), true));
    }
}
