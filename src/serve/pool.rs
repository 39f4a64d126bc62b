//! A place of their own for reads that may take long: a few threads, and a queue in front of them.
//!
//! A read of one row is done where its request is handled. A list may look at many rows, and enough of such at once would
//! keep the threads that serve all connections from everything else. So those are done here. Whoever asks is given a turn
//! after each of the others: a client that sends many requests waits for itself. What would wait for too long is refused
//! while it is worth asking again, and what a client no longer waits for is not done.
//!
//! Writes of many lines have threads of their own: they are not kept waiting by reads, and may wait for the disk. What a
//! stream sends, which waits for as long as it has to and is never refused, is made aside ([`Aside`]).
//!
//! How long one read may take is the reader's to limit ([`crate::store::reader::Reader::within`]).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::failpoint;
use crate::serve::problem::Problem;
use crate::telemetry::metrics;
use crate::telemetry::seldom::Seldom;

/// Most requests that wait, and those of one who asks.
const WAITING_MAX: usize = 256;
const WAITING_OF_ONE_MAX: usize = 64;
/// Longest time in the queue.
const WAIT_MAX: Duration = Duration::from_secs(1);
const THREADS_MAX: usize = 4;
/// One read that takes its time leaves a thread for the others.
const THREADS_MIN: usize = 2;

/// Longest time for one read of a request.
const READ_MAX_MILLIS: u64 = 2_000;
/// What is told of a query.
const NAMES_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 40;

/// Threads for writes of many lines.
const WRITERS: usize = 2;

/// The pools, each with its threads. Operators have their own: they are let in while storefronts ask too much.
#[derive(Debug)]
pub struct Pools {
    pub storefront: Arc<Pool>,
    pub admin: Arc<Pool>,
    pub writes: Arc<Pool>,
    /// Of streams of changes.
    pub streams: Aside,
    /// Of exports.
    pub exports: Aside,
}

impl Pools {
    /// Starts their threads.
    pub fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(THREADS_MIN, usize::from);
        let readers = cores.clamp(THREADS_MIN, THREADS_MAX);
        let bound = failpoint::bound("READS_WAITING", WAITING_MAX as u64);
        let of_storefronts = usize::try_from(bound).unwrap_or(WAITING_MAX);
        Ok(Self {
            storefront: Arc::new(Pool::of("storefront", readers, of_storefronts)?),
            admin: Arc::new(Pool::of("admin", readers, WAITING_MAX)?),
            writes: Arc::new(Pool::of("write", WRITERS, of_storefronts)?),
            streams: Aside::new(STREAMS_READ_MAX),
            exports: Aside::new(EXPORTS_READ_MAX),
        })
    }
}

/// How many pages are made at a time: of streams that are behind, and of exports.
const STREAMS_READ_MAX: usize = 4;
const EXPORTS_READ_MAX: usize = 2;

/// A place for what is to be made in its turn, however long that takes to come; cheap to clone.
#[derive(Clone, Debug)]
pub struct Aside(Arc<Semaphore>);

impl Aside {
    fn new(at_a_time: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_a_time)))
    }

    /// Does it on a thread that may take its time, with the others before it.
    pub async fn make<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let turn = Arc::clone(&self.0).acquire_owned().await?;
        // Whoever goes away leaves the turn to its work until that is done.
        let made = tokio::task::spawn_blocking(move || {
            let made = work();
            drop(turn);
            made
        });
        made.await?
    }
}

/// The pool of one listener. Its threads end with it, each after what it is doing.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    bell: Condvar,
}

type Work = Box<dyn FnOnce(Turn) + Send>;

/// Whom a request is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A token or an address, by a hash.
    One(u64),
    /// All of this machine who have no token.
    Here,
}

impl Asker {
    /// How many of its requests may wait.
    fn most(self) -> usize {
        match self {
            Self::One(_) => WAITING_OF_ONE_MAX,
            Self::Here => WAITING_MAX,
        }
    }
}

/// What becomes of a request whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Now,
    TooLate,
}

struct Waiting {
    since: Instant,
    work: Work,
}

