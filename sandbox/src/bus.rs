//! The event log of an org: what its subscribers read.
//!
//! Replay ids are eight big-endian bytes of a counter and two zero bytes, and grow in random steps of at least
//! two, so that no subscriber can get away with computing the next one. The counter starts from the clock: an
//! org made anew never takes an earlier org's replay ids for its own. Events are kept for 72 hours. A reader
//! never waits for a writer longer than an append takes; who waits for events waits on [`Bus::watch`]. After
//! [`Bus::reset`] counting begins from low numbers, so positions of before say nothing: who keeps one compares
//! [`Bus::epoch`].

use std::borrow::Borrow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use tokio::sync::watch;

use super::persist::{EventFrame, Journal, Note, Rows};
use crate::clock::Clock;

/// How long events are kept.
const RETENTION_MILLIS: i64 = 72 * 3600 * 1000;
/// The largest step between two replay ids.
const STEP_MAX: u64 = 40;
/// The most events one look takes from the log.
const SCAN_MAX: usize = 20_000;

/// What stands in place of an object's position in a platform event.
pub const PLATFORM_EVENT: usize = usize::MAX;

/// An event as a transaction hands it over.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Position of the object in the catalogue, or [`PLATFORM_EVENT`].
    pub object: usize,
    /// A UUID.
    pub id: String,
    pub schema_id: String,
    pub payload: Bytes,
}

/// An event in the log.
#[derive(Clone, Debug)]
pub struct Event {
    pub position: Position,
    pub object: usize,
    pub id: String,
    pub schema_id: String,
    pub payload: Bytes,
    stored_at: i64,
}

impl Event {
    fn again(&self) -> NewEvent {
        NewEvent {
            object: self.object,
            id: self.id.clone(),
            schema_id: self.schema_id.clone(),
            payload: self.payload.clone(),
        }
    }

    /// When the log took it, in milliseconds.
    pub fn stored_at(&self) -> i64 {
        self.stored_at
    }
}

/// A place in the log, between two events: after the one with this counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// The counter that its replay id shows.
    pub fn counter(self) -> u64 {
        self.0
    }

    /// The ten bytes a subscriber keeps.
    pub fn replay_id(self) -> Bytes {
        let mut bytes = [0u8; 10];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    }
}

/// What a topic selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Every event there is.
    All,
    /// Every change event.
    Changes,
    /// The events of one object.
    Object(usize),
    /// Those of several objects.
    Objects(Arc<BTreeSet<usize>>),
}

impl Topic {
    fn takes(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Changes => event.object != PLATFORM_EVENT,
            Self::Object(object) => event.object == *object,
            Self::Objects(objects) => objects.contains(&event.object),
        }
    }
}

#[derive(Debug)]
struct Log {
    events: VecDeque<Arc<Event>>,
    /// The position before the oldest event.
    floor: Position,
    tip: Position,
    /// How often the log was begun anew.
    epoch: u64,
    rng: fastrand::Rng,
}

impl Log {
    /// Drops what is older than the retention.
    fn expire(&mut self, now: i64) {
        let old = |event: &Arc<Event>| event.stored_at < now - RETENTION_MILLIS;
        while self.events.front().is_some_and(old) {
            if let Some(event) = self.events.pop_front() {
                self.floor = event.position;
            }
        }
    }
}

/// Events of the last 72 hours.
pub struct Bus {
    clock: Clock,
    log: RwLock<Log>,
    bell: watch::Sender<Position>,
    /// Where the log is kept on disk, if it is.
    journal: OnceLock<Arc<Journal>>,
}

/// The log while nobody writes.
pub struct Held<'a>(RwLockReadGuard<'a, Log>);

impl Held<'_> {
    /// The floor, the tip and all events between them.
    pub fn all(&self) -> (Position, Position, Vec<Arc<Event>>) {
        (self.0.floor, self.0.tip, self.0.events.iter().cloned().collect())
    }
}

