-- An outbox database as schema 14 left it.
pragma foreign_keys = off;
pragma application_id = 1397968728;
pragma user_version = 14;
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
INSERT INTO "audit" VALUES(1,1700000000000,'0011223344556677','ana','bo','edit','{"fields":["customer.email"],"write":2}',X'e338065a9d7e095957ae8a6470022bd8646f9dbe0fc45c40d734ae9b2e9a4929',X'b7ec15c993ed7dc05ea813b6489d39af74162ad83af1ab67261c9fe8ec5ee662',X'bce6aff031c9e1dac1e152494ef5b92420cfcb44a8e7e1a1a22ea1634b7521b4');
INSERT INTO "audit" VALUES(2,1700000001000,'0011223344556677','kim',NULL,'discard','{"write":2}',X'e338065a9d7e095957ae8a6470022bd8646f9dbe0fc45c40d734ae9b2e9a4929',X'1490e699d5de18e11b76d047404060eefe8fdec8f2f2947ff97b59c4dca10e18',X'ed88b444e098850370e5ef634272b0404941bd9ff8b7848ab3ead76c88cec73a');
CREATE TABLE audit_details (
    seq integer primary key references audit (seq),
    salt blob not null,
    -- A JSON object: {"reason", "changes": [{"path", "from", "to"}]}
    detail text not null
) strict;
INSERT INTO "audit_details" VALUES(1,X'01010101010101010101010101010101','{"reason":null,"changes":[{"path":"customer.email","from":null,"to":"bo@example.com"}]}');
INSERT INTO "audit_details" VALUES(2,X'02020202020202020202020202020202','{"reason":"the shopper called","changes":[]}');
CREATE TABLE audit_key (
    key blob not null
) strict;
INSERT INTO "audit_key" VALUES(X'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');
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
CREATE TABLE identity (
    id text not null
) strict;
INSERT INTO "identity" VALUES('0011223344556677');
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
CREATE INDEX audit_write on audit (about ->> '$.write');
