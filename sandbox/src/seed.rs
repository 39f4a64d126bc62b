//! Fills a new org from a seed.
//!
//! Rows go straight into the tables: no rule is asked and no event is made, so what is written here must be what
//! the rules would have let in. The same seed, number of stores and number of products give the same ids and
//! values; only times come from the clock.

mod catalogue;
mod customers;
mod offers;
mod particulars;
mod places;
mod stores;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};

use super::org::orders::STATUSES;
use super::org::records::{Shared, Slot};
use super::org::transaction::{ORG_CURRENCY, auto_number};
use super::org::{OrgOptions, Record, Records, uuid};
use super::schema::{Catalog, FIRST_OWN, Object};
use super::value::{RecordId, Text, Value};

const DAY_MILLIS: i64 = 86_400_000;
/// More products than this get few fields and few price book entries.
const DETAILED_PRODUCTS_MAX: usize = 20_000;

/// The rows that the org itself must know of.
pub struct Seeded {
    pub organization: RecordId,
    pub user: RecordId,
}

/// Fills empty tables.
pub fn fill(catalog: &Catalog, records: &mut Records, options: &OrgOptions) -> Result<Seeded> {
    let now = options.clock.now().div_euclid(1000) * 1000;
    let mut sower = Sower {
        catalog,
        records,
        rng: fastrand::Rng::with_seed(options.seed),
        now,
        moment: now - 400 * DAY_MILLIS,
        user: RecordId::new(*b"005", 1),
        currency: ORG_CURRENCY,
        shared: HashMap::new(),
    };
    let organization = organization(&mut sower)?;
    let places = places::sow(&mut sower)?;
    let standard_book = sower.row(
        "Pricebook2",
        &[
            ("Name", text("Standard Price Book")),
            ("IsActive", yes()),
            ("IsStandard", yes()),
        ],
    )?;
    let stores = stores::sow(&mut sower, &places, options.stores.max(1))?;
    catalogue::sow(&mut sower, &stores, standard_book, options.products)?;
    offers::sow(&mut sower, &stores)?;
    customers::sow(&mut sower, &stores, options.products)?;
    if options.products <= DETAILED_PRODUCTS_MAX {
        particulars::sow(&mut sower, &stores, standard_book)?;
    }
    add_up(&mut sower);
    sower.records.pack();
    Ok(Seeded {
        organization,
        user: sower.user,
    })
}

/// Fills the roll-ups in by what was sown below them.
fn add_up(sower: &mut Sower<'_>) {
    for roll_up in sower.catalog.roll_ups() {
        let mut sums: HashMap<RecordId, f64> = HashMap::new();
        for child in sower.records.all(roll_up.child) {
            let parent = child.get(roll_up.lookup).and_then(Value::as_id);
            let amount = child.get(roll_up.amount).and_then(Value::as_f64);
            if let (Some(parent), Some(amount)) = (parent, amount) {
                *sums.entry(parent).or_default() += amount;
            }
        }
        for (parent, sum) in sums {
            if let Some(row) = sower.records.get(roll_up.parent, parent).cloned() {
                let sum = Value::Double((sum * 100.0).round() / 100.0);
                sower.records.put(roll_up.parent, row.with(roll_up.field, sum));
            }
        }
    }
}

