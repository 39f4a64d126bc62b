//! People and what they bought: accounts, contacts, past orders with items, and a few rows of service and sales.

use anyhow::{Context, Result};

use super::super::value::{RecordId, Value};
use super::stores::Store;
use super::words::{FIRST_NAMES, LAST_NAMES, STATES, STREETS};
use super::{DAY_MILLIS, Sower, id, number, text, yes};

const CUSTOMERS: usize = 24;
const ORDERS: usize = 40;

struct Customer {
    account: RecordId,
    contact: RecordId,
}

pub fn sow(sower: &mut Sower<'_>, stores: &[Store], products: usize) -> Result<()> {
    let mut customers = Vec::new();
    for at in 1..=CUSTOMERS {
        sower.pass(DAY_MILLIS);
        let Some(store) = stores.get(at % stores.len().max(1)) else {
            break;
        };
        sower.currency = store.words.currency;
        customers.push(customer(sower, store, at)?);
    }
    if products > 0 && !customers.is_empty() {
        for at in 1..=ORDERS {
            sower.pass(DAY_MILLIS * 2);
            let store = &stores[at % stores.len()];
            sower.currency = store.words.currency;
            order(sower, store, &customers[at % customers.len()], at)?;
        }
    }
    sower.currency = super::ORG_CURRENCY;
    service(sower, &customers)
}

fn address(sower: &mut Sower<'_>, prefix: &str, store: &Store) -> Vec<(String, Option<Value>)> {
    let here: Vec<_> = STATES
        .iter()
        .filter(|(country, ..)| *country == store.words.country)
        .collect();
    let number = sower.rng.u32(1..200);
    let street = format!("{number} {}", sower.pick(&STREETS));
    let (state, postcode) = match here.is_empty() {
        true => ("", "00001"),
        false => (here[sower.rng.usize(..here.len())].1, here[0].3),
    };
    let country = &store.words.locale[3..];
    let parts = [
        ("Street", street.as_str()),
        ("City", "Springfield"),
        ("State", state),
        ("PostalCode", postcode),
        ("Country", country),
    ];
    let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
    parts
        .map(|(part, value)| (format!("{prefix}{part}"), text(value)))
        .collect()
}

