//! When a connection is to end, by what it does. Pure: told of each thing with its time.

use std::time::{Duration, Instant};

/// Most bytes of answers that wait for one client; the next request of it waits until there are fewer.
pub(super) const ANSWERS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of frames that are no part of a request, in so much time: pings, settings, windows.
const NOISE_BYTES_MAX: usize = 1024 * 1024;
const NOISE_WINDOW: Duration = Duration::from_secs(10);
/// What the head of a request may have; what is beyond is noise.
const REQUEST_BYTES: usize = 16 * 1024;
/// How a connection of HTTP/2 begins.
const HTTP2_BEGINS: &[u8] = b"PRI";

/// How long a client may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until its first byte.
    pub first_byte: Duration,
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// Between two requests.
    pub idle_http1: Duration,
    /// Without an open stream, whatever else is sent.
    pub idle_http2: Duration,
    /// Until it takes the next part of an answer.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(15),
            idle_http1: Duration::from_secs(75),
            idle_http2: Duration::from_secs(120),
            stall: Duration::from_secs(30),
        }
    }
}

/// Why a connection was ended, or never taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It never said anything.
    Silent,
    /// The head of a request took too long.
    Head,
    /// Nobody asked anything for a while.
    Idle,
    /// The client does not take its answers.
    Stalled,
    /// The client sends much that is no request.
    Noise,
    /// Another client wants the place, and this one was idle.
    Evicted,
    /// The address has as many as one may have.
    Address,
    /// There is no place, and nobody is idle.
    Full,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Noise => "noise",
            Self::Evicted => "evicted",
            Self::Address => "address",
            Self::Full => "full",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// There is none: the place is free.
    Free,
    /// It is made, or waits for what it tells of.
    Made,
    /// A part of it waits to be taken, since then.
    Waits(Instant),
}

/// What a connection does.
#[derive(Debug)]
pub(super) struct Doing {
    speaks: Option<Protocol>,
    /// Since when no request is at hand.
    quiet_since: Instant,
    /// When the first byte came after the last request, where one did.
    heard: Option<Instant>,
    /// Requests whose answers have not been taken.
    at_hand: usize,
    /// Whether any request was answered to the end.
    was_answered: bool,
    /// Since when the socket takes no more.
    unwritten: Option<Instant>,
    /// One place for each request at hand, and free ones.
    answers: Vec<Answer>,
    /// Bytes of answers that wait.
    answers_bytes: usize,
    noise_bytes: usize,
    noise_since: Instant,
    ended: Option<Reason>,
}

impl Doing {
    pub fn new(now: Instant) -> Self {
        Self {
            speaks: None,
            quiet_since: now,
            heard: None,
            at_hand: 0,
            was_answered: false,
            unwritten: None,
            answers: Vec::new(),
            answers_bytes: 0,
            noise_bytes: 0,
            noise_since: now,
            ended: None,
        }
    }

    /// The socket gave these bytes.
    pub fn heard(&mut self, bytes: &[u8], now: Instant) {
        if self.speaks.is_none() {
            self.speaks = Some(match bytes.starts_with(HTTP2_BEGINS) {
                true => Protocol::Http2,
                false => Protocol::Http1,
            });
        }
        if self.at_hand == 0 {
            self.heard.get_or_insert(now);
        }
        if now - self.noise_since >= NOISE_WINDOW {
            self.noise_since = now;
            self.noise_bytes = 0;
        }
        self.noise_bytes += bytes.len();
        if self.noise_bytes > NOISE_BYTES_MAX {
            self.end(Reason::Noise);
        }
    }

    /// So many of the bytes were of a request's body.
    pub fn received(&mut self, bytes: usize) {
        self.noise_bytes = self.noise_bytes.saturating_sub(bytes);
    }

