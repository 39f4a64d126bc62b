//! The threads that answer storefronts, each with a runtime of its own.
//!
//! A connection stays with the worker that had fewest when it came. Threads that share a runtime take work from each
//! other, wait for each other's locks and wake each other for it, which costs a fifth of all reads. In exchange an
//! answer that takes long delays others of the same worker: so pages have a limit, and what takes longest is not for
//! storefronts. The stages that talk with the org are on another runtime, and are delayed by none of it.
//!
//! Each has the routes for itself: what all of them would count, each for every request, goes from one processor to the
//! next each time. A worker that stands still is told to the watchdog.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::failpoint;
use crate::telemetry::pulse::Pulse;

/// Threads at most: each has its own connection to the cache, with memory for it.
const WORKERS_MAX: usize = 16;
/// How often a worker shows that it still turns.
const TURN: Duration = Duration::from_secs(1);
/// How long an answer may keep it from that.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Who serves the connections of a listener with a service. Dropped, the threads end.
pub struct Workers<S>(Vec<Worker<S>>);

struct Worker<S> {
    service: S,
    runtime: Handle,
    /// One is held here, and one for each connection.
    connections: Arc<()>,
    /// Dropped, it ends the thread.
    _running: Option<oneshot::Sender<()>>,
}

impl<S: Clone> Workers<S> {
    /// A thread for each processor.
    pub fn start(service: impl Fn() -> S) -> std::io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = (1..=count.min(WORKERS_MAX)).map(|number| Worker::start(number, service()));
        workers.collect::<std::io::Result<_>>().map(Self)
    }

    /// No thread: the runtime that this is called on.
    pub fn here(service: S) -> Self {
        Self(vec![Worker {
            service,
            runtime: Handle::current(),
            connections: Arc::default(),
            _running: None,
        }])
    }

    /// Gives a connection to the worker that has fewest.
    pub fn serve<F>(&self, connection: impl FnOnce(S) -> F, connections: &mut JoinSet<()>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let fewest = self
            .0
            .iter()
            .min_by_key(|worker| Arc::strong_count(&worker.connections));
        if let Some(worker) = fewest {
            let (counted, connection) = (
                Arc::clone(&worker.connections),
                connection(worker.service.clone()),
            );
            let served = async move {
                connection.await;
                drop(counted);
            };
            connections.spawn_on(served, &worker.runtime);
        }
    }
}

impl<S> Worker<S> {
    fn start(number: usize, service: S) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        let name = format!("storefronts {number}");
        let pulse = Pulse::new(name.clone());
        std::thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = turn(&pulse) => {}
                }
            });
        })?;
        Ok(Self {
            service,
            runtime: handle,
            connections: Arc::default(),
            _running: Some(running),
        })
    }
}

/// Shows for as long as it runs that the thread turns.
async fn turn(pulse: &Pulse) {
    loop {
        pulse.quiet_for(TURN + ANSWER_MAX);
        failpoint::reach("answer");
        tokio::time::sleep(TURN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_connection_goes_where_fewest_are() {
        let mut workers = Workers(Vec::new());
        for number in 1..=3 {
            workers.0.push(Worker::start(number, ()).unwrap());
        }
        let mut connections = JoinSet::new();
        let (named, mut names) = tokio::sync::mpsc::unbounded_channel();
        let mut next = async |connections: &mut JoinSet<()>| {
            let (end, ended) = oneshot::channel::<()>();
            let named = named.clone();
            let connection = async move {
                named
                    .send(std::thread::current().name().map(str::to_owned))
                    .unwrap();
                drop(ended.await);
            };
            workers.serve(|()| connection, connections);
            (names.recv().await.unwrap().unwrap(), end)
        };
        let mut open = Vec::new();
        for _ in 0..6 {
            open.push(next(&mut connections).await);
        }
        for number in 1..=3 {
            let name = format!("storefronts {number}");
            assert_eq!(open.iter().filter(|(on, _)| *on == name).count(), 2, "{name}");
        }
        let (left, end) = open.swap_remove(3);
        drop(end);
        connections.join_next().await.unwrap().unwrap();
        assert_eq!(next(&mut connections).await.0, left);
    }
}
