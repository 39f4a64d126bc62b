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
