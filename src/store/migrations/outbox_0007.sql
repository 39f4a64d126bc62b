-- When a request left, by the org's clock, whose answer never came and that may have arrived; null otherwise.
alter table writes add column unanswered_at integer;
