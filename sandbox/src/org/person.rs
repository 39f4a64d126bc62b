//! Person accounts: customers without a company, one record that is an account and a contact.
//!
//! An account with a last name is a person. Its name is made of the parts, and a contact is made with it, and
//! carried on with each change of the fields that are really the contact's; so one save makes an event of each.

use serde_json::{Map, Value as Json};

use super::super::schema::Object;
use super::super::value::{RecordId, Value};
use super::draft::{Draft, Parent};
use super::error::{RecordError, RecordErrors};
use super::{Settings, Transaction, record_types};

/// From which field of a person account which field of its contact comes.
const TO_CONTACT: [(&str, &str); 13] = [
    ("Salutation", "Salutation"),
    ("FirstName", "FirstName"),
    ("LastName", "LastName"),
    ("Phone", "Phone"),
    ("PersonEmail", "Email"),
    ("PersonMobilePhone", "MobilePhone"),
    ("PersonBirthdate", "Birthdate"),
    ("PersonTitle", "Title"),
    ("PersonMailingStreet", "MailingStreet"),
    ("PersonMailingCity", "MailingCity"),
    ("PersonMailingState", "MailingState"),
    ("PersonMailingPostalCode", "MailingPostalCode"),
    ("PersonMailingCountry", "MailingCountry"),
];

/// Whether a field of Account is really one of the contact's.
pub(crate) fn is_contacts(name: &str) -> bool {
    name.starts_with("Person") || name.ends_with("__pc")
}

/// Whether a draft is that of a person.
pub(super) fn is_person(draft: &Draft<'_>) -> bool {
    draft.object.name == "Account"
        && draft.object.field("IsPersonAccount").is_some()
        && draft.get("LastName").is_some()
}

/// Marks a new person, and keeps persons and businesses what they are.
pub(super) fn judge(draft: &mut Draft<'_>, settings: &Settings) -> Result<(), RecordErrors> {
    let is_person = is_person(draft);
    let has_person_type = record_types::judge(draft, settings, is_person)?;
    if !is_person {
        return Ok(());
    }
    let was_business = draft.before.is_some() && draft.held("LastName").is_none();
    let is_business = was_business || draft.before.is_none() && !has_person_type;
    if is_business || draft.changes("Name") {
        let names = if is_business {
            "FirstName, LastName"
        } else {
            "Name"
        };
        let message = format!("Account: bad field names on insert/update call: {names}");
        return Err(vec![
            RecordError::new("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields([names]),
        ]);
    }
    draft.set("IsPersonAccount", Value::Boolean(true));
    Ok(())
}

impl Transaction<'_> {
    /// Makes or changes the contact of a person account that was just written.
    pub(super) fn mirror_person(&mut self, object: &Object, id: RecordId) -> Result<(), RecordErrors> {
        let org = self.org;
        let (Some(contact_at), Some(contacts)) =
            (object.field("PersonContactId"), org.catalog().object("Contact"))
        else {
            return Ok(());
        };
        let Some(account) = self.records.live(object.index, id).cloned() else {
            return Ok(());
        };
        let account = Parent {
            object,
            record: &account,
        };
        if account.get("LastName").is_none() {
            return Ok(());
        }
        let wanted = |name: &str| account.get(name).map_or(Json::Null, Value::to_json);
        let held = account.get("PersonContactId").and_then(Value::as_id);
        let Some(contact) = held else {
            let mut fields: Map<String, Json> = TO_CONTACT
                .iter()
                .map(|(from, to)| ((*to).to_owned(), wanted(from)))
                .collect();
            fields.insert("AccountId".to_owned(), Json::from(id.as_str()));
            let contact = self.create(contacts.index, &fields)?;
            self.mark(contacts, contact, "IsPersonAccount", Value::Boolean(true));
            let row =
                account
                    .record
                    .changed(object, &[(contact_at, Some(Value::Id(contact)))], &self.stamp());
            self.write(object.index, row);
            return Ok(());
        };
        let Some(row) = self.records.live(contacts.index, contact) else {
            return Ok(());
        };
        let differs = |to: &str| {
            contacts
                .field(to)
                .and_then(|at| row.get(at))
                .map_or(Json::Null, Value::to_json)
        };
        let changed = TO_CONTACT.iter().filter(|(from, to)| wanted(from) != differs(to));
        let fields: Map<String, Json> = changed
            .map(|(from, to)| ((*to).to_owned(), wanted(from)))
            .collect();
        if fields.is_empty() {
            return Ok(());
        }
        self.update(contacts.index, contact, &fields)
    }

    /// Sets a field that nobody can write.
    fn mark(&mut self, object: &Object, id: RecordId, field: &str, value: Value) {
        let stamp = self.stamp();
        if let (Some(at), Some(row)) = (object.field(field), self.records.live(object.index, id)) {
            let row = row.changed(object, &[(at, Some(value))], &stamp);
            self.write(object.index, row);
        }
    }
}
