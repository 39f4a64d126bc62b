//! Browsers that are logged in, and those that try to.
//!
//! Who logs in with a token gets the id of a session, 32 random bytes of which only the hash is kept, and no more of the
//! token. A session ends when it is told to, when nothing was asked for half an hour, after twelve hours, and as soon as the
//! configuration no longer has its token. All are in memory: a restart ends them all.
//!
//! Tokens that nobody has are counted by the minute, for each address and in all: beyond that no token is looked at. Whoever
//! is logged in stays so.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;

use crate::model::clock::Millis;
use crate::serve::access::Entry;
use crate::serve::connection::Source;

/// How long a session lasts at most, and without a request.
pub const LASTS_MILLIS: Millis = 12 * 3_600_000;
const IDLE_MILLIS: Millis = 30 * 60_000;
/// Sessions of one token; the one idle longest gives way.
const OF_ONE_MAX: usize = 32;
/// Tokens that nobody has, in a minute: of one address, and of all.
const FAILURES_OF_ONE_MAX: u32 = 10;
const FAILURES_MAX: u32 = 100;
const MINUTE_MILLIS: Millis = 60_000;

/// All sessions of a listener.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By the hash of the id.
    open: HashMap<Vec<u8>, Session>,
    failures: Failures,
}

#[derive(Debug)]
struct Session {
    entry: Entry,
    /// What its forms carry.
    form_token: String,
    begun_at: Millis,
    used_at: Millis,
}

/// Failures of a minute.
#[derive(Debug, Default)]
struct Failures {
    since: Millis,
    all: u32,
    of: HashMap<Source, u32>,
    /// Since the last line in the log, and when that was.
    untold: u32,
    told_at: Option<Millis>,
}

/// What became of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// How many there were since the last line in the log, where it is time for one.
    pub to_tell: Option<u32>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session; gives its id. `None` where the machine gives no random bytes.
    pub fn begin(&self, entry: Entry, now: Millis) -> Option<String> {
        let (id, form_token) = (random()?, random()?);
        let open = &mut self.lock().open;
        open.retain(|_, session| session.is_open(now));
        let of_one = || open.iter().filter(|(_, session)| session.entry == entry);
        if of_one().count() >= OF_ONE_MAX {
            let idlest = of_one().min_by_key(|(_, session)| session.used_at);
            let idlest = idlest.map(|(hash, _)| hash.clone());
            idlest.and_then(|hash| open.remove(&hash));
        }
        let session = Session {
            entry,
            form_token,
            begun_at: now,
            used_at: now,
        };
        open.insert(hash(&id), session);
        Some(id)
    }

    /// Whose session it is, and what its forms carry; `None` where it is none, or not any more.
    pub fn find(&self, id: &str, now: Millis) -> Option<(Entry, String)> {
        let open = &mut self.lock().open;
        let hash = hash(id);
        let session = open.get_mut(&hash).filter(|session| session.is_open(now));
        let Some(session) = session else {
            open.remove(&hash);
            return None;
        };
        session.used_at = now;
        Some((session.entry.clone(), session.form_token.clone()))
    }

    /// Ends a session, if it is one.
    pub fn end(&self, id: &str) {
        self.lock().open.remove(&hash(id));
    }

    /// How long an address has to wait before a token of it is looked at; `None` where it need not.
    pub fn wait(&self, source: Source, now: Millis) -> Option<Millis> {
        let failures = &mut self.lock().failures;
        failures.turn(now);
        let of_one = failures.of.get(&source).copied().unwrap_or(0);
        let is_too_much = of_one >= FAILURES_OF_ONE_MAX || (failures.all >= FAILURES_MAX && of_one > 0);
        is_too_much.then(|| failures.since + MINUTE_MILLIS - now)
    }

    /// Notes a token that nobody has.
    pub fn failed(&self, source: Source, now: Millis) -> Failed {
        let failures = &mut self.lock().failures;
        failures.turn(now);
        failures.all += 1;
        *failures.of.entry(source).or_default() += 1;
        failures.untold += 1;
        let is_time = failures.told_at.is_none_or(|at| now - at >= MINUTE_MILLIS);
        let to_tell = is_time.then(|| {
            failures.told_at = Some(now);
            std::mem::take(&mut failures.untold)
        });
        Failed { to_tell }
    }
}

