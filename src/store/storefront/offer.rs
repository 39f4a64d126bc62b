//! What a visitor is offered: decided from a product, its entry in the book in effect and its stock alone.
//!
//! The same rules decide what an order may have: [`Offer::broken`] are those that hold for anyone who asks for one
//! piece, [`broken_by`] adds those that depend on what is ordered.

use crate::model::order::Decimal;
use crate::model::order::rules::Rule;

/// An active entry of a price book, with the book's texts where it has none of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub product_id: Option<String>,
    /// What is to be paid: the sale price where there is one.
    pub price: Option<Decimal>,
    pub list_price: Option<Decimal>,
    pub currency: Option<String>,
    pub hide_price: bool,
    pub hide_price_text: Option<String>,
    pub restricted: bool,
    pub restricted_text: Option<String>,
    pub listed_if_restricted: bool,
    pub bundle_only: bool,
    pub quantity_max: Option<i64>,
    pub tax_method: Option<String>,
}

/// What of the product matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The store's catalogue does not lead to it.
    pub is_elsewhere: bool,
    /// Its store is switched off.
    pub is_store_disabled: bool,
    /// It stands for its variants.
    pub is_master: bool,
    /// `available_on` is still to come.
    pub is_early: bool,
    /// `discontinue_on` has passed.
    pub is_over: bool,
    /// The product that this one stands in for.
    pub is_placeholder: bool,
    /// The product that it stands in for is hidden from this visitor.
    pub is_needed_as_placeholder: bool,
    /// Another stands in for this one while it is restricted.
    pub has_placeholder: bool,
    /// The visitor's account may buy it though it is restricted.
    pub is_approved: bool,
    pub stock: Option<Stock>,
}

/// Stock of a product whose stock counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stock {
    /// As the org says.
    pub in_org: f64,
    /// What orders hold of it that the org does not know yet.
    pub held: f64,
    pub backorderable: bool,
}

impl Stock {
    /// What is left to order. What is held takes it to zero and not below.
    pub fn available(&self) -> f64 {
        (self.in_org - self.held).max(self.in_org.min(0.0))
    }
}

/// What a visitor sees and may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    pub price: Option<Decimal>,
    pub list_price: Option<Decimal>,
    /// Shown in place of a price.
    pub price_text: Option<String>,
    pub restricted: bool,
    /// The rules that keep it from being bought; the first is the one that is told.
    pub broken: Vec<Rule>,
}

impl Offer {
    pub fn is_shown(&self) -> bool {
        !self.broken.contains(&Rule::Hidden)
    }

    /// Why it cannot be bought.
    pub fn reason(&self) -> Option<&'static str> {
        self.broken.first().map(|rule| rule.word())
    }
}

/// Decides.
pub fn offer(entry: Option<&Entry>, facts: &Facts, unavailable_text: Option<&str>) -> Offer {
    let broken = broken(entry, facts);
    let Some(entry) = entry else {
        return Offer {
            price_text: unavailable_text.map(str::to_owned),
            broken,
            ..Offer::default()
        };
    };
    let restricted = broken.contains(&Rule::Restricted);
    let price_text = if restricted {
        entry.restricted_text.clone()
    } else if entry.hide_price {
        Some(entry.hide_price_text.clone().unwrap_or_else(|| "POA".to_owned()))
    } else {
        None
    };
    Offer {
        price: entry.price.filter(|_| price_text.is_none()),
        list_price: entry.list_price.filter(|_| price_text.is_none()),
        price_text,
        restricted,
        broken,
    }
}

