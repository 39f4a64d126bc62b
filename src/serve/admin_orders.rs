//! What operators do with orders and other writes, over HTTP. The same deeds as `storesync orders`.
//!
//! - `GET /api/orders?kind=&state=&code=&store=&customer=&text=&since=&until=&limit=&cursor=`: `{"items", "next"}`.
//! - `GET /api/orders/{reference}`: one with its body, every attempt with request and answer, and the audit. Without the
//!   role `personal` a write is told without what it holds, and `withheld` says so.
//!   A reference is an order's key, `kind:key` for other writes, or the number of any (`#17`); 409 where writes of several stores have the key.
//! - `POST /api/orders/{reference}/retry`, `/reopen`: `{"actor"}`; `/discard`: `{"actor", "reason"}`;
//!   `/edit`: `{"actor", "patch"}`, a JSON merge patch over the body, answered with what it changed.
//! - `POST /api/orders/retry`: `{"actor", "per_second", "filter": {...}}`: all that the filter takes.
//! - `GET /api/orders/export?...`: the same filter, one JSON object a line, with bodies and attempts.
//!
//! The actor of a deed is the token; whom the body names as `actor` is then kept as `on_behalf_of`. A token of some stores
//! finds the writes of those and no others.
//!
//! Deeds are answered `{"changed": n, "changes": [{"path", "from", "to"}]}`; 404 where there is no such write, 409
//! where its state forbids the deed.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{BoxError, Extension};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Role;
use crate::model::body;
use crate::model::clock::parse_datetime;
use crate::model::id::is_id;
use crate::model::state::WriteState;
use crate::model::write::Kind;
use crate::outbound::outbox::desk::{Action, Deed, Detail, Done, Filter, Sought};
use crate::serve::access::{Entry, Tokens};
use crate::serve::operators::Operator;
use crate::serve::problem::Problem;
use crate::serve::query::{self, At};
use crate::serve::{World, reply};
use crate::store::storefront::{Found, stores};

/// Who it was where no token says so, as the audit has it.
const ACTOR: &str = "admin API";

fn asked_for(query: Result<Query<Asked>, QueryRejection>) -> Result<Asked, Problem> {
    let refused = |error: QueryRejection| {
        Problem::bad_request(format!("the query cannot be used: {}", error.body_text()))
    };
    query.map(|Query(asked)| asked).map_err(refused)
}

/// As it stands in an address or a body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    kind: Option<String>,
    state: Option<String>,
    code: Option<String>,
    store: Option<String>,
    customer: Option<String>,
    text: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<i64>,
}

impl Asked {
    fn filter(&self, world: &World) -> Result<Filter, Problem> {
        let time = |text: &Option<String>, name: &str| match text {
            None => Ok(None),
            Some(text) => parse_datetime(text).map(Some).ok_or_else(|| {
                Problem::bad_request(format!(
                    "{name} must be a date and time with a zone, such as 2026-11-22T09:30:00Z"
                ))
            }),
        };
        let kind = match &self.kind {
            None => None,
            Some(name) => Some(Kind::from_name(name).ok_or_else(|| {
                let known = Kind::ALL.map(Kind::name).join(", ");
                Problem::bad_request(format!("there is no kind {name}: there are {known}"))
            })?),
        };
        let state = match &self.state {
            None => None,
            Some(name) => Some(WriteState::from_name(name).ok_or_else(|| {
                let known = WriteState::ALL.map(WriteState::name).join(", ");
                Problem::bad_request(format!("there is no state {name}: there are {known}"))
            })?),
        };
        let store_id = match &self.store {
            None => None,
            Some(key) => Some(store_id(world, key)?),
        };
        Ok(Filter {
            kind,
            state,
            code: self.code.clone(),
            store_id,
            customer: self.customer.clone(),
            text: self.text.clone(),
            since: time(&self.since, "since")?,
            until: time(&self.until, "until")?,
            ..Filter::default()
        })
    }
}

