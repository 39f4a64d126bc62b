-- What the request that was sent last left out, as the org was then: [{"field", "why"}].
alter table writes add column not_written text;