/// The rules that hold for anyone who asks for one piece.
fn broken(entry: Option<&Entry>, facts: &Facts) -> Vec<Rule> {
    let is = |holds: fn(&Entry) -> bool| entry.is_some_and(holds);
    let restricted = is(|entry| entry.restricted) && !facts.is_approved;
    let unlisted = restricted && (!is(|entry| entry.listed_if_restricted) || facts.has_placeholder);
    let stands_aside = facts.is_placeholder && !facts.is_needed_as_placeholder;
    let sold_out = |stock: &Stock| stock.available() <= 0.0 && !stock.backorderable;
    let rules = [
        (Rule::Hidden, facts.is_elsewhere || unlisted || stands_aside),
        (Rule::StoreDisabled, facts.is_store_disabled),
        (Rule::NoPrice, entry.is_none()),
        (Rule::Restricted, restricted),
        (Rule::NotYetAvailable, facts.is_early),
        (Rule::Discontinued, facts.is_over),
        (Rule::PriceOnApplication, is(|entry| entry.hide_price)),
        (Rule::BundleOnly, is(|entry| entry.bundle_only)),
        (Rule::Master, facts.is_master),
        (Rule::OutOfStock, facts.stock.as_ref().is_some_and(sold_out)),
        (Rule::NoPrice, is(|entry| entry.price.is_none())),
    ];
    let holding = rules.into_iter().filter(|(_, holds)| *holds);
    holding.map(|(rule, _)| rule).collect()
}

/// What is ordered of a product.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of all items of the order that name the product.
    pub quantity: Decimal,
    /// The price that has to be the one that is shown.
    pub stated_price: Option<Decimal>,
}

