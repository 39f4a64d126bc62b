//! Takes what a storefront posts apart, member by member, and says which one is wrong.
//!
//! Written by hand rather than derived, because the answer to a storefront's developer is the field and what
//! to put there. Unknown members are refused: one that is silently dropped is a lost part of an order.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::clock;
use crate::model::id;
use crate::model::order::decimal::{self, Decimal};
use crate::model::order::rules::Rule;
use crate::model::order::{Address, Customer, Emptied, Fields, Payment, card, day};

/// Longest key. The org's field may be shorter; it is never longer.
const KEY_CHARACTERS_MAX: usize = 255;
/// Longest text of any member.
pub const TEXT_CHARACTERS_MAX: usize = 4_000;
const TOO_MANY_DIGITS: &str = "has too many digits: at most 15 can be taken, 6 of them after the point";
/// Most members of `fields`.
const FIELDS_MAX: usize = 100;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// `items[2].quantity`
    pub field: String,
    pub message: String,
    /// The rule that an item breaks.
    pub rule: Option<Rule>,
}

impl Invalid {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
            rule: None,
        }
    }

    /// What cannot be bought as it is ordered.
    pub fn broken(field: impl Into<String>, rule: Rule, message: impl Into<String>) -> Self {
        Self {
            rule: Some(rule),
            ..Self::new(field, message)
        }
    }
}

/// A key is any text that a field of the org keeps as it is: without blanks at its ends, and on one line.
pub fn check_key(key: &str, field: &str) -> Result<(), Invalid> {
    let wrong = |message: &str| Err(Invalid::new(field, message));
    if key.is_empty() || key.chars().count() > KEY_CHARACTERS_MAX {
        return Err(Invalid::new(
            field,
            format!("must have 1 to {KEY_CHARACTERS_MAX} characters"),
        ));
    }
    if key.chars().any(char::is_control) {
        return wrong("must be one line of text, without control characters");
    }
    if key.trim() != key {
        return wrong("must not begin or end with a blank");
    }
    Ok(())
}

/// The key of an order or another write. It is kept for ever and is written to logs, so it tells of no person.
pub fn check_own_key(key: &str, field: &str) -> Result<(), Invalid> {
    check_key(key, field)?;
    let is_address = key
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    if is_address {
        let message = match field {
            "Idempotency-Key" => {
                "must not be an email address, because it is kept for ever: use a number of your own"
            }
            _ => {
                "must not be an email address, because it is kept for ever: use a number of your own, in Idempotency-Key where the customer's key is an address"
            }
        };
        return Err(Invalid::new(field, message));
    }
    Ok(())
}

/// Refuses what holds a card number anywhere. To be asked before anything else is said of a body.
pub fn refuse_cards(value: &Value) -> Result<(), Invalid> {
    match card::find(value) {
        Some(field) => Err(Invalid::new(
            field,
            "holds a card number: card data is never taken, remove it",
        )),
        None => Ok(()),
    }
}

/// The members that tell of a person.
pub const CUSTOMER: [&str; 8] = [
    "external_id",
    "salesforce_id",
    "email",
    "first_name",
    "last_name",
    "phone",
    "company",
    "account_external_id",
];

/// The member `customer`, which must be there.
pub(in crate::model) fn customer(members: &Members<'_>) -> Result<Customer, Invalid> {
    let Some(members) = members.object("customer")? else {
        return Err(Invalid::new(
            "customer",
            "is missing: give at least an email address",
        ));
    };
    members.only(&CUSTOMER)?;
    let customer = person(&members)?;
    let says_who = [
        &customer.external_id,
        &customer.salesforce_id,
        &customer.email,
        &customer.last_name,
    ];
    if says_who.into_iter().all(Option::is_none) {
        return Err(Invalid::new(
            "customer",
            "needs an external_id, a salesforce_id, an email or a last_name",
        ));
    }
    Ok(customer)
}

