create table topic (
    number integer primary key,
    name text not null unique
);

create table schema (
    number integer primary key,
    schema_id text not null unique,
    json text not null
);

create table event (
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
create unique index event_position on event (topic, replay_id, ordinal);
