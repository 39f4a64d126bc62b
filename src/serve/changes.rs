//! What changed, as it changes: server-sent events that a listener can take up again where it left.
//!
//! One reader follows the feed and hands each batch to all listeners; a listener that is behind, or comes back with
//! `Last-Event-ID`, reads the feed itself in pages until it has caught up. So a listener costs a cursor and a place in
//! a queue of batches that all share, and one that does not read costs no more: the queue is bounded, and whoever
//! falls out of it reads the feed again. What the feed no longer holds, and a position of another cache, is told as
//! `reset`: read all of it anew. How well the cache follows the org is told at first and with each heartbeat.

mod position;
mod seats;

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::serve::World;
use crate::serve::access::Grant;
use crate::serve::catalogue::find_store;
use crate::serve::changes::position::Position;
use crate::serve::changes::seats::{Holder, Seat, Seats};
use crate::serve::connection::Source;
use crate::serve::freshness::Told;
use crate::serve::life::Life;
use crate::serve::partial::Partial;
use crate::serve::problem::Problem;
use crate::serve::query::Asked;
use crate::store::storefront::feed::{self, Entry, Stores};
use crate::store::storefront::products::Shelf;
use crate::store::storefront::stores::Store;
use crate::store::storefront::visitor;
use crate::store::storefront::{Found, objects};

/// Entries read at a time.
const PAGE_ENTRIES: usize = 256;
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

/// Entries read together.
struct Batch {
    /// The revision that the reader stood at before.
    after: i64,
    lines: Vec<Line>,
}

impl Batch {
    fn end(&self) -> i64 {
        self.lines.last().map_or(self.after, |line| line.entry.rev)
    }
}

/// An entry with what listeners are sent of it, made once for all that ask alike.
struct Line {
    entry: Entry,
    /// By the store that is listened to, if one is, and whether rows are wanted.
    events: Mutex<BTreeMap<(Option<String>, bool), Bytes>>,
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        Self {
            entry,
            events: Mutex::default(),
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
            let lines = world.reader.with(|cache| feed::after(cache, at, PAGE_ENTRIES))?;
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
            tokio::task::yield_now().await;
        }
        at = at.max(newest);
    }
}

/// What a listener wants to hear of.
struct Wanted {
    store: Option<Store>,
    /// In lower case; all where none is named.
    objects: HashSet<String>,
    rows: bool,
    persons: bool,
}

impl Wanted {
    /// The objects that it hears of; all where none is named.
    fn about(&self) -> Vec<&str> {
        match &self.store {
            _ if !self.objects.is_empty() => self.objects.iter().map(String::as_str).collect(),
            Some(_) => feed::objects().collect(),
            None => Vec::new(),
        }
    }

    /// How well the cache follows the org in what it hears of.
    fn told(&self, world: &World) -> Told {
        world.health.borrow().freshness.told_of_all(self.about())
    }

    /// What it is answered where it wants rows that are not loaded.
    fn refused(&self, world: &World) -> Problem {
        let health = world.health.borrow();
        let about = Some(self.about());
        let progress = health.freshness.truth().progress(about, world.clock.moment());
        Problem::initializing(progress).or_partial()
    }

    fn wants(&self, entry: &Entry) -> bool {
        let object = entry.object.to_ascii_lowercase();
        if !self.objects.is_empty() && !self.objects.contains(&object) {
            return false;
        }
        match &self.store {
            Some(store) => entry
                .told
                .as_ref()
                .is_some_and(|told| told.stores.contain(&store.id)),
            None => self.persons || feed::is_of_catalogue(&object),
        }
    }
}

