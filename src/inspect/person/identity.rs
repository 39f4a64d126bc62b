//! Who a person is: the ids, addresses and keys that belong together, and the records that refer to the person.
//!
//! Begins with what was asked for and goes on until nothing is added: a contact leads to its addresses, keys and individual,
//! and to its account where nobody else is in that; a lead to the contact that it became; an address to all records
//! of persons that have it; what was merged to where it went; writes to the keys and addresses that storefronts gave with them, and one that made a contact or a lead to
//! that record, which the mirror may not have. An account that others are in too is named and not followed: what it has is not this person's alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::inspect::person::sent::{Sent, sent};
use crate::inspect::person::wanted::{Token, What};
use crate::model::id;
use crate::store::cache;
use crate::store::outbox::person_object;
use crate::store::storefront::feed::is_of_catalogue;
use crate::store::subject::classes::is_mirrored;
use crate::store::subject::rows::{Database, Row, Table};

/// Most times that all is gone through: one leads to another, that to a third.
const ROUNDS_MAX: usize = 8;

/// Most records that refer to a person and are looked for themselves.
const RECORDS_MAX: usize = 20_000;

/// Fields of records of persons that lead to others of the same person.
const LINKS: [&str; 8] = [
    "individualid",
    "personcontactid",
    "personindividualid",
    "convertedcontactid",
    "convertedaccountid",
    "masterrecordid",
    "parentid",
    "accountid",
];

/// Whom somebody asks about.
#[derive(Clone, Debug)]
pub enum Asked {
    Record { object: String, id: String },
    Email(String),
}

/// Who it is.
#[derive(Debug, Default)]
pub struct Identity {
    pub tokens: Vec<Token>,
    /// Accounts of the person that others are in too.
    pub shared_accounts: BTreeSet<String>,
    /// There are more records that refer to the person than are looked for.
    pub has_more_records: bool,
}

/// How each is known to be the person's.
type Known = BTreeMap<String, String>;

#[derive(Default)]
struct Search {
    ids: Known,
    emails: Known,
    keys: Known,
    /// The contacts of accounts that may be the person's: two at most, of which one is another's.
    contacts_of: BTreeMap<String, BTreeSet<String>>,
    key_fields: Vec<String>,
    /// Writes of persons.
    sent: Vec<Sent>,
}

/// Finds who it is, and the records that refer to the person.
pub fn find(
    asked: &Asked,
    texts: &[String],
    databases: (Option<&Database>, Option<&Database>),
    key_field: Option<&str>,
) -> anyhow::Result<Identity> {
    let (cache, outbox) = databases;
    let mut search = Search {
        key_fields: ["external_id__c", "s_c__sc_id__c"].map(str::to_owned).to_vec(),
        ..Search::default()
    };
    search.key_fields.extend(key_field.map(str::to_lowercase));
    match asked {
        Asked::Record { object, id } => {
            search.watch(object, id);
            search.ids.insert(id.clone(), "asked for".to_owned());
        }
        Asked::Email(email) => drop(search.emails.insert(email.to_lowercase(), "asked for".to_owned())),
    }
    let mut others = Vec::new();
    for text in texts {
        let how = "given".to_owned();
        match text {
            id if id::is_id(id) => drop(search.ids.entry(id::long(id)).or_insert(how)),
            email if email.contains('@') => drop(search.emails.entry(email.to_lowercase()).or_insert(how)),
            text => others.push(text.clone()),
        }
    }
    search.sent = outbox.map(sent).transpose()?.unwrap_or_default();
    for _ in 0..ROUNDS_MAX {
        let before = search.size();
        if let Some(cache) = cache {
            search.persons(cache)?;
            search.accounts();
        }
        if let Some(outbox) = outbox {
            search.writes(outbox)?;
        }
        if search.size() == before {
            break;
        }
    }
    search.end(&others, cache)
}

impl Search {
    fn size(&self) -> usize {
        let contacts = self.contacts_of.values().map(BTreeSet::len).sum::<usize>();
        self.ids.len() + self.emails.len() + self.keys.len() + self.contacts_of.len() + contacts
    }

    /// Of an account it has to be known who is in it.
    fn watch(&mut self, object: &str, id: &str) {
        if object.eq_ignore_ascii_case("Account") {
            self.contacts_of.entry(id.to_owned()).or_default();
        }
    }

    fn persons(&mut self, cache: &Database) -> anyhow::Result<()> {
        for table in cache.tables.iter().filter(|table| is_of_persons(&table.name)) {
            cache.each(table, |row| {
                self.person(table, &row);
                anyhow::Ok(())
            })?;
        }
        Ok(())
    }

