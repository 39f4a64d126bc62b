//! Which records a poll has to read, of an object that is mirrored in part.
//!
//! Such a poll asks for ids and stamps alone, because only reading a record by its id tells whether it left its part. A
//! poll looks back, so it names the same records again; those that were read with the stamp that they still have need
//! no second read. A stamp has whole seconds: a record that changes twice within one has the same stamp twice. What a
//! poll named is therefore read at each poll until its stamp is older than any change that may still share it.

use std::collections::HashMap;

use crate::model::clock::Millis;

/// A change that is committed later than this after its stamp was first seen has a later stamp.
const SETTLE_MILLIS: Millis = 30_000;

/// What the last poll of an object named. As many records as that poll brought.
#[derive(Debug, Default)]
pub struct Named {
    before: HashMap<String, Name>,
    now: HashMap<String, Name>,
}

#[derive(Clone, Debug)]
struct Name {
    stamp: String,
    /// When a poll first named the record with this stamp, by the machine's clock.
    first: Millis,
    /// The record was read after nothing could share the stamp any more.
    is_settled: bool,
}

impl Named {
    /// A poll begins. Records that the last one did not name are forgotten.
    pub fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// A poll that was asked at `asked` names a record at `now`, both by the machine's clock. Gives whether the record is
    /// to be read.
    pub fn name(&mut self, id: &str, stamp: &str, asked: Millis, now: Millis) -> bool {
        let known = self.before.remove(id).filter(|name| name.stamp == stamp);
        let is_read = known.as_ref().is_some_and(|name| name.is_settled);
        let first = known.map_or(now, |name| name.first);
        let name = Name {
            stamp: stamp.to_owned(),
            first,
            is_settled: asked - first >= SETTLE_MILLIS,
        };
        self.now.insert(id.to_owned(), name);
        !is_read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_until_no_later_change_can_have_its_stamp() {
        let mut named = Named::default();
        // asked at, named at, stamp, whether it is read
        for (asked, now, stamp, expected) in [
            (0, 5_000, "10:00:00", true),
            // The second change of that second.
            (6_000, 6_100, "10:00:00", true),
            (34_999, 35_000, "10:00:00", true),
            (35_000, 35_100, "10:00:00", true),
            (40_000, 40_100, "10:00:00", false),
            (50_000, 50_100, "10:00:49", true),
            (55_000, 55_100, "10:00:49", true),
        ] {
            named.begin();
            assert_eq!(named.name("a", stamp, asked, now), expected, "{asked}");
        }
    }

    #[test]
    fn a_record_that_a_poll_did_not_name_is_read_when_it_comes_again() {
        let mut named = Named::default();
        for asked in [0, 60_000, 120_000] {
            named.begin();
            let is_first_or_second = asked < 120_000;
            assert_eq!(named.name("a", "10:00:00", asked, asked), is_first_or_second);
        }
        named.begin();
        named.begin();
        assert!(named.name("a", "10:00:00", 180_000, 180_000));
    }
}
