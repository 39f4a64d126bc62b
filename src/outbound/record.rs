//! One record on its way to the org: its values, its key, and its place in a request. Pure.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::model::order::{Address, Decimal, Emptied, Fields, Problem};
use crate::outbound::shape::{Key, Writable};

/// The org does not let its user set what was sent.
pub const FIELD_NOT_WRITABLE: &str = "FIELD_NOT_WRITABLE";
/// It is not a storefront's to set.
pub const FIELD_RESERVED: &str = "FIELD_RESERVED";

/// One part of a composite or graph request.
pub struct Part<'a> {
    pub method: &'static str,
    pub url: String,
    pub reference: String,
    /// What it writes; one that only asks has none.
    pub record: Option<Record<'a>>,
    /// What a duplicate rule only warns of is saved.
    pub allows_duplicates: bool,
}

impl<'a> Part<'a> {
    pub fn of(method: &'static str, url: &str, reference: &str, record: Record<'a>) -> Self {
        Self {
            method,
            record: Some(record),
            ..Self::get(url, reference)
        }
    }

    pub fn get(url: &str, reference: &str) -> Self {
        Self {
            method: "GET",
            url: url.to_owned(),
            reference: reference.to_owned(),
            record: None,
            allows_duplicates: false,
        }
    }

    /// As the org takes it.
    pub fn into_json(self) -> Value {
        let mut json = json!({"method": self.method, "url": self.url, "referenceId": self.reference});
        if let Some(record) = self.record {
            json["body"] = record.values.into();
        }
        if self.allows_duplicates {
            json["httpHeaders"] = json!({"Sforce-Duplicate-Rule-Header": "allowSave=true"});
        }
        json
    }
}

/// The part of a write that a member stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// None: it stands in the write itself.
    Write,
    Values,
    Fields,
    Customer,
    Shipping,
    Billing,
    Payment(usize),
    Line(usize),
    LineFields(usize),
    Discount(usize),
    Answer(usize),
}

/// Which members a value is made of, so that a refusal names what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub place: Place,
    pub member: Cow<'static, str>,
    /// Joined to it.
    pub and: Option<&'static str>,
    /// The member in whose place it stands, which was not sent.
    pub instead_of: Option<&'static str>,
}

/// Values for one record, holding back those that the org would refuse.
pub struct Record<'a> {
    pub shape: &'a Writable,
    pub values: Map<String, Value>,
    /// By field, of those values that were sent. The others are made here.
    pub sources: Vec<(String, Source)>,
    /// What was sent and is not written here, with the field that the org does not let its user set, where one is named.
    pub lost: Vec<(Option<String>, Source)>,
    last: Last,
}

/// What became of the value that came last.
#[derive(Default)]
enum Last {
    /// There was none.
    #[default]
    None,
    /// It is in this field.
    Set(String),
    /// No field takes it; this one was named.
    Lost(Option<String>),
}

impl<'a> Record<'a> {
    pub fn new(shape: &'a Writable) -> Self {
        Self {
            shape,
            values: Map::new(),
            sources: Vec::new(),
            lost: Vec::new(),
            last: Last::None,
        }
    }

    fn put(&mut self, field: &str, value: impl Into<Value>) {
        self.values.insert(field.to_owned(), value.into());
        self.last = Last::Set(field.to_owned());
    }

    /// Says which member was sent for what was set last, where anything was.
    pub fn sent_as(&mut self, place: Place, member: impl Into<Cow<'static, str>>) -> &mut Self {
        self.made_of(Source {
            place,
            member: member.into(),
            and: None,
            instead_of: None,
        })
    }

    pub fn made_of(&mut self, source: Source) -> &mut Self {
        match std::mem::take(&mut self.last) {
            Last::None => {}
            Last::Set(field) => self.sources.push((field, source)),
            Last::Lost(field) => self.lost.push((field, source)),
        }
        self
    }

    /// Sets a field where the org has it and there is a value.
    pub fn set(&mut self, field: &str, value: Option<impl Into<Value>>) -> &mut Self {
        self.last = Last::None;
        match (self.shape.createable(field), value) {
            (Some(name), Some(value)) => self.put(name, value),
            (None, Some(_)) => self.last = Last::Lost(Some(field.to_owned())),
            (_, None) => {}
        }
        self
    }

