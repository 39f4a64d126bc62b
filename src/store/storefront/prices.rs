//! Entries of the price book that is in effect, in the store's currency.

use rusqlite::{Connection, Row, params};

use crate::model::order::Decimal;
use crate::store::storefront::first;
use crate::store::storefront::offer::Entry;
use crate::store::storefront::stores::Store;
use crate::store::storefront::visitor::Visitor;

/// A price book, read for a store.
pub struct Book<'a> {
    id: Option<&'a str>,
    currency: Option<&'a str>,
}

/// Active entries of the book `?1` in the currency `?2`.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "select e.id, e.product2id, e.unitprice, e.sale_price, e.currencyisocode, coalesce(e.hide_price, 0) as hide_price,
                    coalesce(e.hide_price_text, b.hide_price_text) as hide_price_text, coalesce(e.restricted, 0) as restricted,
                    e.restricted_text, coalesce(e.display_if_restricted, 1) as listed, coalesce(e.bundle_only, 0) as bundle_only,
                    coalesce(e.order_quantity_maximum, b.order_quantity_maximum) as quantity_max,
                    coalesce(nullif(lower(e.tax_method), 'inherit'), lower(b.tax_method)) as tax_method
                from _of_pricebookentry e left join _of_pricebook2 b on b.id = e.pricebook2id
                where e.pricebook2id = ?1 and e.isactive = 1 and (e.currencyisocode is null or ?2 is null or e.currencyisocode = ?2)
                    and coalesce(b.isactive, 1) = 1 and ",
            $condition
        )
    };
}

impl<'a> Book<'a> {
    /// The book in effect for a visitor.
    pub fn in_effect(store: &'a Store, visitor: &'a Visitor) -> Self {
        Self {
            id: visitor.book.as_ref().map(|book| book.id.as_str()),
            currency: store.currency.as_deref(),
        }
    }

    pub fn id(&self) -> Option<&'a str> {
        self.id
    }

    /// The active entry of a product.
    pub fn entry(&self, connection: &Connection, product_id: &str) -> rusqlite::Result<Option<Entry>> {
        self.pick(connection, select!("e.product2id = ?3"), product_id)
    }

    /// An entry by its id, where it is an active one of the book.
    pub fn entry_by_id(&self, connection: &Connection, id: &str) -> rusqlite::Result<Option<Entry>> {
        self.pick(connection, select!("e.id = ?3"), id)
    }

    fn pick(&self, connection: &Connection, sql: &str, key: &str) -> rusqlite::Result<Option<Entry>> {
        let Some(id) = self.id else { return Ok(None) };
        // Of several, the one with the smallest id. Found here: to sort one row costs SQLite as much as to find it.
        let mut found = connection.prepare_cached(sql)?;
        let mut found = found.query(params![id, self.currency, key])?;
        let mut picked: Option<Entry> = None;
        while let Some(row) = found.next()? {
            let entry = entry(row)?;
            if picked.as_ref().is_none_or(|picked| entry.id < picked.id) {
                picked = Some(entry);
            }
        }
        Ok(picked)
    }

    /// What the book shows where a product has no price.
    pub fn unavailable_text(&self, connection: &Connection) -> rusqlite::Result<Option<String>> {
        let Some(id) = self.id else { return Ok(None) };
        let sql = "select unavailable_text from _of_pricebook2 where id = ?1";
        Ok(first(connection, sql, [id], |row| row.get(0))?.flatten())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let amount = |column: usize| {
        Ok::<_, rusqlite::Error>(row.get::<_, Option<f64>>(column)?.and_then(Decimal::from_real))
    };
    let list_price = amount(2)?;
    Ok(Entry {
        id: row.get(0)?,
        product_id: row.get(1)?,
        price: amount(3)?.or(list_price),
        list_price,
        currency: row.get(4)?,
        hide_price: row.get(5)?,
        hide_price_text: row.get(6)?,
        restricted: row.get(7)?,
        restricted_text: row.get(8)?,
        listed_if_restricted: row.get(9)?,
        bundle_only: row.get(10)?,
        #[allow(clippy::cast_possible_truncation)] // a count of pieces
        quantity_max: row.get::<_, Option<f64>>(11)?.map(|most| most as i64),
        tax_method: row.get(12)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_entry_says_comes_before_what_its_book_says() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table _of_pricebook2 (id, isactive, hide_price_text, order_quantity_maximum, tax_method);
                 insert into _of_pricebook2 values ('book', 1, 'of the book', 10, 'Inclusive');
                 create table _of_pricebookentry (product2id, hide_price_text, order_quantity_maximum, tax_method, sale_price,
                    id default 'entry', pricebook2id default 'book', unitprice default 5.0, currencyisocode default 'AUD',
                    isactive default 1, hide_price, restricted, restricted_text, display_if_restricted, bundle_only);
                 insert into _of_pricebookentry (product2id, hide_price_text, order_quantity_maximum, tax_method, sale_price)
                 values ('own', 'of the entry', 2, 'Exclusive', 4.5), ('none', null, null, null, null),
                    ('inherits', null, null, 'Inherit', null);",
            )
            .unwrap();
        let book = Book {
            id: Some("book"),
            currency: Some("AUD"),
        };
        for (product, text, quantity, tax, price) in [
            ("own", "of the entry", 2, "exclusive", "4.50"),
            ("none", "of the book", 10, "inclusive", "5.00"),
            ("inherits", "of the book", 10, "inclusive", "5.00"),
        ] {
            let entry = book.entry(&connection, product).unwrap().unwrap();
            assert_eq!(entry.hide_price_text.as_deref(), Some(text), "{product}");
            assert_eq!(entry.quantity_max, Some(quantity), "{product}");
            assert_eq!(entry.tax_method.as_deref(), Some(tax), "{product}");
            assert_eq!(entry.price, Decimal::parse(price), "{product}");
            assert_eq!(entry.list_price, Decimal::parse("5.00"), "{product}");
        }
    }
}
