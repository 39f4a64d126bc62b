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
