-- All that the apply stage decides by: it can be made from this file at any commit, and decides as one that ran on.

-- What is mirrored and by which rules, as the apply stage wrote it in JSON, and in which order; null where it is not
-- mirrored now.
alter table _object add column planned text;
alter table _object add column place integer;
-- Milliseconds: the org's time before the newest read of the whole object began.
alter table _object add column read_at integer;
-- Rows that differed so far, while what changed during a lost position is read again; null where nothing is.
alter table _object add column catching_up integer;
update _object set read_at = watermark;
update _object set catching_up = 0 where object in
    (select object from _repair where kind = 'catch_up' and closed_at is null);

-- Another load has to follow this one.
alter table _load add column again integer not null default 0 check (again in (0, 1));

-- How many loads have begun.
insert into _meta select 'loads', coalesce(max(run), 0) from _load;

-- The schemas that events name.
create table _schema (
    number integer primary key,
    schema_id text not null unique,
    json text not null
);
