-- A cache database as schema 4 left it.
pragma foreign_keys = off;
pragma application_id = 1397965617;
pragma user_version = 7;
CREATE TABLE _applied_event (
    batch integer primary key,
    keys blob not null
);
CREATE TABLE _change (
    rev integer primary key,
    object text not null,
    record_id text,
    -- Compared one by one: for a list of so many, SQLite would fill a table of its own at every insert.
    kind text not null check (kind = 'created' or kind = 'updated' or kind = 'deleted' or kind = 'loaded'),
    check ((record_id is null) = (kind = 'loaded'))
);
INSERT INTO _change VALUES(1,'Product2','01t000000000001AAA','created');
CREATE TABLE _channel (
    topic text primary key,
    problem text not null,
    since integer not null
) without rowid;
CREATE TABLE _cursor (
    topic text primary key,
    -- The newest position known to be complete: what a new subscription starts after.
    resume_after blob not null,
    -- The newest position seen. Events split from one share their replay id, so more may follow under it.
    last_seen blob not null,
    -- Milliseconds: commit of the newest event applied.
    committed_at integer,
    -- Milliseconds: when the org last said anything on this topic.
    heard_at integer not null
, position_at integer) without rowid;
INSERT INTO _cursor VALUES('/data/ChangeEvents',X'01',X'01',1700000000000,1700000000000,1700000000000);
CREATE TABLE _field (
    object text not null,
    field text not null,
    kind text not null,
    -- Milliseconds: when the org stopped showing it, deleted and hidden being the same to see.
    missing_since integer,
    primary key (object, field)
) without rowid;
INSERT INTO _field VALUES('Product2','Name','text',NULL);
CREATE TABLE _load (
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
CREATE TABLE _meta (
    key text primary key,
    value
) without rowid;
INSERT INTO _meta VALUES('org_id','00D000000000001EAA');
INSERT INTO _meta VALUES('rev',2);
CREATE TABLE _object (
    object text primary key,
    table_name text not null unique,
    -- waiting: never loaded; loading: first load begun; live: complete; reload: complete once, to be read again.
    state text not null check (state in ('waiting', 'loading', 'live', 'reload')),
    streamed integer not null check (streamed in (0, 1)),
    -- Milliseconds: rows changed in the org before it are here. Used for objects that are polled.
    watermark integer,
    rows integer not null default 0,
    loaded_at integer
, problem text, verified_at integer, drift integer, last_event_at integer) without rowid;
INSERT INTO _object VALUES('Product2','product2','live',1,NULL,1,NULL,NULL,NULL,NULL,1700000000000);
CREATE TABLE _repair (
    number integer primary key,
    object text not null,
    record_id text,
    reason text not null,
    detail text,
    opened_at integer not null,
    closed_at integer,
    found text, kind text not null default 'record'
    check (kind in ('record', 'reload', 'catch_up', 'verify', 'parked')), since integer, attempts integer not null default 0, error text,
    check ((closed_at is null) = (found is null))
);
INSERT INTO _repair VALUES(1,'Product2','01t000000000001AAA','gap: updated',NULL,1700000000000,NULL,NULL,'record',NULL,0,NULL);
CREATE TABLE _seen (
    run integer not null,
    id text not null,
    primary key (run, id)
) without rowid;
CREATE TABLE product2 (id text primary key, name text, _rev integer not null, _modified integer not null, _stamp integer) without rowid;
INSERT INTO product2 VALUES('01t000000000001AAA','Teapot',1,1700000000000,NULL);
CREATE TABLE _store_product (
    store_id text not null,
    product_id text not null,
    category_id text,
    position real,
    -- The product that leads to it, for a variant without a category of its own.
    master_id text,
    primary key (store_id, product_id)
) without rowid;
CREATE TABLE _store_dirty (product_id text primary key) without rowid;
CREATE TABLE _departed (
    rev integer not null,
    object text not null,
    record_id text not null,
    first text,
    second text,
    primary key (object, record_id, rev)
) without rowid;
CREATE TABLE _book_store (
    id text primary key,
    name text not null,
    code text not null,
    domain text,
    path text,
    currency text,
    locale text,
    timezone text
) without rowid;
CREATE TABLE _gap (object text not null, field text);
CREATE UNIQUE INDEX _repair_open on _repair (object, record_id) where closed_at is null and record_id is not null;
CREATE INDEX _repair_todo on _repair (number) where closed_at is null;
CREATE UNIQUE INDEX _repair_open_object on _repair (object, kind)
    where closed_at is null and kind in ('reload', 'catch_up', 'verify');
CREATE INDEX _store_product_by_product on _store_product (product_id);
CREATE INDEX _departed_by_rev on _departed (rev);
CREATE TABLE _asked (
    object text not null,
    record_id text not null,
    reason text not null,
    primary key (object, record_id)
) without rowid;
-- Of which instant it is proved, of each object, that all the org had committed before it is here. By this machine's
-- clocks, never the org's; moves in the transaction that makes it true.
create table _proof (
    object text primary key,
    -- Milliseconds of the wall clock, and since the machine was started, and which start that was.
    wall integer not null,
    boot integer not null,
    boot_id text not null,
    -- A first load ended, and what changed while it ran was read.
    complete integer not null check (complete in (0, 1))
) without rowid;
insert into _proof
    select object, coalesce(case streamed when 1 then (select min(heard_at) from _cursor) else watermark end, loaded_at, 0),
        0, '', 1
    from _object where state in ('live', 'reload');

-- When a load's first request was made.
alter table _load add column asked_wall integer;
alter table _load add column asked_boot integer;
alter table _load add column asked_boot_id text;
-- Rows that left an object because a read did not find them, and the removal that waits for a person.
create table _absence (
    object text primary key,
    -- When the hour began in which so many rows left.
    hour_began integer not null,
    left_rows integer not null,
    -- Rows that a person released, for the next read of the whole object.
    released integer not null default 0,
    -- The removal that waits: so many rows of so many, why, and since when.
    waiting integer,
    waiting_of integer,
    reason text,
    since integer,
    check ((waiting is null) = (since is null))
) without rowid;
