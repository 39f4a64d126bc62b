-- Facts about the whole file: org_id, rev.
create table _meta (
    key text primary key,
    value
) without rowid;

-- One row per mirrored object.
create table _object (
    object text primary key,
    table_name text not null unique,
    -- waiting: never loaded; loading: first load begun; live: complete; reload: complete once, to be read again.
    state text not null check (state in ('waiting', 'loading', 'live', 'reload')),
    streamed integer not null check (streamed in (0, 1)),
    -- Milliseconds: rows changed in the org before it are here. Used for objects that are polled.
    watermark integer,
    rows integer not null default 0,
    loaded_at integer
) without rowid;

-- Where each subscription goes on. Moves in the transaction that writes the rows.
create table _cursor (
    topic text primary key,
    -- The newest position known to be complete: what a new subscription starts after.
    resume_after blob not null,
    -- The newest position seen. Events split from one share their replay id, so more may follow under it.
    last_seen blob not null,
    -- Milliseconds: commit of the newest event applied.
    committed_at integer,
    -- Milliseconds: when the org last said anything on this topic.
    heard_at integer not null
) without rowid;

-- The change feed. A null record means the whole object.
create table _change (
    rev integer primary key,
    object text not null,
    record_id text,
    -- Compared one by one: for a list of so many, SQLite would fill a table of its own at every insert.
    kind text not null check (kind = 'created' or kind = 'updated' or kind = 'deleted' or kind = 'loaded'),
    check ((record_id is null) = (kind = 'loaded'))
);

-- 16 bytes for each event applied, one row per transaction, oldest pruned.
create table _applied_event (
    batch integer primary key,
    keys blob not null
);

-- What has to be read again, and what was found when it was. History is kept.
create table _repair (
    number integer primary key,
    object text not null,
    record_id text,
    reason text not null,
    detail text,
    opened_at integer not null,
    closed_at integer,
    found text,
    check ((closed_at is null) = (found is null))
);
create unique index _repair_open on _repair (object, record_id) where closed_at is null and record_id is not null;
create index _repair_todo on _repair (number) where closed_at is null;