impl Bus {
    pub fn new(clock: Clock, seed: u64) -> Self {
        let floor = Position((clock.now().max(0) as u64 / 1000) * 64);
        let log = Log {
            events: VecDeque::new(),
            floor,
            tip: floor,
            epoch: 0,
            rng: fastrand::Rng::with_seed(seed ^ 0xb05),
        };
        Self {
            clock,
            log: RwLock::new(log),
            bell: watch::Sender::new(floor),
            journal: OnceLock::new(),
        }
    }

    /// Has all that is appended from now on written to a journal.
    pub fn keep(&self, journal: Arc<Journal>) {
        drop(self.journal.set(journal));
    }

    /// Takes back an event that a journal kept.
    pub fn restore(
        &self,
        EventFrame {
            position,
            stored_at,
            event,
        }: EventFrame,
    ) {
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        let position = Position(position);
        let NewEvent {
            object,
            id,
            schema_id,
            payload,
        } = event;
        let event = Event {
            position,
            object,
            id,
            schema_id,
            payload,
            stored_at,
        };
        log.events.push_back(Arc::new(event));
        log.tip = position;
        self.bell.send_replace(position);
    }

    /// Begins the log anew between two positions that a journal kept. What is appended later takes other steps than
    /// what was appended after that moment before.
    pub fn restart(&self, floor: u64, tip: u64) {
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        log.events.clear();
        (log.floor, log.tip) = (Position(floor), Position(tip));
        self.bell.send_replace(log.tip);
    }

