-- Keys are a store's own: two stores may use one key for two writes. The constraint that forbade it becomes an index
-- under a name of its own, which can then be dropped as any other, so that the rows need not be written anew.
pragma writable_schema = on;
update sqlite_schema set sql = replace(sql, 'unique (kind, external_id),', '') where type = 'table' and name = 'writes';
update sqlite_schema set name = 'writes_before', sql = 'create unique index writes_before on writes (kind, external_id)'
where type = 'index' and name = 'sqlite_autoindex_writes_1';
pragma writable_schema = reset;
drop index writes_before;
drop index writes_idempotency;
create unique index writes_key on writes (kind, external_id, store_id);
create unique index writes_idempotency on writes (kind, idempotency_key, store_id) where idempotency_key is not null;
-- The key under which the org has it, where that is not the store's own: another store used that first. Null: it is.
alter table writes add column org_key text collate nocase;
create index writes_org_key on writes (org_key) where org_key is not null;
-- Of all but orders and what belongs to them, the record that the org made.
create index writes_record on writes (salesforce_id) where priority = 2 and salesforce_id is not null;

-- Where the key of a customer leads whose record went into another's: the org keeps that only for some days.
create table survivors (
    object text not null,
    key text not null collate nocase,
    record_id text not null,
    primary key (object, key)
) strict, without rowid;
create index survivors_record on survivors (record_id);
