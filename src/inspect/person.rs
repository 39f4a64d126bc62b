//! `storesync person`: all that the files hold of a person, and the proof that nothing is held any more.
//!
//! `identity` finds who it is, `wanted` looks for the person in bytes, `look` goes through the tables, `summary` tells
//! in short what was found, `export` writes it out, without what is `others`', and `proof` judges what is left after an
//! erasure.
//!
//! Works beside a running daemon and without one, and writes nothing of its files but the entry of an export in the audit.
//! Accepted: what is written while it looks may be missed, or be seen twice, and beside a daemon bytes may be read in the
//! midst of a checkpoint. So the last word is that of a look at a daemon that is stopped or has nothing to do.

mod export;
mod fold;
mod identity;
mod look;
mod others;
mod proof;
mod sent;
mod spelling;
mod summary;
mod wanted;

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::cli::{Exit, PersonArgs};
use crate::config::Config;
use crate::inspect::person::export::{Export, Target};
use crate::inspect::person::identity::{Asked, Identity};
use crate::inspect::person::look::{Finding, Look};
use crate::inspect::person::others::Others;
use crate::inspect::person::proof::Proof;
use crate::inspect::person::summary::Summary;
use crate::inspect::person::wanted::{RAW_BYTES_MIN, Wanted, What};
use crate::inspect::{Misused, NoCache, actor, is_closed, print, print_json, state_dir, write_down};
use crate::journal::history::History;
use crate::model::clock::{Clock, parse_datetime};
use crate::model::id;
use crate::store::backup;
use crate::store::database::{self, Kind};
use crate::store::outbox::audit::Line;
use crate::store::outbox::desk::{Desk, DeskError, PAGE_MAX};
use crate::store::subject::folder::{self, Beneath, Held, KINDS};
use crate::store::subject::rows::Database;
use crate::store::{cache, journal, outbox};

/// Fewest bytes of a text that is looked for: fewer are in everything.
const TEXT_BYTES_MIN: usize = 3;

/// Most characters of a text, and of an address, that are looked for.
const TEXT_CHARS_MAX: usize = 1_000;
const ADDRESS_CHARS_MAX: usize = 254;

/// Objects whose records stand for persons, or for how they are reached.
const PERSONS: [&str; 8] = [
    "Contact",
    "Lead",
    "Account",
    "Individual",
    "User",
    "ContactPointEmail",
    "ContactPointPhone",
    "ContactPointAddress",
];

const DAY_MILLIS: i64 = 86_400_000;

pub fn run(config: Option<&Path>, args: &PersonArgs) -> anyhow::Result<Exit> {
    let asked = asked(args)?;
    let dir = state_dir(config, args.look.state.as_deref())?;
    // A key that is the org's own is known by the configuration, where there is one.
    let key_field = Config::load(config)
        .ok()
        .and_then(|config| config.orders.external_id_field);
    known_versions(&dir)?;
    let line = args.export.as_ref().map(|_| noted(&asked)).transpose()?;
    let out = args.export.as_deref().map(Target::new).transpose()?;
    if let Some(line) = line {
        write_down(&dir, &line)?;
    }
    let identity = identity(&dir, &asked, args, key_field.as_deref())?;
    let person = person_json(&asked, &identity);
    let wanted = Wanted::new(identity.tokens.clone())?;
    let told = match (args.erased, out) {
        (true, _) => erased(&dir, &wanted)?,
        (false, Some(out)) => {
            return match exported(&dir, out, &person, &wanted) {
                Err(error) if !is_closed(&error) => Err(error),
                // Whoever closed the pipe has read enough.
                _ => Ok(Exit::Ok),
            };
        }
        (false, None) => listed(&dir, &wanted)?,
    };
    let audit = audited(&dir, &wanted)?;
    let backups = args.backup.iter().map(|dir| backup_told(dir, &wanted));
    let backups = backups.collect::<anyhow::Result<Vec<Json>>>()?;
    match args.look.json {
        true => {
            let mut whole = json!({"person": person, "audit_entries": audit, "backups": backups});
            if let (Json::Object(whole), Json::Object(told)) = (&mut whole, told.json) {
                whole.extend(told);
            }
            print_json(&whole);
        }
        false => print(&text(&identity, &told.text, audit, &backups)),
    }
    Ok(told.exit)
}

