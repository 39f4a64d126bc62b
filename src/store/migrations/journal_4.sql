-- Fields whose values were taken out of the payload before it was written down, or later by a rule that came later:
-- names with a space between; * where nothing is left of the payload.
alter table event add column redacted text;
