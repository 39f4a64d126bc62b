create table touched (
    -- 18 characters.
    record text not null,
    -- Its number in the journal.
    event integer not null,
    primary key (record, event)
) without rowid;

create table reached (
    number integer not null,
    event_id text not null
);
