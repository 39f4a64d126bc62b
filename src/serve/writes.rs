//! Everything else that a storefront writes: customers, cases, leads, campaign members, assets, forms, and what
//! happens to an order after it was placed. The same promises as for orders.
//!
//! - `POST /v1/stores/{store}/customers`, and `PATCH .../customers/{customer}` with an Idempotency-Key, which tells one
//!   change of a customer from the next; null and blank text empty what a record can be without;
//! - `POST .../cases`, `/leads`, `/campaign-members`, `/assets`, `/form-submissions`;
//! - `POST .../orders/{external_id}/updates` with one of `payment`, `cancelled` and the addresses: sent once the order
//!   is in the org, and never before;
//! - `GET .../writes/{kind}/{external_id}` tells what became of any of them.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::model::order::Customer;
use crate::model::order::parse::{self, Invalid};
use crate::model::state::WriteState;
use crate::model::write::kinds::{self, Spec};
use crate::model::write::{Entry, Kind, Write, parse as write_parse};
use crate::outbound::outbox::Names;
use crate::serve::access::Grant;
use crate::serve::catalogue::find_store;
use crate::serve::orders::{
    IdempotencyKey, acceptance, accepted_at, check, check_fields, customer_of, keeps_person, of_store,
    posted, segment, told,
};
use crate::serve::problem::Problem;
use crate::serve::query::At;
use crate::serve::{World, persons, reply};
use crate::store::storefront;
use crate::store::storefront::stores::Store;

type Taken = BoxFuture<'static, Result<Response, Problem>>;
/// A body as it arrived.
type Arrived = Result<Bytes, BytesRejection>;

/// Takes one kind where it is posted.
pub fn collection(
    spec: &'static Spec,
) -> impl Fn(State<World>, Extension<Grant>, At<String>, IdempotencyKey, Arrived) -> Taken + Clone {
    move |State(world), Extension(grant), At(store), IdempotencyKey(key), body| {
        Box::pin(take(world, spec, grant, store, key, body))
    }
}

async fn take(
    world: World,
    spec: &'static Spec,
    grant: Grant,
    store: String,
    key: Option<String>,
    body: Arrived,
) -> Result<Response, Problem> {
    let value = posted(body)?;
    let entry = write_parse::entry(spec, &value, key.as_deref())?;
    let store = find_store(&world, &store)?;
    accept(&world, &grant, &store, spec.kind, entry, key).await
}

/// Changes a customer whom the org has, and makes none. The path names the customer by key, id or address.
pub async fn change_customer(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At((store, customer)): At<(String, String)>,
    IdempotencyKey(key): IdempotencyKey,
    body: Arrived,
) -> Result<Response, Problem> {
    let value = posted(body)?;
    parse::refuse_cards(&value)?;
    parse::check_key(&customer, "the customer's key")?;
    let Some(key) = key else {
        let message = "is missing: a customer changes more than once, and each change needs a key of its own";
        return Err(Invalid::new("Idempotency-Key", message).into());
    };
    let entry = of_named(write_parse::customer_change(value, customer, &key)?);
    let store = find_store(&world, &store)?;
    accept(&world, &grant, &store, Kind::Customer, entry, Some(key)).await
}

/// The change of a customer who has to be there. An address is kept as a name alone, and not as somebody's key.
fn of_named(mut entry: Entry) -> Entry {
    if let Some(customer) = &mut entry.customer {
        entry.named = customer.external_id.take();
        let key = entry.named.clone().filter(|name| !name.contains('@'));
        customer.external_id = key;
    }
    entry
}

/// Takes what happens to an order after it was placed.
pub async fn update_order(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At((store, order)): At<(String, String)>,
    IdempotencyKey(key): IdempotencyKey,
    body: Arrived,
) -> Result<Response, Problem> {
    let value = posted(body)?;
    parse::check_key(&order, "the order's key")?;
    parse::refuse_cards(&json!({ "order_external_id": order }))?;
    let entry = write_parse::order_update(&value, &order, key.as_deref())?;
    let store = find_store(&world, &store)?;
    accept(&world, &grant, &store, Kind::OrderUpdate, entry, key).await
}

