//! `storesync verify`: compares the cache with the org, and says of each row that differs how.
//!
//! It may run beside the daemon or without it. The org is read, and the cache's file; with `--repair` the rows
//! that differ are asked for there, and the daemon reads them again through its one door: at once where it runs, else
//! when it next starts.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value, json};

use crate::cli::{Exit, VerifyArgs};
use crate::config::Config;
use crate::inbound::compare::{Comparison, Depth, Drift, Patience, RESTAMPED, Report, calls_expected};
use crate::inbound::prepare::{Planned, look_at_fields};
use crate::inspect::{actor, print, print_json, reader, usage, write_down};
use crate::model::clock::Clock;
use crate::salesforce::Org;
use crate::store::cache::absence;
use crate::store::cache::fields;
use crate::store::cache::objects::{self, ObjectState, State};
use crate::store::cache::repairs::{self, Asked};
use crate::store::database;
use crate::store::outbox::audit::Line;
use crate::store::reader::Reader;

/// How long to wait for the daemon to work off what was handed to it.
const REPAIRED_MAX: Duration = Duration::from_secs(120);

/// Objects that are compared at a time: what differs is looked at for some seconds.
const SIDE_BY_SIDE_MAX: usize = 4;

/// Rows of an object that differ and are told one by one; of more, their number.
const TOLD_MAX: usize = 10_000;

/// No object of this name is mirrored.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not mirrored: storesync status lists what is")]
pub(super) struct NotMirrored(pub String);

/// What came of one object.
struct Compared {
    object: String,
    outcome: Result<Found, String>,
    /// Of a thorough comparison: the fields that were left out.
    uncompared: Vec<Uncompared>,
}

/// A field that only one side has, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Uncompared {
    field: String,
    cause: &'static str,
}

/// Of a field that the org shows.
const NOT_HERE: &str = "the cache does not have it yet";

/// Of a field that the cache has.
const NOT_SHOWN: &str = "the org does not show it to this user";

/// What the pieces of a comparison come to together.
#[derive(Default)]
struct Found {
    /// With the rows that differ, as many as are told one by one.
    told: Report,
    differing: usize,
    asked: usize,
    /// Of those that were asked for, how many were not repaired in time.
    open: usize,
}

pub async fn run(config: &Config, args: &VerifyArgs) -> anyhow::Result<Exit> {
    let dir = &config.state.dir;
    let reader = reader(dir)?;
    let org = Org::new(&config.org, Clock::System)?;
    let chosen = match choose(reader.with(objects::objects)?, &args.object) {
        Ok(chosen) => chosen,
        Err(not_mirrored) => {
            eprintln!("storesync: {not_mirrored}");
            return Ok(Exit::Usage);
        }
    };
    let depth = if args.full { Depth::Fields } else { Depth::Windows };
    let running = database::is_held(dir);
    let mut planned = Vec::with_capacity(chosen.len());
    for state in &chosen {
        planned.push(look(&reader, config, &org, state).await?);
    }
    let rows = chosen.iter().map(|state| state.rows.unsigned_abs());
    let calls: u64 = rows.map(|rows| calls_expected(rows, depth)).sum();
    // Told beforehand, and not among the results.
    eprintln!(
        "comparing {} objects takes about {calls} API calls where nothing differs ({})",
        chosen.len(),
        usage(&org)
    );
    // Without a daemon nothing else comes.
    let patience = if running {
        Patience {
            poll: Duration::from_secs(2 * u64::from(config.sync.poll_seconds)),
            repairs: REPAIRED_MAX,
        }
    } else {
        Patience::default()
    };
    let repairing = match args.repair {
        true => Some(Repairing::asked_for(dir, &reader, running, &chosen)?),
        false => None,
    };
    let (org, reader) = (&org, &reader);
    let compared = chosen.iter().zip(planned).map(async |(state, planned)| {
        let (planned, mut uncompared) = planned.unzip();
        if depth == Depth::Windows {
            uncompared = None;
        }
        let outcome = match planned {
            _ if state.state != State::Live => Err(format!("it is being read ({})", state.state)),
            None => Err("the org does not show it to this user".to_owned()),
            Some(planned) => {
                let comparison = Comparison::new(org, reader, &planned, depth, patience);
                let all = all_pieces(comparison, repairing.as_ref()).await;
                all.map_err(|error| format!("{error:#}"))
            }
        };
        let object = state.object.clone();
        Compared {
            object,
            outcome,
            uncompared: uncompared.unwrap_or_default(),
        }
    });
    let compared: Vec<_> = compared.collect();
    let results: Vec<Compared> = stream::iter(compared).buffered(SIDE_BY_SIDE_MAX).collect().await;
    let repairs = match &repairing {
        Some(repairing) => Some(repairing.outcome(&results)?),
        None => None,
    };
    tell(args, &results, repairs, calls);
    Ok(exit(&results, repairs))
}

