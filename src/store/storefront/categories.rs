//! A store's categories, as the tree that they are in the org.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::store::storefront::json;

/// Levels told; the org allows a circle, and a circle has no end.
const DEPTH_MAX: usize = 16;

/// A category of a store by id or path.
pub fn find(connection: &Connection, store_id: &str, key: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("select id from store_category_v1 where store_id = ?1 and (id = ?2 or path = ?2) order by id limit 1")?
        .query_row(params![store_id, key], |row| row.get(0))
        .optional()
}

/// The roots with their children, in the org's order; hidden ones too, marked so.
pub fn tree(connection: &Connection, store_id: &str) -> rusqlite::Result<Vec<Value>> {
    let sql =
        "select * from store_category_v1 where store_id = ?1 order by position is null, position, name, id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([store_id])?;
    let mut children: BTreeMap<Option<String>, Vec<Value>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mut out = Vec::new();
        json::view_row(&mut out, row)?;
        let category = serde_json::from_slice(&out).unwrap_or(Value::Null);
        children.entry(row.get("parent_id")?).or_default().push(category);
    }
    Ok(below(&mut children, None, DEPTH_MAX))
}

fn below(
    children: &mut BTreeMap<Option<String>, Vec<Value>>,
    parent: Option<&str>,
    depth: usize,
) -> Vec<Value> {
    if depth == 0 {
        return Vec::new();
    }
    let mut own = children.remove(&parent.map(str::to_owned)).unwrap_or_default();
    for category in &mut own {
        let id = category["id"].as_str().map(str::to_owned);
        category["children"] = below(children, id.as_deref(), depth - 1).into();
    }
    own
}
