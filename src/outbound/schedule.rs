//! When a write is tried again, and when none is: waits, the circuit for trouble of the whole org, and the part of
//! the API allowance that is kept for orders. Pure.

use std::collections::HashSet;
use std::time::Duration;

use crate::model::clock::Millis;
use crate::model::order::{Outcome, Problem};
use crate::model::retry::Policy;
use crate::outbound::outcome::{self, Verdict};
use crate::salesforce::rest::ApiUsage;

/// Most writes on their way at once, each of another account.
pub const LANES_MAX: usize = 8;
/// So many writes that meet trouble of the server's one after the other are not to blame for it.
const SUSPECTS_MIN: usize = 3;
/// How long others than orders wait at most, while the allowance is short, before the org is asked how it stands.
const PROBE_MILLIS: Millis = 300_000;

/// How long a request whose answer never came may still be on its way: ours ends after two minutes, and what passed it on
/// may be as slow.
const HOLD: Duration = Duration::from_secs(180);

const SOON: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};
const LATER: Policy = Policy {
    first: Duration::from_secs(15),
    longest: Duration::from_secs(1_800),
};
const PAUSE: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

pub fn hold() -> Duration {
    crate::failpoint::hold(HOLD)
}

/// The wait after so many failures in a row of something that is not the org's doing.
pub fn soon(failures: u32) -> Duration {
    SOON.delay(failures)
}

/// What an attempt's outcome depends on besides the answer.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    pub sequence: i64,
    /// Counts every claim, this one too.
    pub attempt: u32,
    /// Counts those before that ended in trouble of the write's own.
    pub failures: u32,
}

/// Trouble of the whole org, as one delivery after the other reports it. Its times are those of the clock that is not
/// set ([`crate::model::clock::Clock::steady`]).
#[derive(Debug)]
pub struct Circuit {
    until: Millis,
    /// Pauses since a write last got through.
    pauses: u32,
    /// The writes that met trouble of the server's since one last got through.
    suspects: HashSet<i64>,
    /// How many writes may be on their way at once.
    lanes: usize,
    /// Since when others than orders are held back.
    held_since: Option<Millis>,
}

impl Default for Circuit {
    fn default() -> Self {
        Self {
            until: 0,
            pauses: 0,
            suspects: HashSet::new(),
            lanes: LANES_MAX,
            held_since: None,
        }
    }
}

impl Circuit {
    pub fn is_closed(&self, now: Millis) -> bool {
        now >= self.until
    }

    pub fn until(&self) -> Millis {
        self.until
    }

    /// How many writes may be on their way: one where it is being tried whether the org is back.
    pub fn lanes(&self) -> usize {
        if self.pauses > 0 { 1 } else { self.lanes }
    }

    /// Ends the wait of a pause: what caused it may be over. One write tries it.
    pub fn try_now(&mut self) {
        self.until = 0;
    }

    /// Claims nothing for a while, for a reason of our own.
    pub fn hold(&mut self, until: Millis) {
        self.until = self.until.max(until);
    }

    /// What an attempt's trouble leads to. `looking` tells that nothing was sent, and the look is still to be had.
    pub fn outcome(&mut self, tried: &Tried, verdict: Verdict, looking: bool) -> Outcome {
        let Tried {
            sequence, failures, ..
        } = *tried;
        let retry = |problem, policy: Policy, attempts_max: Option<u32>, read_back| Outcome::Retry {
            problem,
            wait: policy.delay(failures + 1),
            // While looking, giving up would leave unknown whether the org has the write.
            attempts_max: attempts_max.filter(|_| !looking),
            read_back,
        };
        match verdict {
            Verdict::RetrySoon { problem, .. }
            | Verdict::RetryLater { problem, .. }
            | Verdict::ReadBack { problem, .. }
                if self.is_org_wide(sequence, &problem) =>
            {
                self.pause(problem, true)
            }
            Verdict::RetrySoon {
                problem,
                attempts_max,
            } => retry(problem, SOON, attempts_max, looking),
            Verdict::RetryLater {
                problem,
                attempts_max,
            } => retry(problem, LATER, attempts_max, looking),
            Verdict::ReadBack {
                problem,
                attempts_max,
            } => retry(problem, SOON, attempts_max, true),
            Verdict::PauseLane { problem } => {
                // Of all that uses the allowance up, too many calls at once is what fewer lanes can mend.
                if problem.code == "REQUEST_LIMIT_EXCEEDED" {
                    self.lanes = (self.lanes / 2).max(1);
                }
                self.pause(problem, looking)
            }
            Verdict::Unanswered { problem } => {
                self.suspects.insert(sequence);
                if self.suspects.len() >= SUSPECTS_MIN {
                    return self.pause(problem, true);
                }
                Outcome::Paused {
                    problem,
                    wait: PAUSE.delay(tried.attempt),
                    read_back: true,
                    everyone: false,
                }
            }
            Verdict::Hold { problem } => {
                self.suspects.insert(sequence);
                Outcome::Paused {
                    problem,
                    wait: hold(),
                    read_back: true,
                    everyone: false,
                }
            }
            // What is known of the org may be old: it is asked again, and the write tried once more.
            Verdict::NeedsAttention { problem }
                if failures == 0 && outcome::is_outdated_shape(&problem.code) =>
            {
                retry(problem, SOON, Some(2), looking)
            }
            Verdict::NeedsAttention { problem } => Outcome::Refused { problem },
            Verdict::Overtaken { problem } => Outcome::Overtaken { problem },
        }
    }

