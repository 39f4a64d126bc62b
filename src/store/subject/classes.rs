//! What each column of each file may hold of a person, and whether an erasure takes it.
//!
//! A test compares the list with the tables as the migrations make them: a new column has to be decided about. One that
//! is not listed, as in a file of an older version, is looked through like one that holds values.

use crate::store::{cache, journal, outbox};

/// What a column may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Numbers, states, names of objects and fields, positions: nothing of a person, and looked through all the same.
    Nothing,
    /// Ids of records, which stay when what was told of the record is erased; why.
    Id(&'static str),
    /// The key of a write, which stays when what it held is erased; why.
    Key(&'static str),
    /// Values and ids that an erasure takes.
    Values,
    /// A page of rows, packed.
    Packed,
    /// An event's bytes.
    Event,
    /// Digests: nobody is found in them without what they were made with.
    Hash,
}

use Holds::{Event, Hash, Id, Key, Nothing, Packed, Values};

const FEED: &str = "the change feed tells readers which record changed or went";
const LEDGER: &str = "the ledger keeps which records were read again, and why";
const LOAD: &str = "a load that is under way has seen the record";
const BATCH: &str = "the journal notes which records were applied, for a replay";
const RANGE: &str = "a page of rows names the first and the last record in it";
const OUTCOME: &str = "a finished write keeps its outcome, so that what is sent twice is one write";
const KEPT_KEY: &str = "a finished write keeps its key, so that what is sent twice is one write";
const INDEX: &str = "the index names the events of a record; the file may be deleted at any time";

type Columns = &'static [(&'static str, Holds)];

const CACHE: &[(&str, Columns)] = &[
    ("_meta", &[("key", Nothing), ("value", Nothing)]),
    (
        "_object",
        &[
            ("object", Nothing),
            ("table_name", Nothing),
            ("state", Nothing),
            ("streamed", Nothing),
            ("watermark", Nothing),
            ("rows", Nothing),
            ("loaded_at", Nothing),
            ("problem", Values),
            ("verified_at", Nothing),
            ("drift", Nothing),
            ("last_event_at", Nothing),
            ("planned", Nothing),
            ("place", Nothing),
            ("read_at", Nothing),
            ("catching_up", Nothing),
        ],
    ),
    (
        "_cursor",
        &[
            ("topic", Nothing),
            ("resume_after", Nothing),
            ("last_seen", Nothing),
            ("committed_at", Nothing),
            ("heard_at", Nothing),
            ("position_at", Nothing),
        ],
    ),
    (
        "_change",
        &[
            ("rev", Nothing),
            ("object", Nothing),
            ("record_id", Id(FEED)),
            ("kind", Nothing),
        ],
    ),
    ("_applied_event", &[("batch", Nothing), ("keys", Hash)]),
    (
        "_repair",
        &[
            ("number", Nothing),
            ("object", Nothing),
            ("record_id", Id(LEDGER)),
            ("reason", Values),
            ("detail", Values),
            ("opened_at", Nothing),
            ("closed_at", Nothing),
            ("found", Values),
            ("kind", Nothing),
            ("since", Nothing),
            ("attempts", Nothing),
            ("error", Values),
        ],
    ),
    (
        "_load",
        &[
            ("object", Nothing),
            ("run", Nothing),
            ("start_rev", Nothing),
            ("fresh", Nothing),
            ("ledger", Nothing),
            ("begun_at", Nothing),
            ("job", Nothing),
            ("locator", Id(LOAD)),
            ("rows", Nothing),
            ("total", Nothing),
            ("asked_wall", Nothing),
            ("asked_boot", Nothing),
            ("asked_boot_id", Nothing),
            ("again", Nothing),
        ],
    ),
    (
        "_schema",
        &[("number", Nothing), ("schema_id", Nothing), ("json", Nothing)],
    ),
    ("_seen", &[("run", Nothing), ("id", Id(LOAD))]),
    (
        "_field",
        &[
            ("object", Nothing),
            ("field", Nothing),
            ("kind", Nothing),
            ("missing_since", Nothing),
        ],
    ),
    (
        "_channel",
        &[("topic", Nothing), ("problem", Values), ("since", Nothing)],
    ),
    (
        "_store_product",
        &[
            ("store_id", Nothing),
            ("product_id", Nothing),
            ("category_id", Nothing),
            ("position", Nothing),
            ("master_id", Nothing),
        ],
    ),
    ("_store_dirty", &[("product_id", Nothing)]),
    (
        "_departed",
        &[
            ("rev", Nothing),
            ("object", Nothing),
            ("record_id", Id(FEED)),
            ("first", Id(FEED)),
            ("second", Id(FEED)),
        ],
    ),
    (
        "_book_store",
        &[
            ("id", Nothing),
            ("name", Nothing),
            ("code", Nothing),
            ("domain", Nothing),
            ("path", Nothing),
            ("currency", Nothing),
            ("locale", Nothing),
            ("timezone", Nothing),
        ],
    ),
    ("_gap", &[("object", Nothing), ("field", Nothing)]),
    (
        "_asked",
        &[("object", Nothing), ("record_id", Id(LEDGER)), ("reason", Values)],
    ),
    (
        "_proof",
        &[
            ("object", Nothing),
            ("wall", Nothing),
            ("boot", Nothing),
            ("boot_id", Nothing),
            ("complete", Nothing),
        ],
    ),
    (
        "_absence",
        &[
            ("object", Nothing),
            ("hour_began", Nothing),
            ("left_rows", Nothing),
            ("released", Nothing),
            ("waiting", Nothing),
            ("waiting_of", Nothing),
            ("reason", Values),
            ("since", Nothing),
        ],
    ),
];

