//! What an order costs and saves besides its items, and where the org has a place for it.
//!
//! A product that stands for it comes first, where the order or the configuration names one: then it is a line. Else it
//! goes into a record or a field of the org's own; where there is none, the order is refused with what to configure.

use rusqlite::{Connection, params};

use crate::model::order::parse::Invalid;
use crate::model::order::{Charge, Decimal, Line, Order, Pricing, ProductReference, Saving, Shipment};
use crate::store::storefront::offer::Entry;
use crate::store::storefront::promotions::{self, Moment};
use crate::store::storefront::shelf::Shelf;

/// What becomes of shipping and discounts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Charges {
    /// Of products that stand for them. No rule is for these: nobody is shown them.
    pub lines: Vec<Line>,
    pub shipment: Option<Shipment>,
    pub savings: Vec<Saving>,
}

type Resolved<T> = rusqlite::Result<Result<T, Invalid>>;

/// The charges of an order of this shelf's visitor, or what is wrong with one.
pub fn resolve(shelf: &Shelf<'_>, order: &Order, pricing: &Pricing<'_>) -> Resolved<Charges> {
    let mut charges = Charges::default();
    if let Some(charge) = &order.shipping {
        match shipping(shelf, charge, pricing)? {
            Ok(Placed::Line(line)) => charges.lines.push(line),
            Ok(Placed::Own(shipment)) => charges.shipment = Some(shipment),
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
    for (index, charge) in order.discounts.iter().enumerate() {
        match discount(shelf, charge, &format!("discounts[{index}]"), pricing)? {
            Ok((line, saving)) => {
                charges.lines.extend(line);
                charges.savings.push(saving);
            }
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
    Ok(Ok(charges))
}

enum Placed {
    Line(Line),
    Own(Shipment),
}

fn shipping(shelf: &Shelf<'_>, charge: &Charge, pricing: &Pricing<'_>) -> Resolved<Placed> {
    if let Some(product) = product_of(charge, pricing.shipping_product) {
        let entry = stand_in(shelf, &product, "shipping")?;
        return Ok(entry.map(|entry| Placed::Line(line(&entry, charge, charge.amount))));
    }
    let places = &pricing.places;
    if !places.shipping_record && !places.shipping_field {
        let message = "has no place in this org: name a product that stands for it as product_code or under orders.shipping_product, or a currency field of Order as \"order.shipping\" under orders.map";
        return Ok(Err(Invalid::new("shipping", message)));
    }
    let mut location = charge.stock_location_id.clone();
    if places.shipping_record && location.is_none() {
        location = own_location(shelf.connection, &shelf.store.id)?;
        if location.is_none() {
            let message = "is missing: a shipment begins at a stock location of the org, and the store has not exactly one; give its id, or leave shipments out with \"shipping.object\" = \"\" under orders.map";
            return Ok(Err(Invalid::new("shipping.stock_location_id", message)));
        }
    }
    Ok(Ok(Placed::Own(Shipment {
        amount: charge.amount,
        label: charge.label.clone(),
        stock_location_id: location,
    })))
}

/// The place that a store sends from, where it has one alone: of those that are tied to it, else of its counters.
fn own_location(connection: &Connection, store_id: &str) -> rusqlite::Result<Option<String>> {
    let tied = "select distinct x.stock_location_id from _of_store_stock_location x
        join _of_stock_location l on l.id = x.stock_location_id and coalesce(l.active, 1) = 1
        where x.store_id = ?1 limit 2";
    let counters = "select distinct c.stock_location_id from _of_collection_point c
        join _of_stock_location l on l.id = c.stock_location_id and coalesce(l.active, 1) = 1
        where c.store_id = ?1 and c.active = 1 limit 2";
    for sql in [tied, counters] {
        let mut found = connection.prepare_cached(sql)?;
        let mut found: Vec<String> = found
            .query_map(params![store_id], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if found.len() == 1 {
            return Ok(found.pop());
        }
        if !found.is_empty() {
            return Ok(None);
        }
    }
    Ok(None)
}

fn discount(
    shelf: &Shelf<'_>,
    charge: &Charge,
    path: &str,
    pricing: &Pricing<'_>,
) -> Resolved<(Option<Line>, Saving)> {
    let places = &pricing.places;
    let promotion_id = match promotion(shelf, charge, path, pricing)? {
        Ok(promotion_id) => promotion_id,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let line = match product_of(charge, pricing.discount_product) {
        Some(product) => match stand_in(shelf, &product, path)? {
            Ok(entry) => Some(line(&entry, charge, charge.amount.negated())),
            Err(invalid) => return Ok(Err(invalid)),
        },
        None if promotion_id.is_some() || places.discount_field => None,
        None => {
            let own = if places.discount_record {
                "give the promotion that it comes from as promotion_id or coupon, "
            } else {
                ""
            };
            let message = format!(
                "has no place in this org: {own}name a product that stands for it as product_code or under orders.discount_product, or a currency field of Order as \"order.discount\" under orders.map"
            );
            return Ok(Err(Invalid::new(path, message)));
        }
    };
    Ok(Ok((
        line.clone(),
        Saving {
            amount: charge.amount,
            coupon: charge.coupon.clone().filter(|_| places.coupon_field),
            promotion_id,
            is_line: line.is_some(),
        },
    )))
}

/// The promotion that a discount comes from, where the org keeps records of their use: by its id, or by its coupon.
fn promotion(
    shelf: &Shelf<'_>,
    charge: &Charge,
    path: &str,
    pricing: &Pricing<'_>,
) -> Resolved<Option<String>> {
    let places = &pricing.places;
    let wrong = |member: &str, message: &str| Ok(Err(Invalid::new(format!("{path}.{member}"), message)));
    if charge.promotion_id.is_none() && charge.coupon.is_none() {
        return Ok(Ok(None));
    }
    if !places.discount_record {
        if charge.promotion_id.is_some() {
            return wrong(
                "promotion_id",
                "has no place in this org: name an object for discounts as \"discount.object\", and its fields, under orders.map",
            );
        }
        if !places.coupon_field {
            return wrong(
                "coupon",
                "has no place in this org: name a text field of Order for it as \"order.coupon\" under orders.map",
            );
        }
        return Ok(Ok(None));
    }
    let moment = Moment::of(shelf.store, shelf.visitor, charge.coupon.clone());
    let id = charge.promotion_id.as_deref();
    let found = promotions::promotion(shelf.connection, shelf.store, shelf.visitor, &moment, id)?;
    match found {
        None if id.is_some() => wrong(
            "promotion_id",
            "is no promotion that the store has for this customer now: leave it out",
        ),
        None if !places.coupon_field => wrong(
            "coupon",
            "is of no promotion that the store has for this customer now: leave it out, or name a text field of Order for it as \"order.coupon\" under orders.map",
        ),
        found => Ok(Ok(found)),
    }
}

fn product_of(charge: &Charge, usual: Option<&str>) -> Option<ProductReference> {
    let usual = usual.map(|code| ProductReference::ProductCode(code.to_owned()));
    charge.product.clone().or(usual)
}

fn line(entry: &Entry, charge: &Charge, unit_price: Decimal) -> Line {
    Line {
        pricebook_entry_id: entry.id.clone(),
        quantity: Decimal::ONE,
        unit_price,
        description: charge.label.clone(),
        ..Line::default()
    }
}

/// The entry of a product that stands for something.
fn stand_in(shelf: &Shelf<'_>, product: &ProductReference, path: &str) -> Resolved<Entry> {
    let (member, named, mut entries) = match product {
        ProductReference::ProductId(id) => ("product_id", id, vec![shelf.entry(id)?]),
        ProductReference::PricebookEntryId(id) => ("pricebook_entry_id", id, vec![shelf.entry_by_id(id)?]),
        ProductReference::ProductCode(code) => {
            let ids = shelf.ids_by_code(code)?;
            let entries = ids.iter().map(|id| shelf.entry(id));
            ("product_code", code, entries.collect::<rusqlite::Result<_>>()?)
        }
    };
    entries.retain(Option::is_some);
    let message = match entries.len() {
        0 => format!("{named} has no active price in the price book in effect and in the store's currency"),
        _ => format!("{named} names several products: use product_id"),
    };
    Ok(match (entries.len(), entries.pop().flatten()) {
        (1, Some(entry)) => Ok(entry),
        _ => Err(Invalid::new(format!("{path}.{member}"), message)),
    })
}
