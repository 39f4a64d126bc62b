//! Asking the org what is left of its allowances, so that an alert comes before a refusal.
//!
//! Each answer of REST tells the use of API requests; deliveries of events are told by `limits` alone, which is
//! one call an hour.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::salesforce::Org;
use crate::salesforce::describe::Limits;
use crate::salesforce::rest::ApiUsage;
use crate::store::allowance::{Allowance, Share};
use crate::store::note::ALLOWANCE;
use crate::telemetry::pulse::Pulse;

const INTERVAL: Duration = Duration::from_secs(3_600);

/// Longest time for the call itself.
const ANSWER_MAX: Duration = Duration::from_secs(180);

/// Keeps what `dir` tells of the org's allowances until it is stopped.
pub async fn run(org: Org, dir: PathBuf, stop: CancellationToken) -> anyhow::Result<()> {
    let pulse = Pulse::new("allowance");
    while !stop.is_cancelled() {
        pulse.quiet_for(ANSWER_MAX);
        let asked = tokio::select! {
            () = stop.cancelled() => break,
            asked = org.limits() => asked,
        };
        match asked {
            Ok(limits) => {
                if let Err(error) = ALLOWANCE.write(&dir, &told(limits, org.org_time())) {
                    tracing::warn!(
                        "what the org tells of its limits cannot be written ({error}): check the space left on the disk"
                    );
                }
            }
            Err(error) => tracing::debug!("the org's limits cannot be asked, will be tried again: {error}"),
        }
        pulse.rests_for(INTERVAL);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
    Ok(())
}

fn told(limits: Limits, at: i64) -> Allowance {
    let share = |usage: ApiUsage| Share {
        used: usage.used,
        limit: usage.limit,
    };
    Allowance {
        at,
        api: share(limits.api),
        deliveries: limits.delivered_events.map(share),
    }
}