/// Pages until they end, or the token does: then the answer is broken off, so that nobody takes it for whole.
fn ended_with(
    tokens: Tokens,
    entry: Entry,
    pages: impl Stream<Item = Result<Bytes, BoxError>>,
) -> impl Stream<Item = Result<Bytes, BoxError>> {
    let (watched, held) = ((tokens.clone(), entry.clone()), (tokens, entry));
    let pages = pages.take_until(async move { watched.0.gone(&watched.1).await });
    let broken_off = stream::once(async move {
        let is_gone = !held.0.hold(&held.1);
        is_gone.then(|| Err::<Bytes, BoxError>("the token is gone".into()))
    });
    pages.chain(broken_off.filter_map(std::future::ready))
}

/// The id of a store by its id, code or domain. Writes keep the ids of stores that are gone.
fn store_id(world: &World, key: &str) -> Result<String, Problem> {
    match world.reader.with(|cache| stores::find(cache, key))? {
        Found::Row(store) => Ok(store.id),
        _ if is_id(key) => Ok(key.to_owned()),
        _ => Err(Problem::bad_request(format!(
            "there is no store {key}: give its id, code or domain"
        ))),
    }
}

pub async fn list(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let asked = asked_for(asked)?;
    let filter = operator.narrowed(asked.filter(&world)?)?;
    let limit = query::limit_of_rows(asked.limit)?;
    let views = world
        .intake
        .outbox()
        .list(&filter, asked.cursor.unwrap_or(0), limit)?;
    let full = views.len() == limit as usize;
    let next = views.last().filter(|_| full).map(|view| view.sequence);
    operator.has_read(&world, ACTOR, &views);
    let items = views.into_iter().map(|view| match operator.may(Role::Personal) {
        true => view.json(),
        false => view.without_values().json(),
    });
    let items: Vec<Value> = items.collect();
    let body = json!({"items": items, "next": next}).to_string();
    Ok(reply::json(StatusCode::OK, body.into_bytes()))
}

pub async fn show(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    At(reference): At<String>,
) -> Result<Response, Problem> {
    let detail = sought(&world, &operator, &reference)?;
    operator.has_read(&world, ACTOR, [&detail.view]);
    let body = operator.shown(detail).json().to_string().into_bytes();
    Ok(reply::json(StatusCode::OK, body))
}

/// A write of a store that the operator's token is for: whether another store has one is not told.
fn sought(world: &World, operator: &Operator, reference: &str) -> Result<Detail, Problem> {
    match world.intake.outbox().detail(reference)? {
        Sought::Found(detail) if operator.holds(&detail.view.store_id) => Ok(detail),
        Sought::Found(_) | Sought::None => Err(none()),
        Sought::Several(sentence) => Err(Problem::new(StatusCode::CONFLICT, "several", sentence)),
    }
}

fn none() -> Problem {
    Problem::not_found("there is no such write: see /api/orders")
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    actor: Option<String>,
    reason: Option<String>,
    patch: Value,
    per_second: Option<u32>,
    filter: Asked,
}

impl Wanted {
    fn read(body: &Bytes) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_value(body::read(body)?)
            .map_err(|error| Problem::bad_request(format!("the body cannot be used: {error}")))
    }

    fn deed(&self, operator: &Operator, action: Action) -> Deed {
        let is_said = |text: &String| !text.trim().is_empty();
        Deed {
            actor: operator.actor(ACTOR).to_owned(),
            on_behalf_of: self.actor.clone().filter(is_said),
            reason: self.reason.clone().filter(is_said),
            action,
        }
    }
}

pub async fn one(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    At((reference, deed)): At<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut wanted = Wanted::read(&body)?;
    // By its number, so that it is no other one by the time that it is done.
    let reference = format!("#{}", sought(&world, &operator, &reference)?.view.sequence);
    let action = match deed.as_str() {
        "retry" => Action::Retry { reference },
        "reopen" => Action::Reopen { reference },
        "edit" => {
            operator.check(Role::Edit, false)?;
            Action::Edit {
                reference,
                patch: wanted.patch.take(),
            }
        }
        "discard" => Action::Discard {
            reference,
            reason: wanted.reason.take().unwrap_or_default(),
        },
        _ => return Err(Problem::not_found("there are retry, edit, discard and reopen")),
    };
    done(&world, wanted.deed(&operator, action)).await
}

