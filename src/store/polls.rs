//! How often objects are asked for changes, for whoever asks beside the daemon.
//!
//! A small file of its own, as the daemon wrote it when that last changed. Who reads the cache while the daemon is not
//! running judges its age by it.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::model::clock::Millis;
use crate::model::schedule::{Intervals, Plan, Way};

const FILE_NAME: &str = "polls.json";

/// How changes of polled objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polls {
    /// None where each object is asked by itself, as often as is configured.
    pub plan: Option<Plan>,
    pub intervals: Intervals,
}

impl Polls {
    pub fn as_json(&self) -> Value {
        let [page, checkout, other] = self.intervals.seconds();
        json!({
            "by": self.plan.map_or(Way::Queries, |plan| plan.way).name(),
            "interval_seconds": {"page": page, "checkout": checkout, "other": other},
            "calls_daily": self.plan.map(|plan| plan.calls_daily),
            "budget_daily": self.plan.map(|plan| plan.budget_daily),
        })
    }
}

/// Replaces what was written before.
pub fn write(dir: &Path, polls: &Polls) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".polls").tempfile_in(dir)?;
    file.write_all(polls.as_json().to_string().as_bytes())?;
    file.persist(dir.join(FILE_NAME))
        .map(drop)
        .map_err(|error| error.error)
}

/// What was written last; `None` where nothing was, or nothing that can be read.
pub fn read(dir: &Path) -> Option<Polls> {
    let text = std::fs::read(dir.join(FILE_NAME)).ok()?;
    let told: Value = serde_json::from_slice(&text).ok()?;
    let seconds = |urgency: &str| told["interval_seconds"][urgency].as_i64();
    let millis = [seconds("page")?, seconds("checkout")?, seconds("other")?]
        .map(|seconds| -> Millis { seconds * 1_000 });
    let intervals = Intervals::new(millis);
    let way = Way::ALL.into_iter().find(|way| told["by"] == way.name())?;
    let plan = match (told["calls_daily"].as_u64(), told["budget_daily"].as_u64()) {
        (Some(calls_daily), Some(budget_daily)) => Some(Plan {
            way,
            intervals,
            calls_daily,
            budget_daily,
        }),
        _ => None,
    };
    Some(Polls { plan, intervals })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schedule::{Counts, Urgency, plan};

    #[test]
    fn is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let planned = Way::ALL.map(|way| {
            let mut counts = Counts::default();
            counts.add(way, Urgency::Page);
            let plan = plan(5_000, counts, 60);
            Polls {
                plan: Some(plan),
                intervals: plan.intervals,
            }
        });
        let unplanned = Polls {
            plan: None,
            intervals: Intervals::even(7_000),
        };
        for polls in planned.into_iter().chain([unplanned]) {
            write(dir.path(), &polls).unwrap();
            assert_eq!(read(dir.path()), Some(polls));
        }
    }
}
