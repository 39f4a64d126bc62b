//! How often objects are asked for changes, as the daemon last decided.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::schedule::{Intervals, Plan, Way};

/// How changes of polled objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polls {
    /// None where each object is asked by itself, as often as is configured.
    pub plan: Option<Plan>,
    pub intervals: Intervals,
}

impl Polls {
    pub fn as_json(&self) -> Value {
        let by_urgency = |intervals: Intervals| {
            let [page, checkout, other] = intervals.seconds();
            json!({"page": page, "checkout": checkout, "other": other})
        };
        json!({
            "by": self.plan.map_or(Way::Queries, |plan| plan.way).name(),
            "interval_seconds": by_urgency(self.intervals),
            "asked_seconds": by_urgency(self.plan.map_or(self.intervals, |plan| plan.asked)),
            "calls_daily": self.plan.map(|plan| plan.calls_daily),
            "budget_daily": self.plan.map(|plan| plan.budget_daily),
        })
    }
}
