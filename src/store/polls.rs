//! How often objects are asked for changes, for whoever asks beside the daemon.
//!
//! A small file of its own, as the daemon wrote it when that last changed. Who reads the cache while the daemon is not
//! running judges its age by it.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::model::clock::Millis;
use crate::model::schedule::{Intervals, Plan};

const FILE_NAME: &str = "polls.json";

/// How changes of polled objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polls {
    /// By the org's lists, as planned; each object by its stamps where there is no plan.
    pub plan: Option<Plan>,
    pub intervals: Intervals,
}

impl Polls {
    pub fn as_json(&self) -> Value {
        let [page, checkout, other] = self.intervals.seconds();
        json!({
            "by": if self.plan.is_some() { "lists" } else { "stamps" },
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
    let plan = match (told["calls_daily"].as_u64(), told["budget_daily"].as_u64()) {
        (Some(calls_daily), Some(budget_daily)) => Some(Plan {
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
    use crate::model::schedule::{Counts, plan};

    #[test]
    fn is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let planned = plan(5_000, Counts([28, 16, 31]), 60);
        for polls in [
            Polls {
                plan: Some(planned),
                intervals: planned.intervals,
            },
            Polls {
                plan: None,
                intervals: Intervals::even(7_000),
            },
        ] {
            write(dir.path(), &polls).unwrap();
            assert_eq!(read(dir.path()), Some(polls));
        }
    }
}
