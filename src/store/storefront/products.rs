//! The products that a store shows, with the prices of its price book.
//!
//! A product is shown when it is active, not archived, and has an active link into a category of the store's
//! taxonomy, or is a variant of a master that has one. Its price is that of its active entry in the store's
//! price book and currency; a product without one is shown without a price.

use rusqlite::{Connection, Row, params};

use crate::model::order::Decimal;
use crate::store::storefront::objects::Page;
use crate::store::storefront::stores::Store;
use crate::store::storefront::{Found, absent, first, flag, is_id, json, real, text};

/// ?1 is the taxonomy.
const VISIBLE: &str = "p.isactive = 1 and (
    exists (
        select 1 from s_c__products_product_categories__c l
        join s_c__product_category__c c on c.id = l.s_c__category_id__c
        where l.s_c__product_id__c = p.id and l.s_c__active__c = 1 and c.s_c__taxonomy_id__c = ?1
    ) or exists (
        select 1 from s_c__product_variant__c v
        join product2 m on m.id = v.s_c__master_product_id__c
        join s_c__products_product_categories__c l on l.s_c__product_id__c = m.id
        join s_c__product_category__c c on c.id = l.s_c__category_id__c
        where v.s_c__variant_product_id__c = p.id and m.isactive = 1 and l.s_c__active__c = 1
            and c.s_c__taxonomy_id__c = ?1
    )
)";

/// A product as JSON, with a tag that changes when what it shows does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    pub tag: String,
    pub json: Vec<u8>,
}

/// An active entry of a price book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub product_id: Option<String>,
    /// What is to be paid: the sale price where there is one.
    pub price: Option<Decimal>,
    pub list_price: Option<Decimal>,
    pub currency: Option<String>,
    pub revision: i64,
}

/// One product by id, slug or code, where the store shows it.
pub fn find(connection: &Connection, store: &Store, key: &str) -> rusqlite::Result<Found<Product>> {
    let Some(taxonomy) = absent(taxonomy(connection, store))? else {
        return Ok(Found::NoObject);
    };
    let by = [
        (is_id(key), "p.id = ?2"),
        (true, "p.s_c__slug__c = ?2"),
        (true, "p.productcode = ?2"),
    ];
    let book = Book::of(connection, store)?;
    let mut mirrored = false;
    for (_, condition) in by.into_iter().filter(|(likely, _)| *likely) {
        let sql = format!("select p.* from product2 p where {condition} and {VISIBLE} order by p.id limit 1");
        let found = first(connection, &sql, params![taxonomy, key], |row| {
            if flag(row, "isarchived")? {
                Ok(None)
            } else {
                product(connection, &book, row).map(Some)
            }
        });
        let Some(found) = absent(found)? else { continue };
        mirrored = true;
        if let Some(product) = found.flatten() {
            return Ok(Found::Row(product));
        }
    }
    Ok(if mirrored { Found::NoRow } else { Found::NoObject })
}

/// A page of the store's products in the order of their ids.
pub fn list(
    connection: &Connection,
    store: &Store,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Found<Page>> {
    let Some(taxonomy) = absent(taxonomy(connection, store))? else {
        return Ok(Found::NoObject);
    };
    let sql = format!("select p.* from product2 p where p.id > ?2 and {VISIBLE} order by p.id");
    let Some(mut statement) = absent(connection.prepare_cached(&sql))? else {
        return Ok(Found::NoObject);
    };
    let book = Book::of(connection, store)?;
    let mut rows = statement.query(params![taxonomy, after])?;
    let (mut items, mut last) = (Vec::new(), String::new());
    while let Some(row) = rows.next()? {
        if flag(row, "isarchived")? {
            continue;
        }
        if items.len() == limit {
            return Ok(Found::Row(Page {
                items,
                next: Some(last),
            }));
        }
        items.push(product(connection, &book, row)?.json);
        last = row.get("id")?;
    }
    Ok(Found::Row(Page { items, next: None }))
}

/// The taxonomy a store uses: of several, the one that is placed first.
fn taxonomy(connection: &Connection, store: &Store) -> rusqlite::Result<Option<String>> {
    let sql = "select id from s_c__taxonomy__c where s_c__store_id__c = ?1
         order by s_c__position__c is null, s_c__position__c, name, id limit 1";
    first(connection, sql, [&store.id], |row| row.get(0))
}

/// A store's price book, where it is to be used.
pub(super) struct Book<'a> {
    store: &'a Store,
    id: Option<&'a str>,
}

