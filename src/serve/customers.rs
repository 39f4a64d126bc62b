//! Customers, for storefronts that are allowed to know them. Nothing of this may be kept by a cache on the way.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::model::clock::format_datetime;
use crate::serve::catalogue::{find_store, missing};
use crate::serve::cursor::{self, Form};
use crate::serve::freshness::Subject;
use crate::serve::problem::Problem;
use crate::serve::query::{Asked, At};
use crate::serve::{World, persons, reply};
use crate::store::outbox::PendingOrder;
use crate::store::storefront::customers::{self, Customer, Kind};

fn find(world: &World, store: &str, name: &str, subject: Subject) -> Result<Customer, Problem> {
    find_store(world, store)?;
    let found = world
        .reader
        .snapshot(|cache| persons::named(world, cache, name))?;
    found.ok_or_else(|| {
        missing(
            world,
            subject,
            "there is no such customer: name it by id, external id or e-mail",
        )
    })
}

/// Says whose it is.
fn of(customer: &Customer, answer: Response) -> Response {
    match customer.record_id() {
        Some(record_id) => persons::told(answer, record_id),
        None => answer,
    }
}

fn private(body: &Value) -> Response {
    let mut response = reply::json(axum::http::StatusCode::OK, body.to_string().into_bytes());
    let value = HeaderValue::from_static("private, no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}

pub async fn customer(
    State(world): State<World>,
    At((store, key)): At<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    asked.end()?;
    let customer = find(&world, &store, &key, Subject::Customer)?;
    let told = world.reader.with(|cache| customers::describe(cache, &customer))?;
    Ok(of(&customer, private(&told)))
}

/// A customer's own orders across all stores: on the first page those that the org has not confirmed yet, then the org's own. An
/// order that is in both is told once.
pub async fn orders(
    State(world): State<World>,
    At((store, key)): At<(String, String)>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let (after, limit) = (asked.cursor(Form::Id)?, asked.limit()?);
    asked.end()?;
    let found = match find(&world, &store, &key, Subject::CustomerOrders) {
        Ok(customer) => Some(customer),
        // A new customer's first orders may be on their way before the customer is known.
        Err(problem) if problem.is_not_found() => None,
        Err(problem) => return Err(problem),
    };
    let mut items = Vec::new();
    if after.is_empty() {
        let names = |customer: &Option<Customer>| {
            let external_id = customer
                .as_ref()
                .and_then(|customer| customer.external_id.clone());
            let email = customer.as_ref().and_then(|customer| customer.email.clone());
            (
                external_id.unwrap_or_else(|| key.clone()),
                email.unwrap_or_else(|| key.clone()),
            )
        };
        let (external_id, email) = names(&found);
        for order in world.intake.pending_of(&external_id, &email)? {
            let id = order.salesforce_id.as_deref();
            if !world
                .reader
                .with(|cache| customers::has_order(cache, id, &order.org_key))?
            {
                items.push(pending(&order));
            }
        }
    }
    let (mut next, mut whose) = (None, None);
    match found {
        Some(customer) => {
            let made = match &customer.contact_id {
                Some(contact) => world.intake.orders_of(contact, &after, limit)?,
                None => Vec::new(),
            };
            let read = page(&world, &customer, Kind::Orders, (&made, &after, limit))?;
            items.extend(read.0);
            next = read.1;
            whose = Some(customer);
        }
        None if items.is_empty() => {
            return Err(missing(
                &world,
                Subject::CustomerOrders,
                "there is no such customer",
            ));
        }
        None => {}
    }
    let next = cursor::written(&world.life()?, next.as_deref());
    let answer = private(&json!({"items": items, "next": next}));
    Ok(match whose {
        Some(customer) => of(&customer, answer),
        None => answer,
    })
}

fn pending(order: &PendingOrder) -> Value {
    json!({
        "id": order.salesforce_id,
        "order_number": null,
        "external_id": order.external_id,
        "status": null,
        "state": order.state,
        "store_id": order.store_id,
        "currency": order.currency,
        "accepted_at": format_datetime(order.accepted_at),
    })
}

/// Some of what a customer has; of colleagues only where the configuration says that they share.
fn page(
    world: &World,
    customer: &Customer,
    kind: Kind,
    (own, after, limit): (&[String], &str, usize),
) -> Result<(Vec<Value>, Option<String>), Problem> {
    let asked = customers::Asked {
        customer,
        kind,
        shares_account: world.account_history,
        own,
    };
    let read = world
        .reader
        .with(|cache| customers::list(cache, asked, after, limit));
    Ok(read?)
}

fn subject_of(kind: Kind) -> Subject {
    match kind {
        Kind::Orders => Subject::CustomerOrders,
        Kind::Assets => Subject::CustomerAssets,
        Kind::Cases => Subject::CustomerCases,
        Kind::Points => Subject::CustomerPoints,
    }
}

fn listed(
    world: &World,
    (store, key): (String, String),
    mut asked: Asked,
    kind: Kind,
) -> Result<Response, Problem> {
    let (after, limit) = (asked.cursor(Form::Id)?, asked.limit()?);
    asked.end()?;
    let customer = find(world, &store, &key, subject_of(kind))?;
    let (items, next) = page(world, &customer, kind, (&[], &after, limit))?;
    let next = cursor::written(&world.life()?, next.as_deref());
    Ok(of(&customer, private(&json!({"items": items, "next": next}))))
}

pub async fn assets(
    State(world): State<World>,
    At(at): At<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    listed(&world, at, asked, Kind::Assets)
}

pub async fn cases(
    State(world): State<World>,
    At(at): At<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    listed(&world, at, asked, Kind::Cases)
}

pub async fn points(
    State(world): State<World>,
    At(at): At<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    listed(&world, at, asked, Kind::Points)
}
