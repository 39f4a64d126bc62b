//! Turns the items of an order into lines for the org, by the same look that products are shown with.
//!
//! An item is refused for the reason that its customer was shown, unless the configuration has such orders taken. Items
//! of one product count together for stock and for the most that an order may have.

use std::collections::HashMap;

use crate::model::order::parse::Invalid;
use crate::model::order::rules::{Policy, Rule};
use crate::model::order::{Decimal, Item, Line, Order, Pricing, ProductReference, Saving, Shipment};
use crate::store::outbox::Limit;
use crate::store::storefront::charges;
use crate::store::storefront::offer::{self, Wanted};
use crate::store::storefront::shelf::{Seen, Shelf};
use crate::store::storefront::visitor::Approval;

/// What an order comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Basket {
    /// Its items, then the products that stand for shipping and discounts.
    pub lines: Vec<Line>,
    pub shipment: Option<Shipment>,
    pub savings: Vec<Saving>,
    /// The rules that it breaks and is taken in spite of: `item 3 (out_of_stock)`.
    pub marks: Vec<String>,
    /// How much of its products orders may hold.
    pub limits: Vec<Limit>,
}

/// What an order of this shelf's visitor comes to, or what is wrong with it.
pub fn resolve(
    shelf: &Shelf<'_>,
    order: &Order,
    pricing: &Pricing<'_>,
) -> rusqlite::Result<Result<Basket, Invalid>> {
    let mut found = Vec::with_capacity(order.items.len());
    for (index, item) in order.items.iter().enumerate() {
        match find(shelf, &item.product, index)? {
            Ok(seen) => found.push(seen),
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
    let mut quantities: HashMap<&str, Decimal> = HashMap::new();
    for (item, seen) in order.items.iter().zip(&found) {
        let sum = quantities.entry(&seen.product_id).or_default();
        *sum = [*sum, item.quantity].into_iter().sum();
    }
    let mut basket = Basket::default();
    for (index, (item, seen)) in order.items.iter().zip(&found).enumerate() {
        let judged = Judged {
            item,
            seen,
            quantity: quantities[seen.product_id.as_str()],
            index,
        };
        if let Err(invalid) = judged.add_to(&mut basket, pricing) {
            return Ok(Err(invalid));
        }
    }
    Ok(
        charges::resolve(shelf, order, &basket.lines, pricing)?.map(|charges| {
            basket.lines.extend(charges.lines);
            Basket {
                shipment: charges.shipment,
                savings: charges.savings,
                ..basket
            }
        }),
    )
}

/// The product that an item names.
fn find(
    shelf: &Shelf<'_>,
    product: &ProductReference,
    index: usize,
) -> rusqlite::Result<Result<Seen, Invalid>> {
    let (member, named, seen) = match product {
        ProductReference::ProductId(id) => ("product_id", id, shelf.see(id)?),
        ProductReference::PricebookEntryId(id) => ("pricebook_entry_id", id, shelf.by_entry(id)?),
        ProductReference::ProductCode(code) => {
            let mut all = shelf.by_code(code)?;
            // A code that the store shows once is that product's, whoever else has it.
            if all.iter().any(|seen| seen.offer.is_shown()) {
                all.retain(|seen| seen.offer.is_shown());
            }
            if all.len() > 1 {
                let message = format!("{code} names several products of the store: use product_id");
                return Ok(Err(Invalid::new(format!("items[{index}].product_code"), message)));
            }
            ("product_code", code, all.pop())
        }
    };
    Ok(seen.ok_or_else(|| {
        let message = match product {
            ProductReference::PricebookEntryId(_) => {
                format!(
                    "{named} is no active entry of the price book in effect for this customer: use product_id"
                )
            }
            _ => format!("{named} is no active product of the org"),
        };
        Invalid::new(format!("items[{index}].{member}"), message)
    }))
}

/// An item and what the customer is shown of its product.
struct Judged<'a> {
    item: &'a Item,
    seen: &'a Seen,
    /// Of all items of the order that name the product.
    quantity: Decimal,
    index: usize,
}

impl Judged<'_> {
    /// Adds the item's line, unless a rule forbids it.
    fn add_to(&self, basket: &mut Basket, pricing: &Pricing<'_>) -> Result<(), Invalid> {
        let Some(entry) = &self.seen.entry else {
            let is_refused = |rule: &Rule| pricing.rules.policy(*rule) == Policy::Refuse;
            let first = self.seen.offer.broken.iter().copied().find(is_refused);
            return Err(self.refusal(first.unwrap_or(Rule::NoPrice)));
        };
        let wanted = Wanted {
            quantity: self.quantity,
            stated_price: self.item.unit_price.filter(|_| pricing.book_only),
        };
        let broken = offer::broken_by(&self.seen.offer, entry, self.seen.stock().as_ref(), &wanted);
        for rule in broken {
            match pricing.rules.policy(rule) {
                Policy::Refuse => return Err(self.refusal(rule)),
                Policy::Take => {}
                Policy::TakeAndMark => {
                    // People number items from 1, as their keys in the org do.
                    let mark = format!("item {} ({})", self.index + 1, rule.word());
                    basket.marks.push(mark);
                }
            }
        }
        let Some(unit_price) = self.item.unit_price.or(entry.price) else {
            return Err(self.refusal(Rule::NoPrice));
        };
        let holds = self.seen.stock().map(|_| self.seen.product_id.clone());
        basket.lines.push(Line {
            pricebook_entry_id: entry.id.clone(),
            quantity: self.item.quantity,
            unit_price,
            tax: self.item.tax,
            discount: self.item.discount,
            description: None,
            holds,
            approval: self.approval().map(|(id, _)| id.to_owned()),
            fields: self.item.fields.clone(),
        });
        self.limit(basket, pricing);
        Ok(())
    }

    /// Orders that arrive together are told apart where they are written down: by the stock that this one was shown.
    fn limit(&self, basket: &mut Basket, pricing: &Pricing<'_>) {
        let mut limit = |id: &str, most: f64, rule: Rule| {
            let is_there = basket.limits.iter().any(|limit| limit.product_id == *id);
            if pricing.rules.policy(rule) == Policy::Refuse && !is_there {
                basket.limits.push(Limit::new(id, most));
            }
        };
        if let Some((id, in_org)) = self.approval() {
            limit(id, in_org, Rule::Quantity);
        }
        let stock = self.seen.stock().filter(|stock| !stock.backorderable);
        if let Some(stock) = stock {
            limit(&self.seen.product_id, stock.in_org, Rule::OutOfStock);
        }
    }

    /// The record by which the account may buy no more than so many.
    fn approval(&self) -> Option<(&str, f64)> {
        match &self.seen.approval {
            Some(Approval::Limited { id, in_org, .. }) => Some((id, *in_org)),
            _ => None,
        }
    }

    fn refusal(&self, rule: Rule) -> Invalid {
        let left = self.seen.stock().map_or(0.0, |stock| stock.available().max(0.0));
        let most = self.seen.entry.as_ref().and_then(|entry| entry.quantity_max);
        let sentence = match rule {
            Rule::Hidden => "is not shown to this customer in the store: take it out of the order".to_owned(),
            Rule::StoreDisabled => "cannot be ordered, because the store is switched off in the org: switch it on, or say under [orders.rules] store_disabled that orders are taken".to_owned(),
            Rule::NoPrice => "has no active price in the price book in effect and in the store's currency: take it out of the order, or give it a price in the org".to_owned(),
            Rule::Restricted => "is restricted and the customer's account is not approved for it: take it out of the order, or have the account approved in the org".to_owned(),
            Rule::NotYetAvailable => "is not available yet: take it out of the order".to_owned(),
            Rule::Discontinued => "is discontinued: take it out of the order".to_owned(),
            Rule::PriceOnApplication => "has a price on application only: take it out of the order".to_owned(),
            Rule::BundleOnly => "is sold as a part of bundles only: take it out of the order".to_owned(),
            Rule::Master => "stands for its variants: order one of them".to_owned(),
            Rule::OutOfStock => format!("is out of stock: {left} can be ordered and {} are wanted; order less of it, or take it out", self.quantity),
            Rule::Quantity => format!("is more than an order may have: at most {} can be ordered and {} are wanted", most.unwrap_or(0), self.quantity),
            Rule::Price => format!("is not the price that is shown: {}; show the shopper the new price, or leave unit_price out", self.seen.entry.as_ref().and_then(|entry| entry.price).unwrap_or_default()),
        };
        let member = match rule {
            Rule::Quantity => ".quantity",
            Rule::Price => ".unit_price",
            _ => "",
        };
        Invalid::broken(format!("items[{}]{member}", self.index), rule, sentence)
    }
}
