//! What tells one event from another, for the memory of those that were applied.

use aws_lc_rs::digest::{Context, SHA256};

use crate::inbound::decode::Change;
use crate::model::change::{ChangeKind, GapKind, RawEvent};

/// 128 bits of what identifies an event: the bus's id, which a duplicate keeps, and the records, which tell apart
/// the events that the org splits from one. Where the bus gave no id: the transaction and the place in it.
pub(super) fn key(event: &RawEvent, entity: &str, change: &Change<'_>) -> u128 {
    let header = &change.header;
    let mut hash = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        hash.update(bytes);
        hash.update(&[0xff]);
    };
    if event.event_id.is_empty() {
        part(header.transaction_key.as_bytes());
        part(&header.sequence_number.to_le_bytes());
    } else {
        part(event.event_id.as_bytes());
    }
    part(entity.as_bytes());
    part(&[kind_byte(header.kind)]);
    header.record_ids.iter().for_each(|id| part(id.as_bytes()));
    let digest = hash.finish();
    digest
        .as_ref()
        .first_chunk::<16>()
        .map_or(0, |bytes| u128::from_le_bytes(*bytes))
}

fn kind_byte(kind: ChangeKind) -> u8 {
    match kind {
        ChangeKind::Create => 0,
        ChangeKind::Update => 1,
        ChangeKind::Delete => 2,
        ChangeKind::Undelete => 3,
        ChangeKind::Gap(GapKind::Create) => 4,
        ChangeKind::Gap(GapKind::Update) => 5,
        ChangeKind::Gap(GapKind::Delete) => 6,
        ChangeKind::Gap(GapKind::Undelete) => 7,
        ChangeKind::Overflow => 8,
        ChangeKind::Snapshot => 9,
    }
}
