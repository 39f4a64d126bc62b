-- A journal database as schema 1 left it.
pragma foreign_keys = off;
pragma application_id = 1397967409;
pragma user_version = 1;
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
    payload blob not null
);
INSERT INTO "event" VALUES(1,1,X'01',0,'e1','s1',1700000000000,X'AA');
INSERT INTO "event" VALUES(2,1,X'02',0,'e2','s1',1700000000001,X'BB');
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
