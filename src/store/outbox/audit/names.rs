//! Whom actors name, and whether it is a person who is erased.
//!
//! What an actor names is any text: `kim`, `Ana Lee`, `for ana@example.com (C-1)`. It goes where an id, a key or an address of
//! the person stands in it, or the whole name. Of what was done to a write of the person's own, one of the names is
//! enough, and where nothing is known any more of who it was, it goes too.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::model::clock::Millis;
use crate::model::id;
use crate::model::order::Customer;
use crate::store::outbox::audit::key::ACTOR;
use crate::store::outbox::audit::removal::removed;
use crate::store::outbox::audit::{ENTRIES, Entry, Head, Line, Salted, append, entry, head};
use crate::store::outbox::damage::shown;

/// Shorter ones are found in texts of others: they name a person where they are all of a text.
const CHARS_MIN: usize = 3;
/// Of an id in its short form.
const ID_CHARS: usize = 15;

/// What persons may be named by, in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store::outbox) struct Names {
    /// Ids, keys and addresses.
    tokens: BTreeSet<String>,
    /// First names, by the last.
    whole: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    pub fn add_token(&mut self, token: &str) {
        let is_id = id::is_id(token.trim());
        let token = token.trim().to_lowercase();
        if is_id {
            self.tokens.insert(token.chars().take(ID_CHARS).collect());
        }
        if !token.is_empty() {
            self.tokens.insert(token);
        }
    }

    pub fn add_customer(&mut self, customer: &Customer) {
        let tokens = [&customer.external_id, &customer.salesforce_id, &customer.email];
        for token in tokens.into_iter().flatten() {
            self.add_token(token);
        }
        let name = |name: &Option<String>| name.as_deref().unwrap_or_default().trim().to_lowercase();
        let (first, last) = (name(&customer.first_name), name(&customer.last_name));
        if !last.is_empty() {
            self.whole.entry(last).or_default().insert(first);
        }
    }

    pub fn extend(&mut self, others: Self) {
        self.tokens.extend(others.tokens);
        for (last, first) in others.whole {
            self.whole.entry(last).or_default().extend(first);
        }
    }

    /// Whether a text names one of them; `is_own`: it was said of a write of that person's own.
    pub fn are_in(&self, text: &str, is_own: bool) -> bool {
        if is_own && self.whole.is_empty() {
            return true;
        }
        let text = text.trim().to_lowercase();
        let first_names = || self.whole.values().flatten();
        if is_own && first_names().any(|first| has(&text, first)) {
            return true;
        }
        let longest = self.tokens.iter().chain(self.whole.keys()).map(String::len).max();
        parts(&text, longest.unwrap_or(0)).any(|part| {
            let is_named = |first: &String| has(&text, first);
            let of_last = self.whole.get(part);
            let is_whole = of_last.is_some_and(|first| is_own || first.iter().any(is_named));
            let is_long = part.chars().count() >= CHARS_MIN || part == text;
            is_whole || (is_long && self.tokens.contains(part))
        })
    }
}

/// The parts of a text, up to a length, that no letter or digit goes on before or behind. However many names there are, a
/// text is gone through once.
fn parts(text: &str, bytes_max: usize) -> impl Iterator<Item = &str> {
    let goes_on = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let begins = move |at: &usize| !goes_on(text[..*at].chars().next_back());
    let ends = move |at: &usize| !goes_on(text[*at..].chars().next());
    let places = move || text.char_indices().map(|(at, _)| at);
    places().filter(begins).flat_map(move |from| {
        let behind = places().chain([text.len()]).skip_while(move |at| *at <= from);
        let behind = behind.take_while(move |at| at - from <= bytes_max);
        behind.filter(ends).map(move |to| &text[from..to])
    })
}

/// Whether a name stands in a text as a word.
fn has(text: &str, name: &str) -> bool {
    !name.is_empty() && parts(text, name.len()).any(|part| part == name)
}

/// Erases whom actors named in what was done to a write, where that is the person.
pub(in crate::store::outbox) fn erase_of(
    connection: &Connection,
    write: i64,
    names: &Names,
) -> rusqlite::Result<usize> {
    let sql = "select seq, name from audit_names
         where seq in (select seq from audit where about ->> '$.write' = ?1)";
    erase_where(connection, (sql, &[&write]), |text| names.are_in(text, true))
}

/// The same in what was done to anything.
pub(in crate::store::outbox) fn erase(connection: &Connection, names: &Names) -> rusqlite::Result<usize> {
    let sql = "select seq, name from audit_names";
    erase_where(connection, (sql, &[]), |text| names.are_in(text, false))
}