/// A person whose members stand among others.
pub(in crate::model) fn person(members: &Members<'_>) -> Result<Customer, Invalid> {
    let customer = Customer {
        external_id: members.key("external_id")?,
        salesforce_id: members.id_of("salesforce_id", &["Contact", "Account"])?,
        email: members.email("email")?,
        first_name: members.text("first_name")?,
        last_name: members.text("last_name")?,
        phone: members.text("phone")?,
        company: members.text("company")?,
        account_external_id: members.key("account_external_id")?,
        is_protected: false,
        emptied: Emptied::new(),
    };
    if customer.account_external_id.is_some()
        && customer.external_id.is_none()
        && customer.salesforce_id.is_none()
    {
        return Err(members.invalid(
            "account_external_id",
            "needs an external_id beside it: whoever orders for an account is known to the store",
        ));
    }
    Ok(customer)
}

/// The currency of an order.
pub(in crate::model) fn currency(members: &Members<'_>) -> Result<Option<String>, Invalid> {
    let currency = members.text("currency")?;
    match &currency {
        Some(code) if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) => Err(
            Invalid::new("currency", "must be three capital letters, such as AUD"),
        ),
        _ => Ok(currency),
    }
}

/// How many of an item.
pub(in crate::model) fn quantity(members: &Members<'_>) -> Result<Decimal, Invalid> {
    let given = members.get("quantity");
    let quantity = given.and_then(Decimal::from_json);
    let is_plain = |text: &str| decimal::is_plain(text.strip_prefix('-').unwrap_or(text));
    if quantity.is_none() && given.and_then(Value::as_str).is_some_and(is_plain) {
        return Err(members.invalid("quantity", TOO_MANY_DIGITS));
    }
    let quantity = quantity.filter(|quantity| quantity.is_positive() && quantity.scale() <= 2);
    quantity.ok_or_else(|| {
        members.invalid(
            "quantity",
            "must be a number above zero with at most two digits after the point",
        )
    })
}

/// `2026-11-22`
pub(in crate::model) fn date(members: &Members<'_>, name: &str) -> Result<Option<String>, Invalid> {
    let date = members.text(name)?;
    match &date {
        Some(text) if clock::parse_date(text).is_none() => {
            Err(members.invalid(name, "must be a date such as 2026-11-22"))
        }
        Some(text) if !day::is_of_org(text) => Err(members.invalid(name, day::OUT_OF_RANGE)),
        _ => Ok(date),
    }
}

pub(in crate::model) fn flag(members: &Members<'_>, name: &str) -> Result<Option<bool>, Invalid> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(members.invalid(name, "must be true or false")),
    }
}

/// How something was paid.
pub(in crate::model) fn payment(value: &Value, path: &str) -> Result<Payment, Invalid> {
    let members = Members::of(value, path)?;
    members.only(&["reference", "amount", "method", "status", "paid_at"])?;
    let reference = members
        .text("reference")?
        .ok_or_else(|| members.invalid("reference", "is missing: give what the payment provider calls it"))?;
    let paid_at = members.text("paid_at")?;
    if paid_at
        .as_deref()
        .is_some_and(|at| clock::parse_datetime(at).is_none())
    {
        return Err(members.invalid(
            "paid_at",
            "must be a date and time with a zone, such as 2026-11-22T09:30:00Z",
        ));
    }
    if paid_at.as_deref().is_some_and(|at| !day::is_of_org(at)) {
        return Err(members.invalid("paid_at", day::OUT_OF_RANGE));
    }
    Ok(Payment {
        reference,
        amount: members.amount("amount")?,
        method: members.text("method")?,
        status: members.text("status")?,
        paid_at,
    })
}

/// The members of an address.
pub const ADDRESS: [&str; 5] = ["street", "city", "state", "postal_code", "country"];

pub(in crate::model) fn address(members: &Members<'_>, name: &str) -> Result<Option<Address>, Invalid> {
    let Some(members) = members.object(name)? else {
        return Ok(None);
    };
    members.only(&ADDRESS)?;
    parts_of(&members).map(Some)
}

/// The parts of an address, whatever else stands among them.
pub(in crate::model) fn parts_of(members: &Members<'_>) -> Result<Address, Invalid> {
    Ok(Address {
        street: members.text("street")?,
        city: members.text("city")?,
        state: members.text("state")?,
        postal_code: members.text("postal_code")?,
        country: members.text("country")?,
        emptied: Emptied::new(),
    })
}

