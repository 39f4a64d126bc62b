//! The outbox as a queue: accept, claim, record, confirm. The table is the queue; nothing waits in memory.
//!
//! Of a lane only the foremost write is ever due (`behind = 0`): the flag is kept with every change of a state, so
//! that claiming is a walk along one index however much waits.

use rusqlite::{Connection, OptionalExtension, named_params, params};

use crate::model::clock::Millis;
use crate::model::order::{OrderState, Problem};
use crate::model::write::{Kind, Write};
use crate::store::outbox::damage::{self, exact, unreadable};
use crate::store::outbox::{Limit, NotWritten, Outbox, OutboxError, held, org_key, transitions, versions};

/// So many writes that can neither be read nor set aside are passed over.
const UNREADABLE_MAX: i64 = 8;

/// A write to accept.
#[derive(Clone, Debug)]
pub struct NewWrite {
    pub write: Write,
    /// Tells a replay from another write under the same key.
    pub body_hash: [u8; 32],
    /// What the storefront sent as `Idempotency-Key`, if it did.
    pub idempotency_key: Option<String>,
    /// How much orders may hold of what this one wants.
    pub limits: Vec<Limit>,
}

/// What a store calls a write; its case makes no difference.
#[derive(Clone, Copy, Debug)]
pub struct StoreKey<'a> {
    pub kind: Kind,
    pub store_id: &'a str,
    pub external_id: &'a str,
}

impl<'a> StoreKey<'a> {
    pub fn of(write: &'a Write) -> Self {
        Self {
            kind: write.kind(),
            store_id: write.store_id(),
            external_id: write.external_id(),
        }
    }
}

/// What became of a write at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on the disk.
    New { accepted_at: Millis },
    /// It had been accepted before.
    Replay { accepted_at: Millis },
    /// Its key belongs to another write; where `by_header` the one that came as `Idempotency-Key` does.
    Conflict { by_header: bool },
    /// More would be held of a line's product than there is: it was not taken.
    OutOfStock { line: usize },
}

/// A write that is ours to send: no other claim on it can exist until its outcome is recorded.
#[derive(Debug)]
pub struct Claimed {
    pub sequence: i64,
    pub kind: Kind,
    /// The store's key of it.
    pub external_id: String,
    pub store_id: String,
    /// The org's key of it and of the order that it is about, where they are not the store's own.
    pub org_key: Option<String>,
    pub order_org_key: Option<String>,
    pub attempt: u32,
    pub failures: u32,
    /// The org may have it already.
    pub read_back: bool,
    pub accepted_at: Millis,
    /// When a request left, by the org's clock, whose answer never came; of one that was interrupted, by ours.
    pub unanswered_at: Option<Millis>,
    /// It was on its way when the process before this one ended.
    pub is_interrupted: bool,
    /// Grows in the order in which the writes of a lane are to be sent.
    pub version: i64,
    /// [`Write`] as JSON.
    pub body: String,
}

/// What was last asked of the org in an attempt, and what it answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    pub request: Option<String>,
    pub response: Option<String>,
    /// The records that it made or found, persons among them.
    pub record_ids: Vec<String>,
    /// When a request left, by the org's clock, that may arrive although its answer never came.
    pub unanswered_at: Option<Millis>,
    /// What the request left out, where one was sent that makes or changes a person.
    pub not_written: Option<Vec<NotWritten>>,
}

/// A write as the table takes it, made ready outside of the writer's transaction.
struct Row {
    new: NewWrite,
    lane: String,
    body: String,
    checksum: i64,
    /// Its key in the org, where another store has the plain one; none of customers, whom all stores share.
    marked: Option<String>,
    is_marked: bool,
}

impl Outbox {
    /// Takes a write; it is on the disk when this returns.
    pub async fn accept(&self, new: NewWrite, now: Millis) -> Result<Accepted, OutboxError> {
        let body = new
            .write
            .to_json()
            .map_err(|error| OutboxError::Write(error.to_string()))?;
        let (external_id, is_customer) = (new.write.external_id(), new.write.kind() == Kind::Customer);
        let row = Row {
            marked: (!is_customer).then(|| org_key::marked(new.write.store_id(), external_id)),
            is_marked: org_key::looks_marked(external_id),
            lane: new.write.lane(),
            checksum: damage::checksum(&new.write, &body),
            body,
            new,
        };
        self.is_in_place()?;
        let accepted = self
            .submit(move |connection| accept(connection, &row, now))
            .await?;
        // What went into a file that was moved meanwhile was not accepted.
        self.is_in_place()?;
        if matches!(accepted, Accepted::New { .. }) {
            self.bell.notify_one();
        }
        Ok(accepted)
    }

    /// Whether the store used the write's key already, and for the same write. A look without waiting for the writer:
    /// [`Outbox::accept`] looks again.
    pub fn earlier(
        &self,
        key: StoreKey<'_>,
        idempotency_key: Option<&str>,
        body_hash: &[u8; 32],
    ) -> Result<Option<Accepted>, OutboxError> {
        self.is_in_place()?;
        self.read(|connection| earlier(connection, key, idempotency_key, body_hash))
    }

