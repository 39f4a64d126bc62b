//! Stores, what they show to a visitor, and rows as they are.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rusqlite::Connection;

use crate::serve::access::Grant;
use crate::serve::cursor::Form;
use crate::serve::freshness::Subject;
use crate::serve::problem::Problem;
use crate::serve::query::{Asked, At};
use crate::serve::reply::IfNoneMatch;
use crate::serve::{World, partial, persons, reply};
use crate::store::storefront::objects::{self, Listed, Page, Selection};
use crate::store::storefront::products::{Query, Shelf};
use crate::store::storefront::stores::{self, Store};
use crate::store::storefront::visitor::{self, Visitor};
use crate::store::storefront::{Found, categories, feed, json};

const NOT_MIRRORED: &str = "the object is not mirrored: see [sync] objects";
const NO_SUCH_STORE: &str = "there is no such store: name it by its id, code or domain";

pub async fn stores(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    held: IfNoneMatch,
    asked: Asked,
) -> Result<Response, Problem> {
    asked.end()?;
    let holds = |id: &str| grant.holds(id);
    let Found::Row(items) = world.reader.with(|cache| stores::listed(cache, holds))? else {
        return Err(no_stores(&world));
    };
    Ok(reply::hashed(&held, json::list(&items, None)))
}

pub async fn store(
    State(world): State<World>,
    At(key): At<String>,
    held: IfNoneMatch,
    asked: Asked,
) -> Result<Response, Problem> {
    asked.end()?;
    let store = find_store(&world, &key)?;
    let body = world.reader.with(|cache| stores::with_settings(cache, &store))?;
    let body = body.ok_or_else(|| missing(&world, Subject::Settings, NO_SUCH_STORE))?;
    Ok(reply::hashed(&held, body))
}

/// How a visitor was named.
pub(super) struct Named {
    /// A customer's id, external id or e-mail.
    customer: Option<String>,
    /// A membership's id, for a visitor who is not named.
    membership: Option<String>,
}

/// Who the visitor is said to be; naming a customer needs a grant for that.
pub(super) fn named(grant: &Grant, asked: &mut Asked) -> Result<Named, Problem> {
    let named = Named {
        customer: asked.take("customer")?,
        membership: asked.take("membership")?,
    };
    if named.customer.is_some() && !grant.customers {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "the token is not for data of customers",
        ));
    }
    Ok(named)
}

/// Reads a store with the eyes of a visitor, all of it as of one commit. With what was read goes the id of the visitor's
/// record, where the visitor is known: the answer is for that one alone.
pub(super) fn seen<T>(
    world: &World,
    key: &str,
    named: &Named,
    read: impl FnOnce(&Connection, &Store, &Visitor) -> rusqlite::Result<T>,
) -> Result<(T, Option<String>), Problem> {
    let now = world.clock.now();
    world.reader.snapshot(|cache| {
        let store = found_store(world, stores::find(cache, key)?)?;
        let customer = match &named.customer {
            Some(name) => {
                let found = persons::named(world, cache, name)?;
                Some(found.ok_or_else(|| missing(world, Subject::Customer, "there is no such customer"))?)
            }
            None => None,
        };
        let visitor = visitor::find(cache, &store, customer, named.membership.as_deref(), now)?
            .ok_or_else(|| missing(world, Subject::Products, "there is no such membership"))?;
        let record_id = visitor.record_id().map(str::to_owned);
        Ok((read(cache, &store, &visitor)?, record_id))
    })
}

/// What a visitor is shown: kept by nobody for another, where it is for a known one.
pub(super) fn shown_to(visitor: Option<&str>, answer: Response) -> Response {
    match visitor {
        Some(record_id) => persons::told(reply::for_one(answer), record_id),
        None => answer,
    }
}

fn page(world: &World, held: &IfNoneMatch, found: Found<Page>) -> Result<Response, Problem> {
    match found {
        Found::Row(page) => Ok(reply::page(held, &page.items, page.next.as_deref())),
        Found::NoRow => Err(missing(
            world,
            Subject::Categories,
            "the store has no such category",
        )),
        Found::NoObject => Err(no_stores(world)),
    }
}

pub async fn products(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At(key): At<String>,
    held: IfNoneMatch,
    asked: Asked,
) -> Result<Response, Problem> {
    shelf(&world, &grant, &key, &held, asked, |shelf, query| {
        shelf.list(query)
    })
}

pub async fn prices(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At(key): At<String>,
    held: IfNoneMatch,
    asked: Asked,
) -> Result<Response, Problem> {
    shelf(&world, &grant, &key, &held, asked, |shelf, query| {
        shelf.prices(query)
    })
}