    /// Keeps writers out for as long as what is given back lives.
    pub fn hold(&self) -> Held<'_> {
        Held(self.log())
    }

    fn log(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends events that no row belongs to and wakes the subscribers. Gives the position of each.
    pub fn append(&self, events: Vec<NewEvent>) -> Vec<Position> {
        self.commit(None, events)
    }

    /// The same for one transaction's events, with the rows that it wrote, which go to the journal in one piece with
    /// the events.
    pub fn commit(&self, rows: Option<Rows>, events: Vec<NewEvent>) -> Vec<Position> {
        if events.is_empty() {
            if let Some(journal) = self.journal.get() {
                journal.commit(rows, [].iter());
            }
            return Vec::new();
        }
        let count = events.len();
        let mut positions = Vec::with_capacity(count);
        let now = self.clock.now();
        let tip = {
            let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
            for NewEvent {
                object,
                id,
                schema_id,
                payload,
            } in events
            {
                let position = Position(log.tip.0 + log.rng.u64(2..=STEP_MAX));
                log.tip = position;
                positions.push(position);
                let event = Event {
                    position,
                    object,
                    id,
                    schema_id,
                    payload,
                    stored_at: now,
                };
                log.events.push_back(Arc::new(event));
            }
            if let Some(journal) = self.journal.get() {
                journal.commit(rows, log.events.range(log.events.len() - count..));
            }
            log.expire(now);
            log.tip
        };
        self.bell.send_replace(tip);
        positions
    }

    /// Drops what is older than the retention without waiting for the next event: time has moved.
    pub fn expire(&self) {
        let now = self.clock.now();
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        log.expire(now);
    }

    /// Rings whenever events arrive.
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.bell.subscribe()
    }

    /// After the newest event.
    pub fn tip(&self) -> Position {
        self.log().tip
    }

    /// Changes whenever every position of before loses its meaning.
    pub fn epoch(&self) -> u64 {
        self.log().epoch
    }

    /// Before the oldest event that is kept.
    pub fn oldest(&self) -> Position {
        self.log().floor
    }

    /// The events of a topic after a position: at most `limit`, and of at most `bytes_max` payload bytes (but one
    /// at least). The second value is how far the log was read, so that other topics' events are not read again.
    pub fn after(
        &self,
        topic: impl Borrow<Topic>,
        position: Position,
        limit: usize,
        bytes_max: usize,
    ) -> (Vec<Arc<Event>>, Position) {
        let log = self.log();
        let start = log.events.partition_point(|event| event.position <= position);
        let mut taken = Vec::new();
        let mut reached = position;
        let mut size = 0;
        for event in log.events.range(start..).take(SCAN_MAX) {
            if topic.borrow().takes(event) {
                size += event.payload.len();
                if taken.len() == limit || (size > bytes_max && !taken.is_empty()) {
                    break;
                }
                taken.push(Arc::clone(event));
            }
            reached = event.position;
        }
        (taken, reached)
    }

    /// The position a replay id names, if the log still holds it. Ten bytes are the platform's form, eight are
    /// what a client sends that reads the counter as a number.
    pub fn position(&self, replay_id: &[u8]) -> Option<Position> {
        let (counter, rest) = replay_id.split_first_chunk::<8>()?;
        if !matches!(rest, [] | [0, 0]) {
            return None;
        }
        let position = Position(u64::from_be_bytes(*counter));
        let log = self.log();
        let known = position == log.floor
            || log
                .events
                .binary_search_by_key(&position, |event| event.position)
                .is_ok();
        known.then_some(position)
    }

    /// Appends events of the log once more, under their ids and new positions, as the platform's bus does at times.
    pub fn repeat<'a>(&self, replay_ids: impl Iterator<Item = &'a [u8]>) {
        let mut positions: Vec<Position> = replay_ids.filter_map(|id| self.position(id)).collect();
        // Parts of one event share its place.
        positions.dedup();
        let events: Vec<NewEvent> = {
            let log = self.log();
            let find =
                |position: &Position| log.events.binary_search_by_key(position, |event| event.position);
            let found = positions.iter().filter_map(|position| find(position).ok());
            found.map(|at| log.events[at].again()).collect()
        };
        self.append(events);
    }

    /// Drops everything, and with it every replay id given so far, and counts from low numbers again: what an org
    /// migration does.
    pub fn reset(&self) {
        let tip = {
            let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
            log.events.clear();
            log.epoch += 1;
            log.tip = Position(log.rng.u64(1_000..2_000));
            log.floor = log.tip;
            if let Some(journal) = self.journal.get() {
                let (floor, tip) = (log.floor.0, log.tip.0);
                journal.append(&Note::LogBegun { floor, tip });
            }
            log.tip
        };
        self.bell.send_replace(tip);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn event(object: usize) -> NewEvent {
        NewEvent {
            object,
            id: "e".to_owned(),
            schema_id: "s".to_owned(),
            payload: Bytes::from_static(b"12345"),
        }
    }

    #[test]
    fn reading_goes_on_strictly_after_a_position() {
        let bus = Bus::new(Clock::System, 1);
        let start = bus.tip();
        bus.append(vec![event(1), event(2), event(1)]);
        let (all, reached) = bus.after(Topic::All, start, 10, 1000);
        assert_eq!((all.len(), reached), (3, bus.tip()));
        assert!(
            all.windows(2)
                .all(|pair| pair[1].position.0 - pair[0].position.0 >= 2)
        );
        let (rest, _) = bus.after(Topic::All, all[0].position, 10, 1000);
        assert_eq!(rest.len(), 2);
        let (ones, reached) = bus.after(Topic::Object(1), start, 1, 1000);
        assert_eq!((ones.len(), reached), (1, all[1].position));
        assert_eq!(bus.after(Topic::All, start, 10, 11).0.len(), 2);
    }

    #[test]
    fn only_ids_that_were_given_are_taken_back() {
        let now = Arc::new(AtomicI64::new(1_000_000_000));
        let bus = Bus::new(Clock::Manual(Arc::clone(&now)), 1);
        let start = bus.tip().replay_id();
        bus.append(vec![event(1)]);
        let first = bus.tip().replay_id();
        assert_eq!(first.len(), 10);
        assert!(bus.position(&start).is_some() && bus.position(&first).is_some());
        assert_eq!(bus.position(&first[..8]), Some(bus.tip()));
        for bad in [&b""[..], b"1234567", b"12345678ab", &first[..9]] {
            assert_eq!(bus.position(bad), None);
        }
        now.fetch_add(RETENTION_MILLIS + 1, Ordering::SeqCst);
        bus.append(vec![event(1)]);
        assert_eq!(bus.position(&start), None, "older than retention");
        bus.reset();
        assert_eq!(bus.position(&first), None, "from before a reset");
    }
}