    /// A request came. Its answer has the place that is returned.
    pub fn began(&mut self) -> usize {
        self.at_hand += 1;
        self.heard = None;
        self.noise_bytes = self.noise_bytes.saturating_sub(REQUEST_BYTES);
        let free = self.answers.iter().position(|answer| *answer == Answer::Free);
        let place = free.unwrap_or_else(|| {
            self.answers.push(Answer::Free);
            self.answers.len() - 1
        });
        self.answers[place] = Answer::Made;
        place
    }

    /// So many bytes wait for the client from now on.
    pub fn answered(&mut self, place: usize, bytes: usize, now: Instant) {
        self.answers_bytes += bytes;
        self.answers[place] = Answer::Waits(now);
    }

    /// The protocol asks for the next part of an answer.
    pub fn asked(&mut self, place: usize) {
        self.answers[place] = Answer::Made;
    }

    /// It was given one, and has to be rid of that before it asks again.
    pub fn given(&mut self, place: usize, now: Instant) {
        self.answers[place] = Answer::Waits(now);
    }

    /// The answer is gone, with the bytes that waited.
    pub fn finished(&mut self, place: usize, bytes: usize, now: Instant) {
        self.answers[place] = Answer::Free;
        self.answers_bytes -= bytes;
        self.at_hand -= 1;
        self.was_answered = true;
        if self.at_hand == 0 {
            self.quiet_since = now;
        }
    }

    /// Whether the next answer may be made.
    pub fn has_room(&self) -> bool {
        self.answers_bytes < ANSWERS_BYTES_MAX
    }

    /// The socket took what it was given, or does not.
    pub fn wrote(&mut self, all: bool, now: Instant) {
        match all {
            true => self.unwritten = None,
            false => drop(self.unwritten.get_or_insert(now)),
        }
    }

    pub fn end(&mut self, reason: Reason) {
        self.ended.get_or_insert(reason);
    }

    pub fn ended(&self) -> Option<Reason> {
        self.ended
    }

    /// Since when it is idle, and whether it ever was of use: whoever was not goes first.
    pub fn idle_since(&self) -> Option<(bool, Instant)> {
        (self.at_hand == 0 && self.ended.is_none()).then_some((self.was_answered, self.quiet_since))
    }

