//! Asking the org what is left of its allowances, so that an alert comes before a refusal.
//!
//! Each answer of REST tells the use of API requests; deliveries of events are told by `limits` alone, which is
//! one call an hour. What the daemon itself called is written down each ten seconds, so that its budget holds over restarts;
//! a process that is killed forgets the last of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::salesforce::Org;
use crate::salesforce::describe::Limits;
use crate::salesforce::rest::ApiUsage;
use crate::store::allowance::{Allowance, Share};
use crate::store::note::{ALLOWANCE, CALLS};
use crate::telemetry::pulse::Pulse;

const INTERVAL: Duration = Duration::from_secs(3_600);

/// Between two looks at what was called.
const LOOK: Duration = Duration::from_secs(10);

/// Longest time for the call itself.
const ANSWER_MAX: Duration = Duration::from_secs(180);

/// Keeps what `dir` tells of the org's allowances and of our own calls until it is stopped.
pub async fn run(org: Org, dir: PathBuf, stop: CancellationToken) -> anyhow::Result<()> {
    let pulse = Pulse::new("allowance");
    let (mut asked_at, mut written) = (None::<Instant>, org.calls());
    while !stop.is_cancelled() {
        pulse.quiet_for(ANSWER_MAX);
        if asked_at.is_none_or(|at| at.elapsed() >= INTERVAL) {
            tokio::select! {
                () = stop.cancelled() => break,
                () = ask(&org, &dir) => {}
            }
            asked_at = Some(Instant::now());
        }
        if org.calls() != written {
            written = org.calls();
            write_calls(&org, &dir);
        }
        pulse.rests_for(LOOK);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    Ok(())
}

async fn ask(org: &Org, dir: &Path) {
    match org.limits().await {
        Ok(limits) => {
            if let Err(error) = ALLOWANCE.write(dir, &told(limits, org.org_time())) {
                tracing::warn!(
                    "what the org tells of its limits cannot be written ({error}): check the space left on the disk"
                );
            }
        }
        Err(error) => tracing::debug!("the org's limits cannot be asked, will be tried again: {error}"),
    }
}

/// Writes down what was called so far.
pub fn write_calls(org: &Org, dir: &Path) {
    if let Err(error) = CALLS.write(dir, &org.calls()) {
        tracing::warn!(
            "how many API calls were made cannot be written ({error}): check the space left on the disk"
        );
    }
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
