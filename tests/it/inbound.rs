//! The inbound journey where something goes wrong, as its users see it: nothing is missing, and they can tell.

mod complete;
mod events;
mod feed;
mod identity;
mod ledger;
mod load;
mod outages;
mod poll;
mod schema;
mod streams;
mod verify;
