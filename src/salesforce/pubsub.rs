//! The Pub/Sub API.
use crate::model::change::{RawEvent, ReplayId};
use crate::salesforce::{Error, Org};
/// A connection to the Pub/Sub API; cheap to clone.
#[derive(Clone)]
pub struct PubSub { }
/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start { Latest, Earliest, After(ReplayId) }
/// What GetTopic tells.
#[derive(Clone, Debug)]
pub struct Topic { pub name: String, pub can_subscribe: bool, pub schema_id: Option<String> }
/// One response of a subscription; no events means: still alive, nothing new.
#[derive(Clone, Debug)]
pub struct Response { pub events: Vec<RawEvent>, pub latest: ReplayId, pub pending: u32 }
/// A running subscription. Dropping it ends the stream.
pub struct Subscription { }
impl PubSub {
    /// Does not connect yet: the first call does.
    pub fn new(_org: &Org) -> Result<Self, Error> { unimplemented!() }
    /// `None` where the topic does not exist (its object is not selected for change data capture).
    pub async fn topic(&self, _name: &str) -> Result<Option<Topic>, Error> { unimplemented!() }
    /// The Avro schema (JSON) of an id.
    pub async fn schema(&self, _id: &str) -> Result<String, Error> { unimplemented!() }
    /// Subscribes and asks for the first `credit` events.
    pub async fn subscribe(&self, _topic: &str, _start: Start, _credit: u32) -> Result<Subscription, Error> { unimplemented!() }
}
impl Subscription {
    /// The next response; `None` where the org ended the stream. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Response>, Error> { unimplemented!() }
    /// Asks for `credit` more events; demand adds up.
    pub fn request(&self, _credit: u32) -> Result<(), Error> { unimplemented!() }
}
