//! Which objects show fields of another object's records.
//!
//! Such a field changes with the other record: the object that shows it has no event and no new stamp. So its rows are
//! read again when the other record changes, and what it shows is no newer than what is known of the other object.
//! Describe does not tell of these fields: what each object has of them is told by the names of its fields.

/// Fields of an object that records of another show.
pub struct Shown {
    pub object: &'static str,
    pub by: &'static str,
    pub link: Link,
    fields: Fields,
}

/// Which records show a record.
pub enum Link {
    /// Those whose reference points at it.
    Theirs(&'static str),
    /// The person account that its own reference points at.
    OwnPerson(&'static str),
}

enum Fields {
    /// Here, and as the other object names them.
    Named(&'static [(&'static str, &'static str)]),
    /// A person account shows its contact's fields as `PersonTitle` or `Size__pc`, those of the name as they are.
    OfPerson,
}

pub const SHOWN: [Shown; 6] = [
    Shown {
        object: "Product2",
        by: "PricebookEntry",
        link: Link::Theirs("Product2Id"),
        fields: Fields::Named(&[("Name", "Name"), ("ProductCode", "ProductCode")]),
    },
    Shown {
        object: "Product2",
        by: "Asset",
        link: Link::Theirs("Product2Id"),
        fields: Fields::Named(&[
            ("ProductCode", "ProductCode"),
            ("Family", "ProductFamily"),
            ("Description", "ProductDescription"),
        ]),
    },
    Shown {
        object: "Contact",
        by: "Account",
        link: Link::OwnPerson("AccountId"),
        fields: Fields::OfPerson,
    },
    Shown {
        object: "Contact",
        by: "Case",
        link: Link::Theirs("ContactId"),
        fields: Fields::Named(&[
            ("Email", "ContactEmail"),
            ("Phone", "ContactPhone"),
            ("MobilePhone", "ContactMobile"),
            ("Fax", "ContactFax"),
        ]),
    },
    Shown {
        object: "Contact",
        by: "CampaignMember",
        link: Link::Theirs("ContactId"),
        fields: Fields::Named(&OF_MEMBERS),
    },
    Shown {
        object: "Lead",
        by: "CampaignMember",
        link: Link::Theirs("LeadId"),
        fields: Fields::Named(&OF_MEMBERS),
    },
];

/// What a member of a campaign shows of its contact or lead.
const OF_MEMBERS: [(&str, &str); 8] = [
    ("Name", "Name"),
    ("Salutation", "Salutation"),
    ("FirstName", "FirstName"),
    ("LastName", "LastName"),
    ("Title", "Title"),
    ("Email", "Email"),
    ("Phone", "Phone"),
    ("MobilePhone", "MobilePhone"),
];

/// Parts of a name, which both records have by the same name.
const OF_NAMES: [&str; 7] = [
    "Name",
    "Salutation",
    "FirstName",
    "MiddleName",
    "LastName",
    "Suffix",
    "Phone",
];

/// Only an org with person accounts has it.
pub const IS_PERSON: &str = "IsPersonAccount";

impl Shown {
    /// Whether the other object, which has certain fields, shows this one.
    pub fn shows(&self, field: &str, has: impl Fn(&str) -> bool) -> bool {
        match self.fields {
            Fields::Named(pairs) => pairs.iter().any(|(here, there)| *here == field && has(there)),
            Fields::OfPerson if OF_NAMES.contains(&field) => has(IS_PERSON) && has(field),
            Fields::OfPerson => match field.strip_suffix("__c") {
                Some(custom) => has(&format!("{custom}__pc")),
                None => has(&format!("Person{field}")),
            },
        }
    }
}
