//! Finds card numbers in what a storefront posts, so that they are refused before anything is written.
//!
//! A card number has the prefix and the length of an issuer and a valid Luhn check digit. The text is first read as
//! `characters` that count: digits of any script, without what nobody sees. Its numbers are then judged as they are
//! grouped (`numbers`). A text without a card number can still look like one, an order number of sixteen digits
//! that begins with 4 for instance: it is refused, since the other mistake cannot be taken back.
//!
//! - A field of text is judged broadly: every length of an issuer, cards between other numbers, expiry date and
//!   security code behind them, any grouping.
//! - A field that holds codes (keys, product codes, serial and tracking numbers, telephone numbers) is judged by the
//!   usual lengths and the groups that are printed on cards, because such fields are full of long numbers.
//! - An IBAN, and a number with the check digit of GS1 where goods and parcels have it, is no card number. Neither are
//!   two lines that both have the form of a telephone number, nor what stands behind the first group of USPS Certified
//!   Mail.
//!
//! The work is linear in the length of the text: tests count the steps.

mod characters;
mod escapes;
mod issuers;
mod numbers;
mod others;

#[cfg(test)]
mod tests;

use serde_json::Value;

use self::numbers::Reading;

/// Fewest digits of a card number.
const DIGITS_MIN: usize = 13;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Text,
    Code,
}

/// Members of a body that hold codes.
const CODES: [&str; 13] = [
    "external_id",
    "account_external_id",
    "order_external_id",
    "product_code",
    "product_id",
    "pricebook_entry_id",
    "serial_number",
    "campaign_id",
    "form_id",
    "question_id",
    "reference",
    "phone",
    "mobile_phone",
];

/// Parts of names by which fields of an org tell that they hold codes.
const CODE_WORDS: [&str; 12] = [
    "barcode", "ean", "gtin", "iccid", "imei", "phone", "serial", "sku", "sscc", "tracking", "upc", "waybill",
];

impl Field {
    /// Of a member by its name: `external_id`, `Tracking_Number__c`.
    fn named(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        // A short one is a whole word: there is an "ean" in "ocean".
        let tells = |word: &str| {
            CODE_WORDS
                .iter()
                .any(|code| word == *code || code.len() > 3 && word.contains(code))
        };
        if CODES.contains(&name) || lower.split('_').any(tells) {
            Self::Code
        } else {
            Self::Text
        }
    }
}

/// The path of the first value that holds a card number: `customer.phone`, `items[0].fields.note`.
pub fn find(value: &Value) -> Option<String> {
    find_in(value, Field::Text)
}

fn find_in(value: &Value, field: Field) -> Option<String> {
    match value {
        Value::String(text) => contains_in(text, field).then(String::new),
        Value::Number(number) => {
            let text = number.to_string();
            // Behind the point stand the digits of a computation.
            let whole = text.split('.').next().unwrap_or_default();
            contains_in(whole, field).then(String::new)
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| find_in(item, field).map(|rest| join(&format!("[{index}]"), &rest))),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            // A name is stored as well as its value; it is not repeated in the answer.
            if contains(name) {
                return Some("a field's name".to_owned());
            }
            find_in(member, Field::named(name)).map(|rest| join(name, &rest))
        }),
        Value::Null | Value::Bool(_) => None,
    }
}

fn join(name: &str, rest: &str) -> String {
    match rest.chars().next() {
        None => name.to_owned(),
        Some('[') => format!("{name}{rest}"),
        Some(_) => format!("{name}.{rest}"),
    }
}

/// Whether a card number stands anywhere in a text.
pub fn contains(text: &str) -> bool {
    contains_in(text, Field::Text)
}

/// Whether a card number stands anywhere in a text that is of such a field.
pub fn contains_in(text: &str, field: Field) -> bool {
    text.len() >= DIGITS_MIN && Reading::of(text, field).found
}
