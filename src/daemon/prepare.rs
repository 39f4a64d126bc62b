//! What is done before the stages that talk to the org can start: asking it what there is to mirror, and making the
//! tables for it.

use std::time::Duration;

use anyhow::Context as _;

use crate::config;
use crate::daemon::{World, mend};
use crate::inbound::prepare::NothingToMirror;
use crate::inbound::{self, Plan};
use crate::model::retry::Policy;
use crate::salesforce::Error as OrgError;
use crate::store::cache::Cache;
use crate::store::journal::Journal;
use crate::store::storefront::{self, BookStore};

/// Between attempts to reach an org that is away when the daemon starts.
const AWAY: Policy = Policy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
};

/// Between two looks whether a disk that was full has room.
const ROOM_INTERVAL: Duration = Duration::from_millis(500);

/// Asks the org what there is to mirror, and makes the tables and their indexes.
pub(super) async fn prepare(world: &World, cache: &mut Cache, journal: &mut Journal) -> anyhow::Result<Plan> {
    let (sync, now) = (&world.config.sync, world.clock.now());
    let region = world.config.org.region.as_deref();
    let plan = inbound::prepare(&world.org, &world.pubsub, cache, journal, (sync, region), now).await?;
    let stores: Vec<BookStore> = sync.stores.iter().map(book_store).collect();
    storefront::prepare(cache.connection(), &stores).context("make the storefront's views")?;
    for (object, field) in storefront::gaps(cache.connection())? {
        match field {
            Some(field) => tracing::debug!("{object} has no {field}: where stores show it, it is empty"),
            None => tracing::debug!("{object} is not mirrored: what stores show of it is empty"),
        }
    }
    Ok(plan)
}

fn book_store(store: &config::BookStore) -> BookStore {
    BookStore {
        pricebook_id: store.pricebook_id.clone(),
        code: store.code.clone(),
        name: store.name.clone().unwrap_or_else(|| store.code.clone()),
        domain: store.domain.clone(),
        path: store.path.clone(),
        currency: store.currency.clone(),
        locale: store.locale.clone(),
        timezone: store.timezone.clone(),
    }
}

/// As [`prepare`], for as long as the org is away or refuses; `None` when stopped meanwhile. Fails for what no answer of
/// the org can change.
pub(super) async fn when_reachable(
    world: &World,
    cache: &mut Cache,
    journal: &mut Journal,
) -> anyhow::Result<Option<Plan>> {
    if !wait_for_room(world).await {
        return Ok(None);
    }
    let mut attempt = 0;
    let mut login = world.org.watch_login();
    loop {
        let was_refused = login.borrow_and_update().is_some();
        let error = tokio::select! {
            () = world.stop.cancelled() => return Ok(None),
            plan = prepare(world, cache, journal) => match plan {
                Ok(plan) => {
                    tell(world, None);
                    return Ok(Some(plan));
                }
                Err(error) => error,
            },
        };
        if !may_pass(&error) {
            return Err(error);
        }
        attempt += 1;
        tell(world, Some(format!("{error:#}")));
        let is_refused = login.borrow().is_some();
        match next(was_refused, is_refused) {
            Next::AtOnce => attempt = 0,
            Next::WhenAccepted => tokio::select! {
                () = world.stop.cancelled() => return Ok(None),
                _ = login.wait_for(Option::is_none) => {}
                () = tokio::time::sleep(AWAY.delay(attempt)) => {}
            },
            Next::AfterWait => tokio::select! {
                () = world.stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(AWAY.delay(attempt)) => {}
            },
        }
    }
}

/// When a start that failed is tried again.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The login was accepted while what needed it was being refused.
    AtOnce,
    /// After a wait, which a login that is accepted ends.
    WhenAccepted,
    AfterWait,
}

/// By whether the login was refused before the attempt, and is after it.
fn next(was_refused: bool, is_refused: bool) -> Next {
    match (was_refused, is_refused) {
        (_, true) => Next::WhenAccepted,
        (true, false) => Next::AtOnce,
        (false, false) => Next::AfterWait,
    }
}

/// Waits where the disk was full until there is room, and then for a while: `false` when stopped meanwhile.
async fn wait_for_room(world: &World) -> bool {
    if world.full_count == 0 {
        return true;
    }
    let room = async {
        while world.outbox.files().is_full() {
            tokio::time::sleep(ROOM_INTERVAL).await;
        }
        tokio::time::sleep(mend::wait_after(world.full_count)).await;
    };
    tokio::select! {
        () = world.stop.cancelled() => false,
        () = room => true,
    }
}

/// Told once for each change; of the login it is told where it is tried.
fn tell(world: &World, problem: Option<String>) {
    world.health.send_if_modified(|health| {
        let is_new = health.hindrances.start != problem;
        let truth = health.freshness.truth();
        let progress = truth.progress(None::<[&str; 0]>, world.clock.moment());
        let meanwhile = match progress.complete {
            0 => "nothing is cached yet, and so reads and orders are refused meanwhile",
            _ => "what is cached is served meanwhile",
        };
        match &problem {
            Some(problem) if is_new && world.org.trouble().is_none() => {
                tracing::warn!("{problem}; {meanwhile}");
            }
            Some(_) if health.hindrances.start.is_none() => {
                tracing::warn!("the org is asked again and again; {meanwhile}");
            }
            _ => {}
        }
        health.hindrances.start = problem;
        is_new
    });
}

/// Whether the org may answer otherwise another time.
fn may_pass(error: &anyhow::Error) -> bool {
    let of_org = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<OrgError>() {
        Some(error) => !matches!(error, OrgError::Secret(_) | OrgError::OtherOrg { .. }),
        None => cause.is::<NothingToMirror>(),
    };
    error.chain().any(of_org)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_was_accepted_during_a_start_is_used_at_once() {
        for (was_refused, is_refused, expected) in [
            (true, false, Next::AtOnce),
            (true, true, Next::WhenAccepted),
            (false, true, Next::WhenAccepted),
            (false, false, Next::AfterWait),
        ] {
            let case = (was_refused, is_refused);
            assert_eq!(next(was_refused, is_refused), expected, "{case:?}");
        }
    }
}