impl<'a> Book<'a> {
    pub(super) fn of(connection: &Connection, store: &'a Store) -> rusqlite::Result<Self> {
        let id = store.pricebook_id.as_deref();
        let inactive = match id {
            Some(id) => absent(first(
                connection,
                "select isactive from pricebook2 where id = ?1",
                [id],
                |row| row.get::<_, Option<bool>>(0),
            ))?
            .flatten()
            .is_some_and(|active| active == Some(false)),
            None => false,
        };
        Ok(Self {
            store,
            id: id.filter(|_| !inactive),
        })
    }

    /// The active entry of a product in the book and the store's currency.
    pub(super) fn entry(&self, connection: &Connection, product_id: &str) -> rusqlite::Result<Option<Entry>> {
        let Some(book) = self.id else { return Ok(None) };
        let sql = "select * from pricebookentry
             where product2id = ?1 and pricebook2id = ?2 and isactive = 1 order by id";
        self.pick(connection, sql, product_id, book)
    }

    /// An entry by its id, where it is an active one of the book.
    pub(super) fn entry_by_id(&self, connection: &Connection, id: &str) -> rusqlite::Result<Option<Entry>> {
        let Some(book) = self.id else { return Ok(None) };
        let sql = "select * from pricebookentry where id = ?1 and pricebook2id = ?2 and isactive = 1";
        self.pick(connection, sql, id, book)
    }

    fn pick(
        &self,
        connection: &Connection,
        sql: &str,
        key: &str,
        book: &str,
    ) -> rusqlite::Result<Option<Entry>> {
        let Some(mut statement) = absent(connection.prepare_cached(sql))? else {
            return Ok(None);
        };
        let mut rows = statement.query([key, book])?;
        while let Some(row) = rows.next()? {
            let entry = self.read(row)?;
            // Orgs with one currency have no such column.
            let other = entry.currency.as_deref().zip(self.store.currency.as_deref());
            if other.is_none_or(|(entry, store)| entry == store) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn read(&self, row: &Row<'_>) -> rusqlite::Result<Entry> {
        let amount = |column: &str| Ok::<_, rusqlite::Error>(real(row, column)?.and_then(Decimal::from_real));
        let list_price = amount("unitprice")?;
        Ok(Entry {
            id: row.get("id")?,
            product_id: text(row, "product2id")?,
            price: amount("s_c__sale_price__c")?.or(list_price),
            list_price,
            currency: text(row, "currencyisocode")?,
            revision: row.get("_rev")?,
        })
    }
}

fn product(connection: &Connection, book: &Book<'_>, row: &Row<'_>) -> rusqlite::Result<Product> {
    let id: String = row.get("id")?;
    let revision: i64 = row.get("_rev")?;
    let entry = book.entry(connection, &id)?;
    let mut out = Vec::with_capacity(512);
    json::member(&mut out, b'{', "id", Some(&id));
    let name = text(row, "s_c__display_name__c")?.filter(|name| !name.is_empty());
    json::member(&mut out, b',', "name", name.or(text(row, "name")?).as_deref());
    for (member, column) in [
        ("product_code", "productcode"),
        ("sku", "stockkeepingunit"),
        ("slug", "s_c__slug__c"),
        ("family", "family"),
        ("description", "description"),
    ] {
        json::member(&mut out, b',', member, text(row, column)?.as_deref());
    }
    let currency = entry
        .as_ref()
        .and_then(|entry| entry.currency.as_deref())
        .or(book.store.currency.as_deref());
    amount(
        &mut out,
        "price",
        entry.as_ref().and_then(|entry| entry.price),
        currency,
    );
    amount(
        &mut out,
        "list_price",
        entry.as_ref().and_then(|entry| entry.list_price),
        currency,
    );
    json::member(
        &mut out,
        b',',
        "pricebook_entry_id",
        entry.as_ref().map(|entry| entry.id.as_str()),
    );
    out.push(b'}');
    // All that goes into it: a single number would come back when a price is taken away again.
    let tag = format!(
        "{revision}.{}.{}",
        entry.map_or(0, |entry| entry.revision),
        book.store.revision
    );
    Ok(Product { tag, json: out })
}

fn amount(out: &mut Vec<u8>, name: &str, amount: Option<Decimal>, currency: Option<&str>) {
    let Some(amount) = amount else {
        json::member(out, b',', name, None);
        return;
    };
    out.push(b',');
    json::string(out, name);
    out.push(b':');
    json::member(
        out,
        b'{',
        "amount",
        Some(&amount.as_amount(currency.unwrap_or_default())),
    );
    json::member(out, b',', "currency", currency);
    out.push(b'}');
}
