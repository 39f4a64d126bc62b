//! Lead conversion: one transaction over several objects that no single record's write could be.

use serde_json::{Map, Value as Json};

use super::super::schema::Object;
use super::super::value::{RecordId, Value};
use super::draft::{Parent, refuse};
use super::error::RecordErrors;
use super::{Record, Transaction};

/// The status of a lead that was converted, where none is asked for.
const CONVERTED: &str = "Closed - Converted";
const DAY_MILLIS: i64 = 86_400_000;

/// From which field of the lead which field of the account comes.
const TO_ACCOUNT: [(&str, &str); 10] = [
    ("Company", "Name"),
    ("Phone", "Phone"),
    ("Website", "Website"),
    ("Industry", "Industry"),
    ("LeadSource", "AccountSource"),
    ("Street", "BillingStreet"),
    ("City", "BillingCity"),
    ("State", "BillingState"),
    ("PostalCode", "BillingPostalCode"),
    ("Country", "BillingCountry"),
];
/// The same for the contact.
const TO_CONTACT: [(&str, &str); 13] = [
    ("Salutation", "Salutation"),
    ("FirstName", "FirstName"),
    ("LastName", "LastName"),
    ("Title", "Title"),
    ("Email", "Email"),
    ("Phone", "Phone"),
    ("MobilePhone", "MobilePhone"),
    ("LeadSource", "LeadSource"),
    ("Street", "MailingStreet"),
    ("City", "MailingCity"),
    ("State", "MailingState"),
    ("PostalCode", "MailingPostalCode"),
    ("Country", "MailingCountry"),
];

/// What a lead became.
#[derive(Clone, Copy, Debug)]
pub struct Converted {
    pub account: RecordId,
    pub contact: RecordId,
}

impl Transaction<'_> {
    pub(super) fn is_converted(&self, leads: &Object, lead: &Record) -> bool {
        leads
            .field("IsConverted")
            .is_some_and(|at| lead.get(at) == Some(&Value::Boolean(true)))
    }

    /// Converts a lead to a contact of `account`, or of a new one.
    pub fn convert(
        &mut self,
        lead: RecordId,
        account: Option<RecordId>,
        status: Option<&str>,
    ) -> Result<Converted, RecordErrors> {
        let catalog = self.org.catalog();
        let object = |name: &str| {
            let missing = || refuse("INVALID_TYPE", format!("sObject type '{name}' is not supported."));
            catalog.object(name).map_or_else(missing, Ok)
        };
        let (leads, accounts, contacts) = (object("Lead")?, object("Account")?, object("Contact")?);
        let row = self.present(leads, lead)?.clone();
        let row = Parent {
            object: leads,
            record: &row,
        };
        if self.is_converted(leads, row.record) {
            return refuse("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead");
        }
        let status = status.unwrap_or(CONVERTED);
        let known = leads
            .field("Status")
            .is_some_and(|at| leads.fields[at].picklist.iter().any(|value| value == status));
        if !known {
            return refuse("INVALID_STATUS", format!("invalid convertedStatus: {status}"));
        }
        let account = match account {
            Some(account) => {
                self.present(accounts, account)?;
                account
            }
            None => self.create(accounts.index, &taken_over(row, &TO_ACCOUNT))?,
        };
        let mut fields = taken_over(row, &TO_CONTACT);
        fields.insert("AccountId".to_owned(), Json::from(account.as_str()));
        let contact = self.create(contacts.index, &fields)?;
        let today = match self.stamp().now {
            Value::DateTime(now) => Value::Date(now.div_euclid(DAY_MILLIS) * DAY_MILLIS),
            other => other,
        };
        let changes = [
            ("Status", Value::text(status)),
            ("IsConverted", Value::Boolean(true)),
            ("ConvertedDate", today),
            ("ConvertedAccountId", Value::Id(account)),
            ("ConvertedContactId", Value::Id(contact)),
        ];
        let changes = changes
            .into_iter()
            .filter_map(|(name, value)| Some((leads.field(name)?, Some(value))));
        let changes: Vec<_> = changes.collect();
        let converted = row.record.changed(leads, &changes, &self.stamp());
        self.write(leads.index, converted);
        Ok(Converted { account, contact })
    }
}

fn taken_over(lead: Parent<'_>, names: &[(&str, &str)]) -> Map<String, Json> {
    let values = names.iter().filter_map(|(from, to)| {
        let value = lead.get(from)?;
        Some(((*to).to_owned(), value.to_json()))
    });
    values.collect()
}
