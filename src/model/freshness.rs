//! How old what a reader gets may be, and what that is called.
//!
//! Of each object it is known of which instant it is proved that all the org had committed before it is in the rows
//! that readers see ([`Known::proved`]). The age is what has passed since, by this machine's clocks alone: no clock of
//! the org is part of it. So whatever stops the mirror makes it older, and nothing has to be found out about the cause.
//!
//! Promises that an age is never less than it is, and never 0 for want of knowledge. What is asked for a moment before
//! a proof arrives is told to be older than it is.

use std::collections::BTreeMap;

use crate::model::clock::{Millis, Moment, format_datetime};
use crate::model::schedule::{Intervals, Urgency};
use crate::model::trouble::Hindrances;

/// An object that is kept current by change events has to prove itself within the longest time between two keep-alives
/// of the org (270 s), a minute, and the time that events are on their way.
const STREAMED_STALE_MILLIS: Millis = 390_000;

/// What a poll may take besides two intervals.
const POLL_MARGIN_MILLIS: Millis = 60_000;

/// A record that waits to be read again for longer no longer makes its whole object older: it waits by itself.
pub const WAITING_MAX_MILLIS: Millis = 300_000;

/// So many records that wait, or one in so many rows, and the object as a whole is old.
const WAITING_MAX: u64 = 100;
const WAITING_ONE_IN: u64 = 100;

/// What storefronts are answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Proved recently enough.
    Live,
    /// Complete once, and older than it may be.
    Stale,
    /// Never complete.
    Initializing,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Initializing, Self::Live, Self::Stale];

    pub fn name(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Live => "live",
            Self::Stale => "stale",
        }
    }
}

/// What the cache knows of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// A first load ended, and what changed while it ran was read.
    pub complete: bool,
    /// All that the org committed before it is here.
    pub proved: Option<Moment>,
    /// The wall clock was set back since an earlier start of the machine proved it.
    pub doubtful: bool,
    pub streamed: bool,
    /// How often it is asked for changes, where it is.
    pub urgency: Urgency,
    pub rows: u64,
    /// Since when the oldest record waits to be read again that has waited for at most [`WAITING_MAX_MILLIS`]. Of one
    /// that shows a changed field of another object, since that object was proved before the change.
    pub waiting_since: Option<Millis>,
    /// Records that have waited for longer.
    pub waiting_long: u64,
    /// What stands in its way and does not heal by itself.
    pub problem: Option<String>,
    /// The mirrored objects whose fields it shows.
    pub shows: Vec<String>,
}

/// How old an object may become before it is called stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// As planned, however slow polling is while the org's API allowance is short.
    pub polls: Intervals,
    /// Where less than usual is wanted.
    pub stale_after_millis: Option<Millis>,
}

impl Limits {
    pub fn stale_after(&self, known: &Known) -> Millis {
        let usual = if known.streamed {
            STREAMED_STALE_MILLIS
        } else {
            2 * self.polls.of(known.urgency) + POLL_MARGIN_MILLIS
        };
        self.stale_after_millis.map_or(usual, |wanted| usual.min(wanted))
    }
}

/// One object, or several of which the worst counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// An object is not complete.
    initializing: bool,
    /// By each clock the oldest proof.
    proved: Option<Moment>,
    /// From then on it is stale.
    stale_at: Option<Moment>,
    /// Why it is stale whatever its age.
    cause: Option<String>,
    /// What stands in the way and may pass before it is too old.
    hindrance: Option<String>,
    /// The oldest, and whether it is kept current by change events.
    oldest: String,
    streamed: bool,
}