    fn person(&mut self, table: &Table, row: &Row) {
        let field = |name: &str| table.text(row, name);
        let Some(id) = field("id") else { return };
        let account = field("accountid").filter(|_| table.name == "contact");
        if let Some(contacts) = account.and_then(|account| self.contacts_of.get_mut(account))
            && (contacts.len() < 2 || self.ids.contains_key(id))
        {
            contacts.insert(id.to_owned());
        }
        let emails: Vec<&str> = addresses(table, row).collect();
        let keys: Vec<&str> = self.key_fields.iter().filter_map(|name| field(name)).collect();
        if !self.is_of_person(table, (id, &emails, &keys), field("parentid")) {
            return;
        }
        let of = format!("of {} {id}", table.name);
        let is_account = table.name == "account";
        let is_person_account = table.integer(row, "ispersonaccount") == Some(1);
        if is_account && !is_person_account && !self.ids.contains_key(id) {
            self.watch("Account", id);
            return;
        }
        self.ids.entry(id.to_owned()).or_insert_with(|| of.clone());
        for email in emails {
            self.emails
                .entry(email.to_lowercase())
                .or_insert_with(|| of.clone());
        }
        for key in keys.into_iter().filter(|key| !key.is_empty()) {
            self.keys.entry(key.to_lowercase()).or_insert_with(|| of.clone());
        }
        for link in LINKS {
            let Some(linked) = field(link).filter(|linked| id::is_id(linked)) else {
                continue;
            };
            match id::standard_object(linked) {
                Some("Account") => self.watch("Account", linked),
                _ => drop(
                    self.ids
                        .entry(linked.to_owned())
                        .or_insert_with(|| format!("{link} {of}")),
                ),
            }
        }
    }

    fn is_of_person(
        &self,
        table: &Table,
        (id, emails, keys): (&str, &[&str], &[&str]),
        parent: Option<&str>,
    ) -> bool {
        let is_point = table.name.starts_with("contactpoint");
        self.ids.contains_key(id)
            || emails
                .iter()
                .any(|email| self.emails.contains_key(&email.to_lowercase()))
            || keys.iter().any(|key| self.keys.contains_key(&key.to_lowercase()))
            || is_point && parent.is_some_and(|parent| self.ids.contains_key(parent))
    }

    /// An account is the person's where nobody else is in it; the only contact of an account is its person.
    fn accounts(&mut self) {
        for (account, contacts) in &self.contacts_of {
            let is_known = self.ids.contains_key(account);
            let [contact] = &Vec::from_iter(contacts)[..] else {
                continue;
            };
            if is_known {
                self.ids
                    .entry((*contact).clone())
                    .or_insert_with(|| format!("the only contact of account {account}"));
            } else if self.ids.contains_key(*contact) {
                self.ids
                    .insert(account.clone(), format!("the account of contact {contact} alone"));
            }
        }
    }

    fn writes(&mut self, outbox: &Database) -> anyhow::Result<()> {
        let mut sequences = BTreeSet::new();
        outbox.each_of("persons", |table, row| {
            let is_of_person = table
                .text(&row, "record_id")
                .is_some_and(|id| self.ids.contains_key(id));
            sequences.extend(table.integer(&row, "write_sequence").filter(|_| is_of_person));
        })?;
        let mut found = Vec::new();
        outbox.each_of("writes", |table, row| {
            let lower = |name: &str| table.text(&row, name).map(str::to_lowercase);
            let (customer, email) = (lower("customer"), lower("email"));
            let number = table.integer(&row, "sequence").unwrap_or_default();
            let is_known = |known: &Known, text: &Option<String>| {
                text.as_ref().is_some_and(|text| known.contains_key(text))
            };
            if sequences.contains(&number)
                || is_known(&self.keys, &customer)
                || is_known(&self.emails, &email)
            {
                found.push((number, customer, email));
            }
        })?;
        for (number, customer, email) in found {
            let how = format!("of write #{number}");
            for (known, text) in [(&mut self.keys, customer), (&mut self.emails, email)] {
                if let Some(text) = text {
                    known.entry(text).or_insert_with(|| how.clone());
                }
            }
        }
        self.persons_sent(&sequences);
        self.survivors(outbox)
    }

