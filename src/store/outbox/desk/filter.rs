//! Which writes are meant.

use std::collections::BTreeSet;

use rusqlite::{Connection, named_params};

use crate::model::clock::{Millis, format_datetime};
use crate::model::state::WriteState;
use crate::model::write::Kind;
use crate::store::outbox::audit::Line;
use crate::store::outbox::desk::PAGE_MAX;
use crate::store::outbox::read::{VIEW, View, view};

/// All that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub kind: Option<Kind>,
    pub state: Option<WriteState>,
    /// The code of the last problem.
    pub code: Option<String>,
    pub store_id: Option<String>,
    /// Ids; `None` for all stores.
    pub stores: Option<BTreeSet<String>>,
    /// The customer's key.
    pub customer: Option<String>,
    /// Part of the key, of the problem's sentence or of what is kept.
    pub text: Option<String>,
    /// Accepted at this time or later, and before that one.
    pub since: Option<Millis>,
    pub until: Option<Millis>,
}

impl Filter {
    /// What the audit has of an export of all that the filter takes.
    pub fn export(&self, actor: impl Into<String>) -> Line {
        let line = Line {
            person: self.customer.clone(),
            ..Line::new(actor, "export")
        };
        let stores = self.stores.as_ref();
        line.about("what", Some("orders"))
            .about("kind", self.kind.map(Kind::name))
            .about("state", self.state.map(WriteState::name))
            .about("code", self.code.as_deref())
            .about("store", self.store_id.as_deref())
            .about("stores", stores.map(|stores| Vec::from_iter(stores.clone())))
            // What was looked for may be of a person.
            .about("by_text", self.text.as_ref().map(|_| true))
            .about("since", self.since.map(format_datetime))
            .about("until", self.until.map(format_datetime))
    }
}

/// The conditions, for the table `w`.
pub(super) const CONDITIONS: &str =
    "(:kind is null or w.kind = :kind) and (:state is null or w.state = :state)
    and (:code is null or w.error_code = :code) and (:store is null or w.store_id = :store)
    and (:stores is null or w.store_id in (select value from json_each(:stores)))
    and (:customer is null or w.customer = :customer)
    and (:text is null or instr(lower(w.external_id), :text) > 0
        or instr(lower(w.org_key), :text) > 0 or instr(lower(w.error_message), :text) > 0
        or exists (select 1 from bodies b where b.write_sequence = w.sequence and instr(lower(b.body), :text) > 0))
    and (:since is null or w.accepted_at >= :since) and (:until is null or w.accepted_at < :until)";

pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    after: i64,
    most: u32,
) -> rusqlite::Result<Vec<View>> {
    let stores = filter.stores.as_ref();
    let stores = stores.map(|stores| serde_json::Value::from_iter(stores.clone()).to_string());
    connection
        .prepare_cached(&format!(
            "select {VIEW} from writes w where w.sequence > :after and {CONDITIONS} order by w.sequence limit :most"
        ))?
        .query_map(
            named_params! {
                ":kind": filter.kind.map(Kind::name),
                ":state": filter.state.map(WriteState::name),
                ":code": filter.code,
                ":store": filter.store_id,
                ":stores": stores,
                ":customer": filter.customer,
                ":text": filter.text.as_deref().map(str::to_lowercase),
                ":since": filter.since,
                ":until": filter.until,
                ":after": after,
                ":most": most.min(PAGE_MAX),
            },
            view,
        )?
        .collect()
}
