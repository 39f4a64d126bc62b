//! Leaving other persons out of what is told of one.
//!
//! - A row of another person (a contact who reports to this one) shows only the columns in which this one is found.
//! - An object within a request or a body that names another by id or address, and not this one, shows nothing but its members'
//!   names.
//! - Anywhere else ids of contacts and leads and addresses of mail that are not this person's are replaced, and the names and
//!   numbers of those others, as far as the cache has them.
//!
//! Who is named in free text by a name alone, and whom the cache does not have, is not known to be another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json};

use crate::inspect::person::fold::{Folded, folded, is_mark};
use crate::inspect::person::identity::is_of_persons;
use crate::inspect::person::look::{Body, Finding, told};
use crate::inspect::person::wanted::{Wanted, What};
use crate::journal::history::events::Said;
use crate::model::id;
use crate::store::cache;
use crate::store::subject::rows::Database;

/// What stands in the place of what is another's.
pub const MASK: &str = "[another person]";

/// Fields by which others are named in texts, and the fewest characters of a value that is looked for.
const NAMES: [&str; 12] = [
    "name",
    "firstname",
    "lastname",
    "email",
    "personemail",
    "phone",
    "mobilephone",
    "homephone",
    "otherphone",
    "external_id__c",
    "s_c__sc_id__c",
    "company",
];
const NAME_CHARS_MIN: usize = 3;

/// Most bytes of a quoted name before the host of an address.
const QUOTED_BYTES_MAX: usize = 80;

/// Others who are remembered.
const KNOWN_MAX: usize = 1_000;

/// Sorts of tokens that name the person.
const PERSON: [What; 3] = [What::Id, What::Email, What::Key];

/// What is known of others than the person.
pub struct Others<'w> {
    wanted: &'w Wanted,
    cache: Option<Database>,
    /// Values of the person's own, folded: others may have the same.
    own: BTreeSet<String>,
    /// By id or address.
    known: BTreeMap<String, Vec<String>>,
}

impl<'w> Others<'w> {
    pub fn new(wanted: &'w Wanted, cache: Option<Database>) -> anyhow::Result<Self> {
        let mut others = Self {
            wanted,
            cache,
            own: BTreeSet::new(),
            known: BTreeMap::new(),
        };
        for token in wanted.tokens.iter().filter(|token| token.what != What::Record) {
            let named = others.values_of(&token.text)?;
            let named = named.iter().chain([&token.text]);
            others.own.extend(named.map(|value| folded(value)));
        }
        Ok(others)
    }

    /// What a finding holds and where it is, without what is others'.
    pub fn masked(&mut self, finding: &Finding) -> anyhow::Result<(String, Json)> {
        let mut value = match &finding.body {
            Body::Row(row) => self.row(finding, row).into(),
            Body::Answer(row) => self.answer(row).into(),
            Body::Event(Ok(said)) => self.event(said),
            Body::Event(Err(why)) | Body::Unread(why) => Json::from(why.as_str()),
        };
        let mut names = BTreeSet::new();
        self.names_in(&value, &mut names)?;
        let names = Vec::from_iter(names);
        self.mask(&mut value, &names);
        Ok((self.in_text(&finding.place, &names), value))
    }

    /// A row, with what texts of it hold in JSON.
    fn row(&self, finding: &Finding, row: &Map<String, Json>) -> Map<String, Json> {
        let is_own = row
            .get("id")
            .and_then(Json::as_str)
            .is_some_and(|id| self.is_own(id));
        let is_of_cache = finding.file.starts_with(cache::KIND.file_name);
        if is_of_cache && is_of_persons(&finding.table) && !is_own {
            return self.only_found(row);
        }
        let members = row.iter().map(|(column, value)| {
            let value = match value {
                Json::String(text) if text.starts_with(['{', '[']) => {
                    serde_json::from_str(text).unwrap_or_else(|_| value.clone())
                }
                value => value.clone(),
            };
            (column.clone(), value)
        });
        members.collect()
    }

    fn answer(&self, row: &Map<String, Json>) -> Map<String, Json> {
        match row.get("Id").and_then(Json::as_str) {
            Some(id) if is_person_record(id) && !self.is_own(id) => self.only_found(row),
            _ => row.clone(),
        }
    }

    fn event(&self, said: &Said) -> Json {
        let mut told = told(said);
        let ids = &said.record_ids;
        let is_anothers = ids.iter().any(|id| is_person_record(id)) && !ids.iter().any(|id| self.is_own(id));
        if let Some(Json::Object(fields)) = told.get_mut("fields").filter(|_| is_anothers) {
            *fields = self.only_found(fields);
        }
        told
    }

    /// Of what is another's only where the person is found.
    fn only_found(&self, members: &Map<String, Json>) -> Map<String, Json> {
        let members = members.iter().map(|(name, value)| {
            let is_found = self.is_found(&value.to_string());
            let value = if is_found { value.clone() } else { masked_as(value) };
            (name.clone(), value)
        });
        members.collect()
    }

