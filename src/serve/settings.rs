//! What a store has besides its catalogue: where a request belongs, taxes, shipping, payment, promotions, forms.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use crate::model::clock::local;
use crate::serve::access::Grant;
use crate::serve::catalogue::{find_store, missing, named, no_stores, seen, shown_to};
use crate::serve::cursor::Form;
use crate::serve::freshness::Subject;
use crate::serve::problem::Problem;
use crate::serve::query::{Asked, At};
use crate::serve::reply::IfNoneMatch;
use crate::serve::{World, reply};
use crate::store::storefront::listing::{self, Kind};
use crate::store::storefront::promotions::{self, Moment};
use crate::store::storefront::stores::Store;
use crate::store::storefront::zones::Place;
use crate::store::storefront::{Found, json, resolve, shipping, taxes};

pub async fn resolve(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    held: IfNoneMatch,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let query = resolve::Query {
        host: asked.take("host")?,
        path: asked.take("path")?,
        country: asked.take("country")?,
    };
    asked.end()?;
    match world.reader.with(|cache| resolve::resolve(cache, &query))? {
        Found::Row(found) => {
            let granted = |store: &Value| store["id"].as_str().is_some_and(|id| grant.holds(id));
            if !granted(&found["store"]) {
                return Err(Problem::not_found("no store is at this address"));
            }
            Ok(reply::hashed(
                &held,
                only_held(found, granted).to_string().into_bytes(),
            ))
        }
        Found::NoRow => Err(missing(&world, Subject::Resolved, "no store is at this address")),
        Found::NoObject => Err(no_stores(&world)),
    }
}

/// Without the stores that the token is not for.
fn only_held(mut found: Value, held: impl Fn(&Value) -> bool) -> Value {
    if let Some(siblings) = found["siblings"].as_array_mut() {
        siblings.retain(&held);
    }
    if !held(&found["suggested"]) {
        found["suggested"] = Value::Null;
    }
    found
}

fn place(asked: &mut Asked, prefix: &str) -> Result<Place, Problem> {
    let mut part = |name: &str| asked.take(&format!("{prefix}{name}"));
    let (country, state, city, postcode) =
        (part("country")?, part("state")?, part("city")?, part("postcode")?);
    Ok(Place::new(
        country.as_deref(),
        state.as_deref(),
        city.as_deref(),
        postcode.as_deref(),
    ))
}

/// A list with more said beside it.
fn list(held: &IfNoneMatch, items: &[Vec<u8>], more: &[(&str, bool)]) -> Response {
    let mut out = json::list(items, None);
    out.pop();
    for (name, value) in more {
        out.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
    }
    out.push(b'}');
    reply::hashed(held, out)
}

pub async fn taxes(
    State(world): State<World>,
    At(key): At<String>,
    held: IfNoneMatch,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let store = find_store(&world, &key)?;
    let query = taxes::Query {
        shipping: place(&mut asked, "")?,
        billing: place(&mut asked, "billing_")?,
        product_id: asked.take("product")?,
        today: local(world.clock.now(), store.timezone.as_deref()).date,
    };
    asked.end()?;
    let (items, engine) = world.reader.with(|cache| taxes::list(cache, &store, &query))?;
    let more = [
        ("tax_inclusive", store.tax_inclusive),
        ("needs_live_check", engine),
    ];
    Ok(list(&held, &items, &more))
}

pub async fn shipping_methods(
    State(world): State<World>,
    At(key): At<String>,
    held: IfNoneMatch,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let store = find_store(&world, &key)?;
    let query = shipping::Query {
        place: place(&mut asked, "")?,
        total: asked.take_number("total")?,
        weight: asked.take_number("weight")?,
        product_ids: asked.take_list("products")?,
    };
    asked.end()?;
    let offered = world.reader.with(|cache| shipping::list(cache, &store, &query))?;
    let more = [
        ("shipping_required", offered.required),
        ("needs_live_check", offered.needs_live_check),
    ];
    Ok(list(&held, &offered.items, &more))
}

pub async fn promotions(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    At(key): At<String>,
    held: IfNoneMatch,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let named = named(&grant, &mut asked)?;
    let coupon = asked.take("coupon")?;
    asked.end()?;
    let (items, visitor) = seen(&world, &key, &named, |cache, store, visitor| {
        let moment = Moment::of(store, visitor, coupon);
        promotions::list(cache, store, visitor, &moment)
    })?;
    let answer = list(&held, &items, &[]);
    Ok(shown_to(visitor.as_deref(), answer))
}

fn listing(
    world: &World,
    key: &str,
    held: &IfNoneMatch,
    mut asked: Asked,
    kind: Kind,
) -> Result<Response, Problem> {
    let store: Store = find_store(world, key)?;
    let (after, limit) = (asked.cursor(Form::Ordered)?, asked.limit()?);
    asked.end()?;
    match world
        .reader
        .with(|cache| listing::list(cache, kind, &store.id, &after, limit))?
    {
        Found::Row(page) => Ok(reply::page(held, &page.items, page.next.as_deref())),
        Found::NoRow | Found::NoObject => Err(no_stores(world)),
    }
}

macro_rules! listings {
    ($($name:ident => $kind:ident),* $(,)?) => {
        $(
            pub async fn $name(
                State(world): State<World>,
                At(key): At<String>,
                held: IfNoneMatch,
                asked: Asked,
            ) -> Result<Response, Problem> {
                listing(&world, &key, &held, asked, Kind::$kind)
            }
        )*
    };
}

listings! {
    payment_providers => PaymentProviders,
    auth_providers => AuthProviders,
    collection_points => CollectionPoints,
    delivery_windows => DeliveryWindows,
    forms => Forms,
    bookings => Bookings,
    availability => Availability,
    routes => Routes,
}
