-- What went through the door and in which order: one row for each transaction of the cache. What is in it is
-- written and read by the door alone; events and what the org answered are named by their numbers.
create table batch (
    number integer primary key,
    -- Milliseconds: the door's clock.
    at integer not null,
    -- The newest revision of the cache before it.
    rev integer not null,
    -- The newest event that was here by then.
    last_event integer not null,
    works text not null
);
create index batch_event on batch (last_event);

-- Whole rows as the org answered them: a page of a load or a poll, records read again. What is in them is in `body`, packed with LZ4.
create table page (
    number integer primary key,
    batch integer not null,
    -- Which of the batch's works it belongs to, from 0.
    work integer not null,
    object text not null,
    kind text not null,
    taken_at integer not null,
    -- The least and the greatest record id in it, so that a record is found without unpacking all.
    first_id text not null,
    last_id text not null,
    bytes integer not null
);
create index page_batch on page (batch, work);
create index page_record on page (object, first_id, last_id);

-- Apart, so that pages are looked through without reading what is in them.
create table body (
    page integer primary key,
    packed blob not null
);
