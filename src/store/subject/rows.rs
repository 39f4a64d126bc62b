//! Reading whole tables of a database, whatever they are, some rows at a time.
//!
//! Each step is a read of its own, so that the daemon's write-ahead log is never held for longer than that. What
//! is written meanwhile behind the place that was reached is not seen.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql, params_from_iter};

use crate::model::row::quoted;
use crate::store::database::{Kind, OpenError, look_before};
use crate::store::subject::classes::{Holds, class};

/// Rows of one step, and what they may come to in bytes before it ends.
const ROWS_MAX: usize = 1_000;
const BYTES_MAX: usize = 4 << 20;

const BUSY_MAX: Duration = Duration::from_secs(10);

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Stored {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_owned()),
        }
    }

    /// What can be looked through.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Null | Self::Integer(_) | Self::Real(_) => &[],
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl ToSql for Stored {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(*number),
            Self::Real(number) => Value::Real(*number),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Bytes(bytes) => Value::Blob(bytes.clone()),
        }))
    }
}

/// A column, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub holds: Holds,
    /// Nobody has decided what it holds.
    pub is_unknown: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// What its rows are in the order of.
    key: Vec<String>,
}

impl Table {
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|of| of.name.eq_ignore_ascii_case(column))
    }

    /// What a row has in a column of texts; `None` where there is no such column, too.
    pub fn text<'r>(&self, row: &'r Row, column: &str) -> Option<&'r str> {
        row.values[self.position(column)?].text()
    }

    pub fn integer(&self, row: &Row, column: &str) -> Option<i64> {
        match row.values[self.position(column)?] {
            Stored::Integer(number) => Some(number),
            _ => None,
        }
    }
}

/// A row: where it stands, and a value for each of its table's columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub key: Vec<Stored>,
    pub values: Vec<Stored>,
}

/// A database that is looked through.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    pub tables: Vec<Table>,
}

impl Database {
    /// Opens a file of a kind, under whatever name, and learns which tables it has.
    pub fn open(path: &Path, kind: Kind) -> Result<Self, OpenError> {
        look_before(path)?;
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY_MAX)?;
            let tables = tables(&connection, kind)?;
            Ok(Self { connection, tables })
        };
        open().map_err(|source| OpenError::of(path, source))
    }

    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// The next rows of a table after a place in it; none at its end.
    pub fn rows(&self, table: &Table, after: &[Stored]) -> rusqlite::Result<Vec<Row>> {
        let columns = table.columns.iter().map(|column| quoted(&column.name));
        let columns: Vec<String> = table.key.iter().cloned().chain(columns).collect();
        let key = table.key.join(", ");
        let places = vec!["?"; after.len()].join(", ");
        let from = match after.is_empty() {
            true => String::new(),
            false => format!("where ({key}) > ({places})"),
        };
        let sql = format!(
            "select {} from {} {from} order by {key}",
            columns.join(", "),
            quoted(&table.name)
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(after))?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < ROWS_MAX && bytes < BYTES_MAX {
            let Some(row) = rows.next()? else { break };
            let values = (0..columns.len()).map(|at| row.get_ref(at).map(Stored::of));
            let mut key: Vec<Stored> = values.collect::<rusqlite::Result<_>>()?;
            let values = key.split_off(table.key.len());
            bytes += values.iter().map(|value| value.bytes().len()).sum::<usize>();
            found.push(Row { key, values });
        }
        Ok(found)
    }

    /// The first row of a table that has a text in a column, in any case; none where there is no such column.
    pub fn first(&self, table: &Table, column: &str, text: &str) -> rusqlite::Result<Option<Row>> {
        let Some(at) = table.position(column) else {
            return Ok(None);
        };
        let sql = format!(
            "select * from {} where {} = ?1 collate nocase limit 1",
            quoted(&table.name),
            quoted(&table.columns[at].name)
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let read = |row: &rusqlite::Row<'_>| {
            let values = (0..table.columns.len()).map(|at| row.get_ref(at).map(Stored::of));
            let values = values.collect::<rusqlite::Result<_>>()?;
            Ok(Row {
                key: Vec::new(),
                values,
            })
        };
        statement.query_row([text], read).optional()
    }

    /// All rows of a table of this name, one after the other; none where there is no such table.
    pub fn each_of(&self, table: &str, mut visit: impl FnMut(&Table, Row)) -> rusqlite::Result<()> {
        let Some(table) = self.table(table) else {
            return Ok(());
        };
        self.each(table, |row| {
            visit(table, row);
            Ok(())
        })
    }

    /// All rows of a table, one after the other.
    pub fn each<E: From<rusqlite::Error>>(
        &self,
        table: &Table,
        mut visit: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after = Vec::new();
        loop {
            let rows = self.rows(table, &after)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after.clone_from(&last.key);
            for row in rows {
                visit(row)?;
            }
        }
    }
}

fn tables(connection: &Connection, kind: Kind) -> rusqlite::Result<Vec<Table>> {
    let mut listed = connection.prepare(
        "select name, wr from pragma_table_list where schema = 'main' and type = 'table' and name not like 'sqlite@_%' escape '@' \
         order by name",
    )?;
    let listed = listed.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))?;
    let listed: Vec<(String, bool)> = listed.collect::<rusqlite::Result<_>>()?;
    // With generated columns, which other looks at a table leave out.
    let mut of_table = connection.prepare("select name, pk from pragma_table_xinfo(?1) order by cid")?;
    let mut tables = Vec::new();
    for (name, has_no_rowid) in listed {
        let columns = of_table.query_map([&name], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        })?;
        let columns: Vec<(String, i64)> = columns.collect::<rusqlite::Result<_>>()?;
        let mut key: Vec<&(String, i64)> = columns.iter().filter(|(_, place)| *place > 0).collect();
        key.sort_by_key(|(_, place)| *place);
        let key = match has_no_rowid {
            true => key.iter().map(|(column, _)| quoted(column)).collect(),
            false => vec!["rowid".to_owned()],
        };
        let columns = columns.iter().map(|(column, _)| {
            let known = class(kind.file_name, &name, column);
            Column {
                name: column.clone(),
                holds: known.unwrap_or(Holds::Values),
                is_unknown: known.is_none(),
            }
        });
        tables.push(Table {
            columns: columns.collect(),
            key,
            name,
        });
    }
    Ok(tables)
}
