//! What changed, as it changes: server-sent events that a listener can take up again where it left.
//!
//! One reader follows the feed and hands each batch to all listeners; a listener that is behind, or comes back with
//! `Last-Event-ID`, reads the feed itself in pages until it has caught up. So a listener costs a cursor and a place in
//! a queue of batches that all share, and one that does not read costs no more: the queue is bounded, and whoever
//! falls out of it reads the feed again. What the feed no longer holds, and a position of another cache, is told as
//! `reset`: read all of it anew. How well the cache follows the org is told at first and with each heartbeat.

mod pages;
mod position;
mod seats;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::serve::World;
use crate::serve::access::Grant;
use crate::serve::catalogue::find_store;
use crate::serve::changes::pages::{Batch, Heard, Line, PAGE_ENTRIES, Page, Wanted, frame};
use crate::serve::changes::position::Position;
use crate::serve::changes::seats::{Holder, Seat, Seats};
use crate::serve::connection::{Source, Streams};
use crate::serve::partial::Partial;
use crate::serve::problem::Problem;
use crate::serve::query::Asked;
use crate::store::storefront::feed;
use crate::store::storefront::stores::Store;
use crate::telemetry::metrics::STREAMS_REFUSED;
use crate::telemetry::seldom::Seldom;

/// Batches that a listener may be behind before it reads the feed itself.
const BATCHES_MAX: usize = 64;
/// So often a quiet stream says that it is alive, and where it stands.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where listeners get what the one reader has read; cheap to clone.
#[derive(Clone)]
pub struct Feed {
    batches: broadcast::Sender<Arc<Batch>>,
    seats: Seats,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            batches: broadcast::Sender::new(BATCHES_MAX),
            seats: Seats::default(),
        }
    }
}

/// Reads the feed for all listeners until the daemon stops. Nothing is read while nobody listens.
pub async fn follow(world: World) -> anyhow::Result<()> {
    let mut revisions = world.revisions.clone();
    let mut at = world.reader.with(feed::bounds)?.1;
    loop {
        tokio::select! {
            () = world.stop.cancelled() => return Ok(()),
            changed = revisions.changed() => if changed.is_err() {
                // The door is closed: nothing will change any more.
                world.stop.cancelled().await;
                return Ok(());
            },
        }
        let newest = *revisions.borrow_and_update();
        while at < newest && world.feed.batches.receiver_count() > 0 {
            let reader = world.reader.clone();
            let read = move || reader.with(|cache| feed::after(cache, at, PAGE_ENTRIES));
            let lines = tokio::task::spawn_blocking(read).await??;
            if lines.is_empty() {
                break;
            }
            let batch = Batch {
                after: at,
                lines: lines.into_iter().map(Line::from).collect(),
            };
            at = batch.end();
            // Without a listener there is no one to miss it.
            let _sent = world.feed.batches.send(Arc::new(batch));
        }
        at = at.max(newest);
    }
}

/// One listener.
struct Listener {
    heard: Arc<Heard>,
    at: i64,
    /// When it says again that it is alive.
    beat_at: Instant,
    batches: broadcast::Receiver<Arc<Batch>>,
    /// Written before anything else.
    first: Option<Bytes>,
    behind: bool,
    _seat: Seat,
}

impl Feed {
    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.seats.count()
    }
}