    /// Claims up to `most` writes that are due, at most one of a lane: orders first, then the longest due.
    /// `orders_only` leaves all others waiting.
    pub async fn claim(
        &self,
        now: Millis,
        most: usize,
        orders_only: bool,
    ) -> Result<Vec<Claimed>, OutboxError> {
        self.submit(move |connection| claim(connection, now, most, orders_only))
            .await
    }

    /// Writes down what became of a claim; `false` where it is no longer the write's current one.
    pub async fn record(
        &self,
        claimed: &Claimed,
        state: OrderState,
        exchange: Exchange,
        now: Millis,
    ) -> Result<bool, OutboxError> {
        let (sequence, attempt) = (claimed.sequence, claimed.attempt);
        let recorded = self
            .submit(move |connection| {
                transitions::record(connection, (sequence, attempt), &state, &exchange, now)
            })
            .await?;
        // The next of the lane may be due now.
        self.bell.notify_one();
        Ok(recorded)
    }

    /// Marks sent writes as confirmed; returns how many were.
    pub async fn confirm(&self, sequences: Vec<i64>, now: Millis) -> Result<usize, OutboxError> {
        self.submit(move |connection| transitions::confirm(connection, &sequences, now))
            .await
    }

    /// Sets writes aside that cannot be read.
    pub async fn set_aside(&self, sequences: Vec<i64>, now: Millis) -> Result<(), OutboxError> {
        self.submit(move |connection| {
            let mut sequences = sequences.iter();
            sequences.try_for_each(|sequence| {
                damage::set_aside(connection, *sequence, &unreadable("a kind, a key or an id"), now)
            })
        })
        .await
    }

    /// Notes the id of a write that was sent, in place of one that is another record's.
    pub async fn put_right(
        &self,
        sequence: i64,
        salesforce_id: String,
        now: Millis,
    ) -> Result<(), OutboxError> {
        self.submit(move |connection| transitions::put_right(connection, sequence, &salesforce_id, now))
            .await
    }

    /// Marks a write as one for a person that was sent and that the org does not have.
    pub async fn lost(&self, sequence: i64, problem: Problem, now: Millis) -> Result<bool, OutboxError> {
        self.submit(move |connection| transitions::lost(connection, sequence, &problem, now))
            .await
    }
}

fn accept(connection: &Connection, row: &Row, now: Millis) -> rusqlite::Result<Accepted> {
    let (write, key) = (&row.new.write, row.new.idempotency_key.as_deref());
    let own = StoreKey::of(write);
    if let Some(line) = held::short(connection, write, &row.new.limits)? {
        let taken = earlier(connection, own, key, &row.new.body_hash)?;
        return Ok(taken.unwrap_or(Accepted::OutOfStock { line }));
    }
    let parent = match write.order() {
        Some(order) => order_sequence(connection, own.store_id, order)?,
        None => None,
    };
    // What belongs to an order of another customer goes with that order.
    let lane = match parent {
        Some((_, ref lane)) => lane,
        None => &row.lane,
    };
    // Who is ahead in the lane is due already, or waits for an order: see `transitions::release`.
    let inserted = connection
        .prepare_cached(
            "insert into writes (kind, external_id, org_key, idempotency_key, body_hash, store_id, lane, behind, priority,
                 parent, customer, email, state, due_at, accepted_at, updated_at, version)
             values (:kind, :external_id,
                 iif(:is_marked or exists(
                     select 1 from writes where kind = :kind and external_id = :external_id and org_key is null
                 ), :marked, null),
                 :idempotency_key, :body_hash, :store_id, :lane,
                 exists(
                     select 1 from writes
                     where lane = :lane and is_open = 1 and behind = 0
                 ) or not (
                     :parent is null
                     or exists (select 1 from writes where sequence = :parent and state in ('sent', 'confirmed'))
                 ),
                 :priority, :parent, :customer, :email, 'queued', :now, :now, :now, :version)
             on conflict do nothing",
        )?
        .execute(named_params! {
            ":kind": own.kind.name(),
            ":external_id": own.external_id,
            ":is_marked": row.is_marked,
            ":marked": row.marked,
            ":idempotency_key": key,
            ":body_hash": row.new.body_hash.as_slice(),
            ":store_id": own.store_id,
            ":lane": lane,
            ":priority": own.kind.priority(),
            ":parent": parent.as_ref().map(|(sequence, _)| sequence),
            ":customer": write.customer().and_then(|customer| customer.external_id.as_deref()),
            ":email": email(write),
            ":now": now,
            ":version": versions::next(connection, now)?,
        })?;
    if inserted == 0 {
        // One of its keys is taken.
        let taken = earlier(connection, own, key, &row.new.body_hash)?;
        return taken.ok_or(rusqlite::Error::QueryReturnedNoRows);
    }
    let sequence = connection.last_insert_rowid();
    connection
        .prepare_cached("insert into bodies (write_sequence, body, checksum) values (?1, ?2, ?3)")?
        .execute(params![sequence, row.body, row.checksum])?;
    held::keep(connection, sequence, write)?;
    crate::failpoint::reach("accept_before_commit");
    Ok(Accepted::New { accepted_at: now })
}