async fn accept(
    world: &World,
    grant: &Grant,
    store: &Store,
    kind: Kind,
    entry: Entry,
    key: Option<String>,
) -> Result<Response, Problem> {
    let object = kinds::spec(kind).map_or("Order", |spec| spec.object);
    check_fields(world, store, object, &entry.fields, "fields")?;
    if let Some(order) = &entry.order {
        known_order(world, store, order)?;
    }
    let entry = Entry {
        store_id: store.id.clone(),
        ..entry
    };
    let external_id = entry.external_id.clone();
    let keeps_person = stays(world, grant, &entry)?;
    let not_written = not_written(world, grant, kind, &entry)?;
    let write = Write::Entry(kind, entry);
    let checked = check(world, store, &write, (Names::posted(kind), keeps_person));
    let Write::Entry(kind, entry) = write else {
        return Err(Problem::bad_request("an order is posted to orders"));
    };
    let checked = world
        .intake
        .check_places_of(&entry)
        .map_err(Problem::from)
        .and(checked);
    let accepted = match checked {
        Ok(()) => {
            world
                .intake
                .accept_entry(kind, entry, grant.customers, key.clone())
                .await?
        }
        // What was accepted stays accepted, whatever the org takes since.
        Err(refusal) => world
            .intake
            .earlier_entry(kind, &entry, key.as_deref())?
            .ok_or(refusal)?,
    };
    let accepted_at = accepted_at(&accepted, &external_id, key.as_deref())?;
    let status_url = format!(
        "/v1/stores/{}/writes/{}/{}",
        store.id,
        kind.name(),
        segment(&external_id)
    );
    let not_written = not_written.of(accepted_at);
    Ok(acceptance(&external_id, accepted_at, &status_url, &not_written))
}

/// The members that are left out, as far as the cache knows.
fn not_written(world: &World, grant: &Grant, kind: Kind, entry: &Entry) -> Result<persons::LeftOut, Problem> {
    let Some(customer) = &entry.customer else {
        return Ok(persons::LeftOut::default());
    };
    let is_itself = kind == Kind::Customer;
    let customer = Customer {
        is_protected: !grant.customers,
        ..customer.clone()
    };
    let about = persons::OfAccount {
        store_id: &entry.store_id,
        named: entry.named.as_deref(),
        is_change: is_itself,
        has_billing: is_itself && entry.billing_address.is_some(),
    };
    let prefix = if is_itself { "" } else { "customer." };
    let mut left_out = world
        .reader
        .snapshot(|cache| persons::left_out(world, cache, &customer, about, prefix))?;
    if is_itself && left_out.is_kept() {
        let values = entry.values.keys().cloned();
        let fields = entry.fields.keys().map(|name| format!("fields.{name}"));
        let addresses = [
            entry
                .shipping_address
                .as_ref()
                .map(|_| "shipping_address".to_owned()),
            entry
                .billing_address
                .as_ref()
                .map(|_| "billing_address".to_owned()),
        ];
        left_out.keep(values.chain(addresses.into_iter().flatten()).chain(fields));
    }
    Ok(left_out)
}

/// Whether the write belongs to somebody whom the org has, as far as the cache knows, and who stays as they are.
fn stays(world: &World, grant: &Grant, entry: &Entry) -> Result<bool, Problem> {
    let Some(customer) = entry.customer.as_ref().filter(|_| entry.named.is_none()) else {
        return Ok(false);
    };
    let customer = Customer {
        is_protected: !grant.customers,
        ..customer.clone()
    };
    world.reader.snapshot(|cache| {
        let Some(found) = customer_of(world, cache, &customer)? else {
            return Ok(false);
        };
        let found = (found.contact_id.as_deref(), found.account_id.as_deref());
        Ok(keeps_person(world, cache, &customer, found)?)
    })
}

/// The order has to be the store's: one that it placed and that was not given up, or one that the org's record says is.
fn known_order(world: &World, store: &Store, order: &str) -> Result<(), Problem> {
    if let Some(view) = of_store(world, &store.id, Kind::Order, order)? {
        if view.state == WriteState::Discarded {
            let detail = "the order was given up: place it again under a new key, or have it reopened";
            return Err(Problem::new(StatusCode::CONFLICT, "order-discarded", detail));
        }
        return Ok(());
    }
    let is_theirs = world
        .reader
        .with(|cache| storefront::has_order(cache, order, store))?;
    if is_theirs {
        return Ok(());
    }
    Err(Problem::not_found("the store has no such order: place it first"))
}

pub async fn status(
    State(world): State<World>,
    At((store, kind, external_id)): At<(String, String, String)>,
) -> Result<Response, Problem> {
    let none = || Problem::not_found("the store has sent nothing under this key");
    let kind = Kind::from_name(&kind).ok_or_else(none)?;
    let view = of_store(&world, &store, kind, &external_id)?.ok_or_else(none)?;
    let body = told(&view).to_string().into_bytes();
    Ok(reply::json(StatusCode::OK, body))
}
