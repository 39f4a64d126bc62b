//! What the org last told of its limits, for whoever asks beside the daemon.
//!
//! A small file of its own: it is worth nothing after a day, and must not make anyone wait for a database.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::model::clock::Millis;

const FILE_NAME: &str = "allowance.json";

/// Used and allowed within 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub used: u64,
    pub limit: u64,
}

/// As told at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    fn as_json(self) -> Value {
        json!({"used": self.used, "limit": self.limit})
    }

    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            used: value["used"].as_u64()?,
            limit: value["limit"].as_u64()?,
        })
    }
}

/// Replaces what was told before.
pub fn write(dir: &Path, allowance: &Allowance) -> std::io::Result<()> {
    let told = json!({
        "at": allowance.at,
        "api": allowance.api.as_json(),
        "deliveries": allowance.deliveries.map(Share::as_json),
    });
    let mut file = tempfile::Builder::new().prefix(".allowance").tempfile_in(dir)?;
    file.write_all(told.to_string().as_bytes())?;
    file.persist(dir.join(FILE_NAME))
        .map(drop)
        .map_err(|error| error.error)
}

/// What was told last; `None` where nothing was, or nothing that can be read.
pub fn read(dir: &Path) -> Option<Allowance> {
    let text = std::fs::read(dir.join(FILE_NAME)).ok()?;
    let told: Value = serde_json::from_slice(&text).ok()?;
    Some(Allowance {
        at: told["at"].as_i64()?,
        api: Share::read(&told["api"])?,
        deliveries: Share::read(&told["deliveries"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        for deliveries in [None, Some(Share { used: 5, limit: 10 })] {
            let allowance = Allowance {
                at: 7,
                api: Share { used: 1, limit: 4 },
                deliveries,
            };
            write(dir.path(), &allowance).unwrap();
            assert_eq!(read(dir.path()), Some(allowance));
        }
        std::fs::write(dir.path().join(FILE_NAME), "{").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
