//! What intake asks of a body, asked of a body that is kept: a person may have edited it.

use serde_json::{Map, Value};

use crate::model::clock;
use crate::model::order::Decimal;
use crate::model::order::members::{self, Invalid, Members};
use crate::model::write::Kind;
use crate::model::write::kinds::{self, Form, Person, Spec};
use crate::model::write::parse;

/// Most values of a list: those of an order's items are bounded by intake.
const LIST_MAX: usize = 10_000;

/// What of a kept body intake would have refused.
pub fn kept(kind: Kind, body: &Value) -> Result<(), Invalid> {
    let members = Members::of(body, "")?;
    for name in ["shipping_address", "billing_address"] {
        if let Some(address) = members.object(name)? {
            members::parts_of(&address)?;
            emptied(&address, &members::ADDRESS)?;
        }
    }
    members::fields(&members)?;
    match kinds::spec(kind) {
        None if kind == Kind::Order => order(&members),
        None => payment(&members),
        Some(spec) => entry(spec, &members),
    }
}

/// What a change empties has to be there to be emptied.
fn emptied(members: &Members<'_>, known: &[&str]) -> Result<(), Invalid> {
    for (value, path) in members.list("emptied", known.len())? {
        if !value.as_str().is_some_and(|name| known.contains(&name)) {
            return Err(Invalid::new(path, format!("must be one of {}", known.join(", "))));
        }
    }
    Ok(())
}

fn order(members: &Members<'_>) -> Result<(), Invalid> {
    members::customer(members)?;
    members::currency(members)?;
    if let Some(date) = members.text("effective_date")?
        && clock::parse_date(&date).is_none()
    {
        return Err(members.invalid("effective_date", "must be a date such as 2026-11-22"));
    }
    for (value, path) in members.list("payments", LIST_MAX)? {
        members::payment(value, &path)?;
    }
    members.amount("tax")?;
    if let Some(shipment) = members.object("shipment")? {
        shipment.amount("amount")?;
    }
    let discounts = discount_lines(members)?;
    let lines = members.list("lines", LIST_MAX)?;
    if lines.is_empty() {
        return Err(members.invalid("lines", "is empty: an order has at least one item"));
    }
    let items = lines.len().saturating_sub(discounts);
    for (index, (value, path)) in lines.into_iter().enumerate() {
        let line = Members::of(value, &path)?;
        line.text("pricebook_entry_id")?;
        if index < items {
            line.amount("unit_price")?;
        } else {
            discount_price(&line)?;
        }
        members::fields(&line)?;
        members::quantity(&line)?;
        line.amount("tax")?;
        line.amount("discount")?;
    }
    Ok(())
}

/// How many lines stand for discounts: the last ones, whose prices are what they take off.
fn discount_lines(members: &Members<'_>) -> Result<usize, Invalid> {
    let mut lines = 0;
    for (value, path) in members.list("savings", LIST_MAX)? {
        let saving = Members::of(value, &path)?;
        saving.amount("amount")?;
        lines += usize::from(members::flag(&saving, "is_line")? == Some(true));
    }
    Ok(lines)
}

fn discount_price(line: &Members<'_>) -> Result<(), Invalid> {
    let price = line.get("unit_price").and_then(Decimal::from_json);
    match price {
        Some(price) if price.is_positive() => Err(line.invalid(
            "unit_price",
            "must not be above zero: the line stands for a discount",
        )),
        _ => Ok(()),
    }
}

fn payment(members: &Members<'_>) -> Result<(), Invalid> {
    match members.get("payment") {
        Some(value) => members::payment(value, "payment").map(drop),
        None => Ok(()),
    }
}

fn entry(spec: &Spec, members: &Members<'_>) -> Result<(), Invalid> {
    match (spec.person, members.object("customer")?) {
        (Person::Itself, Some(person)) => {
            members::person(&person)?;
            emptied(&person, &parse::EMPTIED)?;
        }
        (Person::Required, _) | (Person::Optional, Some(_)) => drop(members::customer(members)?),
        _ => {}
    }
    let none = Map::new();
    let values = members.object("values")?.unwrap_or(Members {
        path: "values".to_owned(),
        map: &none,
    });
    for member in spec.members {
        let name = member.name;
        if member.required && values.get(name).is_none() {
            return Err(values.invalid(name, "is missing"));
        }
        match member.form {
            Form::Text => drop(values.text(name)?),
            Form::Email => drop(values.email(name)?),
            Form::Id => drop(values.id(name)?),
            Form::Date => drop(members::date(&values, name)?),
            Form::Flag => drop(members::flag(&values, name)?),
            Form::Decimal => {
                let amount = values.get(name).map(Decimal::from_json);
                if amount.is_some_and(|amount| amount.is_none_or(Decimal::is_negative)) {
                    return Err(values.invalid(name, "must be a number that is not below zero"));
                }
            }
        }
    }
    Ok(())
}
