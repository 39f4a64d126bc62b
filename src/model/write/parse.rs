//! Reads what is posted besides orders, by the table of [`super::kinds`], and says what is wrong with it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::order::members::{self, Invalid, Members, check_own_key, refuse_cards};
use crate::model::order::{Address, Decimal, Emptied};
use crate::model::write::kinds::{self, Form, Member, Person, Spec};
use crate::model::write::{Answer, Entry};

/// Most answers of one form.
const ANSWERS_MAX: usize = 200;

/// Reads a write of a kind. `key` stands in for `external_id` where the body has none.
pub fn entry(spec: &Spec, value: &Value, key: Option<&str>) -> Result<Entry, Invalid> {
    refuse_cards(value)?;
    let members = Members::of(value, "")?;
    let itself = spec.person == Person::Itself;
    let mut known: Vec<&str> = vec!["external_id", "fields"];
    known.extend(spec.members.iter().map(|member| member.name));
    known.extend(itself.then_some(members::CUSTOMER).into_iter().flatten());
    known.extend(
        itself
            .then_some(["shipping_address", "billing_address"])
            .into_iter()
            .flatten(),
    );
    known.extend((!matches!(spec.person, Person::None | Person::Itself)).then_some("customer"));
    known.extend(spec.address.map(|_| "address"));
    known.extend((!spec.order_field.is_empty()).then_some("order_external_id"));
    known.extend(spec.answers.then_some("answers"));
    members.only(&known)?;
    let customer = match spec.person {
        Person::None => None,
        Person::Itself => Some(members::person(&members)?),
        Person::Optional if members.get("customer").is_none() => None,
        Person::Optional | Person::Required => Some(members::customer(&members)?),
    };
    if itself
        && customer
            .as_ref()
            .is_none_or(|customer| customer.external_id.is_none())
    {
        return Err(Invalid::new(
            "external_id",
            "is missing: give the customer a key of its own",
        ));
    }
    Ok(Entry {
        external_id: own_key(&members, key, itself)?,
        store_id: String::new(),
        customer,
        named: None,
        order: if spec.order_field.is_empty() {
            None
        } else {
            members.key("order_external_id")?
        },
        values: values(spec, &members)?,
        shipping_address: match (itself, spec.address) {
            (true, _) => members::address(&members, "shipping_address")?,
            (false, Some(_)) => members::address(&members, "address")?,
            (false, None) => None,
        },
        billing_address: if itself {
            members::address(&members, "billing_address")?
        } else {
            None
        },
        payment: None,
        answers: if spec.answers {
            answers(&members)?
        } else {
            Vec::new()
        },
        fields: members::fields(&members)?,
    })
}

/// What a change of a customer may empty besides the values of the profile.
pub const EMPTIED: [&str; 2] = ["first_name", "phone"];

/// A change of a customer, who is named beside it. Null and blank text empty a field of the org.
pub fn customer_change(mut value: Value, customer: String, key: &str) -> Result<Entry, Invalid> {
    if let Some(members) = value.as_object_mut() {
        for name in ["external_id", "salesforce_id"] {
            let is_other = |other: &Value| !other.is_null() && *other != *customer;
            if members.get(name).is_some_and(is_other) {
                return Err(Invalid::new(
                    name,
                    "is told by the address of the customer: leave it out",
                ));
            }
        }
        members.insert("external_id".to_owned(), customer.into());
    }
    let mut entry = entry(&kinds::CUSTOMER, &value, Some(key))?;
    empty(&Members::of(&value, "")?, &mut entry)?;
    let person = entry.customer.as_ref();
    let changes = person.is_some_and(|person| {
        let is_emptied = !person.emptied.is_empty();
        [
            &person.email,
            &person.first_name,
            &person.last_name,
            &person.phone,
            &person.company,
            &person.account_external_id,
        ]
        .into_iter()
        .any(Option::is_some)
            || is_emptied
    });
    if changes || has_address(&entry) || !entry.values.is_empty() || !entry.fields.is_empty() {
        return Ok(entry);
    }
    Err(Invalid::new("", NO_CHANGE))
}

const NO_CHANGE: &str = "names nothing to change";

