//! Stores, what they show to a visitor, and rows as they are.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rusqlite::Connection;

use crate::serve::access::Grant;
use crate::serve::freshness::{Subject, Told};
use crate::serve::problem::Problem;
use crate::serve::query::{Asked, At};
use crate::serve::reply::IfNoneMatch;
use crate::serve::{World, reply};
use crate::store::storefront::objects::{self, Listed, Page, Selection};
use crate::store::storefront::products::{Query, Shelf};
use crate::store::storefront::stores::{self, Store};
use crate::store::storefront::visitor::{self, Named, Visitor};
use crate::store::storefront::{Found, categories, feed, json};

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
    let body = body.ok_or_else(|| missing(&world, NO_SUCH_STORE))?;
    Ok(reply::hashed(&held, body))
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

/// Reads a store with the eyes of a visitor, all of it as of one commit. With what was read goes whether the visitor
/// is known, so that the answer is for that one alone.
pub(super) fn seen<T>(
    world: &World,
    key: &str,
    named: &Named,
    read: impl FnOnce(&Connection, &Store, &Visitor) -> rusqlite::Result<T>,
) -> Result<(T, bool), Problem> {
    let now = world.clock.now();
    world.reader.snapshot(|cache| {
        let store = found_store(world, stores::find(cache, key)?)?;
        let visitor = visitor::find(cache, &store, named, now)?
            .ok_or_else(|| missing(world, "there is no such customer or membership"))?;
        Ok((read(cache, &store, &visitor)?, visitor.is_known()))
    })
}

fn page(world: &World, held: &IfNoneMatch, found: Found<Page>) -> Result<Response, Problem> {
    match found {
        Found::Row(page) => Ok(reply::hashed(held, json::list(&page.items, page.next.as_deref()))),
        Found::NoRow => Err(missing(world, "the store has no such category")),
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
    let (found, is_known) = seen(world, key, &named, |cache, store, visitor| {
        read(&Shelf::new(cache, store, visitor, world.intake.held()), &query)
    })?;
    let answer = page(world, held, found)?;
    Ok(if is_known { reply::for_one(answer) } else { answer })
}

fn product_query(asked: &mut Asked) -> Result<Query, Problem> {
    let mut query = Query {
        after: asked.cursor()?,
        limit: asked.limit()?,
        category: asked.take("category")?,
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
    let (found, is_known) = seen(&world, &key, &named, |cache, store, visitor| {
        Shelf::new(cache, store, visitor, world.intake.held()).find(&product)
    })?;
    match found {
        Found::Row(product) if is_known => Ok(reply::for_one(reply::hashed(&held, product))),
        Found::Row(product) => Ok(reply::hashed(&held, product)),
        Found::NoRow | Found::NoObject => Err(missing(&world, "the store shows no such product")),
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
) -> Result<Response, Problem> {
    personal(&grant, &object)?;
    let told = world.health.borrow().freshness.told_of(&object);
    match world.reader.with(|cache| objects::row(cache, &object, &id))? {
        Found::Row(row) => {
            let answer = reply::tagged(&held, row.revision, row.json);
            Ok(dated(&world, &told, answer))
        }
        Found::NoRow => Err(missing(&world, "the object has no such row")),
        Found::NoObject => Err(missing(&world, "the object is not mirrored: see [sync] objects")),
    }
}

pub async fn objects(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At(object): At<String>,
    held: IfNoneMatch,
    mut asked: Asked,
) -> Result<Response, Problem> {
    personal(&grant, &object)?;
    let selection = Selection {
        columns: asked.take_list("fields")?,
        after: asked.cursor()?,
        limit: asked.limit()?,
        equal: asked.rest(),
    };
    let told = world.health.borrow().freshness.told_of(&object);
    match world
        .reader
        .with(|cache| objects::list(cache, &object, &selection))?
    {
        Listed::Page(page) => {
            let answer = reply::hashed(&held, json::list(&page.items, page.next.as_deref()));
            Ok(dated(&world, &told, answer))
        }
        Listed::NoObject => Err(missing(&world, "the object is not mirrored: see [sync] objects")),
        Listed::NoColumn(name) => {
            Err(Problem::bad_request(format!("the object has no column {name}")).on_field(name))
        }
    }
}

/// An answer about one object says how old that may be, and not how old all may be.
fn dated(world: &World, told: &Told, mut answer: Response) -> Response {
    told.tell(answer.headers_mut(), world.clock.moment());
    answer
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
        Found::NoRow => Err(missing(world, NO_SUCH_STORE)),
        Found::NoObject => Err(no_stores(world)),
    }
}

pub(super) fn no_stores(world: &World) -> Problem {
    missing(
        world,
        "the cache has no StoreConnect objects, so there are no stores: see [sync] profile and stores",
    )
}

/// What is not in the cache may be on its way while the first load runs.
pub(super) fn missing(world: &World, detail: &str) -> Problem {
    if world.is_initializing(Subject::All) {
        Problem::unavailable("the first load is not complete yet: try again")
    } else {
        Problem::not_found(detail)
    }
}
