//! Orders and other writes: where each stands, every attempt, and what a person can do about one.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use serde::Deserialize;

use crate::config::Role;
use crate::model::body;
use crate::model::clock::format_datetime;
use crate::model::state::WriteState;
use crate::outbound::outbox::View;
use crate::outbound::outbox::desk::{Action, Audit, Deed, Detail, Done, Filter, Sought, WITHHELD};
use crate::serve::World;
use crate::serve::console::html::{
    Html, button, element, facts, field, folded, heading, link, note, table, tag, text, verbatim,
};
use crate::serve::console::login::FormToken;
use crate::serve::console::{ACTOR, Page, Trouble, is_ours, shell};
use crate::serve::operators::Operator;
use crate::serve::problem::Problem;

/// Writes on one page.
const LISTED: u32 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    state: String,
    text: String,
    after: i64,
}

pub async fn page(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    Query(asked): Query<Asked>,
) -> Page {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let filter = Filter {
        state: WriteState::from_name(asked.state.trim()),
        text: given(&asked.text),
        ..Filter::default()
    };
    let filter = operator
        .narrowed(filter)
        .map_err(|problem| Trouble::of(&problem))?;
    let views = world.intake.outbox().list(&filter, asked.after, LISTED)?;
    operator.has_read(&world, ACTOR, &views);
    let next = views
        .last()
        .filter(|_| views.len() == LISTED as usize)
        .map(|view| {
            let encode = |value: &str| {
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            let (state, part) = (encode(&asked.state), encode(&asked.text));
            link(
                &format!("/orders?state={state}&text={part}&after={}", view.sequence),
                "Later ones",
            )
        });
    let fields = [
        field("State", "state", &asked.state, WriteState::NeedsAttention.name()),
        field("Contains", "text", &asked.text, "part of the key or the problem"),
        button("Show"),
    ];
    let form = element(
        "form",
        &[("method", "get"), ("action", "/orders"), ("role", "search")],
        fields,
    );
    let rows = views.iter().map(|view| {
        let problem = view
            .problem
            .as_ref()
            .map(|problem| match operator.may(Role::Personal) {
                true => format!("{}: {}", problem.code, problem.message),
                false => problem.code.clone(),
            });
        vec![
            link(&address(view), &view.external_id),
            text(view.kind_name()),
            state(view.state),
            text(view.attempts),
            text(format_datetime(view.accepted_at)),
            text(problem.unwrap_or_default()),
        ]
    });
    let head = ["Key", "Kind", "State", "Attempts", "Accepted", "Problem"];
    let content = [form, table("Orders and other writes", &head, rows)];
    Ok(shell(
        StatusCode::OK,
        "/orders",
        "Orders",
        content.into_iter().chain(next),
    ))
}

fn address(view: &View) -> String {
    format!("/orders/%23{}", view.sequence)
}

fn state(state: WriteState) -> Html {
    let class = match state {
        WriteState::NeedsAttention => "bad",
        WriteState::Sent | WriteState::Confirmed => "good",
        WriteState::Queued | WriteState::Sending | WriteState::Waiting | WriteState::Discarded => "",
    };
    element(
        "span",
        &[("class", class)],
        [text(state.name().replace('_', " "))],
    )
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Told {
    done: String,
}

/// A write of a store that the operator's token is for.
fn sought(world: &World, operator: &Operator, reference: &str) -> Result<Detail, Trouble> {
    match world.intake.outbox().detail(reference)? {
        Sought::Found(detail) if operator.holds(&detail.view.store_id) => Ok(detail),
        Sought::Found(_) | Sought::None => Err(Trouble::not_found(format!("there is no write {reference}"))),
        Sought::Several(sentence) => Err(Trouble::new(StatusCode::CONFLICT, sentence)),
    }
}

pub async fn one(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    Extension(form_token): Extension<FormToken>,
    Path(reference): Path<String>,
    Query(told): Query<Told>,
) -> Page {
    let detail = operator.shown(sought(&world, &operator, &reference)?);
    let view = &detail.view;
    operator.has_read(&world, ACTOR, [view]);
    let mut content = Vec::new();
    if let Some(sentence) = sentence(&told.done) {
        content.push(element(
            "p",
            &[("role", "status"), ("class", "good")],
            [text(sentence)],
        ));
    }
    content.push(standing(view));
    if operator.may(Role::Operate) {
        content.push(heading("What can be done"));
        content.push(deeds(&form_token, &operator, view));
    }
    content.push(heading("Attempts"));
    content.push(attempts(&detail));
    content.push(heading("What is kept"));
    content.push(match detail.is_withheld {
        true => note(WITHHELD),
        false => verbatim("What is kept", format!("{:#}", detail.body)),
    });
    content.push(heading("What people did"));
    content.push(audit(&detail.audit));
    let title = format!("{} {}", view.kind_name(), view.external_id);
    Ok(shell(StatusCode::OK, "/orders", &title, content))
}

fn sentence(done: &str) -> Option<&'static str> {
    Some(match done {
        "retry" => "It is sent again now.",
        "edit" => "It was changed.",
        "discard" => "It was given up.",
        "reopen" => "It was taken up again.",
        _ => return None,
    })
}

fn standing(view: &View) -> Html {
    let mut told = vec![
        ("State".to_owned(), state(view.state)),
        ("Store".to_owned(), text(&view.store_id)),
        ("Accepted".to_owned(), text(format_datetime(view.accepted_at))),
        ("Attempts".to_owned(), text(view.attempts)),
    ];
    if let Some(key) = &view.org_key {
        told.push(("Key in the org".to_owned(), text(key)));
    }
    if let Some(id) = &view.salesforce_id {
        told.push(("In the org".to_owned(), text(id)));
    }
    if let Some(due_at) = view.due_at {
        told.push(("Next tried".to_owned(), text(format_datetime(due_at))));
    }
    if let Some(parent) = &view.waits_for {
        told.push(("Waits for".to_owned(), text(parent)));
    }
    for left_out in &view.not_written {
        let sentence = format!("{}: {}", left_out.field, left_out.why);
        told.push(("Not written".to_owned(), text(sentence)));
    }
    if let Some(problem) = &view.problem {
        let sentence = format!("{}: {}", problem.code, problem.message);
        told.push((
            "Problem".to_owned(),
            element("span", &[("class", "bad")], [text(sentence)]),
        ));
    }
    facts(told)
}

/// Every deed is offered that the operator may do: which of them can be done now is decided where it is done.
fn deeds(form_token: &FormToken, operator: &Operator, view: &View) -> Html {
    let token = form_token.field();
    let form = |deed: &str, label: &str, fields: Vec<Html>| {
        let action = format!("{}/{deed}", address(view));
        let parts = std::iter::once(token.clone())
            .chain(fields)
            .chain([button(label)]);
        element(
            "form",
            &[("method", "post"), ("action", &action), ("aria-label", label)],
            parts,
        )
    };
    if view.state == WriteState::Discarded {
        return form("reopen", "Take it up again", Vec::new());
    }
    let patch = element(
        "textarea",
        &[
            ("id", "patch"),
            ("name", "patch"),
            ("rows", "4"),
            ("spellcheck", "false"),
            ("required", ""),
        ],
        [],
    );
    let label = element(
        "label",
        &[("for", "patch")],
        [text("What to change, as a JSON merge patch")],
    );
    let patch = element("div", &[("class", "field large")], [label, patch]);
    let reason = element(
        "input",
        &[
            ("id", "reason"),
            ("name", "reason"),
            ("type", "text"),
            ("required", ""),
        ],
        [],
    );
    let label = element("label", &[("for", "reason")], [text("Why it is given up")]);
    let reason = element("div", &[("class", "field")], [label, reason]);
    let edit = operator
        .may(Role::Edit)
        .then(|| form("edit", "Change it", vec![patch]));
    std::iter::once(form("retry", "Try it again now", Vec::new()))
        .chain(edit)
        .chain([form("discard", "Give it up", vec![reason])])
        .collect()
}

fn attempts(detail: &Detail) -> Html {
    let rows = detail.attempts.iter().map(|attempt| {
        let problem = attempt
            .problem
            .as_ref()
            .map(|problem| format!("{}: {}", problem.code, problem.message));
        let exchanged = [("Request", &attempt.request), ("Answer", &attempt.response)];
        let exchanged = exchanged.into_iter().filter_map(|(name, body)| {
            let body = body.as_ref()?;
            Some(folded(name, verbatim(name, body)))
        });
        vec![
            text(attempt.attempt),
            text(format_datetime(attempt.began_at)),
            text(attempt.ended_at.map(format_datetime).unwrap_or_default()),
            text(attempt.state.as_deref().unwrap_or("running").replace('_', " ")),
            text(problem.unwrap_or_default()),
            exchanged.collect(),
        ]
    });
    let head = ["Attempt", "Began", "Ended", "Left it", "Problem", "Exchanged"];
    table("Attempts", &head, rows)
}

fn audit(audit: &[Audit]) -> Html {
    if audit.is_empty() {
        return note("Nobody has touched it.");
    }
    let rows = audit.iter().map(|line| {
        vec![
            text(format_datetime(line.at)),
            text(&line.action),
            text(match &line.on_behalf_of {
                Some(named) => format!("{} for {named}", line.actor),
                None => line.actor.clone(),
            }),
            text(line.reason.as_deref().unwrap_or_default()),
            text(line.changes.len()),
        ]
    });
    table("Deeds", &["When", "What", "Who", "Why", "Values changed"], rows)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    token: String,
    patch: String,
    reason: String,
}

pub async fn deed(
    State(world): State<World>,
    (Extension(operator), Extension(form_token)): (Extension<Operator>, Extension<FormToken>),
    Path((reference, name)): Path<(String, String)>,
    headers: HeaderMap,
    Form(wanted): Form<Wanted>,
) -> Page {
    if !is_ours(&world, &headers, (&form_token, &wanted.token)) {
        return Err(Trouble::foreign_form());
    }
    let back = format!("/orders/{}", reference.replace('#', "%23"));
    let reference = format!("#{}", sought(&world, &operator, &reference)?.view.sequence);
    if name == "edit" {
        operator
            .check(Role::Edit, false)
            .map_err(|problem| Trouble::of(&problem))?;
    }
    let reason = Some(wanted.reason.clone()).filter(|reason| !reason.trim().is_empty());
    let action = match name.as_str() {
        "retry" => Action::Retry { reference },
        "reopen" => Action::Reopen { reference },
        "edit" => Action::Edit {
            reference,
            patch: body::read(wanted.patch.as_bytes())
                .map_err(|refusal| Trouble::new(StatusCode::BAD_REQUEST, refusal.sentence("the change")))?,
        },
        "discard" => Action::Discard {
            reference,
            reason: wanted.reason,
        },
        _ => return Err(Trouble::not_found("there is no such deed")),
    };
    let deed = Deed {
        reason,
        ..Deed::new(operator.actor(ACTOR), action)
    };
    if let Some(sentence) = deed.refusal() {
        return Err(Trouble::new(StatusCode::BAD_REQUEST, sentence));
    }
    let done = world.intake.deed(deed, world.clock.now()).await;
    let done = done.map_err(|error| Trouble::of(&Problem::unaudited(error)))?;
    match done {
        Done::Changed { .. } => Ok(Redirect::to(&format!("{back}?done={name}")).into_response()),
        Done::NoSuchWrite => Err(Trouble::not_found("there is no such write")),
        Done::Refused(sentence) => {
            let content = [
                element("p", &[("role", "alert"), ("class", "bad")], [text(sentence)]),
                tag("p", "Nothing was changed."),
                link(&back, "Back"),
            ];
            Ok(shell(
                StatusCode::CONFLICT,
                "/orders",
                "It cannot be done now",
                content,
            ))
        }
    }
}