/// One listener.
struct Listener {
    world: World,
    life: Life,
    wanted: Wanted,
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
    source: Option<Extension<Source>>,
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
        .take(holder)
        .map_err(|full| Problem::unavailable(full.sentence()))?;
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
    let listener = Listener {
        world,
        life,
        wanted,
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
    let tokens = listener.world.tokens.clone();
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
            if self.behind {
                match self.page() {
                    Ok(page) if page.is_empty() => tokio::task::yield_now().await,
                    Ok(page) => return Some(page),
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "the change feed cannot be read");
                        return None;
                    }
                }
                continue;
            }
            let received = tokio::select! {
                () = self.world.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.beat_at) => return Some(self.beat()),
                received = self.batches.recv() => received,
            };
            match received {
                Ok(batch) if batch.after <= self.at => {
                    let out = self.written(&batch.lines);
                    self.at = self.at.max(batch.end());
                    if !out.is_empty() {
                        return Some(out);
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Says that the stream is alive, where it stands, and how well the cache follows the org.
    fn beat(&mut self) -> Bytes {
        self.beat_at = Instant::now() + HEARTBEAT;
        let mut data = json!({});
        self.wanted
            .told(&self.world)
            .describe(&mut data, self.world.clock.moment());
        frame(&self.life, self.at, "freshness", &data).into()
    }

    /// Reads the feed itself, one page.
    fn page(&mut self) -> anyhow::Result<Bytes> {
        let at = self.at;
        let (oldest, newest) = self.world.reader.with(feed::bounds)?;
        if at + 1 < oldest && at < newest {
            self.at = newest;
            return Ok(frame(
                &self.life,
                newest,
                "reset",
                &json!({"rev": newest, "oldest": oldest}),
            )
            .into());
        }
        let entries = self
            .world
            .reader
            .with(|cache| feed::after(cache, at, PAGE_ENTRIES))?;
        self.behind = entries.len() == PAGE_ENTRIES;
        let lines: Vec<Line> = entries.into_iter().map(Line::from).collect();
        let out = self.written(&lines);
        self.at = lines.last().map_or(at.max(newest), |line| line.entry.rev);
        Ok(out)
    }

    fn written(&self, lines: &[Line]) -> Bytes {
        let wanted = lines
            .iter()
            .filter(|line| line.entry.rev > self.at && self.wanted.wants(&line.entry));
        let mut events: Vec<Bytes> = wanted.map(|line| self.event_once(line)).collect();
        match events.len() {
            // Sent as it is, to everyone from the same memory.
            1 => events.swap_remove(0),
            _ => events.concat().into(),
        }
    }

    fn event_once(&self, line: &Line) -> Bytes {
        let store = self.wanted.store.as_ref().map(|store| store.id.clone());
        let mut made = line.events.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry((store, self.wanted.rows))
            .or_insert_with(|| self.event(&line.entry).into())
            .clone()
    }

    fn event(&self, entry: &Entry) -> Vec<u8> {
        let mut data = json!({
            "rev": entry.rev, "object": entry.object, "id": entry.record_id, "kind": entry.kind,
        });
        if let Some(told) = &entry.told {
            data["topic"] = told.topic.into();
            data["product_id"] = told.product_id.clone().into();
            data["stores"] = match (&self.wanted.store, &told.stores) {
                (Some(store), _) => json!([store.id]),
                (None, Stores::All) => Value::Null,
                (None, Stores::These(ids)) => json!(ids),
            };
        }
        let row = if self.wanted.rows { self.row(entry) } else { None };
        let mut text = data.to_string().into_bytes();
        if self.wanted.rows {
            text.pop();
            text.extend_from_slice(b",\"row\":");
            text.extend_from_slice(row.as_deref().unwrap_or(b"null"));
            text.push(b'}');
        }
        let mut out = format!("id: {}.{}\nevent: change\ndata: ", self.life, entry.rev).into_bytes();
        out.extend_from_slice(&text);
        out.extend_from_slice(b"\n\n");
        out
    }

    /// For a store, the product as anyone sees it there; else the row as it is.
    fn row(&self, entry: &Entry) -> Option<Vec<u8>> {
        if let Some(store) = &self.wanted.store {
            return self.product(store, entry.told.as_ref()?.product_id.as_deref()?);
        }
        let id = entry.record_id.as_deref()?;
        let read = |cache: &_| objects::row(cache, &entry.object, id);
        match self.world.reader.with(read) {
            Ok(Found::Row(row)) => Some(row.json),
            _ => None,
        }
    }

    fn product(&self, store: &Store, product: &str) -> Option<Vec<u8>> {
        let now = self.world.clock.now();
        let found = self.world.reader.with(|cache| {
            let Some(anyone) = visitor::find(cache, store, None, None, now)? else {
                return Ok(Found::NoRow);
            };
            Shelf::new(cache, store, &anyone, self.world.intake.held()).find(product)
        });
        match found {
            Ok(Found::Row(json)) => Some(json),
            _ => None,
        }
    }
}

fn frame(life: &Life, rev: i64, event: &str, data: &Value) -> Vec<u8> {
    format!("id: {life}.{rev}\nevent: {event}\ndata: {data}\n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let mut listener = Listener {
            wanted: Wanted {
                store: None,
                objects: HashSet::new(),
                rows: false,
                persons: true,
            },
            life: world.life().unwrap(),
            at: 0,
            beat_at: Instant::now() + HEARTBEAT,
            batches: world.feed.batches.subscribe(),
            first: None,
            behind: false,
            _seat: world.feed.seats.take(Holder::Address(Source::Here)).unwrap(),
            world: Arc::clone(&world),
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

    #[test]
    fn who_may_not_know_customers_is_told_of_what_stores_show_alone() {
        for (object, to_anyone) in [
            ("Product2", true),
            ("s_c__Zone__c", true),
            ("Contact", false),
            ("Account", false),
            ("Order", false),
            ("s_c__Booking__c", false),
            ("Anything_Else__c", false),
        ] {
            let entry = Entry {
                rev: 1,
                object: object.to_owned(),
                record_id: Some("1".to_owned()),
                kind: "updated".to_owned(),
                told: None,
            };
            for (persons, expected) in [(false, to_anyone), (true, true)] {
                let wanted = Wanted {
                    store: None,
                    objects: HashSet::new(),
                    rows: false,
                    persons,
                };
                assert_eq!(wanted.wants(&entry), expected, "{object} {persons}");
            }
        }
    }
}
