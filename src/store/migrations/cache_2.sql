-- The ledger: what has to be done again, each entry one piece of work, kept with what was found.
--   record: a record is read again by id.        reload: the object is read again as a whole.
--   catch_up: what changed since `since` is read. verify: the object is compared with the org.
--   parked: an event that could not be decoded, whose bytes are in the journal.
alter table _repair add column kind text not null default 'record'
    check (kind in ('record', 'reload', 'catch_up', 'verify', 'parked'));
-- Milliseconds: all that changed in the org before it is here.
alter table _repair add column since integer;
alter table _repair add column attempts integer not null default 0;
-- Why the last attempt failed.
alter table _repair add column error text;
update _repair set kind = 'parked' where record_id is null;
create unique index _repair_open_object on _repair (object, kind)
    where closed_at is null and kind in ('reload', 'catch_up', 'verify');

-- A load under way, so that a process that was killed goes on where it was. Written with each page.
create table _load (
    object text primary key,
    -- Tells this load's pages from those of one that was given up.
    run integer not null,
    -- Rows with a newer revision were touched since the load began.
    start_rev integer not null,
    fresh integer not null check (fresh in (0, 1)),
    -- The newest entry of the ledger when the load began: it answers those up to it.
    ledger integer not null,
    begun_at integer not null,
    -- The org's query job, and where its next page begins.
    job text,
    locator text,
    rows integer not null default 0,
    -- Rows that the job found.
    total integer
) without rowid;

-- Ids that a load of a table with rows has seen; the others are removed at its end.
create table _seen (
    run integer not null,
    id text not null,
    primary key (run, id)
) without rowid;

-- The fields that are mirrored. A field that the org no longer shows keeps its column and what is in it.
create table _field (
    object text not null,
    field text not null,
    kind text not null,
    -- Milliseconds: when the org stopped showing it, deleted and hidden being the same to see.
    missing_since integer,
    primary key (object, field)
) without rowid;

-- What stands in the way of a channel, in a sentence; a row only where something does.
create table _channel (
    topic text primary key,
    problem text not null,
    since integer not null
) without rowid;

-- What stands in the way of an object, in a sentence.
alter table _object add column problem text;
-- When it was last compared with the org, and how many rows differed.
alter table _object add column verified_at integer;
alter table _object add column drift integer;

-- Milliseconds: the time that the position stands for; one of more than 72 hours ago is lost.
alter table _cursor add column position_at integer;
