//! What is summed for the audit: one entry a minute for each thing that is told apart.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::config::Role;
use crate::model::clock::{Millis, format_datetime};
use crate::serve::connection::Source;
use crate::store::outbox::Outbox;
use crate::store::outbox::audit::Line;
use crate::telemetry::metrics::AUDIT_FAILURES;

const MINUTE: Millis = 60_000;

/// Most sums of a kind that wait to be written: while the disk is full they grow.
const SUMS_MAX: usize = 10_000;
/// Most sums of one minute that are of an address each; what is more of a kind is one sum, so that no stranger makes more
/// entries than these.
const OF_ADDRESSES_MAX: usize = 16;

/// Who has no name, as the audit has it.
const UNKNOWN: &str = "unknown";

/// The beginning of the minute that a time is in.
pub fn minute_of(now: Millis) -> Millis {
    now - now.rem_euclid(MINUTE)
}

/// How long the minute goes on.
pub fn left_of_minute(now: Millis) -> Millis {
    MINUTE - now.rem_euclid(MINUTE)
}

/// Something that is summed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Summed {
    Refused {
        who: Who,
        lack: Lack,
    },
    /// Something that somebody was told of a person.
    Read {
        actor: String,
        /// `None` of what is of all stores.
        store: Option<String>,
        kind: String,
    },
}

/// Comes before all others.
const LEAST: Summed = Summed::Refused {
    who: Who::Others,
    lack: Lack::LogIn,
};

type Counts = BTreeMap<(Millis, Summed), u64>;

/// Sums that are not written down yet, by the minute.
#[derive(Debug, Default)]
pub struct Sums(Mutex<Counts>);

impl Sums {
    /// Counts one thing.
    pub fn count(&self, now: Millis, what: Summed) {
        self.add(minute_of(now), what, 1);
    }

    fn add(&self, minute: Millis, what: Summed, count: u64) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (minute, among(&sums, minute, what));
        if sums.len() < SUMS_MAX || sums.contains_key(&key) {
            *sums.entry(key).or_default() += count;
        } else {
            AUDIT_FAILURES.count([]);
        }
    }

    /// Takes out what was before a time.
    fn take(&self, before: Millis) -> Counts {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = sums.split_off(&(before, LEAST));
        std::mem::replace(&mut sums, later)
    }

    /// Writes down what was before a time, or keeps it where that fails.
    pub async fn write_down(&self, outbox: &Outbox, before: Millis, now: Millis) {
        let sums = self.take(before);
        let lines = sums.iter().map(|((minute, what), count)| {
            what.line()
                .about("minute", Some(format_datetime(*minute)))
                .about("count", Some(*count))
        });
        let lines: Vec<Line> = lines.collect();
        if lines.is_empty() {
            return;
        }
        if let Err(error) = outbox.write_down(lines, now).await {
            AUDIT_FAILURES.count([]);
            tracing::error!(%error, "what was read of persons or refused cannot be written to the audit, and is kept for the next try: {error}");
            for ((minute, what), count) in sums {
                self.add(minute, what, count);
            }
        }
    }
}

/// What a sum is of, where these are there: of addresses that are too many for the minute, of others. Tokens are as many as are
/// configured, and addresses as many as somebody has.
fn among(sums: &Counts, minute: Millis, what: Summed) -> Summed {
    let is_of_address = |what: &Summed| {
        matches!(
            what,
            Summed::Refused {
                who: Who::Address(_),
                ..
            }
        )
    };
    let of_minute = || sums.range((minute, LEAST)..).map(|((of, what), _)| (of, what));
    let told_apart = || {
        let of_minute = of_minute().take_while(|(of, _)| **of == minute);
        of_minute.filter(|(_, what)| is_of_address(what))
    };
    match what {
        Summed::Refused { lack, .. }
            if is_of_address(&what)
                && told_apart().count() >= OF_ADDRESSES_MAX
                && !told_apart().any(|(_, known)| *known == what) =>
        {
            Summed::Refused {
                who: Who::Others,
                lack,
            }
        }
        what => what,
    }
}