fn organization(sower: &mut Sower<'_>) -> Result<RecordId> {
    sower.row(
        "User",
        &[
            ("Username", text("integration@sandbox.example")),
            ("FirstName", text("Integration")),
            ("LastName", text("User")),
            ("Name", text("Integration User")),
            ("Email", text("integration@sandbox.example")),
            ("Alias", text("integ")),
            ("IsActive", yes()),
            ("TimeZoneSidKey", text("Australia/Sydney")),
            ("LocaleSidKey", text("en_AU")),
            ("LanguageLocaleKey", text("en_US")),
            ("UserType", text("Standard")),
        ],
    )?;
    for (object, name) in [
        ("Account", "Customer"),
        ("Account", "Brand"),
        ("Product2", "Goods"),
    ] {
        let row = [
            ("Name", text(name)),
            ("DeveloperName", text(name)),
            ("SobjectType", text(object)),
            ("IsActive", yes()),
        ];
        sower.row("RecordType", &row)?;
    }
    for (at, (label, class)) in STATUSES.into_iter().enumerate() {
        let row = [
            ("ApiName", text(label)),
            ("MasterLabel", text(label)),
            ("StatusCode", text(class)),
            ("IsDefault", Some(Value::Boolean(at == 0))),
            ("SortOrder", Some(Value::Integer(at as i64 + 1))),
        ];
        sower.row("OrderStatus", &row)?;
    }
    sower.row(
        "Organization",
        &[
            ("Name", text("Local Sandbox")),
            ("InstanceName", text("SBX1")),
            ("IsSandbox", yes()),
            ("OrganizationType", text("Enterprise Edition")),
            ("NamespacePrefix", None),
            ("TimeZoneSidKey", text("Australia/Sydney")),
            ("LanguageLocaleKey", text("en_US")),
            ("DefaultLocaleSidKey", text("en_AU")),
            ("Country", text("AU")),
        ],
    )
}

/// Writes rows as if the org had made them long ago.
struct Sower<'a> {
    catalog: &'a Catalog,
    records: &'a mut Records,
    rng: fastrand::Rng,
    now: i64,
    /// When the rows being written are said to have been written.
    moment: i64,
    user: RecordId,
    /// The currency of rows that name none.
    currency: &'static str,
    shared: HashMap<usize, Arc<Shared>>,
}

impl<'a> Sower<'a> {
    /// The object of a name, with or without the package's prefix and suffix.
    fn object(&self, name: &str) -> Result<&'a Object> {
        let found = self
            .catalog
            .object(name)
            .or_else(|| self.catalog.object(&format!("s_c__{name}__c")));
        found.ok_or_else(|| anyhow!("the catalogue has no object {name} to seed"))
    }

    /// The position of a field, with or without the package's prefix and suffix.
    fn field(&self, object: &Object, name: &str) -> Result<usize> {
        let found = object
            .field(name)
            .or_else(|| object.field(&format!("s_c__{name}__c")));
        found.ok_or_else(|| anyhow!("{} has no field {name} to seed", object.name))
    }

    /// Lets time pass, so that later rows carry a later stamp.
    fn pass(&mut self, millis: i64) {
        self.moment = (self.moment + millis).min(self.now - 1000);
        self.shared.clear();
    }

    /// The stamps of rows written now, with the values they have in common and the fields that differ.
    fn shared_with(&self, object: &Object, common: Vec<Slot>, layout: &[u16]) -> Arc<Shared> {
        let mut layout = layout.to_vec();
        layout.sort_unstable();
        let layout = layout.into();
        let mut values: Vec<Slot> = common;
        let unset = object
            .unset
            .iter()
            .filter(|(at, _)| !values.iter().any(|(common, _)| common == at))
            .cloned();
        let unset: Vec<Slot> = unset.collect();
        values.extend(unset);
        values.sort_by_key(|(at, _)| *at);
        let (moment, user) = (
            Value::DateTime(self.moment.div_euclid(1000) * 1000),
            Value::Id(self.user),
        );
        Arc::new(Shared {
            created: moment.clone(),
            created_by: user.clone(),
            modified: moment.clone(),
            modified_by: user,
            modstamp: moment,
            values: values.into(),
            layout,
        })
    }

    /// One row with all that the org fills in by itself.
    fn row(&mut self, object: &str, values: &[(&str, Option<Value>)]) -> Result<RecordId> {
        let object = self.object(object)?;
        let mut slots: Vec<Slot> = Vec::with_capacity(values.len() + 4);
        for (name, value) in values {
            let position = self.field(object, name)?;
            slots.extend(value.clone().map(|value| (position as u16, value)));
        }
        let id = self.records.next_id(object.index);
        for (position, field) in object.fields.iter().enumerate().skip(FIRST_OWN) {
            if slots.iter().any(|(at, _)| usize::from(*at) == position) {
                continue;
            }
            let value = match field.name.as_str() {
                "OwnerId" => Value::Id(self.user),
                "CurrencyIsoCode" => Value::text(self.currency),
                "s_c__sC_Id__c" => Value::text(uuid(&mut self.rng)),
                _ if field.auto_number => Value::text(auto_number(object, id)),
                "Name" if field.name_field && object.custom => Value::text(id.as_str()),
                _ => match &field.default_value {
                    Some(value) => Value::text(value.as_str()),
                    None => continue,
                },
            };
            slots.push((position as u16, value));
        }
        let shared = match self.shared.get(&object.index) {
            Some(shared) => Arc::clone(shared),
            None => self.shared_with(object, Vec::new(), &[]),
        };
        let record = Record::new(id, shared, slots);
        // The next row has most likely the same fields.
        self.shared.insert(object.index, record.share());
        self.records.put(object.index, record);
        Ok(id)
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.rng.usize(..among.len())]
    }
}

