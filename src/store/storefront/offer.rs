//! What a visitor is offered: decided from a product, its entry in the book in effect and its stock alone.

use crate::model::order::Decimal;

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
    pub available: f64,
    pub backorderable: bool,
}

/// What a visitor sees and may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    pub shown: bool,
    pub price: Option<Decimal>,
    pub list_price: Option<Decimal>,
    /// Shown in place of a price.
    pub price_text: Option<String>,
    pub restricted: bool,
    pub purchasable: bool,
    /// Why it cannot be bought.
    pub reason: Option<&'static str>,
}

/// Decides.
pub fn offer(entry: Option<&Entry>, facts: &Facts, unavailable_text: Option<&str>) -> Offer {
    let restricted = entry.is_some_and(|entry| entry.restricted) && !facts.is_approved;
    if facts.is_placeholder && !facts.is_needed_as_placeholder {
        return Offer::default();
    }
    let Some(entry) = entry else {
        return Offer {
            shown: true,
            price_text: unavailable_text.map(str::to_owned),
            reason: Some("no_price"),
            ..Offer::default()
        };
    };
    if restricted {
        let text = entry.restricted_text.clone();
        return Offer {
            shown: entry.listed_if_restricted && !facts.has_placeholder,
            price: entry.price.filter(|_| text.is_none()),
            list_price: entry.list_price.filter(|_| text.is_none()),
            price_text: text,
            restricted: true,
            purchasable: false,
            reason: Some("restricted"),
        };
    }
    let sold_out = |stock: &Stock| stock.available <= 0.0 && !stock.backorderable;
    let reasons = [
        (facts.is_early, "not_yet_available"),
        (facts.is_over, "discontinued"),
        (entry.hide_price, "price_on_application"),
        (entry.bundle_only, "bundle_only"),
        (facts.stock.as_ref().is_some_and(sold_out), "out_of_stock"),
        (entry.price.is_none(), "no_price"),
    ];
    let reason = reasons
        .iter()
        .find(|(holds, _)| *holds)
        .map(|(_, reason)| *reason);
    let hidden = entry.hide_price;
    Offer {
        shown: true,
        price: entry.price.filter(|_| !hidden),
        list_price: entry.list_price.filter(|_| !hidden),
        price_text: hidden.then(|| entry.hide_price_text.clone().unwrap_or_else(|| "POA".to_owned())),
        restricted: false,
        purchasable: reason.is_none(),
        reason,
    }
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
        if !offer.shown {
            return "hidden".to_owned();
        }
        let price = offer.price.map_or("-".to_owned(), |price| price.to_string());
        let text = offer.price_text.unwrap_or_default();
        format!("{price} {text} {}", offer.reason.unwrap_or("buy"))
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
        let stock = |available, backorderable| {
            let stock = Stock {
                available,
                backorderable,
            };
            with(|facts| facts.stock = Some(stock))
        };
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
        ]);
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
