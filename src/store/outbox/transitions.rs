//! How a write goes from state to state in the table, and who comes next in its lane.

use rusqlite::{Connection, OptionalExtension, named_params, params};

use crate::model::clock::Millis;
use crate::model::order::{OrderState, Problem};
use crate::store::outbox::{Exchange, held, kept};

/// The code of a write whose request may still arrive at the org: neither it nor what is behind it is touched.
pub const ANSWER_AWAITED: &str = "ANSWER_AWAITED";
/// The code of a write that was on its way when the process ended.
pub(super) const INTERRUPTED: &str = "INTERRUPTED";

/// Most bytes kept of a request or of an answer.
const EXCHANGE_BYTES_MAX: usize = 64 * 1024;

/// Makes the foremost write of a lane due, unless one is due or on its way. A write whose order is not in the
/// org yet is passed over: it waits for that order, and nobody waits for it.
pub(super) fn release(connection: &Connection, lane: &str) -> rusqlite::Result<()> {
    let busy = connection
        .prepare_cached("select 1 from writes where lane = ?1 and is_open = 1 and behind = 0 limit 1")?
        .exists([lane])?;
    if busy {
        return Ok(());
    }
    connection
        .prepare_cached(
            "update writes set behind = 0 where sequence = (
                 select sequence from writes w
                 where lane = ?1 and is_open = 1 and state <> 'sending' and (
                     parent is null
                     or exists (select 1 from writes p where p.sequence = w.parent and p.state in ('sent', 'confirmed'))
                 )
                 order by sequence limit 1
             )",
        )?
        .execute([lane])?;
    Ok(())
}

/// A state's evidence, as the columns hold it.
#[derive(Default)]
struct Columns<'a> {
    failures: Option<u32>,
    due_at: Option<Millis>,
    read_back: bool,
    salesforce_id: Option<&'a str>,
    problem: Option<&'a Problem>,
}

fn columns(state: &OrderState, now: Millis) -> Columns<'_> {
    match state {
        OrderState::Queued => Columns {
            due_at: Some(now),
            ..Columns::default()
        },
        OrderState::Sending { .. } => Columns::default(),
        OrderState::Waiting {
            failures,
            due_at,
            read_back,
            problem,
        } => Columns {
            failures: Some(*failures),
            due_at: Some(*due_at),
            read_back: *read_back,
            problem: Some(problem),
            ..Columns::default()
        },
        OrderState::Sent { salesforce_id } | OrderState::Confirmed { salesforce_id } => Columns {
            salesforce_id: Some(salesforce_id),
            ..Columns::default()
        },
        // Whatever became of it, it is looked up before it is ever sent again.
        OrderState::NeedsAttention { problem } | OrderState::Discarded { problem } => Columns {
            problem: Some(problem),
            read_back: true,
            ..Columns::default()
        },
    }
}

/// Writes down what became of the attempt `(sequence, attempt)`; `false` where that is over.
pub(super) fn record(
    connection: &Connection,
    (sequence, attempt): (i64, u32),
    state: &OrderState,
    exchange: &Exchange,
    now: Millis,
) -> rusqlite::Result<bool> {
    let columns = columns(state, now);
    let (code, message) = columns
        .problem
        .map(|problem| (&problem.code, &problem.message))
        .unzip();
    let not_written = exchange
        .not_written
        .as_ref()
        .and_then(|left_out| serde_json::to_string(left_out).ok());
    let lane: Option<String> = connection
        .prepare_cached(
            "update writes set state = :state, failures = coalesce(:failures, failures), due_at = :due_at,
                 read_back = :read_back, salesforce_id = coalesce(:salesforce_id, salesforce_id), error_code = :code,
                 error_message = :message, updated_at = :now,
                 not_written = nullif(coalesce(:not_written, not_written), '[]'),
                 unanswered_at = iif(:state = 'waiting', coalesce(:unanswered_at, unanswered_at), null)
             where sequence = :sequence and state = 'sending' and attempt = :attempt
             returning lane",
        )?
        .query_row(
            named_params! {
                ":state": state.state().name(),
                ":failures": columns.failures,
                ":due_at": columns.due_at,
                ":read_back": columns.read_back,
                ":salesforce_id": columns.salesforce_id,
                ":code": code,
                ":message": message,
                ":now": now,
                ":unanswered_at": exchange.unanswered_at,
                ":not_written": not_written,
                ":sequence": sequence,
                ":attempt": attempt,
            },
            |row| row.get(0),
        )
        .optional()?;
    let Some(lane) = lane else { return Ok(false) };
    connection
        .prepare_cached(
            "update attempts set ended_at = ?3, state = ?4, error_code = ?5, error_message = ?6
             where write_sequence = ?1 and attempt = ?2",
        )?
        .execute(params![
            sequence,
            attempt,
            now,
            state.state().name(),
            code,
            message
        ])?;
    note_exchange(connection, (sequence, attempt), exchange)?;
    if columns.salesforce_id.is_some() {
        kept::note_persons(connection, sequence, &exchange.record_ids)?;
    }
    if columns.due_at.is_none() {
        release(connection, &lane)?;
    }
    crate::failpoint::reach("record_before_commit");
    Ok(true)
}

