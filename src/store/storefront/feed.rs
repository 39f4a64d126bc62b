//! The change feed as storefronts follow it: which record changed, and which stores that touches.
//!
//! A change to something shared reaches every store that uses it: a price book, a zone, a product. Where a record
//! stood is read from its row; of a record that has gone or moved, from what was kept when it left. What touches a
//! store in ways that cannot be told from a row touches all of them: telling too much costs a read, telling too
//! little shows something stale.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::row::quoted;
use crate::model::schedule::Urgency;

/// How a record leads to stores: by columns of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It is the store.
    Itself,
    /// The column names the store; where it is null, all.
    Store(&'static str),
    /// The stores that show the product.
    Product(&'static str),
    ItsProduct,
    Category(&'static str),
    ItsCategory,
    /// Price book and product of an entry.
    Entry(&'static str, &'static str),
    ItsBook,
    /// Stores in the zone, and those with a rate for it; taxes of a zone may be anyone's.
    Zone(&'static str),
    ItsZone,
    /// Stores with a product or a category that it is a picture of.
    ItsMedia,
    /// Stores that show a product of the brand; an account that is none means nothing to stores.
    ItsBrand,
    Everyone,
}

/// What a change to an object means to a store.
#[derive(Debug)]
pub(super) struct Rule {
    pub object: &'static str,
    /// What storefronts are told has changed.
    topic: &'static str,
    reach: Reach,
}

impl Rule {
    /// The columns that decide, in the order they are kept in.
    pub fn columns(&self) -> Vec<&'static str> {
        match self.reach {
            Reach::Store(column) | Reach::Product(column) | Reach::Category(column) | Reach::Zone(column) => {
                vec![column]
            }
            Reach::Entry(book, product) => vec![book, product],
            _ => Vec::new(),
        }
    }
}

const fn rule(object: &'static str, topic: &'static str, reach: Reach) -> Rule {
    Rule { object, topic, reach }
}

const STORE: Reach = Reach::Store("s_c__store_id__c");
const PRODUCT: Reach = Reach::Product("s_c__product_id__c");
const ZONE: Reach = Reach::Zone("s_c__zone_id__c");

pub(super) const RULES: &[Rule] = &[
    rule("s_c__Store__c", "settings", Reach::Itself),
    rule("s_c__Store_Variable__c", "settings", STORE),
    rule("s_c__Route_Mapping__c", "settings", STORE),
    rule("s_c__Web_Domain__c", "settings", Reach::Everyone),
    rule("s_c__Store_Group__c", "settings", Reach::Everyone),
    rule("s_c__Theme__c", "settings", Reach::Everyone),
    rule("s_c__Taxonomy__c", "categories", STORE),
    rule("s_c__Product_Category__c", "categories", Reach::ItsCategory),
    rule(
        "s_c__Product_Category_Hierarchy__c",
        "categories",
        Reach::Category("s_c__child_id__c"),
    ),
    rule("s_c__Products_Product_Categories__c", "products", PRODUCT),
    rule("Product2", "products", Reach::ItsProduct),
    rule(
        "s_c__Product_Variant__c",
        "products",
        Reach::Product("s_c__variant_product_id__c"),
    ),
    rule("s_c__Product_Media__c", "products", PRODUCT),
    rule("s_c__Media__c", "products", Reach::ItsMedia),
    rule("Account", "products", Reach::ItsBrand),
    rule("s_c__Trait__c", "products", PRODUCT),
    rule("s_c__Trait_Type__c", "products", Reach::Everyone),
    rule("s_c__Trait_Value__c", "products", Reach::Everyone),
    rule(
        "s_c__Product_Component__c",
        "products",
        Reach::Product("s_c__anchor_product_id__c"),
    ),
    rule(
        "PricebookEntry",
        "prices",
        Reach::Entry("pricebook2id", "product2id"),
    ),
    rule("Pricebook2", "prices", Reach::ItsBook),
    rule("s_c__Membership__c", "prices", Reach::Everyone),
    rule("s_c__Permitted_Restricted_Product__c", "prices", STORE),
    rule("s_c__Stock_Level__c", "stock", PRODUCT),
    rule("s_c__Stock_Location__c", "stock", Reach::Everyone),
    // A place that comes under one store no longer serves the others.
    rule("s_c__Store_Stock_Location__c", "stock", Reach::Everyone),
    rule("s_c__Tax__c", "taxes", Reach::Everyone),
    rule("s_c__Product_Tax__c", "taxes", PRODUCT),
    rule("s_c__Product_Tax_Group__c", "taxes", PRODUCT),
    rule("s_c__Tax_Tax_Group__c", "taxes", Reach::Everyone),
    rule("s_c__Tax_Provider__c", "taxes", Reach::Everyone),
    rule("s_c__Zone__c", "zones", Reach::ItsZone),
    rule("s_c__Zone_Country__c", "zones", ZONE),
    rule("s_c__Zone_State__c", "zones", ZONE),
    rule("s_c__Zone_City__c", "zones", ZONE),
    rule("s_c__Zone_Postcode__c", "zones", ZONE),
    rule("s_c__Country__c", "zones", Reach::Everyone),
    rule("s_c__State__c", "zones", Reach::Everyone),
    rule("s_c__Postcode__c", "zones", Reach::Everyone),
    rule("s_c__Shipping_Rate__c", "shipping", STORE),
    rule("s_c__Shipping_Provider__c", "shipping", STORE),
    rule("s_c__Collection_Point__c", "shipping", STORE),
    rule("s_c__Opening_Time__c", "shipping", Reach::Everyone),
    rule("s_c__Delivery_Window__c", "shipping", STORE),
    rule("s_c__Payment_Provider__c", "payment", STORE),
    rule("s_c__Authentication_Provider__c", "authentication", STORE),
    rule(
        "s_c__Promotion2__c",
        "promotions",
        Reach::Store("s_c__channel_scope_store_id__c"),
    ),
    rule("s_c__Promotion2_Condition__c", "promotions", Reach::Everyone),
    rule("s_c__Promotion2_Product_Scope__c", "promotions", Reach::Everyone),
    rule("s_c__Condition__c", "promotions", Reach::Everyone),
    rule("s_c__Reward__c", "promotions", Reach::Everyone),
    rule("s_c__Promotion__c", "promotions", STORE),
    rule("s_c__Promotion_Action__c", "promotions", Reach::Everyone),
    rule("s_c__Promotion_Scope__c", "promotions", Reach::Everyone),
    rule("s_c__Discount__c", "promotions", Reach::Everyone),
    rule("s_c__Store_Campaign__c", "settings", STORE),
    rule("Campaign", "settings", Reach::Everyone),
    rule("s_c__Form__c", "forms", Reach::Everyone),
    rule("s_c__Form_Question__c", "forms", Reach::Everyone),
    rule("s_c__Store_Form__c", "forms", STORE),
    rule("s_c__Product_Form__c", "forms", PRODUCT),
    rule("s_c__Bookable_Location__c", "bookings", STORE),
    rule("s_c__Product_Bookable_Location__c", "bookings", PRODUCT),
    rule("s_c__Bookable_Event__c", "bookings", Reach::Everyone),
    rule("s_c__Availability__c", "bookings", Reach::Everyone),
    rule("s_c__Booking__c", "bookings", Reach::Everyone),
];

/// Those of the rules whose rows are about persons.
const ABOUT_PERSONS: [&str; 3] = [
    "Account",
    "s_c__Permitted_Restricted_Product__c",
    "s_c__Booking__c",
];

/// The objects whose changes storefronts are told of under these topics.
pub fn objects_of<'t>(topics: &'t [&'static str]) -> impl Iterator<Item = &'static str> + 't {
    let rules = RULES.iter().filter(|rule| topics.contains(&rule.topic));
    rules.map(|rule| rule.object)
}

/// The objects whose changes storefronts are told of.
pub fn objects() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.object)
}

