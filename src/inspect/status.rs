//! `storesync status`: how everything stands, from the files alone, for people and machines.
//!
//! What is told is in [`crate::store::standing`]. `--watch` shows it again every two seconds until it is stopped.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::cli::{Exit, StatusArgs};
use crate::config::Config;
use crate::inbound::budget::Limits;
use crate::inspect::{print, print_json, reader};
use crate::model::clock::Clock;
use crate::model::freshness::Truth;
use crate::store::cache::proofs;
use crate::store::note::{ALLOWANCE, CALLS, HINDRANCES, POLLS};
use crate::store::standing::Standing;
use crate::store::{database, holders, journal, outbox};

/// Between two looks of `--watch`.
const INTERVAL: Duration = Duration::from_secs(2);

/// Puts the cursor to the upper left and clears what is below it.
const FRESH_SCREEN: &str = "\x1b[H\x1b[J";

pub async fn run(config: &Config, args: &StatusArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    loop {
        let status = status(config)?;
        if args.json {
            // One object a line where there are to be several.
            if args.watch {
                print(&format!("{status}\n"))
            } else {
                print_json(&status)
            }
        } else {
            let text = as_text(&status);
            if args.watch && std::io::stdout().is_terminal() {
                print(FRESH_SCREEN);
            }
            print(&text);
        }
        if !args.watch {
            return Ok(Exit::Ok);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(Exit::Ok),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

fn status(config: &Config) -> anyhow::Result<Value> {
    let dir = &config.state.dir;
    let now = Clock::System.moment();
    let reader = reader(dir)?;
    let mut standing = reader.with(Standing::read)?;
    let known = reader.with(|cache| proofs::known(cache, &config.sync.channels, now))?;
    let running = database::is_held(dir);
    // One that has ended knows nothing of now.
    standing.hindrances = running
        .then(|| HINDRANCES.read(dir))
        .flatten()
        .unwrap_or_default();
    let limits = Limits::new(&config.sync);
    limits.follow(POLLS.read(dir).and_then(|polls| polls.plan));
    standing.truth = Truth::new(&known, &limits.freshness(), &standing.hindrances, now);
    standing.follow_only(&config.sync.channels);
    standing.orders = outbox::standing_in(dir)?;
    standing.allowance = ALLOWANCE.read(dir);
    standing.calls = CALLS.read(dir);
    standing.logs = holders::logs(dir);
    standing.polls = POLLS.read(dir);
    standing.journal = journal::forget::standing_in(dir)?;
    Ok(standing.as_json(running, now))
}

/// The same for people.
fn as_text(status: &Value) -> String {
    let running = if status["running"] == true {
        "running"
    } else {
        "not running"
    };
    let is_sending = status["running"] == true && status["orders_problem"].is_null();
    let mut lines = vec![
        format!(
            "daemon {running}, org {} at {} (instance {})",
            words(&status["org_id"]),
            words(&status["instance_url"]),
            words(&status["instance_name"])
        ),
        format!(
            "{}, {} s behind the org{}",
            words(&status["state"]),
            words(&status["lag_seconds"]),
            after(&status["cause"])
        ),
        format!(
            "orders are {}sent{}",
            if is_sending { "" } else { "not " },
            after(&status["orders_problem"])
        ),
    ];
    let files = list(&status["files"]).iter();
    lines.extend(files.map(|trouble| format!("file: {}", words(&trouble["cause"]))));
    lines.extend(list(&status["channels"]).iter().map(channel_line));
    lines.push(format!(
        "{:<40} {:<8} {:<12} {:<7} {:>9} {:>8} {:<24}",
        "object", "state", "freshness", "by", "rows", "lag s", "last event"
    ));
    lines.extend(list(&status["objects"]).iter().map(object_line));
    lines.push(counted("open repairs", &status["repairs"]["open"]));
    lines.extend(list(&status["repairs"]["list"]).iter().map(repair_line));
    lines.push(counted("orders", &status["orders"]));
    lines.push(format!(
        "outbox: {} to be sent, the oldest for {} s",
        words(&status["outbox"]["depth"]),
        words(&status["outbox"]["oldest_seconds"])
    ));
    if status["outbox"]["damaged"]
        .as_u64()
        .is_some_and(|count| count > 0)
    {
        lines.push(format!(
            "outbox: {} damaged on the disk and set aside: see `storesync orders list`",
            words(&status["outbox"]["damaged"])
        ));
    }
    lines.push(journal_line(&status["journal"]));
    lines.push(allowance_line(&status["allowance"]));
    lines.extend(list(&status["logs"]).iter().map(log_line));
    lines.extend(polls_line(&status["polls"]));
    lines.extend(calls_line(&status["calls"]));
    lines.join("\n") + "\n"
}

fn channel_line(channel: &Value) -> String {
    format!(
        "channel {}: heard {} s ago, position {} s old, {} h left to resume{}",
        words(&channel["topic"]),
        words(&channel["heard_seconds_ago"]),
        words(&channel["position_age_seconds"]),
        words(&channel["replay_window_left_hours"]),
        problem(channel),
    )
}

fn object_line(object: &Value) -> String {
    let mut notes = problem(object);
    let missing = list(&object["missing_fields"]).iter();
    let missing: Vec<String> = missing.map(|field| words(&field["field"])).collect();
    if !missing.is_empty() {
        notes.push_str(&format!("; no longer shown by the org: {}", missing.join(", ")));
    }
    if let Some(load) = object["load"].as_object() {
        let told = ["rows", "rows_total", "seconds_left"].map(|key| words(&load[key]));
        let [rows, total, left] = told;
        notes.push_str(&format!("; loading {rows} of {total} rows, {left} s left"));
    }
    if object["drift"].as_u64().is_some_and(|drift| drift > 0) {
        notes.push_str(&format!("; {} rows differed when last compared", object["drift"]));
    }
    format!(
        "{:<40} {:<8} {:<12} {:<7} {:>9} {:>8} {:<24}{notes}",
        words(&object["object"]),
        words(&object["state"]),
        words(&object["freshness"]),
        words(&object["kept_by"]),
        words(&object["rows"]),
        words(&object["lag_seconds"]),
        words(&object["last_event_at"]),
    )
}

fn journal_line(journal: &Value) -> String {
    let reach = match journal["reaches_back_to"].as_str() {
        Some(at) => format!("reaches back to event {} at {at}", journal["first_event"]),
        None => "reaches back to the beginning".to_owned(),
    };
    let unredacted = match journal["unredacted"].as_u64() {
        None | Some(0) => String::new(),
        Some(left) => format!("; {left} events and pages to be gone through for what is not kept any more"),
    };
    format!(
        "journal: {reach}; {} records that are gone to be erased, the oldest for {} s, {} erased{unredacted}",
        words(&journal["erasures_pending"]),
        words(&journal["erasures_oldest_seconds"]),
        words(&journal["erased_records"])
    )
}

/// How polled objects are kept current, and what that costs.
fn polls_line(polls: &Value) -> Option<String> {
    let each = |name: &str| {
        let seconds = |urgency: &str| words(&polls[name][urgency]);
        format!(
            "pages each {} s, checkout each {} s, others each {} s",
            seconds("page"),
            seconds("checkout"),
            seconds("other")
        )
    };
    let asked = each("interval_seconds");
    let slowed = match polls["asked_seconds"] == polls["interval_seconds"] {
        true => String::new(),
        false => format!(
            "; less often now, as other reads took of these calls: {}",
            each("asked_seconds")
        ),
    };
    let by = polls["by"].as_str()?;
    let cost = match polls["calls_daily"].is_null() {
        true => String::new(),
        false => format!(
            "; {} of {} API calls in 24 h where nothing changes",
            words(&polls["calls_daily"]),
            words(&polls["budget_daily"])
        ),
    };
    Some(format!("changes asked for by {by}: {asked}{cost}{slowed}"))
}

/// What the daemon called itself, of what the org counts of everyone.
fn calls_line(calls: &Value) -> Option<String> {
    let of = |purpose: &str| words(&calls[purpose]);
    (!calls.is_null()).then(|| {
        format!(
            "API calls of this daemon in 24 h: {} to ask what changed, {} to read, {} for orders",
            of("polls"),
            of("reads"),
            of("orders")
        )
    })
}

fn allowance_line(allowance: &Value) -> String {
    let share = |name: &str| {
        let share = &allowance[name];
        format!("{} of {}", words(&share["used"]), words(&share["limit"]))
    };
    if allowance.is_null() {
        return "allowance: not told yet".to_owned();
    }
    format!(
        "allowance in 24 h: {} API requests, {} event deliveries, told {} s ago",
        share("api"),
        share("event_deliveries"),
        words(&allowance["told_seconds_ago"])
    )
}

fn log_line(log: &Value) -> String {
    let holders = list(&log["holders"]).iter();
    let holders = holders.map(|holder| format!("{} ({})", words(&holder["program"]), words(&holder["pid"])));
    let holders: Vec<String> = holders.collect();
    let held = match holders.as_slice() {
        [] => String::new(),
        holders => format!(", read by {}", holders.join(", ")),
    };
    format!(
        "log of {}: {} bytes{held}",
        words(&log["db"]),
        words(&log["bytes"])
    )
}

fn repair_line(repair: &Value) -> String {
    let error = repair["error"].as_str().map(|error| format!(" ({error})"));
    format!(
        "  {} {} {}: {}, since {}{}",
        words(&repair["kind"]),
        words(&repair["object"]),
        words(&repair["record_id"]),
        words(&repair["reason"]),
        words(&repair["opened_at"]),
        error.unwrap_or_default(),
    )
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn problem(value: &Value) -> String {
    let problem = value["problem"].as_str().or_else(|| value["cause"].as_str());
    problem.map(|problem| format!("; {problem}")).unwrap_or_default()
}

/// What is said after a colon, where there is something.
fn after(value: &Value) -> String {
    value
        .as_str()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default()
}

fn counted(what: &str, counts: &Value) -> String {
    let counts = counts.as_object().into_iter().flatten();
    let told: Vec<String> = counts
        .filter(|(_, count)| **count != 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if told.is_empty() {
        format!("{what}: none")
    } else {
        format!("{what}: {}", told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cache::Cache;

    #[test]
    fn channels_that_are_not_configured_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        drop(outbox::open(dir.path(), 0).unwrap());
        cache
            .connection()
            .execute_batch(
                "insert into _cursor values ('/data/ChangeEvents', x'07', x'07', 1, 1, 1), ('/data/Left__chn', x'07', x'07', 1, 1, 1);
                 insert into _channel values ('/data/ChangeEvents', 'is not there', 1), ('/data/Left__chn', 'is not there', 1);",
            )
            .unwrap();
        let text = format!(
            "[org]\nlogin_url = \"https://a\"\nauth = \"jwt\"\nclient_id = \"c\"\n[state]\ndir = {:?}\n\
             [sync]\nchannels = [\"/data/ChangeEvents\"]\n",
            dir.path()
        );
        let status = status(&Config::parse(&text, []).unwrap()).unwrap();
        let topics: Vec<&str> = list(&status["channels"])
            .iter()
            .filter_map(|channel| channel["topic"].as_str())
            .collect();
        assert_eq!(topics, ["/data/ChangeEvents"]);
        assert!(!as_text(&status).contains("Left__chn"));
    }
}