/// The rules that an order breaks with what it wants of a product.
pub fn broken_by(offer: &Offer, entry: &Entry, stock: Option<&Stock>, wanted: &Wanted) -> Vec<Rule> {
    let mut broken = offer.broken.clone();
    let exceeds = |most: f64| Decimal::from_real(most).is_some_and(|most| wanted.quantity > most);
    let is_short = |stock: &Stock| !stock.backorderable && exceeds(stock.available());
    let rules = [
        (Rule::OutOfStock, stock.is_some_and(is_short)),
        (
            Rule::Quantity,
            entry.quantity_max.is_some_and(|most| exceeds(most as f64)),
        ),
        (
            Rule::Price,
            wanted
                .stated_price
                .is_some_and(|stated| Some(stated) != entry.price),
        ),
    ];
    for (rule, holds) in rules {
        if holds && !broken.contains(&rule) {
            broken.push(rule);
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            price: Decimal::parse("5"),
            list_price: Decimal::parse("6"),
            listed_if_restricted: true,
            ..Entry::default()
        }
    }

    fn told(entry: Option<&Entry>, facts: &Facts) -> String {
        let offer = offer(entry, facts, Some("gone"));
        if !offer.is_shown() {
            return "hidden".to_owned();
        }
        let price = offer.price.map_or("-".to_owned(), |price| price.to_string());
        let text = offer.price_text.as_deref().unwrap_or_default();
        format!("{price} {text} {}", offer.reason().unwrap_or("buy"))
    }

    fn check(cases: &[(Option<&Entry>, Facts, &str)]) {
        for (entry, facts, expected) in cases {
            assert_eq!(told(*entry, facts), *expected, "{entry:?} {facts:?}");
        }
    }

    /// Facts with one more.
    fn with(change: impl FnOnce(&mut Facts)) -> Facts {
        let mut facts = Facts::default();
        change(&mut facts);
        facts
    }

    /// An entry with one more.
    fn which(from: &Entry, change: impl FnOnce(&mut Entry)) -> Entry {
        let mut entry = from.clone();
        change(&mut entry);
        entry
    }

    #[test]
    fn an_offer_follows_product_and_stock() {
        let stock = |in_org, backorderable| stocked(in_org, 0.0, backorderable);
        let stands_in = with(|facts| facts.is_placeholder = true);
        let needed = with(|facts| (facts.is_placeholder, facts.is_needed_as_placeholder) = (true, true));
        check(&[
            (Some(&entry()), Facts::default(), "5  buy"),
            (None, Facts::default(), "- gone no_price"),
            (
                Some(&entry()),
                with(|facts| facts.is_early = true),
                "5  not_yet_available",
            ),
            (
                Some(&entry()),
                with(|facts| facts.is_over = true),
                "5  discontinued",
            ),
            (Some(&entry()), stands_in, "hidden"),
            (Some(&entry()), needed, "5  buy"),
            (Some(&entry()), stock(0.0, false), "5  out_of_stock"),
            (Some(&entry()), stock(0.0, true), "5  buy"),
            (Some(&entry()), stock(1.0, false), "5  buy"),
            (Some(&entry()), stocked(2.0, 2.0, false), "5  out_of_stock"),
            (Some(&entry()), stocked(2.0, 1.0, false), "5  buy"),
            (Some(&entry()), with(|facts| facts.is_elsewhere = true), "hidden"),
            (Some(&entry()), with(|facts| facts.is_master = true), "5  master"),
        ]);
    }

    fn stocked(in_org: f64, held: f64, backorderable: bool) -> Facts {
        let stock = Stock {
            in_org,
            held,
            backorderable,
        };
        with(|facts| facts.stock = Some(stock))
    }

    #[test]
    fn what_is_held_takes_stock_to_zero_and_not_below() {
        for (in_org, held, available) in [
            (5.0, 2.0, 3.0),
            (5.0, 5.0, 0.0),
            (5.0, 9.0, 0.0),
            (-3.0, 0.0, -3.0),
            (-3.0, 2.0, -3.0),
        ] {
            let stock = Stock {
                in_org,
                held,
                backorderable: false,
            };
            assert_eq!(stock.available(), available, "{in_org} {held}");
        }
    }

    #[test]
    fn an_order_breaks_the_rules_of_the_offer_and_those_of_its_own() {
        let capped = which(&entry(), |entry| entry.quantity_max = Some(4));
        let poa = which(&capped, |entry| entry.hide_price = true);
        let none = Facts::default();
        let early = with(|facts| facts.is_early = true);
        for (entry, facts, quantity, stated, expected) in [
            (&capped, none.clone(), "4", None, ""),
            (&capped, none.clone(), "4.01", None, "quantity"),
            (&capped, none.clone(), "1", Some("5"), ""),
            (&capped, none.clone(), "1", Some("4.99"), "price"),
            (&capped, stocked(3.0, 0.0, false), "3", None, ""),
            (&capped, stocked(3.0, 1.0, false), "3", None, "out_of_stock"),
            (&capped, stocked(3.0, 1.0, true), "3", None, ""),
            (&capped, stocked(0.0, 0.0, false), "1", None, "out_of_stock"),
            (
                &capped,
                stocked(3.0, 0.0, false),
                "5",
                Some("1"),
                "out_of_stock quantity price",
            ),
            (
                &poa,
                early,
                "5",
                None,
                "not_yet_available price_on_application quantity",
            ),
        ] {
            let offer = offer(Some(entry), &facts, None);
            let wanted = Wanted {
                quantity: Decimal::parse(quantity).unwrap(),
                stated_price: stated.and_then(Decimal::parse),
            };
            let broken = broken_by(&offer, entry, facts.stock.as_ref(), &wanted);
            let words: Vec<&str> = broken.into_iter().map(Rule::word).collect();
            assert_eq!(words.join(" "), expected, "{facts:?} {quantity} {stated:?}");
        }
    }

    #[test]
    fn an_offer_follows_the_entry() {
        let approved = with(|facts| facts.is_approved = true);
        let replaced = with(|facts| facts.has_placeholder = true);
        let restricted = which(&entry(), |entry| entry.restricted = true);
        let worded = which(&restricted, |entry| {
            entry.restricted_text = Some("Ask us".to_owned())
        });
        let unlisted = which(&restricted, |entry| entry.listed_if_restricted = false);
        let hidden = which(&entry(), |entry| entry.hide_price = true);
        let hidden_text = which(&hidden, |entry| entry.hide_price_text = Some("Call".to_owned()));
        let bundle = which(&entry(), |entry| entry.bundle_only = true);
        check(&[
            (Some(&restricted), Facts::default(), "5  restricted"),
            (Some(&worded), Facts::default(), "- Ask us restricted"),
            (Some(&unlisted), Facts::default(), "hidden"),
            (Some(&restricted), approved.clone(), "5  buy"),
            (Some(&unlisted), approved, "5  buy"),
            (Some(&restricted), replaced, "hidden"),
            (Some(&hidden), Facts::default(), "- POA price_on_application"),
            (
                Some(&hidden_text),
                Facts::default(),
                "- Call price_on_application",
            ),
            (Some(&bundle), Facts::default(), "5  bundle_only"),
        ]);
    }
}
