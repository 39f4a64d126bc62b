//! What of an org can be set while it runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::clock::Millis;
use super::super::pubsub::kept::Kept;
use super::super::schema::change::Permissions;
use super::rules::Rules;

/// The entities that an org without an add-on can select.
pub const ENTITIES_MAX: usize = 5;
/// Changed fields of one transaction that are told one by one.
pub const OVERFLOW_AFTER: usize = 100_000;

/// What is published, and of what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Objects selected for change data capture, by position.
    pub selected: BTreeSet<usize>,
    /// How many may be.
    pub entities_max: usize,
    /// Whether records that changed alike in one transaction share an event.
    pub merge: bool,
    /// Changed fields of one transaction after which an object's changes are told by one overflow event.
    pub overflow_after: usize,
    pub rules: Rules,
    /// By the id of a user and the name of an object.
    pub permissions: BTreeMap<String, BTreeMap<String, Permissions>>,
    /// The record types that users may use, by object and developer name, the default first.
    #[serde(default)]
    pub record_types: BTreeMap<String, Vec<String>>,
    /// When a transaction began that is under way, of somebody else.
    #[serde(default)]
    pub open_since: Option<Millis>,
    /// Whether the lists of what changed are refused.
    #[serde(default)]
    pub lists_refused: bool,
    /// What the Pub/Sub side keeps.
    #[serde(default)]
    pub pubsub: Kept,
}

impl Settings {
    pub fn new(selected: BTreeSet<usize>) -> Self {
        Self {
            entities_max: selected.len().max(ENTITIES_MAX),
            selected,
            merge: true,
            overflow_after: OVERFLOW_AFTER,
            rules: Rules::default(),
            permissions: BTreeMap::new(),
            record_types: BTreeMap::new(),
            open_since: None,
            lists_refused: false,
            pubsub: Kept::default(),
        }
    }
}