pub async fn changes(
    State(world): State<World>,
    Extension(grant): Extension<Grant>,
    (source, streams): (Option<Extension<Source>>, Option<Extension<Streams>>),
    headers: HeaderMap,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let life = world.life()?;
    let wanted = wanted(&world, &grant, &mut asked)?;
    let since = asked.take("since")?;
    let is_partial = asked.is_partial;
    asked.end()?;
    let since = position::read(&headers, since, &life)?;
    // Before anything is read.
    let told = wanted.told(&world);
    if wanted.rows && !is_partial && told.is_initializing(world.clock.moment()) {
        return Err(wanted.refused(&world));
    }
    let address = source.map_or(Source::Here, |Extension(source)| source);
    let holder = grant.token_hash().map_or(Holder::Address(address), Holder::Token);
    let seat = world
        .feed
        .seats
        .take(holder, streams.as_ref().map(|Extension(streams)| streams))
        .map_err(|full| {
            STREAMS_REFUSED.count([full.name()]);
            Problem::unavailable(full.sentence())
        })?;
    // Subscribed first: what is committed from here on is in the queue.
    let batches = world.feed.batches.subscribe();
    let (oldest, newest) = world.reader.with(feed::bounds)?;
    let (at, lost) = match since {
        Position::Now => (newest, false),
        Position::At(since) if since > newest || since < newest && since + 1 < oldest => (newest, true),
        Position::At(since) => (since, false),
        Position::Elsewhere => (newest, true),
    };
    let mut data = match lost {
        true => json!({"rev": newest, "oldest": oldest}),
        false => json!({"rev": at}),
    };
    let now = world.clock.moment();
    told.describe(&mut data, now);
    let first = frame(&life, at, if lost { "reset" } else { "ready" }, &data);
    let heard = Heard { world, life, wanted };
    let listener = Listener {
        heard: Arc::new(heard),
        at,
        beat_at: Instant::now() + HEARTBEAT,
        batches,
        first: Some(Bytes::from([b"retry: 2000\n".as_slice(), &first].concat())),
        behind: at < newest,
        _seat: seat,
    };
    let mut response = streamed(listener, grant);
    told.tell(response.headers_mut(), now);
    if is_partial && told.is_initializing(now) {
        response = Partial::tell(response);
    }
    Ok(response)
}

fn wanted(world: &World, grant: &Grant, asked: &mut Asked) -> Result<Wanted, Problem> {
    let store = asked.take("store")?;
    let store = store.map(|key| granted(world, grant, &key)).transpose()?;
    if store.is_none() && !grant.is_for_all_stores() {
        return Err(forbidden(
            "the token is for some stores: name one of them with store=",
        ));
    }
    let objects = asked.take_list("objects")?;
    Ok(Wanted {
        store,
        objects: objects.iter().map(|name| name.to_ascii_lowercase()).collect(),
        rows: asked.take_flag("rows")?,
        persons: grant.customers,
    })
}