/// The topics of lists, products and prices, and those that decide what an order costs besides.
const OF_PAGES: [&str; 5] = ["settings", "categories", "products", "prices", "stock"];
const OF_CHECKOUT: [&str; 4] = ["taxes", "zones", "shipping", "payment"];

/// How much a visitor sees of an object.
pub fn urgency(object: &str) -> Urgency {
    let rule = RULES.iter().find(|rule| rule.object == object);
    match rule.map(|rule| rule.topic) {
        Some(topic) if OF_PAGES.contains(&topic) => Urgency::Page,
        Some(topic) if OF_CHECKOUT.contains(&topic) => Urgency::Checkout,
        _ => Urgency::Other,
    }
}

/// Whether an object is what stores show to anyone. All others may be about persons, whatever an org adds.
pub fn is_of_catalogue(object: &str) -> bool {
    let named = |name: &str| name.eq_ignore_ascii_case(object);
    RULES.iter().any(|rule| named(rule.object)) && !ABOUT_PERSONS.into_iter().any(named)
}

/// Object and id.
type Record = (String, String);

/// Rows of any object that were deleted after a revision, some of them where they are many, and the revision that was
/// looked at last.
pub fn deleted_since(connection: &Connection, rev: i64) -> rusqlite::Result<(Vec<Record>, i64)> {
    let transaction = connection.unchecked_transaction()?;
    let to: i64 = transaction
        .prepare_cached("select coalesce(max(rev), ?1) from (select rev from _change where rev > ?1 order by rev limit 5000)")?
        .query_row([rev], |row| row.get(0))?;
    let deleted = transaction
        .prepare_cached(
            "select object, record_id from _change where rev > ?1 and rev <= ?2 and kind = 'deleted' order by rev",
        )?
        .query_map([rev, to], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    Ok((deleted, to))
}

/// One entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub rev: i64,
    pub object: String,
    /// `None` where the whole object was read anew.
    pub record_id: Option<String>,
    /// `created`, `updated`, `deleted` or `loaded`.
    pub kind: String,
    /// What it means to stores; `None` where it means nothing to them.
    pub told: Option<Told>,
}

