//! The places of listeners: how many there are, and how many of them one may have.
//!
//! A stream costs little and lasts for as long as its client likes, so that whoever opens many would keep all others out.
//! Clients of this machine without a token are counted together with all others alone: they are the proxy before
//! storesync, or its operator.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::serve::connection::{STREAMS_MAX, Source, Streams};

/// Listeners at a time, those of one token, and those of one address where none is needed.
const LISTENERS_MAX: usize = 4_096;
const OF_TOKEN_MAX: usize = 64;
const OF_ADDRESS_MAX: usize = 256;

/// Whom a listener is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// By the hash of its secret.
    Token(Vec<u8>),
    Address(Source),
}

impl Holder {
    fn most(&self) -> usize {
        match self {
            Self::Token(_) => OF_TOKEN_MAX,
            Self::Address(Source::Here) => LISTENERS_MAX,
            Self::Address(_) => OF_ADDRESS_MAX,
        }
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Everywhere,
    /// For this holder, who has so many.
    Own(usize),
    /// On this connection.
    Connection,
}

impl Full {
    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Everywhere => "all",
            Self::Own(_) => "holder",
            Self::Connection => "connection",
        }
    }

    pub fn sentence(self) -> String {
        match self {
            Self::Everywhere => {
                format!("{LISTENERS_MAX} listen already, which is all that may: try again")
            }
            Self::Own(most) => {
                format!(
                    "{most} streams of this token or address are open, which is all that it may have: close one"
                )
            }
            Self::Connection => {
                format!(
                    "{STREAMS_MAX} streams are open on this connection, which is all that it may have: open another one"
                )
            }
        }
    }
}

/// The places; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_holder: HashMap<Holder, usize>,
}

/// A place that is taken; it is free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    holder: Holder,
    _of_connection: Option<OwnedSemaphorePermit>,
}

impl Seats {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, on a connection if that has so few as may be.
    pub fn take(&self, holder: Holder, streams: Option<&Streams>) -> Result<Seat, Full> {
        let of_connection = streams
            .map(|Streams(free)| Arc::clone(free).try_acquire_owned())
            .transpose()
            .map_err(|_| Full::Connection)?;
        let mut taken = self.taken();
        let (own, most) = (taken.of_holder.get(&holder).copied().unwrap_or(0), holder.most());
        if taken.all >= LISTENERS_MAX {
            return Err(Full::Everywhere);
        }
        if own >= most {
            return Err(Full::Own(most));
        }
        taken.all += 1;
        taken.of_holder.insert(holder.clone(), own + 1);
        Ok(Seat {
            seats: self.clone(),
            holder,
            _of_connection: of_connection,
        })
    }

    /// How many listen.
    pub fn count(&self) -> usize {
        self.taken().all
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all -= 1;
        if let Entry::Occupied(mut own) = taken.of_holder.entry(self.holder.clone()) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_so_many_and_no_more() {
        let seats = Seats::default();
        let streams = Streams::default();
        let take = || seats.take(Holder::Token(vec![1]), Some(&streams));
        let mut held: Vec<_> = (0..4).map(|_| take().unwrap()).collect();
        assert_eq!(take().unwrap_err(), Full::Connection);
        assert_eq!(seats.count(), 4);
        held.pop();
        held.push(take().unwrap());
        assert_eq!(take().unwrap_err(), Full::Connection);
    }

    #[test]
    fn one_who_listens_much_keeps_no_other_out() {
        let token = |secret: u8| Holder::Token(vec![secret]);
        let address = |last: u8| Holder::Address(Source::Four([192, 0, 2, last]));
        let seats = Seats::default();
        let mut held = Vec::new();
        for (holder, most) in [(token(1), 64), (address(1), 256)] {
            for _ in 0..most {
                held.push(seats.take(holder.clone(), None).unwrap());
            }
            assert_eq!(seats.take(holder, None).unwrap_err(), Full::Own(most));
        }
        assert_eq!(seats.count(), 320);
        held.push(seats.take(token(2), None).unwrap());
        held.push(seats.take(address(2), None).unwrap());
        // One that ends makes room for its own.
        held.remove(0);
        held.push(seats.take(token(1), None).unwrap());
        assert_eq!(seats.take(token(1), None).unwrap_err(), Full::Own(64));
        while seats.count() < 4_096 {
            held.push(seats.take(Holder::Address(Source::Here), None).unwrap());
        }
        for holder in [token(3), Holder::Address(Source::Here)] {
            assert_eq!(seats.take(holder, None).unwrap_err(), Full::Everywhere);
        }
        held.clear();
        assert_eq!((seats.count(), seats.taken().of_holder.len()), (0, 0));
    }
}
