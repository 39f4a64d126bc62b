//! Compiles a writer schema into the steps that read an event of it.
//!
//! A compound field becomes its members under the names that describe gives them, so that every leaf can be a
//! column: `BillingAddress.Street` is `BillingStreet`, `Place__c.Latitude` is `Place__Latitude__s`, the members
//! of a person's `Name` are `FirstName`, `LastName` and so on. Values that no column can hold (arrays, maps,
//! bytes, deeper records) are passed over and have no leaf.

use super::payload::{Cursor, Fault};
use super::schema::{Node, Nodes, RecordField, SchemaError};
use crate::model::row::Value;

/// Most leaves of an event. An object has at most 800 custom fields.
const LEAVES_MAX: usize = 8_192;

/// A value that a column can hold, as an event carries it.
#[derive(Debug)]
pub struct Leaf {
    /// As describe names it: `BillingStreet`.
    pub name: String,
    /// As the event has it: `BillingAddress.Street`.
    pub path: String,
    /// Whether its integers are the event's true and false.
    pub boolean: bool,
}

impl AsRef<str> for Leaf {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Text,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    DateTime,
    Date,
    Time,
}

impl Scalar {
    /// Salesforce writes no logical types: a long is a date or a time where the field's annotation says so.
    fn new(node: &Node, doc: &str) -> Option<Self> {
        let meaning = doc.split(':').nth(1).unwrap_or_default();
        Some(match (node, meaning) {
            (Node::Int | Node::Long, "DateTime") => Self::DateTime,
            (Node::Int | Node::Long, "DateOnly" | "Birthday") => Self::Date,
            (Node::Int | Node::Long, "TimeOnly") => Self::Time,
            (Node::Int, _) => Self::Int,
            (Node::Long, _) => Self::Long,
            (Node::Float, _) => Self::Float,
            (Node::Double, _) => Self::Double,
            (Node::Boolean, _) => Self::Boolean,
            (Node::Text, _) => Self::Text,
            _ => return None,
        })
    }

    #[inline(always)]
    pub fn read<'a>(self, cursor: &mut Cursor<'a>) -> Result<Value<'a>, Fault> {
        Ok(match self {
            Self::Text => Value::Text(cursor.text()?),
            Self::Boolean => Value::Integer(cursor.boolean()?.into()),
            Self::Int => Value::Integer(cursor.int()?.into()),
            Self::Long => Value::Integer(cursor.long()?),
            Self::Float => Value::Real(cursor.float()?.into()),
            Self::Double => Value::Real(cursor.double()?),
            Self::DateTime => Value::DateTime(cursor.long()?),
            Self::Date => Value::Date(cursor.long()?),
            Self::Time => Value::Time(cursor.long()?),
        })
    }
}

/// How to read one value.
#[derive(Debug)]
pub(super) enum Step {
    /// `["null", X]`, which nearly all fields are.
    Nullable(usize, Scalar),
    Scalar(usize, Scalar),
    Null,
    Union(Vec<Step>),
    Record(Vec<Step>),
    Skip(usize),
}

/// The leaves that a bit of a bitmap means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// No column can hold it.
    Nothing,
    Leaf(usize),
    Compound {
        /// Where the field may be a plain text instead.
        text: Option<usize>,
        /// By position; `None` for a member without a leaf.
        members: Vec<Option<usize>>,
    },
}

/// Everything of an event but its header.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub leaves: Vec<Leaf>,
    pub steps: Vec<Step>,
    /// By position in the event; 0 is the header.
    pub targets: Vec<Target>,
    /// The leaves of a person's name that its full form is made of.
    pub name_parts: Vec<usize>,
    /// The leaf of a name that may be plain text.
    pub text_name: Option<usize>,
}

impl Body {
    pub fn compile(nodes: &Nodes, fields: &[RecordField]) -> Result<Self, SchemaError> {
        let mut body = Self {
            targets: vec![Target::Nothing],
            ..Self::default()
        };
        for field in fields {
            let (step, target) = body.field(nodes, field)?;
            body.steps.push(step);
            body.targets.push(target);
        }
        Ok(body)
    }

    fn field(&mut self, nodes: &Nodes, field: &RecordField) -> Result<(Step, Target), SchemaError> {
        let node = nodes.get(field.node);
        let branches: Vec<usize> = match node {
            Node::Union(branches) => branches.clone(),
            _ => vec![field.node],
        };
        let (mut text, mut members) = (None, None);
        let mut steps = Vec::with_capacity(branches.len());
        for id in branches {
            let step = match nodes.get(id) {
                Node::Null => Step::Null,
                Node::Record { name, fields } if members.is_none() => {
                    let (step, found) = self.record(nodes, &field.name, name, fields)?;
                    members = Some(found);
                    step
                }
                branch => match Scalar::new(branch, &field.doc) {
                    Some(scalar) => {
                        let leaf = match text {
                            Some(leaf) => leaf,
                            None => self.leaf(field.name.clone(), field.name.clone(), scalar)?,
                        };
                        text = Some(leaf);
                        Step::Scalar(leaf, scalar)
                    }
                    None => Step::Skip(id),
                },
            };
            steps.push(step);
        }
        if !self.name_parts.is_empty() && field.name == "Name" {
            self.text_name = text;
        }
        let target = match (text, members) {
            (text, Some(members)) => Target::Compound { text, members },
            (Some(leaf), None) => Target::Leaf(leaf),
            (None, None) => Target::Nothing,
        };
        Ok((simplest(matches!(node, Node::Union(_)), steps), target))
    }