/// Whether a change of a customer may empty a member.
pub fn can_be_emptied(name: &str) -> bool {
    let mut values = kinds::CUSTOMER.members.iter();
    EMPTIED.contains(&name) || values.any(|member| member.name == name)
}

/// Takes up what a change of a customer empties, and refuses it of what nobody can be without.
fn empty(members: &Members<'_>, entry: &mut Entry) -> Result<(), Invalid> {
    let others = ["fields", "shipping_address", "billing_address"];
    let (of_person, of_profile): (Emptied, Emptied) = emptied(members, can_be_emptied, &others)?
        .into_iter()
        .partition(|name| EMPTIED.contains(&name.as_str()));
    if let Some(customer) = &mut entry.customer {
        customer.emptied = of_person;
    }
    let nulls = of_profile.into_iter().map(|name| (name, Value::Null));
    entry.values.extend(nulls);
    empty_addresses(members, entry)
}

/// An address that is null is none that was sent; one of its parts that is null is emptied.
fn empty_addresses(members: &Members<'_>, entry: &mut Entry) -> Result<(), Invalid> {
    for (name, address) in [
        ("shipping_address", &mut entry.shipping_address),
        ("billing_address", &mut entry.billing_address),
    ] {
        if let Some((parts, address)) = members.object(name)?.zip(address.as_mut()) {
            address.emptied = emptied(&parts, |part| members::ADDRESS.contains(&part), &[])?;
        }
    }
    Ok(())
}

/// The members that are null or blank text. `others` are not looked at.
fn emptied(
    members: &Members<'_>,
    may_be: impl Fn(&str) -> bool,
    others: &[&str],
) -> Result<Emptied, Invalid> {
    let is_blank =
        |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    let blank = members.map.iter().filter(|(_, value)| is_blank(value));
    let names = blank
        .map(|(name, _)| name.as_str())
        .filter(|name| !others.contains(name));
    names
        .map(|name| match may_be(name) {
            true => Ok(name.to_owned()),
            false => Err(members.invalid(name, "cannot be emptied: leave it out, or give a value")),
        })
        .collect()
}

/// Whether any part of an address is there.
fn has_address(entry: &Entry) -> bool {
    let addresses = [&entry.shipping_address, &entry.billing_address];
    let mut addresses = addresses.into_iter().flatten();
    addresses.any(|address| *address != Address::default())
}

/// A change of an order: exactly one of a payment, a cancellation and corrected addresses.
pub fn order_update(value: &Value, order: &str, key: Option<&str>) -> Result<Entry, Invalid> {
    refuse_cards(value)?;
    let members = Members::of(value, "")?;
    members.only(&[
        "external_id",
        "payment",
        "cancelled",
        "shipping_address",
        "billing_address",
        "fields",
    ])?;
    let payment = members
        .get("payment")
        .map(|payment| members::payment(payment, "payment"))
        .transpose()?;
    let cancelled = members.object("cancelled")?;
    let mut entry = Entry {
        external_id: own_key(&members, key, false)?,
        order: Some(order.to_owned()),
        shipping_address: members::address(&members, "shipping_address")?,
        billing_address: members::address(&members, "billing_address")?,
        fields: members::fields(&members)?,
        ..Entry::default()
    };
    let addressed = entry.shipping_address.is_some() || entry.billing_address.is_some();
    let changes = [payment.is_some(), cancelled.is_some(), addressed];
    if changes.iter().filter(|change| **change).count() != 1 {
        return Err(Invalid::new(
            "",
            "must have exactly one of payment, cancelled and the addresses",
        ));
    }
    empty_addresses(&members, &mut entry)?;
    if addressed && !has_address(&entry) {
        return Err(Invalid::new("", NO_CHANGE));
    }
    let mut values = BTreeMap::new();
    if let Some(cancelled) = cancelled {
        cancelled.only(&["reason"])?;
        values.insert("cancelled".to_owned(), Value::Bool(true));
        if let Some(reason) = cancelled.text("reason")? {
            values.insert("reason".to_owned(), reason.into());
        }
    }
    Ok(Entry {
        payment,
        values,
        ..entry
    })
}