impl Standing {
    /// Of one object.
    pub fn of(known: &Known, limits: &Limits, now: Moment) -> Self {
        let waits = known.waiting_since.map(|since| waits_since(since, now));
        let proved = known
            .proved
            .map(|proved| waits.map_or(proved, |waits| proved.earlier(waits)));
        let waiting = known.waiting_long;
        let many = waiting > WAITING_MAX || waiting > 0 && waiting * WAITING_ONE_IN > known.rows;
        let cause = if let Some(problem) = &known.problem {
            Some(problem.clone())
        } else if many {
            Some(format!("{waiting} records wait to be read again"))
        } else if known.doubtful {
            Some("the clock of this machine was set back while it was off".to_owned())
        } else {
            None
        };
        Self {
            initializing: !known.complete || proved.is_none(),
            proved,
            stale_at: proved.map(|proved| proved.before(-limits.stale_after(known))),
            cause,
            hindrance: None,
            oldest: String::new(),
            streamed: known.streamed,
        }
    }

    /// With what only the running daemon knows.
    fn hindered(mut self, object: &str, by: &Hindrances, now: Moment) -> Self {
        object.clone_into(&mut self.oldest);
        let failing = by.failing.get(object);
        let lasting = failing.filter(|failing| failing.is_lasting);
        let stale = by.trouble.as_ref().filter(|trouble| trouble.makes_stale(now));
        let stale = stale.map(|trouble| trouble.cause.clone());
        let of_files = by.stale_for().map(str::to_owned);
        self.cause = self
            .cause
            .or(of_files)
            .or(stale)
            .or_else(|| Some(lasting?.cause.clone()));
        let of_all = by.of_all().or_else(|| by.of_files());
        let of_all = of_all.map(str::to_owned);
        self.hindrance = of_all.or_else(|| Some(failing?.cause.clone()));
        self
    }

    /// The worst of both.
    #[must_use]
    fn with(self, other: &Self) -> Self {
        let earlier = |one: Option<Moment>, other: Option<Moment>| match (one, other) {
            (Some(one), Some(other)) => Some(one.earlier(other)),
            (one, other) => one.or(other),
        };
        let wall = |at: Option<Moment>| at.map(|at| at.wall);
        let is_older =
            (!other.initializing, wall(other.stale_at)) < (!self.initializing, wall(self.stale_at));
        Self {
            initializing: self.initializing || other.initializing,
            proved: earlier(self.proved, other.proved),
            stale_at: earlier(self.stale_at, other.stale_at),
            cause: self.cause.or_else(|| other.cause.clone()),
            hindrance: self.hindrance.or_else(|| other.hindrance.clone()),
            streamed: if is_older { other.streamed } else { self.streamed },
            oldest: if is_older {
                other.oldest.clone()
            } else {
                self.oldest
            },
        }
    }

    /// With fields of another object, which are no younger than that object. What stands in the other's way need not be
    /// about these fields; that they grow old is.
    #[must_use]
    fn showing(self, other: &Self) -> Self {
        let (cause, hindrance) = (self.cause.clone(), self.hindrance.clone());
        Self {
            cause,
            hindrance,
            ..self.with(other)
        }
    }

    pub fn state(&self, now: Moment) -> State {
        let is_over = |at: Moment| now.wall >= at.wall || now.boot >= at.boot;
        if self.initializing {
            State::Initializing
        } else if self.cause.is_some() || self.stale_at.is_none_or(is_over) {
            State::Stale
        } else {
            State::Live
        }
    }

    /// Rounded up; `None` before anything is complete.
    pub fn lag_seconds(&self, now: Moment) -> Option<i64> {
        let proved = self.proved.filter(|_| !self.initializing)?;
        Some((proved.age(now) + 999) / 1_000)
    }

    /// Since when it has been called stale, by the wall clock, where its age makes it so.
    pub fn stale_at(&self) -> Option<Millis> {
        Some(self.stale_at?.wall)
    }

    /// What was found to stand in the way.
    pub fn found_cause(&self) -> Option<&str> {
        self.cause.as_deref().or(self.hindrance.as_deref())
    }