fn streamed(listener: Listener, grant: Grant) -> Response {
    let tokens = listener.heard.world.tokens.clone();
    let body = stream::unfold(listener, |mut listener| async move {
        let next = listener.next().await?;
        Some((Ok::<_, Infallible>(next), listener))
    });
    // A stream outlives no token that it was opened with.
    let body = body.take_until(async move { tokens.revoked(&grant).await });
    let mut response = Response::new(Body::from_stream(body));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A store that the token is for. Whether there is another of the name is not told.
fn granted(world: &World, grant: &Grant, key: &str) -> Result<Store, Problem> {
    match find_store(world, key) {
        Ok(store) if grant.holds(&store.id) => Ok(store),
        Err(problem) if grant.is_for_all_stores() || !problem.is_not_found() => Err(problem),
        Ok(_) | Err(_) => Err(forbidden("the token is not for this store")),
    }
}

fn forbidden(detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

impl Listener {
    /// What is written next; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let page = if self.behind {
                let (heard, at) = (Arc::clone(&self.heard), self.at);
                self.made(move || heard.page(at)).await?
            } else {
                let received = tokio::select! {
                    () = self.heard.world.stop.cancelled() => return None,
                    () = tokio::time::sleep_until(self.beat_at) => return Some(self.beat()),
                    received = self.batches.recv() => received,
                };
                match received {
                    Ok(batch) if batch.after <= self.at => self.of_batch(batch).await?,
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        self.behind = true;
                        continue;
                    }
                    Err(RecvError::Closed) => return None,
                }
            };
            (self.at, self.behind) = (page.at, page.behind);
            if !page.out.is_empty() {
                return Some(page.out);
            }
        }
    }

    /// What is sent of a batch. Rows are read where that may take its time, unless they were for another listener.
    async fn of_batch(&self, batch: Arc<Batch>) -> Option<Page> {
        let (heard, at) = (Arc::clone(&self.heard), self.at);
        let is_read = heard.wanted.rows && !heard.is_made(&batch.lines, at);
        let make = move || {
            Ok(Page {
                out: heard.written(&batch.lines, at),
                at: at.max(batch.end()),
                behind: false,
            })
        };
        match is_read {
            true => self.made(make).await,
            false => make().ok(),
        }
    }

    /// Makes a part in its turn; `None` ends the stream.
    async fn made(&self, make: impl FnOnce() -> anyhow::Result<Page> + Send + 'static) -> Option<Page> {
        static TOLD: Seldom = Seldom::untold();
        let made = tokio::select! {
            () = self.heard.world.stop.cancelled() => return None,
            made = self.heard.world.pools.streams.make(make) => made,
        };
        if let Err(error) = &made
            && let Some(count) = TOLD.happened()
        {
            let error = format!("{error:#}");
            tracing::error!(
                error,
                count,
                "the change feed cannot be read; it was so {count} times since this was told"
            );
        }
        made.ok()
    }

    /// Says that the stream is alive, where it stands, and how well the cache follows the org.
    fn beat(&mut self) -> Bytes {
        self.beat_at = Instant::now() + HEARTBEAT;
        let mut data = json!({});
        let Heard { world, life, wanted } = &*self.heard;
        wanted.told(world).describe(&mut data, world.clock.moment());
        frame(life, self.at, "freshness", &data).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    use crate::serve::{Health, tests::world};
    use crate::store::cache::Cache;
    use crate::store::outbox;
    use tokio::sync::watch;

    /// Commits one change.
    fn change(cache: &Cache, rev: i64) {
        let sql = format!(
            "insert into _change values ({rev}, 'Thing__c', 'a00', 'updated');
             insert or replace into _meta (key, value) values ('rev', {rev});"
        );
        cache.connection().execute_batch(&sql).unwrap();
    }

    #[tokio::test]
    async fn who_falls_out_of_the_queue_hears_the_rest_from_the_feed() {
        const CHANGES: i64 = 2 * BATCHES_MAX as i64;
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (outbox, _writer) = outbox::open(dir.path(), 0).unwrap();
        let (committed, revisions) = watch::channel(0);
        let health = watch::channel(Health::default()).1;
        let world = world(dir.path(), outbox, health, revisions);
        let wanted = Wanted {
            store: None,
            objects: HashSet::new(),
            rows: false,
            persons: true,
        };
        let mut listener = Listener {
            heard: Arc::new(Heard {
                wanted,
                life: world.life().unwrap(),
                world: Arc::clone(&world),
            }),
            at: 0,
            beat_at: Instant::now() + HEARTBEAT,
            batches: world.feed.batches.subscribe(),
            first: None,
            behind: false,
            _seat: world
                .feed
                .seats
                .take(Holder::Address(Source::Here), None)
                .unwrap(),
        };
        // It is not asked for anything while all of this goes through the queue, one change a batch.
        let mut seen = world.feed.batches.subscribe();
        let following = tokio::task::spawn(follow(Arc::clone(&world)));
        // It begins with what is committed from its first turn on.
        tokio::task::yield_now().await;
        for rev in 1..=CHANGES {
            change(&cache, rev);
            committed.send_replace(rev);
            let batch = tokio::time::timeout(Duration::from_secs(60), seen.recv()).await;
            assert_eq!(batch.expect("it is followed").unwrap().end(), rev);
        }
        change(&cache, CHANGES + 1);
        committed.send_replace(CHANGES + 1);
        let mut heard = Vec::new();
        while heard.last() != Some(&(CHANGES + 1)) {
            let next = listener.next().await.unwrap();
            let text = std::str::from_utf8(&next).unwrap();
            assert!(!text.contains("event: reset"), "{text}");
            let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
            let revs = ids.map(|id| id.split_once('.').unwrap().1);
            heard.extend(revs.map(|rev| rev.parse::<i64>().unwrap()));
        }
        assert!(heard.iter().copied().eq(1..=CHANGES + 1), "{heard:?}");
        world.stop.cancel();
        following.await.unwrap().unwrap();
    }
}