/// The org has one field for all spellings of a name.
fn twice(members: &Members<'_>) -> Result<(), Invalid> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for name in members.map.keys() {
        if let Some(other) = seen.insert(name.to_ascii_lowercase(), name) {
            let message = format!("has {other} and {name}, which are one field of the org: send one of them");
            return Err(Invalid::new(members.path.clone(), message));
        }
    }
    Ok(())
}

/// Values for the org's own fields: a flat object.
pub(in crate::model) fn fields(members: &Members<'_>) -> Result<Fields, Invalid> {
    let Some(members) = members.object("fields")? else {
        return Ok(Fields::new());
    };
    if members.map.len() > FIELDS_MAX {
        return Err(Invalid::new(
            members.path,
            format!("has more than {FIELDS_MAX} members"),
        ));
    }
    let plain = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    twice(&members)?;
    for (name, value) in members.map {
        if !plain(name) {
            return Err(Invalid::new(
                members.path,
                "has a member whose name is not that of a field",
            ));
        }
        match value {
            Value::Array(_) | Value::Object(_) => {
                return Err(members.invalid(name, "must be text, a number, true, false or null"));
            }
            Value::String(text) if too_long(text) => return Err(members.invalid(name, &too_long_message())),
            _ => {}
        }
    }
    Ok(members
        .map
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect())
}

/// The members of one JSON object, with where it stands.
pub(in crate::model) struct Members<'a> {
    pub path: String,
    pub map: &'a Map<String, Value>,
}

impl<'a> Members<'a> {
    pub fn of(value: &'a Value, path: &str) -> Result<Self, Invalid> {
        match value {
            Value::Object(map) => Ok(Self {
                path: path.to_owned(),
                map,
            }),
            _ => Err(Invalid::new(path, "must be an object")),
        }
    }

    pub fn invalid(&self, name: &str, message: &str) -> Invalid {
        Invalid::new(self.field(name), message)
    }

    fn field(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Refuses members that are not in the list.
    pub fn only(&self, known: &[&str]) -> Result<(), Invalid> {
        match self.map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(self.invalid(
                name,
                "is not known here: the org's own fields go into \"fields\", by their names in the org",
            )),
            None => Ok(()),
        }
    }

    /// A member that is there and not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub fn object(&self, name: &str) -> Result<Option<Members<'a>>, Invalid> {
        self.get(name)
            .map(|value| Members::of(value, &self.field(name)))
            .transpose()
    }

    /// Text without blanks at its ends; empty text is no text.
    pub fn text(&self, name: &str) -> Result<Option<String>, Invalid> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if too_long(text) => Err(self.invalid(name, &too_long_message())),
            Some(Value::String(text)) => {
                let text = text.trim();
                Ok((!text.is_empty()).then(|| text.to_owned()))
            }
            Some(_) => Err(self.invalid(name, "must be text")),
        }
    }

    /// A key of the storefront's.
    pub fn key(&self, name: &str) -> Result<Option<String>, Invalid> {
        match (self.get(name), self.text(name)?) {
            // As it was sent, so that it is the same in a path.
            (Some(Value::String(key)), Some(_)) => {
                check_key(key, &self.field(name))?;
                Ok(Some(key.clone()))
            }
            _ => Ok(None),
        }
    }

    /// The org's id of a record, in 18 characters. Which objects the member takes is told by the org.
    pub fn id(&self, name: &str) -> Result<Option<String>, Invalid> {
        let id = self.text(name)?;
        if id.as_deref().is_some_and(|id| !id::is_id(id)) {
            return Err(self.invalid(name, "must be an id of the org: 15 or 18 letters and digits"));
        }
        Ok(id.as_deref().map(id::long))
    }

    /// The same of a member whose objects are known. An id of a custom object may be of any of them.
    pub fn id_of(&self, name: &str, objects: &[&str]) -> Result<Option<String>, Invalid> {
        let id = self.id(name)?;
        self.only_of(name, id, objects)
    }

    /// A name of a record that looks it up: an id, unless it has another form.
    pub fn name_of(&self, name: &str, object: &str) -> Result<Option<String>, Invalid> {
        let text = self.text(name)?.as_deref().map(id::long);
        self.only_of(name, text, &[object])
    }

    fn only_of(&self, name: &str, id: Option<String>, objects: &[&str]) -> Result<Option<String>, Invalid> {
        match id.as_deref().and_then(id::standard_object) {
            Some(found) if !objects.contains(&found) => Err(self.invalid(name, &id::refusal(found, objects))),
            _ => Ok(id),
        }
    }

    pub fn email(&self, name: &str) -> Result<Option<String>, Invalid> {
        let email = self.text(name)?;
        match &email {
            Some(text) if !is_email(text) => Err(self.invalid(name, "is not an email address")),
            _ => Ok(email),
        }
    }

    /// Money: a decimal in quotes, not below zero.
    pub fn amount(&self, name: &str) -> Result<Option<Decimal>, Invalid> {
        let wrong = || self.invalid(name, "must be a decimal in quotes, such as \"19.90\"");
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => match Decimal::parse(text) {
                Some(amount) if !amount.is_negative() => Ok(Some(amount)),
                None if decimal::is_plain(text) => Err(self.invalid(name, TOO_MANY_DIGITS)),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        }
    }

    /// Members of a list, with where each stands; none where the list is absent.
    pub fn list(&self, name: &str, most: usize) -> Result<Vec<(&'a Value, String)>, Invalid> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) if values.len() > most => Err(self.invalid(
                name,
                &format!("has {} members and at most {most} can be taken", values.len()),
            )),
            Some(Value::Array(values)) => Ok(values
                .iter()
                .enumerate()
                .map(|(index, value)| (value, format!("{}[{index}]", self.field(name))))
                .collect()),
            Some(_) => Err(self.invalid(name, "must be a list")),
        }
    }
}

