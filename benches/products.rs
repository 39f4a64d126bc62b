//! The products that reads are measured with: in a cache as the daemon fills it, and their values for other databases.

use std::path::Path;

use storesync::model::row::{Column, ColumnKind, Table};
use storesync::store::cache::Cache;
use storesync::store::reader::Reader;
use storesync::store::storefront::{self, Found, objects};

pub const PRODUCTS: usize = 100_000;
pub const COLUMNS: usize = 48;

/// The id of the nth product.
pub fn id(at: usize) -> String {
    format!("01t{at:012}AAA")
}

/// Most are text; some are numbers, flags and nothing, as in an org.
pub fn columns() -> Vec<Column> {
    let column = |at: usize| Column {
        field: format!("Field_{at}__c"),
        name: format!("field_{at}__c"),
        kind: match at % 8 {
            5 => ColumnKind::Real,
            6 => ColumnKind::Boolean,
            _ => ColumnKind::Text,
        },
    };
    (0..COLUMNS).map(column).collect()
}

/// What the nth column holds, in SQL.
pub fn value(at: usize) -> String {
    match at % 8 {
        5 => format!("{at}.95"),
        6 => "1".to_owned(),
        7 => "null".to_owned(),
        _ => format!("'the value of {at}'"),
    }
}

/// A cache of them all, as its only writer.
pub fn fill(dir: &Path) -> Cache {
    let table = Table {
        object: "Product2".to_owned(),
        name: "product2".to_owned(),
        columns: columns(),
    };
    let mut cache = Cache::open(dir).expect("a cache");
    cache.ensure_object(&table, true, 0).expect("a table");
    let values: Vec<String> = (0..COLUMNS).map(value).collect();
    let sql = format!(
        "with recursive n (at) as (select 0 union all select at + 1 from n where at + 1 < {PRODUCTS}) \
         insert into product2 select printf('01t%012dAAA', at), at + 1, null, 0, {} from n",
        values.join(", ")
    );
    cache.connection().execute_batch(&sql).expect("products");
    storefront::prepare(cache.connection(), &[]).expect("views");
    cache
}

/// A row as the daemon reads it.
pub fn sqlite(reader: &Reader, id: &str) -> Vec<u8> {
    match reader.with(|cache| objects::row(cache, "Product2", id)) {
        Ok(Found::Row(row)) => row.json,
        other => panic!("{other:?}"),
    }
}