    /// Sets a text that was sent: its value, or null where it is emptied.
    pub fn text(
        &mut self,
        field: &str,
        (member, value): (&'static str, &Option<String>),
        emptied: &Emptied,
        place: Place,
    ) -> &mut Self {
        let null = emptied.contains(member).then_some(Value::Null);
        self.set(field, value.clone().map(Value::from).or(null))
            .sent_as(place, member)
    }

    /// Sets what a mapping places, where it places it anywhere.
    pub fn place(&mut self, field: Option<&str>, value: Option<impl Into<Value>>) -> &mut Self {
        match field {
            Some(field) => self.set(field, value),
            None => {
                self.last = value.map_or(Last::None, |_| Last::Lost(None));
                self
            }
        }
    }

    /// Sets what is written elsewhere too, or is as it is without a field.
    pub fn also(&mut self, field: Option<&str>, value: Option<impl Into<Value>>) -> &mut Self {
        self.place(field, value);
        if matches!(self.last, Last::Lost(_)) {
            self.last = Last::None;
        }
        self
    }

    /// Sets what must not be lost, where there is a value: the mapping has to name a field that the org lets its user set.
    pub fn insist(
        &mut self,
        field: Option<&str>,
        value: Option<impl Into<Value>>,
    ) -> Result<&mut Self, Problem> {
        self.last = Last::None;
        let Some(value) = value else { return Ok(self) };
        let object = &self.shape.object;
        let Some(name) = field.and_then(|field| self.shape.createable(field)) else {
            let field = field.unwrap_or("for it");
            return Err(Problem::new(
                FIELD_NOT_WRITABLE,
                format!(
                    "{object} has no field {field} that the user may set, and the order has a value for it: give the user access to it in the org, or name another under orders.map"
                ),
            ));
        };
        self.put(name, value);
        Ok(self)
    }

    /// Sets an amount that must not be lost. One of nothing needs no field.
    pub fn amount(&mut self, field: Option<&str>, amount: Option<Decimal>) -> Result<&mut Self, Problem> {
        let has_place = field.is_some_and(|field| self.shape.createable(field).is_some());
        let amount = amount.filter(|amount| has_place || *amount != Decimal::ZERO);
        self.insist(field, amount.map(Decimal::to_json_number))
    }

    /// Adds a line to a text, before what the storefront itself sends as that text.
    pub fn append(&mut self, field: Option<&str>, line: Option<&str>) -> &mut Self {
        let name = field.and_then(|field| self.shape.createable(field));
        if let (Some(name), Some(line)) = (name, line) {
            let own = self.values.get(name).and_then(Value::as_str);
            let text = own.map_or(line.to_owned(), |own| format!("{line}\n{own}"));
            self.values.insert(name.to_owned(), text.into());
        }
        self
    }

    /// Sets a field that the record cannot be without: describe calls some of them read-only that are not.
    pub fn require(&mut self, field: &str, value: impl Into<Value>) -> &mut Self {
        self.put(field, value);
        self
    }

    /// Adds the storefront's own values. What the record is made of is not theirs to set.
    pub fn add(&mut self, fields: &Fields, place: Place) -> Result<(), Problem> {
        for (field, value) in fields {
            let object = &self.shape.object;
            let Some(name) = self.shape.createable(field) else {
                return Err(Problem::new(
                    FIELD_NOT_WRITABLE,
                    format!(
                        "{object} has no field {field} that the user may set: remove it from \"fields\", or give the user access to it in the org"
                    ),
                ));
            };
            let reserved = RESERVED
                .iter()
                .any(|reserved| reserved.eq_ignore_ascii_case(name))
                || self
                    .shape
                    .key_field
                    .as_ref()
                    .is_some_and(|key| key.field.eq_ignore_ascii_case(name))
                || self.values.contains_key(name);
            if reserved {
                return Err(Problem::new(
                    FIELD_RESERVED,
                    format!("{object}.{name} is set by storesync itself: remove it from \"fields\""),
                ));
            }
            self.put(name, value.clone());
            self.sent_as(place, field.clone());
        }
        Ok(())
    }

    /// Sets the parts of an address. Orgs with state and country lists take codes for them.
    pub fn address(&mut self, prefix: &str, address: Option<&Address>, place: Place) -> &mut Self {
        let Some(address) = address else { return self };
        let is_code = |text: &String| {
            (2..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
        };
        for (part, member, value, has_codes) in [
            ("Street", "street", &address.street, false),
            ("City", "city", &address.city, false),
            ("PostalCode", "postal_code", &address.postal_code, false),
            ("State", "state", &address.state, true),
            ("Country", "country", &address.country, true),
        ] {
            let code = format!("{prefix}{part}Code");
            let takes_code =
                has_codes && value.as_ref().is_some_and(is_code) && self.shape.createable(&code).is_some();
            let field = if takes_code {
                code
            } else {
                format!("{prefix}{part}")
            };
            self.text(&field, (member, value), &address.emptied, place);
        }
        self
    }
}

/// The first value that was sent and that no part writes: its record, the field that the org does not let its user set,
/// where one is named, and the member.
pub fn lost<'p, 'a>(parts: &'p [Part<'a>]) -> Option<(&'p Record<'a>, Option<&'p str>, &'p Source)> {
    let records = || parts.iter().filter_map(|part| part.record.as_ref());
    let is_written = |lost: &Source| {
        let mut sources = records().flat_map(|record| &record.sources);
        sources.any(|(_, source)| source.place == lost.place && source.member == lost.member)
    };
    let mut all = records().flat_map(|record| record.lost.iter().map(move |lost| (record, lost)));
    all.find(|(_, (_, source))| !is_written(source))
        .map(|(record, (field, source))| (record, field.as_deref(), source))
}

/// Never a storefront's to set, whether or not this record sets them.
const RESERVED: [&str; 8] = [
    "AccountId",
    "OwnerId",
    "OrderId",
    "Pricebook2Id",
    "PricebookEntryId",
    "Status",
    "Product2Id",
    "OriginalOrderId",
];

/// The key field of an object that cannot be without one, where the key fits into it.
pub fn key_field<'a>(shape: &'a Writable, key: &str) -> Result<&'a str, Problem> {
    let object = &shape.object;
    let Some(field) = &shape.key_field else {
        return Err(Problem::new(
            "NO_KEY_FIELD",
            format!(
                "{object} has no unique external id that the user may set, so a repeated delivery could double it: add one to the object, see orders.external_id_field"
            ),
        ));
    };
    if !fits(field, key) {
        return Err(Problem::new(
            "KEY_TOO_LONG",
            format!(
                "{object}.{} takes {} characters and the key {key} has {}: use a shorter key",
                field.field,
                field.length,
                key.chars().count()
            ),
        ));
    }
    Ok(&field.field)
}

