//! When a connection is to end, by what it does. Pure: told of each thing with its time.

use std::time::{Duration, Instant};

/// Most bytes of answers that wait for one client; the next request of it waits until there are fewer.
pub(super) const ANSWERS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of frames that are no part of a request, in so much time: pings, settings, windows.
const NOISE_BYTES_MAX: usize = 1024 * 1024;
/// Beyond so many of them the client is heard slowly; while a body is received, what may be on its way is besides.
const NOISE_BYTES_FREE: usize = 64 * 1024;
const BODIES_BYTES_FREE: usize = 256 * 1024;
const NOISE_WINDOW: Duration = Duration::from_secs(10);
/// What the head of a request may have; what is beyond is noise.
const REQUEST_BYTES: usize = 16 * 1024;
/// How a connection of HTTP/2 begins.
const HTTP2_BEGINS: &[u8] = b"PRI";

/// How long a client may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the handshake of TLS.
    pub handshake: Duration,
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
    /// In all, of one that has a kept place.
    pub kept: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(15),
            idle_http1: Duration::from_secs(75),
            idle_http2: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            kept: Duration::from_secs(2),
        }
    }
}

/// Why a connection was ended, or never taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The handshake of TLS took too long.
    Handshake,
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
    /// The time of a kept place is over.
    Kept,
    /// This process may open no more files.
    Files,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Silent => "silent",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Noise => "noise",
            Self::Evicted => "evicted",
            Self::Address => "address",
            Self::Full => "full",
            Self::Kept => "kept",
            Self::Files => "files",
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
    begun_at: Instant,
    is_kept: bool,
    /// The handshake of TLS goes on.
    is_shaking: bool,
    speaks: Option<Protocol>,
    /// Since when no request is at hand.
    quiet_since: Instant,
    /// When the first byte came after the last request, where one did.
    heard: Option<Instant>,
    /// Requests whose answers have not been taken.
    at_hand: usize,
    /// Whether any request was answered to the end, and whether one brought what lets somebody in.
    was_answered: bool,
    was_let_in: bool,
    /// Since when the socket takes no more.
    unwritten: Option<Instant>,
    /// One place for each request at hand, and free ones.
    answers: Vec<Answer>,
    /// Bytes of answers that wait.
    answers_bytes: usize,
    /// Bodies that are being received.
    bodies: usize,
    noise_bytes: usize,
    noise_since: Instant,
    ended: Option<Reason>,
}

impl Doing {
    pub fn new(now: Instant, is_kept: bool) -> Self {
        Self {
            begun_at: now,
            is_kept,
            is_shaking: false,
            speaks: None,
            quiet_since: now,
            heard: None,
            at_hand: 0,
            was_answered: false,
            was_let_in: false,
            unwritten: None,
            answers: Vec::new(),
            answers_bytes: 0,
            bodies: 0,
            noise_bytes: 0,
            noise_since: now,
            ended: None,
        }
    }

    /// Whether it has one of the places that are kept for requests that must not wait.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The handshake of TLS begins.
    pub fn shakes(&mut self) {
        self.is_shaking = true;
    }

    /// It is done: the first byte is waited for from here on.
    pub fn shook(&mut self, now: Instant) {
        self.is_shaking = false;
        self.quiet_since = now;
    }

    /// A request brought a token or a session that is good.
    pub fn let_in(&mut self) {
        self.was_let_in = true;
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

    /// Whether so much came that is no request that the client is to be heard slowly.
    pub fn is_noisy(&self) -> bool {
        let of_bodies = if self.bodies > 0 { BODIES_BYTES_FREE } else { 0 };
        self.noise_bytes > NOISE_BYTES_FREE + of_bodies
    }

    /// A body is received from now on.
    pub fn body_began(&mut self) {
        self.bodies += 1;
    }

    /// One is received no more.
    pub fn body_ended(&mut self) {
        self.bodies -= 1;
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

    /// Since when it is idle, after whether somebody was let in, and whether it ever was of use: whoever was not goes first.
    pub fn idle_since(&self) -> Option<(bool, bool, Instant)> {
        let is_idle = self.at_hand == 0 && self.ended.is_none();
        is_idle.then_some((self.was_let_in, self.was_answered, self.quiet_since))
    }

    /// When it is to end if nothing else happens, and why.
    pub fn due(&self, limits: &Limits) -> (Option<Instant>, Reason) {
        let (due, reason) = self.due_as_usual(limits);
        let kept_until = self.begun_at + limits.kept;
        match self.is_kept && due.is_none_or(|due| kept_until < due) {
            true => (Some(kept_until), Reason::Kept),
            false => (due, reason),
        }
    }

    fn due_as_usual(&self, limits: &Limits) -> (Option<Instant>, Reason) {
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
            _ if self.is_shaking => (self.begun_at, limits.handshake, Reason::Handshake),
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
        let mut doing = Doing::new(began, false);
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

        let mut doing = Doing::new(began, false);
        doing.heard(b"PRI * HTTP/2.0", at(began, 1));
        doing.heard(b"a ping", at(began, 100));
        assert_eq!(
            ends(&doing, began),
            Some((120, Reason::Idle)),
            "pings keep no place"
        );
    }

    #[test]
    fn a_handshake_and_a_kept_place_have_their_own_time() {
        let began = Instant::now();
        let mut doing = Doing::new(began, false);
        doing.shakes();
        assert_eq!(ends(&doing, began), Some((10, Reason::Handshake)));
        doing.shook(at(began, 9));
        assert_eq!(ends(&doing, began), Some((19, Reason::Silent)));
        let mut kept = Doing::new(began, true);
        kept.shakes();
        assert_eq!(ends(&kept, began), Some((2, Reason::Kept)));
        kept.shook(at(began, 1));
        kept.heard(b"GET /", at(began, 1));
        kept.began();
        assert_eq!(ends(&kept, began), Some((2, Reason::Kept)), "with a request too");
    }

    #[test]
    fn an_answer_that_nobody_takes_ends_it() {
        let began = Instant::now();
        let mut doing = Doing::new(began, false);
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
        let mut doing = Doing::new(now, false);
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
        let mut doing = Doing::new(began, false);
        for _ in 0..many {
            doing.heard(&flood, began);
        }
        assert_eq!((doing.ended(), doing.is_noisy()), (None, true));
        doing.heard(b"x", began);
        assert_eq!(doing.ended(), Some(Reason::Noise));
        let mut little = Doing::new(began, false);
        little.heard(&vec![0; NOISE_BYTES_FREE], began);
        assert!(!little.is_noisy());
        little.heard(b"x", began);
        assert!(little.is_noisy());
        little.body_began();
        assert!(!little.is_noisy(), "it may be of the body");
        little.body_ended();
        assert!(little.is_noisy());
        little.heard(b"x", began + NOISE_WINDOW);
        assert!(!little.is_noisy(), "of another window");
        let (mut asked, mut sent, mut slow) = (
            Doing::new(began, false),
            Doing::new(began, false),
            Doing::new(began, false),
        );
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
        let (mut used, mut busy, idle) = (
            Doing::new(began, false),
            Doing::new(began, false),
            Doing::new(at(began, 9), false),
        );
        let place = used.began();
        used.finished(place, 0, began);
        busy.began();
        assert_eq!(busy.idle_since(), None);
        assert!(idle.idle_since() < used.idle_since());
        let mut known = Doing::new(began, false);
        known.let_in();
        assert!(used.idle_since() < known.idle_since());
    }
}
