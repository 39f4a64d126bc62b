-- A outbox database as schema 1 left it.
pragma foreign_keys = off;
pragma application_id = 1397968728;
pragma user_version = 1;
CREATE TABLE attempts (
    order_sequence integer not null references orders (sequence),
    attempt integer not null check (attempt > 0),
    began_at integer not null,
    -- Null while it runs.
    ended_at integer,
    -- The state the order was left in.
    state text,
    error_code text,
    error_message text,
    primary key (order_sequence, attempt),
    check ((ended_at is not null) = (state is not null)),
    check ((error_code is not null) = (error_message is not null))
) strict, without rowid;
INSERT INTO "attempts" VALUES(2,1,1700000000000,1700000000001,'sent',NULL,NULL);
CREATE TABLE orders (
    sequence integer primary key,
    -- The org compares keys without regard to case.
    external_id text not null collate nocase unique,
    idempotency_key text unique,
    body_hash blob not null check (length(body_hash) = 32),
    store_id text not null,
    -- Orders of one lane are sent one at a time.
    lane text not null,
    body text not null,
    state text not null check (
        state in ('queued', 'sending', 'waiting', 'sent', 'confirmed', 'needs_attention', 'discarded')
    ),
    -- Claims so far, and those of them that ended in trouble of the order's own.
    attempt integer not null default 0 check (attempt >= 0),
    failures integer not null default 0 check (failures >= 0),
    due_at integer,
    read_back integer not null default 0 check (read_back in (0, 1)),
    salesforce_id text,
    error_code text,
    error_message text,
    accepted_at integer not null,
    updated_at integer not null,
    check ((due_at is not null) = (state in ('queued', 'waiting'))),
    check ((salesforce_id is not null) = (state in ('sent', 'confirmed'))),
    check ((error_code is not null) = (error_message is not null)),
    check ((error_code is not null) or state not in ('waiting', 'needs_attention', 'discarded')),
    check (error_code is null or state not in ('queued', 'sent', 'confirmed')),
    check (attempt > 0 or state not in ('sending', 'sent', 'confirmed'))
) strict;
INSERT INTO "orders" VALUES(1,'WEB-1',NULL,X'0000000000000000000000000000000000000000000000000000000000000000','a00','c:C-1','{"external_id":"WEB-1","store_id":"a00","pricebook_id":"01s","effective_date":"2026-11-22","customer":{"external_id":"C-1"},"lines":[],"fields":{}}','queued',0,0,1700000000000,0,NULL,NULL,NULL,1700000000000,1700000000000);
INSERT INTO "orders" VALUES(2,'WEB-2',NULL,X'0000000000000000000000000000000000000000000000000000000000000000','a00','c:C-2','{"external_id":"WEB-2","customer":{"external_id":"C-2"}}','confirmed',1,0,NULL,0,'801000000000001AAA',NULL,NULL,1700000000000,1700000000000);
CREATE INDEX orders_due on orders (due_at, sequence) where state in ('queued', 'waiting');
CREATE INDEX orders_sending on orders (lane) where state = 'sending';
CREATE INDEX orders_sent on orders (sequence) where state = 'sent';
CREATE INDEX orders_state on orders (state);