impl Summed {
    /// What the audit has of it.
    fn line(&self) -> Line {
        let (who, lack) = match self {
            Self::Read { actor, store, kind } => {
                return Line::new(actor, "read")
                    .about("kind", Some(kind.as_str()))
                    .about("store", store.as_deref());
            }
            Self::Refused { who, lack } => (who, lack),
        };
        let (actor, address) = match who {
            Who::Others => (UNKNOWN, Some("others".to_owned())),
            Who::Address(source) => (UNKNOWN, Some(source.to_string())),
            Who::Token(name) => (name.as_str(), None),
        };
        let needs = match lack {
            Lack::Role(role) => Some(role.name()),
            _ => None,
        };
        Line::new(actor, "refused")
            .about("kind", Some(lack.name()))
            .about("needs", needs)
            .about("address", address)
    }
}

/// What somebody lacks to whom the operators' listener refuses something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// At the console's log-in: a token, or a link that is good still.
    LogIn,
    /// The token that was sent is nobody's.
    Token,
    /// The token is not for this.
    Role(Role),
    /// The token is for some stores, and this is of all.
    Stores,
    /// The form is not of the console that has the session.
    Form,
}

impl Lack {
    /// As the audit has it.
    fn name(self) -> &'static str {
        match self {
            Self::LogIn => "log_in",
            Self::Token => "token",
            Self::Role(_) => "role",
            Self::Stores => "stores",
            Self::Form => "form",
        }
    }
}

/// Who it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Addresses that were one too many.
    Others,
    Address(Source),
    /// The token's name.
    Token(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_summed_by_token_store_kind_and_minute() {
        let reads = Sums::default();
        for (now, actor, store) in [
            (59_999, "ana", Some("a")),
            (1, "ana", Some("a")),
            (2, "ana", None),
            (3, "kim", Some("a")),
            (60_000, "ana", Some("a")),
        ] {
            let read = Summed::Read {
                actor: actor.to_owned(),
                store: store.map(str::to_owned),
                kind: "order".to_owned(),
            };
            reads.count(now, read);
        }
        let sums = |before| reads.take(before).into_values().collect::<Vec<_>>();
        assert_eq!(sums(60_000), [1, 2, 1]);
        assert!(sums(60_000).is_empty());
        assert_eq!(sums(Millis::MAX), [1]);
    }

    #[test]
    fn strangers_make_so_many_entries_a_minute_and_no_more() {
        let refusals = Sums::default();
        let count = |now, who, lack| refusals.count(now, Summed::Refused { who, lack });
        let address = |last| Who::Address(Source::Four([192, 0, 2, last]));
        for last in 0..200 {
            count(1, address(last), Lack::LogIn);
            count(2, address(last), Lack::Token);
        }
        // Who is told apart already is counted on.
        count(3, address(0), Lack::LogIn);
        count(4, Who::Token("ana".to_owned()), Lack::Role(Role::Edit));
        count(60_000, address(250), Lack::LogIn);
        let sums = refusals.take(60_000);
        let of = |wanted: fn(&Who) -> bool| {
            let found = sums.iter().filter(move |((_, what), _)| match what {
                Summed::Refused { who, .. } => wanted(who),
                Summed::Read { .. } => false,
            });
            found.map(|((_, what), count)| (what.line(), *count))
        };
        let others = of(|who| *who == Who::Others).map(|(_, count)| count);
        assert_eq!(others.sum::<u64>(), 400 - OF_ADDRESSES_MAX as u64);
        assert_eq!(
            (sums.len(), sums.values().sum::<u64>()),
            (OF_ADDRESSES_MAX + 3, 402)
        );
        let (line, _) = of(|who| matches!(who, Who::Token(_))).next().unwrap();
        assert_eq!(
            (line.actor.as_str(), &line.about["needs"]),
            ("ana", &"edit".into())
        );
        let (line, count) = of(|who| matches!(who, Who::Address(_))).next().unwrap();
        assert_eq!((&line.about["address"], count), (&"192.0.2.0".into(), 2));
        assert_eq!(refusals.take(Millis::MAX).len(), 1);
    }
}
