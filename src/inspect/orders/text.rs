//! Writes as people read them on a terminal.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::{Customers, Guests, Orders};
use crate::model::clock::format_datetime;
use crate::model::write::edit::Change;
use crate::store::outbox::desk::Detail;
use crate::store::outbox::{Attempt, View};

pub fn list(views: &[View], next: Option<i64>) -> String {
    if views.is_empty() {
        return "none\n".to_owned();
    }
    let mut text = String::new();
    for view in views {
        let _ = writeln!(
            text,
            "#{:<6} {:16} {:28} {:16} {:>3} attempts  {}",
            view.sequence,
            view.kind_name(),
            view.external_id,
            view.state.name(),
            view.attempts,
            format_datetime(view.accepted_at),
        );
        if let Some(problem) = &view.problem {
            let _ = writeln!(text, "        {}: {}", problem.code, problem.message);
        }
        if let Some(order) = &view.waits_for {
            let _ = writeln!(text, "        waits for the order {order}");
        }
        for left_out in &view.not_written {
            let _ = writeln!(text, "        not written: {}: {}", left_out.field, left_out.why);
        }
    }
    if let Some(next) = next {
        let _ = writeln!(text, "there are more: --after {next}");
    }
    text
}

pub fn detail(detail: &Detail) -> String {
    let view = &detail.view;
    let mut text = list(std::slice::from_ref(view), None);
    if let Some(key) = &view.org_key {
        let _ = writeln!(text, "        store {}; key in the org: {key}", view.store_id);
    }
    if let Some(id) = &view.salesforce_id {
        let _ = writeln!(text, "        in the org: {id}");
    }
    if let Some(due_at) = view.due_at {
        let _ = writeln!(text, "        next attempt {}", format_datetime(due_at));
    }
    let _ = match view.emptied_at {
        Some(at) => writeln!(text, "\nwhat it held was dropped {}", format_datetime(at)),
        None => writeln!(text, "\n{:#}", detail.body),
    };
    for attempt in &detail.attempts {
        text.push_str(&one_attempt(attempt));
    }
    for deed in &detail.audit {
        let at = format_datetime(deed.at);
        let reason = deed
            .reason
            .as_deref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let named = deed.on_behalf_of.as_ref();
        let named = named.map(|named| format!(" for {named}")).unwrap_or_default();
        let _ = writeln!(text, "\n{at} {} by {}{named}{reason}", deed.action, deed.actor);
        text.push_str(&differences(&deed.changes));
    }
    text
}

fn one_attempt(attempt: &Attempt) -> String {
    let mut text = String::new();
    let state = attempt.state.as_deref().unwrap_or("running");
    let _ = writeln!(
        text,
        "\nattempt {} at {}: {state}",
        attempt.attempt,
        format_datetime(attempt.began_at)
    );
    if let Some(problem) = &attempt.problem {
        let _ = writeln!(text, "  {}: {}", problem.code, problem.message);
    }
    for (name, exchanged) in [("sent", &attempt.request), ("answered", &attempt.response)] {
        if let Some(exchanged) = exchanged {
            let _ = writeln!(text, "  {name}: {exchanged}");
        }
    }
    text
}

/// What an edit of items leaves to the person who makes it.
const ITEMS_EDITED: &str = "the rules of [orders.rules] (restricted, stock, the most of an order, prices) are not applied to an edit: whether the order may have these items is for you to say\n";

pub fn changes(count: usize, changes: &[Change]) -> String {
    let mut text = differences(changes);
    let _ = match count {
        1 => writeln!(text, "1 write changed"),
        count => writeln!(text, "{count} writes changed"),
    };
    let is_item = |change: &Change| change.path.starts_with("lines");
    if changes.iter().any(is_item) {
        text.push_str(ITEMS_EDITED);
    }
    text
}

fn differences(changes: &[Change]) -> String {
    let value = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        value => value.to_string(),
    };
    changes.iter().fold(String::new(), |mut text, change| {
        let _ = writeln!(
            text,
            "  {}: {} -> {}",
            change.path,
            value(&change.from),
            value(&change.to)
        );
        text
    })
}

/// How the record of a customer is found, by the configuration: the first rule that finds one decides.
pub fn matching(orders: &Orders) -> String {
    let record = match orders.customers {
        Customers::Contacts => "a contact",
        Customers::Persons => "a person account",
    };
    let key = match &orders.external_id_field {
        Some(field) => format!("the record with this key in {field}"),
        None => "the record with this key".to_owned(),
    };
    let by_email = match orders.match_guests {
        Guests::Email => {
            ", of a guest who gives neither: the one record with the address, where exactly one has it (orders.match_guests = \"email\")"
        }
        Guests::Never => ": never (orders.match_guests = \"never\")",
    };
    format!(
        "A customer is {record} of the org, found by the first of:\n\
         1. external_id: {key}\n\
         2. salesforce_id: the record with this id, which has to be there\n\
         3. email{by_email}\n\
         4. else: a new record\n\n"
    )
}
