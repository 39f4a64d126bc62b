//! The OpenAPI 3.1 documents, made from the tables of routes.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::config::Role;
use crate::serve::access::Access;
use crate::serve::reply::{Fixed, IfNoneMatch};
use crate::serve::routes::{self, Route};
use crate::serve::{partial, schemas};

/// What may stand in a query or a path, and what it is.
const PARAMETERS: &[(&str, &str)] = &[
    ("store", "A store's id, code or domain"),
    ("product", "A product's id; in the path also its slug or code"),
    (
        "customer",
        "A customer's id, external id or e-mail; needs a token for customers",
    ),
    ("membership", "A membership's id, for a visitor who is not named"),
    ("object", "An object as the org or the cache names it"),
    ("id", "A record's id, 18 characters"),
    ("external_id", "An order's key"),
    ("limit", "Most items of the page"),
    ("cursor", "`next` of the page before"),
    ("category", "A category's id or path; those below it are included"),
    ("product_code", "A product code"),
    ("family", "A product family"),
    ("brand", "The id of a brand's account"),
    ("master", "The id of the product that variants are wanted of"),
    ("country", "ISO 3166, two letters or three"),
    ("state", "The code of a state"),
    ("city", "A city"),
    ("postcode", "A postcode"),
    ("billing_country", "Of the billing address, where it is another"),
    ("billing_state", "Of the billing address"),
    ("billing_city", "Of the billing address"),
    ("billing_postcode", "Of the billing address"),
    ("total", "The order's price"),
    ("weight", "The order's weight, in the unit of the rates"),
    ("products", "Ids of the order's products, separated by commas"),
    ("host", "The host that was asked for"),
    ("path", "The path that was asked for"),
    ("coupon", "A coupon that the visitor has"),
    ("fields", "Columns that are wanted, separated by commas"),
    ("objects", "Objects to hear of, separated by commas"),
    (
        "partial",
        "Whether what is there is answered while the first load runs",
    ),
    ("rows", "Whether the rows come with the changes"),
    (
        "since",
        "Of changes, the position to go on after, unless Last-Event-ID says it; of writes, the oldest time",
    ),
    ("until", "The newest time, such as 2026-11-22T09:30:00Z"),
    ("kind", "What kind of write: order, customer, case and so on"),
    ("code", "A code of the trouble"),
    ("text", "Any part of what was written"),
    (
        "reference",
        "A write: its number, or its kind and key as in order:WEB-1",
    ),
    ("deed", "retry, edit, discard or reopen"),
];

/// A position in the stream of changes: the life of the cache and a revision. Those of earlier versions had no life.
const POSITION: &str = "^([0-9a-f]{12}\\.)?[0-9]{1,18}$";

/// Answers that any address may give.
const PROBLEMS: [(u16, &str); 9] = [
    (400, "What is asked is not well formed"),
    (401, "A token is needed"),
    (403, "The token is not for this"),
    (404, "There is no such thing"),
    (405, "This address takes another method"),
    (408, "The request took too long"),
    (414, "The address is too long"),
    (421, "The host is no name of this listener"),
    (
        503,
        "Not now: the first load is not complete, or something cannot be reached",
    ),
];

/// Made once: anybody may ask for them as often as they like.
static STOREFRONT: LazyLock<Fixed> =
    LazyLock::new(|| Fixed::new(document("storesync: storefronts", routes::storefront()).to_string()));
static OPERATORS: LazyLock<Fixed> =
    LazyLock::new(|| Fixed::new(document("storesync: operators", routes::operators()).to_string()));

pub async fn storefront(held: IfNoneMatch) -> Response {
    STOREFRONT.answer(&held)
}

pub async fn operators(held: IfNoneMatch) -> Response {
    OPERATORS.answer(&held)
}

/// The document of a listener.
pub fn document(title: &str, routes: impl Iterator<Item = &'static Route>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": title, "version": env!("CARGO_PKG_VERSION"), "license": {"name": "MIT OR Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

/// What a probe is told by 503.
fn not_well(route: &Route) -> Option<&'static str> {
    match route.name {
        "readyz" => Some("Reads or orders are not to be sent here"),
        "livez" => Some("The threads that serve storefronts stand still"),
        _ => None,
    }
}

