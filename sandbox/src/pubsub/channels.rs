//! Custom channels, and what the user may not see.
//!
//! A custom channel carries the events of its members. A member may name fields whose values are sent with every
//! update and deletion, changed or not: they are read when the event is delivered, so a replay may show a newer
//! value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::hub::Channel;
use crate::bus::Topic;
use crate::org::Org;
use crate::schema::FIRST_OWN;

/// An org has no more custom channels for change events.
const CHANNELS_MAX: usize = 100;

/// A channel as the control endpoint takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// `Shop__chn`; its topic is `/data/Shop__chn`.
    name: String,
    members: Vec<Member>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    object: String,
    /// Fields whose values are always sent.
    #[serde(default)]
    enriched: Vec<String>,
}

#[derive(Default)]
struct Inside {
    /// By topic.
    custom: BTreeMap<String, (Definition, Channel)>,
    hidden: BTreeSet<usize>,
}

#[derive(Default)]
pub struct Channels(RwLock<Inside>);

impl Channels {
    fn inside(&self) -> RwLockReadGuard<'_, Inside> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Inside> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, topic: &str) -> Option<Channel> {
        self.inside()
            .custom
            .get(topic)
            .map(|(_, channel)| channel.clone())
    }

    /// Whether the user may not see an object's events.
    pub fn is_hidden(&self, object: usize) -> bool {
        self.inside().hidden.contains(&object)
    }

    /// Hides these objects' events from the user, and no others.
    pub fn hide(&self, org: &Org, names: &[String]) -> Result<(), String> {
        let objects = names.iter().map(|name| position(org, name));
        self.change().hidden = objects.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Makes a channel, or makes it anew; gives its topic.
    pub fn define(&self, org: &Org, definition: Definition) -> Result<String, String> {
        let Definition { name, members } = definition.clone();
        let stem = name.strip_suffix("__chn").filter(|stem| !stem.is_empty());
        let plain = |stem: &str| stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !stem.is_some_and(plain) {
            return Err(format!(
                "a custom channel is named like Shop__chn, in letters, digits and underscores, not {name:?}"
            ));
        }
        let topic = format!("/data/{name}");
        let mut enriched = BTreeMap::new();
        for member in members {
            let object = position(org, &member.object)?;
            if !org.is_selected(object) {
                return Err(format!(
                    "{} is not selected for change data capture, so no channel can carry its events",
                    member.object
                ));
            }
            enriched.insert(object, fields(org, object, &member.enriched)?);
        }
        let mut inside = self.change();
        if inside.custom.len() >= CHANNELS_MAX && !inside.custom.contains_key(&topic) {
            return Err(format!("an org has at most {CHANNELS_MAX} custom channels"));
        }
        let channel = Channel {
            name: topic.clone(),
            topic: Topic::Objects(Arc::new(enriched.keys().copied().collect())),
            enriched: Arc::new(enriched),
        };
        inside.custom.insert(topic.clone(), (definition, channel));
        Ok(topic)
    }

    pub fn remove(&self, name: &str) -> bool {
        self.change().custom.remove(&format!("/data/{name}")).is_some()
    }

    /// How the channels were defined.
    pub fn definitions(&self) -> Vec<Definition> {
        let inside = self.inside();
        inside
            .custom
            .values()
            .map(|(definition, _)| definition.clone())
            .collect()
    }

    /// Names of the objects that are hidden.
    pub fn hidden(&self, org: &Org) -> Vec<String> {
        let objects = org.catalog().objects();
        let hidden = self.inside().hidden.clone();
        hidden
            .into_iter()
            .map(|object| objects[object].name.clone())
            .collect()
    }

    /// The channels as [`Definition`] has them, and the hidden objects.
    pub fn list(&self, org: &Org) -> Json {
        json!({"channels": self.definitions(), "hidden": self.hidden(org)})
    }
}

fn position(org: &Org, name: &str) -> Result<usize, String> {
    let object = org.catalog().object(name);
    object
        .map(|object| object.index)
        .ok_or_else(|| format!("the sandbox has no object {name}"))
}

/// Positions of fields by name. Parts of a compound field stand inside it in events, and cannot be added alone.
fn fields(org: &Org, object: usize, names: &[String]) -> Result<Vec<usize>, String> {
    let described = &org.catalog().objects()[object];
    let find = |name: &String| {
        let position = described
            .field(name)
            .ok_or_else(|| format!("{} has no field {name}", described.name))?;
        let field = &described.fields[position];
        if position < FIRST_OWN || field.compound.is_some() || field.kind.is_compound() {
            return Err(format!(
                "{}.{name} cannot be an enrichment field: choose one that is no system field and no part of a compound",
                described.name
            ));
        }
        Ok(position)
    };
    names.iter().map(find).collect()
}
