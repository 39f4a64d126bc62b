-- What writes hold in tables of its own, so that it can be dropped and its pages used again, and a change of a state
-- does not write all of it anew; of whom it is; a customer's open orders without a walk through all.
create table bodies (
    write_sequence integer primary key references writes (sequence),
    body text not null
) strict;

insert into bodies (write_sequence, body) select sequence, body from writes;

-- What was asked of the org in an attempt and what it answered, each cut to a size.
create table exchanges (
    write_sequence integer not null references writes (sequence),
    attempt integer not null check (attempt > 0),
    request text,
    response text,
    primary key (write_sequence, attempt)
) strict;

insert into exchanges (write_sequence, attempt, request, response)
select write_sequence, attempt, request, response from attempts
where request is not null or response is not null
order by write_sequence, attempt;

alter table writes add column email text collate nocase;
-- 1: the person was deleted in the org before the write was finished; it is erased as soon as it is.
alter table writes add column forget integer not null default 0 check (forget in (0, 1));
-- When what it held was dropped; the key, the fingerprint and the outcome stay.
alter table writes add column emptied_at integer;
update writes set email = body ->> '$.customer.email' where kind = 'order';
alter table writes drop column body;
alter table attempts drop column request;
alter table attempts drop column response;

-- The persons of the org that a write is about: records of Account, Contact and Lead.
create table persons (
    record_id text not null,
    write_sequence integer not null references writes (sequence),
    primary key (record_id, write_sequence)
) strict, without rowid;

create index persons_write on persons (write_sequence);
create index writes_kept on writes (updated_at)
    where emptied_at is null and state in ('confirmed', 'discarded');
create index writes_forget on writes (sequence) where forget = 1;
create index writes_email on writes (email, sequence) where email is not null;
