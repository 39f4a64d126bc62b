//! Makes the storefront's views, the indexes they need and the triggers that keep what is materialised.
//!
//! All of it follows from the tables that are there, so it is made again when a table gains or loses a column, and
//! left alone when nothing has changed: the text of what was made is remembered by its hash. Views name columns, and
//! SQLite refuses to drop a column that a view names: [`drop_all`] comes before such a change, [`build`] after it.

use std::hash::{DefaultHasher, Hasher};

use rusqlite::{Connection, params};

use crate::model::row::quoted;
use crate::store::storefront::feed::RULES;
use crate::store::storefront::sources::{self, Present};
use crate::store::storefront::{index, shown};

const VIEWS: &str = include_str!("views.sql");

const LINKS: &str = "s_c__Products_Product_Categories__c";
const CATEGORIES: &str = "s_c__Product_Category__c";
const TAXONOMIES: &str = "s_c__Taxonomy__c";
const VARIANTS: &str = "s_c__Product_Variant__c";
const STORES: &str = "s_c__Store__c";

/// Makes what is missing or out of date, and finds every product's place again if so. For the cache's writer.
pub fn build(connection: &Connection) -> rusqlite::Result<()> {
    let present = sources::present(connection)?;
    let book_stores: bool =
        connection.query_row("select exists (select 1 from _book_store)", [], |row| row.get(0))?;
    let (mut statements, mut gaps) = (Vec::new(), Vec::new());
    for source in sources::all() {
        let (mut shim, missing) = sources::shim(&source, &present);
        if source.object == STORES && book_stores {
            shim.push_str(&book_store_rows(&source));
        }
        statements.push(shim);
        gaps.extend(missing);
    }
    statements.push(shown_view(book_stores).to_owned());
    statements.extend(
        VIEWS
            .split(";\n")
            .map(str::trim)
            .filter(|sql| !sql.is_empty())
            .map(str::to_owned),
    );
    statements.push("create view store_gap_v1 as select object, field from _gap".to_owned());
    statements.extend(place_triggers(&present));
    statements.extend(departure_triggers(&present));
    let mut hasher = DefaultHasher::new();
    statements.iter().for_each(|sql| hasher.write(sql.as_bytes()));
    let hash = format!("{:016x}", hasher.finish());
    let made: Option<String> = crate::store::cache::meta(connection, "views")?;
    if made.as_deref() == Some(&hash) {
        return index::make(connection);
    }
    let open = connection.is_autocommit();
    if open {
        connection.execute_batch("begin immediate")?;
    }
    let done = replace(connection, &statements, &gaps, &hash);
    if open {
        connection.execute_batch(if done.is_ok() { "commit" } else { "rollback" })?;
    }
    done
}

fn replace(
    connection: &Connection,
    statements: &[String],
    gaps: &[(String, Option<String>)],
    hash: &str,
) -> rusqlite::Result<()> {
    drop_all(connection)?;
    for sql in statements {
        connection.execute_batch(sql)?;
    }
    connection.execute("delete from _gap", [])?;
    for (object, field) in gaps {
        connection.execute("insert into _gap values (?1, ?2)", params![object, field])?;
    }
    connection.execute(
        "insert into _meta values ('views', ?1) on conflict do update set value = excluded.value",
        [hash],
    )?;
    index::make(connection)?;
    connection.execute("insert or ignore into _store_dirty values ('*')", [])?;
    shown::settle(connection)
}

/// Takes views and triggers away, before a column goes that they may name.
pub fn drop_all(connection: &Connection) -> rusqlite::Result<()> {
    let made: Vec<(String, String)> = connection
        .prepare(
            "select type, name from sqlite_schema where type = 'view' and (name like 'store\\_%' escape '\\' \
             or name like '\\_%' escape '\\') or type = 'trigger' and name like 'storefront\\_%' escape '\\'",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (kind, name) in made {
        connection.execute_batch(&format!("drop {kind} if exists {}", quoted(&name)))?;
    }
    connection.execute("delete from _meta where key = 'views'", [])?;
    Ok(())
}

/// Stores of the configuration, beside those of the org.
fn book_store_rows(source: &sources::Source) -> String {
    let columns = source.columns.iter().map(|(_, column)| match column.as_str() {
        "name" | "code" | "domain" | "path" | "currency" | "locale" => format!(", {column}"),
        "default_timezone" => ", timezone".to_owned(),
        "pricebook_id" => ", id".to_owned(),
        _ => ", null".to_owned(),
    });
    let columns: String = columns.collect();
    format!(" union all select id, 0{columns} from _book_store")
}

/// Which products a store leads to: by its taxonomy, or by its price book where it is made of one.
fn shown_view(book_stores: bool) -> &'static str {
    if book_stores {
        "create view _shown as select store_id, product_id, category_id, position, master_id from _store_product \
         union all select distinct s.id, e.product2id, null, null, null from _book_store s \
         join _of_pricebookentry e on e.pricebook2id = s.id and e.isactive = 1"
    } else {
        "create view _shown as select store_id, product_id, category_id, position, master_id from _store_product"
    }
}

