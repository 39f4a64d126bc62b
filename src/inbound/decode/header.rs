//! Reads an event's header: whose change it is, what kind, when, and which fields.
//!
//! Its members are found by name in the writer schema, so members that are new are passed over. Without the
//! entity, the record ids and the kind of change an event says nothing, and its schema is refused.

use super::payload::{Cursor, Fault};
use super::schema::{Node, Nodes, RecordField, SchemaError};
use crate::model::change::ChangeKind;
use crate::model::clock::Millis;
use crate::model::text::Text;

/// What an event says besides its values.
#[derive(Debug)]
pub struct Header<'a> {
    pub entity: Text<'a>,
    /// 18 characters each; several where one change was made to several records. A wildcard or a row of zeros
    /// stands for records that the org did not list.
    pub record_ids: Vec<Text<'a>>,
    pub kind: ChangeKind,
    /// The client that made the change; empty for the platform itself.
    pub origin: Text<'a>,
    pub transaction_key: Text<'a>,
    /// From 1 within the transaction, with gaps for objects that are not selected.
    pub sequence_number: i32,
    pub commit_timestamp: Millis,
    pub commit_number: i64,
    pub commit_user: Text<'a>,
    pub(super) nulled: Vec<Text<'a>>,
    pub(super) diffed: Vec<Text<'a>>,
    pub(super) changed: Vec<Text<'a>>,
}

impl Default for Header<'_> {
    fn default() -> Self {
        Self {
            entity: Text::default(),
            record_ids: Vec::new(),
            kind: ChangeKind::Snapshot,
            origin: Text::default(),
            transaction_key: Text::default(),
            sequence_number: 0,
            commit_timestamp: 0,
            commit_number: 0,
            commit_user: Text::default(),
            nulled: Vec::new(),
            diffed: Vec::new(),
            changed: Vec::new(),
        }
    }
}

/// The header's bitmaps as they came: `0x400800`, `4-0x01`.
#[derive(Clone, Copy, Debug)]
pub struct Bitmaps<'h> {
    pub nulled: &'h [Text<'h>],
    pub diffed: &'h [Text<'h>],
    pub changed: &'h [Text<'h>],
}

impl Header<'_> {
    pub fn bitmaps(&self) -> Bitmaps<'_> {
        Bitmaps {
            nulled: &self.nulled,
            diffed: &self.diffed,
            changed: &self.changed,
        }
    }

    /// Empties the lists; everything else is written by each event, or stays empty.
    pub(super) fn clear(&mut self) {
        self.record_ids.clear();
        self.nulled.clear();
        self.diffed.clear();
        self.changed.clear();
        (self.entity, self.origin) = (Text::default(), Text::default());
        (self.transaction_key, self.commit_user) = (Text::default(), Text::default());
        (self.sequence_number, self.commit_timestamp, self.commit_number) = (0, 0, 0);
        self.kind = ChangeKind::Snapshot;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Entity,
    RecordIds,
    Kind,
    Origin,
    TransactionKey,
    SequenceNumber,
    CommitTimestamp,
    CommitNumber,
    CommitUser,
    Nulled,
    Diffed,
    Changed,
    Other(usize),
}

/// The compiled header.
#[derive(Debug)]
pub(super) struct HeaderSteps {
    members: Vec<Member>,
    kinds: Vec<Result<ChangeKind, String>>,
}

impl HeaderSteps {
    pub fn compile(nodes: &Nodes, field: Option<&RecordField>) -> Result<Self, SchemaError> {
        let refuse = |why: &str| Err(SchemaError::NotChangeEvent(why.to_owned()));
        let Some(field) = field.filter(|field| field.name == "ChangeEventHeader") else {
            return refuse("its first field is not ChangeEventHeader");
        };
        let Node::Record { fields, .. } = nodes.get(field.node) else {
            return refuse("its ChangeEventHeader is not a record");
        };
        let mut header = Self {
            members: Vec::with_capacity(fields.len()),
            kinds: Vec::new(),
        };
        for field in fields {
            let member = header.member(nodes, field)?;
            header.members.push(member);
        }
        let needed = [Member::Entity, Member::RecordIds, Member::Kind];
        if needed.iter().all(|member| header.members.contains(member)) {
            Ok(header)
        } else {
            refuse("its header lacks entityName, recordIds or changeType")
        }
    }

