//! `storesync orders`: what storefronts sent, and what people do with what could not be delivered.
//!
//! Works on `outbox.db` itself, beside a running daemon or without one: each deed is one transaction that is
//! conditional on the state it finds, which SQLite keeps apart from the daemon's. The daemon notices within two
//! seconds. The admin API does the same deeds through the daemon.

mod text;

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{Exit, OrdersCommand, OrdersFilter};
use crate::config::{Config, ConfigError};
use crate::inspect::{Misused, actor, print, print_json, write_down};
use crate::model::body::{self, Refusal};
use crate::model::clock::{Clock, Millis, parse_datetime};
use crate::model::state::WriteState;
use crate::model::write::{Kind, edit};
use crate::outbound::gate::{Gate, Known};
use crate::outbound::mapping::Mapping;
use crate::outbound::version::{OBJECTS, field_of};
use crate::store::outbox::desk::{Action, Deed, Desk, Done, Filter, PAGE_MAX, Sought};

pub fn run(config: &Config, command: OrdersCommand) -> anyhow::Result<Exit> {
    let dir = config.state.dir.as_path();
    match command {
        OrdersCommand::List {
            filter,
            limit,
            after,
            json,
        } => list(dir, &filter, limit.clamp(1, PAGE_MAX), after, json),
        OrdersCommand::Show { reference, json } => show(dir, &reference, json),
        OrdersCommand::Retry {
            reference,
            filter,
            all,
            per_second,
        } => act(config, retry(reference, &filter, all, per_second)?),
        OrdersCommand::Edit {
            reference,
            set,
            patch,
        } => {
            let patch = patch_of(&set, patch.as_deref())?;
            act(config, Action::Edit { reference, patch })
        }
        OrdersCommand::Discard { reference, reason } => act(config, Action::Discard { reference, reason }),
        OrdersCommand::Reopen { reference } => act(config, Action::Reopen { reference }),
        OrdersCommand::Export { filter } => export(dir, &filter),
        OrdersCommand::Map => map(config),
    }
}

fn list(dir: &Path, asked: &OrdersFilter, limit: u32, after: i64, json: bool) -> anyhow::Result<Exit> {
    let desk = Desk::read(dir)?;
    let views = desk.list(&filter(asked, Some(WriteState::NeedsAttention))?, after, limit)?;
    let full = views.len() == limit as usize;
    let next = views.last().filter(|_| full).map(|view| view.sequence);
    if json {
        let items: Vec<Value> = views.iter().map(|view| view.json()).collect();
        print_json(&json!({"items": items, "next": next}));
    } else {
        print(&text::list(&views, next));
    }
    Ok(Exit::Ok)
}

fn show(dir: &Path, reference: &str, json: bool) -> anyhow::Result<Exit> {
    let detail = match Desk::read(dir)?.detail(reference)? {
        Sought::Found(detail) => detail,
        Sought::None => return Ok(none(reference)),
        Sought::Several(sentence) => {
            eprintln!("storesync: {sentence}");
            return Ok(Exit::Failed);
        }
    };
    if json {
        print_json(&detail.json());
    } else {
        print(&text::detail(&detail));
    }
    Ok(Exit::Ok)
}

fn none(reference: &str) -> Exit {
    eprintln!("storesync: there is no write {reference}: see `storesync orders list --state any`");
    Exit::Failed
}

fn retry(
    reference: Option<String>,
    asked: &OrdersFilter,
    all: bool,
    per_second: u32,
) -> anyhow::Result<Action> {
    if let Some(reference) = reference {
        return Ok(Action::Retry { reference });
    }
    let filter = filter(asked, Some(WriteState::NeedsAttention))?;
    let narrowed = Filter {
        state: None,
        ..filter.clone()
    };
    if narrowed == Filter::default() && asked.state.is_none() && !all {
        let sentence = "name a write, narrow them down by a filter, or say --all";
        return Err(Misused(sentence.to_owned()).into());
    }
    Ok(Action::RetryAll { filter, per_second })
}

/// Does a deed and says what came of it.
fn act(config: &Config, action: Action) -> anyhow::Result<Exit> {
    let now = Clock::System.now();
    let deed = Deed::new(actor()?, action);
    if let Some(sentence) = deed.refusal() {
        return Err(Misused(sentence).into());
    }
    let mut desk = Desk::write(&config.state.dir)?;
    let refused = match &deed.action {
        Action::Edit { reference, patch } => desk.detail(reference)?.found().and_then(|detail| {
            let gate = Gate::of(&config.state.dir, &config.orders, config.sync.profile);
            gate.refused_edit(&detail, patch, now)
        }),
        _ => None,
    };
    let done = match refused {
        Some(refused) => refused,
        None => desk.deed(&deed, now)?,
    };
    match done {
        Done::Changed { count, changes } => {
            print(&text::changes(count, &changes));
            Ok(Exit::Ok)
        }
        Done::NoSuchWrite => {
            eprintln!(
                "storesync: there is no such write: name one by its key or its number, such as '#17', see `storesync orders list --state any`"
            );
            Ok(Exit::Failed)
        }
        Done::Refused(sentence) => {
            eprintln!("storesync: {sentence}");
            Ok(Exit::Failed)
        }
    }
}