/// What a look came to.
struct Told {
    json: Json,
    text: String,
    exit: Exit,
}

fn asked(args: &PersonArgs) -> Result<Asked, Misused> {
    if let Some(short) = args.text.iter().find(|text| text.len() < TEXT_BYTES_MIN) {
        let why =
            format!("{short:?} is too short to be looked for: give {TEXT_BYTES_MIN} characters or more");
        return Err(Misused(why));
    }
    let is_long = |text: &&String| text.chars().count() > TEXT_CHARS_MAX;
    if let Some(long) = args.text.iter().find(is_long) {
        let (start, length) = (long.chars().take(20).collect::<String>(), long.chars().count());
        let why = format!(
            "the text {start:?}... of {length} characters is too long: give at most {TEXT_CHARS_MAX} of it"
        );
        return Err(Misused(why));
    }
    let mut addresses = args.who.iter().filter(|text| text.contains('@'));
    let length = addresses.next().map(|address| address.trim().chars().count());
    if let Some(length) = length.filter(|length| *length > ADDRESS_CHARS_MAX) {
        let why = format!("an e-mail address has at most {ADDRESS_CHARS_MAX} characters, and not {length}");
        return Err(Misused(why));
    }
    match &args.who[..] {
        [object, id] if id::is_id(id) => {
            refuse_other(object, id)?;
            Ok(Asked::Record {
                object: object.clone(),
                id: id::long(id),
            })
        }
        [email] if email.contains('@') => Ok(Asked::Email(email.trim().to_owned())),
        _ => Err(Misused(
            "name the person by an object and a record's id (Contact 003...), or by an e-mail address"
                .to_owned(),
        )),
    }
}

/// Refuses an object that is none of persons, and an id of another object, as far as ids tell.
fn refuse_other(object: &str, id: &str) -> Result<(), Misused> {
    if !PERSONS.iter().any(|known| known.eq_ignore_ascii_case(object)) {
        let last = PERSONS.len() - 1;
        let why = format!(
            "{object} is no object of persons: give {} or {}",
            PERSONS[..last].join(", "),
            PERSONS[last]
        );
        return Err(Misused(why));
    }
    match id::standard_object(id) {
        Some(found) if !found.eq_ignore_ascii_case(object) => {
            Err(Misused(format!("{id} {}", id::refusal(found, &[object]))))
        }
        None if id::has_standard_prefix(object) => {
            let found = "another object";
            Err(Misused(format!("{id} {}", id::refusal(found, &[object]))))
        }
        _ => Ok(()),
    }
}

/// Fails where there is nothing, or what there is cannot be read by this version.
fn known_versions(dir: &Path) -> anyhow::Result<()> {
    let mut is_any = false;
    for kind in KINDS.into_iter().filter(|kind| dir.join(kind.file_name).exists()) {
        database::version(dir, kind)?;
        is_any = true;
    }
    match is_any {
        true => Ok(()),
        false => Err(NoCache { dir: dir.to_owned() }.into()),
    }
}

/// What the audit has of an export.
fn noted(asked: &Asked) -> Result<Line, Misused> {
    let (object, person) = match asked {
        Asked::Record { object, id } => (Some(object.as_str()), id),
        Asked::Email(email) => (None, email),
    };
    let line = Line {
        person: Some(person.clone()),
        ..Line::new(actor()?, "export")
    };
    Ok(line.about("what", Some("person")).about("object", object))
}

