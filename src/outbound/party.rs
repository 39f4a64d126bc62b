//! Who a write is for, as the org has it: what is asked, and what follows from the answer. Pure.
//!
//! The cache is not asked: it may be behind, and only the org can say who exists. Somebody named by a key or an id of the
//! org is that record. A guest, who gives neither, is the one person with the address, where the configuration says so
//! and exactly one has it. A record that is found is changed only in what was sent; one that was found by its address is
//! not changed at all, because anybody can give any address. Who was merged into another is that other, who is not
//! changed by the way: the merge has decided what is kept of the two. Whoever is not found is made, unless the write is a change
//! of somebody who has to be there.
//!
//! A contact stays in its company: a write that names another one for it is refused. Somebody new joins a company that the
//! org has only where the write's store has sold to it or no store has. That takes a store that may change customers: an
//! order under a key that can be guessed is a sale too. One that may not brings people only into a company that an order
//! of its own made. No store changes a company that another store has sold to.

use serde_json::{Map, Value};

use crate::config::Guests;
use crate::model::id;
use crate::model::order::{Customer, Problem};
use crate::outbound::record::{fits, own_account_key};
use crate::outbound::shape::{Shape, Writable};
use crate::salesforce::soql::literal;

/// The records of a person that the org has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// The contact; the account where customers are person accounts.
    pub person: Option<String>,
    pub account: Option<String>,
    /// The contact is in the account, and stays there.
    pub is_in_account: bool,
    /// The account is the person's alone: it has the person's key, or is the person.
    pub is_own_account: bool,
    /// Found by an address, or merged into another: the records stay as they are.
    pub is_kept: bool,
    /// The account stays as it is: it was merged into another, or another store has sold to it.
    pub is_account_kept: bool,
    /// The account keeps its name: another store has sold to it, or it is somebody else's own.
    pub keeps_account_name: bool,
    /// The person has no key in the org.
    pub lacks_key: bool,
    /// The key of an account that is to be made, where it is not the person's: that one is taken.
    pub account_key: Option<String>,
}

/// Whether stores have sold to an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sold {
    pub by_store: bool,
    pub by_another: bool,
    /// An order of the store made the account.
    pub made_by_store: bool,
}

impl Party {
    /// The ids of what was found.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.person.iter().chain(&self.account)
    }
}

/// One way to find a person: a condition, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub soql: String,
    /// What each row has, and what it is.
    pub field: String,
    pub value: String,
    pub by_email: bool,
    /// Records in the recycle bin are asked for too, which tell of a merge.
    pub with_deleted: bool,
    /// The key or id that is looked for; none of an address.
    pub key: Option<String>,
}

/// What a person is looked for by.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub shape: &'a Shape,
    pub customer: &'a Customer,
    /// The name of somebody who has to be there: a key, an id of the org or an address.
    pub named: Option<&'a str>,
    pub are_persons: bool,
    pub guests: Guests,
}

/// Most rows of a look: two tell that it is not one.
const ROWS_MAX: usize = 2;

