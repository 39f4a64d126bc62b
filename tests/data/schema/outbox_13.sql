-- An outbox database as schema 13 left it.
pragma foreign_keys = off;
pragma application_id = 1397968728;
pragma user_version = 13;
CREATE TABLE "attempts" (
    write_sequence integer not null references writes (sequence),
    attempt integer not null check (attempt > 0),
    began_at integer not null,
    -- Null while it runs.
    ended_at integer,
    -- The state the write was left in.
    state text,
    error_code text,
    error_message text,
    -- What was asked of the org and what it answered,
    primary key (write_sequence, attempt),
    check ((ended_at is not null) = (state is not null)),
    check ((error_code is not null) = (error_message is not null))
) strict;
INSERT INTO "attempts" VALUES(2,1,1700000000000,1700000000001,'sent',NULL,NULL);
CREATE TABLE audit (
    number integer primary key,
    write_sequence integer not null references writes (sequence),
    at integer not null,
    action text not null check (action in ('retry', 'edit', 'discard', 'reopen')),
    actor text not null,
    reason text,
    -- What an edit changed: [{"path", "from", "to"}].
    diff text, on_behalf_of text
) strict;
INSERT INTO "audit" VALUES(1,2,1700000000000,'edit','ana',NULL,'[{"path":"customer.email","from":null,"to":"bo@example.com"}]','bo');
INSERT INTO "audit" VALUES(2,2,1700000001000,'discard','kim','the shopper called',NULL,NULL);
CREATE TABLE bodies (
    write_sequence integer primary key references writes (sequence),
    body text not null, checksum integer
) strict;
INSERT INTO "bodies" VALUES(1,'{"external_id":"WEB-1","store_id":"a00","pricebook_id":"01s","effective_date":"2026-11-22","customer":{"external_id":"C-1","email":"ana@example.com"},"lines":[],"fields":{}}',NULL);
INSERT INTO "bodies" VALUES(2,'{"external_id":"WEB-2","customer":{"external_id":"C-2"}}',NULL);
CREATE TABLE exchanges (
    write_sequence integer not null references writes (sequence),
    attempt integer not null check (attempt > 0),
    request text,
    response text,
    primary key (write_sequence, attempt)
) strict;
INSERT INTO "exchanges" VALUES(2,1,'[]','[]');
CREATE TABLE held (
    product_id text not null primary key,
    hundredths integer not null check (hundredths > 0)
) strict, without rowid;
CREATE TABLE holds (
    write_sequence integer not null references writes (sequence),
    product_id text not null,
    -- Quantities have two digits after the point.
    hundredths integer not null check (hundredths > 0),
    primary key (write_sequence, product_id)
) strict, without rowid;
CREATE TABLE persons (
    record_id text not null,
    write_sequence integer not null references writes (sequence),
    primary key (record_id, write_sequence)
) strict, without rowid;
CREATE TABLE survivors (
    object text not null,
    key text not null collate nocase,
    record_id text not null,
    primary key (object, key)
) strict, without rowid;
CREATE TABLE versions (
    last integer not null
) strict;
INSERT INTO "versions" VALUES(1700000000000);
CREATE TABLE "writes" (
    sequence integer primary key,
    kind text not null check (
        kind in ('order', 'order_update') or kind in ('customer', 'case') or kind in ('lead', 'campaign_member')
        or kind in ('asset', 'form_submission')
    ),
    -- The org compares keys without regard to case.
    external_id text not null collate nocase,
    idempotency_key text,
    body_hash blob not null check (length(body_hash) = 32),
    store_id text not null,
    -- Writes of one lane are sent one at a time, in the order of their sequence.
    lane text not null,
    -- 1 behind another write of the lane, or of an order that is not in the org yet.
    behind integer not null default 0 check (behind in (0, 1)),
    priority integer not null,
    -- The order that has to be in the org first.
    parent integer references writes (sequence),
    customer text collate nocase,
    state text not null check (
        state in ('queued', 'waiting') or state in ('sending', 'sent') or state in ('confirmed', 'needs_attention')
        or state = 'discarded'
    ),
    -- Claims so far, and those of them that ended in trouble of the write's own.
    attempt integer not null default 0 check (attempt >= 0),
    failures integer not null default 0 check (failures >= 0),
    due_at integer,
    read_back integer not null default 0 check (read_back in (0, 1)),
    salesforce_id text,
    error_code text,
    error_message text,
    accepted_at integer not null,
    updated_at integer not null,
    email text collate nocase,
    -- 1: the person was deleted in the org before the write was finished; it is erased as soon as it is.
    forget integer not null default 0 check (forget in (0, 1)),
    -- When what it held was dropped; the key, the fingerprint and the outcome stay.
    emptied_at integer,
    is_open integer not null generated always as (state in ('queued', 'waiting') or state = 'sending') virtual,
    -- When a request left, by the org's clock, whose answer never came and that may have arrived; null otherwise.
    unanswered_at integer,
    -- The key under which the org has it, where that is not the store's own: another store used that first. Null: it is.
    org_key text collate nocase, version integer not null default 0, not_written text,
    check ((due_at is not null) = (state in ('queued', 'waiting'))),
    check ((salesforce_id is not null) or state not in ('sent', 'confirmed')),
    check ((error_code is not null) = (error_message is not null)),
    check ((error_code is not null) or state not in ('needs_attention', 'discarded')),
    check (error_code is null or state not in ('sent', 'confirmed')),
    check (attempt > 0 or state not in ('sending', 'sent') and state <> 'confirmed')
) strict;
INSERT INTO "writes" VALUES(1,'order','WEB-1',NULL,X'0000000000000000000000000000000000000000000000000000000000000000','a00','c-1',0,0,NULL,'C-1','queued',0,0,1700000000000,0,NULL,NULL,NULL,1700000000000,1700000000000,'ana@example.com',0,NULL,NULL,NULL,1699999999999,NULL);
INSERT INTO "writes" VALUES(2,'order','WEB-2',NULL,X'0000000000000000000000000000000000000000000000000000000000000000','a00','c-2',0,0,NULL,'C-2','confirmed',1,0,NULL,0,'801000000000001AAA',NULL,NULL,1700000000000,1700000000000,NULL,0,NULL,NULL,NULL,0,'[{"field":"tax","why":"it has none"}]');
CREATE INDEX audit_write on audit (write_sequence, number);
CREATE INDEX persons_write on persons (write_sequence);
CREATE UNIQUE INDEX writes_key on writes (kind, external_id, store_id);
CREATE UNIQUE INDEX writes_idempotency on writes (kind, idempotency_key, store_id) where idempotency_key is not null;
CREATE INDEX writes_due on writes (priority, due_at, sequence) where behind = 0 and state in ('queued', 'waiting');
CREATE INDEX writes_parent on writes (parent) where parent is not null;
CREATE INDEX writes_sent on writes (sequence) where state = 'sent';
CREATE INDEX writes_state on writes (state, kind);
CREATE INDEX writes_kept on writes (updated_at)
    where emptied_at is null and state in ('confirmed', 'discarded');
CREATE INDEX writes_forget on writes (sequence) where forget = 1;
CREATE INDEX writes_email on writes (email, sequence) where email is not null;
CREATE INDEX writes_lane on writes (lane, is_open);
CREATE INDEX writes_customer on writes (customer) where customer <> lane;
CREATE INDEX writes_org_key on writes (org_key) where org_key is not null;
CREATE INDEX writes_record on writes (salesforce_id) where priority = 2 and salesforce_id is not null;
CREATE INDEX survivors_record on survivors (record_id);
-- Which file this is, wherever it lies: the state directory notes it, so that another in its place is noticed.
create table identity (
    id text not null
) strict;
INSERT INTO identity VALUES('0011223344556677');
