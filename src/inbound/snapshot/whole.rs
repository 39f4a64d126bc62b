//! Whether a query job brought all rows of an object.
//!
//! A job may agree with itself on too few rows, or give a page twice and another never. So the different rows that it
//! brought are held against the org's own count, once, where it matters: of a first load, and of a load that would
//! remove rows. Rows that changed since the load began may be in the count and not among what came; the poll or the
//! stream brings them. Where more are missing, the object is read again by queries, which say how many rows they have.
//!
//! A count says what the user may see. Whether rows are hidden is not for it to say, but for [`crate::model::brake`].

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use crate::inbound::mapping::stamp_field;
use crate::inbound::prepare::Planned;
use crate::inbound::records::count;
use crate::inbound::snapshot::Stage;
use crate::model::clock::format_datetime;
use crate::salesforce::Error;
use crate::store::cache::loads;

impl Stage<'_> {
    /// The objects that are read by queries the next time.
    fn to_query(&self) -> MutexGuard<'_, HashSet<String>> {
        self.to_query.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_to_query(&self, object: &str) -> bool {
        self.to_query().contains(object)
    }

    pub(super) fn was_queried(&self, object: &str) {
        self.to_query().remove(object);
    }

    /// Fails where a job brought fewer different rows than the org has.
    pub(super) async fn hold_against_count(&self, planned: &Planned) -> anyhow::Result<()> {
        let (object, table) = (&planned.table.object, &planned.table.name);
        let came = self
            .wires
            .reader
            .with(|connection| loads::came(connection, object, table))?;
        let Some(came) = came.filter(|came| came.is_first || came.removes) else {
            return Ok(());
        };
        let missing = match self.missing(planned, &came).await {
            Ok(None) => return Ok(()),
            Ok(Some(counted)) => format!(
                "{} different rows came by Bulk, and the org counts {counted}",
                came.rows
            ),
            Err(
                refused @ Error::Refused {
                    status: 400..=499, ..
                },
            ) => format!("the org does not count its rows ({refused})"),
            Err(error) => return Err(error.into()),
        };
        self.to_query().insert(object.clone());
        anyhow::bail!("{object} was read incompletely: {missing}; it is read by queries next");
    }

    /// The org's count, where what came is less and what changed since is not the reason.
    async fn missing(&self, planned: &Planned, came: &loads::Came) -> Result<Option<u64>, Error> {
        let counted = count(&self.wires.org, planned, &[]).await?;
        if counted <= came.rows {
            return Ok(None);
        }
        let changed = match (stamp_field(&planned.table), came.since) {
            (Some(stamp), Some(since)) => {
                let condition = format!("{stamp} >= {}", format_datetime(since));
                count(&self.wires.org, planned, &[&condition]).await?
            }
            _ => 0,
        };
        Ok(Some(counted).filter(|_| counted > came.rows + changed))
    }
}