    /// Writes of persons: the record that each is about, its key and the address in its body belong together.
    fn persons_sent(&mut self, of_person: &BTreeSet<i64>) {
        for sent in &self.sent {
            let is_it = of_person.contains(&sent.number)
                || sent.record.as_ref().is_some_and(|id| self.ids.contains_key(id))
                || sent
                    .email
                    .as_ref()
                    .is_some_and(|email| self.emails.contains_key(email))
                || sent.key.as_ref().is_some_and(|key| self.keys.contains_key(key));
            if !is_it {
                continue;
            }
            let how = || format!("of write #{}", sent.number);
            if let Some(id) = &sent.record {
                self.ids.entry(id.clone()).or_insert_with(how);
            }
            if let Some(email) = &sent.email {
                self.emails.entry(email.clone()).or_insert_with(how);
            }
            if let Some(key) = &sent.key {
                self.keys.entry(key.clone()).or_insert_with(how);
            }
        }
    }

    fn survivors(&mut self, outbox: &Database) -> anyhow::Result<()> {
        let mut merged = Vec::new();
        outbox.each_of("survivors", |table, row| {
            let [key, survivor] =
                ["key", "record_id"].map(|name| table.text(&row, name).unwrap_or_default().to_owned());
            merged.push((key, survivor));
        })?;
        for (key, survivor) in merged {
            let is_it = self.ids.contains_key(&key) || self.keys.contains_key(&key.to_lowercase());
            if !is_it && !self.ids.contains_key(&survivor) {
                continue;
            }
            let how = format!("merged into {survivor}");
            match person_object(&key) {
                Some(_) => drop(self.ids.entry(key).or_insert(how)),
                None => drop(self.keys.entry(key.to_lowercase()).or_insert(how)),
            }
            let how = "where a merged record lives on".to_owned();
            self.ids.entry(survivor).or_insert(how);
        }
        Ok(())
    }

    fn end(self, texts: &[String], cache: Option<&Database>) -> anyhow::Result<Identity> {
        let mut identity = Identity::default();
        if let Some(cache) = cache {
            self.records(cache, &mut identity)?;
        }
        let is_shared = |account: &&String| !self.ids.contains_key(*account);
        identity.shared_accounts = self.contacts_of.keys().filter(is_shared).cloned().collect();
        let given = texts
            .iter()
            .map(|text| (text.clone(), "given".to_owned()))
            .collect();
        let sorts = [
            (What::Id, self.ids),
            (What::Email, self.emails),
            (What::Key, self.keys),
            (What::Text, given),
        ];
        let tokens = sorts.into_iter().flat_map(|(what, known)| {
            let token = move |(text, how)| Token { what, text, how };
            known.into_iter().map(token)
        });
        let records = std::mem::take(&mut identity.tokens);
        identity.tokens = tokens.chain(records).collect();
        Ok(identity)
    }

    /// Records that are no persons' and have an id or an address of the person in a field.
    fn records(&self, cache: &Database, identity: &mut Identity) -> anyhow::Result<()> {
        let may_refer = |table: &&Table| {
            is_mirrored(cache::KIND.file_name, &table.name)
                && !is_of_persons(&table.name)
                && !is_of_catalogue(&table.name)
        };
        for table in cache.tables.iter().filter(may_refer) {
            let Some(id) = table.position("id") else { continue };
            cache.each(table, |row| {
                let is_it = |text: &str| {
                    self.ids.contains_key(text) || self.emails.contains_key(&text.to_lowercase())
                };
                let mut texts = row.values.iter().filter_map(|value| value.text());
                let own = row.values[id].text().filter(|own| !self.ids.contains_key(*own));
                if let Some(own) = own.filter(|_| texts.any(is_it)) {
                    identity.has_more_records |= identity.tokens.len() >= RECORDS_MAX;
                    if !identity.has_more_records {
                        identity.tokens.push(Token {
                            what: What::Record,
                            text: own.to_owned(),
                            how: format!("a record of {} that refers to the person", table.name),
                        });
                    }
                }
                anyhow::Ok(())
            })?;
        }
        Ok(())
    }
}

/// Whether the rows of a mirrored table are persons, or how they are reached.
pub fn is_of_persons(table: &str) -> bool {
    ["contact", "lead", "account", "individual"].contains(&table) || table.starts_with("contactpoint")
}

/// Addresses of mail in the fields of a row that are for them.
fn addresses<'r>(table: &'r Table, row: &'r Row) -> impl Iterator<Item = &'r str> {
    let columns = table.columns.iter().zip(&row.values);
    let of_mail = columns.filter(|(column, _)| column.name.contains("email"));
    let texts = of_mail.filter_map(|(_, value)| value.text());
    texts.filter(|text| text.contains('@') && !text.contains(char::is_whitespace))
}
