//! storesync keeps storefronts and a Salesforce org in step. Two journeys are all it does.
//!
//! **A change comes in.**
//! 1. [`inbound::subscribe`] takes events off a channel and goes on where the cache says.
//! 2. [`inbound::decode`] turns their bytes into column values.
//! 3. [`inbound::apply`] writes journal, rows, feed and position, and nobody else does.
//! 4. [`serve`] gives the rows to storefronts; SQL readers see them in the file.
//!
//! **An order goes out.**
//! 1. [`serve`] takes it, and answers once it is in [`store::outbox`], on the disk.
//! 2. [`outbound::push`] sends it as one all-or-none request, a very long one in pieces that can be taken up again, and
//!    looks it up where an answer was lost.
//! 3. Its own change event comes in by the first journey, and [`outbound::confirm`] closes it.
//!
//! [`journal`] keeps what came in: it tells the history of a record, makes the cache again, and forgets persons.
//!
//! Whatever else a storefront writes goes the same way. [`daemon`] joins the stages, [`inspect`] answers what people ask
//! of them, [`telemetry`] is how they tell of themselves. `storesync_sandbox` is an org to run all this against, `demo`
//! the tour.

pub mod cli;
pub mod config;
pub mod daemon;
#[cfg(feature = "sandbox")]
pub mod demo;
pub mod failpoint;
pub mod inbound;
pub mod inspect;
pub mod journal;
pub mod model;
pub mod outbound;
pub mod salesforce;
pub mod serve;
pub mod store;
pub mod telemetry;