/// Drift is a failure, unless all of it was put right; so is an object that could not be compared.
fn exit(results: &[Compared], repairs: Option<Repairs>) -> Exit {
    let drift = drift_count(results) > 0;
    let repaired = repairs.is_some_and(|repairs| repairs.open == 0);
    let failed = results.iter().any(|result| result.outcome.is_err());
    if failed || (drift && !repaired) {
        Exit::Failed
    } else {
        Exit::Ok
    }
}

fn drift_count(results: &[Compared]) -> usize {
    let reports = results.iter().filter_map(|result| result.outcome.as_ref().ok());
    reports.map(|report| report.differing).sum()
}

fn choose(states: Vec<ObjectState>, names: &[String]) -> Result<Vec<ObjectState>, NotMirrored> {
    for name in names {
        if !states.iter().any(|state| state.object.eq_ignore_ascii_case(name)) {
            return Err(NotMirrored(name.clone()));
        }
    }
    let wanted = |state: &ObjectState| {
        names.is_empty() || names.iter().any(|name| state.object.eq_ignore_ascii_case(name))
    };
    Ok(states.into_iter().filter(wanted).collect())
}

/// The object as it is mirrored, with the fields that the org shows and the cache has, and those that one of them lacks.
async fn look(
    reader: &Reader,
    config: &Config,
    org: &Org,
    state: &ObjectState,
) -> anyhow::Result<Option<(Planned, Vec<Uncompared>)>> {
    let Some(mut planned) = look_at_fields(org, &config.sync, &state.object).await? else {
        return Ok(None);
    };
    let known = reader.with(|connection| objects::fields(connection, &state.object))?;
    let missing = reader.with(fields::missing)?.into_iter();
    let missing = missing.filter(|missing| missing.object == state.object);
    let here: HashSet<String> = known
        .iter()
        .cloned()
        .chain(missing.map(|missing| missing.field))
        .collect();
    let shown = planned.table.columns.iter().map(|column| column.field.clone());
    let uncompared = uncompared(&shown.collect(), &known, &here);
    planned
        .table
        .columns
        .retain(|column| known.contains(&column.field));
    planned.streamed = state.streamed;
    Ok(Some((planned, uncompared)))
}

/// The fields that are not compared: `known` are those that the cache keeps current, `here` all that it has.
fn uncompared(shown: &HashSet<String>, known: &HashSet<String>, here: &HashSet<String>) -> Vec<Uncompared> {
    let field = |cause| {
        move |field: &String| Uncompared {
            field: field.clone(),
            cause,
        }
    };
    let not_here = shown.difference(known).map(field(NOT_HERE));
    let not_shown = here.difference(shown).map(field(NOT_SHOWN));
    let mut uncompared: Vec<Uncompared> = not_here.chain(not_shown).collect();
    uncompared.sort();
    uncompared
}

/// What became of what was handed to the ledger.
#[derive(Clone, Copy)]
struct Repairs {
    asked: usize,
    open: usize,
}

/// What `--repair` works with.
struct Repairing<'a> {
    dir: &'a Path,
    reader: &'a Reader,
    running: bool,
}