/// The key of the write. A customer is written more than once under the customer's own: the header then tells
/// one write from another.
fn own_key(members: &Members<'_>, key: Option<&str>, itself: bool) -> Result<String, Invalid> {
    let posted = members.key("external_id")?;
    let own = if itself {
        key.map(str::to_owned).or(posted)
    } else {
        posted.or_else(|| key.map(str::to_owned))
    };
    let own = own.ok_or_else(|| {
        Invalid::new(
            "external_id",
            "is missing: give what you send a key of its own, or send Idempotency-Key",
        )
    })?;
    check_own_key(&own, "external_id")?;
    Ok(own)
}

fn values(spec: &Spec, members: &Members<'_>) -> Result<BTreeMap<String, Value>, Invalid> {
    let mut values = BTreeMap::new();
    for member in spec.members {
        match value(member, members)? {
            Some(value) => {
                values.insert(member.name.to_owned(), value);
            }
            None if member.required => return Err(members.invalid(member.name, "is missing")),
            None => {}
        }
    }
    Ok(values)
}

fn value(member: &Member, members: &Members<'_>) -> Result<Option<Value>, Invalid> {
    let name = member.name;
    Ok(match member.form {
        Form::Text => members.text(name)?.map(Value::from),
        Form::Email => members.email(name)?.map(Value::from),
        Form::Id => members.id(name)?.map(Value::from),
        Form::Date => members::date(members, name)?.map(Value::from),
        Form::Decimal => members.amount(name)?.map(Decimal::to_json_number),
        Form::Flag => members::flag(members, name)?.map(Value::Bool),
    })
}

fn answers(members: &Members<'_>) -> Result<Vec<Answer>, Invalid> {
    let answers: Vec<Answer> = members
        .list("answers", ANSWERS_MAX)?
        .iter()
        .map(|(value, path)| answer(value, path))
        .collect::<Result<_, _>>()?;
    if answers.is_empty() {
        return Err(members.invalid("answers", "is empty: a form has at least one answer"));
    }
    Ok(answers)
}