    fn record(
        &mut self,
        nodes: &Nodes,
        parent: &str,
        record: &str,
        fields: &[RecordField],
    ) -> Result<(Step, Vec<Option<usize>>), SchemaError> {
        let (mut steps, mut members) = (Vec::new(), Vec::new());
        let is_name = matches!(record, "PersonName" | "Switchable_PersonName");
        for field in fields {
            let Some((nullable, scalar)) = plain(nodes, field) else {
                steps.push(Step::Skip(field.node));
                members.push(None);
                continue;
            };
            let name = if is_name {
                field.name.clone()
            } else {
                member_name(parent, record, &field.name)
            };
            let leaf = self.leaf(name, format!("{parent}.{}", field.name), scalar)?;
            if is_name
                && matches!(
                    field.name.as_str(),
                    "FirstName" | "MiddleName" | "LastName" | "Suffix"
                )
            {
                self.name_parts.push(leaf);
            }
            steps.push(if nullable {
                Step::Nullable(leaf, scalar)
            } else {
                Step::Scalar(leaf, scalar)
            });
            members.push(Some(leaf));
        }
        Ok((Step::Record(steps), members))
    }

    fn leaf(&mut self, name: String, path: String, scalar: Scalar) -> Result<usize, SchemaError> {
        if self.leaves.len() >= LEAVES_MAX {
            return Err(SchemaError::NotChangeEvent(format!(
                "it has more than {LEAVES_MAX} fields"
            )));
        }
        self.leaves.push(Leaf {
            name,
            path,
            boolean: scalar == Scalar::Boolean,
        });
        Ok(self.leaves.len() - 1)
    }
}

/// A member that is a scalar, and whether it may be null in the usual form.
fn plain(nodes: &Nodes, field: &RecordField) -> Option<(bool, Scalar)> {
    match nodes.get(field.node) {
        Node::Union(branches) => match branches[..] {
            [null, value] if matches!(nodes.get(null), Node::Null) => {
                Scalar::new(nodes.get(value), &field.doc).map(|scalar| (true, scalar))
            }
            _ => None,
        },
        node => Scalar::new(node, &field.doc).map(|scalar| (false, scalar)),
    }
}

fn simplest(is_union: bool, mut steps: Vec<Step>) -> Step {
    match steps[..] {
        [Step::Null, Step::Scalar(leaf, scalar)] if is_union => Step::Nullable(leaf, scalar),
        [_] if !is_union => steps.remove(0),
        _ => Step::Union(steps),
    }
}

/// The name that describe gives a member of a compound field.
fn member_name(parent: &str, record: &str, member: &str) -> String {
    if let Some(custom) = parent.strip_suffix("__c") {
        return format!("{custom}__{member}__s");
    }
    if let Some(custom) = parent.strip_suffix("__pc") {
        return format!("{custom}__{member}__pc");
    }
    match parent.strip_suffix(record) {
        Some(prefix) => format!("{prefix}{member}"),
        None => format!("{parent}{member}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_as_describe_does() {
        let cases = [
            ("BillingAddress", "Address", "Street", "BillingStreet"),
            (
                "PersonMailingAddress",
                "Address",
                "CountryCode",
                "PersonMailingCountryCode",
            ),
            ("Address", "Address", "City", "City"),
            ("Location", "Location", "Latitude", "Latitude"),
            ("Place__c", "Location", "Latitude", "Place__Latitude__s"),
            ("Place__pc", "Location", "Longitude", "Place__Longitude__pc"),
            ("Depot__c", "Address", "PostalCode", "Depot__PostalCode__s"),
            ("s_c__Spot__c", "Location", "Longitude", "s_c__Spot__Longitude__s"),
        ];
        for (parent, record, member, expected) in cases {
            assert_eq!(member_name(parent, record, member), expected, "{parent}.{member}");
        }
    }

    #[test]
    fn the_annotation_decides_what_a_long_means() {
        let cases = [
            (Node::Long, "CreatedDate:DateTime", Some(Scalar::DateTime)),
            (Node::Long, "Data:DateOnly:00NDp000009RrET", Some(Scalar::Date)),
            (Node::Long, "Data:Birthday", Some(Scalar::Date)),
            (Node::Long, "Data:TimeOnly:00NDp000009RrA1", Some(Scalar::Time)),
            (Node::Long, "Data:Epoch", Some(Scalar::Long)),
            (Node::Long, "", Some(Scalar::Long)),
            (Node::Text, "Data:DateTime", Some(Scalar::Text)),
            (Node::Double, "Data:Currency", Some(Scalar::Double)),
            (Node::Bytes, "Data:Text", None),
        ];
        for (node, doc, expected) in cases {
            assert_eq!(Scalar::new(&node, doc), expected, "{node:?} {doc}");
        }
    }
}