/// Requests by who asks, and whose turn is next.
struct Queue {
    waiting_max: usize,
    turns: VecDeque<Asker>,
    of_asker: HashMap<Asker, VecDeque<Waiting>>,
    count: usize,
    is_closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Queue {
    fn of(waiting_max: usize) -> Self {
        Self {
            waiting_max,
            turns: VecDeque::new(),
            of_asker: HashMap::new(),
            count: 0,
            is_closed: false,
        }
    }

    /// Whether there was room.
    fn push(&mut self, asker: Asker, waiting: Waiting) -> bool {
        let of_asker = self.of_asker.get(&asker).map_or(0, VecDeque::len);
        if self.count >= self.waiting_max || of_asker >= asker.most() {
            return false;
        }
        self.of_asker.entry(asker).or_default().push_back(waiting);
        if of_asker == 0 {
            self.turns.push_back(asker);
        }
        self.count += 1;
        true
    }

    /// The next one: the oldest of whoever has waited longest for a turn.
    fn pop(&mut self) -> Option<Waiting> {
        let asker = self.turns.pop_front()?;
        let of_asker = self.of_asker.get_mut(&asker)?;
        let next = of_asker.pop_front();
        if of_asker.is_empty() {
            self.of_asker.remove(&asker);
        } else {
            self.turns.push_back(asker);
        }
        self.count -= usize::from(next.is_some());
        next
    }
}

impl Pool {
    /// So many threads, and at most so many requests that wait for them.
    fn of(name: &str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::of(waiting_max)),
            bell: Condvar::new(),
        });
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("{name}-pool-{number}"))
                .spawn(move || shared.run())?;
        }
        Ok(Self { shared })
    }

    /// Does a read on one of the threads, after those that have waited longer for a turn. `asker` is who they are counted
    /// for. A read waits for nothing but the disk and other reads.
    pub async fn run<F>(&self, asker: Asker, read: F) -> Result<F::Output, Problem>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        let runtime = Handle::current();
        let work = Box::new(move |turn: Turn| {
            // Whoever has gone away waits for nothing.
            if done.is_closed() {
                return;
            }
            let answer = (turn == Turn::Now).then(|| runtime.block_on(read));
            drop(done.send(answer));
        });
        let waiting = Waiting {
            since: Instant::now(),
            work,
        };
        let has_room = self.shared.queue().push(asker, waiting);
        if !has_room {
            return Err(refused("full"));
        }
        self.shared.bell.notify_one();
        match answer.await {
            Ok(Some(answer)) => Ok(answer),
            // Its turn came too late, or the thread is gone.
            Ok(None) | Err(_) => Err(refused("late")),
        }
    }
}

/// Longest time for one read of a request.
pub fn read_max() -> Duration {
    Duration::from_millis(failpoint::bound("READ_MILLIS", READ_MAX_MILLIS))
}

fn refused(reason: &'static str) -> Problem {
    metrics::READS_REFUSED.count([reason]);
    Problem::too_busy()
}

