//! How a transaction is made and told.
//!
//! What users and integrations do stamps the rows and makes change events. What the platform's insides do may
//! not: geocoding stamps SystemModstamp alone, database jobs are told by gap events, a hard delete and some setup
//! changes by nothing at all.

use serde::Deserialize;

use super::super::value::Value;

/// How a transaction's changes are told to subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    #[default]
    Events,
    /// That records changed, and not how.
    Gaps,
    /// That an object's records changed, and not which.
    Overflow,
    /// That a field of all records of an object changed.
    Wildcard,
    Silently,
}

/// What a transaction's writes do to the stamps of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stamps {
    #[default]
    All,
    /// SystemModstamp alone.
    System,
    None,
}

/// Both, and whether the platform itself is at work: then events name no origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    pub told: Told,
    pub stamps: Stamps,
    pub internal: bool,
}

/// The stamps of one write.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub which: Stamps,
    pub now: Value,
    pub user: Value,
}
