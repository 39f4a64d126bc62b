-- The number of a write, by which the org tells an older change from a later one. It grows in the order in which writes of
-- a lane are to be sent. Of a write that was finished before there were numbers it is 0.
alter table writes add column version integer not null default 0;

-- The highest number that was given.
create table versions (
    last integer not null
) strict;
insert into versions (last) select coalesce(max(accepted_at), 0) from writes;

update writes
set version = (select last from versions) - (select max(sequence) from writes) + sequence
where is_open = 1;
