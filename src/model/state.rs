//! The states that a write can be in, by the names that the database and the interface use.

use std::fmt;

use serde::{Serialize, Serializer};

/// Where a write is; what each state carries is in [`crate::model::order::OrderState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WriteState {
    Queued,
    Sending,
    Waiting,
    Sent,
    Confirmed,
    NeedsAttention,
    Discarded,
}

impl WriteState {
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Sending,
        Self::Waiting,
        Self::Sent,
        Self::Confirmed,
        Self::NeedsAttention,
        Self::Discarded,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Confirmed => "confirmed",
            Self::NeedsAttention => "needs_attention",
            Self::Discarded => "discarded",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The write is still to be sent.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Queued | Self::Sending | Self::Waiting)
    }

    /// A person may have the write tried now.
    pub fn may_be_retried(self) -> bool {
        matches!(self, Self::NeedsAttention | Self::Waiting)
    }

    /// A person may change the write or give it up.
    pub fn may_be_changed(self) -> bool {
        matches!(self, Self::NeedsAttention | Self::Waiting | Self::Queued)
    }
}

impl fmt::Display for WriteState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for WriteState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_name_of_its_own() {
        for state in WriteState::ALL {
            assert_eq!(WriteState::from_name(state.name()), Some(state));
        }
        assert_eq!(WriteState::from_name("queued "), None);
    }
}