    fn member(&mut self, nodes: &Nodes, field: &RecordField) -> Result<Member, SchemaError> {
        let node = nodes.get(field.node);
        let member = match field.name.as_str() {
            "entityName" => Member::Entity,
            "recordIds" => Member::RecordIds,
            "changeType" => Member::Kind,
            "changeOrigin" => Member::Origin,
            "transactionKey" => Member::TransactionKey,
            "sequenceNumber" => Member::SequenceNumber,
            "commitTimestamp" => Member::CommitTimestamp,
            "commitNumber" => Member::CommitNumber,
            "commitUser" => Member::CommitUser,
            "nulledFields" => Member::Nulled,
            "diffFields" => Member::Diffed,
            "changedFields" => Member::Changed,
            _ => return Ok(Member::Other(field.node)),
        };
        let as_expected = match member {
            Member::Kind => matches!(node, Node::Enum(_)),
            Member::SequenceNumber => matches!(node, Node::Int),
            Member::CommitTimestamp | Member::CommitNumber => matches!(node, Node::Long),
            Member::RecordIds | Member::Nulled | Member::Diffed | Member::Changed => {
                matches!(node, Node::Array(item) if matches!(nodes.get(*item), Node::Text))
            }
            _ => matches!(node, Node::Text),
        };
        if !as_expected {
            let problem = format!("its header's {} has an unexpected type", field.name);
            return Err(SchemaError::NotChangeEvent(problem));
        }
        if let Node::Enum(symbols) = node {
            let kind = |symbol: &String| ChangeKind::from_symbol(symbol).ok_or_else(|| symbol.clone());
            self.kinds = symbols.iter().map(kind).collect();
        }
        Ok(member)
    }

    /// Reads the header. The inner error is the symbol of a kind of change that is not known.
    pub fn read<'a>(
        &self,
        nodes: &Nodes,
        cursor: &mut Cursor<'a>,
        header: &mut Header<'a>,
    ) -> Result<Result<(), String>, Fault> {
        let mut kind = 0;
        // As for the body: a copy that only inlined calls take by reference stays in registers.
        let mut here = *cursor;
        let mut members = || {
            for member in &self.members {
                match member {
                    Member::Entity => header.entity = here.text()?,
                    Member::Kind => kind = here.index(self.kinds.len())?,
                    Member::Origin => header.origin = here.text()?,
                    Member::TransactionKey => header.transaction_key = here.text()?,
                    Member::SequenceNumber => header.sequence_number = here.int()?,
                    Member::CommitTimestamp => header.commit_timestamp = here.long()?,
                    Member::CommitNumber => header.commit_number = here.long()?,
                    Member::CommitUser => header.commit_user = here.text()?,
                    Member::RecordIds => here = here.after_texts(&mut header.record_ids)?,
                    Member::Nulled => here = here.after_texts(&mut header.nulled)?,
                    Member::Diffed => here = here.after_texts(&mut header.diffed)?,
                    Member::Changed => here = here.after_texts(&mut header.changed)?,
                    Member::Other(node) => {
                        let mut there = here;
                        there.skip(nodes, *node)?;
                        here = there;
                    }
                }
            }
            Ok(())
        };
        let read = members();
        *cursor = here;
        read?;
        Ok(match &self.kinds[kind] {
            Ok(kind) => {
                header.kind = *kind;
                Ok(())
            }
            Err(symbol) => Err(symbol.clone()),
        })
    }
}