fn open(dir: &Path, kind: Kind) -> anyhow::Result<Option<Database>> {
    let path = dir.join(kind.file_name);
    let is_there = path.exists();
    Ok(is_there.then(|| Database::open(&path, kind)).transpose()?)
}

fn identity(
    dir: &Path,
    asked: &Asked,
    args: &PersonArgs,
    key_field: Option<&str>,
) -> anyhow::Result<Identity> {
    let (cache, outbox) = (open(dir, cache::KIND)?, open(dir, outbox::KIND)?);
    let mut identity = identity::find(asked, &args.text, (cache.as_ref(), outbox.as_ref()), key_field)?;
    if args.erased {
        // What refers to a person who is gone is the org's business, and is not held of the person by its own id.
        identity.tokens.retain(|token| token.what != What::Record);
    }
    Ok(identity)
}

/// Goes through the tables of all databases of a folder. Copies that cannot be read as such are left to whoever goes through the
/// bytes; gives their names.
fn look_through(
    (dir, files): (&Path, Vec<Held>),
    wanted: &Wanted,
    visit: &mut dyn FnMut(Finding) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<String>> {
    let has_journal = dir.join(journal::KIND.file_name).exists();
    let history = has_journal.then(|| History::open(dir)).transpose()?;
    let mut look = Look { wanted, history };
    let mut unread = Vec::new();
    for file in files {
        let is_own = |kind: Kind| kind.file_name == file.name;
        match look.through(&file, visit) {
            Err(_) if !file.kind.is_some_and(is_own) => unread.push(file.name),
            looked => looked?,
        }
    }
    Ok(unread)
}

fn exported(dir: &Path, out: Target, person: &Json, wanted: &Wanted) -> anyhow::Result<()> {
    let others = Others::new(wanted, open(dir, cache::KIND)?)?;
    let mut export = Export::begin(out, person, others, wanted)?;
    look_through((dir, folder::files(dir)?), wanted, &mut |finding| {
        export.add(&finding)
    })?;
    let places = export.end()?;
    // Standard output may be the export's.
    eprintln!(
        "storesync: {places} places are written, without what is others'; the audit has an entry of it"
    );
    Ok(())
}

fn listed(dir: &Path, wanted: &Wanted) -> anyhow::Result<Told> {
    let mut summary = Summary::default();
    let unread = look_through((dir, folder::files(dir)?), wanted, &mut |finding| {
        summary.add(&finding, wanted);
        Ok(())
    })?;
    let text = match summary.is_empty() {
        true => "nothing is held of this person\n".to_owned(),
        false => summary.text(),
    };
    let cannot = unread
        .iter()
        .map(|name| format!("{name} cannot be read as a database\n"));
    Ok(Told {
        json: json!({"held": summary.json(), "unread": unread}),
        text: text + &cannot.collect::<String>(),
        exit: Exit::Ok,
    })
}

/// Goes through the bytes first, while no database is open, and then through the tables.
fn erased(dir: &Path, wanted: &Wanted) -> anyhow::Result<Told> {
    let Beneath { files, passed } = folder::beneath(dir)?;
    let mut proof = Proof::new(passed);
    for file in &files {
        match proof.bytes(file, wanted) {
            // It went meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            looked => looked?,
        }
    }
    look_through((dir, files), wanted, &mut |finding| {
        proof.row(&finding, wanted);
        Ok(())
    })?;
    proof.end();
    let mut text = proof.text(wanted);
    let too_short = wanted
        .tokens
        .iter()
        .filter(|token| token.is_too_short_for_bytes());
    for token in too_short {
        let short = &token.text;
        text.push_str(&format!(
            "{short:?} has fewer than {RAW_BYTES_MIN} characters: it was looked for in tables alone\n"
        ));
    }
    Ok(Told {
        json: proof.json(wanted),
        exit: match proof.is_erased() {
            Some(true) => Exit::Ok,
            Some(false) => Exit::Failed,
            None => Exit::Unavailable,
        },
        text,
    })
}

/// How many entries of the audit are about the person, which a keyed hash tells.
fn audited(dir: &Path, wanted: &Wanted) -> anyhow::Result<u64> {
    let desk = match Desk::read(dir) {
        Err(DeskError::None(_)) => return Ok(0),
        desk => desk?,
    };
    let mut entries = 0;
    for token in wanted.tokens.iter().filter(|token| token.what != What::Record) {
        let mut after = 0;
        loop {
            let page = desk.audit(after, Some(&token.text), PAGE_MAX)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            entries += page.len() as u64;
        }
    }
    Ok(entries)
}

/// A backup: since when it is there, and what it holds.
fn backup_told(dir: &PathBuf, wanted: &Wanted) -> anyhow::Result<Json> {
    let unusable = |why: String| Misused(format!("{} is no backup that can be read ({why})", dir.display()));
    if backup::manifest(dir).is_ok_and(|manifest| manifest.is_sealed()) {
        let dir = dir.display();
        return Err(Misused(format!(
            "{dir} is encrypted: restore it into a folder of its own (STORESYNC__STATE__DIR=FOLDER storesync restore {dir} \
             --identity FILE), and name that folder"
        ))
        .into());
    }
    let files: Vec<Held> = folder::files(dir).map_err(|error| unusable(error.to_string()))?;
    let made_at = backup::manifest(dir).map(|manifest| manifest.made_at).ok();
    let since = made_at.as_deref().and_then(parse_datetime);
    let since = since.or_else(|| files.iter().filter_map(|file| file.modified_at).min());
    let days = since.map(|since| (Clock::System.now() - since).max(0) / DAY_MILLIS);
    let mut summary = Summary::default();
    look_through((dir, files), wanted, &mut |finding| {
        summary.add(&finding, wanted);
        Ok(())
    })?;
    Ok(json!({"dir": dir, "made_at": made_at, "days": days, "held": summary.json()}))
}

fn person_json(asked: &Asked, identity: &Identity) -> Json {
    let asked = match asked {
        Asked::Record { object, id } => json!({"object": object, "id": id}),
        Asked::Email(email) => json!({ "email": email }),
    };
    let tokens = identity.tokens.iter();
    let tokens =
        tokens.map(|token| json!({"what": token.what.name(), "token": token.text, "how": token.how}));
    json!({
        "asked": asked, "tokens": tokens.collect::<Vec<Json>>(), "shared_accounts": identity.shared_accounts,
        "has_more_records": identity.has_more_records,
    })
}

fn text(identity: &Identity, told: &str, audit: u64, backups: &[Json]) -> String {
    let mut text = String::new();
    for token in identity.tokens.iter().filter(|token| token.what != What::Record) {
        text.push_str(&format!(
            "{:<6} {}  {}\n",
            token.what.name(),
            token.text,
            token.how
        ));
    }
    let records = identity
        .tokens
        .iter()
        .filter(|token| token.what == What::Record)
        .count();
    if records > 0 {
        let more = if identity.has_more_records {
            "more than "
        } else {
            ""
        };
        text.push_str(&format!("{more}{records} records refer to the person\n"));
    }
    for account in &identity.shared_accounts {
        text.push_str(&format!(
            "account {account} is another's too: it was not looked for\n"
        ));
    }
    text.push('\n');
    text.push_str(told);
    if audit > 0 {
        text.push_str(&format!(
            "{audit} entries of the audit are about the person, by a keyed hash; they stay\n"
        ));
    }
    for backup in backups {
        let holds = match backup["held"].as_array().is_some_and(|held| !held.is_empty()) {
            true => "holds something of the person until its retention ends",
            false => "holds nothing of the person",
        };
        let dir = backup["dir"].as_str().unwrap_or_default();
        let days = backup["days"]
            .as_i64()
            .map_or_else(String::new, |days| format!(", {days} days old,"));
        text.push_str(&format!("backup {dir}{days} {holds}\n"));
    }
    text
}