    fn is_own(&self, text: &str) -> bool {
        self.wanted.is_one(text, &PERSON)
    }

    /// Whether a text, as a whole, names another.
    fn is_another(&self, text: &str) -> bool {
        (is_person_id(text) || is_address(text)) && !self.is_own(text)
            || unescaped(text).is_some_and(|text| self.names_another(&text))
    }

    /// Whether a text names another anywhere.
    fn names_another(&self, text: &str) -> bool {
        persons_in(text)
            .into_iter()
            .any(|range| self.is_another(&text[range]))
    }

    fn mask(&self, value: &mut Json, names: &[String]) {
        match value {
            Json::String(text) => *text = self.in_text(text, names),
            Json::Array(items) => items.iter_mut().for_each(|item| self.mask(item, names)),
            Json::Object(members) => {
                let texts = |members: &Map<String, Json>, is_it: &dyn Fn(&str) -> bool| {
                    members.values().filter_map(Json::as_str).any(is_it)
                };
                let is_anothers = |members: &Map<String, Json>| {
                    texts(members, &|text| self.is_another(text))
                        && !texts(members, &|text| self.is_found(text))
                };
                // Of a part of a request the address names whom the body is about.
                let has_anothers = members.values().filter_map(Json::as_object).any(is_anothers);
                let all = is_anothers(members);
                for (name, member) in members.iter_mut() {
                    if all || name == "url" && has_anothers {
                        *member = masked_as(member);
                    } else {
                        self.mask(member, names);
                    }
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    /// Whether a text is about the person in any way: a record that refers to the person is, too.
    fn is_found(&self, text: &str) -> bool {
        !self.wanted.in_text(text.as_bytes()).is_empty()
    }

    fn in_text(&self, text: &str, names: &[String]) -> String {
        let persons = persons_in(text).into_iter();
        let mut ranges: Vec<Range<usize>> = persons
            .filter(|range| self.is_another(&text[range.clone()]))
            .collect();
        if !names.is_empty() {
            let folded = Folded::of(text);
            ranges.extend(names.iter().flat_map(|name| folded.find(name)));
        }
        ranges.sort_by_key(|range| (range.start, usize::MAX - range.end));
        let (mut masked, mut at) = (String::new(), 0);
        for range in ranges {
            if range.start >= at {
                masked.push_str(&text[at..range.start]);
                masked.push_str(MASK);
                at = range.end;
            }
        }
        masked + &text[at..]
    }

    /// Names and numbers, folded, of the others whom a value names by id or address.
    fn names_in(&mut self, value: &Json, names: &mut BTreeSet<String>) -> anyhow::Result<()> {
        match value {
            Json::String(text) => self.names_in_text(text, names),
            Json::Array(items) => items.iter().try_for_each(|item| self.names_in(item, names)),
            Json::Object(members) => members
                .values()
                .try_for_each(|member| self.names_in(member, names)),
            Json::Null | Json::Bool(_) | Json::Number(_) => Ok(()),
        }
    }

    fn names_in_text(&mut self, text: &str, names: &mut BTreeSet<String>) -> anyhow::Result<()> {
        for range in persons_in(text) {
            let other = &text[range];
            if !self.is_another(other) {
                continue;
            }
            if let Some(text) = unescaped(other) {
                self.names_in_text(&text, names)?;
                continue;
            }
            if !self.known.contains_key(other) {
                if self.known.len() >= KNOWN_MAX {
                    self.known.clear();
                }
                let values = self.values_of(other)?;
                self.known.insert(other.to_owned(), values);
            }
            let values = self.known.get(other).into_iter().flatten();
            let values = values.map(|value| folded(value));
            names.extend(values.filter(|value| !value.is_empty() && !self.own.contains(value)));
        }
        Ok(())
    }

    /// What the cache has of who has an id or an address.
    fn values_of(&self, person: &str) -> anyhow::Result<Vec<String>> {
        let mut values = Vec::new();
        let Some(cache) = &self.cache else {
            return Ok(values);
        };
        let columns: &[&str] = if is_address(person) {
            &["email", "personemail"]
        } else {
            &["id"]
        };
        for table in cache.tables.iter().filter(|table| is_of_persons(&table.name)) {
            for column in columns {
                let Some(row) = cache.first(table, column, &id::long(person))? else {
                    continue;
                };
                let named = NAMES.iter().filter_map(|name| table.text(&row, name));
                let named = named.filter(|value| value.chars().count() >= NAME_CHARS_MIN);
                values.extend(named.map(str::to_owned));
            }
        }
        Ok(values)
    }
}

fn masked_as(value: &Json) -> Json {
    match value {
        Json::Null => Json::Null,
        _ => MASK.into(),
    }
}

/// Whether an id is of a record that stands for a person, or for those of one company.
fn is_person_record(text: &str) -> bool {
    matches!(id::standard_object(text), Some("Account" | "Contact" | "Lead"))
}

fn is_person_id(text: &str) -> bool {
    matches!(id::standard_object(text), Some("Contact" | "Lead"))
}

fn is_address(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.chars().all(is_of_address);
    let is_quoted = |part: &str| part.len() > 2 && part.starts_with('"') && part.ends_with('"');
    text.rsplit_once('@').is_some_and(|(name, host)| {
        (is_part(name) || is_quoted(name)) && is_part(host) && !host.contains('%') && host.contains('.')
    })
}

fn is_of_address(letter: char) -> bool {
    letter.is_alphanumeric() || is_mark(letter) || matches!(letter, '.' | '_' | '-' | '+' | '%' | '\'')
}

/// A text without its percent-encoding; `None` where that changes nothing.
fn unescaped(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    (decoded != text).then(|| decoded.into_owned())
}

/// Where a text has addresses of mail, and ids of contacts and leads.
fn persons_in(text: &str) -> Vec<Range<usize>> {
    let is_of = |letter: char| is_of_address(letter) || letter == '@';
    let mut found = Vec::new();
    let mut at = 0;
    for word in text.split(|letter| !is_of(letter)) {
        let start = at;
        let end = start + word.len();
        at = end + text[end..].chars().next().map_or(0, char::len_utf8);
        // What ends a sentence or stands in quotes is no part of an address.
        let word = word.trim_end_matches(['.', '-', '_', '\'']);
        let unquoted = word.trim_start_matches('\'');
        let (start, end) = (start + word.len() - unquoted.len(), start + word.len());
        let is_escaped = || unescaped(unquoted).is_some_and(|text| !persons_in(&text).is_empty());
        if is_person_id(unquoted) || is_address(unquoted) || is_escaped() {
            found.push(start..end);
        } else if let Some(opened) = opening(&text[..start]).filter(|_| unquoted.starts_with('@')) {
            found.extend(Some(opened..end).filter(|range| is_address(&text[range.clone()])));
        }
    }
    found
}

/// Where a quoted name begins that a text ends in.
fn opening(text: &str) -> Option<usize> {
    let inner = text.strip_suffix('"')?;
    let at = inner.rfind('"')?;
    (inner.len() - at <= QUOTED_BYTES_MAX).then_some(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inspect::person::wanted::Token;

    fn masked(value: &Json) -> String {
        let token = |what, text: &str| Token {
            what,
            text: text.to_owned(),
            how: String::new(),
        };
        let wanted = Wanted::new(vec![
            token(What::Id, "003000000000001AAA"),
            token(What::Email, "ana@example.com"),
            token(What::Record, "801000000000001AAA"),
        ])
        .unwrap();
        let others = Others::new(&wanted, None).unwrap();
        let mut value = value.clone();
        others.mask(&mut value, &[folded("Bo Lée")]);
        value.to_string()
    }

    #[test]
    fn what_names_another_is_masked_and_what_names_the_person_stays() {
        for (value, stays, goes) in [
            (
                json!({"Email": "bo@example.com", "Phone": "0400", "Id": "003000000000002AAA"}),
                &["Phone"][..],
                &["bo@", "0400", "0002"][..],
            ),
            (
                json!({"BillToContactId": "003000000000001AAA", "ShipToContactId": "003000000000002AAA", "City": "Hobart"}),
                &["0001", "Hobart"],
                &["0002"],
            ),
            (
                json!("Ana (ana@example.com) and Bo Lee, bo@example.com."),
                &["Ana (ana@example.com)", "."],
                &["Bo Lee", "bo@"],
            ),
            (json!("Bo Leeds"), &["Bo Leeds"], &[]),
            (
                json!(
                    "BO LEE, bo LÉE, Bo Le\u{301}e; 'bo@example.com'; x=bo.l%40example.net&y; \"bo lee jr\"@example.org, o'bo@example.com!"
                ),
                &["; '", "'; x=", "&y; "],
                &["BO", "bo", "Bo", "\u{301}", "%40", "@", "jr", "o'"],
            ),
            (
                json!("ana%40example.com?to=ANA%40EXAMPLE.COM, 'ana@example.com'"),
                &["ana%40example.com?to=ANA%40EXAMPLE.COM, 'ana@example.com'"],
                &["another"],
            ),
            (
                json!([{"url": "/Contact/External_ID__c/C-9", "body": {"Email": "bo@example.com", "LastName": "Lee"}},
                    {"url": "/Contact/External_ID__c/C-1", "body": {"Email": "ANA@example.com", "LastName": "Lee"}}]),
                &["C-1", "ANA@example.com", "Lee"],
                &["C-9", "bo@"],
            ),
            (
                json!({"OrderId": "801000000000001AAA", "ContactId": "003000000000002AAA", "Quantity": 2}),
                &["8010", "2"],
                &["003000000000002"],
            ),
        ] {
            let told = masked(&value);
            assert!(stays.iter().all(|text| told.contains(text)), "{told}");
            assert!(!goes.iter().any(|text| told.contains(text)), "{told}");
        }
    }
}
