//! What listeners are sent, and what it is made of: entries of the feed with their rows, once for all that ask alike.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::serve::World;
use crate::serve::freshness::Told;
use crate::serve::life::Life;
use crate::serve::problem::Problem;
use crate::store::storefront::feed::{self, Entry, Stores};
use crate::store::storefront::products::Shelf;
use crate::store::storefront::stores::Store;
use crate::store::storefront::visitor;
use crate::store::storefront::{Found, objects};

/// Entries read at a time.
pub const PAGE_ENTRIES: usize = 256;

/// Entries read together.
pub struct Batch {
    /// The revision that the reader stood at before.
    pub after: i64,
    pub lines: Vec<Line>,
}

impl Batch {
    pub fn end(&self) -> i64 {
        self.lines.last().map_or(self.after, |line| line.entry.rev)
    }
}

/// An entry with what listeners are sent of it, made once for all that ask alike.
pub struct Line {
    entry: Entry,
    /// By the store that is listened to, if one is, and whether rows are wanted.
    events: Mutex<Made>,
}

pub type Made = BTreeMap<(Option<String>, bool), Bytes>;

impl Line {
    fn made(&self) -> MutexGuard<'_, Made> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        Self {
            entry,
            events: Mutex::default(),
        }
    }
}

/// What a listener wants to hear of.
pub struct Wanted {
    pub store: Option<Store>,
    /// In lower case; all where none is named.
    pub objects: HashSet<String>,
    pub rows: bool,
    pub persons: bool,
}

impl Wanted {
    /// The objects that it hears of; all where none is named.
    pub fn about(&self) -> Vec<&str> {
        match &self.store {
            _ if !self.objects.is_empty() => self.objects.iter().map(String::as_str).collect(),
            Some(_) => feed::objects().collect(),
            None => Vec::new(),
        }
    }

    /// How well the cache follows the org in what it hears of.
    pub fn told(&self, world: &World) -> Told {
        world.health.borrow().freshness.told_of_all(self.about())
    }

    /// What it is answered where it wants rows that are not loaded.
    pub fn refused(&self, world: &World) -> Problem {
        let health = world.health.borrow();
        let about = Some(self.about());
        let progress = health.freshness.truth().progress(about, world.clock.moment());
        Problem::initializing(progress).or_partial()
    }

    pub fn wants(&self, entry: &Entry) -> bool {
        let object = entry.object.to_ascii_lowercase();
        if !self.objects.is_empty() && !self.objects.contains(&object) {
            return false;
        }
        match &self.store {
            Some(store) => entry
                .told
                .as_ref()
                .is_some_and(|told| told.stores.contain(&store.id)),
            None => self.persons || feed::is_of_catalogue(&object),
        }
    }
}

/// What is sent to a listener, and from what it is made.
pub struct Heard {
    pub world: World,
    pub life: Life,
    pub wanted: Wanted,
}

/// A part of a stream.
pub struct Page {
    pub out: Bytes,
    /// Where the listener stands after it.
    pub at: i64,
    /// Whether there is more.
    pub behind: bool,
}

impl Heard {
    /// Reads the feed itself, one page.
    pub fn page(&self, at: i64) -> anyhow::Result<Page> {
        let (oldest, newest) = self.world.reader.with(feed::bounds)?;
        if at + 1 < oldest && at < newest {
            let data = json!({"rev": newest, "oldest": oldest});
            return Ok(Page {
                out: frame(&self.life, newest, "reset", &data).into(),
                at: newest,
                behind: true,
            });
        }
        let entries = self
            .world
            .reader
            .with(|cache| feed::after(cache, at, PAGE_ENTRIES))?;
        let behind = entries.len() == PAGE_ENTRIES;
        let lines: Vec<Line> = entries.into_iter().map(Line::from).collect();
        Ok(Page {
            out: self.written(&lines, at),
            at: lines.last().map_or(at.max(newest), |line| line.entry.rev),
            behind,
        })
    }

