-- What operators did and read. Each entry is chained to the one before by its hash, so that it is never changed and never
-- removed; what may be of a person is therefore kept apart and can be erased: the entry has a hash of it.
alter table audit rename to audit_before;
drop index audit_write;

create table audit (
    seq integer primary key,
    at integer not null,
    -- The identity of the outbox.
    instance text not null,
    actor text not null,
    on_behalf_of text,
    deed text not null,
    -- What it was done to, as a JSON object; nothing of a person.
    about text not null check (json_valid(about)),
    -- HMAC-SHA-256 of the person's key or id, by the key below.
    person blob,
    -- SHA-256 of salt and detail.
    detail_hash blob,
    hash blob not null check (length(hash) = 32)
) strict;

create index audit_write on audit (about ->> '$.write');

create table audit_details (
    seq integer primary key references audit (seq),
    salt blob not null,
    -- A JSON object: {"reason", "changes": [{"path", "from", "to"}]}
    detail text not null
) strict;

create table audit_key (
    key blob not null
) strict;
insert into audit_key (key) values (randomblob(32));