fn operation(route: &Route) -> Value {
    let in_path = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| parameter(name, "path", &json!({"type": "string", "minLength": 1})))
        .collect();
    parameters.extend(
        route
            .query
            .iter()
            .map(|name| parameter(name, "query", &query_schema(route, name))),
    );
    if route.is_read() {
        let schema = json!({"type": "boolean", "default": false});
        parameters.push(parameter(partial::NAME, "query", &schema));
    }
    if route.gives == "Events" {
        let mut resume = parameter("since", "header", &json!({"type": "string", "pattern": POSITION}));
        resume["name"] = "Last-Event-ID".into();
        parameters.push(resume);
    }
    let mut answers = Map::new();
    answers.insert(route.status.to_string(), answer(route));
    if route.is_tagged() {
        answers.insert(
            "304".to_owned(),
            json!({"description": "What the asker has is still right"}),
        );
    }
    if let Some(description) = not_well(route) {
        let mut told = answer(route);
        told["description"] = description.into();
        answers.insert("503".to_owned(), told);
    }
    for (status, description) in PROBLEMS {
        let told = problem(status, description);
        answers.entry(status.to_string()).or_insert(told);
    }
    // Of operators; the tokens of storefronts have no roles.
    let roles: Vec<&str> = route.access.role().map(Role::name).into_iter().collect();
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "parameters": parameters,
        "security": if route.access == Access::Open { json!([]) } else { json!([{"token": roles}]) },
    });
    let more = [
        (
            route.query.contains(&"cursor") && route.is_read(),
            410,
            "The cursor is of a cache that is no longer there",
        ),
        (
            route.is_read() && (route.path.contains("{customer}") || route.query.contains(&"customer")),
            409,
            "Several customers have the address",
        ),
    ];
    for (_, status, description) in more.into_iter().filter(|(may_be, ..)| *may_be) {
        answers.insert(status.to_string(), problem(status, description));
    }
    if let Some(schema) = route.takes {
        takes(&mut operation, &mut answers, schema, route);
    }
    operation["responses"] = answers.into();
    operation
}

/// What comes with a body: its schema, a key that makes sending again safe, and the ways to refuse it.
fn takes(operation: &mut Value, answers: &mut Map<String, Value>, schema: &str, route: &Route) {
    operation["requestBody"] = json!({"required": true,
        "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}}});
    for (status, description) in [
        (
            StatusCode::CONFLICT,
            "The key belongs to another, or the store cannot take it",
        ),
        (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
        (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body is no application/json, or is packed",
        ),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            "What is sent is not valid, or the org would refuse it; field names the member",
        ),
    ] {
        answers.insert(status.as_u16().to_string(), problem(status.as_u16(), description));
    }
    if route.access.role().is_some() {
        return;
    }
    let description = match route.method {
        "patch" => "Tells one change from another, and makes sending again safe",
        _ => "Makes sending again safe; external_id does as well",
    };
    let key = json!({"name": "Idempotency-Key", "in": "header", "required": route.method == "patch",
        "schema": {"type": "string"}, "description": description});
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(key);
    }
}

/// An answer that says what is wrong.
fn problem(status: u16, description: &str) -> Value {
    let schema = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    let mut told = json!({"description": description, "content": {"application/problem+json": schema}});
    let (name, about, schema) = match status {
        401 => (
            "WWW-Authenticate",
            "How a token is sent",
            json!({"type": "string"}),
        ),
        503 => ("Retry-After", "Seconds to wait", json!({"type": "integer"})),
        _ => return told,
    };
    told["headers"] = json!({ name: header(about, &schema) });
    told
}

fn header(description: &str, schema: &Value) -> Value {
    json!({"description": description, "schema": schema})
}

fn parameter(name: &str, place: &str, schema: &Value) -> Value {
    let description = PARAMETERS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, text)| text);
    json!({"name": name, "in": place, "required": place == "path", "description": description, "schema": schema})
}

