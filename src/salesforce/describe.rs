//! What the org says of its objects and fields.
//!
//! Describe shows only what the user may see: a hidden field is absent, just as a deleted one.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::salesforce::rest::ApiUsage;
use crate::salesforce::{ApiError, Error, Org};

/// Most objects whose key prefixes are kept: an org has some two thousand.
const OBJECTS_MAX: usize = 10_000;

/// An object, as far as anyone here asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Describe {
    pub name: String,
    #[serde(default)]
    pub label: String,
    /// The first three characters of its ids.
    pub key_prefix: Option<String>,
    #[serde(default)]
    pub queryable: bool,
    #[serde(default)]
    pub createable: bool,
    #[serde(default)]
    pub updateable: bool,
    #[serde(default, rename = "recordTypeInfos")]
    pub record_types: Vec<RecordType>,
    pub fields: Vec<Field>,
}

/// A record type, as this user may use it.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordType {
    #[serde(default, rename = "recordTypeId")]
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub available: bool,
    #[serde(default)]
    pub active: bool,
    /// What a record is that is made without saying which.
    #[serde(default, rename = "defaultRecordTypeMapping")]
    pub default: bool,
}

/// A field.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    pub name: String,
    /// Salesforce's field type in lower case: `string`, `id`, `reference`, `currency`, `address`, ...
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub length: u32,
    #[serde(default)]
    pub external_id: bool,
    #[serde(default)]
    pub unique: bool,
    #[serde(default)]
    pub createable: bool,
    #[serde(default)]
    pub updateable: bool,
    #[serde(default)]
    pub calculated: bool,
    /// The compound field this is a part of: `BillingAddress`, `Name`.
    #[serde(rename = "compoundFieldName")]
    pub compound: Option<String>,
    /// Whether a record may be without a value.
    #[serde(default = "yes")]
    pub nillable: bool,
    #[serde(default)]
    pub defaulted_on_create: bool,
    /// Digits of a number, and those of them after the point.
    #[serde(default)]
    pub precision: u32,
    #[serde(default)]
    pub scale: u32,
    /// Digits of an integer.
    #[serde(default)]
    pub digits: u32,
    /// Whether a picklist takes no other than its own values.
    #[serde(default)]
    pub restricted_picklist: bool,
    #[serde(default)]
    pub picklist_values: Vec<Choice>,
    /// The objects that a reference may be to.
    #[serde(default)]
    pub reference_to: Vec<String>,
}

/// One value of a picklist.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    pub value: String,
    #[serde(default)]
    pub active: bool,
    /// What a record has that is made without a value.
    #[serde(default)]
    pub default_value: bool,
}

fn yes() -> bool {
    true
}

impl Field {
    /// What may be chosen in a picklist.
    pub fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.picklist_values.iter().filter(|choice| choice.active)
    }
}

impl Describe {
    /// A field by name, whatever its case.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
    }
}

#[derive(Deserialize)]
struct Objects {
    sobjects: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    name: String,
    key_prefix: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct User {
    preferred_username: String,
}

/// One of the org's limits, whatever the others look like. One that is overdrawn is used up.
fn usage_of(limits: &Value, name: &str) -> Option<ApiUsage> {
    let limit = limits[name]["Max"].as_u64()?;
    let remaining = limits[name]["Remaining"].as_i64()?;
    let remaining = u64::try_from(remaining).unwrap_or(0);
    Some(ApiUsage {
        used: limit.saturating_sub(remaining),
        limit,
    })
}

/// Objects described by one composite request.
const DESCRIBES_MAX: usize = 10;

/// What the org's `limits` tell, as far as anyone here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub api: ApiUsage,
    /// Change and platform events delivered to subscribers; `None` where the org's edition does not tell.
    pub delivered_events: Option<ApiUsage>,
}

impl Org {
    /// The names of all objects that the user may see.
    pub async fn object_names(&self) -> Result<Vec<String>, Error> {
        let objects = self.objects().await?;
        Ok(objects.into_iter().map(|object| object.name).collect())
    }

    /// The first three characters of ids, and the object whose ids begin with them; none that several objects share.
    pub async fn key_prefixes(&self) -> Result<BTreeMap<String, String>, Error> {
        let mut prefixes = BTreeMap::new();
        let mut shared = BTreeSet::new();
        for object in self.objects().await?.into_iter().take(OBJECTS_MAX) {
            let Some(prefix) = object.key_prefix.filter(|prefix| prefix.len() == 3) else {
                continue;
            };
            if prefixes.insert(prefix.clone(), object.name).is_some() {
                shared.insert(prefix);
            }
        }
        prefixes.retain(|prefix, _| !shared.contains(prefix));
        Ok(prefixes)
    }