impl Asked<'_> {
    /// The looks for the person, the first that finds somebody decides.
    pub fn looks(&self) -> Vec<Look> {
        let shape = self.person_shape();
        let customer = self.customer;
        let mut looks = Vec::new();
        if let Some(name) = self.named {
            looks.extend(is_id(name).then(|| self.look(shape, "Id", name)));
            looks.extend(self.by_key(shape, name));
            looks.extend(self.by_email(shape, name));
        } else if customer.external_id.is_some() || customer.salesforce_id.is_some() {
            let key = customer.external_id.as_ref();
            looks.extend(key.and_then(|key| self.by_key(shape, key)));
            let id = customer.salesforce_id.as_ref();
            looks.extend(id.map(|id| self.look(shape, "Id", id)));
        } else if let (Guests::Email, Some(email)) = (self.guests, &customer.email) {
            looks.extend(self.by_email(shape, email));
        }
        looks
    }

    fn by_key(&self, shape: &Writable, key: &str) -> Option<Look> {
        let field = shape.key_field.as_ref()?;
        // A longer text is nobody's key.
        fits(field, key).then(|| self.look(shape, &field.field, key))
    }

    fn by_email(&self, shape: &Writable, email: &str) -> Option<Look> {
        let field = shape.createable(if self.are_persons { "PersonEmail" } else { "Email" })?;
        email.contains('@').then(|| Look {
            by_email: true,
            with_deleted: false,
            soql: self.soql(shape, (field, email), false),
            field: field.to_owned(),
            value: email.to_owned(),
            key: None,
        })
    }

    fn look(&self, shape: &Writable, field: &str, value: &str) -> Look {
        Look {
            soql: self.soql(shape, (field, value), shape.tells_of_merges),
            field: field.to_owned(),
            value: value.to_owned(),
            by_email: false,
            with_deleted: shape.tells_of_merges,
            key: Some(value.to_owned()),
        }
    }

    /// The look for the person that a record was merged into.
    pub fn survivor_look(&self, id: &str) -> Look {
        self.look(self.person_shape(), "Id", id)
    }

    /// The object of persons.
    pub fn person_shape(&self) -> &Writable {
        if self.are_persons {
            &self.shape.account
        } else {
            &self.shape.contact
        }
    }

    fn soql(&self, shape: &Writable, (field, value): (&str, &str), with_deleted: bool) -> String {
        let own = shape.key_field.as_ref();
        let mut own = own.map(|key| format!(", {}", key.field)).unwrap_or_default();
        if !["Id", &own[own.len().min(2)..]].contains(&field) {
            own += &format!(", {field}");
        }
        let account = match &self.shape.account.key_field {
            Some(account) if !self.are_persons => format!(", AccountId, Account.{}", account.field),
            _ => String::new(),
        };
        let condition = format!("{field} = {}", literal(value));
        let (merges, order) = of_merges(with_deleted);
        format!(
            "SELECT Id{own}{account}{merges} FROM {} WHERE {condition} ORDER BY {order} LIMIT {ROWS_MAX}",
            shape.object
        )
    }

    /// The look for an account by its key, where the person does not tell of one.
    pub fn account_look(&self, key: &str) -> Option<Look> {
        let shape = &self.shape.account;
        let field = shape.key_field.as_ref().filter(|field| fits(field, key))?;
        Some(self.of_account(&field.field, key))
    }

    /// The look for the account that another was merged into.
    pub fn surviving_account_look(&self, id: &str) -> Look {
        self.of_account("Id", id)
    }

    fn of_account(&self, field: &str, value: &str) -> Look {
        let shape = &self.shape.account;
        let (merges, order) = of_merges(shape.tells_of_merges);
        let condition = format!("{field} = {}", literal(value));
        let own = match field {
            "Id" => String::new(),
            field => format!(", {field}"),
        };
        let soql = format!(
            "SELECT Id{own}{merges} FROM {} WHERE {condition} ORDER BY {order} LIMIT {ROWS_MAX}",
            shape.object
        );
        Look {
            soql,
            field: field.to_owned(),
            value: value.to_owned(),
            by_email: false,
            with_deleted: shape.tells_of_merges,
            key: Some(value.to_owned()),
        }
    }

    /// The person that a look found; nobody where several have one address.
    pub fn found(&self, look: &Look, rows: &[Map<String, Value>]) -> Result<Option<Party>, Problem> {
        let row = match rows {
            [] => return Ok(None),
            [row] => row,
            [..] if self.named.is_none() => return Ok(None),
            [..] => {
                let sentence =
                    "several customers have this address: name the customer by key or by Salesforce id";
                return Err(Problem::new("CUSTOMER_NOT_UNIQUE", sentence));
            }
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let person = row.get("Id").and_then(text);
        if self.are_persons {
            return Ok(Some(Party {
                account: person.clone(),
                person,
                is_in_account: true,
                is_own_account: true,
                is_kept: look.by_email && self.named.is_none(),
                lacks_key: self.lacks_key(row),
                ..Party::default()
            }));
        }
        let key_in = |shape: &Writable, row: &Map<String, Value>| {
            let key = shape.key_field.as_ref()?;
            row.get(&key.field).and_then(text)
        };
        let own = key_in(&self.shape.contact, row);
        let account = row.get("Account").and_then(Value::as_object);
        let account_key = account.and_then(|account| key_in(&self.shape.account, account));
        let account_id = row.get("AccountId").and_then(text);
        Ok(Some(Party {
            person,
            is_in_account: account_id.is_some(),
            account: account_id,
            is_own_account: account_key.zip(own).is_some_and(|(account, own)| {
                account.eq_ignore_ascii_case(&own)
                    || account.eq_ignore_ascii_case(&self.own_account_key(&own))
            }),
            is_kept: look.by_email && self.named.is_none(),
            lacks_key: self.lacks_key(row),
            ..Party::default()
        }))
    }

    fn lacks_key(&self, row: &Map<String, Value>) -> bool {
        let field = self.person_shape().key_field.as_ref();
        field.is_some_and(|key| row.get(&key.field).is_some_and(Value::is_null))
    }

    pub fn own_account_key(&self, person: &str) -> String {
        own_account_key(&self.shape.account, person)
    }

    /// The look for anybody in an account, but for one person, or for one of a key.
    pub fn colleague_look(&self, account: &str, person: Option<&str>, key: Option<&str>) -> String {
        let mut condition = format!("AccountId = {}", literal(account));
        if let Some(person) = person {
            condition += &format!(" AND Id != {}", literal(person));
        }
        let field = self.shape.contact.key_field.as_ref();
        if let Some((field, key)) = field.zip(key) {
            condition += &format!(" AND {} = {}", field.field, literal(key));
        }
        format!(
            "SELECT Id FROM {} WHERE {condition} LIMIT 1",
            self.shape.contact.object
        )
    }

    /// Refuses the account that is named for a person who is in one, where it is another or is not there.
    pub fn stays(&self, party: &Party, named: Option<&str>) -> Result<(), Problem> {
        let (Some(key), Some(own)) = (&self.customer.account_external_id, &party.account) else {
            return Ok(());
        };
        if named == Some(own) {
            return Ok(());
        }
        let sentence = format!(
            "the customer is in account {own} and stays there, and account_external_id {key} is not that one's key: leave it out, or move the contact in the org, then retry"
        );
        Err(Problem::new("CUSTOMER_OF_ANOTHER_ACCOUNT", sentence))
    }

    /// Refuses that somebody new joins an account that is not the store's.
    pub fn joins(&self, sold: Sold) -> Result<(), Problem> {
        let sentence = if self.customer.is_protected {
            if sold.made_by_store {
                return Ok(());
            }
            "the org has the account, and no order of the store made it: send the customer with a token for customers, name one who is in the account, or make the contact in the org, then retry"
        } else {
            if sold.by_store || !sold.by_another {
                return Ok(());
            }
            "the org has the account, and the store has not sold to it: name a customer who is in it, or make the contact in the org, then retry"
        };
        Err(Problem::new("ACCOUNT_OF_ANOTHER_STORE", sentence))
    }

    /// Whether the person has to be there, and what to say where it is not.
    pub fn missing(&self) -> Option<Problem> {
        let name = self.named.or(self.customer.salesforce_id.as_deref())?;
        let sentence = format!(
            "the org has no customer {name}, neither by key nor by Salesforce id or address: make the customer first, or name another"
        );
        Some(Problem::new("CUSTOMER_NOT_FOUND", sentence))
    }
}

