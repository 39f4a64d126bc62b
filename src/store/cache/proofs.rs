//! Of which instant it is proved that all the org had committed before it is in the rows.
//!
//! A proof is stored in the transaction that makes it true, so a reader never sees it before the rows. While something
//! is known to be missing (a gap), nothing is proved: the last proof stays.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::clock::{Millis, Moment, boot_id};
use crate::model::freshness::{Known, WAITING_MAX_MILLIS};
use crate::model::shown::SHOWN;
use crate::store::cache::repairs::reason;
use crate::store::cache::{Batch, cursors, fields};
use crate::store::storefront::feed;

/// Something is missing of the object `?1`, and an entry of the ledger will bring it: what changed while the position
/// was lost, or everything. A load by schedule, and one for fields that are new, miss nothing. What only events tell is
/// not missing where an object is polled. What a poll of an object that is mirrored in part has found is missing until it
/// is read, for as long as it may make its object older.
const GAP: &str = "select 1 from _repair where object = ?1 and closed_at is null and (kind = 'catch_up' \
    or kind = 'reload' and reason not in (?6, ?7) or kind = 'verify' and reason in (?8, ?9) \
        and exists (select 1 from _object o where o.object = ?1 and o.streamed = 1) \
    or kind = 'record' and reason = ?12 and opened_at > ?10 - ?13 \
        and exists (select 1 from _object o where o.object = ?1 and o.streamed = 0))";

/// The age is less, at the moment `?10` and `?11`: the wall clock may have been set between two proofs. Of an earlier
/// start of the machine nothing is compared with this one's clock.
const NEWER: &str = "(excluded.boot_id <> boot_id \
    or max(?10 - excluded.wall, ?11 - excluded.boot) < max(?10 - wall, ?11 - boot))";

/// An instant of this start of the machine, or of an earlier one in terms of this one.
fn in_this_boot(wall: Millis, boot: Millis, id: &str, now: Moment) -> (Moment, bool) {
    if id == boot_id() {
        return (Moment { wall, boot }, false);
    }
    let passed = now.wall - wall;
    let boot = if passed < 0 { 0 } else { now.boot - passed };
    (Moment { wall, boot }, passed < 0)
}