    /// Whether the trouble of one write is that of all: others met it too, and none got through between.
    fn is_org_wide(&mut self, sequence: i64, problem: &Problem) -> bool {
        if !outcome::is_server_trouble(&problem.code) {
            return false;
        }
        self.suspects.insert(sequence);
        self.suspects.len() >= SUSPECTS_MIN
    }

    fn pause(&self, problem: Problem, read_back: bool) -> Outcome {
        Outcome::Paused {
            problem,
            wait: PAUSE.delay(self.pauses + 1),
            read_back,
            everyone: true,
        }
    }

    /// Learns from what became of an attempt. Attempts that fail together make one pause.
    pub fn learn(&mut self, outcome: &Outcome, now: Millis) {
        match outcome {
            Outcome::Paused { everyone: false, .. } => {}
            Outcome::Paused { problem, wait, .. } => {
                if self.is_closed(now) {
                    self.pauses += 1;
                    // Once for all pauses in a row.
                    if self.pauses == 1 {
                        tracing::warn!(code = %problem.code, "sending pauses: {}", problem.code);
                    }
                }
                let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                self.until = self.until.max(now.saturating_add(wait));
            }
            Outcome::Sent { .. } => {
                if self.pauses > 0 {
                    tracing::info!("sending goes on");
                }
                self.pauses = 0;
                self.suspects.clear();
                self.lanes = (self.lanes + 1).min(LANES_MAX);
            }
            // The org answered: it is there.
            Outcome::Refused { .. } | Outcome::Overtaken { .. } => self.pauses = 0,
            Outcome::Retry { .. } => {}
        }
    }

