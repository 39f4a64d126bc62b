//! Finds the price book entry that each item of an order means.

use rusqlite::Connection;

use crate::model::order::parse::Invalid;
use crate::model::order::{Item, Line, ProductReference};
use crate::store::storefront::offer::Entry;
use crate::store::storefront::prices::Book;
use crate::store::storefront::stores::Store;

/// The lines of an order for a store, or the first item that is none.
pub fn resolve(
    connection: &Connection,
    store: &Store,
    items: &[Item],
) -> rusqlite::Result<Result<Vec<Line>, Invalid>> {
    let book = Book::of(store);
    let mut lines = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match line(connection, &book, item, index)? {
            Ok(line) => lines.push(line),
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
    Ok(Ok(lines))
}

fn line(
    connection: &Connection,
    book: &Book<'_>,
    item: &Item,
    index: usize,
) -> rusqlite::Result<Result<Line, Invalid>> {
    let invalid =
        |member: &str, message: String| Ok(Err(Invalid::new(format!("items[{index}].{member}"), message)));
    let (member, named, entry) = match &item.product {
        ProductReference::ProductId(id) => ("product_id", id, book.entry(connection, id)?),
        ProductReference::PricebookEntryId(id) => {
            ("pricebook_entry_id", id, book.entry_by_id(connection, id)?)
        }
        ProductReference::ProductCode(code) => match by_code(connection, book, code)?.as_slice() {
            [] => ("product_code", code, None),
            [entry] => ("product_code", code, Some(entry.clone())),
            _ => {
                return invalid(
                    "product_code",
                    format!("{code} names several products of the store: use product_id"),
                );
            }
        },
    };
    let Some(entry) = entry else {
        return invalid(
            member,
            format!("{named} has no active price in the store's price book and currency"),
        );
    };
    let Some(unit_price) = item.unit_price.or(entry.price) else {
        return invalid(
            "unit_price",
            "is missing, and the price book has none for the product".to_owned(),
        );
    };
    Ok(Ok(Line {
        pricebook_entry_id: entry.id,
        quantity: item.quantity,
        unit_price,
        fields: item.fields.clone(),
    }))
}

/// Entries of all active products that have the code; codes need not be unique in an org.
fn by_code(connection: &Connection, book: &Book<'_>, code: &str) -> rusqlite::Result<Vec<Entry>> {
    let sql = "select id from product2 where productcode = ?1 and isactive = 1 order by id";
    let Some(mut statement) = super::absent(connection.prepare_cached(sql))? else {
        return Ok(Vec::new());
    };
    let ids = statement
        .query_map([code], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let entries = ids
        .iter()
        .map(|id| book.entry(connection, id))
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(entries.into_iter().flatten().collect())
}
