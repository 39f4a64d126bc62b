-- Tells whether a body is still what was accepted, before it is sent. Null: it was written before there were checksums.
alter table bodies add column checksum integer;
