-- Whom the actor said that it is for, where a token says who the actor is.
alter table audit add column on_behalf_of text;