    async fn objects(&self) -> Result<Vec<Named>, Error> {
        let path = format!("{}/sobjects", self.data_path());
        let answer = self.call(Method::GET, &path, None).await?;
        let objects: Objects = self.json(&path, &answer.body)?;
        Ok(objects.sobjects)
    }

    /// The change events that a channel of the org's own carries, such as `AccountChangeEvent`.
    ///
    /// Of the Tooling API: PlatformEventChannelMember names its channel by developer name (`Shop__chn`).
    pub async fn channel_members(&self, channel: &str) -> Result<Vec<String>, Error> {
        let soql = "SELECT+EventChannel,SelectedEntity+FROM+PlatformEventChannelMember";
        let path = format!("{}/tooling/query?q={soql}", self.data_path());
        let mut members = Vec::new();
        let mut page = self.next_page(&path).await?;
        loop {
            for member in &page.records {
                let text = |field: &str| member.get(field).and_then(Value::as_str);
                if text("EventChannel").is_some_and(|name| name.eq_ignore_ascii_case(channel)) {
                    members.extend(text("SelectedEntity").map(str::to_owned));
                }
            }
            let Some(next) = page.next else { return Ok(members) };
            page = self.next_page(&next).await?;
        }
    }

    /// The versions that the org speaks, the oldest first; asked without a session.
    pub async fn versions(&self) -> Result<Vec<String>, Error> {
        let path = "/services/data";
        let answer = self.ask_openly(path).await?;
        let versions: Vec<Version> = self.json(path, &answer.body)?;
        Ok(versions.into_iter().map(|version| version.version).collect())
    }

    /// The name of the user who is logged in.
    pub async fn user_name(&self) -> Result<String, Error> {
        let path = "/services/oauth2/userinfo";
        let answer = self.call(Method::GET, path, None).await?;
        let user: User = self.json(path, &answer.body)?;
        Ok(user.preferred_username)
    }

    /// What may be used within 24 hours, and how much of it is.
    pub async fn limits(&self) -> Result<Limits, Error> {
        let path = format!("{}/limits", self.data_path());
        let answer = self.call(Method::GET, &path, None).await?;
        let limits: Value = self.json(&path, &answer.body)?;
        let usage = |name: &str| usage_of(&limits, name);
        let api =
            usage("DailyApiRequests").ok_or_else(|| self.unreadable(&path, "it has no DailyApiRequests"))?;
        Ok(Limits {
            api,
            delivered_events: usage("DailyDeliveredPlatformEvents"),
        })
    }

    /// Several objects in their order, by one call for each ten of them: a composite request counts as one, and what one
    /// answers is held in memory.
    pub async fn describes(&self, objects: &[&str]) -> Result<Vec<Result<Option<Describe>, Error>>, Error> {
        let path = self.data_path();
        let mut described = Vec::with_capacity(objects.len());
        for objects in objects.chunks(DESCRIBES_MAX) {
            let parts = objects.iter().map(|object| {
                let url = format!("{path}/sobjects/{object}/describe");
                json!({"method": "GET", "url": url, "referenceId": object})
            });
            let body = json!({"allOrNone": false, "compositeRequest": parts.collect::<Vec<_>>()});
            let results = self.composite(&body).await?;
            if results.len() != objects.len() {
                return Err(self.unreadable(&path, "it has not one part for each object"));
            }
            described.extend(results.into_iter().map(|part| match part.status {
                200 => serde_json::from_value(part.body).map(Some).map_err(|error| {
                    self.unreadable(&path, &format!("an object is not described ({error})"))
                }),
                404 => Ok(None),
                status => Err(Error::Refused {
                    status,
                    errors: ApiError::all_of(&part.body),
                }),
            }));
        }
        Ok(described)
    }

    /// One object; `None` where the org has no such object, or hides it.
    pub async fn describe(&self, object: &str) -> Result<Option<Describe>, Error> {
        let path = format!("{}/sobjects/{object}/describe", self.data_path());
        match self.call(Method::GET, &path, None).await {
            Ok(answer) => Ok(Some(self.json(&path, &answer.body)?)),
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_limit_is_read_whatever_the_others_look_like() {
        let limits = json!({"DailyApiRequests": {"Max": 100, "Remaining": 40}, "Gone": {"Max": 5},
            "Overdrawn": {"Max": 10, "Remaining": -3}, "Odd": []});
        let used = |name: &str| usage_of(&limits, name).map(|usage| (usage.used, usage.limit));
        assert_eq!(used("DailyApiRequests"), Some((60, 100)));
        assert_eq!(used("Overdrawn"), Some((10, 10)));
        assert_eq!((used("Gone"), used("Odd"), used("Absent")), (None, None, None));
    }
}
