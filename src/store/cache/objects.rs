//! Which objects are mirrored, and how far each is.
//!
//! How their tables follow the org is in [`mod@fields`].

use std::collections::HashSet;
use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::clock::{Millis, parse_datetime};
use crate::model::row::{Table, quoted};
use crate::store::cache::fields::{self, Evolved};
use crate::store::cache::repairs::reason;
use crate::store::cache::rows::Mirror;
use crate::store::cache::{Batch, Cache, meta};

/// How far an object is. Stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never loaded.
    Waiting,
    /// The first load has begun: the table is not complete yet.
    Loading,
    /// Complete and kept current.
    Live,
    /// Complete once; to be read again as a whole, or being read. Rows are served meanwhile.
    Reload,
}

impl State {
    const ALL: [Self; 4] = [Self::Waiting, Self::Loading, Self::Live, Self::Reload];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Loading => "loading",
            Self::Live => "live",
            Self::Reload => "reload",
        }
    }

    fn from_str(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A mirrored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// As describe names it.
    pub object: String,
    /// As SQL names it.
    pub table: String,
    pub state: State,
    /// Kept current by change events; else by polling.
    pub streamed: bool,
    /// Rows changed in the org before it are here.
    pub watermark: Option<Millis>,
    pub rows: i64,
    pub loaded_at: Option<Millis>,
    /// What stands in its way, in a sentence.
    pub problem: Option<String>,
    /// When it was last compared with the org, and how many rows differed.
    pub verified_at: Option<Millis>,
    pub drift: Option<u64>,
    /// Commit of the newest change event that was applied.
    pub last_event_at: Option<Millis>,
}

const SELECT: &str = "select object, table_name, state, streamed, watermark, rows, loaded_at, problem, verified_at, \
     drift, last_event_at from _object";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<ObjectState> {
    let state: String = row.get(2)?;
    Ok(ObjectState {
        object: row.get(0)?,
        table: row.get(1)?,
        state: State::from_str(&state).unwrap_or(State::Waiting),
        streamed: row.get(3)?,
        watermark: row.get(4)?,
        rows: row.get(5)?,
        loaded_at: row.get(6)?,
        problem: row.get(7)?,
        verified_at: row.get(8)?,
        drift: row.get::<_, Option<i64>>(9)?.map(i64::unsigned_abs),
        last_event_at: row.get(10)?,
    })
}

/// All mirrored objects, by name.
pub fn objects(connection: &Connection) -> rusqlite::Result<Vec<ObjectState>> {
    connection
        .prepare_cached(&format!("{SELECT} order by object"))?
        .query_map([], read)?
        .collect()
}

/// One mirrored object.
pub fn object(connection: &Connection, name: &str) -> rusqlite::Result<Option<ObjectState>> {
    connection
        .prepare_cached(&format!("{SELECT} where object = ?1"))?
        .query_row([name], read)
        .optional()
}

/// The newest stamp of a mirrored row; `None` where there is no row.
pub fn newest_stamp(connection: &Connection, table: &Table, field: &str) -> rusqlite::Result<Option<Millis>> {
    let Some(column) = table.position(field) else {
        return Ok(None);
    };
    let (table, column) = (quoted(&table.name), quoted(&table.columns[column].name));
    let sql = format!("select max({column}) from {table}");
    let newest: Option<String> = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(newest.as_deref().and_then(parse_datetime))
}

/// The fields of an object that are mirrored and not missing, by describe's names.
pub fn fields(connection: &Connection, object: &str) -> rusqlite::Result<HashSet<String>> {
    connection
        .prepare("select field from _field where object = ?1 and missing_since is null")?
        .query_map([object], |row| row.get(0))?
        .collect()
}

impl Cache {
    /// As [`Batch::ensure_object`], in a transaction of its own.
    pub fn ensure_object(
        &mut self,
        table: &Table,
        streamed: bool,
        now: Millis,
    ) -> rusqlite::Result<(ObjectState, Evolved)> {
        let mut batch = self.batch()?;
        let ensured = batch.ensure_object(table, streamed, now)?;
        batch.commit()?;
        Ok(ensured)
    }
}