/// What marks the products whose place a change to an object may move.
struct Mark<'a> {
    object: &'a str,
    /// Columns that decide.
    columns: &'a [&'a str],
    /// Not while a load fills the empty table: its end marks all.
    quiet: bool,
    old: String,
    new: String,
}

impl Mark<'_> {
    fn triggers(&self, present: &Present) -> Vec<String> {
        let table = self.object.to_ascii_lowercase();
        let Some(there) = present.get(&table) else {
            return Vec::new();
        };
        let columns: Vec<&str> = self
            .columns
            .iter()
            .copied()
            .filter(|column| there.contains(*column))
            .collect();
        if columns.is_empty() {
            return Vec::new();
        }
        let when = match self.quiet {
            true => format!(
                " when (select state from _object where object = '{}') is not 'loading'",
                self.object
            ),
            false => String::new(),
        };
        let made = [
            ("insert".to_owned(), "in", self.new.clone()),
            ("delete".to_owned(), "out", self.old.clone()),
            (
                format!("update of {}", columns.join(", ")),
                "moved",
                format!("{} {}", self.old, self.new),
            ),
        ];
        made.iter()
            .map(|(event, name, body)| {
                format!("create trigger storefront_place_{table}_{name} after {event} on {table}{when} begin {body} end")
            })
            .collect()
    }
}

/// Marks the products whose place may change.
fn place_triggers(present: &Present) -> Vec<String> {
    let product_of = |row: &str, column: &str| {
        format!("insert or ignore into _store_dirty select {row}.{column} where {row}.{column} is not null;")
    };
    let in_category = |row: &str| {
        format!(
            "insert or ignore into _store_dirty select product_id from _of_products_product_categories \
             where category_id = {row}.id and product_id is not null;"
        )
    };
    let all = "insert or ignore into _store_dirty values ('*');";
    let mark = |object: &str, columns: &[&str], quiet: bool, old: String, new: String| {
        let mark = Mark {
            object,
            columns,
            quiet,
            old,
            new,
        };
        mark.triggers(present)
    };
    let everything =
        |object: &str, columns: &[&str]| mark(object, columns, false, all.to_owned(), all.to_owned());
    let (product, variant) = ("s_c__product_id__c", "s_c__variant_product_id__c");
    let placed = [
        product,
        "s_c__category_id__c",
        "s_c__active__c",
        "s_c__position__c",
        "s_c__primary__c",
    ];
    let varied = ["s_c__master_product_id__c", variant];
    let in_taxonomy = ["s_c__taxonomy_id__c"];
    let mut made = [
        mark(
            LINKS,
            &placed,
            true,
            product_of("old", product),
            product_of("new", product),
        ),
        mark(
            VARIANTS,
            &varied,
            true,
            product_of("old", variant),
            product_of("new", variant),
        ),
        mark(
            CATEGORIES,
            &in_taxonomy,
            false,
            in_category("old"),
            in_category("new"),
        ),
        everything(TAXONOMIES, &["s_c__store_id__c", "s_c__position__c", "name"]),
        everything(STORES, &["id"]),
    ]
    .concat();
    if !made.is_empty() {
        made.push(format!(
            "create trigger storefront_place_loaded after update of state on _object \
             when new.state = 'live' and old.state in ('waiting', 'loading') and new.object in \
             ('{LINKS}', '{VARIANTS}', '{CATEGORIES}', '{TAXONOMIES}', '{STORES}') begin {all} end"
        ));
    }
    made
}

/// Keeps where a record stood when it goes or moves.
fn departure_triggers(present: &Present) -> Vec<String> {
    let mut made = Vec::new();
    for rule in RULES {
        let table = rule.object.to_ascii_lowercase();
        let Some(there) = present.get(&table) else {
            continue;
        };
        let columns: Vec<&str> = rule
            .columns()
            .into_iter()
            .filter(|column| there.contains(*column))
            .collect();
        if columns.is_empty() {
            continue;
        }
        let old = |column: Option<&&str>| column.map_or("null".to_owned(), |column| format!("old.{column}"));
        let values = format!(
            "'{}', old.id, {}, {}",
            rule.object,
            old(columns.first()),
            old(columns.get(1))
        );
        made.push(format!(
            "create trigger storefront_gone_{table} after delete on {table} begin insert or replace into _departed \
             values ((select coalesce(max(rev), 0) + 1 from _change), {values}); end"
        ));
        let moved: Vec<String> = columns
            .iter()
            .map(|column| format!("old.{column} is not new.{column}"))
            .collect();
        made.push(format!(
            "create trigger storefront_left_{table} after update of {} on {table} when {} begin \
             insert or replace into _departed values (new._rev, {values}); end",
            columns.join(", "),
            moved.join(" or ")
        ));
    }
    made
}