/// What an entry means to stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub topic: &'static str,
    pub stores: Stores,
    /// The product that it is about.
    pub product_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stores {
    All,
    These(BTreeSet<String>),
}

impl Stores {
    pub fn contain(&self, store_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(store_id),
        }
    }
}

/// The feed's first and last revision; a reader that stands before the first has missed something.
pub fn bounds(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let newest: Option<i64> = crate::store::cache::meta(connection, "rev")?;
    let newest = newest.unwrap_or(0);
    let oldest: Option<i64> = connection
        .prepare_cached("select min(rev) from _change")?
        .query_row([], |row| row.get(0))?;
    Ok((oldest.unwrap_or(newest + 1), newest))
}

/// Up to `most` entries after a revision, in order.
pub fn after(connection: &Connection, rev: i64, most: usize) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = connection.prepare_cached(
        "select rev, object, record_id, kind from _change where rev > ?1 order by rev limit ?2",
    )?;
    let mut rows = statement.query(params![rev, i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let mut entry = Entry {
            rev: row.get(0)?,
            object: row.get(1)?,
            record_id: row.get(2)?,
            kind: row.get(3)?,
            told: None,
        };
        entry.told = told(connection, &entry)?;
        entries.push(entry);
    }
    Ok(entries)
}

/// The records of some objects that were deleted after a revision and up to another.
pub fn deleted_between(
    connection: &Connection,
    objects: &[&str],
    (after, up_to): (i64, i64),
) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "select object, record_id from _change
         where rev > ?1 and rev <= ?2 and kind = 'deleted' and record_id is not null order by rev",
    )?;
    let mut rows = statement.query([after, up_to])?;
    let mut deleted = Vec::new();
    while let Some(row) = rows.next()? {
        if objects.contains(&row.get_ref(0)?.as_str()?) {
            deleted.push(row.get(1)?);
        }
    }
    Ok(deleted)
}

fn told(connection: &Connection, entry: &Entry) -> rusqlite::Result<Option<Told>> {
    let Some(rule) = RULES.iter().find(|rule| rule.object == entry.object) else {
        return Ok(None);
    };
    let mut told = Told {
        topic: rule.topic,
        stores: Stores::All,
        product_id: None,
    };
    let Some(id) = entry
        .record_id
        .as_deref()
        .filter(|_| rule.reach != Reach::Everyone)
    else {
        return Ok(Some(told));
    };
    let mut stores = BTreeSet::new();
    for place in places(connection, rule, entry, id)? {
        let reached = reached(connection, rule.reach, id, &place, &mut told.product_id)?;
        match reached {
            Stores::All => return Ok(Some(told)),
            Stores::These(some) => stores.extend(some),
        }
    }
    let is_no_brand = rule.reach == Reach::ItsBrand && stores.is_empty();
    told.stores = Stores::These(stores);
    Ok((!is_no_brand).then_some(told))
}

type Place = [Option<String>; 2];

/// Where the record stands, and where it stood before this change.
fn places(connection: &Connection, rule: &Rule, entry: &Entry, id: &str) -> rusqlite::Result<Vec<Place>> {
    let columns = rule.columns();
    if columns.is_empty() {
        return Ok(vec![[None, None]]);
    }
    let mut places = Vec::new();
    let first = columns[0];
    let second = columns.get(1).copied();
    let names = [Some(first), second].map(|column| column.map_or("null".to_owned(), quoted));
    let table = quoted(&rule.object.to_ascii_lowercase());
    let sql = format!("select {}, {} from {table} where id = ?1", names[0], names[1]);
    let read = |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?]);
    let now = super::absent(connection.prepare_cached(&sql))?
        .map(|mut statement| statement.query_row([id], read).optional())
        .transpose()?
        .flatten();
    places.extend(now);
    let left = if entry.kind == "deleted" {
        "select first, second from _departed where object = ?1 and record_id = ?2 and rev <= ?3 order by rev desc limit 1"
    } else {
        "select first, second from _departed where object = ?1 and record_id = ?2 and rev = ?3"
    };
    let before = connection
        .prepare_cached(left)?
        .query_row(params![rule.object, id, entry.rev], read)
        .optional()?;
    places.extend(before);
    Ok(places)
}

