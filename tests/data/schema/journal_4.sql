-- A journal database as schema 4 left it.
pragma foreign_keys = off;
pragma application_id = 1397967409;
pragma user_version = 4;
CREATE TABLE event (
    number integer primary key,
    topic integer not null references topic,
    replay_id blob not null,
    -- Tells apart events that were split from one and share its replay id.
    ordinal integer not null,
    event_id text not null,
    -- As the event names it; the schema itself is in `schema`.
    schema_id text not null,
    received_at integer not null,
    payload blob not null,
    redacted text
);
INSERT INTO "event" VALUES(1,1,X'01',0,'e1','s1',1700000000000,X'AA','Secret__c');
INSERT INTO "event" VALUES(2,1,X'02',0,'e2','s1',1700000000001,X'BB',NULL);
CREATE TABLE schema (
    number integer primary key,
    schema_id text not null unique,
    json text not null
);
INSERT INTO "schema" VALUES(1,'s1','{}');
CREATE TABLE topic (
    number integer primary key,
    name text not null unique
);
INSERT INTO "topic" VALUES(1,'/data/ChangeEvents');
CREATE UNIQUE INDEX event_position on event (topic, replay_id, ordinal);
-- What went through the door and in which order: one row for each transaction of the cache. What is in it is
-- written and read by the door alone; events and what the org answered are named by their numbers.
create table batch (
    number integer primary key,
    -- Milliseconds: the door's clock.
    at integer not null,
    -- The newest revision of the cache before it.
    rev integer not null,
    -- The newest event that was here by then.
    last_event integer not null,
    works text not null
);
create index batch_event on batch (last_event);

-- Whole rows as the org answered them: a page of a load or a poll, records read again. What is in them is in `body`, packed with LZ4.
create table page (
    number integer primary key,
    batch integer not null,
    -- Which of the batch's works it belongs to, from 0.
    work integer not null,
    object text not null,
    kind text not null,
    taken_at integer not null,
    -- The least and the greatest record id in it, so that a record is found without unpacking all.
    first_id text not null,
    last_id text not null,
    bytes integer not null
);
create index page_batch on page (batch, work);
create index page_record on page (object, first_id, last_id);

-- Apart, so that pages are looked through without reading what is in them.
create table body (
    page integer primary key,
    packed blob not null
);
INSERT INTO "batch" VALUES(1,1700000000000,0,0,'[{"start":{"fresh":true,"schemas":[],"found":{"org_id":"00D000000000001EAA","instance_url":"https://a.my.salesforce.com","names":["Account"],"objects":[],"channels":[]}}}]');
INSERT INTO "batch" VALUES(2,1700000000001,0,2,'[{"events":{"topic":"/data/ChangeEvents","runs":[[1,2]],"schemas":["s1"]}},{"page":{"object":"Account","run":1,"place":null}},{"rows":{"object":"Account","source":{"poll":{"read_rev":3,"watermark":null}},"rows":0}},{"forget_applied":{}},{"removal":{"object":"Account","decision":"release 3"}}]');
INSERT INTO "page" VALUES(1,2,1,'Account','load',1700000000001,'001A','001F',1);
INSERT INTO "body" VALUES(1,X'00');
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
INSERT INTO erasure VALUES('Contact','003000000000001AAA',1700000000002);
INSERT INTO mark VALUES('erased',4);
