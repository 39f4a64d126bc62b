//! How often objects are asked for changes, as the daemon last decided.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::schedule::{Intervals, Plan};

/// How changes of polled objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