/// A read for this address was broken off. Logged with the names of what was asked for, and without the values.
pub fn broke_off(path: &str, query: Option<&str>) {
    static TOLD: Seldom = Seldom::untold();
    metrics::READS_REFUSED.count(["slow"]);
    if let Some(count) = TOLD.happened() {
        let names = names(query.unwrap_or_default());
        tracing::warn!(path, %names, count, "a read for {path} took too long and was given up; there were {count} such since this was told");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue().is_closed = true;
        self.shared.bell.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the pool is gone.
    fn run(&self) {
        while let Some(waiting) = self.next() {
            let turn = match waiting.since.elapsed() > WAIT_MAX {
                true => Turn::TooLate,
                false => Turn::Now,
            };
            (waiting.work)(turn);
        }
    }

    fn next(&self) -> Option<Waiting> {
        let mut queue = self.queue();
        loop {
            if queue.is_closed {
                return None;
            }
            if let Some(waiting) = queue.pop() {
                return Some(waiting);
            }
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The names of a query's parameters: as many as fit into a line.
fn names(query: &str) -> String {
    let pairs = query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or(pair));
    let names = pairs.map(|name| {
        name.chars()
            .filter(char::is_ascii_graphic)
            .take(NAME_CHARS_MAX)
            .collect()
    });
    let names: Vec<String> = names.take(NAMES_MAX).collect();
    names.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_query_is_told_without_its_values() {
        for (query, expected) in [
            ("", ""),
            ("email=ana@example.com&limit=5", "email&limit"),
            ("a%0ab\u{7}=1&&c", "a%0ab&&c"),
        ] {
            assert_eq!(names(query), expected);
        }
        assert!(names(&"n".repeat(10_000)).len() <= NAME_CHARS_MAX);
        assert!(names(&"n&".repeat(10_000)).len() <= NAMES_MAX * 2);
    }

    fn waiting(name: &'static str, told: &mpsc::Sender<&'static str>) -> Waiting {
        let told = told.clone();
        Waiting {
            since: Instant::now(),
            work: Box::new(move |_| told.send(name).unwrap()),
        }
    }

    #[test]
    fn each_who_asks_has_a_turn_after_the_others() {
        let (told, heard) = mpsc::channel();
        let mut queue = Queue::of(WAITING_MAX);
        for (asker, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
            assert!(queue.push(Asker::One(asker), waiting(name, &told)));
        }
        while let Some(next) = queue.pop() {
            (next.work)(Turn::Now);
        }
        drop(told);
        let order: Vec<&str> = heard.iter().collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
        assert_eq!((queue.count, queue.of_asker.len()), (0, 0));
    }

    #[test]
    fn only_so_many_wait_of_all_and_of_one() {
        let (told, _heard) = mpsc::channel();
        let mut queue = Queue::of(WAITING_MAX);
        let mut push = |asker| queue.push(Asker::One(asker), waiting("", &told));
        for _ in 0..WAITING_OF_ONE_MAX {
            assert!(push(1));
        }
        assert!(!push(1), "one who asks too much waits for itself");
        for asker in 2..5 {
            for _ in 0..WAITING_OF_ONE_MAX {
                assert!(push(asker));
            }
        }
        assert!(!push(9), "and all of them together");
        assert_eq!((Asker::Here.most(), queue.count), (WAITING_MAX, WAITING_MAX));
    }

    #[test]
    fn reads_that_are_given_up_are_counted() {
        broke_off("/v1/objects/{object}", Some("limit=5"));
        let mut told = String::new();
        metrics::render(&mut told);
        assert!(
            told.contains("storesync_reads_refused_total{reason=\"slow\"} "),
            "{told}"
        );
    }

    /// Keeps the only thread of a pool until something is sent.
    async fn kept(pool: &Arc<Pool>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), Problem>>) {
        let (release, released) = mpsc::channel();
        let (begun, has_begun) = oneshot::channel();
        let pool = Arc::clone(pool);
        let task = tokio::task::spawn(async move {
            let read = async move {
                begun.send(()).unwrap();
                released.recv().unwrap();
            };
            pool.run(Asker::One(0), read).await
        });
        has_begun.await.unwrap();
        (release, task)
    }

    #[tokio::test]
    async fn what_waited_too_long_is_refused_and_what_nobody_waits_for_is_not_done() {
        let pool = Arc::new(Pool::of("storefront", 1, WAITING_MAX).unwrap());
        let (release, first) = kept(&pool).await;
        let (told, heard) = mpsc::channel();
        let gone = pool.run(Asker::One(1), {
            let told = told.clone();
            async move { told.send("gone").unwrap() }
        });
        let left = tokio::time::timeout(Duration::from_millis(1), gone).await;
        assert!(left.is_err(), "its client goes away");
        let late = Waiting {
            since: Instant::now().checked_sub(WAIT_MAX * 2).unwrap(),
            work: Box::new(move |turn| {
                assert_eq!(turn, Turn::TooLate);
                told.send("late").unwrap();
            }),
        };
        assert!(pool.shared.queue().push(Asker::One(2), late));
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(pool.run(Asker::One(3), async { 7 }).await.unwrap(), 7);
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["late"]);
    }

    #[tokio::test]
    async fn only_so_much_is_made_aside_at_a_time_and_nothing_is_refused() {
        let aside = Aside::new(2);
        let (at_work, most) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let made = (0..50).map(|number| {
            let (at_work, most) = (Arc::clone(&at_work), Arc::clone(&most));
            aside.make(move || {
                *at_work.lock().unwrap() += 1;
                let now = *at_work.lock().unwrap();
                let mut most = most.lock().unwrap();
                *most = now.max(*most);
                drop(most);
                thread::sleep(Duration::from_millis(2));
                *at_work.lock().unwrap() -= 1;
                Ok(number)
            })
        });
        let made = futures_util::future::try_join_all(made).await.unwrap();
        assert!(made.into_iter().eq(0..50));
        assert_eq!(*most.lock().unwrap(), 2);
    }

    #[tokio::test]
    async fn the_threads_end_with_their_pool() {
        let pool = Pool::of("storefront", 2, WAITING_MAX).unwrap();
        let shared = Arc::downgrade(&pool.shared);
        pool.run(Asker::One(0), async {}).await.unwrap();
        drop(pool);
        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
