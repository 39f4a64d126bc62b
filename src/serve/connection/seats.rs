//! The places of a listener: how many connections it has, and how many of one address.
//!
//! A client is always taken or refused at once, and never left waiting for a place: whoever comes for a place that an idle
//! one holds gets it. Clients of this machine may have all: they are the proxy before storesync.
//!
//! Beside these places a few are kept. Whoever has one has two seconds in all, and is answered what must be answered
//! whatever happens: that the process lives, and the page to log in with. Everybody else is told there to come again.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::serve::connection::Connection;
use crate::serve::connection::limits::{Limits, Reason};
use crate::telemetry::metrics;

/// Places that are kept beside the others.
const KEPT: usize = 16;

/// Of so many idle connections one more is ended at once where there is no place.
const EVICTED_OF: usize = 256;

/// Whom a connection is counted for: an address of IPv4, a network of 64 bits of IPv6; none of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Here,
    Four([u8; 4]),
    Six([u8; 8]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        match address {
            _ if address.is_loopback() => Self::Here,
            IpAddr::V4(address) => Self::Four(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::Six([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("this machine"),
            Self::Four(octets) => Ipv4Addr::from(*octets).fmt(f),
            Self::Six(network) => {
                let mut octets = [0; 16];
                octets[..network.len()].copy_from_slice(network);
                write!(f, "{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

/// The places of one listener; cheap to clone.
#[derive(Clone, Debug)]
pub struct Seats {
    listener: &'static str,
    most: usize,
    most_of_one: usize,
    limits: Limits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    kept: usize,
    connections: HashMap<u64, (Source, Arc<Connection>)>,
    of_source: HashMap<Source, usize>,
}

/// A place that is taken; it is free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    taken: Arc<Mutex<Taken>>,
    pub connection: Arc<Connection>,
}

impl Seats {
    pub fn new(listener: &'static str, most: usize, most_of_one: usize, limits: Limits) -> Self {
        Self {
            listener,
            most,
            most_of_one,
            limits,
            taken: Arc::default(),
        }
    }

    /// A place for a client, if only a kept one; or none: then it is to be cut off.
    pub fn take(&self, source: Source) -> Option<Seat> {
        let mut taken = lock(&self.taken);
        let is_kept = match self.refused(&mut taken, source) {
            None => false,
            Some(reason) => {
                self.count(reason);
                true
            }
        };
        if is_kept && taken.kept >= KEPT && !taken.evict(true) {
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        let connection = Connection::new(self.limits, is_kept);
        taken
            .connections
            .insert(number, (source, Arc::clone(&connection)));
        match is_kept {
            true => taken.kept += 1,
            false => *taken.of_source.entry(source).or_default() += 1,
        }
        Some(Seat {
            number,
            taken: Arc::clone(&self.taken),
            connection,
        })
    }
}

impl Seats {
    /// Why a client gets no place of its own.
    fn refused(&self, taken: &mut Taken, source: Source) -> Option<Reason> {
        let of_source = taken.of_source.get(&source).copied().unwrap_or(0);
        if source != Source::Here && of_source >= self.most_of_one {
            return Some(Reason::Address);
        }
        let is_full = taken.connections.len() - taken.kept >= self.most;
        (is_full && !taken.evict(false)).then_some(Reason::Full)
    }

    /// Ends the connection that has been idle for longest, so that its file is free.
    pub fn make_room(&self) {
        lock(&self.taken).evict(false);
    }

    /// Counts a connection that was ended, or not taken.
    pub fn count(&self, reason: Reason) {
        metrics::CONNECTIONS_ENDED.count([self.listener, reason.name()]);
    }
}

impl Taken {
    /// Ends the connection that has been idle for longest, of those with a kept place or of the others, and says whether
    /// there was one. Of many it ends a few, because all have to be looked at.
    fn evict(&mut self, kept: bool) -> bool {
        let idle = self.connections.iter().filter_map(|(number, (_, connection))| {
            let doing = connection.doing();
            let since = doing.idle_since().filter(|_| doing.is_kept() == kept)?;
            Some((since, *number))
        });
        let mut idle: Vec<_> = idle.collect();
        let few = idle.len().min(1 + idle.len() / EVICTED_OF);
        if few == 0 {
            return false;
        }
        idle.select_nth_unstable(few - 1);
        for (_, number) in idle.drain(..few) {
            if let Some(connection) = self.free(number) {
                connection.end(Reason::Evicted);
            }
        }
        true
    }

    fn free(&mut self, number: u64) -> Option<Arc<Connection>> {
        let (source, connection) = self.connections.remove(&number)?;
        if connection.doing().is_kept() {
            self.kept -= 1;
            return Some(connection);
        }
        if let Some(count) = self.of_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.of_source.remove(&source);
            }
        }
        Some(connection)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.taken).free(self.number);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four(last: u8) -> Source {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn is_kept(seat: &Seat) -> bool {
        seat.connection.doing().is_kept()
    }

    #[test]
    fn addresses_are_counted_as_their_networks() {
        for (text, source) in [
            ("127.0.0.1", Source::Here),
            ("::1", Source::Here),
            ("::ffff:127.0.0.1", Source::Here),
            ("192.0.2.1", four(1)),
            ("::ffff:192.0.2.1", four(1)),
            ("2001:db8::1", Source::Six([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0])),
            ("2001:db8::ffff:1", Source::Six([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0])),
            ("2001:db8:0:1::1", Source::Six([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1])),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Source::from(address), source, "{text}");
        }
    }

    #[test]
    fn one_address_has_no_more_than_its_share() {
        let seats = Seats::new("storefront", 4, 2, Limits::default());
        let held = [four(1), four(1)].map(|source| seats.take(source).unwrap());
        assert!(is_kept(&seats.take(four(1)).unwrap()));
        let other = seats.take(four(2)).unwrap();
        drop(held);
        assert!(
            !is_kept(&seats.take(four(1)).unwrap()),
            "those that ended count no more"
        );
        drop(other);
        let here: Vec<_> = (0..4).map(|_| seats.take(Source::Here).unwrap()).collect();
        assert_eq!(here.len(), 4);
    }

    #[test]
    fn whoever_is_idle_makes_room_and_whoever_is_busy_does_not() {
        let seats = Seats::new("storefront", 2, 2, Limits::default());
        let busy = seats.take(Source::Here).unwrap();
        busy.connection.doing().began();
        let idle = seats.take(Source::Here).unwrap();
        let next = seats.take(Source::Here).unwrap();
        assert_eq!(idle.connection.doing().ended(), Some(Reason::Evicted));
        assert_eq!(busy.connection.doing().ended(), None);
        // It leaves later than its place was given away.
        drop(idle);
        next.connection.doing().began();
        assert!(is_kept(&seats.take(Source::Here).unwrap()));
        drop(busy);
        assert!(!is_kept(&seats.take(Source::Here).unwrap()));
    }

    #[test]
    fn of_many_that_are_idle_a_few_make_room_at_once() {
        let seats = Seats::new("storefront", 1_000, 1_000, Limits::default());
        let held: Vec<_> = (0..1_000).map(|_| seats.take(Source::Here).unwrap()).collect();
        let ended = || {
            held.iter()
                .filter(|seat| seat.connection.doing().ended().is_some())
                .count()
        };
        let next: Vec<_> = (0..4).map(|_| seats.take(Source::Here).unwrap()).collect();
        assert_eq!((next.len(), ended()), (4, 4), "the longest idle");
        assert!(
            held[..4]
                .iter()
                .all(|seat| seat.connection.doing().ended().is_some())
        );
        let _fifth = seats.take(Source::Here).unwrap();
        assert_eq!(ended(), 8);
    }

    #[test]
    fn kept_places_are_few_and_go_to_whoever_asks_last() {
        let seats = Seats::new("storefront", 1, 1, Limits::default());
        let busy = seats.take(Source::Here).unwrap();
        busy.connection.doing().began();
        let kept: Vec<_> = (0..KEPT).map(|_| seats.take(Source::Here).unwrap()).collect();
        assert!(kept.iter().all(is_kept) && !is_kept(&busy));
        let next = seats.take(Source::Here).unwrap();
        assert_eq!(kept[0].connection.doing().ended(), Some(Reason::Evicted));
        for seat in kept.iter().skip(1).chain([&next]) {
            seat.connection.doing().began();
        }
        assert!(seats.take(Source::Here).is_none(), "all have a request at hand");
        drop((kept, next));
        assert!(is_kept(&seats.take(Source::Here).unwrap()));
        assert_eq!(lock(&seats.taken).kept, 0);
        drop(busy);
        assert!(!is_kept(&seats.take(Source::Here).unwrap()));
    }
}