impl Session {
    fn is_open(&self, now: Millis) -> bool {
        now - self.begun_at < LASTS_MILLIS && now - self.used_at < IDLE_MILLIS
    }
}

impl Failures {
    /// Begins the next minute, where the last is over.
    fn turn(&mut self, now: Millis) {
        if now - self.since >= MINUTE_MILLIS {
            (self.since, self.all) = (now, 0);
            self.of.clear();
        }
    }
}

fn random() -> Option<String> {
    let mut random = [0; 32];
    rand::fill(&mut random).ok()?;
    Some(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(id: &str) -> Vec<u8> {
    digest(&SHA256, id.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::serve::access::Tokens;

    /// Of the token whose secret is a name.
    fn entry(name: &str) -> Entry {
        let hash: String = hash(name).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!(
            "org = {{ login_url = \"https://a\", auth = \"jwt\", client_id = \"c\" }}\nstate = {{ dir = \"s\" }}\n\
             admin = {{ tokens = [{{ name = \"{name}\", sha256 = \"{hash}\" }}] }}"
        );
        Tokens::new(&Config::parse(&text, []).unwrap(), None, 0)
            .log_in(name)
            .unwrap()
    }

    #[test]
    fn a_session_ends_unused_at_length_or_for_the_next() {
        let sessions = Sessions::default();
        let [ana, kim] = ["ana", "kim"].map(entry);
        let begin = |entry: &Entry, now| sessions.begin(entry.clone(), now).unwrap();
        let is_there = |id: &str, now| sessions.find(id, now).is_some();
        let used = begin(&ana, 0);
        let unused = begin(&ana, 0);
        assert!(used != unused && used.len() == 64);
        assert_eq!(sessions.find(&used, 0).unwrap().0, ana);
        assert!(is_there(&used, IDLE_MILLIS - 1) && !is_there(&unused, IDLE_MILLIS));
        let every = (IDLE_MILLIS - 1..).step_by(usize::try_from(IDLE_MILLIS - 1).unwrap());
        for now in every.take_while(|now| *now < LASTS_MILLIS) {
            assert!(is_there(&used, now), "{now}");
        }
        assert!(!is_there(&used, LASTS_MILLIS));

        let others = begin(&kim, 0);
        let first: Vec<String> = (0..OF_ONE_MAX).map(|at| begin(&ana, 1 + at as Millis)).collect();
        assert!(is_there(&first[0], 100));
        begin(&ana, 101);
        assert!(is_there(&first[0], 102), "it was used since");
        assert!(!is_there(&first[1], 102));
        assert!(is_there(&others, 102));
        sessions.end(&others);
        assert!(!is_there(&others, 102));
        assert!(!is_there("guessed", 102));
    }

    #[test]
    fn failures_are_bounded_by_the_minute_for_each_address_and_for_all() {
        let sessions = Sessions::default();
        let address = |last| Source::Four([192, 0, 2, last]);
        let mut told = Vec::new();
        for _ in 0..FAILURES_OF_ONE_MAX {
            assert_eq!(sessions.wait(address(1), 90_000), None);
            told.extend(sessions.failed(address(1), 90_000).to_tell);
        }
        assert_eq!(told, [1]);
        assert_eq!(sessions.wait(address(1), 100_000), Some(50_000));
        assert_eq!(sessions.wait(address(2), 100_000), None);
        for last in 2..=10 {
            for _ in 0..FAILURES_OF_ONE_MAX {
                assert_eq!(sessions.failed(address(last), 100_000).to_tell, None);
            }
        }
        // Who has guessed nothing is looked at.
        assert_eq!(sessions.wait(Source::Here, 100_000), None);
        assert_eq!(sessions.wait(address(200), 100_000), None);
        assert_eq!(sessions.failed(Source::Here, 100_000).to_tell, None);
        assert_eq!(sessions.wait(Source::Here, 100_000), Some(50_000));
        assert_eq!(sessions.wait(Source::Here, 150_000), None);
        let untold = FAILURES_MAX + 1;
        assert_eq!(sessions.failed(address(1), 150_000).to_tell, Some(untold));
        assert_eq!(sessions.wait(address(1), 150_000), None);
    }
}