    /// What stands in the way: always where it is not live, and before that where it is known.
    pub fn cause(&self, now: Moment) -> Option<String> {
        let found = self.found_cause().map(str::to_owned);
        found.or_else(|| match (self.state(now), self.proved) {
            (State::Live, _) => None,
            (State::Stale, Some(proved)) => {
                let since = format_datetime(proved.wall);
                let object = &self.oldest;
                Some(if self.streamed {
                    format!("nothing that the channel of {object} brought was applied since {since}")
                } else {
                    format!("no poll of {object} was completed since {since}")
                })
            }
            _ if self.oldest.is_empty() => Some("nothing is loaded yet".to_owned()),
            _ => Some(format!("the first load of {} is not complete", self.oldest)),
        })
    }
}

/// How far the first load of some objects has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects that have been complete.
    pub complete: usize,
    pub needed: usize,
}

/// How every object stands, and all together: the one place that every surface tells it from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    objects: BTreeMap<String, Standing>,
    all: Standing,
}

/// Before anything is known, nothing is complete.
impl Default for Truth {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            all: worst([]),
        }
    }
}

impl Truth {
    /// Of all mirrored objects. Of none at all nothing is complete.
    pub fn new<'k>(
        known: impl IntoIterator<Item = (&'k String, &'k Known)>,
        limits: &Limits,
        hindrances: &Hindrances,
        now: Moment,
    ) -> Self {
        let standing =
            |object: &str, known: &Known| Standing::of(known, limits, now).hindered(object, hindrances, now);
        let known: Vec<_> = known.into_iter().collect();
        let by_itself: BTreeMap<&str, Standing> = known
            .iter()
            .map(|(object, known)| (object.as_str(), standing(object, known)))
            .collect();
        let with_shown = |(object, known): (&String, &Known)| {
            let shows = known.shows.iter();
            let shown = shows.filter_map(|other| by_itself.get(other.as_str()));
            let own = by_itself.get(object.as_str())?.clone();
            Some((object.clone(), shown.fold(own, Standing::showing)))
        };
        let objects: BTreeMap<String, Standing> = known.into_iter().filter_map(with_shown).collect();
        let all = match objects.is_empty() {
            true => worst([]).hindered("", hindrances, now),
            false => worst(objects.values()),
        };
        Self { objects, all }
    }

    /// All together.
    pub fn all(&self) -> &Standing {
        &self.all
    }

    /// One object, its name in any case.
    pub fn object(&self, name: &str) -> Option<&Standing> {
        self.objects.get(name).or_else(|| {
            let mut objects = self.objects.iter();
            let found = objects.find(|(object, _)| object.eq_ignore_ascii_case(name));
            found.map(|(_, standing)| standing)
        })
    }

    /// Those of these objects that are mirrored, their names in any case; all together where none is.
    pub fn of<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Standing {
        let found: Vec<&Standing> = names.into_iter().filter_map(|name| self.object(name)).collect();
        if found.is_empty() {
            return self.all.clone();
        }
        worst(found)
    }

    /// How many of these objects that are mirrored have been complete; of all where none is named.
    pub fn progress<'n>(&self, names: Option<impl IntoIterator<Item = &'n str>>, now: Moment) -> Progress {
        let names: Vec<&str> = names.into_iter().flatten().collect();
        let is_named = |object: &str| names.iter().any(|name| name.eq_ignore_ascii_case(object));
        let named = self.objects.iter().filter(|(object, _)| is_named(object));
        let mut standings: Vec<&Standing> = named.map(|(_, standing)| standing).collect();
        if standings.is_empty() {
            standings.extend(self.objects.values());
        }
        let is_complete = |standing: &&&Standing| standing.state(now) != State::Initializing;
        Progress {
            complete: standings.iter().filter(is_complete).count(),
            needed: standings.len(),
        }
    }
}

/// When a record began to wait that waits since that time by the wall clock. Where the clock was set back to before it,
/// nobody knows: it may be since the machine was started.
fn waits_since(since: Millis, now: Moment) -> Moment {
    match now.wall - since {
        passed if passed < 0 => Moment {
            wall: now.wall,
            boot: 0,
        },
        passed => now.before(passed),
    }
}

