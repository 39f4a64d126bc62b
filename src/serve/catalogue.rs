//! Stores, their products, and rows as they are.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::serve::problem::Problem;
use crate::serve::{World, reply};
use crate::store::storefront::objects::{self, Listed, Selection};
use crate::store::storefront::stores::{self, Store};
use crate::store::storefront::{Found, json, products};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 500;

/// `limit`, `cursor` and the rest of a query.
type Asked = Query<Vec<(String, String)>>;

pub async fn stores(State(world): State<World>) -> Result<Response, Problem> {
    let found = world.reader.with(stores::list)?;
    let Found::Row(all) = found else {
        return Err(no_stores(&world));
    };
    let items: Vec<Vec<u8>> = all.iter().map(Store::json).collect();
    Ok(reply::json(&world, StatusCode::OK, json::list(&items, None)))
}

pub async fn store(
    State(world): State<World>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = find_store(&world, &key)?;
    Ok(reply::tagged(
        &world,
        &headers,
        &store.revision.to_string(),
        store.json_with_fields(),
    ))
}

pub async fn products(
    State(world): State<World>,
    Path(key): Path<String>,
    Query(asked): Asked,
) -> Result<Response, Problem> {
    let selection = selection(asked)?;
    if let Some((name, _)) = selection.equal.first() {
        return Err(
            Problem::bad_request(format!("products take limit and cursor, not {name}")).on_field(name),
        );
    }
    let store = find_store(&world, &key)?;
    let found = world
        .reader
        .with(|cache| products::list(cache, &store, &selection.after, selection.limit))?;
    match found {
        Found::Row(page) => Ok(reply::json(
            &world,
            StatusCode::OK,
            json::list(&page.items, page.next.as_deref()),
        )),
        Found::NoRow | Found::NoObject => Err(no_stores(&world)),
    }
}

pub async fn product(
    State(world): State<World>,
    Path((key, product)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = find_store(&world, &key)?;
    match world
        .reader
        .with(|cache| products::find(cache, &store, &product))?
    {
        Found::Row(product) => Ok(reply::tagged(&world, &headers, &product.tag, product.json)),
        Found::NoRow => Err(missing(&world, "the store shows no such product")),
        Found::NoObject => Err(no_stores(&world)),
    }
}

pub async fn object(
    State(world): State<World>,
    Path((object, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match world.reader.with(|cache| objects::row(cache, &object, &id))? {
        Found::Row(row) => Ok(reply::tagged(
            &world,
            &headers,
            &row.revision.to_string(),
            row.json,
        )),
        Found::NoRow => Err(missing(&world, "the object has no such row")),
        Found::NoObject => Err(missing(&world, "the object is not mirrored: see [sync] objects")),
    }
}

pub async fn objects(
    State(world): State<World>,
    Path(object): Path<String>,
    Query(asked): Asked,
) -> Result<Response, Problem> {
    let selection = selection(asked)?;
    match world
        .reader
        .with(|cache| objects::list(cache, &object, &selection))?
    {
        Listed::Page(page) => Ok(reply::json(
            &world,
            StatusCode::OK,
            json::list(&page.items, page.next.as_deref()),
        )),
        Listed::NoObject => Err(missing(&world, "the object is not mirrored: see [sync] objects")),
        Listed::NoColumn(name) => {
            Err(Problem::bad_request(format!("the object has no column {name}")).on_field(name))
        }
    }
}

/// A store by id, code or domain.
pub fn find_store(world: &World, key: &str) -> Result<Store, Problem> {
    match world.reader.with(|cache| stores::find(cache, key))? {
        Found::Row(store) => Ok(store),
        Found::NoRow => Err(missing(
            world,
            "there is no such store: name it by its id, code or domain",
        )),
        Found::NoObject => Err(no_stores(world)),
    }
}

fn no_stores(world: &World) -> Problem {
    missing(
        world,
        "the cache has no StoreConnect objects, so there are no stores: see [sync] profile",
    )
}

/// What is not in the cache may be on its way while the first load runs.
fn missing(world: &World, detail: &str) -> Problem {
    if world.health.borrow().initializing {
        Problem::unavailable("the first load is not complete yet: try again")
    } else {
        Problem::not_found(detail)
    }
}

/// Reads the query: `limit` and `cursor`, and what is left as filters.
fn selection(asked: Vec<(String, String)>) -> Result<Selection, Problem> {
    let mut selection = Selection {
        limit: LIMIT_DEFAULT,
        ..Selection::default()
    };
    for (name, value) in asked {
        match name.as_str() {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                selection.limit = limit.ok_or_else(|| {
                    Problem::bad_request(format!("limit must be a number from 1 to {LIMIT_MAX}"))
                        .on_field("limit")
                })?;
            }
            "cursor" => selection.after = value,
            _ => selection.equal.push((name, value)),
        }
    }
    Ok(selection)
}
