//! Rows of the read model: which columns a mirrored object has, and what a column may hold.
//!
//! A table is named as its object in lower case, a column as its field in lower case; the primary key is
//! `id` (18 characters). System columns begin with an underscore and are listed in [`SYSTEM_COLUMNS`].

use serde::{Deserialize, Serialize};

use crate::model::clock::{Millis, format_date, format_datetime, format_time};
use crate::model::text::Text;

/// Columns that every mirrored table has besides its fields.
///
/// `_rev`: local revision, grows with each change anywhere. `_modified`: the org's newest stamp known of the
/// row (ISO 8601). `_base`: milliseconds of `SystemModstamp` when the whole row was last read; events
/// committed before it are already part of the row.
pub const SYSTEM_COLUMNS: [&str; 3] = ["_rev", "_modified", "_base"];

/// How a field's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    Text,
    /// 0 or 1.
    Boolean,
    Integer,
    /// Currency, percent and double, as Salesforce sends them.
    Real,
    /// `2026-11-22`
    Date,
    /// `2026-11-22T09:30:00.000Z`
    DateTime,
    /// `09:30:00.000Z`
    Time,
}

/// One mirrored field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// As describe names it: `BillingCity`.
    pub field: String,
    /// As SQL names it: `billingcity`.
    pub name: String,
    pub kind: ColumnKind,
}

/// One mirrored object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// As describe names it: `Product2`.
    pub object: String,
    /// As SQL names it: `product2`.
    pub name: String,
    /// Without `id` and the system columns.
    pub columns: Vec<Column>,
}

impl Table {
    /// Position of a field's column, by describe's name, whatever its case.
    pub fn position(&self, field: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.field.eq_ignore_ascii_case(field))
    }
}

/// A value on its way to a column, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Text<'a>),
    /// Milliseconds since 1970.
    DateTime(Millis),
    /// Milliseconds since 1970 at midnight UTC.
    Date(Millis),
    /// Milliseconds since midnight.
    Time(i64),
}

impl Value<'_> {
    /// The text that dates and times are stored as; `None` for values that are stored as they are.
    pub fn formatted(&self) -> Option<String> {
        match *self {
            Self::DateTime(millis) => Some(format_datetime(millis)),
            Self::Date(millis) => Some(format_date(millis)),
            Self::Time(millis) => Some(format_time(millis)),
            Self::Null | Self::Integer(_) | Self::Real(_) | Self::Text(_) => None,
        }
    }
}

/// An identifier quoted for SQL. Describe's names are letters, digits and underscores, but nothing that a
/// server sends is trusted to be.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
