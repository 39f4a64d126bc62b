//! What an order costs and saves besides its items, and where the org has a place for it.
//!
//! A product that stands for it comes first, where the configuration names one: then it is a line. Else it
//! goes into a record or a field of the org's own; where there is none, the order is refused with what to configure.

mod amounts;

use rusqlite::{Connection, params};

use crate::model::order::parse::Invalid;
use crate::model::order::{
    Charge, Decimal, Line, Order, Places, Pricing, ProductReference, Saving, Shipment,
};
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

/// The charges of an order of this shelf's visitor, or what is wrong with one. `items` are the lines of its items.
pub fn resolve(shelf: &Shelf<'_>, order: &Order, items: &[Line], pricing: &Pricing<'_>) -> Resolved<Charges> {
    if let Err(invalid) = amounts::check(order, items, shelf.store) {
        return Ok(Err(invalid));
    }
    let mut charges = Charges::default();
    if let Some(charge) = &order.shipping {
        match shipping(shelf, charge, pricing)? {
            Ok((line, shipment)) => {
                charges.lines.extend(line);
                charges.shipment = shipment;
            }
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

/// A charge of nothing needs no place.
fn shipping(
    shelf: &Shelf<'_>,
    charge: &Charge,
    pricing: &Pricing<'_>,
) -> Resolved<(Option<Line>, Option<Shipment>)> {
    let stand_in = StandIn {
        configured: pricing.shipping_product,
        key: "orders.shipping_product",
        what: "shipping",
        path: "shipping",
    };
    let entry = match stand_in.entry(shelf, charge)? {
        Ok(entry) => entry,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let places = &pricing.places;
    if let Some(entry) = entry {
        let checked = parts_of_shipping(charge, places, true);
        return Ok(checked.map(|()| (Some(line(&entry, charge, charge.amount)), None)));
    }
    let has_place = places.shipping_record || places.shipping_field;
    if !has_place && charge.amount != Decimal::ZERO {
        let message = "has no place in this org: name a product that stands for it under orders.shipping_product, or a currency field of Order as \"order.shipping\" under orders.map";
        return Ok(Err(Invalid::new("shipping", message)));
    }
    if let Err(invalid) = parts_of_shipping(charge, places, false) {
        return Ok(Err(invalid));
    }
    if !has_place {
        return Ok(Ok((None, None)));
    }
    let is_nothing = charge.amount == Decimal::ZERO && charge.label.is_none();
    let mut location = charge.stock_location_id.clone();
    if places.shipping_record && places.shipping_location && location.is_none() {
        location = own_location(shelf.connection, &shelf.store.id)?;
        if location.is_none() && is_nothing {
            return Ok(Ok((None, None)));
        }
        if location.is_none() {
            let message = "is missing: a shipment begins at a stock location of the org, and the store has not exactly one; give its id, or leave shipments out with \"shipping.object\" = \"\" under orders.map";
            return Ok(Err(Invalid::new("shipping.stock_location_id", message)));
        }
    }
    let shipment = Shipment {
        amount: charge.amount,
        label: charge.label.clone(),
        stock_location_id: location,
    };
    Ok(Ok((None, Some(shipment))))
}

/// Refuses what only a shipment has a place for, where none is made. A line is called by the label too.
fn parts_of_shipping(charge: &Charge, places: &Places, is_line: bool) -> Result<(), Invalid> {
    let is_shipment = places.shipping_record && !is_line;
    let parts = [
        (
            "stock_location_id",
            charge.stock_location_id.is_some(),
            is_shipment && places.shipping_location,
            "shipping.location",
        ),
        (
            "label",
            charge.label.is_some(),
            is_shipment || is_line,
            "shipping.label",
        ),
    ];
    let lost = parts
        .into_iter()
        .find(|(_, given, has_place, _)| *given && !has_place);
    let Some((member, _, _, name)) = lost else {
        return Ok(());
    };
    let message = match is_line {
        true => "has no place beside the product that stands for shipping: leave it out, or take orders.shipping_product out of the configuration".to_owned(),
        false => format!(
            "has no place in this org: name an object for shipments as \"shipping.object\", and its fields, \"{name}\" among them, under orders.map, or leave it out"
        ),
    };
    Err(Invalid::new(format!("shipping.{member}"), message))
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
    let stand_in = StandIn {
        configured: pricing.discount_product,
        key: "orders.discount_product",
        what: "discounts",
        path,
    };
    let line = match stand_in.entry(shelf, charge)? {
        Ok(entry) => entry.map(|entry| line(&entry, charge, charge.amount.negated())),
        Err(invalid) => return Ok(Err(invalid)),
    };
    let has_place = line.is_some() || promotion_id.is_some() || places.discount_field;
    if !has_place && charge.amount != Decimal::ZERO {
        let own = if places.discount_record {
            "give the promotion that it comes from as promotion_id or coupon, "
        } else {
            ""
        };
        let message = format!(
            "has no place in this org: {own}name a product that stands for it under orders.discount_product, or a currency field of Order as \"order.discount\" under orders.map"
        );
        return Ok(Err(Invalid::new(path, message)));
    }
    if line.is_none() && charge.label.is_some() {
        let message = "has no place in this org: name a product that stands for discounts under orders.discount_product, or leave it out";
        return Ok(Err(Invalid::new(format!("{path}.label"), message)));
    }
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
    let by = |id| promotions::promotion(shelf.connection, shelf.store, shelf.visitor, &moment, id);
    let found = by(id)?;
    // A coupon that no field takes is told by its own promotion.
    let coupon_alone = charge.coupon.is_some() && !places.coupon_field && id.is_some();
    if found.is_some() && coupon_alone && by(None)?.as_deref() != id {
        return wrong(
            "coupon",
            "is not that of the promotion: leave it out, or name a text field of Order for it as \"order.coupon\" under orders.map",
        );
    }
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

fn line(entry: &Entry, charge: &Charge, unit_price: Decimal) -> Line {
    Line {
        pricebook_entry_id: entry.id.clone(),
        quantity: Decimal::ONE,
        unit_price,
        description: charge.label.clone(),
        ..Line::default()
    }
}

/// The product that stands for shipping or for discounts. Only the configuration designates it: any other product would
/// pass by the rules that items are judged by.
struct StandIn<'a> {
    /// Its code, where there is one.
    configured: Option<&'a str>,
    /// The key of the configuration.
    key: &'static str,
    what: &'static str,
    /// Of the charge.
    path: &'a str,
}

impl StandIn<'_> {
    /// What the price book in effect has for it; `None` where no product stands for the charge.
    fn entry(&self, shelf: &Shelf<'_>, charge: &Charge) -> Resolved<Option<Entry>> {
        let Some(code) = self.configured else {
            return Ok(match charge.product.as_ref().map(named) {
                None => Ok(None),
                Some((member, _)) => Err(self.refusal(
                    member,
                    &format!(
                        "names a product, and none stands for {} here: leave it out, or name the product under {}",
                        self.what, self.key
                    ),
                )),
            });
        };
        let designated = shelf.ids_by_code(code)?;
        let entries = match &charge.product {
            Some(ProductReference::ProductId(id)) => vec![shelf.entry(id)?],
            Some(ProductReference::PricebookEntryId(id)) => vec![shelf.entry_by_id(id)?],
            Some(ProductReference::ProductCode(_)) | None => {
                let entries = designated.iter().map(|id| shelf.entry(id));
                entries.collect::<rusqlite::Result<_>>()?
            }
        };
        let mut entries: Vec<Entry> = entries.into_iter().flatten().collect();
        if let Some(product) = &charge.product {
            let (member, name) = named(product);
            let is_it = match product {
                ProductReference::ProductId(id) => designated.contains(id),
                ProductReference::ProductCode(named) => named == code,
                ProductReference::PricebookEntryId(_) => entries.iter().any(|entry| {
                    let id = entry.product_id.as_ref();
                    id.is_some_and(|id| designated.contains(id))
                }),
            };
            if !is_it {
                let message = format!(
                    "{name} is not the product that stands for {} here: leave it out, or name the product under {}",
                    self.what, self.key
                );
                return Ok(Err(self.refusal(member, &message)));
            }
        }
        let (member, name) = charge.product.as_ref().map_or(("product_code", code), named);
        Ok(match (entries.len(), entries.pop()) {
            (1, Some(entry)) => Ok(Some(entry)),
            (0, _) => Err(self.refusal(
                member,
                &format!(
                    "{name} has no active price in the price book in effect and in the store's currency"
                ),
            )),
            _ => Err(self.refusal(member, &format!("{name} names several products: use product_id"))),
        })
    }

    fn refusal(&self, member: &str, message: &str) -> Invalid {
        Invalid::new(format!("{}.{member}", self.path), message)
    }
}

/// The member that names a product, and what it says.
fn named(product: &ProductReference) -> (&'static str, &str) {
    match product {
        ProductReference::ProductId(id) => ("product_id", id),
        ProductReference::ProductCode(code) => ("product_code", code),
        ProductReference::PricebookEntryId(id) => ("pricebook_entry_id", id),
    }
}