fn too_long(text: &str) -> bool {
    text.len() > TEXT_CHARACTERS_MAX && text.chars().count() > TEXT_CHARACTERS_MAX
}

fn too_long_message() -> String {
    format!(
        "has more than {TEXT_CHARACTERS_MAX} characters: storesync takes no more in any text, whatever the field of the org takes"
    )
}

/// Whether the org would take an address for one: one sign, and a domain of at least two parts.
fn is_email(text: &str) -> bool {
    let Some((name, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_other = |c: char| c.is_whitespace() || c.is_control() || ",;:<>()[]\\\"".contains(c);
    let in_parts = |text: &str| text.split('.').all(|part| !part.is_empty());
    !text.contains(is_other)
        && !name.contains('@')
        && in_parts(name)
        && in_parts(domain)
        && domain.contains('.')
}

#[cfg(test)]
mod tests {
    use super::{check_key, check_own_key, is_email};

    #[test]
    fn a_key_is_as_long_as_it_has_characters_and_one_line_without_blanks_around() {
        for (key, taken) in [
            ("", false),
            ("x", true),
            (&"x".repeat(255), true),
            (&"x".repeat(256), false),
            (&"\u{e4}".repeat(255), true),
            (&"\u{1f375}".repeat(255), true),
            (&"\u{1f375}".repeat(256), false),
            ("a b", true),
            (" a", false),
            ("a\u{a0}", false),
            ("a\nb", false),
            ("a\u{7f}b", false),
        ] {
            assert_eq!(check_key(key, "external_id").is_ok(), taken, "{key:?}");
        }
    }

    #[test]
    fn an_address_as_a_key_is_refused_with_advice_that_helps() {
        let told = |field| check_own_key("ana@example.com", field).unwrap_err().message;
        assert!(told("external_id").contains("in Idempotency-Key"));
        assert!(!told("Idempotency-Key").contains("in Idempotency-Key"));
        assert!(told("Idempotency-Key").ends_with("use a number of your own"));
    }

    #[test]
    fn an_address_is_one_person_s_at_a_domain() {
        for (text, taken) in [
            ("ana@example.com", true),
            ("ana.lee+web@shop.example.co.uk", true),
            ("o'neil@example.com", true),
            ("användare@exämple.se", true),
            ("a@b", false),
            ("a@localhost", false),
            ("a@example.", false),
            ("a@.example", false),
            ("a@b..example", false),
            (".a@b.example", false),
            ("@b.example", false),
            ("a.example", false),
            ("a@b.example,c@d.example", false),
            ("a@b.example;c@d.example", false),
            ("a@b.example c@d.example", false),
            ("a@b@d.example", false),
            ("Ana <a@b.example>", false),
            ("a@b.example\n", false),
        ] {
            assert_eq!(is_email(text), taken, "{text:?}");
        }
    }
}
