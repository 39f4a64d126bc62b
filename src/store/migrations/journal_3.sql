-- Persons whose values are to go, because the cache holds them no more; see `inbound::forget`.
create table erasure (
    object text not null,
    record_id text not null,
    asked_at integer not null,
    primary key (object, record_id)
) without rowid;

-- The records that are being erased: at most one row, so that a process that was killed goes on where it was.
create table erasing (
    object text not null,
    -- A list in JSON.
    record_ids text not null,
    -- What stand-ins are made with; gone with this row, so that nothing leads back.
    key blob not null,
    -- Nothing that is newer is touched: the records may be back by then.
    last_batch integer not null,
    last_event integer not null,
    -- 0 until the texts that came as differences are done, which is first.
    next_event integer not null default 0,
    next_page integer not null default 0
);

-- How far things have got: erased_rev, erased_event (looked at), erased (records), pruned_batch, pruned_event, pruned_at.
create table mark (
    name text primary key,
    value integer not null
) without rowid;
