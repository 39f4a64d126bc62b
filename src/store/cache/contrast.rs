//! Comparing two caches: which rows one has and the other has not, and in which columns they differ.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value as Json, json};

use crate::model::row::quoted;
use crate::store::cache::compare::Difference;

/// Rows listed of one table.
const LISTED_MAX: usize = 100;

/// A row that is not the same in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Differing {
    pub id: String,
    pub here: bool,
    pub there: bool,
    /// Where it is in both: the columns that differ. `org` is what the other has.
    pub columns: Vec<Difference>,
}

/// A mirrored table of two caches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contrast {
    pub object: String,
    pub rows_here: u64,
    pub rows_there: u64,
    pub differing: u64,
    /// The first of them.
    pub listed: Vec<Differing>,
}

/// What a comparison looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'s> {
    /// As describe names it.
    pub object: Option<&'s str>,
    pub record: Option<&'s str>,
}

/// Compares each mirrored table with the same of another file. All of it is read as of one moment.
pub fn contrast(connection: &Connection, other: &Path, scope: &Scope<'_>) -> rusqlite::Result<Vec<Contrast>> {
    connection.execute(
        "attach ?1 as other",
        [format!("file:{}?mode=ro", other.display())],
    )?;
    let compared = tables(connection, scope).and_then(|tables| {
        let compare = |(object, table): &(String, String)| one(connection, object, table, scope);
        tables.iter().map(compare).collect()
    });
    connection.execute("detach other", [])?;
    compared
}

/// The objects that both have, with their tables.
fn tables(connection: &Connection, scope: &Scope<'_>) -> rusqlite::Result<Vec<(String, String)>> {
    connection
        .prepare(
            "select object, table_name from main._object where object in (select object from other._object) \
             and (?1 is null or object = ?1 collate nocase) order by object",
        )?
        .query_map([scope.object], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn one(connection: &Connection, object: &str, table: &str, scope: &Scope<'_>) -> rusqlite::Result<Contrast> {
    let name = quoted(table);
    let columns: Vec<String> = connection
        .prepare(
            "select name from pragma_table_info(?1, 'main') where name in \
             (select name from pragma_table_info(?1, 'other')) and name not in ('id', '_rev', '_base') order by cid",
        )?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let count = |schema: &str| {
        connection.query_row(&format!("select count(*) from {schema}.{name}"), [], |row| {
            row.get::<_, i64>(0).map(i64::unsigned_abs)
        })
    };
    let same: Vec<String> = columns
        .iter()
        .map(|column| format!("a.{0} is b.{0}", quoted(column)))
        .collect();
    let same = if same.is_empty() {
        "true".to_owned()
    } else {
        same.join(" and ")
    };
    let sql = format!(
        "select b.id from other.{name} b left join main.{name} a on a.id = b.id \
         where (?1 is null or b.id = ?1) and (a.id is null or not ({same})) union all \
         select id from main.{name} where id not in (select id from other.{name}) and (?1 is null or id = ?1) order by 1"
    );
    let ids: Vec<String> = connection
        .prepare(&sql)?
        .query_map([scope.record], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let listed = ids.iter().take(LISTED_MAX);
    Ok(Contrast {
        object: object.to_owned(),
        rows_here: count("main")?,
        rows_there: count("other")?,
        differing: ids.len() as u64,
        listed: listed
            .map(|id| row(connection, &name, &columns, id))
            .collect::<Result<_, _>>()?,
    })
}

fn row(connection: &Connection, name: &str, columns: &[String], id: &str) -> rusqlite::Result<Differing> {
    let list: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    let list = if list.is_empty() {
        "1".to_owned()
    } else {
        list.join(", ")
    };
    let read = |schema: &str| {
        connection
            .prepare(&format!("select {list} from {schema}.{name} where id = ?1"))?
            .query_row([id], |row| {
                let values = (0..columns.len()).map(|index| row.get_ref(index).map(stored));
                values.collect::<Result<Vec<Json>, _>>()
            })
            .optional()
    };
    let (here, there) = (read("main")?, read("other")?);
    let mut differing = Differing {
        id: id.to_owned(),
        here: here.is_some(),
        there: there.is_some(),
        columns: Vec::new(),
    };
    if let (Some(here), Some(there)) = (here, there) {
        let both = columns.iter().zip(here.into_iter().zip(there));
        let unlike = both.filter(|(_, (here, there))| here != there);
        differing.columns = unlike
            .map(|(field, (here, org))| Difference {
                field: field.clone(),
                here,
                org,
            })
            .collect();
    }
    Ok(differing)
}

fn stored(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Json::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(dir: &Path, name: &str, rows: &str) -> (std::path::PathBuf, Connection) {
        let path = dir.join(name);
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!(
                "create table _object (object text, table_name text); insert into _object values ('Order', 'order');
                 create table \"order\" (id text primary key, _rev integer, name text, price real);
                 insert into \"order\" values {rows}"
            ))
            .unwrap();
        (path, connection)
    }

    #[test]
    fn tells_rows_that_one_has_and_columns_that_differ() {
        let dir = tempfile::tempdir().unwrap();
        let (_, here) = cache(
            dir.path(),
            "a.db",
            "('1', 1, 'a', 1.5), ('2', 2, 'b', null), ('3', 3, 'c', 3.0)",
        );
        let (there, _) = cache(
            dir.path(),
            "b.db",
            "('1', 9, 'a', 1.5), ('2', 2, 'b', 2.0), ('4', 3, 'd', 3.0)",
        );
        let found = contrast(&here, &there, &Scope::default()).unwrap().remove(0);
        assert_eq!((found.rows_here, found.rows_there, found.differing), (3, 3, 3));
        let told: Vec<_> = found
            .listed
            .iter()
            .map(|row| (row.id.as_str(), row.here, row.there, row.columns.len()))
            .collect();
        assert_eq!(
            told,
            [("2", true, true, 1), ("3", true, false, 0), ("4", false, true, 0)]
        );
        assert_eq!(found.listed[0].columns[0].org, json!(2.0));
        let record = Scope {
            record: Some("3"),
            object: None,
        };
        assert_eq!(contrast(&here, &there, &record).unwrap()[0].differing, 1);
    }
}