/// What an order's customer may be found by without a key.
pub(super) fn email(write: &Write) -> Option<&str> {
    let customer = write.customer().filter(|_| write.kind() == Kind::Order)?;
    customer.email.as_deref()
}

/// An accepted order by the store's key: its sequence and its lane.
fn order_sequence(
    connection: &Connection,
    store_id: &str,
    key: &str,
) -> rusqlite::Result<Option<(i64, String)>> {
    connection
        .prepare_cached(
            "select sequence, lane from writes where kind = 'order' and external_id = ?1 and store_id = ?2",
        )?
        .query_row([key, store_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// What the store used the keys for before, if it did.
fn earlier(
    connection: &Connection,
    key: StoreKey<'_>,
    idempotency_key: Option<&str>,
    body_hash: &[u8; 32],
) -> rusqlite::Result<Option<Accepted>> {
    connection
        .prepare_cached(
            "select body_hash, accepted_at, 0 from writes where kind = ?1 and external_id = ?2 and store_id = ?4
             union all
             select body_hash, accepted_at, 1 from writes
             where kind = ?1 and idempotency_key = ?3 and store_id = ?4 and external_id <> ?2",
        )?
        .query_row(
            params![key.kind.name(), key.external_id, idempotency_key, key.store_id],
            |row| {
                let same = row.get::<_, Vec<u8>>(0)? == body_hash;
                let accepted_at = row.get(1)?;
                Ok(if same {
                    Accepted::Replay { accepted_at }
                } else {
                    Accepted::Conflict {
                        by_header: row.get(2)?,
                    }
                })
            },
        )
        .optional()
}

fn claim(
    connection: &Connection,
    now: Millis,
    most: usize,
    orders_only: bool,
) -> rusqlite::Result<Vec<Claimed>> {
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let highest = if orders_only {
        Kind::OrderUpdate
    } else {
        Kind::Lead
    }
    .priority();
    let due = connection
        .prepare_cached(
            "select sequence, kind, external_id, attempt, failures, read_back, accepted_at, body, checksum,
                 unanswered_at, error_code, org_key,
                 (select p.org_key from writes p where p.sequence = writes.parent), store_id, version
             from writes indexed by writes_due left join bodies on write_sequence = sequence
             where behind = 0 and state in ('queued', 'waiting') and priority <= ?3 and due_at <= ?1
             order by priority, due_at, sequence limit ?2",
        )?
        .query_map(
            params![now, limit.saturating_add(UNREADABLE_MAX), highest],
            |row| {
                let sequence = row.get(0)?;
                Ok(claimed(row, sequence).map_err(|problem| (sequence, problem)))
            },
        )?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut claimed = Vec::with_capacity(due.len());
    for write in due {
        match write {
            Ok(write) if claimed.len() < most => {
                begin(connection, &write, now)?;
                claimed.push(write);
            }
            Ok(_) => {}
            Err((sequence, problem)) => {
                // Nothing waits for it even where it cannot be written either.
                if let Err(error) = damage::set_aside(connection, sequence, &problem, now) {
                    tracing::error!(sequence, %error, "write #{sequence} cannot be set aside");
                }
            }
        }
    }
    if !claimed.is_empty() {
        crate::failpoint::reach("claim_before_commit");
    }
    Ok(claimed)
}

/// Reads a write as the attempt that begins has it; the problem where it cannot be sent as it is.
fn claimed(row: &rusqlite::Row<'_>, sequence: i64) -> Result<Claimed, Problem> {
    let number = || unreadable("a number");
    let kind = Kind::from_name(exact(row, 1, "a kind")?).ok_or_else(|| unreadable("a kind"))?;
    let external_id = exact(row, 2, "a key")?.to_owned();
    Ok(Claimed {
        sequence,
        kind,
        attempt: row.get::<_, u32>(3).map_err(|_| number())? + 1,
        failures: row.get(4).map_err(|_| number())?,
        read_back: row.get(5).map_err(|_| number())?,
        accepted_at: row.get(6).map_err(|_| number())?,
        body: damage::body(row, 7, kind, &external_id)?,
        unanswered_at: row.get(9).map_err(|_| number())?,
        is_interrupted: damage::shown(row, 10)
            .is_ok_and(|code| code.as_deref() == Some(transitions::INTERRUPTED)),
        org_key: row.get(11).map_err(|_| unreadable("a key"))?,
        order_org_key: row.get(12).map_err(|_| unreadable("a key"))?,
        store_id: exact(row, 13, "a store")?.to_owned(),
        version: row.get(14).map_err(|_| number())?,
        external_id,
    })
}

fn begin(connection: &Connection, write: &Claimed, now: Millis) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "update writes set state = 'sending', attempt = ?2, due_at = null, updated_at = ?3 where sequence = ?1",
        )?
        .execute(params![write.sequence, write.attempt, now])?;
    connection
        .prepare_cached("insert into attempts (write_sequence, attempt, began_at) values (?1, ?2, ?3)")?
        .execute(params![write.sequence, write.attempt, now])?;
    Ok(())
}
