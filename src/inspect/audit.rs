//! `storesync audit`: what operators did and read, and whether anybody changed what was written of it.

use std::path::Path;

use crate::cli::{AuditCommand, Exit};
use crate::inspect::{Misused, print, state_dir};
use crate::model::clock::format_datetime;
use crate::store::outbox::audit::Entry;
use crate::store::outbox::audit::removal::Removed;
use crate::store::outbox::audit::verify::{KnownHead, Verdict, Whole};
use crate::store::outbox::desk::{Desk, PAGE_MAX};

pub fn run(config: Option<&Path>, command: &AuditCommand) -> anyhow::Result<Exit> {
    match command {
        AuditCommand::List {
            after,
            person,
            details,
            look,
        } => {
            let told = match (look.json, details) {
                (true, true) => |entry: &Entry| format!("{}\n", entry.json_with_detail()),
                (true, false) => |entry: &Entry| format!("{}\n", entry.json()),
                (false, _) => text,
            };
            let desk = Desk::read(&state_dir(config, look.state.as_deref())?)?;
            list(&desk, *after, person.as_deref(), told)
        }
        AuditCommand::Verify { head, state } => {
            let head = head.as_deref().map(str::parse::<KnownHead>).transpose();
            let head = head.map_err(Misused)?;
            let desk = Desk::read(&state_dir(config, state.as_deref())?)?;
            Ok(verify(desk.verify_audit(head.as_ref())?))
        }
    }
}

fn list(
    desk: &Desk,
    mut after: i64,
    person: Option<&str>,
    told: fn(&Entry) -> String,
) -> anyhow::Result<Exit> {
    loop {
        let page = desk.audit(after, person, PAGE_MAX)?;
        let Some(last) = page.last() else {
            return Ok(Exit::Ok);
        };
        after = last.seq;
        print(&page.iter().map(told).collect::<String>());
    }
}

fn text(entry: &Entry) -> String {
    let named = entry.named.as_ref();
    let named = named
        .map(|named| format!(" for {}", named.text))
        .unwrap_or_default();
    let about = entry
        .about
        .iter()
        .map(|(name, value)| format!("  {name} {value}"));
    let about: String = about.collect();
    let (at, deed, actor) = (format_datetime(entry.at), &entry.deed, &entry.actor);
    let line = format!("{:<6} {at}  {deed} by {actor}{named}{about}", entry.seq);
    // A name may be anything; a terminal is told nothing by it.
    line.replace(char::is_control, " ") + "\n"
}

fn verify(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Whole(whole) => {
            print(&told(&whole));
            Exit::Ok
        }
        Verdict::Broken { seq, why } => {
            eprintln!("storesync: entry {seq} of the audit is not to be trusted, nor is any after it: {why}");
            Exit::Failed
        }
    }
}

fn told(whole: &Whole) -> String {
    let removed = whole.removed.as_ref();
    let count = whole.head.seq - removed.map_or(0, |removed| removed.head.seq);
    let (erased, names, head) = (whole.erased, whole.erased_names, &whole.head);
    let mut told =
        format!("{count} entries are as they were written, {erased} of them with their details erased");
    if names > 0 {
        told.push_str(&format!(" and {names} with whom they named"));
    }
    told.push_str(&format!("; the head is {head}\n"));
    if let Some(Removed { head, at }) = removed {
        let at = format_datetime(*at);
        told.push_str(&format!(
            "what was before them, up to {head} of {at}, was removed because of its age\n"
        ));
    }
    for seq in &whole.other_keys {
        told.push_str(&format!(
            "from entry {seq} on the key of persons is another: audit list --person finds nobody before it\n"
        ));
    }
    if whole.is_key_replaced {
        let next = head.seq + 1;
        told.push_str(&format!(
            "from entry {next} on the key of persons is another, or none: audit list --person finds nobody before it\n"
        ));
    }
    told
}
