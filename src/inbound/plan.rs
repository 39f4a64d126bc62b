//! What to do about a record that an event names, decided from the header alone.

use crate::model::change::{ChangeKind, GapKind};

/// The id that an overflow event names instead of a record.
const OVERFLOW_ID: &str = "000000000000000AAA";

/// What an event means for one of the records it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The event carries the whole record.
    Write,
    /// The event carries what changed.
    Update,
    Delete,
    /// The event does not say what changed: the record is read again.
    Repair(&'static str),
    /// The event does not say which records changed: the object is read again.
    Reload(&'static str),
}

/// Decides for one record id of an event.
pub fn action(kind: ChangeKind, record_id: &str) -> Action {
    if record_id == OVERFLOW_ID {
        return Action::Reload("overflow");
    }
    if record_id.ends_with('*') {
        return Action::Reload("wildcard");
    }
    match kind {
        ChangeKind::Create | ChangeKind::Undelete => Action::Write,
        ChangeKind::Update => Action::Update,
        ChangeKind::Delete => Action::Delete,
        ChangeKind::Gap(GapKind::Create) => Action::Repair("gap: created"),
        ChangeKind::Gap(GapKind::Update) => Action::Repair("gap: updated"),
        ChangeKind::Gap(GapKind::Delete) => Action::Repair("gap: deleted"),
        ChangeKind::Gap(GapKind::Undelete) => Action::Repair("gap: undeleted"),
        ChangeKind::Snapshot => Action::Repair("snapshot"),
        ChangeKind::Overflow => Action::Reload("overflow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_by_kind_and_id() {
        let id = "01t000000000001AAA";
        let cases = [
            (ChangeKind::Create, id, Action::Write),
            (ChangeKind::Undelete, id, Action::Write),
            (ChangeKind::Update, id, Action::Update),
            (ChangeKind::Delete, id, Action::Delete),
            (
                ChangeKind::Gap(GapKind::Create),
                id,
                Action::Repair("gap: created"),
            ),
            (
                ChangeKind::Gap(GapKind::Update),
                id,
                Action::Repair("gap: updated"),
            ),
            (
                ChangeKind::Gap(GapKind::Delete),
                id,
                Action::Repair("gap: deleted"),
            ),
            (
                ChangeKind::Gap(GapKind::Undelete),
                id,
                Action::Repair("gap: undeleted"),
            ),
            (ChangeKind::Snapshot, id, Action::Repair("snapshot")),
            (ChangeKind::Overflow, id, Action::Reload("overflow")),
            (ChangeKind::Overflow, OVERFLOW_ID, Action::Reload("overflow")),
            (ChangeKind::Update, OVERFLOW_ID, Action::Reload("overflow")),
            (ChangeKind::Update, "01t*", Action::Reload("wildcard")),
        ];
        for (kind, record_id, expected) in cases {
            assert_eq!(action(kind, record_id), expected, "{kind:?} {record_id}");
        }
    }
}