fn worst<'s>(standings: impl IntoIterator<Item = &'s Standing>) -> Standing {
    let worse =
        |all: Option<Standing>, one: &Standing| Some(all.map_or_else(|| one.clone(), |all| all.with(one)));
    let all = standings.into_iter().fold(None, worse);
    all.unwrap_or(Standing {
        initializing: true,
        ..Standing::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trouble::{Failing, FileKind, FileTrouble, Kind, Trouble};

    fn limits(stale_after_millis: Option<Millis>) -> Limits {
        Limits {
            polls: Intervals::new([60_000, 120_000, 600_000]),
            stale_after_millis,
        }
    }

    fn at(seconds: i64) -> Moment {
        Moment {
            wall: 1_000_000 + seconds * 1_000,
            boot: seconds * 1_000,
        }
    }

    fn complete() -> Known {
        Known {
            complete: true,
            proved: Some(at(0)),
            rows: 10_000,
            urgency: Urgency::Page,
            ..Known::default()
        }
    }

    #[test]
    fn an_age_is_rounded_up() {
        for (passed_millis, lag) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            let standing = Standing::of(&complete(), &limits(None), at(0));
            let now = at(0).before(-passed_millis);
            assert_eq!(standing.lag_seconds(now), Some(lag), "{passed_millis}");
        }
    }

    #[test]
    fn a_record_that_waits_since_a_later_time_may_have_waited_for_as_long_as_the_machine_runs() {
        let now = at(100_000);
        for (waits_since, state, lag) in [
            (now.wall - 20_000, State::Live, 20),
            (now.wall, State::Live, 5),
            (now.wall + 3_000_000, State::Stale, 100_000),
        ] {
            let known = Known {
                proved: Some(at(99_995)),
                waiting_since: Some(waits_since),
                ..complete()
            };
            let standing = Standing::of(&known, &limits(None), now);
            let told = (standing.state(now), standing.lag_seconds(now));
            assert_eq!(told, (state, Some(lag)), "{waits_since}");
        }
    }

    #[test]
    fn an_object_is_called_what_its_age_makes_it() {
        let streamed = Known {
            streamed: true,
            ..complete()
        };
        let waiting = |seconds: i64| Known {
            waiting_since: Some(at(-seconds).wall),
            ..complete()
        };
        let long = |waiting_long, rows| Known {
            waiting_long,
            rows,
            ..complete()
        };
        let loading = Known {
            complete: false,
            ..complete()
        };
        let never = Known {
            proved: None,
            ..complete()
        };
        let refused = Known {
            problem: Some("refused".to_owned()),
            ..complete()
        };
        let set_back = Known {
            doubtful: true,
            ..complete()
        };
        for (case, known, now, state, lag) in [
            ("new", complete(), 1, State::Live, Some(1)),
            ("polled, in time", complete(), 179, State::Live, Some(179)),
            ("polled, late", complete(), 180, State::Stale, Some(180)),
            ("streamed, in time", streamed.clone(), 389, State::Live, Some(389)),
            ("streamed, late", streamed, 390, State::Stale, Some(390)),
            ("a record waits", waiting(100), 1, State::Live, Some(101)),
            (
                "a record waits too long",
                waiting(200),
                1,
                State::Stale,
                Some(201),
            ),
            (
                "some wait by themselves",
                long(100, 10_000),
                1,
                State::Live,
                Some(1),
            ),
            ("too many wait", long(101, 100_000), 1, State::Stale, Some(1)),
            ("one in a hundred waits", long(2, 199), 1, State::Stale, Some(1)),
            ("never complete", loading, 1, State::Initializing, None),
            ("never proved", never, 1, State::Initializing, None),
            ("refused", refused, 1, State::Stale, Some(1)),
            ("set back", set_back, 1, State::Stale, Some(1)),
        ] {
            let standing = Standing::of(&known, &limits(None), at(0));
            let told = (standing.state(at(now)), standing.lag_seconds(at(now)));
            assert_eq!(told, (state, lag), "{case}");
        }
    }

    #[test]
    fn what_is_shown_of_another_object_is_no_younger_than_that_object() {
        let entries = Known {
            proved: Some(at(60)),
            shows: vec!["Product2".to_owned(), "NotMirrored".to_owned()],
            ..complete()
        };
        let waiting = Known {
            proved: Some(at(60)),
            waiting_since: Some(at(-20).wall),
            ..complete()
        };
        let loading = Known {
            complete: false,
            ..complete()
        };
        let streamed = Known {
            streamed: true,
            ..complete()
        };
        let refused = Known {
            proved: Some(at(60)),
            problem: Some("refused".to_owned()),
            ..complete()
        };
        let of_products = Some("no poll of Product2 was completed since 1970-01-01T00:16:40.000Z");
        // At the 61st second, and late.
        for (case, products, now, state, lag, cause) in [
            ("older", complete(), 61, State::Live, Some(61), None),
            ("too old", complete(), 180, State::Stale, Some(180), of_products),
            (
                "not too old by its own limit",
                streamed,
                200,
                State::Live,
                Some(200),
                None,
            ),
            ("a record of it waits", waiting, 61, State::Live, Some(81), None),
            (
                "what hinders it hinders it alone",
                refused,
                61,
                State::Live,
                Some(1),
                None,
            ),
            (
                "never complete",
                loading,
                61,
                State::Initializing,
                None,
                Some("the first load of Product2 is not complete"),
            ),
        ] {
            let known = [
                ("PricebookEntry".to_owned(), entries.clone()),
                ("Product2".to_owned(), products),
            ];
            let known = known.iter().map(|(object, known)| (object, known));
            let truth = Truth::new(known, &limits(None), &Hindrances::default(), at(0));
            let told = truth.object("PricebookEntry").unwrap();
            let told = (
                told.state(at(now)),
                told.lag_seconds(at(now)),
                told.cause(at(now)),
            );
            assert_eq!(told, (state, lag, cause.map(str::to_owned)), "{case}");
        }
    }

    #[test]
    fn what_is_configured_caps_what_is_usual() {
        let known = |streamed, urgency| Known {
            streamed,
            urgency,
            ..Known::default()
        };
        for (known, usual, capped) in [
            (known(true, Urgency::Page), 390_000, 100_000),
            (known(false, Urgency::Page), 180_000, 100_000),
            (known(false, Urgency::Checkout), 300_000, 100_000),
            (known(false, Urgency::Other), 1_260_000, 100_000),
        ] {
            assert_eq!(limits(None).stale_after(&known), usual, "{known:?}");
            assert_eq!(limits(Some(100_000)).stale_after(&known), capped, "{known:?}");
        }
    }

    #[test]
    fn the_worst_counts_by_each_clock() {
        let older = Known {
            proved: Some(Moment { boot: 0, ..at(-50) }),
            ..complete()
        };
        let (one, other, loading) = ("One".to_owned(), "Other".to_owned(), "Loading".to_owned());
        let incomplete = Known {
            complete: false,
            ..complete()
        };
        let known = [(&one, &complete()), (&other, &older), (&loading, &incomplete)];
        let truth = Truth::new(known, &limits(None), &Hindrances::default(), at(0));
        assert_eq!(truth.all().state(at(1)), State::Initializing);
        let progress = |names: &[&'static str]| {
            let progress = truth.progress(Some(names.iter().copied()), at(1));
            (progress.complete, progress.needed)
        };
        assert_eq!(progress(&["One", "Loading", "Elsewhere"]), (1, 2));
        assert_eq!(progress(&[]), (2, 3));
        let both = truth.of(["One", "Other", "Elsewhere"]);
        assert_eq!(
            (both.state(at(1)), both.lag_seconds(at(1))),
            (State::Live, Some(51))
        );
        assert_eq!(truth.of(["One"]).lag_seconds(at(1)), Some(1));
        assert_eq!(truth.of(["Elsewhere"]), *truth.all());
        assert_eq!(
            truth.object("oTHER").and_then(|one| one.lag_seconds(at(1))),
            Some(51)
        );
        let none = Truth::new([], &limits(None), &Hindrances::default(), at(0));
        assert_eq!(
            (none.all().state(at(9)), none.all().lag_seconds(at(9))),
            (State::Initializing, None)
        );
        assert_eq!(Truth::default(), none);
    }

    fn org(kind: Kind, seconds: i64) -> Hindrances {
        Hindrances {
            trouble: Some(Trouble {
                kind,
                since: at(-seconds),
                cause: "the org's trouble".to_owned(),
            }),
            ..Hindrances::default()
        }
    }

    const POLL: &str = "no poll of Contact was completed since 1970-01-01T00:16:40.000Z";
    const STREAM: &str =
        "nothing that the channel of Contact brought was applied since 1970-01-01T00:16:40.000Z";
    const TROUBLE: &str = "the org's trouble";
    const FILE: &str = "the trouble of a file";

    /// What is known of an object and stands in the way; its state and the cause that is told a second after a proof and
    /// long after it; and whether orders are sent.
    type Case = (
        &'static str,
        Known,
        Hindrances,
        [State; 2],
        [Option<&'static str>; 2],
        bool,
    );

    /// The org, or nothing.
    fn of_the_org() -> Vec<Case> {
        let start = Hindrances {
            start: Some("a start's error".to_owned()),
            ..Hindrances::default()
        };
        vec![
            (
                "nothing",
                complete(),
                Hindrances::default(),
                [State::Live, State::Stale],
                [None, Some(POLL)],
                true,
            ),
            (
                "poll stuck",
                complete(),
                Hindrances::default(),
                [State::Live, State::Stale],
                [None, Some(POLL)],
                true,
            ),
            (
                "login refused",
                complete(),
                org(Kind::LoginRefused, 30),
                [State::Live, State::Stale],
                [Some(TROUBLE); 2],
                false,
            ),
            (
                "login refused long",
                complete(),
                org(Kind::LoginRefused, 90),
                [State::Stale; 2],
                [Some(TROUBLE); 2],
                false,
            ),
            (
                "org unreachable",
                complete(),
                org(Kind::OrgUnreachable, 90),
                [State::Live, State::Stale],
                [Some(TROUBLE); 2],
                false,
            ),
            (
                "cannot start",
                complete(),
                start,
                [State::Live, State::Stale],
                [Some("a start's error"); 2],
                false,
            ),
        ]
    }

    /// The ways by which changes come.
    fn of_the_ways() -> Vec<Case> {
        let failing = |is_lasting| Hindrances {
            failing: [(
                "Contact".to_owned(),
                Failing {
                    cause: "a poll's error".to_owned(),
                    is_lasting,
                },
            )]
            .into(),
            ..Hindrances::default()
        };
        let streamed = Known {
            streamed: true,
            ..complete()
        };
        vec![
            (
                "stream silent",
                streamed,
                Hindrances::default(),
                [State::Live, State::Stale],
                [None, Some(STREAM)],
                true,
            ),
            (
                "queries fail",
                complete(),
                failing(false),
                [State::Live, State::Stale],
                [Some("a poll's error"); 2],
                true,
            ),
            (
                "queries refused",
                complete(),
                failing(true),
                [State::Stale; 2],
                [Some("a poll's error"); 2],
                true,
            ),
        ]
    }

    /// What the cache knows.
    fn of_the_cache() -> Vec<Case> {
        let schema_refused = Known {
            problem: Some("a schema is refused".to_owned()),
            streamed: true,
            ..complete()
        };
        let half = Known {
            complete: false,
            ..complete()
        };
        let backlog = Known {
            waiting_long: 101,
            rows: 100_000,
            ..complete()
        };
        let set_back = Known {
            doubtful: true,
            ..complete()
        };
        vec![
            (
                "schema refused",
                schema_refused,
                Hindrances::default(),
                [State::Stale; 2],
                [Some("a schema is refused"); 2],
                true,
            ),
            (
                "half loaded",
                half,
                Hindrances::default(),
                [State::Initializing; 2],
                [Some("the first load of Contact is not complete"); 2],
                true,
            ),
            (
                "repair backlog",
                backlog,
                Hindrances::default(),
                [State::Stale; 2],
                [Some("101 records wait to be read again"); 2],
                true,
            ),
            (
                "clock wrong",
                set_back,
                Hindrances::default(),
                [State::Stale; 2],
                [Some("the clock of this machine was set back while it was off"); 2],
                true,
            ),
        ]
    }

    /// A trouble of the outbox, or of another file of the state directory.
    fn file(kind: FileKind, is_outbox: bool) -> Hindrances {
        let trouble = FileTrouble {
            kind,
            file: String::new(),
            since: 0,
            is_outbox,
            cause: FILE.to_owned(),
        };
        Hindrances {
            files: vec![trouble],
            ..Hindrances::default()
        }
    }

    /// What keeps files from being written.
    fn of_the_disk() -> Vec<Case> {
        vec![
            (
                "log blocked",
                complete(),
                file(FileKind::LogBlocked, false),
                [State::Live, State::Stale],
                [Some(FILE); 2],
                true,
            ),
            (
                "log of the outbox blocked",
                complete(),
                file(FileKind::LogBlocked, true),
                [State::Live, State::Stale],
                [None, Some(POLL)],
                true,
            ),
            (
                "disk full",
                complete(),
                file(FileKind::DiskFull, false),
                [State::Live, State::Stale],
                [Some(FILE); 2],
                false,
            ),
        ]
    }

    /// Files that are not there, or not whole.
    fn of_the_files() -> Vec<Case> {
        let new = Known {
            complete: false,
            ..complete()
        };
        vec![
            (
                "cache moved",
                complete(),
                file(FileKind::Replaced, false),
                [State::Stale; 2],
                [Some(FILE); 2],
                true,
            ),
            (
                "outbox moved",
                complete(),
                file(FileKind::Replaced, true),
                [State::Live, State::Stale],
                [None, Some(POLL)],
                false,
            ),
            (
                "cache damaged",
                new,
                file(FileKind::Damaged, false),
                [State::Initializing; 2],
                [Some(FILE); 2],
                true,
            ),
            (
                "outbox damaged",
                complete(),
                file(FileKind::Damaged, true),
                [State::Live, State::Stale],
                [None, Some(POLL)],
                true,
            ),
            (
                "a damaged copy kept",
                complete(),
                file(FileKind::SetAside, false),
                [State::Live, State::Stale],
                [None, Some(POLL)],
                true,
            ),
        ]
    }

    /// What each of them does to an object that was proved a second ago, and to one that was proved long ago.
    #[test]
    fn what_stands_in_the_way_is_told_with_what_it_does() {
        let cases = [
            of_the_org(),
            of_the_ways(),
            of_the_cache(),
            of_the_disk(),
            of_the_files(),
        ]
        .concat();
        for (case, known, by, [new, old], [of_new, of_old], is_sending) in cases {
            let contact = "Contact".to_owned();
            // A trouble that begins then lasts as long then.
            let truth = Truth::new([(&contact, &known)], &limits(None), &by, at(0));
            for (now, state, cause) in [(1, new, of_new), (900, old, of_old)] {
                for standing in [truth.all(), truth.object("contact").unwrap()] {
                    let told = (standing.state(at(now)), standing.cause(at(now)));
                    assert_eq!(told, (state, cause.map(str::to_owned)), "{case} {now}");
                }
            }
            assert_eq!(by.of_orders().is_none(), is_sending, "{case}");
        }
        let nothing = Truth::new([], &limits(None), &org(Kind::OrgUnreachable, 5), at(0));
        assert_eq!(nothing.all().cause(at(0)).as_deref(), Some(TROUBLE));
        assert_eq!(
            Truth::default().all().cause(at(0)).as_deref(),
            Some("nothing is loaded yet")
        );
    }
}