fn query_schema(route: &Route, name: &str) -> Value {
    match name {
        "limit" => json!({"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
        "total" | "weight" => json!({"type": "number", "minimum": 0}),
        "rows" => json!({"type": "boolean", "default": false}),
        "since" if route.gives == "Events" => json!({"type": "string", "pattern": POSITION}),
        "cursor" => json!({"type": "string", "maxLength": 2_000}),
        _ => json!({"type": "string", "maxLength": 400}),
    }
}

fn answer(route: &Route) -> Value {
    let content = match route.gives {
        "Events" => json!({"text/event-stream": {"schema": {"type": "string"}}}),
        "Text" => json!({"text/plain": {"schema": {"type": "string"}}}),
        "Lines" => json!({"application/x-ndjson": {"schema": {"type": "string"}}}),
        "Page" => json!({"text/html": {"schema": {"type": "string"}}}),
        schema => json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}}),
    };
    json!({"description": route.summary, "headers": headers(route), "content": content})
}

/// What an answer says of itself.
fn headers(route: &Route) -> Value {
    let mut headers = json!({});
    if route.is_dated() {
        let states = json!({"type": "string", "enum": ["initializing", "live", "stale"]});
        headers["Storesync-State"] = header("How well the cache follows the org", &states);
        let seconds = json!({"type": "integer"});
        headers["Storesync-Lag-Seconds"] =
            header("How old the answer may be; absent before a first load", &seconds);
    }
    if route.is_read() {
        let part = json!({"type": "string", "enum": ["true"]});
        headers["Storesync-Partial"] = header("The first load runs, and this is a part", &part);
    }
    if route.path.contains("{customer}") || route.query.contains(&"customer") {
        let text = "The record of the customer: after a merge the one that lives on";
        headers["Storesync-Customer"] = header(text, &json!({"type": "string"}));
    }
    if route.is_tagged() {
        headers["ETag"] = header("For If-None-Match", &json!({"type": "string"}));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the org has for the quantity of an item, by its describe: 18 digits, 2 of them after the point.
    const QUANTITY_DIGITS: usize = 16;

    #[test]
    fn a_quantity_has_as_many_digits_as_is_described() {
        let items = schemas::all()["NewOrder"]["properties"]["items"]["items"].clone();
        let pattern = items["properties"]["quantity"]["anyOf"][0]["pattern"].clone();
        let pattern = pattern.as_str().unwrap();
        let most: usize = pattern
            .strip_prefix("^[0-9]{1,")
            .unwrap()
            .split('}')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(most <= QUANTITY_DIGITS);
        assert!(pattern.contains("\\.[0-9]{1,2}"), "{pattern}");
        let taken = |quantity: String| {
            let body = serde_json::json!({"external_id": "WEB-1", "customer": {"last_name": "Lee"},
                "items": [{"product_code": "SKU-1", "quantity": quantity}]});
            crate::model::order::parse::order(&body, None).is_ok()
        };
        assert!(taken("9".repeat(most)));
        assert!(!taken("9".repeat(most + 1)), "{} digits", most + 1);
        assert!(taken("1.25".to_owned()) && !taken("1.255".to_owned()));
    }

    #[test]
    fn every_name_of_a_route_is_described() {
        let mut names = std::collections::HashSet::new();
        for route in routes::storefront().chain(routes::operators()) {
            for name in route.query {
                assert!(
                    PARAMETERS.iter().any(|(known, _)| known == name),
                    "{name} of {}",
                    route.path
                );
            }
            let known = ["Events", "Text", "Page", "Lines"].contains(&route.gives)
                || !schemas::all()[route.gives].is_null();
            assert!(known, "{} of {}", route.gives, route.path);
            let takes = route.takes.is_none_or(|body| !schemas::all()[body].is_null());
            assert!(takes, "{:?} of {}", route.takes, route.path);
            assert!(
                names.insert((route.name, route.access.role().is_some())) || route.name == "openapi",
                "{} twice",
                route.name
            );
        }
        let document = document("t", routes::storefront());
        let (orders, customer) = (
            &document["paths"]["/v1/stores/{store}/orders"]["post"],
            &document["paths"]["/v1/stores/{store}/customers/{customer}"]["patch"],
        );
        assert_eq!(orders["operationId"], "placeOrder");
        // What is refused without its key says that it needs one.
        for (operation, required) in [(orders, false), (customer, true)] {
            let parameters = operation["parameters"].as_array().unwrap();
            let key = parameters.iter().find(|one| one["name"] == "Idempotency-Key");
            assert_eq!(key.unwrap()["required"], required);
        }
    }
}
