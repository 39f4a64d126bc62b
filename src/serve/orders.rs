//! Orders in, and what became of them.
//!
//! Promises that a 202 is given only for an order that is on the disk, and that the same order under the same
//! key gets the same answer. What is wrong with an order is told at once, as far as the cache can tell;
//! nothing of an order that is refused is kept.

use std::fmt::Display;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::Connection;
use serde_json::Value;

use crate::model::body;
use crate::model::clock::{Millis, format_datetime};
use crate::model::order::parse::{self, Invalid};
use crate::model::order::rules::Rule;
use crate::model::order::{Customer, Fields, Order, Placed, card, day};
use crate::model::write::{Kind, Write};
use crate::outbound::outbox::{Accepted, Fingerprint, Incoming, Limit, Names, StoreKey, View};
use crate::serve::access::Grant;
use crate::serve::catalogue::{find_store, found_store};
use crate::serve::freshness::Subject;
use crate::serve::problem::Problem;
use crate::serve::query::At;
use crate::serve::{World, persons, reply};
use crate::store::storefront::customers::{self, Looked};
use crate::store::storefront::shelf::Shelf;
use crate::store::storefront::stores::{self, Store};
use crate::store::storefront::visitor::{self, Visitor};
use crate::store::storefront::{self, items, json};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What is encoded of a key in an address.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

pub async fn place(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At(key): At<String>,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let value = posted(body)?;
    let order = parse::order(&value, idempotency_key.as_deref())?;
    let external_id = order.external_id.clone();
    let Placing {
        store_id,
        fingerprint,
        not_written,
        placed,
    } = world
        .reader
        .snapshot(|cache| placing(&world, cache, &key, order, &grant))?;
    let accepted = match placed {
        // One that is there already is found by the writer, which looks in any case.
        Ok((write, limits)) => {
            world
                .intake
                .accept(Incoming {
                    write,
                    limits,
                    fingerprint,
                    idempotency_key: idempotency_key.clone(),
                })
                .await?
        }
        // What was accepted stays accepted, whatever became of the catalogue since.
        Err(refusal) => world
            .intake
            .earlier(
                order_key(&store_id, &external_id),
                fingerprint,
                idempotency_key.as_deref(),
            )?
            .ok_or(refusal)?,
    };
    let accepted_at = accepted_at(&accepted, &external_id, idempotency_key.as_deref())?;
    let status_url = format!("/v1/stores/{store_id}/orders/{}", segment(&external_id));
    let not_written = not_written.of(accepted_at);
    Ok(acceptance(&external_id, accepted_at, &status_url, &not_written))
}

/// What the cache makes of an order.
struct Placing {
    store_id: String,
    fingerprint: Fingerprint,
    /// Members that are left out.
    not_written: persons::LeftOut,
    /// The order as it will be sent, with how much orders may hold of what it wants.
    placed: Result<(Write, Vec<Limit>), Problem>,
}

/// All that is asked of the cache for an order.
fn placing(
    world: &World,
    cache: &Connection,
    key: &str,
    mut order: Order,
    grant: &Grant,
) -> Result<Placing, Problem> {
    let store = found_store(world, stores::find(cache, key)?)?;
    // Who sent it is no part of what was sent.
    let fingerprint = Fingerprint::of_order(&order, &store.id)?;
    order.customer.is_protected = !grant.customers;
    let names = Names::posted_order(&order);
    let about = persons::OfAccount {
        store_id: &store.id,
        named: None,
        is_change: false,
        has_billing: false,
    };
    let not_written = persons::left_out(world, cache, &order.customer, about, "customer.")?;
    let placed = placed(world, cache, &store, order).and_then(|(placed, visitor, limits)| {
        let keeps_person = {
            let found = (visitor.contact_id.as_deref(), visitor.account_id.as_deref());
            keeps_person(world, cache, &placed.customer, found)?
        };
        let names = names.with_lines_of(&placed);
        let write = Write::Order(placed);
        check(world, &store, &write, (names, keeps_person))?;
        Ok((write, limits))
    });
    Ok(Placing {
        placed,
        store_id: store.id,
        fingerprint,
        not_written,
    })
}

/// The body as JSON. What it holds is not repeated in what is said of it.
pub fn posted(body: Result<Bytes, BytesRejection>) -> Result<Value, Problem> {
    let body = body.map_err(|rejection| Problem::bad_body(rejection.status()))?;
    Ok(body::read(&body)?)
}

/// A key as a part of an address.
pub fn segment(key: &str) -> impl Display {
    utf8_percent_encode(key, SEGMENT)
}

