-- Milliseconds: commit of the newest change event of the object that was applied.
alter table _object add column last_event_at integer;