/// Compares all of an object. With `--repair` each piece is handed over before the next is looked at.
async fn all_pieces(
    mut comparison: Comparison<'_>,
    repairing: Option<&Repairing<'_>>,
) -> anyhow::Result<Found> {
    let mut found = Found::default();
    while let Some(mut piece) = comparison.next().await? {
        found.differing += piece.drift.len();
        if let Some(repairing) = repairing {
            let (asked, open) = repairing.repair(comparison.object(), &piece).await?;
            found.asked += asked;
            found.open += open;
        }
        found.told.rows += piece.rows;
        found.told.calls += piece.calls;
        let room = TOLD_MAX.saturating_sub(found.told.drift.len());
        found
            .told
            .drift
            .extend(std::mem::take(&mut piece.drift).into_iter().take(room));
    }
    Ok(found)
}

impl<'a> Repairing<'a> {
    /// Begins once it is in the audit.
    fn asked_for(
        dir: &'a Path,
        reader: &'a Reader,
        running: bool,
        chosen: &[ObjectState],
    ) -> anyhow::Result<Self> {
        let objects = chosen.iter().map(|state| state.object.clone());
        let line = Line::new(actor()?, "repair").about("objects", Some(Vec::from_iter(objects)));
        write_down(dir, &line)?;
        Ok(Self { dir, reader, running })
    }

    /// Asks for the rows of a piece to be read again, and waits for it where the daemon runs: how many, and how many of
    /// them are still to be read.
    async fn repair(&self, object: &str, piece: &Report) -> anyhow::Result<(usize, usize)> {
        let restamped = piece.restamped.iter().map(|id| (id, RESTAMPED));
        let differing = piece.drift.iter().map(|(id, drift)| (id, drift.reason()));
        let asked = differing.chain(restamped).map(|(id, reason)| Asked {
            object: object.to_owned(),
            record_id: id.clone(),
            reason: reason.to_owned(),
        });
        let asked: Vec<Asked> = asked.collect();
        repairs::ask_for(self.dir, &asked)?;
        let records = asked.into_iter().map(|asked| (asked.object, asked.record_id));
        let records: Vec<(String, String)> = records.collect();
        let still_open = || {
            self.reader
                .with(|connection| repairs::outstanding(connection, &records))
        };
        let worked_off = async {
            while self.running && still_open()? > 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            anyhow::Ok(())
        };
        if let Ok(ended) = tokio::time::timeout(REPAIRED_MAX, worked_off).await {
            ended?;
        }
        Ok((records.len(), still_open()?))
    }

    /// What came of it. What the org does not know any more may have to wait for a person.
    fn outcome(&self, results: &[Compared]) -> anyhow::Result<Repairs> {
        let waiting = self.reader.with(absence::waiting)?;
        let found = |object: &str| {
            let of = results.iter().find(|result| result.object == object)?;
            of.outcome.as_ref().ok()
        };
        let waiting = waiting
            .iter()
            .filter(|waiting| found(&waiting.object).is_some_and(|found| found.asked > 0));
        for waiting in waiting.clone() {
            eprintln!("storesync: {}: {}", waiting.object, waiting.sentence());
        }
        let waiting: u64 = waiting.map(|waiting| waiting.rows).sum();
        let all = results.iter().filter_map(|result| result.outcome.as_ref().ok());
        let (asked, open) = all.fold((0, 0), |(asked, open), found| {
            (asked + found.asked, open + found.open)
        });
        Ok(Repairs {
            asked,
            open: open + usize::try_from(waiting).unwrap_or(usize::MAX),
        })
    }
}