const JOURNAL: &[(&str, Columns)] = &[
    ("topic", &[("number", Nothing), ("name", Nothing)]),
    (
        "schema",
        &[("number", Nothing), ("schema_id", Nothing), ("json", Nothing)],
    ),
    (
        "event",
        &[
            ("number", Nothing),
            ("topic", Nothing),
            ("replay_id", Nothing),
            ("ordinal", Nothing),
            ("event_id", Nothing),
            ("schema_id", Nothing),
            ("received_at", Nothing),
            ("payload", Event),
            ("redacted", Nothing),
        ],
    ),
    (
        "batch",
        &[
            ("number", Nothing),
            ("at", Nothing),
            ("rev", Nothing),
            ("last_event", Nothing),
        ],
    ),
    (
        "command",
        &[
            ("batch", Nothing),
            ("place", Nothing),
            ("kind", Nothing),
            ("version", Nothing),
            ("body", Id(BATCH)),
        ],
    ),
    (
        "page",
        &[
            ("number", Nothing),
            ("batch", Nothing),
            ("command", Nothing),
            ("object", Nothing),
            ("kind", Nothing),
            ("taken_at", Nothing),
            ("first_id", Id(RANGE)),
            ("last_id", Id(RANGE)),
            ("bytes", Nothing),
        ],
    ),
    ("body", &[("page", Nothing), ("packed", Packed)]),
    // What waits to be erased is held still.
    (
        "erasure",
        &[("object", Nothing), ("record_id", Values), ("asked_at", Nothing)],
    ),
    (
        "erasing",
        &[
            ("object", Nothing),
            ("record_ids", Values),
            ("key", Hash),
            ("last_batch", Nothing),
            ("last_event", Nothing),
            ("next_event", Nothing),
            ("next_page", Nothing),
        ],
    ),
    ("mark", &[("name", Nothing), ("value", Nothing)]),
];

