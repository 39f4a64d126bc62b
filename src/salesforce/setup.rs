//! What an administrator has set up that describe does not tell in full: which order statuses are drafts, and which
//! record types are for persons.

use serde_json::{Map, Value};

use crate::salesforce::describe::{Choice, Describe, Field};
use crate::salesforce::rest::Scope;
use crate::salesforce::soql::literal;
use crate::salesforce::{Error, Org};

/// The class of a status under which an order is not binding yet: every new order is made in one.
pub const DRAFT: &str = "Draft";

/// A value of Order.Status and its class (`StatusCode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderStatus {
    pub label: String,
    pub class: String,
    pub is_default: bool,
}

/// What makes an account a person's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonType {
    /// The user's default record type: none is sent.
    Default { name: String },
    /// Another one, by its id.
    Named { id: String, name: String },
    /// The user may use none. Names those that there are.
    Unavailable { names: Vec<String> },
}

/// The region that the name of an instance tells of, which no field of the org does: `DEU` of `DEU12`.
pub fn region(instance: &str) -> &str {
    let end = instance.find(|c: char| !c.is_ascii_alphabetic());
    &instance[..end.unwrap_or(instance.len())]
}

impl Org {
    /// The name of the instance that the org is on; `None` where the org does not show it.
    pub async fn instance_name(&self) -> Result<Option<String>, Error> {
        let found = self
            .query("SELECT InstanceName FROM Organization", Scope::Live)
            .await;
        match found {
            Ok(page) => {
                let name = page.records.first().map(|row| text(row, "InstanceName"));
                // A null and an empty name show nothing.
                Ok(name.filter(|name| !name.trim().is_empty()))
            }
            Err(error) if error.is_hidden() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The order statuses in their order; `None` where the org does not show their classes.
    pub async fn order_statuses(&self) -> Result<Option<Vec<OrderStatus>>, Error> {
        let soql = "SELECT ApiName, StatusCode, IsDefault FROM OrderStatus ORDER BY SortOrder";
        let rows = match self.query(soql, Scope::Live).await {
            Ok(page) => page.records,
            Err(error) if error.is_hidden() => return Ok(None),
            Err(error) => return Err(error),
        };
        let statuses = rows.iter().map(|row| OrderStatus {
            label: text(row, "ApiName"),
            class: text(row, "StatusCode"),
            is_default: row.get("IsDefault") == Some(&Value::Bool(true)),
        });
        Ok(Some(statuses.collect()))
    }

    /// What makes an account of this description a person's; `None` where the org has no person accounts.
    pub async fn person_type(&self, account: &Describe) -> Result<Option<PersonType>, Error> {
        if account.field("IsPersonAccount").is_none() {
            return Ok(None);
        }
        let soql = format!(
            "SELECT Id, Name FROM RecordType WHERE SobjectType = {} AND IsPersonType = true AND IsActive = true ORDER BY Name, Id",
            literal(&account.name)
        );
        let rows = match self.query(&soql, Scope::Live).await {
            Ok(page) => page.records,
            Err(error) if error.is_hidden() => return Ok(None),
            Err(error) => return Err(error),
        };
        let types: Vec<(String, String)> = rows
            .iter()
            .map(|row| (text(row, "Id"), text(row, "Name")))
            .collect();
        Ok(Some(person_type(account, &types)))
    }
}

fn text(row: &Map<String, Value>, field: &str) -> String {
    row.get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// The label that a new order is given: the default among the drafts, else the first. Where the org does not show the
/// classes it is the picklist's default, which has to be a draft.
pub fn draft_label(statuses: Option<&[OrderStatus]>, field: Option<&Field>) -> Option<String> {
    let is_offered = |label: &str| {
        field.is_none_or(|field| field.choices().next().is_none())
            || field.is_some_and(|field| field.choices().any(|choice| choice.value == label))
    };
    let Some(statuses) = statuses else {
        let default = field?.choices().find(|choice: &&Choice| choice.default_value);
        return default.map(|choice| choice.value.clone());
    };
    let mut drafts = statuses
        .iter()
        .filter(|status| status.class == DRAFT && is_offered(&status.label));
    let first = drafts.clone().next();
    let default = drafts.find(|status| status.is_default);
    default.or(first).map(|status| status.label.clone())
}

/// What is wrong where a user may use none of the person types, and what to do.
pub fn no_person_type(names: &[String]) -> String {
    match names {
        [] => "the org has no active record type for person accounts: make one in its setup".to_owned(),
        names => format!(
            "the user may use no record type for person accounts: assign {} to its profile or a permission set",
            names.join(" or ")
        ),
    }
}

/// `types` are the ids and names of the org's person types.
fn person_type(account: &Describe, types: &[(String, String)]) -> PersonType {
    let is_person = |id: &str| {
        types
            .iter()
            .any(|(one, _)| one.len() >= 15 && id.len() >= 15 && one.as_bytes()[..15] == id.as_bytes()[..15])
    };
    let usable = account.record_types.iter().filter(|kind| kind.available);
    let mut persons = usable.filter(|kind| is_person(&kind.id));
    match (persons.clone().find(|kind| kind.default), persons.next()) {
        (Some(kind), _) => PersonType::Default {
            name: kind.name.clone(),
        },
        (None, Some(kind)) => PersonType::Named {
            id: kind.id.clone(),
            name: kind.name.clone(),
        },
        (None, None) => PersonType::Unavailable {
            names: types.iter().map(|(_, name)| name.clone()).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(values: &[(&str, bool)]) -> Field {
        let choices = values
            .iter()
            .map(|(value, default)| json!({"value": value, "active": true, "defaultValue": default}));
        let field =
            json!({"name": "Status", "type": "picklist", "picklistValues": choices.collect::<Vec<_>>()});
        serde_json::from_value(field).unwrap()
    }

    #[test]
    fn a_new_order_is_a_draft_by_whatever_label() {
        let status = |label: &str, class: &str, is_default| OrderStatus {
            label: label.to_owned(),
            class: class.to_owned(),
            is_default,
        };
        let german = [
            status("Aktiv", "Activated", false),
            status("In Bearbeitung", "Draft", false),
            status("Entwurf", "Draft", true),
        ];
        let picklist = field(&[("Aktiv", false), ("In Bearbeitung", false), ("Entwurf", false)]);
        for (statuses, field, expected) in [
            (Some(&german[..]), Some(&picklist), Some("Entwurf")),
            (Some(&german[..2]), Some(&picklist), Some("In Bearbeitung")),
            (Some(&german[..1]), Some(&picklist), None),
            (Some(&german[..]), None, Some("Entwurf")),
            // One that is not offered any more.
            (
                Some(&german[..]),
                Some(&field(&[("In Bearbeitung", false)])),
                Some("In Bearbeitung"),
            ),
            (
                None,
                Some(&field(&[("Aktiv", false), ("Neu", true)])),
                Some("Neu"),
            ),
            (None, Some(&picklist), None),
            (None, None, None),
        ] {
            assert_eq!(draft_label(statuses, field).as_deref(), expected, "{statuses:?}");
        }
    }

    #[test]
    fn a_person_s_record_type_is_the_user_s_default_or_named() {
        let account = |types: Value| -> Describe {
            let account = json!({"name": "Account", "fields": [], "recordTypeInfos": types});
            serde_json::from_value(account).unwrap()
        };
        let kind = |id: &str, available: bool, default: bool| {
            json!({"name": id, "recordTypeId": id, "available": available, "active": true,
                "defaultRecordTypeMapping": default})
        };
        let (business, person, other) = ("012000000000001AAA", "012000000000002AAA", "012000000000003");
        let types: Vec<(String, String)> = [person, "012000000000003AAA"]
            .map(|id| (id.to_owned(), format!("{id} by name")))
            .into();
        for (infos, expected) in [
            (
                json!([kind(business, true, false), kind(person, true, true)]),
                PersonType::Default {
                    name: person.to_owned(),
                },
            ),
            (
                json!([
                    kind(business, true, true),
                    kind(person, false, false),
                    kind(other, true, false)
                ]),
                PersonType::Named {
                    id: other.to_owned(),
                    name: other.to_owned(),
                },
            ),
            (
                json!([kind(business, true, true), kind(person, false, false)]),
                PersonType::Unavailable {
                    names: types.iter().map(|(_, name)| name.clone()).collect(),
                },
            ),
        ] {
            assert_eq!(person_type(&account(infos), &types), expected);
        }
    }
}