fn reached(
    connection: &Connection,
    reach: Reach,
    id: &str,
    place: &Place,
    product: &mut Option<String>,
) -> rusqlite::Result<Stores> {
    let [first, second] = place;
    let select = |sql: &str, key: &str| -> rusqlite::Result<Stores> {
        let mut statement = connection.prepare_cached(sql)?;
        let ids = statement.query_map([key], |row| row.get::<_, String>(0))?;
        Ok(Stores::These(ids.collect::<rusqlite::Result<_>>()?))
    };
    let showing = "select store_id from _shown where product_id = ?1";
    let none = || Stores::These(BTreeSet::new());
    Ok(match reach {
        Reach::Everyone => Stores::All,
        Reach::Itself => Stores::These(BTreeSet::from([id.to_owned()])),
        Reach::Store(_) => match first {
            Some(store) => Stores::These(BTreeSet::from([store.clone()])),
            None => Stores::All,
        },
        Reach::ItsProduct => {
            *product = Some(id.to_owned());
            select(showing, id)?
        }
        Reach::Product(_) => match first {
            Some(found) => {
                *product = Some(found.clone());
                select(showing, found)?
            }
            None => none(),
        },
        Reach::ItsCategory => select(OF_CATEGORY, id)?,
        Reach::Category(_) => first
            .as_ref()
            .map_or(Ok(none()), |found| select(OF_CATEGORY, found))?,
        Reach::Entry(..) => {
            product.clone_from(second);
            first.as_ref().map_or(Ok(none()), |book| select(OF_BOOK, book))?
        }
        Reach::ItsBook => select(OF_BOOK, id)?,
        Reach::ItsZone => select(OF_ZONE, id)?,
        Reach::ItsMedia => select(OF_MEDIA, id)?,
        Reach::ItsBrand => select(OF_BRAND, id)?,
        Reach::Zone(_) => first.as_ref().map_or(Ok(none()), |zone| select(OF_ZONE, zone))?,
    })
}

const OF_CATEGORY: &str = "select st.store_id from _of_product_category c \
    join _store_taxonomy st on st.taxonomy_id = c.taxonomy_id where c.id = ?1";
const OF_BOOK: &str = "select store_id from _store_book where pricebook_id = ?1";
const OF_ZONE: &str = "select id from _of_store where zone_id = ?1 or exists (select 1 from _of_tax t where t.zone_id = ?1) \
    union select s.id from _of_shipping_rate r join _of_store s on s.id = r.store_id or r.store_id is null where r.zone_id = ?1 \
    union select c.store_id from _of_collection_point c where c.zone_id = ?1 and c.store_id is not null \
    union select s.id from _of_delivery_window w join _of_store s on s.id = w.store_id or w.store_id is null where w.zone_id = ?1";
const OF_MEDIA: &str = "select v.store_id from _of_product_media x join _shown v on v.product_id = x.product_id where x.media_id = ?1 \
    union select st.store_id from _of_product_category c \
    join _store_taxonomy st on st.taxonomy_id = c.taxonomy_id where c.media_id = ?1";
const OF_BRAND: &str = "select distinct v.store_id from _of_product2 p join _shown v on v.product_id = p.id where p.brand_id = ?1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::storefront::sources;

    /// What belongs to a customer and to no store.
    const OF_CUSTOMERS: [&str; 9] = [
        "Contact",
        "Order",
        "OrderItem",
        "Asset",
        "Case",
        "s_c__Account_Points_Ledger__c",
        "s_c__Account_Credit__c",
        "s_c__Subscription__c",
        "s_c__Voucher__c",
    ];

    #[test]
    fn who_was_deleted_is_told_after_one_revision_and_up_to_another() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table _change (rev integer primary key, object, record_id, kind);
                 insert into _change values (1, 'Contact', 'a', 'deleted'), (2, 'Contact', 'b', 'deleted'),
                    (3, 'Contact', 'c', 'updated'), (4, 'Product2', 'd', 'deleted'), (5, 'Lead', 'e', 'deleted');",
            )
            .unwrap();
        let deleted = |bounds| deleted_between(&connection, &["Contact", "Lead"], bounds).unwrap();
        assert_eq!(deleted((0, 5)), ["a", "b", "e"]);
        assert_eq!(deleted((1, 4)), ["b"]);
        assert_eq!(deleted((2, 5)), ["e"]);
        assert_eq!(deleted((5, 5)), Vec::<String>::new());
    }

    #[test]
    fn whatever_a_store_shows_is_told_when_it_changes() {
        for source in sources::all() {
            let told = RULES.iter().any(|rule| rule.object == source.object);
            let personal = OF_CUSTOMERS.contains(&source.object.as_str());
            assert!(told != personal, "{} has no rule, or one too many", source.object);
        }
        assert!(!is_of_catalogue("Account") && is_of_catalogue("s_c__media__c"));
    }
}