/// When it was accepted, unless its key is another's.
pub fn accepted_at(accepted: &Accepted, external_id: &str, header: Option<&str>) -> Result<Millis, Problem> {
    match accepted {
        Accepted::New { accepted_at } | Accepted::Replay { accepted_at } => Ok(*accepted_at),
        Accepted::Conflict { by_header } => {
            // The header stands for a key that the body has not.
            let by_header = header.filter(|header| *by_header || *header == external_id);
            let (field, key) =
                by_header.map_or(("external_id", external_id), |header| ("Idempotency-Key", header));
            let detail = format!(
                "{field} {key} was used for something else: use a new one, or send again what was sent before"
            );
            Err(Problem::new(StatusCode::CONFLICT, "key-in-use", detail).on_field(field))
        }
        Accepted::OutOfStock { line } => {
            let sentence =
                "is out of stock: others ordered what was left just now; order less of it, or take it out";
            Err(Invalid::broken(format!("items[{line}]"), Rule::OutOfStock, sentence).into())
        }
    }
}

/// A member that was sent and is not written, and why.
pub type NotWritten = (String, &'static str);

/// What was so when it was accepted, so that asking again gets the same answer.
pub fn acceptance(
    external_id: &str,
    accepted_at: Millis,
    status_url: &str,
    not_written: &[NotWritten],
) -> Response {
    let mut answer = Vec::with_capacity(256);
    json::member(&mut answer, b'{', "external_id", Some(external_id));
    json::member(&mut answer, b',', "state", Some("queued"));
    json::member(
        &mut answer,
        b',',
        "accepted_at",
        Some(&format_datetime(accepted_at)),
    );
    json::member(&mut answer, b',', "status_url", Some(status_url));
    for (at, (field, why)) in not_written.iter().enumerate() {
        let begins: &[u8] = if at == 0 { b",\"not_written\":[" } else { b"," };
        answer.extend_from_slice(begins);
        json::member(&mut answer, b'{', "field", Some(field.as_str()));
        json::member(&mut answer, b',', "why", Some(why));
        answer.push(b'}');
    }
    if !not_written.is_empty() {
        answer.push(b']');
    }
    answer.push(b'}');
    reply::json(StatusCode::ACCEPTED, answer)
}

/// What a request names itself by, where it does.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(Self(None));
        };
        // A quoted string by the header's draft standard; most send it bare.
        let key = value
            .to_str()
            .unwrap_or_default()
            .trim()
            .trim_matches('"')
            .to_owned();
        parse::check_own_key(&key, "Idempotency-Key")?;
        if card::contains_in(&key, card::Field::Code) {
            return Err(Invalid::new("Idempotency-Key", "holds a card number: use another key").into());
        }
        Ok(Self(Some(key)))
    }
}

/// Refuses what the org would refuse.
pub fn check(world: &World, store: &Store, write: &Write, sent: (Names, bool)) -> Result<(), Problem> {
    Ok(world.intake.gate().check(write, sent, &store_names(store))?)
}

/// Whether the cache has the person of a write, who stays as they are: whoever sent it may not change customers, or they
/// were found by an address, which anybody can give and one person alone has.
pub fn keeps_person(
    world: &World,
    cache: &Connection,
    customer: &Customer,
    (contact, account): (Option<&str>, Option<&str>),
) -> rusqlite::Result<bool> {
    let is_there = contact.is_some() || account.is_some() && world.intake.has_person_accounts();
    let is_guest = customer.external_id.is_none() && customer.salesforce_id.is_none();
    match &customer.email {
        Some(address) if is_there && is_guest => storefront::is_one_s_address(cache, address),
        _ => Ok(is_there && customer.is_protected),
    }
}

fn store_names(store: &Store) -> [Option<&str>; 3] {
    [
        Some(store.id.as_str()),
        store.code.as_deref(),
        store.domain.as_deref(),
    ]
}

/// Refuses fields of the org that the store's list does not have.
pub fn check_fields(
    world: &World,
    store: &Store,
    object: &str,
    fields: &Fields,
    path: impl Display,
) -> Result<(), Problem> {
    let gate = world.intake.gate();
    match gate.refused_field(&store_names(store), object, fields) {
        Some(field) => {
            let message =
                format!("is not a field that the store may set: allow {object}.{field} under orders.fields");
            Err(Invalid::new(format!("{path}.{field}"), message).into())
        }
        None => Ok(()),
    }
}

/// Whom push will find a write to be for; nobody where that is a guest.
pub fn customer_of(
    world: &World,
    cache: &Connection,
    customer: &Customer,
) -> Result<Option<customers::Customer>, Problem> {
    let found = persons::find(world, cache, &world.intake.ways_to(customer))?;
    Ok(match found {
        Looked::One(customer) => Some(customer),
        Looked::Nobody | Looked::Several => None,
    })
}

