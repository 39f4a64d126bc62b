-- Whom an actor names may be the person whom the deed is about: it lies beside the entry with a salt, as details do, so that it can
-- be erased. The entry has its hash; those from before get theirs, and the chain anew from the first of them on, when the
-- file is opened (`of_writes::rename`).
create table audit_names (
    seq integer primary key references audit (seq),
    salt blob not null,
    name text not null
) strict;
insert into audit_names (seq, salt, name)
    select seq, randomblob(16), on_behalf_of from audit where on_behalf_of is not null;
alter table audit drop column on_behalf_of;
alter table audit add column on_behalf_of blob;

-- Which key the hash of the person was made with.
alter table audit add column person_key blob;
create index audit_person_key on audit (seq) where person_key is not null;

-- The last entry that was removed because of its age; the chain goes on behind it.
create table audit_removed (
    seq integer not null,
    at integer not null,
    hash blob not null check (length(hash) = 32)
) strict;