/// What is known of every object. What stands in the way of one of `topics` stands in that of what is streamed; a channel
/// that is no longer followed may have left its problem.
pub fn known(
    connection: &Connection,
    topics: &[String],
    now: Moment,
) -> rusqlite::Result<BTreeMap<String, Known>> {
    let problems = cursors::problems(connection)?;
    let of_channel = problems.into_iter().find(|(topic, ..)| topics.contains(topic));
    let of_channel = of_channel.map(|(_, problem, _)| problem);
    let mut known: BTreeMap<String, Known> = connection
        .prepare_cached(
            "select o.object, o.streamed, o.rows, coalesce(o.problem, case when a.waiting is not null then a.waiting || \
                ' rows were not found in the org, and wait for a person: storesync removals list' end, \
                (select r.reason || ': it is read again, and until then it has rows too many or too few' from _repair r \
                    where r.object = o.object and r.kind = 'reload' and r.closed_at is null and r.reason = ?2), \
                case o.streamed when 1 then ?1 end), \
                o.state in ('live', 'reload') and coalesce(p.complete, 0), p.wall, p.boot, p.boot_id \
             from _object o left join _proof p on p.object = o.object left join _absence a on a.object = o.object",
        )?
        .query_map(params![of_channel, reason::CONDITION_CHANGED], |row| {
            let proof = match row.get::<_, Option<Millis>>(5)? {
                Some(wall) => Some(in_this_boot(wall, row.get(6)?, &row.get::<_, String>(7)?, now)),
                None => None,
            };
            let object: String = row.get(0)?;
            let known = Known {
                urgency: feed::urgency(&object),
                complete: row.get(4)?,
                proved: proof.map(|(proved, _)| proved),
                doubtful: proof.is_some_and(|(_, doubtful)| doubtful),
                streamed: row.get(1)?,
                rows: row.get::<_, i64>(2)?.unsigned_abs(),
                problem: row.get(3)?,
                ..Known::default()
            };
            Ok((object, known))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut waiting = connection.prepare_cached(
        "select object, min(case when opened_at > ?1 then min(opened_at, coalesce(since, opened_at)) end), \
            sum(opened_at <= ?1) from _repair \
         where closed_at is null and kind = 'record' group by object",
    )?;
    let mut waiting = waiting.query([now.wall - WAITING_MAX_MILLIS])?;
    while let Some(row) = waiting.next()? {
        if let Some(known) = known.get_mut(&row.get::<_, String>(0)?) {
            known.waiting_since = row.get(1)?;
            known.waiting_long = row.get::<_, i64>(2)?.unsigned_abs();
        }
    }
    note_shown(connection, &mut known)?;
    Ok(known)
}

/// Notes which mirrored objects each of them shows fields of.
fn note_shown(connection: &Connection, known: &mut BTreeMap<String, Known>) -> rusqlite::Result<()> {
    for shown in &SHOWN {
        if !known.contains_key(shown.object) {
            continue;
        }
        let Some(by) = known.get_mut(shown.by) else {
            continue;
        };
        let fields_of_by = fields::shown(connection, shown.by)?;
        let mut fields = fields::shown(connection, shown.object)?.into_iter();
        if fields.any(|field| shown.shows(&field, |name| fields_of_by.contains(name))) {
            by.shows.push(shown.object.to_owned());
        }
    }
    Ok(())
}

impl Batch<'_> {
    /// With what this transaction writes, all that the org committed before `proved` is here, unless something is known
    /// to be missing. `completes` where that ends what a first load began. Of two proofs the better is kept.
    pub fn prove(
        &mut self,
        object: &str,
        proved: Moment,
        completes: bool,
        now: Moment,
    ) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(&format!(
                "insert into _proof select ?1, ?2, ?3, ?4, ?5 where not exists ({GAP}) \
                 on conflict (object) do update set complete = max(complete, excluded.complete), \
                    (wall, boot, boot_id) = (select excluded.wall, excluded.boot, excluded.boot_id \
                        where {NEWER} union all select wall, boot, boot_id limit 1) \
                 where {NEWER} or excluded.complete > complete"
            ))?
            .execute(params![
                object,
                proved.wall,
                proved.boot,
                boot_id(),
                completes,
                reason::BY_SCHEDULE,
                reason::FIELDS_CHANGED,
                reason::OTHER_ADDRESS,
                reason::UNKNOWN_EVENT,
                now.wall,
                now.boot,
                reason::IN_PART,
                WAITING_MAX_MILLIS,
            ])?;
        Ok(())
    }

    /// By the wall clock: all that the org had committed before it is here.
    pub fn proved_wall(&self, object: &str) -> rusqlite::Result<Option<Millis>> {
        self.transaction
            .prepare_cached("select wall from _proof where object = ?1")?
            .query_row([object], |row| row.get(0))
            .optional()
    }

    /// When the first request of an object's load was made.
    pub fn load_asked(&mut self, object: &str, asked: Moment) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _load set asked_wall = ?2, asked_boot = ?3, asked_boot_id = ?4 where object = ?1",
            )?
            .execute(params![object, asked.wall, asked.boot, boot_id()])?;
        Ok(())
    }

    /// As told to [`Batch::load_asked`], whichever start of the machine it was in.
    pub fn when_load_asked(&self, object: &str, now: Moment) -> rusqlite::Result<Option<Moment>> {
        let mut select = self.transaction.prepare_cached(
            "select asked_wall, asked_boot, asked_boot_id from _load where object = ?1 and asked_wall is not null",
        )?;
        let mut rows = select.query([object])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (asked, _) = in_this_boot(row.get(0)?, row.get(1)?, &row.get::<_, String>(2)?, now);
        Ok(Some(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cache::Cache;

    const NOW: Moment = Moment {
        wall: 10_000_000,
        boot: 500_000,
    };

    fn cache(sql: &str) -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let object = "insert into _object (object, table_name, state, streamed, rows) \
             values ('Account', 'account', 'live', 1, 5);";
        cache
            .connection()
            .execute_batch(&format!("{object}{sql}"))
            .unwrap();
        (dir, cache)
    }

    #[test]
    fn a_proof_is_as_old_as_it_was_before_the_machine_was_started_again() {
        for (wall, boot, id, age, doubtful) in [
            (9_990_000, 490_000, boot_id(), 10_000, false),
            // Set back since: the clock that was not set counts.
            (11_000_000, 440_000, boot_id(), 60_000, false),
            (9_900_000, 7, "another", 100_000, false),
            // Set back while the machine was off: at least as old as the machine runs.
            (11_000_000, 7, "another", 500_000, true),
        ] {
            let (_dir, cache) = cache(&format!(
                "insert into _proof values ('Account', {wall}, {boot}, '{id}', 1)"
            ));
            let known = &known(cache.connection(), &[], NOW).unwrap()["Account"];
            let told = (known.proved.unwrap().age(NOW), known.doubtful);
            assert_eq!(told, (age, doubtful), "{wall} {boot} {id}");
        }
    }

    #[test]
    fn rows_that_were_read_by_another_condition_are_told_to_be_wrong_until_they_are_read_again() {
        for (reason, closed, expected) in [
            (reason::CONDITION_CHANGED, "null", true),
            (reason::CONDITION_CHANGED, "2", false),
            (reason::FIELDS_CHANGED, "null", false),
        ] {
            let (_dir, cache) = cache(&format!(
                "insert into _repair (kind, object, reason, opened_at, closed_at, found) \
                 values ('reload', 'Account', '{reason}', 1, {closed}, iif({closed} is null, null, 'read'))"
            ));
            let known = &known(cache.connection(), &[], NOW).unwrap()["Account"];
            let is_told = |problem: &String| problem.starts_with(reason::CONDITION_CHANGED);
            assert_eq!(
                known.problem.as_ref().is_some_and(is_told),
                expected,
                "{reason} {closed}"
            );
        }
    }

    #[test]
    fn an_object_shows_fields_of_those_that_are_mirrored_and_have_them() {
        let asset = "insert into _object (object, table_name, state, streamed, rows) \
             values ('Contact', 'contact', 'live', 1, 5);";
        let fields = |fields: &[(&str, &str)]| {
            let field = |(object, field): &(&str, &str)| {
                format!("insert into _field (object, field, kind) values ('{object}', '{field}', 'text');")
            };
            fields.iter().map(field).collect::<String>()
        };
        let title = [
            ("Account", "IsPersonAccount"),
            ("Account", "PersonTitle"),
            ("Contact", "Title"),
        ];
        for (sql, expected) in [
            (format!("{asset}{}", fields(&title)), vec!["Contact".to_owned()]),
            (format!("{asset}{}", fields(&title[..2])), Vec::new()),
            (
                format!("{asset}{}", fields(&title[1..])),
                vec!["Contact".to_owned()],
            ),
            (format!("{asset}{}", fields(&[title[0], title[2]])), Vec::new()),
            (
                format!(
                    "{asset}{}update _field set missing_since = 1 where field = 'Title'",
                    fields(&title)
                ),
                Vec::new(),
            ),
            (fields(&title), Vec::new()),
        ] {
            let (_dir, cache) = cache(&sql);
            let known = &known(cache.connection(), &[], NOW).unwrap()["Account"];
            assert_eq!(known.shows, expected, "{sql}");
        }
    }

    #[test]
    fn nothing_is_proved_while_something_is_missing() {
        let open = |kind: &str, reason: &str| {
            format!(
                "insert into _repair (kind, object, reason, opened_at) values ('{kind}', 'Account', '{reason}', 1)"
            )
        };
        for (entry, expected) in [
            (String::new(), true),
            (open("catch_up", "position lost"), false),
            (open("reload", "overflow"), false),
            (open("reload", reason::CONDITION_CHANGED), false),
            (open("reload", reason::BY_SCHEDULE), true),
            (open("reload", reason::FIELDS_CHANGED), true),
            (open("verify", "by schedule"), true),
            (open("verify", reason::OTHER_ADDRESS), false),
            (open("verify", reason::UNKNOWN_EVENT), false),
            (
                format!(
                    "{}; update _object set streamed = 0",
                    open("verify", reason::OTHER_ADDRESS)
                ),
                true,
            ),
            (open("record", reason::IN_PART), true),
            (
                format!(
                    "{}; update _object set streamed = 0; update _repair set opened_at = {}",
                    open("record", reason::IN_PART),
                    NOW.wall - WAITING_MAX_MILLIS + 1
                ),
                false,
            ),
            (
                format!(
                    "{}; update _object set streamed = 0; update _repair set opened_at = {}",
                    open("record", reason::IN_PART),
                    NOW.wall - WAITING_MAX_MILLIS
                ),
                true,
            ),
        ] {
            let (_dir, mut cache) = cache(&entry);
            let mut batch = cache.batch().unwrap();
            batch.prove("Account", NOW, true, NOW).unwrap();
            batch.commit().unwrap();
            let known = &known(cache.connection(), &[], NOW).unwrap()["Account"];
            assert_eq!(
                (known.proved.is_some(), known.complete),
                (expected, expected),
                "{entry}"
            );
        }
    }

    #[test]
    fn what_stands_in_the_way_of_a_channel_that_is_followed_stands_in_that_of_its_objects() {
        let (_dir, cache) = cache("insert into _channel values ('/data/ChangeEvents', 'refused', 1)");
        for (topics, expected) in [
            (vec!["/data/ChangeEvents".to_owned()], Some("refused")),
            (Vec::new(), None),
        ] {
            let known = known(cache.connection(), &topics, NOW).unwrap();
            assert_eq!(known["Account"].problem.as_deref(), expected);
        }
    }

    #[test]
    fn the_better_proof_is_kept() {
        let at = |wall, boot| Moment { wall, boot };
        for (first, second, expected) in [
            (at(9_000_000, 400_000), at(9_050_000, 450_000), 2),
            (at(9_050_000, 450_000), at(9_000_000, 400_000), 1),
            // The wall clock was set ahead after the first: it is old by that, the second is not.
            (at(9_000_000, 480_000), at(9_950_000, 450_000), 2),
        ] {
            let (_dir, mut cache) = cache("");
            for proved in [first, second] {
                let mut batch = cache.batch().unwrap();
                batch.prove("Account", proved, false, NOW).unwrap();
                batch.commit().unwrap();
            }
            let known = &known(cache.connection(), &[], NOW).unwrap()["Account"];
            assert_eq!(known.proved, Some([first, second][expected - 1]));
        }
    }

    #[test]
    fn records_that_wait_are_counted() {
        let (_dir, mut cache) = cache(
            "insert into _repair (kind, object, record_id, reason, opened_at) values \
             ('record', 'Account', '1', 'gap', 9999000), ('record', 'Account', '2', 'gap', 9999500), \
             ('record', 'Account', '3', 'gap', 9000000)",
        );
        let mut batch = cache.batch().unwrap();
        batch.prove("Account", NOW, false, NOW).unwrap();
        batch.commit().unwrap();
        let known = &known(cache.connection(), &[], NOW).unwrap()["Account"];
        assert_eq!(known.proved, Some(NOW));
        assert_eq!(
            (known.waiting_since, known.waiting_long, known.complete),
            (Some(9_999_000), 1, false)
        );
        let since = "update _repair set since = 9800000 where record_id = '2'";
        cache.connection().execute_batch(since).unwrap();
        let known = &super::known(cache.connection(), &[], NOW).unwrap()["Account"];
        assert_eq!(known.waiting_since, Some(9_800_000));
    }
}