fn erase_where(
    connection: &Connection,
    (sql, values): (&str, &[&dyn rusqlite::ToSql]),
    is_meant: impl Fn(&str) -> bool,
) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut meant: Vec<i64> = Vec::new();
    while let Some(row) = rows.next()? {
        if shown(row, 1)?.is_some_and(|text| is_meant(&text)) {
            meant.push(row.get(0)?);
        }
    }
    let mut delete = connection.prepare_cached("delete from audit_names where seq = ?1")?;
    for seq in &meant {
        delete.execute([seq])?;
    }
    Ok(meant.len())
}

/// Gives what actors named before there was a place for it its hash, which is in the chain: the chain is made anew from
/// the first such entry on, and an entry has the head as it was. From the first entry on that is not as it was written, hashes
/// stay as they are, so that it is found as before.
pub(in crate::store::outbox) fn rename(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_any = transaction
        .prepare("select 1 from audit join audit_names using (seq) where on_behalf_of is null")?
        .exists([])?;
    if !is_any {
        return Ok(());
    }
    let was = head(&transaction)?;
    let (first, at) = chain_anew(&transaction)?;
    let line = Line::new(ACTOR, "renew")
        .about("from", first)
        .about("was", Some(was.to_string()));
    append(&transaction, &line, at)?;
    let is = head(&transaction)?;
    transaction.commit()?;
    tracing::warn!(
        "the chain of the audit was made anew from entry {} on, because whom actors name lies apart since this version: a head that was kept before, up to {was}, is not found in it any more; the head is {is}",
        first.unwrap_or_default()
    );
    Ok(())
}

/// The first entry whose hash is another now, and the time of the last.
fn chain_anew(connection: &Connection) -> rusqlite::Result<(Option<i64>, Millis)> {
    let begin = removed(connection)?
        .map(|removed| removed.head)
        .unwrap_or_default();
    let (mut old, mut new) = (begin.clone(), begin);
    let (mut first, mut at, mut is_sound) = (None, 0, true);
    let mut entries = connection.prepare(&format!("{ENTRIES} order by seq"))?;
    let mut rows = entries.query([])?;
    let mut renew = connection.prepare("update audit set on_behalf_of = ?2, hash = ?3 where seq = ?1")?;
    while let Some(row) = rows.next()? {
        let mut entry = entry(row)?;
        let (seq, was) = (entry.seq, entry.hash.clone());
        at = entry.at;
        is_sound = is_sound && seq == old.seq + 1 && was == chained_before(&entry, &old.hash);
        if entry.on_behalf_of.is_none() && entry.named.is_some() {
            entry.on_behalf_of = entry.named.as_ref().map(Salted::hash);
            first = first.or(Some(seq));
        }
        if is_sound {
            old.seq = seq;
            old.hash.copy_from_slice(&was);
            new = Head {
                seq,
                hash: entry.chained(&new.hash),
            };
        }
        let hash = if is_sound { &new.hash[..] } else { &was[..] };
        if first.is_some() {
            renew.execute(params![seq, entry.on_behalf_of, hash])?;
        }
    }
    Ok((first, at))
}

/// The hash of an entry as versions before made it, which had what an actor named in it.
fn chained_before(entry: &Entry, before: &[u8; 32]) -> [u8; 32] {
    let mut canonical = entry.canonical();
    if let (None, Some(named)) = (&entry.on_behalf_of, &entry.named) {
        canonical.on_behalf_of = Some(named.text.clone());
    }
    canonical.chained(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_a_person_by_id_key_address_or_name() {
        let mut names = Names::default();
        names.add_customer(&Customer {
            external_id: Some("C-77".to_owned()),
            email: Some("Ana@Example.com".to_owned()),
            first_name: Some("Ana".to_owned()),
            last_name: Some("Lee".to_owned()),
            ..Customer::default()
        });
        names.add_token("003D000000IqhSLIAZ");
        for (text, elsewhere, own) in [
            ("kim", false, false),
            ("ana", false, true),
            ("Mrs Lee", false, true),
            ("Lee, Ana", true, true),
            ("ANA LEE's mother", true, true),
            ("Anabel Leeson", false, false),
            ("c-77", true, true),
            ("(C-77) called", true, true),
            ("C-770", false, false),
            ("mail of ana@example.com", true, true),
            ("003D000000IqhSL", true, true),
            ("003D000000IqhSLIAZ", true, true),
        ] {
            assert_eq!(names.are_in(text, false), elsewhere, "{text}");
            assert_eq!(names.are_in(text, true), own, "{text}");
        }
        let mut short = Names::default();
        short.add_customer(&Customer {
            last_name: Some("Ng".to_owned()),
            ..Customer::default()
        });
        assert!(short.are_in("Mr Ng", true) && !short.are_in("Mr Ngata", true));
        assert!(!short.are_in("Mr Ng", false));
        let mut unknown = Names::default();
        unknown.add_token("A");
        assert!(unknown.are_in("kim", true) && !unknown.are_in("a kim", false) && unknown.are_in("a", false));
    }
}