fn filter(asked: &OrdersFilter, usual_state: Option<WriteState>) -> anyhow::Result<Filter> {
    let time = |text: &Option<String>| -> anyhow::Result<Option<Millis>> {
        text.as_deref()
            .map(|text| {
                parse_datetime(text).ok_or_else(|| {
                    Misused(format!(
                        "{text} is no date and time with a zone, such as 2026-11-22T09:30:00Z"
                    ))
                    .into()
                })
            })
            .transpose()
    };
    let kind = asked.kind.as_deref().map(|name| {
        Kind::from_name(name).ok_or_else(|| {
            Misused(format!(
                "there is no kind {name}: see `storesync orders list --help`"
            ))
        })
    });
    Ok(Filter {
        kind: kind.transpose()?,
        state: match asked.state.as_deref() {
            Some("any") => None,
            Some(name) => Some(state(name)?),
            None => usual_state,
        },
        code: asked.code.clone(),
        store_id: asked.store.clone(),
        customer: asked.customer.clone(),
        text: asked.text.clone(),
        since: time(&asked.since)?,
        until: time(&asked.until)?,
        ..Filter::default()
    })
}

fn state(name: &str) -> Result<WriteState, Misused> {
    WriteState::from_name(name).ok_or_else(|| {
        let known = WriteState::ALL.map(WriteState::name).join(", ");
        Misused(format!("there is no state {name}: there are {known}, and any"))
    })
}

/// The merge patch that the arguments make.
fn patch_of(set: &[String], file: Option<&Path>) -> anyhow::Result<Value> {
    let mut patch = match file {
        None => json!({}),
        Some(path) => {
            let (name, text) = match path == Path::new("-") {
                true => (
                    "standard input".to_owned(),
                    std::io::read_to_string(std::io::stdin()),
                ),
                false => (path.display().to_string(), std::fs::read_to_string(path)),
            };
            let text = text.map_err(|error| Misused(format!("{name} cannot be read ({error})")))?;
            body::read(text.as_bytes()).map_err(|refusal| Misused(refusal.sentence(&name)))?
        }
    };
    for assignment in set {
        let (path, value) = assignment
            .split_once('=')
            .ok_or_else(|| Misused(format!("{assignment} is not of the form path=value")))?;
        let value = match body::read(value.as_bytes()) {
            Ok(value) => value,
            Err(Refusal::Whole(_)) => value.into(),
            Err(Refusal::Member(invalid)) => {
                let place = match invalid.field.as_str() {
                    "" => path.to_owned(),
                    inside => format!("{path}: {inside}"),
                };
                return Err(Misused(format!("{place} {}", invalid.message)).into());
            }
        };
        edit::set(&mut patch, path, value).map_err(Misused)?;
    }
    Ok(patch)
}

fn export(dir: &Path, asked: &OrdersFilter) -> anyhow::Result<Exit> {
    let (desk, filter) = (Desk::read(dir)?, filter(asked, None)?);
    write_down(dir, &filter.export(actor()?))?;
    let mut out = std::io::stdout().lock();
    let mut after = 0;
    loop {
        let page = desk.export(&filter, after)?;
        let Some(last) = page.last() else {
            return Ok(Exit::Ok);
        };
        after = last.view.sequence;
        for detail in &page {
            // Whoever closed it has read enough.
            if writeln!(out, "{}", detail.json()).is_err() {
                return Ok(Exit::Ok);
            }
        }
    }
}

fn map(config: &Config) -> anyhow::Result<Exit> {
    let profile = config.orders.profile.unwrap_or(config.sync.profile);
    let mapping = Mapping::new(profile, &config.orders.map).map_err(ConfigError)?;
    print(&text::matching(&config.orders));
    for (name, field) in mapping.all() {
        print(&format!(
            "{name:34}{}\n",
            if field.is_empty() { "-" } else { field }
        ));
    }
    let shape = Known::open(&config.state.dir, &config.orders, config.sync.profile).shape();
    let version_field = config.orders.version_field.iter();
    for (field, object) in version_field.flat_map(|field| OBJECTS.map(|object| (field, object))) {
        let found = shape.as_ref().and_then(|shape| shape.object(object).ok());
        let told = match found.map(|object| field_of(object, field)) {
            None => format!("{field} (the org is not known yet)"),
            Some(Ok(name)) => name.to_owned(),
            Some(Err(lack)) => format!("- ({lack})"),
        };
        print(&format!("{:34}{told}\n", format!("version of {object}")));
    }
    Ok(Exit::Ok)
}