fn note_exchange(
    connection: &Connection,
    (sequence, attempt): (i64, u32),
    exchange: &Exchange,
) -> rusqlite::Result<()> {
    let (request, response) = (
        cut(exchange.request.as_deref()),
        cut(exchange.response.as_deref()),
    );
    if request.is_none() && response.is_none() {
        return Ok(());
    }
    connection
        .prepare_cached(
            "insert into exchanges (write_sequence, attempt, request, response) values (?1, ?2, ?3, ?4)",
        )?
        .execute(params![sequence, attempt, request, response])
        .map(drop)
}

/// No more than is kept, and how much was left out.
fn cut(text: Option<&str>) -> Option<String> {
    let text = text?;
    if text.len() <= EXCHANGE_BYTES_MAX {
        return Some(text.to_owned());
    }
    let end = text.floor_char_boundary(EXCHANGE_BYTES_MAX);
    Some(format!("{} ({} bytes more)", &text[..end], text.len() - end))
}

pub(super) fn confirm(connection: &Connection, sequences: &[i64], now: Millis) -> rusqlite::Result<usize> {
    let mut update = connection.prepare_cached(
        "update writes set state = 'confirmed', updated_at = ?2 where sequence = ?1 and state = 'sent'",
    )?;
    let confirmed = sequences.iter().try_fold(0, |confirmed, sequence| {
        let hit = update.execute(params![sequence, now])?;
        if hit > 0 {
            held::release(connection, *sequence)?;
        }
        Ok(confirmed + hit)
    });
    crate::failpoint::reach("confirm_before_commit");
    confirmed
}

pub(super) fn lost(
    connection: &Connection,
    sequence: i64,
    problem: &Problem,
    now: Millis,
) -> rusqlite::Result<bool> {
    let hit = connection
        .prepare_cached(
            "update writes set state = 'needs_attention', read_back = 1, error_code = ?2, error_message = ?3,
                 updated_at = ?4
             where sequence = ?1 and state = 'sent'",
        )?
        .execute(params![sequence, problem.code, problem.message, now])?;
    Ok(hit > 0)
}

/// What was to be forgotten for the other record's sake is not: where the write's own person is gone that is found again.
pub(super) fn put_right(
    connection: &Connection,
    sequence: i64,
    salesforce_id: &str,
    now: Millis,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "delete from persons where write_sequence = ?1
                 and record_id = (select salesforce_id from writes where sequence = ?1 and state = 'sent')",
        )?
        .execute([sequence])?;
    connection
        .prepare_cached(
            "update writes set salesforce_id = ?2, forget = 0, updated_at = ?3 where sequence = ?1 and state = 'sent'",
        )?
        .execute(params![sequence, salesforce_id, now])?;
    kept::note_persons(connection, sequence, &[salesforce_id.to_owned()])
}

/// Makes writes that were being sent when the process ended due again, to be looked up first.
pub(super) fn recover(connection: &Connection, now: Millis) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let (code, message) = (
        INTERRUPTED,
        "storesync ended while it was being sent: it is looked up in the org before it is sent again",
    );
    transaction.execute(
        "update attempts set ended_at = ?1, state = 'waiting', error_code = ?2, error_message = ?3
         where ended_at is null",
        params![now, code, message],
    )?;
    transaction.execute(
        "update writes set state = 'waiting', due_at = ?1, read_back = 1, error_code = ?2, error_message = ?3,
             unanswered_at = iif(kind = 'order', unanswered_at, updated_at), updated_at = ?1
         where state = 'sending'",
        params![now, code, message],
    )?;
    transaction.commit()
}