impl Batch<'_> {
    /// Makes or extends an object's table and its entry. An object that changes between streamed and polled,
    /// or gains a column, is read again.
    pub fn ensure_object(
        &mut self,
        table: &Table,
        streamed: bool,
        now: Millis,
    ) -> rusqlite::Result<(ObjectState, Evolved)> {
        let transaction = &self.transaction;
        let present = object(transaction, &table.object)?;
        let evolved = fields::evolve(transaction, table, now)?;
        if let Some(present) = &present {
            let again = evolved.wants_values() || present.streamed != streamed;
            let state = match present.state {
                State::Live if again => State::Reload,
                state => state,
            };
            if evolved.wants_values() {
                // A load that is under way has not asked for them.
                transaction.execute(
                    "update _load set job = null, locator = null where object = ?1",
                    [&table.object],
                )?;
            }
            transaction.execute(
                "update _object set streamed = ?2, state = ?3, problem = null where object = ?1",
                params![table.object, streamed, state.as_str()],
            )?;
        } else {
            transaction.execute(
                "insert into _object (object, table_name, state, streamed) values (?1, ?2, 'waiting', ?3)",
                params![table.object, table.name, streamed],
            )?;
        }
        let state = object(transaction, &table.object)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        Ok((state, evolved))
    }

    /// Forgets objects that are no longer mirrored; their tables stay, so that a permission lost by mistake
    /// does not empty a storefront. Their names.
    pub fn forget_objects_except(&mut self, kept: &[&str]) -> rusqlite::Result<Vec<String>> {
        let gone: Vec<String> = objects(&self.transaction)?
            .into_iter()
            .map(|state| state.object)
            .filter(|object| !kept.contains(&object.as_str()))
            .collect();
        for object in &gone {
            for table in ["_object", "_proof"] {
                let sql = format!("delete from {table} where object = ?1");
                self.transaction.execute(&sql, [object])?;
            }
        }
        Ok(gone)
    }

    /// An object that is complete is to be read again. One that is not complete yet will be read anyway.
    pub fn mark_reload(&mut self, object: &str) -> rusqlite::Result<bool> {
        let changed = self
            .transaction
            .prepare_cached("update _object set state = 'reload' where object = ?1 and state = 'live'")?
            .execute([object])?;
        Ok(changed > 0)
    }

    /// Notes the name of the instance that the org is on.
    pub fn note_instance_name(&mut self, name: Option<&str>) -> rusqlite::Result<()> {
        match name {
            Some(name) => self.transaction.execute(
                "insert into _meta values ('instance_name', ?1) on conflict do update set value = excluded.value",
                [name],
            ),
            None => self
                .transaction
                .execute("delete from _meta where key = 'instance_name'", []),
        }
        .map(drop)
    }

    /// Notes where the org answers from. Where that has changed, an entry to compare each object with it is opened, and
    /// the address it had is given.
    pub fn claim_instance(&mut self, url: &str, now: Millis) -> rusqlite::Result<Option<String>> {
        let stored = meta::<String>(&self.transaction, "instance_url")?;
        if stored.as_deref() == Some(url) {
            return Ok(None);
        }
        self.transaction.execute(
            "insert into _meta values ('instance_url', ?1) on conflict do update set value = excluded.value",
            [url],
        )?;
        if stored.is_some() {
            self.transaction.execute(
                "insert into _repair (kind, object, reason, opened_at) \
                 select 'verify', object, ?2, ?1 from _object where true on conflict do nothing",
                params![now, reason::OTHER_ADDRESS],
            )?;
        }
        Ok(stored)
    }

    /// Takes up an object while others are mirrored: its table and its entry are made, or taken over as they were.
    pub fn add_object(
        &mut self,
        table: &Table,
        streamed: bool,
        now: Millis,
    ) -> rusqlite::Result<(Mirror, Evolved)> {
        let evolved = fields::evolve(&self.transaction, table, now)?;
        self.transaction.execute(
            "insert into _object (object, table_name, state, streamed) values (?1, ?2, 'waiting', ?3) \
             on conflict (object) do update set streamed = excluded.streamed, problem = null",
            params![table.object, table.name, streamed],
        )?;
        let mirror = Mirror::new(table.clone(), self.memory.counts.len());
        self.memory.counts.push((table.object.clone(), 0));
        Ok((mirror, evolved))
    }

    /// A stored text; `None` where the row is not here or has none.
    pub fn text(&self, mirror: &Mirror, id: &str, position: usize) -> rusqlite::Result<Option<String>> {
        let (table, column) = (&mirror.table.name, &mirror.table.columns[position].name);
        let sql = format!("select {} from {} where id = ?1", quoted(column), quoted(table));
        let text = self
            .transaction
            .prepare_cached(&sql)?
            .query_row([id], |row| row.get::<_, Option<String>>(0))
            .optional()?;
        Ok(text.flatten())
    }

    /// Whether a row is here and its column is true.
    pub fn is_set(&self, mirror: &Mirror, id: &str, position: usize) -> rusqlite::Result<bool> {
        self.holds(mirror, id, position, "= 1")
    }

    /// Whether a row is here and its column is not null.
    pub fn has_value(&self, mirror: &Mirror, id: &str, position: usize) -> rusqlite::Result<bool> {
        self.holds(mirror, id, position, "is not null")
    }

    fn holds(&self, mirror: &Mirror, id: &str, position: usize, what: &str) -> rusqlite::Result<bool> {
        let (table, column) = (&mirror.table.name, &mirror.table.columns[position].name);
        let (table, column) = (quoted(table), quoted(column));
        let sql = format!("select 1 from {table} where id = ?1 and {column} {what}");
        self.transaction.prepare_cached(&sql)?.exists([id])
    }

    /// The rows whose column points at a record, so many at most.
    pub fn pointing_at(
        &self,
        mirror: &Mirror,
        reference: usize,
        id: &str,
        limit: usize,
    ) -> rusqlite::Result<Vec<String>> {
        let (table, column) = (&mirror.table.name, &mirror.table.columns[reference].name);
        let sql = format!(
            "select id from {} where {} = ?1 order by id limit {limit}",
            quoted(table),
            quoted(column)
        );
        self.transaction
            .prepare_cached(&sql)?
            .query_map([id], |row| row.get(0))?
            .collect()
    }

    /// The table follows what the org shows now.
    pub fn evolve(&mut self, table: &Table, now: Millis) -> rusqlite::Result<Evolved> {
        fields::evolve(&self.transaction, table, now)
    }

    /// How an object is kept current. Whether that is another way than before.
    pub fn set_streamed(&mut self, object: &str, streamed: bool) -> rusqlite::Result<bool> {
        let changed = self
            .transaction
            .prepare_cached("update _object set streamed = ?2 where object = ?1 and streamed <> ?2")?
            .execute(params![object, streamed])?;
        Ok(changed > 0)
    }

    /// A change event of the object was applied that was committed at this time.
    pub fn set_last_event(&mut self, object: &str, committed_at: Millis) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _object set last_event_at = max(?2, coalesce(last_event_at, ?2)) where object = ?1",
            )?
            .execute(params![object, committed_at])?;
        Ok(())
    }

    /// Says what stands in an object's way, or that nothing does any more. Whether that is news.
    pub fn set_object_problem(&mut self, object: &str, problem: Option<&str>) -> rusqlite::Result<bool> {
        let changed = self
            .transaction
            .prepare_cached("update _object set problem = ?2 where object = ?1 and problem is not ?2")?
            .execute(params![object, problem])?;
        Ok(changed > 0)
    }

    /// The object was compared with the org, and so many rows differed.
    pub fn set_verified(&mut self, object: &str, drift: u64, now: Millis) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("update _object set verified_at = ?2, drift = ?3 where object = ?1")?
            .execute(params![object, now, i64::try_from(drift).unwrap_or(i64::MAX)])?;
        Ok(())
    }

    /// The stamp behind which an object is asked for changes.
    pub fn set_watermark(&mut self, object: &str, watermark: Millis) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("update _object set watermark = ?2 where object = ?1")?
            .execute(params![object, watermark])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::{Column, ColumnKind};

    #[test]
    fn an_object_that_changes_how_it_is_kept_is_read_again() {
        let column = Column {
            field: "Name".to_owned(),
            name: "name".to_owned(),
            kind: ColumnKind::Text,
        };
        let mut table = Table {
            object: "Order".to_owned(),
            name: "order".to_owned(),
            columns: vec![column],
        };
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        let mut ensure = |table: &Table, streamed| {
            let (state, _) = cache.ensure_object(table, streamed, 1).unwrap();
            cache
                .connection
                .execute("update _object set state = 'live'", [])
                .unwrap();
            state.state
        };
        assert_eq!(ensure(&table, true), State::Waiting);
        assert_eq!(ensure(&table, true), State::Live);
        assert_eq!(ensure(&table, false), State::Reload);
        table.columns.push(Column {
            field: "Group".to_owned(),
            name: "group".to_owned(),
            kind: ColumnKind::Text,
        });
        assert_eq!(ensure(&table, false), State::Reload);
        assert_eq!(ensure(&table, false), State::Live);
        let mut batch = cache.batch().unwrap();
        assert_eq!(batch.forget_objects_except(&[]).unwrap(), ["Order"]);
    }
}