/// Several choices are joined as the org joins them.
fn answer(value: &Value, path: &str) -> Result<Answer, Invalid> {
    let members = Members::of(value, path)?;
    members.only(&["question_id", "question", "answer"])?;
    let question_id = members.id("question_id")?;
    let wrong = || members.invalid("answer", "must be text, a number, true, false or a list of text");
    let answer = match members.get("answer") {
        None => String::new(),
        Some(Value::String(_)) => members.text("answer")?.unwrap_or_default(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Some(Value::Array(choices)) => {
            let choices: Option<Vec<&str>> = choices.iter().map(Value::as_str).collect();
            choices.ok_or_else(wrong)?.join(";")
        }
        Some(_) => return Err(wrong()),
    };
    Ok(Answer {
        question_id,
        question: members.text("question")?,
        answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::write::Kind;
    use crate::model::write::kinds::spec;
    use serde_json::json;

    fn read(kind: Kind, value: &Value) -> Result<Entry, Invalid> {
        entry(spec(kind).unwrap(), value, None)
    }

    #[test]
    fn reads_each_kind() {
        let customer = json!({"external_id": "C-7", "email": "ana@example.com"});
        for (kind, value) in [
            (
                Kind::Customer,
                json!({"external_id": "C-7", "email": "ana@example.com", "birthdate": "1990-02-01", "email_opt_out": true}),
            ),
            (
                Kind::Case,
                json!({"external_id": "K", "subject": "Late", "customer": customer}),
            ),
            (
                Kind::Lead,
                json!({"external_id": "K", "last_name": "Lee", "address": {"city": "Hobart"}}),
            ),
            (
                Kind::CampaignMember,
                json!({"external_id": "K", "campaign_id": "701000000000001AAA", "customer": customer}),
            ),
            (
                Kind::Asset,
                json!({"external_id": "K", "name": "Drill", "price": "19.90", "customer": customer}),
            ),
            (
                Kind::FormSubmission,
                json!({"external_id": "K", "form_id": "a11000000000001AAA", "order_external_id": "WEB-1",
                    "answers": [{"question": "Why?", "answer": ["a", "b"]}]}),
            ),
        ] {
            let entry = read(kind, &value).unwrap();
            assert_eq!(
                entry.customer.is_some(),
                !matches!(kind, Kind::Lead | Kind::FormSubmission)
            );
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let customer = json!({"external_id": "C-7"});
        for (kind, value, field) in [
            (Kind::Customer, json!({"email": "ana@example.com"}), "external_id"),
            (
                Kind::Customer,
                json!({"external_id": "C", "email": "ana"}),
                "email",
            ),
            (
                Kind::Customer,
                json!({"external_id": "C", "birthdate": "soon"}),
                "birthdate",
            ),
            (
                Kind::Case,
                json!({"external_id": "K", "customer": customer}),
                "subject",
            ),
            (
                Kind::Case,
                json!({"external_id": "K", "subject": "s"}),
                "customer",
            ),
            (
                Kind::Case,
                json!({"external_id": "K", "subject": "s", "colour": 1}),
                "colour",
            ),
            (Kind::Lead, json!({"last_name": "Lee"}), "external_id"),
            (
                Kind::Lead,
                json!({"external_id": "K", "last_name": "4111 1111 1111 1111"}),
                "last_name",
            ),
            (
                Kind::FormSubmission,
                json!({"external_id": "K", "form_id": "a11", "answers": []}),
                "form_id",
            ),
            (
                Kind::FormSubmission,
                json!({"external_id": "K", "form_id": "a11000000000001AAA", "answers": [{"answer": {}}]}),
                "answers[0].answer",
            ),
        ] {
            assert_eq!(read(kind, &value).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn an_update_is_one_change() {
        let read = |value: Value| order_update(&value, "WEB-1", Some("U-1"));
        let paid = read(json!({"payment": {"reference": "pi_1", "amount": "5"}})).unwrap();
        assert_eq!(
            (paid.external_id.as_str(), paid.order.as_deref()),
            ("U-1", Some("WEB-1"))
        );
        assert!(read(json!({"cancelled": {"reason": "changed my mind"}})).is_ok());
        assert!(read(json!({"shipping_address": {"city": "Hobart"}})).is_ok());
        assert!(read(json!({})).is_err());
        assert!(read(json!({"cancelled": {}, "payment": {"reference": "p"}})).is_err());
    }

    #[test]
    fn a_change_empties_what_it_sends_as_null_or_blank() {
        let change = |value: Value| customer_change(value, "C-7".to_owned(), "E-1");
        let changed = change(json!({"phone": null, "first_name": " ", "title": null,
            "shipping_address": {"country": "GB", "state": null}, "billing_address": null}))
        .unwrap();
        let customer = changed.customer.unwrap();
        assert_eq!(Vec::from_iter(customer.emptied), ["first_name", "phone"]);
        assert_eq!(
            changed.values,
            BTreeMap::from([("title".to_owned(), Value::Null)])
        );
        let address = changed.shipping_address.unwrap();
        assert_eq!(
            (Vec::from_iter(address.emptied), address.country.as_deref()),
            (vec!["state".to_owned()], Some("GB"))
        );
        assert_eq!(changed.billing_address, None);
        for name in ["last_name", "email", "company", "account_external_id"] {
            assert_eq!(change(json!({name: null, "phone": "1"})).unwrap_err().field, name);
        }
        let moved = order_update(&json!({"billing_address": {"state": ""}}), "WEB-1", Some("U-1")).unwrap();
        assert_eq!(Vec::from_iter(moved.billing_address.unwrap().emptied), ["state"]);
        // Of somebody new, null is nothing.
        let new = json!({"external_id": "C-7", "last_name": "Lee", "phone": null, "shipping_address": {"state": null}});
        let new = entry(spec(Kind::Customer).unwrap(), &new, None).unwrap();
        assert_eq!(new.customer.unwrap().emptied, Emptied::new());
        assert_eq!(new.shipping_address, Some(Address::default()));
    }

    #[test]
    fn a_customer_changes_under_one_key_and_many_writes() {
        let value = json!({"external_id": "C-7", "email": "ana@example.com"});
        let spec = spec(Kind::Customer).unwrap();
        let (first, second) = (
            entry(spec, &value, None).unwrap(),
            entry(spec, &value, Some("E-2")).unwrap(),
        );
        assert_eq!(
            (first.external_id.as_str(), second.external_id.as_str()),
            ("C-7", "E-2")
        );
        assert_eq!(second.customer.unwrap().external_id.as_deref(), Some("C-7"));
    }
}