/// What is selected of merges, and the order: those that are there first, then who was deleted last.
fn of_merges(with_deleted: bool) -> (&'static str, &'static str) {
    match with_deleted {
        true => (", IsDeleted, MasterRecordId", "IsDeleted, SystemModstamp DESC"),
        false => ("", "Id"),
    }
}

/// The rows that are there; where none is, the record that the one that was deleted last was merged into.
pub fn present(rows: Vec<Map<String, Value>>) -> (Vec<Map<String, Value>>, Option<String>) {
    let is_deleted = |row: &Map<String, Value>| row.get("IsDeleted") == Some(&Value::Bool(true));
    let (gone, there): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_deleted);
    let into = gone.first().filter(|_| there.is_empty());
    let into = into.and_then(|row| row.get("MasterRecordId")?.as_str());
    let into = into.map(str::to_owned);
    (there, into)
}

/// Whether a text has the form of an id of a contact or an account.
fn is_id(text: &str) -> bool {
    id::is_id(text) && (text.starts_with("003") || text.starts_with("001"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::describe::{Describe, Field};
    use serde_json::json;

    fn shape() -> Shape {
        let describe = |object: &str| Describe {
            name: object.to_owned(),
            label: object.to_owned(),
            key_prefix: None,
            queryable: true,
            createable: true,
            updateable: true,
            record_types: Vec::new(),
            fields: ["Key__c", "Email", "PersonEmail"]
                .map(|name| Field {
                    name: name.to_owned(),
                    kind: "string".to_owned(),
                    length: 36,
                    external_id: name == "Key__c",
                    unique: name == "Key__c",
                    createable: true,
                    updateable: true,
                    nillable: true,
                    ..Field::default()
                })
                .into(),
        };
        let [order, account, contact, item] = ["Order", "Account", "Contact", "OrderItem"].map(describe);
        Shape::of(&order, &account, &contact, &item, Some("Key__c")).unwrap()
    }

    fn customer(key: Option<&str>, id: Option<&str>, email: Option<&str>) -> Customer {
        Customer {
            external_id: key.map(str::to_owned),
            salesforce_id: id.map(str::to_owned),
            email: email.map(str::to_owned),
            ..Customer::default()
        }
    }

    fn conditions(customer: &Customer, named: Option<&str>, guests: Guests) -> Vec<String> {
        let asked = Asked {
            shape: &shape(),
            customer,
            named,
            are_persons: false,
            guests,
        };
        let condition = |look: Look| {
            let (_, rest) = look.soql.split_once(" WHERE ").unwrap();
            rest.split(" ORDER").next().unwrap().to_owned()
        };
        asked.looks().into_iter().map(condition).collect()
    }

    #[test]
    fn somebody_is_looked_for_by_what_the_write_gives() {
        let id = "003000000000001AAA";
        let all = customer(Some("O'Neil"), Some(id), Some("a@b"));
        let keyed = customer(Some("O'Neil"), None, Some("a@b"));
        let guest = customer(None, None, Some("a@b"));
        for (customer, named, guests, expected) in [
            (
                &all,
                None,
                Guests::Email,
                vec!["Key__c = 'O\\'Neil'".to_owned(), format!("Id = '{id}'")],
            ),
            (
                &keyed,
                None,
                Guests::Email,
                vec!["Key__c = 'O\\'Neil'".to_owned()],
            ),
            (&guest, None, Guests::Email, vec!["Email = 'a@b'".to_owned()]),
            (&guest, None, Guests::Never, vec![]),
            (
                &keyed,
                Some("C-7"),
                Guests::Never,
                vec!["Key__c = 'C-7'".to_owned()],
            ),
            (
                &keyed,
                Some(id),
                Guests::Never,
                vec![format!("Id = '{id}'"), format!("Key__c = '{id}'")],
            ),
            (
                &keyed,
                Some("c@d"),
                Guests::Never,
                vec!["Key__c = 'c@d'".to_owned(), "Email = 'c@d'".to_owned()],
            ),
        ] {
            assert_eq!(conditions(customer, named, guests), expected, "{named:?}");
        }
    }

    #[test]
    fn one_row_is_somebody_and_several_are_nobody() {
        let shape = shape();
        let row = |id: &str, key: &str, account: &str| {
            let row = json!({"Id": id, "Key__c": key, "AccountId": "001A", "Account": {"Key__c": account}});
            row.as_object().unwrap().clone()
        };
        let (own, other) = (row("003A", "c-7", "C-7"), row("003B", "C-8", "ACME"));
        let guest = customer(None, None, Some("a@b"));
        let asked = |named| Asked {
            shape: &shape,
            customer: &guest,
            named,
            are_persons: false,
            guests: Guests::Email,
        };
        let look = asked(None).looks().remove(0);
        let found =
            |named: Option<&'static str>, rows: &[Map<String, Value>]| asked(named).found(&look, rows);
        assert_eq!(found(None, &[]).unwrap(), None);
        let party = found(None, std::slice::from_ref(&own)).unwrap().unwrap();
        assert!(party.is_own_account && party.is_kept, "{party:?}");
        let party = found(Some("a@b"), std::slice::from_ref(&other)).unwrap().unwrap();
        assert!(!party.is_own_account && !party.is_kept, "{party:?}");
        assert_eq!(found(None, &[own.clone(), other.clone()]).unwrap(), None);
        let refused = found(Some("a@b"), &[own, other]).unwrap_err();
        assert_eq!(refused.code, "CUSTOMER_NOT_UNIQUE");
        assert_eq!(asked(Some("a@b")).missing().unwrap().code, "CUSTOMER_NOT_FOUND");
        assert_eq!(asked(None).missing(), None);
    }
}
