//! Rows of mirrored objects as they are.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::model::row::quoted;
use crate::store::storefront::{Found, absent, is_id, json};

/// Room for most rows.
const ROW_BYTES: usize = 2_048;

/// A row as JSON, with its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRow {
    pub revision: i64,
    pub json: Vec<u8>,
}

/// A page of rows as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub items: Vec<Vec<u8>>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A page that could not be read because of what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    Page(Page),
    NoObject,
    /// The object has no such column.
    NoColumn(String),
}

/// Which rows, and how many.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Column and value that rows must have.
    pub equal: Vec<(String, String)>,
    /// The columns that are wanted; all where none is named. The id is always among them.
    pub columns: Vec<String>,
    /// The id after which the page begins.
    pub after: String,
    pub limit: usize,
}

/// One row by id. The object is named as in the org or as its table.
pub fn row(connection: &Connection, object: &str, id: &str) -> rusqlite::Result<Found<RawRow>> {
    let Some(table) = table_name(object) else {
        return Ok(Found::NoObject);
    };
    let sql = ["select * from ", &table, " where id = ?1"].concat();
    let Some(mut statement) = absent(connection.prepare_cached(&sql))? else {
        return Ok(Found::NoObject);
    };
    if !is_id(id) {
        return Ok(Found::NoRow);
    }
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else {
        return Ok(Found::NoRow);
    };
    let mut out = Vec::with_capacity(ROW_BYTES);
    let revision = json::row(&mut out, row)?;
    Ok(Found::Row(RawRow { revision, json: out }))
}

/// A page of rows in the order of their ids.
pub fn list(connection: &Connection, object: &str, selection: &Selection) -> rusqlite::Result<Listed> {
    let Some(table) = table_name(object) else {
        return Ok(Listed::NoObject);
    };
    let Some(all) = absent(connection.prepare_cached(&format!("select * from {table} where id > ?1")))?
    else {
        return Ok(Listed::NoObject);
    };
    let columns: Vec<&str> = all.column_names().collect();
    let mut wanted = Vec::with_capacity(selection.columns.len());
    for name in &selection.columns {
        let name = name.to_ascii_lowercase();
        if !columns.contains(&name.as_str()) || name == "_base" {
            return Ok(Listed::NoColumn(name));
        }
        wanted.push(quoted(&name));
    }
    let wanted = match wanted.as_slice() {
        [] => "*".to_owned(),
        some if some.iter().any(|name| name == "\"id\"") => some.join(", "),
        some => format!("id, {}", some.join(", ")),
    };
    let mut sql = format!("select {wanted} from {table} where id > ?1");
    let mut parameters = vec![Value::Text(selection.after.clone())];
    for (name, value) in &selection.equal {
        let name = name.to_ascii_lowercase();
        if !columns.contains(&name.as_str()) || name == "_base" {
            return Ok(Listed::NoColumn(name));
        }
        parameters.push(Value::Text(value.clone()));
        sql.push_str(&format!(" and {} = ?{}", quoted(&name), parameters.len()));
    }
    parameters.push(Value::Integer(
        i64::try_from(selection.limit)
            .unwrap_or(i64::MAX)
            .saturating_add(1),
    ));
    sql.push_str(&format!(" order by id limit ?{}", parameters.len()));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(parameters))?;
    let (mut items, mut last) = (Vec::new(), String::new());
    while let Some(row) = rows.next()? {
        if items.len() == selection.limit {
            return Ok(Listed::Page(Page {
                items,
                next: Some(last),
            }));
        }
        let mut out = Vec::with_capacity(ROW_BYTES);
        json::row(&mut out, row)?;
        items.push(out);
        last = row.get("id")?;
    }
    Ok(Listed::Page(Page { items, next: None }))
}

/// The table of an object, quoted. Tables of the cache's own, and SQLite's, are none.
fn table_name(object: &str) -> Option<String> {
    let plain = object
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = object.to_ascii_lowercase();
    let own = name.is_empty() || name.starts_with('_') || name.starts_with("sqlite_");
    (plain && !own).then(|| quoted(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table product2 (id text primary key, name text, isactive integer, _rev integer, _base integer);
                 create table _object (object text);
                 insert into product2 values ('01t000000000001AAA', 'One', 1, 5, 0), ('01t000000000002AAA', 'Two', 0, 6, 0),
                    ('01t000000000003AAA', 'Three', 1, 7, 0);",
            )
            .unwrap();
        connection
    }

    fn select(equal: &[(&str, &str)], after: &str, limit: usize) -> Selection {
        let equal = equal
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Selection {
            equal,
            columns: Vec::new(),
            after: after.to_owned(),
            limit,
        }
    }

    fn names(listed: &Listed) -> (Vec<String>, Option<String>) {
        let Listed::Page(page) = listed else {
            panic!("{listed:?}")
        };
        let name = |item: &Vec<u8>| {
            serde_json::from_slice::<serde_json::Value>(item).unwrap()["name"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        (page.items.iter().map(name).collect(), page.next.clone())
    }

    #[test]
    fn finds_rows_by_id() {
        let cache = cache();
        let Found::Row(found) = row(&cache, "Product2", "01t000000000002AAA").unwrap() else {
            panic!()
        };
        assert_eq!(found.revision, 6);
        assert_eq!(
            found.json,
            br#"{"id":"01t000000000002AAA","name":"Two","isactive":0,"_rev":6}"#
        );
        assert_eq!(
            row(&cache, "product2", "01t000000000009AAA").unwrap(),
            Found::NoRow
        );
        for object in ["Account", "_object", "sqlite_schema", "product2;", "\"", ""] {
            assert_eq!(
                row(&cache, object, "01t000000000002AAA").unwrap(),
                Found::NoObject,
                "{object}"
            );
        }
    }

    #[test]
    fn pages_and_filters() {
        let cache = cache();
        let page = list(&cache, "product2", &select(&[], "", 2)).unwrap();
        assert_eq!(
            names(&page),
            (
                vec!["One".to_owned(), "Two".to_owned()],
                Some("01t000000000002AAA".to_owned())
            )
        );
        let page = list(&cache, "product2", &select(&[], "01t000000000002AAA", 2)).unwrap();
        assert_eq!(names(&page), (vec!["Three".to_owned()], None));
        let page = list(
            &cache,
            "product2",
            &select(&[("IsActive", "1"), ("name", "One")], "", 2),
        )
        .unwrap();
        assert_eq!(names(&page), (vec!["One".to_owned()], None));
        let wrong = list(&cache, "product2", &select(&[("nope", "1")], "", 2)).unwrap();
        assert_eq!(wrong, Listed::NoColumn("nope".to_owned()));
        let sparse = Selection {
            columns: vec!["Name".to_owned()],
            ..select(&[], "", 1)
        };
        let Listed::Page(page) = list(&cache, "product2", &sparse).unwrap() else {
            panic!()
        };
        assert_eq!(page.items, [br#"{"id":"01t000000000001AAA","name":"One"}"#]);
    }
}
