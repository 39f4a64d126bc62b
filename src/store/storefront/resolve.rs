//! From a request to a store: by host and path, with what to suggest to a visitor from another country.
//!
//! Public descriptions say what geolocation does, not where its siblings are kept: the stores of the same group are
//! taken, or all stores where the store is in none. A country that no sibling's zone holds leads to the default store.

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::store::storefront::stores::{self, Store};
use crate::store::storefront::zones::{self, Place};
use crate::store::storefront::{Found, first};

/// Who asks, and for what.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub host: Option<String>,
    pub path: Option<String>,
    pub country: Option<String>,
}

/// The store, with its siblings and the one to suggest.
pub fn resolve(connection: &Connection, query: &Query) -> rusqlite::Result<Found<Value>> {
    let all = match stores::list(connection)? {
        Found::Row(all) => all,
        Found::NoRow => return Ok(Found::NoRow),
        Found::NoObject => return Ok(Found::NoObject),
    };
    let place = Place::new(query.country.as_deref(), None, None, None);
    let zones = zones::of(connection, &place)?;
    let in_zone = |store: &Store| store.zone_id.as_ref().is_some_and(|zone| zones.contains(zone));
    let enabled = || all.iter().filter(|store| !store.disabled);
    let default = enabled().find(|store| store.default);
    let (store, account_id) = match &query.host {
        Some(host) => by_host(connection, &all, host, query.path.as_deref().unwrap_or("/"))?,
        None => (enabled().find(|store| in_zone(store)).or(default), None),
    };
    let Some(store) = store else {
        return Ok(Found::NoRow);
    };
    let is_sibling = |other: &&Store| {
        other.id != store.id && (store.group_id.is_none() || other.group_id == store.group_id)
    };
    let suggested = if query.country.is_none() || in_zone(store) {
        None
    } else {
        enabled()
            .filter(is_sibling)
            .find(|other| in_zone(other))
            .or(default)
            .filter(|other| other.id != store.id)
    };
    Ok(Found::Row(json!({
        "store": brief(store),
        "path": rest(store, query.path.as_deref().unwrap_or("/")),
        "account_id": account_id,
        "domain_verified": verified(connection, store)?,
        "siblings": enabled().filter(is_sibling).map(brief).collect::<Vec<_>>(),
        "suggested": suggested.map(brief),
        "route": route(connection, store, query.path.as_deref())?,
    })))
}

fn brief(store: &Store) -> Value {
    json!({"id": store.id, "name": store.name, "code": store.code, "domain": store.domain, "path": store.path,
        "currency": store.currency, "default": store.default, "disabled": store.disabled})
}

/// Of the stores at a host, the one with the longest path that the request's begins with; a host in front of a
/// store's domain may be that of an account.
fn by_host<'a>(
    connection: &Connection,
    all: &'a [Store],
    host: &str,
    path: &str,
) -> rusqlite::Result<(Option<&'a Store>, Option<String>)> {
    let host = host
        .split(':')
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_lowercase();
    if let Some(store) = at(all, &host, path) {
        return Ok((Some(store), None));
    }
    if let Some((subdomain, domain)) = host.split_once('.')
        && let Some(store) = at(all, domain, path)
    {
        let sql = "select id from _of_account where lower(subdomain) = ?1 order by id limit 1";
        let account: Option<String> = first(connection, sql, [subdomain], |row| row.get(0))?;
        return Ok((account.is_some().then_some(store), account));
    }
    Ok((None, None))
}

fn at<'a>(all: &'a [Store], host: &str, path: &str) -> Option<&'a Store> {
    all.iter()
        .filter(|store| store.domain.as_deref() == Some(host))
        .filter_map(|store| Some((prefix(store, path)?, store)))
        .max_by_key(|(length, store)| (*length, store.default))
        .map(|(_, store)| store)
}

/// How much of a path is the store's own prefix; `None` where it is not below it.
fn prefix(store: &Store, path: &str) -> Option<usize> {
    let own = store.path.as_deref().unwrap_or_default().trim_matches('/');
    if own.is_empty() {
        return Some(0);
    }
    let path = path.trim_start_matches('/');
    let rest = path.strip_prefix(own)?;
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(own.len())
}

/// The path within the store.
fn rest(store: &Store, path: &str) -> String {
    let own = prefix(store, path).unwrap_or(0);
    let rest = &path.trim_start_matches('/')[own..];
    format!("/{}", rest.trim_start_matches('/'))
}

fn verified(connection: &Connection, store: &Store) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "select 1 from store_domain_v1 where store_id = ?1 and is_active = 1 and status = 'Success'",
        )?
        .exists([&store.id])
}

/// A redirect or rewrite for a path that the storefront has nothing at; one of the store's own comes first.
fn route(connection: &Connection, store: &Store, path: Option<&str>) -> rusqlite::Result<Option<Value>> {
    let Some(path) = path else { return Ok(None) };
    let within = rest(store, path);
    if within.starts_with("/assets/") || within.starts_with("/api/") {
        return Ok(None);
    }
    let sql = "select to_path, status_code from store_route_v1 where store_id = ?1 and from_path = ?2 order by is_shared, id limit 1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(json!({"to": row.get::<_, Option<String>>(0)?, "status": row.get::<_, Option<String>>(1)?}))
    };
    first(connection, sql, params![store.id, within], read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_wins() {
        let store = |id: &str, path: Option<&str>, default| Store {
            id: id.to_owned(),
            domain: Some("shop.example".to_owned()),
            path: path.map(str::to_owned),
            default,
            ..Store::default()
        };
        let all = [
            store("root", None, true),
            store("nz", Some("/nz"), false),
            store("other", None, false),
        ];
        for (path, expected, rest_of_it) in [
            ("/", "root", "/"),
            ("/mugs", "root", "/mugs"),
            ("/nz", "nz", "/"),
            ("/nz/mugs", "nz", "/mugs"),
            ("/nzl", "root", "/nzl"),
        ] {
            let found = at(&all, "shop.example", path).unwrap();
            assert_eq!(
                (found.id.as_str(), rest(found, path).as_str()),
                (expected, rest_of_it),
                "{path}"
            );
        }
        assert!(at(&all, "other.example", "/").is_none());
    }
}