fn text(text: impl Into<Text>) -> Option<Value> {
    Some(Value::text(text))
}

fn yes() -> Option<Value> {
    Some(Value::Boolean(true))
}

fn number(number: f64) -> Option<Value> {
    Some(Value::Double(number))
}

fn id(id: RecordId) -> Option<Value> {
    Some(Value::Id(id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::org::Org;
    use super::*;
    use crate::clock::Clock;

    fn org(seed: u64, products: usize, stores: usize) -> Org {
        let clock = Clock::Manual(Arc::new(1_790_000_000_000.into()));
        Org::new(OrgOptions {
            seed,
            products,
            stores,
            clock,
            selected_entities: Vec::new(),
        })
        .unwrap()
    }

    fn dump(org: &Org) -> BTreeMap<String, String> {
        let mut rows = BTreeMap::new();
        org.read(|records| {
            for object in org.catalog().objects() {
                for record in records.all(object.index) {
                    let values: Vec<_> = (0..object.fields.len()).map(|at| record.get(at)).collect();
                    rows.insert(record.id().to_string(), format!("{values:?}"));
                }
            }
        });
        rows
    }

    #[test]
    fn the_same_seed_gives_the_same_org() {
        assert_eq!(dump(&org(7, 40, 3)), dump(&org(7, 40, 3)));
        assert_ne!(dump(&org(7, 40, 3)), dump(&org(8, 40, 3)));
    }

    #[test]
    fn what_is_seeded_would_pass_the_fields_own_rules() {
        // More stores than there are names, so that some are numbered.
        let org = org(1, 60, 10);
        org.read(|records| {
            for object in org.catalog().objects() {
                for record in records.all(object.index) {
                    for (at, field) in object.fields.iter().enumerate() {
                        let value = record.get(at);
                        let place = format!("{}.{} of {}", object.name, field.name, record.id());
                        assert!(
                            value.is_some() || field.nillable || field.kind.is_compound(),
                            "{place} is missing"
                        );
                        if let Some(Value::Id(target)) = value.filter(|_| at != 0) {
                            let other = org.catalog().by_prefix(target.prefix()).unwrap();
                            assert!(
                                records.live(other.index, *target).is_some(),
                                "{place} points nowhere"
                            );
                        }
                        if let (true, Some(text)) = (field.unique, value.and_then(Value::as_str)) {
                            assert_eq!(
                                records.by_external_id(object.index, at, text).len(),
                                1,
                                "{place} {text}"
                            );
                        }
                        if let (true, Some(text)) = (field.length > 0, value.and_then(Value::as_str)) {
                            assert!(
                                text.chars().count() <= field.length.max(18),
                                "{place} is too long"
                            );
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn many_products_get_one_entry_in_the_standard_book_and_one_in_a_store_s() {
        let org = org(1, 30_000, 3);
        let count = |name: &str| org.read(|records| records.count(org.catalog().object(name).unwrap().index));
        assert!(count("Product2") >= 30_000);
        let entries = count("PricebookEntry");
        assert!((60_000..70_000).contains(&entries), "{entries}");
        assert!(count("s_c__Products_Product_Categories__c") >= 30_000);
    }
}