    fn wanted<'l>(&self, lines: &'l [Line], at: i64) -> impl Iterator<Item = &'l Line> {
        lines
            .iter()
            .filter(move |line| line.entry.rev > at && self.wanted.wants(&line.entry))
    }

    pub fn written(&self, lines: &[Line], at: i64) -> Bytes {
        let wanted = self.wanted(lines, at);
        let mut events: Vec<Bytes> = wanted.map(|line| self.event_once(line)).collect();
        match events.len() {
            // Sent as it is, to everyone from the same memory.
            1 => events.swap_remove(0),
            _ => events.concat().into(),
        }
    }

    /// What this listener shares with all that ask alike.
    fn kind(&self) -> (Option<String>, bool) {
        let store = self.wanted.store.as_ref().map(|store| store.id.clone());
        (store, self.wanted.rows)
    }

    /// Whether all that it is sent of these was made for another already.
    pub fn is_made(&self, lines: &[Line], at: i64) -> bool {
        let kind = self.kind();
        self.wanted(lines, at).all(|line| line.made().contains_key(&kind))
    }

    fn event_once(&self, line: &Line) -> Bytes {
        line.made()
            .entry(self.kind())
            .or_insert_with(|| self.event(&line.entry).into())
            .clone()
    }

    fn event(&self, entry: &Entry) -> Vec<u8> {
        let mut data = json!({
            "rev": entry.rev, "object": entry.object, "id": entry.record_id, "kind": entry.kind,
        });
        if let Some(told) = &entry.told {
            data["topic"] = told.topic.into();
            data["product_id"] = told.product_id.clone().into();
            data["stores"] = match (&self.wanted.store, &told.stores) {
                (Some(store), _) => json!([store.id]),
                (None, Stores::All) => Value::Null,
                (None, Stores::These(ids)) => json!(ids),
            };
        }
        let row = if self.wanted.rows { self.row(entry) } else { None };
        let mut text = data.to_string().into_bytes();
        if self.wanted.rows {
            text.pop();
            text.extend_from_slice(b",\"row\":");
            text.extend_from_slice(row.as_deref().unwrap_or(b"null"));
            text.push(b'}');
        }
        let mut out = format!("id: {}.{}\nevent: change\ndata: ", self.life, entry.rev).into_bytes();
        out.extend_from_slice(&text);
        out.extend_from_slice(b"\n\n");
        out
    }

    /// For a store, the product as anyone sees it there; else the row as it is.
    fn row(&self, entry: &Entry) -> Option<Vec<u8>> {
        if let Some(store) = &self.wanted.store {
            return self.product(store, entry.told.as_ref()?.product_id.as_deref()?);
        }
        let id = entry.record_id.as_deref()?;
        let read = |cache: &_| objects::row(cache, &entry.object, id);
        match self.world.reader.with(read) {
            Ok(Found::Row(row)) => Some(row.json),
            _ => None,
        }
    }

    fn product(&self, store: &Store, product: &str) -> Option<Vec<u8>> {
        let now = self.world.clock.now();
        let found = self.world.reader.with(|cache| {
            let Some(anyone) = visitor::find(cache, store, None, None, now)? else {
                return Ok(Found::NoRow);
            };
            Shelf::new(cache, store, &anyone, self.world.intake.held()).find(product)
        });
        match found {
            Ok(Found::Row(json)) => Some(json),
            _ => None,
        }
    }
}

pub fn frame(life: &Life, rev: i64, event: &str, data: &Value) -> Vec<u8> {
    format!("id: {life}.{rev}\nevent: {event}\ndata: {data}\n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_know_customers_is_told_of_what_stores_show_alone() {
        for (object, to_anyone) in [
            ("Product2", true),
            ("s_c__Zone__c", true),
            ("Contact", false),
            ("Account", false),
            ("Order", false),
            ("s_c__Booking__c", false),
            ("Anything_Else__c", false),
        ] {
            let entry = Entry {
                rev: 1,
                object: object.to_owned(),
                record_id: Some("1".to_owned()),
                kind: "updated".to_owned(),
                told: None,
            };
            for (persons, expected) in [(false, to_anyone), (true, true)] {
                let wanted = Wanted {
                    store: None,
                    objects: HashSet::new(),
                    rows: false,
                    persons,
                };
                assert_eq!(wanted.wants(&entry), expected, "{object} {persons}");
            }
        }
    }
}