    /// When it is to end if nothing else happens, and why.
    pub fn due(&self, limits: &Limits) -> (Option<Instant>, Reason) {
        if let Some(reason) = self.ended {
            return (Some(self.quiet_since), reason);
        }
        let waits = self.answers.iter().filter_map(|answer| match answer {
            Answer::Waits(since) => Some(*since),
            Answer::Free | Answer::Made => None,
        });
        if let Some(since) = waits.chain(self.unwritten).min() {
            return (Some(since + limits.stall), Reason::Stalled);
        }
        let (since, limit, reason) = match (self.speaks, self.heard) {
            _ if self.at_hand > 0 => return (None, Reason::Idle),
            (None, _) => (self.quiet_since, limits.first_byte, Reason::Silent),
            (Some(Protocol::Http1), Some(heard)) => (heard, limits.head, Reason::Head),
            (Some(Protocol::Http1), None) => (self.quiet_since, limits.idle_http1, Reason::Idle),
            (Some(Protocol::Http2), _) => (self.quiet_since, limits.idle_http2, Reason::Idle),
        };
        (Some(since + limit), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn at(began: Instant, seconds: u32) -> Instant {
        began + MILLI * 1_000 * seconds
    }

    /// When it ends, in seconds after it began.
    fn ends(doing: &Doing, began: Instant) -> Option<(u64, Reason)> {
        let (due, reason) = doing.due(&Limits::default());
        due.map(|due| ((due - began).as_secs(), reason))
    }

    #[test]
    fn silence_ends_a_connection_whatever_it_speaks() {
        let began = Instant::now();
        let mut doing = Doing::new(began);
        assert_eq!(ends(&doing, began), Some((10, Reason::Silent)));
        doing.heard(b"GET /", at(began, 4));
        doing.heard(b"livez", at(began, 9));
        assert_eq!(
            ends(&doing, began),
            Some((19, Reason::Head)),
            "from its first byte"
        );
        let place = doing.began();
        assert_eq!(ends(&doing, began), None, "a request may take its time");
        doing.answered(place, 10, at(began, 10));
        assert_eq!(ends(&doing, began), Some((40, Reason::Stalled)));
        doing.asked(place);
        doing.finished(place, 10, at(began, 12));
        assert_eq!(ends(&doing, began), Some((87, Reason::Idle)));
        doing.heard(b"G", at(began, 20));
        assert_eq!(ends(&doing, began), Some((35, Reason::Head)));

        let mut doing = Doing::new(began);
        doing.heard(b"PRI * HTTP/2.0", at(began, 1));
        doing.heard(b"a ping", at(began, 100));
        assert_eq!(
            ends(&doing, began),
            Some((120, Reason::Idle)),
            "pings keep no place"
        );
    }

    #[test]
    fn an_answer_that_nobody_takes_ends_it() {
        let began = Instant::now();
        let mut doing = Doing::new(began);
        doing.heard(b"PRI * HTTP/2.0", began);
        let [taken, waiting] = [doing.began(), doing.began()];
        assert_ne!(taken, waiting);
        doing.answered(waiting, 7, at(began, 3));
        doing.answered(taken, 5, at(began, 1));
        assert_eq!(ends(&doing, began), Some((31, Reason::Stalled)));
        doing.asked(taken);
        doing.given(taken, at(began, 20));
        assert_eq!(ends(&doing, began), Some((33, Reason::Stalled)));
        doing.asked(taken);
        doing.asked(waiting);
        assert_eq!(ends(&doing, began), None, "a stream waits for news");
        doing.wrote(false, at(began, 40));
        doing.wrote(false, at(began, 50));
        assert_eq!(
            ends(&doing, began),
            Some((70, Reason::Stalled)),
            "of the socket too"
        );
        doing.wrote(true, at(began, 60));
        doing.finished(taken, 5, at(began, 60));
        assert_eq!(doing.began(), taken, "its place is free again");
    }

    #[test]
    fn answers_that_wait_keep_the_next_from_being_made() {
        let now = Instant::now();
        let mut doing = Doing::new(now);
        let [first, second] = [doing.began(), doing.began()];
        doing.answered(first, ANSWERS_BYTES_MAX - 1, now);
        assert!(doing.has_room());
        doing.answered(second, 1, now);
        assert!(!doing.has_room());
        doing.finished(second, 1, now);
        assert!(doing.has_room());
    }

    #[test]
    fn much_that_is_no_request_ends_it() {
        let began = Instant::now();
        let flood = vec![0; REQUEST_BYTES];
        let many = NOISE_BYTES_MAX / REQUEST_BYTES;
        let mut doing = Doing::new(began);
        for _ in 0..many {
            doing.heard(&flood, began);
        }
        assert_eq!(doing.ended(), None);
        doing.heard(b"x", began);
        assert_eq!(doing.ended(), Some(Reason::Noise));
        let (mut asked, mut sent, mut slow) = (Doing::new(began), Doing::new(began), Doing::new(began));
        for number in 0..4 * many {
            asked.heard(&flood, began);
            let place = asked.began();
            asked.finished(place, 0, began);
            sent.heard(&flood, began);
            sent.received(flood.len());
            slow.heard(&flood, began + MILLI * 200 * u32::try_from(number).unwrap());
        }
        assert_eq!([asked.ended(), sent.ended(), slow.ended()], [None; 3]);
    }

    #[test]
    fn whoever_was_of_no_use_is_the_first_to_go() {
        let began = Instant::now();
        let (mut used, mut busy, idle) = (Doing::new(began), Doing::new(began), Doing::new(at(began, 9)));
        let place = used.began();
        used.finished(place, 0, began);
        busy.began();
        assert_eq!(busy.idle_since(), None);
        assert!(idle.idle_since() < used.idle_since());
    }
}
