//! What of the Pub/Sub side is kept with the org: its set-up, and how far each managed subscription is.
//!
//! It is part of the org's settings, so that it comes back with the org after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::channels;
use super::managed;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    pub channels: Vec<channels::Definition>,
    /// Objects whose events the user may not see.
    pub hidden: Vec<String>,
    /// Events that may be delivered in 24 hours.
    pub daily_max: Option<u64>,
    /// By developer name.
    pub managed: BTreeMap<String, ManagedKept>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManagedKept {
    /// The counter of its id.
    pub number: u64,
    pub definition: managed::Definition,
    /// The replay id that was committed last.
    pub committed: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use serde_json::json;

    use crate::bus::NewEvent;
    use crate::clock::Clock;
    use crate::files::MANAGED_SUBSCRIPTION;
    use crate::oauth::Sessions;
    use crate::org::{DEFAULT_ENTITIES, OrgOptions};
    use crate::persist;
    use crate::pubsub::{Hub, Timings};

    fn open(dir: &Path) -> Arc<Hub> {
        let options = OrgOptions {
            seed: 1,
            products: 5,
            stores: 1,
            clock: Clock::Shifted(Arc::default()),
            selected_entities: DEFAULT_ENTITIES.map(str::to_owned).to_vec(),
        };
        let org = persist::open(options, dir).unwrap();
        let sessions = Sessions::new(org.clock().clone(), org.id());
        Hub::new(org, sessions, Timings::default())
    }

    #[test]
    fn what_was_set_up_comes_back_with_the_org() {
        let dir = tempfile::tempdir().unwrap();
        let hub = open(dir.path());
        let channel = json!({"name": "Shop__chn", "members": [{"object": "Account", "enriched": ["Phone"]}]});
        hub.channels
            .define(&hub.org, serde_json::from_value(channel).unwrap())
            .unwrap();
        hub.channels.hide(&hub.org, &["Order".to_owned()]).unwrap();
        hub.deliveries.limit(Some(9));
        let early =
            json!({"developerName": "A_Shop", "topicName": "/data/Shop__chn", "defaultReplay": "EARLIEST"});
        hub.managed
            .define(&hub, serde_json::from_value(early).unwrap())
            .unwrap();
        hub.keep();
        let event = NewEvent {
            object: 0,
            id: "e".to_owned(),
            schema_id: "s".to_owned(),
            payload: Bytes::from_static(b"x"),
        };
        let replay_id = hub.org.bus().append(vec![event])[0].replay_id();
        assert!(hub.managed.commit(&hub, MANAGED_SUBSCRIPTION, &replay_id));
        let (channels, managed) = (hub.channels.list(&hub.org), hub.managed.list());
        assert_eq!(channels["hidden"], json!(["Order"]));
        drop(hub);

        let hub = open(dir.path());
        assert_eq!(hub.channels.list(&hub.org), channels);
        assert_eq!(hub.deliveries.daily_max(), Some(9));
        assert_eq!(hub.managed.list(), managed, "ids and commits too");
        assert!(hub.channel("Subscribe", "/data/Shop__chn").is_ok());
    }
}
