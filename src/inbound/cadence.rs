//! How long a stream may be silent before it is taken for dead.
//!
//! The org promises to say something every 270 seconds, and in practice does so every one or two minutes. Streams
//! have been seen to stay open and say nothing for ever, so a silence is measured against what this stream has
//! kept to so far, and never waited out for longer than the promise.

use std::collections::VecDeque;
use std::time::Duration;

/// The org's promise is 270 seconds.
pub const SILENCE_MAX: Duration = Duration::from_secs(300);

/// A shorter silence proves nothing, however often the org speaks.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// Keep-alives that the cadence is learnt from, and how many must have come.
const KEEPALIVES_MAX: usize = 8;
const KEEPALIVES_MIN: usize = 3;

/// Times of silence before the newest keep-alives.
#[derive(Clone, Debug, Default)]
pub struct Cadence {
    silences: VecDeque<Duration>,
}

impl Cadence {
    /// A response with this many events came after `silence`.
    pub fn heard(&mut self, events: usize, silence: Duration) {
        if events > 0 {
            return;
        }
        if self.silences.len() == KEEPALIVES_MAX {
            self.silences.pop_front();
        }
        self.silences.push_back(silence);
    }

    /// The longest silence that is still no reason to start again: two keep-alives missed, and some.
    pub fn silence_max(&self) -> Duration {
        let longest = self.silences.iter().max();
        match longest.filter(|_| self.silences.len() >= KEEPALIVES_MIN) {
            Some(longest) => (*longest * 3).clamp(SILENCE_MIN, SILENCE_MAX),
            None => SILENCE_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_measured_against_what_the_stream_kept_to() {
        let cases: [(&[(usize, u64)], u64); 7] = [
            (&[], 300),
            (&[(0, 60), (0, 60)], 300),
            (&[(0, 60), (0, 60), (0, 60)], 180),
            (&[(0, 60), (5, 2), (0, 90), (0, 60)], 270),
            (&[(0, 120), (0, 120), (0, 120)], 300),
            (&[(0, 1), (0, 1), (0, 1)], 10),
            (&[(5, 1), (5, 1), (5, 1)], 300),
        ];
        for (heard, expected) in cases {
            let mut cadence = Cadence::default();
            for (events, seconds) in heard {
                cadence.heard(*events, Duration::from_secs(*seconds));
            }
            assert_eq!(cadence.silence_max().as_secs(), expected, "{heard:?}");
        }
        let mut cadence = Cadence::default();
        cadence.heard(0, Duration::from_secs(90));
        for _ in 0..KEEPALIVES_MAX {
            cadence.heard(0, Duration::from_secs(20));
        }
        assert_eq!(cadence.silence_max().as_secs(), 60, "an old cadence is forgotten");
    }
}