fn tell(args: &VerifyArgs, results: &[Compared], repairs: Option<Repairs>, calls_expected: u64) {
    if args.json {
        print_json(&as_json(results, repairs, calls_expected));
        return;
    }
    for result in results {
        match &result.outcome {
            Err(problem) => print(&format!("{}: not compared: {problem}\n", result.object)),
            Ok(found) => {
                for (id, drift) in &found.told.drift {
                    print(&format!("{} {id} {}\n", result.object, sentence(drift)));
                }
                for Uncompared { field, cause } in &result.uncompared {
                    print(&format!("{}: {field} was not compared: {cause}\n", result.object));
                }
                let more = found.differing - found.told.drift.len();
                if more > 0 {
                    print(&format!("{} and {more} more\n", result.object));
                }
            }
        }
    }
    let reports = results.iter().filter_map(|result| result.outcome.as_ref().ok());
    let (rows, calls) = reports.fold((0, 0), |(rows, calls), report| {
        (rows + report.told.rows, calls + report.told.calls)
    });
    let drift = drift_count(results);
    print(&format!(
        "{} objects, {rows} rows compared in {calls} calls: {drift} rows differ\n",
        results.len()
    ));
    match repairs {
        Some(Repairs { asked, open: 0 }) if asked > 0 => print(&format!("{asked} rows were read again\n")),
        Some(Repairs { open, .. }) if open > 0 => print(&format!(
            "{open} rows are not repaired yet: the daemon reads them again when it runs, and those of removals wait for a person\n"
        )),
        _ => {}
    }
}

fn sentence(drift: &Drift) -> String {
    match drift {
        Drift::Missing => "is missing here".to_owned(),
        Drift::Extra => "is not in the org".to_owned(),
        Drift::Restamped => "has another stamp".to_owned(),
        Drift::Stale(differences) => {
            let told = differences.iter().map(|difference| {
                format!(
                    "{}: {} here, {} in the org",
                    difference.field, difference.here, difference.org
                )
            });
            format!("differs: {}", told.collect::<Vec<_>>().join("; "))
        }
    }
}

fn as_json(results: &[Compared], repairs: Option<Repairs>, calls_expected: u64) -> Value {
    let objects: Vec<Value> = results
        .iter()
        .map(|result| match &result.outcome {
            Err(problem) => json!({"object": result.object, "problem": problem}),
            Ok(Found {
                told: report,
                differing,
                ..
            }) => {
                let rows = report.drift.iter().map(|(id, drift)| drift_json(id, drift));
                json!({
                    "object": result.object, "rows": report.rows, "calls": report.calls,
                    "drift": rows.collect::<Vec<_>>(), "differing": differing, "not_compared": left_out(result),
                })
            }
        })
        .collect();
    let mut json =
        json!({"calls_expected": calls_expected, "drift": drift_count(results), "objects": objects});
    if let Some(Repairs { asked, open }) = repairs {
        json["repairs"] = json!({"asked": asked, "open": open});
    }
    json
}

fn left_out(compared: &Compared) -> Value {
    let fields = compared.uncompared.iter();
    fields
        .map(|Uncompared { field, cause }| json!({"field": field, "cause": cause}))
        .collect()
}

fn drift_json(id: &str, drift: &Drift) -> Value {
    let (kind, fields) = match drift {
        Drift::Missing => ("missing", Map::new()),
        Drift::Extra => ("extra", Map::new()),
        Drift::Restamped => ("restamped", Map::new()),
        Drift::Stale(differences) => {
            let fields = differences.iter().map(|difference| {
                let sides = json!({"here": difference.here, "org": difference.org});
                (difference.field.clone(), sides)
            });
            ("stale", fields.collect())
        }
    };
    json!({"id": id, "kind": kind, "fields": fields})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_or_could_not_be_compared_fails() {
        let compared = |outcome| Compared {
            object: "Account".to_owned(),
            outcome,
            uncompared: Vec::new(),
        };
        let same = || compared(Ok(Found::default()));
        let differs = || {
            compared(Ok(Found {
                differing: 1,
                ..Found::default()
            }))
        };
        let not_compared = || compared(Err("it is being read (loading)".to_owned()));
        let repairs = |open| Some(Repairs { asked: 1, open });
        let cases = [
            (vec![same(), same()], None, Exit::Ok),
            (vec![same(), differs()], None, Exit::Failed),
            (vec![same(), differs()], repairs(0), Exit::Ok),
            (vec![same(), differs()], repairs(1), Exit::Failed),
            (vec![same(), not_compared()], None, Exit::Failed),
            (vec![differs(), not_compared()], repairs(0), Exit::Failed),
        ];
        for (number, (results, repairs, expected)) in cases.into_iter().enumerate() {
            assert_eq!(exit(&results, repairs), expected, "case {number}");
        }
    }
}
