//! What the org last told of its limits. It is worth nothing after a day.

use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;

/// Used and allowed within 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub used: u64,
    pub limit: u64,
}

/// As told at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    pub at: Millis,
    pub api: Share,
    /// Events delivered to subscribers; `None` where the org does not tell.
    pub deliveries: Option<Share>,
}

impl Share {
    /// 0 to 1, and above 1 where the org lets an allowance be overdrawn.
    pub fn ratio(self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }
}
