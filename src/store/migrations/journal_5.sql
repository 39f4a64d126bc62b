-- What the apply stage was given, one row for each command: its kind and the form of its body can be asked for, and a
-- body of a form that is not known is refused. Before, a batch held all of them in one text.
create table command (
    batch integer not null,
    -- Its place in the batch, from 0.
    place integer not null,
    kind text not null,
    version integer not null,
    -- JSON, without the events and the rows that are kept apart.
    body text not null,
    primary key (batch, place)
) without rowid;
create index command_of_kind on command (kind, batch) where kind in ('start', 'changed');

insert into command (batch, place, kind, version, body)
select batch.number, work.key, kept.key, 1, kept.value
from batch, json_each(batch.works) as work, json_each(work.value) as kept;

alter table batch drop column works;
alter table page rename column work to command;
