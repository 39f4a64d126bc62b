//! Finds the price book entry that each item of an order means.

use rusqlite::Connection;

use crate::model::order::parse::Invalid;
use crate::model::order::{Decimal, Fields, Item, Line, Order, Pricing, ProductReference};
use crate::store::storefront::offer::Entry;
use crate::store::storefront::prices::Book;
use crate::store::storefront::stores::Store;

/// The lines of an order for a store: its items, then what it costs and saves besides. Or what is none.
pub fn resolve(
    connection: &Connection,
    store: &Store,
    order: &Order,
    pricing: &Pricing<'_>,
) -> rusqlite::Result<Result<Vec<Line>, Invalid>> {
    let book = Book::of(store);
    let mut lines = Vec::with_capacity(order.items.len());
    for (index, item) in order.items.iter().enumerate() {
        let place = Place {
            path: format!("items[{index}]"),
            book_only: pricing.book_only,
        };
        match line(connection, &book, item, &place)? {
            Ok(line) => lines.push(line),
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
    let shipping = order
        .shipping
        .iter()
        .map(|charge| ("shipping".to_owned(), charge, true));
    let discounts = order.discounts.iter().enumerate();
    let discounts = discounts.map(|(index, charge)| (format!("discounts[{index}]"), charge, false));
    for (path, charge, is_shipping) in shipping.chain(discounts) {
        let usual = if is_shipping {
            pricing.shipping_product
        } else {
            pricing.discount_product
        };
        let code = usual.map(|code| ProductReference::ProductCode(code.to_owned()));
        let Some(product) = charge.product.clone().or(code) else {
            let key = if is_shipping {
                "shipping_product"
            } else {
                "discount_product"
            };
            let message =
                format!("names no product that stands for it: give product_code, or set orders.{key}");
            return Ok(Err(Invalid::new(path, message)));
        };
        let amount = if is_shipping {
            charge.amount
        } else {
            charge.amount.negated()
        };
        let item = Item {
            product,
            quantity: Decimal::ONE,
            unit_price: Some(amount),
            fields: Fields::new(),
        };
        let place = Place {
            path,
            book_only: false,
        };
        match line(connection, &book, &item, &place)? {
            Ok(line) => lines.push(Line {
                description: charge.label.clone(),
                ..line
            }),
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
    Ok(Ok(lines))
}

/// Where an item stands, and whether it may have a price of its own.
struct Place {
    path: String,
    book_only: bool,
}

fn line(
    connection: &Connection,
    book: &Book<'_>,
    item: &Item,
    place: &Place,
) -> rusqlite::Result<Result<Line, Invalid>> {
    let invalid =
        |member: &str, message: String| Ok(Err(Invalid::new(format!("{}.{member}", place.path), message)));
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
    if place.book_only
        && let Some(price) = entry.price.filter(|price| *price != unit_price)
    {
        return invalid(
            "unit_price",
            format!(
                "is not the price book's: {price}; show the shopper the new price, or leave unit_price out"
            ),
        );
    }
    Ok(Ok(Line {
        pricebook_entry_id: entry.id,
        quantity: item.quantity,
        unit_price,
        description: None,
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