pub async fn retry_all(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    body: Bytes,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(&body)?;
    let action = Action::RetryAll {
        filter: operator.narrowed(wanted.filter.filter(&world)?)?,
        per_second: wanted.per_second.unwrap_or(10),
    };
    done(&world, wanted.deed(&operator, action)).await
}

async fn done(world: &World, deed: Deed) -> Result<Response, Problem> {
    if let Some(sentence) = deed.refusal() {
        return Err(Problem::bad_request(sentence));
    }
    let done = world.intake.deed(deed, world.clock.now()).await;
    match done.map_err(Problem::unaudited)? {
        Done::Changed { count, changes } => {
            let body = json!({"changed": count, "changes": changes}).to_string();
            Ok(reply::json(StatusCode::OK, body.into_bytes()))
        }
        Done::NoSuchWrite => Err(none()),
        Done::Refused(sentence) => Err(Problem::new(StatusCode::CONFLICT, "not-now", sentence)),
    }
}

/// All that a filter takes, page by page, so that an export of any size takes little memory. It begins once it is in the
/// audit.
pub async fn export(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    entry: Option<Extension<Entry>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let asked = asked_for(asked)?;
    let (outbox, filter) = (
        world.intake.outbox().clone(),
        operator.narrowed(asked.filter(&world)?)?,
    );
    let line = filter.export(operator.actor(ACTOR));
    let noted = outbox.write_down(vec![line], world.clock.now()).await;
    noted.map_err(Problem::unaudited)?;
    let (aside, source) = (world.pools.exports.clone(), Arc::new((outbox, filter)));
    let pages = stream::try_unfold(0, move |after| {
        let (aside, source) = (aside.clone(), Arc::clone(&source));
        let make = move || {
            let (outbox, filter) = &*source;
            let page = outbox.export(filter, after)?;
            let last = page.last().map(|detail| detail.view.sequence);
            let lines: String = page.iter().map(|detail| format!("{}\n", detail.json())).collect();
            Ok(last.map(|last| (Bytes::from(lines), last)))
        };
        async move { Ok::<_, BoxError>(aside.make(make).await?) }
    });
    let pages = match entry {
        Some(Extension(entry)) => ended_with(world.tokens.clone(), entry, pages).left_stream(),
        None => pages.right_stream(),
    };
    let mut response = Response::new(Body::from_stream(pages));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn an_export_is_broken_off_when_its_token_goes() {
        // The hash of `open sesame`.
        let hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
        let plain = "org = { login_url = \"https://a\", auth = \"jwt\", client_id = \"c\" }\nstate = { dir = \"s\" }\n";
        let token = format!("{plain}admin = {{ tokens = [{{ name = \"ana\", sha256 = \"{hash}\" }}] }}");
        let [with, without] = [&token, plain].map(|text| Config::parse(text, []).unwrap());
        let tokens = Tokens::new(&with, None, 0);
        let entry = tokens.log_in("open sesame").unwrap();
        let page = || stream::iter([Ok(Bytes::from("a line\n"))]);
        let whole = ended_with(tokens.clone(), entry.clone(), page());
        assert_eq!(
            whole
                .filter(|page| std::future::ready(page.is_err()))
                .count()
                .await,
            0
        );
        let endless = ended_with(tokens.clone(), entry, page().chain(stream::pending()));
        let mut endless = std::pin::pin!(endless);
        assert!(endless.next().await.unwrap().is_ok());
        tokens.set(&without);
        assert!(endless.next().await.unwrap().is_err());
        assert!(endless.next().await.is_none());
    }
}
