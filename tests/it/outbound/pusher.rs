//! The push stage inside the test, by a clock that the test sets: what waits for minutes waits no longer than the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use storesync::config::Config;
use storesync::model::clock::{Clock, Millis};
use storesync::model::state::WriteState;
use storesync::model::write::Write;
use storesync::outbound::gate::Known;
use storesync::outbound::push;
use storesync::salesforce::Org;
use storesync::store::outbox::{self, NewWrite, Outbox, StoreKey, View};
use storesync::store::reader::Reader;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::world::{Sandbox, eventually};

pub struct Pusher {
    pub outbox: Outbox,
    pub clock: Clock,
    pub org: Org,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Pusher {
    /// Sends what it is given to the org; `clock` is `Manual` or `Moved`.
    pub fn start(org: &Sandbox, clock: Clock) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), org, clock)
    }

    /// Ends in the midst of what it does, and begins anew with what is in the file.
    pub async fn killed(self, org: &Sandbox) -> Self {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        drop(self.outbox);
        Self::in_dir(self.dir, org, self.clock)
    }

    fn in_dir(dir: tempfile::TempDir, org: &Sandbox, clock: Clock) -> Self {
        let config = Config::load(Some(&org.config())).unwrap();
        let (outbox, writer) = outbox::open(dir.path(), clock.now()).unwrap();
        std::thread::spawn(move || writer.run());
        let client = Org::new(&config.org, clock.clone()).unwrap();
        let world = push::World {
            org: client.clone(),
            outbox: outbox.clone(),
            reader: Reader::new(dir.path()),
            config: config.orders.clone(),
            profile: config.sync.profile,
            clock: clock.clone(),
            known: Known::open(dir.path(), &config.orders, config.sync.profile),
            problem: watch::Sender::new(None),
        };
        let stop = CancellationToken::new();
        let until = stop.clone();
        let task = tokio::task::spawn(async move { push::run(world, until).await.unwrap() });
        Self {
            outbox,
            clock,
            org: client,
            stop,
            task,
            dir,
        }
    }

    pub async fn accept(&self, write: Write) {
        let new = NewWrite {
            body_hash: [u8::try_from(write.external_id().len()).unwrap(); 32],
            write,
            idempotency_key: None,
            limits: Vec::new(),
        };
        self.outbox.accept(new, self.clock.now()).await.unwrap();
    }

    pub fn view(&self, write: &Write) -> View {
        let found = self.outbox.write(StoreKey::of(write)).unwrap();
        found.unwrap()
    }

    /// Sets the clock ahead, or back.
    pub fn set_clock(&self, by: Millis) {
        let (Clock::Manual(millis) | Clock::Moved(millis)) = &self.clock else {
            panic!("the system's clock is not set")
        };
        millis.fetch_add(by, Ordering::SeqCst);
        self.outbox.bell().notify_one();
    }

    /// Sets this clock and the org's ahead, as time does.
    pub async fn pass(&self, org: &Sandbox, by: Millis) {
        org.control("clock", json!({"advance_ms": by})).await;
        self.set_clock(by);
    }

    /// Waits until a write is in a state, under a code where one is given; short waits of a manual clock pass meanwhile.
    pub async fn until(&self, write: &Write, state: WriteState, code: Option<&str>) {
        eventually(&format!("{} is {state}", write.external_id()), async || {
            let view = self.view(write);
            let problem = view.problem.map(|problem| problem.code);
            if view.state == state && (code.is_none() || problem.as_deref() == code) {
                return Some(());
            }
            if matches!(self.clock, Clock::Manual(_)) {
                self.set_clock(20);
            }
            None
        })
        .await;
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// A clock that stands still until it is set.
pub fn manual() -> Clock {
    Clock::Manual(Arc::new(AtomicI64::new(Clock::System.now())))
}