/// A page of what a visitor is shown of the products that are asked for.
fn shelf(
    world: &World,
    grant: &Grant,
    key: &str,
    held: &IfNoneMatch,
    mut asked: Asked,
    read: impl Fn(&Shelf<'_>, &Query) -> rusqlite::Result<Found<Page>>,
) -> Result<Response, Problem> {
    let named = named(grant, &mut asked)?;
    let query = product_query(&mut asked)?;
    asked.end()?;
    let (found, visitor) = seen(world, key, &named, |cache, store, visitor| {
        read(&Shelf::new(cache, store, visitor, world.intake.held()), &query)
    })?;
    let answer = page(world, held, found)?;
    Ok(shown_to(visitor.as_deref(), answer))
}

fn product_query(asked: &mut Asked) -> Result<Query, Problem> {
    let category = asked.take("category")?;
    let form = match category {
        Some(_) => Form::Ordered,
        None => Form::Id,
    };
    let mut query = Query {
        after: asked.cursor(form)?,
        limit: asked.limit()?,
        category,
        equal: Vec::new(),
    };
    for (name, column) in [
        ("product", "product_id"),
        ("product_code", "product_code"),
        ("family", "family"),
        ("brand", "brand_id"),
        ("master", "master_id"),
    ] {
        query.equal.extend(asked.take(name)?.map(|value| (column, value)));
    }
    Ok(query)
}

pub async fn product(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At((key, product)): At<(String, String)>,
    held: IfNoneMatch,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let named = named(&grant, &mut asked)?;
    asked.end()?;
    let (found, visitor) = seen(&world, &key, &named, |cache, store, visitor| {
        Shelf::new(cache, store, visitor, world.intake.held()).find(&product)
    })?;
    match found {
        Found::Row(product) => Ok(shown_to(visitor.as_deref(), reply::hashed(&held, product))),
        Found::NoRow | Found::NoObject => Err(missing(
            &world,
            Subject::Products,
            "the store shows no such product",
        )),
    }
}

pub async fn categories(
    State(world): State<World>,
    At(key): At<String>,
    held: IfNoneMatch,
    asked: Asked,
) -> Result<Response, Problem> {
    asked.end()?;
    let store = find_store(&world, &key)?;
    let items = world.reader.with(|cache| categories::tree(cache, &store.id))?;
    let body = serde_json::json!({"items": items, "next": null}).to_string();
    Ok(reply::hashed(&held, body.into_bytes()))
}

pub async fn object(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At((object, id)): At<(String, String)>,
    held: IfNoneMatch,
    asked: Asked,
) -> Result<Response, Problem> {
    personal(&grant, &object)?;
    let is_partial = asked.is_partial;
    asked.end()?;
    partial::of_object(&world, &object, is_partial, || {
        match world.reader.with(|cache| objects::row(cache, &object, &id))? {
            Found::Row(row) => Ok(reply::tagged(&held, row.revision, row.json)),
            Found::NoRow => Err(Problem::not_found("the object has no such row")),
            Found::NoObject => Err(Problem::not_found(NOT_MIRRORED)),
        }
    })
}

pub async fn objects(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At(object): At<String>,
    held: IfNoneMatch,
    mut asked: Asked,
) -> Result<Response, Problem> {
    personal(&grant, &object)?;
    let is_partial = asked.is_partial;
    let selection = Selection {
        columns: asked.take_list("fields")?,
        after: asked.cursor(Form::Id)?,
        limit: asked.limit()?,
        equal: asked.rest(),
    };
    partial::of_object(&world, &object, is_partial, || {
        match world
            .reader
            .with(|cache| objects::list(cache, &object, &selection))?
        {
            Listed::Page(page) => Ok(reply::page(&held, &page.items, page.next.as_deref())),
            Listed::NoObject => Err(Problem::not_found(NOT_MIRRORED)),
            Listed::NoColumn(name) => {
                Err(Problem::bad_request(format!("the object has no column {name}")).on_field(name))
            }
        }
    })
}

/// Rows that may be about persons need a grant for them.
fn personal(grant: &Grant, object: &str) -> Result<(), Problem> {
    if !grant.customers && !feed::is_of_catalogue(object) {
        let detail = "the token is not for data of customers";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    Ok(())
}

/// A store by id, code or domain.
pub fn find_store(world: &World, key: &str) -> Result<Store, Problem> {
    found_store(world, world.reader.with(|cache| stores::find(cache, key))?)
}

/// A store that was looked for, or why there is none.
pub fn found_store(world: &World, found: Found<Store>) -> Result<Store, Problem> {
    match found {
        Found::Row(store) => Ok(store),
        Found::NoRow => Err(missing(world, Subject::Settings, NO_SUCH_STORE)),
        Found::NoObject => Err(no_stores(world)),
    }
}

pub(super) fn no_stores(world: &World) -> Problem {
    missing(
        world,
        Subject::All,
        "the cache has no StoreConnect objects, so there are no stores: see [sync] profile and stores",
    )
}

/// What is not in the cache may be on its way, as long as the objects that would hold it have never been complete.
pub(super) fn missing(world: &World, subject: Subject, detail: &str) -> Problem {
    if world.is_initializing(subject) {
        world.initializing(subject)
    } else {
        Problem::not_found(detail)
    }
}
