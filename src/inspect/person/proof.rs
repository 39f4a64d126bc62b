//! Whether nothing of a person is held any more: in no row of any table, and in no byte of any file.
//!
//! Tables are judged by what their columns are for ([`Holds`]): an id may stay where a deed is told of, and in
//! an event or a page whose values gave way to stand-ins; anything else that is found is held. Bytes are judged by where they
//! lie. In a live row the tables have the word; elsewhere whatever names the person is held, because nobody can
//! tell what else was there: but for an older version of a row that is a live one, byte by byte.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash as _, Hasher as _};

use serde_json::{Value as Json, json};

use crate::inspect::person::look::{Body, Finding, Hit};
use crate::inspect::person::wanted::{Token, Wanted, What, same_id};
use crate::journal::forget::stand_in::is_erased;
use crate::store::subject::bytes::{Part, Piece, each};
use crate::store::subject::classes::Holds;
use crate::store::subject::folder::Held;

const CHANGED: &str = "an event tells that the record changed; its values gave way to stand-ins";
const ANSWERED: &str = "a page tells that the record was there; its values gave way to stand-ins";
const REFERS: &str = "what was told of another record refers to it by its id";

/// Where a token is, and why it is held or stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: String,
    within: String,
    token: usize,
    why: String,
}

/// What was found, with how often.
#[derive(Debug, Default)]
pub struct Proof {
    held: BTreeMap<Place, u64>,
    stays: BTreeMap<Place, u64>,
    /// Tokens that the tables of a file have, and those that live rows of its pages have.
    in_tables: HashSet<(String, usize)>,
    in_rows: BTreeSet<(String, usize)>,
    /// What was not looked at, and why.
    passed: Vec<(String, &'static str)>,
}

/// What becomes of a token where it is.
enum Verdict {
    Stays(&'static str),
    Held(String),
}

impl Proof {
    /// Of all but what is passed over.
    pub fn new(passed: Vec<(String, &'static str)>) -> Self {
        Self {
            passed,
            ..Self::default()
        }
    }

    /// Goes through the bytes of a file. No database may be open meanwhile.
    pub fn bytes(&mut self, file: &Held, wanted: &Wanted) -> std::io::Result<()> {
        // Live records in which the person is named, by their bytes.
        let mut live = HashSet::new();
        each(&file.path, file.is_database, &mut |piece| {
            let tokens = wanted.in_bytes(piece.bytes);
            if tokens.is_empty() {
                return;
            }
            match piece.part {
                Part::Row => {
                    live.insert(digest(piece.bytes));
                    let of_file = |token| (file.name.clone(), token);
                    self.in_rows.extend(tokens.into_iter().map(of_file));
                }
                Part::Before if live.contains(&digest(piece.bytes)) => {}
                Part::Before | Part::Free | Part::Plain => {
                    for token in tokens {
                        self.hold(&file.name, "bytes", token, lies(piece));
                    }
                }
            }
        })
    }

    /// Judges a row in which the person is found.
    pub fn row(&mut self, finding: &Finding, wanted: &Wanted) {
        for hit in &finding.hits {
            self.in_tables.insert((finding.file.clone(), hit.token));
            let within = format!("{}.{}", finding.table, hit.column);
            match verdict(finding, hit, &wanted.tokens[hit.token]) {
                Verdict::Held(why) => self.hold(&finding.file, &within, hit.token, why),
                Verdict::Stays(why) => {
                    let place = place(&finding.file, &within, hit.token, why.to_owned());
                    *self.stays.entry(place).or_default() += 1;
                }
            }
        }
    }

    fn hold(&mut self, file: &str, within: &str, token: usize, why: String) {
        *self.held.entry(place(file, within, token, why)).or_default() += 1;
    }

    /// What no table knows and a live row of a page has is held.
    pub fn end(&mut self) {
        for (file, token) in std::mem::take(&mut self.in_rows) {
            if !self.in_tables.contains(&(file.clone(), token)) {
                self.hold(
                    &file,
                    "bytes",
                    token,
                    "in a page, and in no row of a table".to_owned(),
                );
            }
        }
    }

    /// `None` where nothing was found and not all was looked at.
    pub fn is_erased(&self) -> Option<bool> {
        match (self.held.is_empty(), self.passed.is_empty()) {
            (true, false) => None,
            (is_erased, _) => Some(is_erased),
        }
    }

    pub fn json(&self, wanted: &Wanted) -> Json {
        let list = |places: &BTreeMap<Place, u64>| {
            let line = |(place, count): (&Place, &u64)| {
                let token = &wanted.tokens[place.token];
                json!({
                    "file": place.file, "within": place.within, "count": count, "what": token.what.name(),
                    "token": token.text, "why": place.why,
                })
            };
            places.iter().map(line).collect::<Vec<Json>>()
        };
        let passed = self.passed.iter();
        let passed = passed.map(|(name, why)| json!({"name": name, "why": why}));
        json!({
            "erased": self.is_erased(), "held": list(&self.held), "stays": list(&self.stays),
            "not_looked_at": passed.collect::<Vec<Json>>(),
        })
    }

    pub fn text(&self, wanted: &Wanted) -> String {
        let list = |title: &str, places: &BTreeMap<Place, u64>| {
            let mut lines = String::new();
            for (place, count) in places {
                let Token { what, text, .. } = &wanted.tokens[place.token];
                let (file, within, what) = (&place.file, &place.within, what.name());
                lines.push_str(&format!(
                    "  {file}  {within}  {count} times  {what} {text}: {}\n",
                    place.why
                ));
            }
            if lines.is_empty() {
                lines
            } else {
                format!("{title}\n{lines}")
            }
        };
        let verdict = match self.is_erased() {
            Some(true) => "nothing is held of this person\n",
            Some(false) => "",
            None => "nothing was found of this person, and not all was looked at\n",
        };
        let passed = self.passed.iter();
        let passed = passed.map(|(name, why)| format!("{name} was not looked at: {why}\n"));
        let passed: String = passed.collect();
        let held = list("still held:", &self.held);
        let stays = list("stays, and says nothing else of the person:", &self.stays);
        format!("{held}{stays}{passed}{verdict}")
    }
}

fn place(file: &str, within: &str, token: usize, why: String) -> Place {
    Place {
        file: file.to_owned(),
        within: within.to_owned(),
        token,
        why,
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn lies(piece: &Piece<'_>) -> String {
    let of = if piece.in_log {
        "the write-ahead log"
    } else {
        "the file"
    };
    let page = piece.page;
    match piece.part {
        Part::Free => format!("in no row, in page {page} of {of}"),
        Part::Before => {
            format!("in an older version of page {page}, in {of}: gone when that is next written over")
        }
        Part::Row | Part::Plain => "in the file".to_owned(),
    }
}

fn verdict(finding: &Finding, hit: &Hit, token: &Token) -> Verdict {
    let holds = finding.holds.iter().find(|(column, _)| *column == hit.column);
    let holds = holds.map_or(Holds::Values, |(_, holds)| *holds);
    match (holds, token.what) {
        (Holds::Id(why), What::Id) => Verdict::Stays(why),
        (Holds::Key(why), What::Id | What::Key | What::Text) => Verdict::Stays(why),
        (Holds::Event | Holds::Packed, What::Id) => told(&finding.body, token),
        (Holds::Event | Holds::Packed, _) => match &finding.body {
            Body::Event(Err(why)) | Body::Unread(why) => Verdict::Held(format!("it cannot be read: {why}")),
            _ => Verdict::Held("a value".to_owned()),
        },
        _ => Verdict::Held("a value".to_owned()),
    }
}

/// Of an id in what was told of a record.
fn told(body: &Body, token: &Token) -> Verdict {
    let of = |id: &str| same_id(id, &token.text);
    match body {
        Body::Event(Ok(said)) if said.record_ids.iter().any(|id| of(id)) => {
            let is_erased = said.fields.iter().all(|set| is_erased(&set.field, &set.value));
            unless(is_erased, CHANGED)
        }
        Body::Answer(row) if row.get("Id").and_then(Json::as_str).is_some_and(of) => {
            let is_erased = row.iter().all(|(field, value)| is_erased(field, value));
            unless(is_erased, ANSWERED)
        }
        Body::Event(Ok(_)) | Body::Answer(_) => Verdict::Stays(REFERS),
        Body::Event(Err(why)) | Body::Unread(why) => Verdict::Held(format!("it cannot be read: {why}")),
        Body::Row(_) => Verdict::Held("a value".to_owned()),
    }
}

fn unless(is_erased: bool, why: &'static str) -> Verdict {
    match is_erased {
        true => Verdict::Stays(why),
        false => Verdict::Held("what was told of the record is not erased".to_owned()),
    }
}