fn customer(sower: &mut Sower<'_>, store: &Store, at: usize) -> Result<Customer> {
    let (first, last) = (sower.pick(&FIRST_NAMES), sower.pick(&LAST_NAMES));
    let name = format!("{first} {last}");
    let key = format!("C-{at}");
    let billing = address(sower, "Billing", store);
    let mut row = vec![
        ("Name", text(name.as_str())),
        ("External_ID__c", text(key.as_str())),
        ("Type", text("Customer - Direct")),
        ("Phone", text(format!("+61 2 5550 {at:04}"))),
        ("AccountSource", text("Web")),
        ("s_c__Active__c", yes()),
    ];
    row.extend(billing.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let account = sower.row("Account", &row)?;
    let mailing = address(sower, "Mailing", store);
    let mut row = vec![
        ("AccountId", id(account)),
        ("FirstName", text(first)),
        ("LastName", text(last)),
        ("Name", text(name)),
        ("External_ID__c", text(key)),
        ("Email", text(format!("customer{at}@mail.example"))),
        ("LeadSource", text("Web")),
        ("s_c__Store_Id__c", id(store.id)),
        ("s_c__Can_Use_Account_Pricing__c", yes()),
    ];
    row.extend(mailing.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let contact = sower.row("Contact", &row)?;
    Ok(Customer { account, contact })
}

fn order(sower: &mut Sower<'_>, store: &Store, customer: &Customer, at: usize) -> Result<()> {
    let lines = lines(sower, store)?;
    let total: f64 = lines.iter().map(|line| line.quantity * line.price).sum();
    let key = format!("PAST-{at}");
    let activated = !at.is_multiple_of(3);
    let day = sower.moment.div_euclid(DAY_MILLIS) * DAY_MILLIS;
    let shipping = address(sower, "Shipping", store);
    let mut row = vec![
        ("AccountId", id(customer.account)),
        ("Pricebook2Id", id(store.book)),
        ("EffectiveDate", Some(Value::Date(day))),
        ("Status", text(if activated { "Activated" } else { "Draft" })),
        ("StatusCode", text(if activated { "Activated" } else { "Draft" })),
        ("Type", text("Online")),
        ("BillToContactId", id(customer.contact)),
        ("ShipToContactId", id(customer.contact)),
        ("OrderReferenceNumber", text(key.as_str())),
        ("External_ID__c", text(key.as_str())),
        ("TotalAmount", number((total * 100.0).round() / 100.0)),
        ("s_c__Store_Id__c", id(store.id)),
        ("s_c__Checkout_Step__c", text("complete")),
    ];
    row.extend(
        shipping
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    );
    let order = sower.row("Order", &row)?;
    for (number_of_line, line) in lines.iter().enumerate() {
        sower.row(
            "OrderItem",
            &[
                ("OrderId", id(order)),
                ("PricebookEntryId", id(line.entry)),
                ("Product2Id", id(line.product)),
                ("Quantity", number(line.quantity)),
                ("AvailableQuantity", number(line.quantity)),
                ("UnitPrice", number(line.price)),
                ("ListPrice", number(line.price)),
                (
                    "TotalPrice",
                    number((line.quantity * line.price * 100.0).round() / 100.0),
                ),
                ("External_ID__c", text(format!("{key}-{}", number_of_line + 1))),
            ],
        )?;
    }
    Ok(())
}

struct Line {
    entry: RecordId,
    product: RecordId,
    quantity: f64,
    price: f64,
}

/// One to four products that the store sells.
fn lines(sower: &mut Sower<'_>, store: &Store) -> Result<Vec<Line>> {
    let object = sower.object("PricebookEntry")?;
    let position = |name: &str| object.field(name).context("a price book entry has its fields");
    let (book_at, product_at, price_at) = (
        position("Pricebook2Id")?,
        position("Product2Id")?,
        position("UnitPrice")?,
    );
    let product = sower.object("Product2")?;
    let wanted = sower.rng.usize(1..=4);
    let mut lines: Vec<Line> = Vec::new();
    for counter in (0..wanted * 3).map(|_| sower.rng.u64(1..=20)).collect::<Vec<_>>() {
        let bought = RecordId::new(product.key_prefix, counter);
        if lines.len() == wanted || lines.iter().any(|line| line.product == bought) {
            continue;
        }
        let entries = sower
            .records
            .children(object.index, product_at, bought)
            .into_iter();
        let entry = entries.filter_map(|entry| sower.records.get(object.index, entry));
        let entry = entry
            .into_iter()
            .find(|entry| entry.get(book_at) == Some(&Value::Id(store.book)));
        let found = entry.and_then(|entry| Some((entry.id(), entry.get(price_at)?.as_f64()?)));
        if let Some((entry, price)) = found {
            lines.push(Line {
                entry,
                product: bought,
                quantity: f64::from(sower.rng.u32(1..4)),
                price,
            });
        }
    }
    Ok(lines)
}

fn service(sower: &mut Sower<'_>, customers: &[Customer]) -> Result<()> {
    let campaign = sower.row(
        "Campaign",
        &[
            ("Name", text("Newsletter")),
            ("Type", text("Newsletter")),
            ("Status", text("In Progress")),
            ("IsActive", yes()),
        ],
    )?;
    for customer in customers.iter().take(3) {
        sower.row(
            "CampaignMember",
            &[("CampaignId", id(campaign)), ("ContactId", id(customer.contact))],
        )?;
        sower.row(
            "Case",
            &[
                ("AccountId", id(customer.account)),
                ("ContactId", id(customer.contact)),
                ("Subject", text("Where is my parcel?")),
                ("Origin", text("Web")),
            ],
        )?;
    }
    let lead = [
        ("FirstName", text("Lou")),
        ("LastName", text("Fisher")),
        ("Name", text("Lou Fisher")),
        ("Company", text("Fisher & Daughters")),
        ("Email", text("lou@fisher.example")),
    ];
    sower.row("Lead", &lead)?;
    Ok(())
}