/// Ties an order to its store and its items to entries of the price book in effect for its customer.
fn placed(
    world: &World,
    cache: &Connection,
    store: &Store,
    order: Order,
) -> Result<(Placed, Visitor, Vec<Limit>), Problem> {
    // What is not loaded yet may be this customer's prices.
    if world.is_initializing(Subject::Orders) {
        return Err(world.initializing(Subject::Orders));
    }
    check_posted(world, store, &order)?;
    let visitor = visitor::find(
        cache,
        store,
        customer_of(world, cache, &order.customer)?,
        order.membership.as_deref(),
        world.clock.now(),
    )?;
    let visitor = visitor.ok_or_else(|| Invalid::new("membership", "is no membership of the org"))?;
    let book = visitor.book.as_ref().ok_or_else(|| {
        let detail = "the store has no price book: give it one in the org";
        Problem::new(StatusCode::CONFLICT, "no-price-book", detail)
    })?;
    let shelf = Shelf::new(cache, store, &visitor, world.intake.held());
    let basket = items::resolve(&shelf, &order, &world.intake.pricing())??;
    let placed = Placed {
        external_id: order.external_id,
        store_id: store.id.clone(),
        pricebook_id: book.id.clone(),
        currency: order.currency.or_else(|| store.currency.clone()),
        effective_date: day::of_order(
            world.clock.now(),
            store.timezone.as_deref(),
            order.order_date.as_deref(),
        )?,
        customer: order.customer,
        shipping_address: order.shipping_address,
        billing_address: order.billing_address,
        lines: basket.lines,
        tax: order.tax,
        shipment: basket.shipment,
        savings: basket.savings,
        payments: order.payments,
        mark: mark(&basket.marks),
        fields: order.fields,
    };
    Ok((placed, visitor, basket.limits))
}

/// What people read at an order in the org that breaks rules.
fn mark(marks: &[String]) -> Option<String> {
    let all = marks.join(", ");
    (!all.is_empty()).then(|| format!("Taken against [orders.rules]: {all}"))
}

/// Refuses what a store does not take, as far as its items do not matter.
fn check_posted(world: &World, store: &Store, order: &Order) -> Result<(), Problem> {
    world.intake.check_places(order)?;
    check_fields(world, store, "Order", &order.fields, "fields")?;
    for (index, item) in order.items.iter().enumerate() {
        let path = format_args!("items[{index}].fields");
        check_fields(world, store, "OrderItem", &item.fields, path)?;
    }
    if let Some((currency, its)) = order.currency.as_deref().zip(store.currency.as_deref())
        && currency != its
    {
        return Err(Invalid::new("currency", format!("must be that of the store, {its}")).into());
    }
    Ok(())
}

pub async fn status(
    State(world): State<World>,
    At((key, external_id)): At<(String, String)>,
) -> Result<Response, Problem> {
    let view = of_store(&world, &key, Kind::Order, &external_id)?;
    let view = view.ok_or_else(|| Problem::not_found("the store has no such order"))?;
    Ok(reply::json(StatusCode::OK, told(&view).to_string().into_bytes()))
}

/// What a store sent under a key.
pub fn of_store(world: &World, store: &str, kind: Kind, external_id: &str) -> Result<Option<View>, Problem> {
    let key = |store_id: &str| {
        world.intake.status(StoreKey {
            kind,
            store_id,
            external_id,
        })
    };
    // The store's own id needs no cache, so that orders are told of while it is being loaded.
    if let Some(view) = key(store)? {
        return Ok(Some(view));
    }
    Ok(key(&find_store(world, store)?.id)?)
}

fn order_key<'a>(store_id: &'a str, external_id: &'a str) -> StoreKey<'a> {
    StoreKey {
        kind: Kind::Order,
        store_id,
        external_id,
    }
}

pub fn told(view: &View) -> Value {
    serde_json::json!({
        "external_id": view.external_id,
        "org_key": view.org_key.as_ref().unwrap_or(&view.external_id),
        "state": view.state,
        "salesforce_id": view.salesforce_id,
        "error": view.problem.as_ref().map(|problem| serde_json::json!({"code": problem.code, "message": problem.message})),
        "attempts": view.attempts,
        "waits_for": view.waits_for,
        "not_written": view.not_written,
        "next_attempt_at": view.due_at.map(format_datetime),
        "accepted_at": format_datetime(view.accepted_at),
        "updated_at": format_datetime(view.updated_at),
    })
}