const OUTBOX: &[(&str, Columns)] = &[
    (
        "writes",
        &[
            ("sequence", Nothing),
            ("kind", Nothing),
            ("external_id", Key(KEPT_KEY)),
            ("idempotency_key", Key(KEPT_KEY)),
            ("body_hash", Hash),
            ("store_id", Nothing),
            ("lane", Values),
            ("behind", Nothing),
            ("priority", Nothing),
            ("parent", Nothing),
            ("customer", Values),
            ("state", Nothing),
            ("attempt", Nothing),
            ("failures", Nothing),
            ("due_at", Nothing),
            ("read_back", Nothing),
            ("salesforce_id", Id(OUTCOME)),
            ("error_code", Nothing),
            ("error_message", Values),
            ("accepted_at", Nothing),
            ("updated_at", Nothing),
            ("email", Values),
            ("forget", Nothing),
            ("emptied_at", Nothing),
            ("is_open", Nothing),
            ("unanswered_at", Nothing),
            ("org_key", Key(KEPT_KEY)),
            ("version", Nothing),
            ("not_written", Values),
        ],
    ),
    (
        "attempts",
        &[
            ("write_sequence", Nothing),
            ("attempt", Nothing),
            ("began_at", Nothing),
            ("ended_at", Nothing),
            ("state", Nothing),
            ("error_code", Nothing),
            ("error_message", Values),
        ],
    ),
    (
        "bodies",
        &[
            ("write_sequence", Nothing),
            ("body", Values),
            ("checksum", Nothing),
        ],
    ),
    (
        "exchanges",
        &[
            ("write_sequence", Nothing),
            ("attempt", Nothing),
            ("request", Values),
            ("response", Values),
        ],
    ),
    ("persons", &[("record_id", Values), ("write_sequence", Nothing)]),
    (
        "survivors",
        &[("object", Nothing), ("key", Values), ("record_id", Values)],
    ),
    (
        "holds",
        &[
            ("write_sequence", Nothing),
            ("product_id", Nothing),
            ("hundredths", Nothing),
        ],
    ),
    ("held", &[("product_id", Nothing), ("hundredths", Nothing)]),
    ("versions", &[("last", Nothing)]),
    ("identity", &[("id", Nothing)]),
    (
        "audit",
        &[
            ("seq", Nothing),
            ("at", Nothing),
            ("instance", Nothing),
            ("actor", Values),
            ("on_behalf_of", Hash),
            ("deed", Nothing),
            ("about", Values),
            ("person", Hash),
            ("person_key", Hash),
            ("detail_hash", Hash),
            ("hash", Hash),
        ],
    ),
    (
        "audit_names",
        &[("seq", Nothing), ("salt", Hash), ("name", Values)],
    ),
    (
        "audit_removed",
        &[("seq", Nothing), ("at", Nothing), ("hash", Hash)],
    ),
    (
        "audit_details",
        &[("seq", Nothing), ("salt", Hash), ("detail", Values)],
    ),
    ("audit_key", &[("key", Hash)]),
];

const EVENTS: &[(&str, Columns)] = &[
    ("touched", &[("record", Id(INDEX)), ("event", Nothing)]),
    ("reached", &[("number", Nothing), ("event_id", Nothing)]),
];

/// The tables of a kind of file, by its name, as this version has them.
fn tables(file: &str) -> &'static [(&'static str, Columns)] {
    match file {
        name if name == cache::KIND.file_name => CACHE,
        name if name == journal::KIND.file_name => JOURNAL,
        name if name == outbox::KIND.file_name => OUTBOX,
        name if name == journal::index::KIND.file_name => EVENTS,
        _ => &[],
    }
}

/// Whether a table of a kind of file has the rows of an object of the org.
pub fn is_mirrored(file: &str, table: &str) -> bool {
    file == cache::KIND.file_name && !table.starts_with('_')
}

/// What a column of a kind of file holds; `None` where nobody has decided. Columns of mirrored objects hold what the org does.
pub fn class(file: &str, table: &str, column: &str) -> Option<Holds> {
    if is_mirrored(file, table) {
        return Some(Values);
    }
    let (_, columns) = tables(file).iter().find(|(name, _)| *name == table)?;
    let found = columns.iter().find(|(name, _)| *name == column);
    found.map(|(_, holds)| *holds)
}

/// Every column that is listed for a kind of file: table and column.
pub fn listed(file: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let tables = tables(file).iter();
    tables.flat_map(|(table, columns)| columns.iter().map(move |(column, _)| (*table, *column)))
}