    /// Whether only orders are to be sent: the rest of the org's API allowance is kept for them.
    pub fn orders_only(&mut self, usage: Option<ApiUsage>, reserve_percent: u32, now: Millis) -> bool {
        let short = usage.is_some_and(|usage| {
            usage.used.saturating_mul(100)
                >= usage
                    .limit
                    .saturating_mul(u64::from(100_u32.saturating_sub(reserve_percent)))
        });
        if !short {
            self.held_since = None;
            return false;
        }
        // Usage is told with answers alone: where nothing else asks, one write finds out.
        let since = *self.held_since.get_or_insert(now);
        if now - since < PROBE_MILLIS {
            return true;
        }
        self.held_since = Some(now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: &str) -> Problem {
        Problem::new(code, "a sentence")
    }

    fn tried(sequence: i64, failures: u32) -> Tried {
        Tried {
            sequence,
            attempt: failures + 1,
            failures,
        }
    }

    fn read_back(code: &str) -> Verdict {
        Verdict::ReadBack {
            problem: problem(code),
            attempts_max: Some(1),
        }
    }

    #[test]
    fn a_look_up_that_fails_is_repeated() {
        let (problem, attempts_max) = (problem("X"), Some(1));
        for verdict in [
            Verdict::RetrySoon {
                problem: problem.clone(),
                attempts_max,
            },
            Verdict::RetryLater {
                problem: problem.clone(),
                attempts_max,
            },
            read_back("X"),
        ] {
            let outcome = Circuit::default().outcome(&tried(1, 0), verdict, true);
            assert!(matches!(
                outcome,
                Outcome::Retry {
                    read_back: true,
                    attempts_max: None,
                    ..
                }
            ));
        }
        let paused = Circuit::default().outcome(&tried(1, 0), Verdict::PauseLane { problem }, true);
        assert!(matches!(paused, Outcome::Paused { read_back: true, .. }));
    }

    #[test]
    fn what_was_surely_not_written_is_sent_again_as_it_is() {
        let verdict = Verdict::RetrySoon {
            problem: problem("X"),
            attempts_max: None,
        };
        let soon = Circuit::default().outcome(&tried(1, 3), verdict, false);
        assert!(matches!(soon, Outcome::Retry { read_back: false, .. }));
        let unclear = Circuit::default().outcome(&tried(1, 0), read_back("X"), false);
        assert!(matches!(unclear, Outcome::Retry { read_back: true, .. }));
    }

    #[test]
    fn writes_that_fail_together_make_one_pause() {
        let mut circuit = Circuit::default();
        let paused = |seconds| Outcome::Paused {
            problem: problem("X"),
            wait: Duration::from_secs(seconds),
            read_back: false,
            everyone: true,
        };
        circuit.learn(&paused(2), 1_000);
        circuit.learn(&paused(1), 1_100);
        assert_eq!((circuit.pauses, circuit.until, circuit.lanes()), (1, 3_000, 1));
        assert!(!circuit.is_closed(2_999));
        circuit.learn(&paused(4), 3_000);
        assert_eq!((circuit.pauses, circuit.until), (2, 7_000));
        let sent = Outcome::Sent {
            salesforce_id: String::new(),
        };
        circuit.learn(&sent, 7_000);
        assert_eq!((circuit.pauses, circuit.lanes()), (0, LANES_MAX));
    }

    #[test]
    fn trouble_of_one_write_is_its_own_and_trouble_of_three_is_the_org_s() {
        let mut circuit = Circuit::default();
        let mut meet =
            |sequence| circuit.outcome(&tried(sequence, 0), read_back("SERVER_UNAVAILABLE"), false);
        for sequence in [1, 1, 1, 2] {
            assert!(matches!(meet(sequence), Outcome::Retry { .. }), "{sequence}");
        }
        assert!(matches!(meet(3), Outcome::Paused { read_back: true, .. }));
    }

    #[test]
    fn a_write_that_gets_through_clears_the_others_of_suspicion() {
        let mut circuit = Circuit::default();
        let trouble = || read_back("SERVER_UNAVAILABLE");
        for sequence in [1, 2] {
            circuit.outcome(&tried(sequence, 0), trouble(), false);
        }
        let sent = Outcome::Sent {
            salesforce_id: String::new(),
        };
        circuit.learn(&sent, 0);
        for sequence in [3, 4] {
            let outcome = circuit.outcome(&tried(sequence, 0), trouble(), false);
            assert!(
                matches!(outcome, Outcome::Retry { .. }),
                "{sequence}: {outcome:?}"
            );
        }
        let third = circuit.outcome(&tried(5, 0), trouble(), false);
        assert!(
            matches!(third, Outcome::Paused { everyone: true, .. }),
            "{third:?}"
        );
    }

    #[test]
    fn an_answer_that_is_not_the_org_s_stops_its_write_and_three_stop_all() {
        let mut circuit = Circuit::default();
        let mut meet = |sequence, failures| {
            let verdict = Verdict::Unanswered {
                problem: problem("HTTP_403"),
            };
            let outcome = circuit.outcome(&tried(sequence, failures), verdict, false);
            circuit.learn(&outcome, 0);
            let Outcome::Paused {
                read_back: true,
                everyone,
                ..
            } = outcome
            else {
                panic!("no attempt of the write is spent: {outcome:?}");
            };
            (everyone, circuit.is_closed(0))
        };
        // However often one write meets it.
        for failures in 0..20 {
            assert_eq!(meet(1, failures), (false, true));
        }
        assert_eq!(meet(2, 0), (false, true));
        assert_eq!(meet(3, 0), (true, false));
    }

    #[test]
    fn a_concurrency_limit_halves_what_runs_at_once() {
        let mut circuit = Circuit::default();
        let limit = Verdict::PauseLane {
            problem: Problem::new("REQUEST_LIMIT_EXCEEDED", "as the org words it"),
        };
        circuit.outcome(&tried(1, 0), limit, false);
        assert_eq!(circuit.lanes(), LANES_MAX / 2);
    }

    #[test]
    fn the_last_of_the_allowance_is_for_orders() {
        let mut circuit = Circuit::default();
        let usage = |used| Some(ApiUsage { used, limit: 1_000 });
        for (used, now, expected) in [
            (None, 0, false),
            (usage(949), 0, false),
            (usage(950), 1, true),
            (usage(950), PROBE_MILLIS, true),
            (usage(950), PROBE_MILLIS + 1, false),
            (usage(950), PROBE_MILLIS + 2, true),
            (usage(100), PROBE_MILLIS + 3, false),
        ] {
            assert_eq!(circuit.orders_only(used, 5, now), expected, "{used:?} {now}");
        }
    }

    #[test]
    fn what_the_org_does_not_know_is_tried_once_more() {
        let unknown = |failures| {
            let verdict = Verdict::NeedsAttention {
                problem: problem("INVALID_FIELD"),
            };
            Circuit::default().outcome(&tried(1, failures), verdict, false)
        };
        assert!(matches!(
            unknown(0),
            Outcome::Retry {
                attempts_max: Some(2),
                ..
            }
        ));
        assert!(matches!(unknown(1), Outcome::Refused { .. }));
    }
}