/// Whether a key has no more characters than its field takes.
pub fn fits(field: &Key, key: &str) -> bool {
    field.length == 0 || key.chars().count() <= field.length as usize
}

/// A further record's key, made of the one it belongs to: `WEB-1-3` where that fits, else a GUID that is always
/// the same; without a suffix it is the key itself. `None` where the object has no key field.
pub fn derived_key(shape: &Writable, key: &str, suffix: &str) -> Option<(String, String)> {
    let field = shape.key_field.as_ref()?;
    let plain = match suffix {
        "" => key.to_owned(),
        suffix => format!("{key}-{suffix}"),
    };
    let derived = if fits(field, &plain) {
        plain
    } else {
        guid(&format!("{}/{key}/{suffix}", shape.object))
    };
    Some((field.field.clone(), derived))
}

/// The key of a person who was given none, or of an account that belongs to one person: nobody can order or sign up under it.
/// `kind` tells one from the other. It is as long as the field takes, at most that of a GUID.
pub fn hidden_key(shape: &Writable, kind: &str, name: &str) -> String {
    let whole = guid(&format!("{kind}/{name}"));
    let length = shape.key_field.as_ref().map_or(0, |field| field.length as usize);
    match length {
        1..36 => whole.replace('-', "").chars().take(length).collect(),
        _ => whole,
    }
}

/// The key of a person's own account, where the person's key is that of another account, or there is none.
pub fn own_account_key(shape: &Writable, person: &str) -> String {
    hidden_key(shape, "account", &person.to_lowercase())
}

/// A GUID in version 8 form, of a text. Keys are compared without regard to case.
pub fn guid(text: &str) -> String {
    let hash = digest(&SHA256, text.to_ascii_lowercase().as_bytes());
    let hex: String = hash.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "{}-{}-8{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_one() {
        let made = guid("Order/WEB-1/1");
        assert_eq!(made.len(), 36);
        assert_eq!(made, guid("order/web-1/1"));
        assert_ne!(made, guid("Order/WEB-1/2"));
        let lengths: Vec<usize> = made.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
}
