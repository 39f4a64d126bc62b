//! Which objects and fields are mirrored.
//!
//! The objects come from a profile and from the configuration, the fields from describe: all of them, except
//! those that no column can hold (base64, and compound fields, whose parts are fields of their own) and those
//! that hold secrets, which are never asked for and so can never be in the cache.

use crate::config::{ObjectRules, Profile, Sync};
use crate::model::row::{Column, ColumnKind, Table};
use crate::salesforce::describe::{Describe, Field};

/// Objects that a StoreConnect storefront needs, without prefix and suffix; `=` marks Salesforce's own.
const STORECONNECT: &str = "\
    Store Store_Group Web_Domain Store_Variable Route_Mapping Theme Taxonomy Product_Category \
    Product_Category_Hierarchy Products_Product_Categories =Product2 Product_Variant Trait Trait_Type Trait_Value \
    Product_Media Media Related_Product Product_Component Component_Group =Pricebook2 =PricebookEntry Membership \
    Permitted_Restricted_Product Tax Tax_Group Tax_Tax_Group Product_Tax Product_Tax_Group Zone Zone_Country \
    Zone_State Zone_City Zone_Postcode Country State Postcode Shipping_Rate Shipping_Provider Collection_Point \
    Opening_Time Delivery_Window Stock_Level Stock_Location Store_Stock_Location Payment_Provider Promotion2 \
    Condition Reward Promotion2_Condition Promotion2_Product_Scope Promotion Promotion_Action Promotion_Scope \
    Discount Authentication_Provider Bookable_Location Product_Bookable_Location Bookable_Event Availability \
    Booking Form Form_Question Store_Form Product_Form =Account =Contact Account_Points_Ledger Account_Credit \
    Subscription Voucher =Order =OrderItem Store_Campaign =Campaign =Asset =Case Tax_Provider";

/// Salesforce's own commerce objects.
const STANDARD: &str = "=Product2 =Pricebook2 =PricebookEntry =Account =Contact =Order =OrderItem =Asset =Case \
    =Lead =Campaign =CampaignMember";

/// Fields that are never read, of all objects: parts of their names in lower case.
const SECRET_PARTS: [&str; 13] = [
    "secret",
    "password",
    "passphrase",
    "passcode",
    "private_key",
    "api_key",
    "apikey",
    "api_token",
    "access_token",
    "auth_token",
    "bearer_token",
    "refresh_token",
    "preauthorization",
];

/// Fields that are never read, by object: names in lower case without prefix and suffix; `*` ends a prefix.
const SECRET_FIELDS: [(&str, &[&str]); 11] = [
    (
        "payment_provider",
        &["api_*", "configuration_options", "account", "*token"],
    ),
    (
        "shipping_provider",
        &["api_*", "configuration_options", "account", "*token"],
    ),
    (
        "tax_provider",
        &["api_*", "configuration_options", "account", "*token"],
    ),
    ("authentication_provider", &["api_*"]),
    ("outlet", &["register_code"]),
    ("contact", &["confirmation_url", "invitation_url", "sso_uid"]),
    ("payment", &["*token", "latest_api_response", "response"]),
    ("payment_method", &["*token", "latest_api_response", "response"]),
    ("subscription", &["*token", "latest_api_response", "response"]),
    ("voucher", &["pin", "activation_code"]),
    ("cart", &["browser_ip_address", "browser_geolocation"]),
];

/// API names of the objects to mirror, in the order they are loaded.
pub fn objects(config: &Sync) -> Vec<String> {
    let profile = match config.profile {
        Profile::Storeconnect => STORECONNECT,
        Profile::Standard => STANDARD,
    };
    let mut names: Vec<String> = profile.split_whitespace().map(api_name).collect();
    names.extend(config.objects.iter().cloned());
    let mut kept: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if !kept.iter().any(|present| present.eq_ignore_ascii_case(&name)) {
            kept.push(name);
        }
    }
    kept
}

fn api_name(short: &str) -> String {
    match short.strip_prefix('=') {
        Some(standard) => standard.to_owned(),
        None => format!("s_c__{short}__c"),
    }
}

/// Fields that are mirrored whatever is asked for: without them an object can not be kept current.
const NEEDED: [&str; 5] = [
    "SystemModstamp",
    "LastModifiedDate",
    "CreatedDate",
    "IsDeleted",
    "Name",
];

/// The table of an object.
pub fn table(describe: &Describe, rules: &ObjectRules) -> Table {
    let mut columns: Vec<Column> = Vec::with_capacity(describe.fields.len());
    for field in &describe.fields {
        let name = field.name.to_ascii_lowercase();
        let Some(kind) = column_kind(field) else { continue };
        if name == "id"
            || !is_wanted(rules, &name)
            || is_secret(&describe.name, &field.name)
            || columns.iter().any(|c| c.name == name)
        {
            continue;
        }
        columns.push(Column {
            field: field.name.clone(),
            name,
            kind,
        });
    }
    Table {
        object: describe.name.clone(),
        name: describe.name.to_ascii_lowercase(),
        columns,
    }
}

/// The field by which an org that runs StoreConnect chooses single records, and the value of those that it chose.
const OPT_IN: (&str, &str) = ("StoreConnect_Sync__c", "enable_sync");

/// Which rows of an object are mirrored: those that its rules name, and of Salesforce's own objects those that the
/// org opted in, where it does so record by record. A record that is opted out again is read again, not found, and
/// removed.
pub fn filter(profile: Profile, describe: &Describe, own: Option<String>) -> Option<String> {
    let (field, value) = OPT_IN;
    let chooses = profile == Profile::Storeconnect
        && !describe.name.ends_with("__c")
        && describe
            .fields
            .iter()
            .any(|present| present.name.eq_ignore_ascii_case(field));
    let opted = chooses.then(|| format!("{field} = '{value}'"));
    match (opted, own) {
        (Some(opted), Some(own)) => Some(format!("{opted} AND ({own})")),
        (opted, own) => opted.or(own),
    }
}

/// Words of names that a secret may have, beside those that are never read, and parts of such names.
const SUSPECT_WORDS: [&str; 14] = [
    "token",
    "pin",
    "ssn",
    "cvv",
    "cvc",
    "iban",
    "bearer",
    "credential",
    "credentials",
    "otp",
    "totp",
    "pwd",
    "passport",
    "passwort",
];
const SUSPECT_PARTS: [&str; 8] = [
    "webhook_key",
    "licence_key",
    "license_key",
    "session_id",
    "credit_card",
    "card_number",
    "bank_account",
    "tax_file",
];

/// Whether a field may hold a secret by its type or its name: only somebody who knows the org can say.
pub fn is_suspect(field: &Field) -> bool {
    let name = short_name(&field.name);
    let by_name = name.split('_').any(|word| SUSPECT_WORDS.contains(&word))
        || SUSPECT_PARTS.iter().any(|part| name.contains(part));
    field.kind == "encryptedstring" || by_name && column_kind(field) == Some(ColumnKind::Text)
}

/// All that says which fields are never kept, as a text: it is another where they are others.
pub fn never_kept() -> String {
    format!("{SECRET_PARTS:?} {SECRET_FIELDS:?}")
}

/// Whether the value of a field of an event may be written down.
pub fn may_be_kept(rules: &ObjectRules, object: &str, field: &str) -> bool {
    !is_secret(object, field) && (field.eq_ignore_ascii_case("Id") || is_wanted(rules, field))
}

fn is_wanted(rules: &ObjectRules, name: &str) -> bool {
    let named = |list: &[String]| list.iter().any(|field| field.eq_ignore_ascii_case(name));
    let needed = NEEDED.iter().any(|field| field.eq_ignore_ascii_case(name));
    needed || (!named(&rules.leave_out) && (rules.fields.is_empty() || named(&rules.fields)))
}

/// Fields that the rules leave out, those among them that the org does not show.
pub fn left_out(describe: &Describe, rules: &ObjectRules) -> Vec<String> {
    let shown = describe.fields.iter().map(|field| &field.name);
    let mut names: Vec<String> = Vec::new();
    for name in shown.chain(&rules.leave_out) {
        let is_known = names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if !is_known && !name.eq_ignore_ascii_case("Id") && !is_wanted(rules, name) {
            names.push(name.clone());
        }
    }
    names
}

/// Names in `leave_out` that have no effect, and why.
pub fn not_left_out<'r>(describe: &Describe, rules: &'r ObjectRules) -> Vec<(&'r str, &'static str)> {
    let why = |name: &str| {
        let is_named = |field: &str| field.eq_ignore_ascii_case(name);
        if is_named("Id") || NEEDED.iter().any(|field| is_named(field)) {
            Some("which is mirrored all the same, because rows cannot be kept current or shown without it")
        } else if describe.field(name).is_none() {
            Some("which the org does not have or does not show to this user")
        } else {
            None
        }
    };
    let named = rules.leave_out.iter();
    named
        .filter_map(|name| Some((name.as_str(), why(name)?)))
        .collect()
}

/// Fields that the org computes: an event need not carry what they have become.
pub fn formulas(describe: &Describe, table: &Table) -> Vec<String> {
    let mirrored = |field: &&Field| table.position(&field.name).is_some();
    let calculated = describe.fields.iter().filter(|field| field.calculated);
    calculated
        .filter(mirrored)
        .map(|field| field.name.clone())
        .collect()
}

/// The field that tells when a row was last changed.
pub fn stamp_field(table: &Table) -> Option<&'static str> {
    ["SystemModstamp", "LastModifiedDate", "CreatedDate"]
        .into_iter()
        .find(|field| table.position(field).is_some())
}

/// The topic on which an object's changes appear.
pub fn topic(object: &str) -> String {
    match object.strip_suffix("__c") {
        Some(custom) => format!("/data/{custom}__ChangeEvent"),
        None => format!("/data/{object}ChangeEvent"),
    }
}

fn column_kind(field: &Field) -> Option<ColumnKind> {
    Some(match field.kind.as_str() {
        "base64" | "address" | "location" | "complexvalue" => return None,
        "boolean" => ColumnKind::Boolean,
        "int" | "integer" | "long" => ColumnKind::Integer,
        "double" | "currency" | "percent" => ColumnKind::Real,
        "date" => ColumnKind::Date,
        "datetime" => ColumnKind::DateTime,
        "time" => ColumnKind::Time,
        _ => ColumnKind::Text,
    })
}

/// Whether a field is never asked for and never kept.
fn is_secret(object: &str, field: &str) -> bool {
    let (object, field) = (short_name(object), short_name(field));
    let listed = SECRET_FIELDS
        .iter()
        .filter(|(name, _)| *name == object)
        .flat_map(|(_, fields)| *fields);
    SECRET_PARTS.iter().any(|part| field.contains(part))
        || listed.into_iter().any(|pattern| matches(pattern, &field))
}

fn matches(pattern: &str, field: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(part), _) => field.contains(part),
        (None, Some(start)) => field.starts_with(start),
        (None, None) => field == pattern,
    }
}

fn short_name(api_name: &str) -> String {
    let lower = api_name.to_ascii_lowercase();
    let name = lower.strip_suffix("__c").unwrap_or(&lower);
    name.strip_prefix("s_c__").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, kind: &str) -> Field {
        Field {
            name: name.to_owned(),
            kind: kind.to_owned(),
            length: 0,
            external_id: false,
            unique: false,
            createable: true,
            updateable: true,
            nillable: true,
            ..Field::default()
        }
    }

    #[test]
    fn never_maps_a_secret() {
        let cases = [
            ("s_c__Payment_Provider__c", "s_c__Api_Key__c", true),
            ("s_c__Payment_Provider__c", "s_c__Api_Secret__c", true),
            ("s_c__Payment_Provider__c", "s_c__Active__c", false),
            ("s_c__Payment_Provider__c", "s_c__Account__c", true),
            ("s_c__Authentication_Provider__c", "s_c__Client_Secret__c", true),
            ("s_c__Authentication_Provider__c", "s_c__Client_Id__c", false),
            ("Contact", "s_c__Reset_Password_URL__c", true),
            ("Contact", "s_c__SSO_Uid__c", true),
            ("Contact", "Email", false),
            ("s_c__Voucher__c", "s_c__Pin__c", true),
            ("Account", "Api_Token__c", true),
            ("Account", "ApiKey__c", true),
            ("Account", "Door_Passcode__c", true),
            ("Account", "Pin__c", false),
            ("s_c__Subscription__c", "s_c__Payment_Token__c", true),
            ("Product2", "Name", false),
        ];
        for (object, name, expected) in cases {
            assert_eq!(is_secret(object, name), expected, "{object}.{name}");
        }
    }

    #[test]
    fn maps_parts_and_not_compounds() {
        let describe = Describe {
            name: "s_c__Store__c".to_owned(),
            label: String::new(),
            key_prefix: None,
            queryable: true,
            createable: true,
            updateable: true,
            record_types: Vec::new(),
            fields: [
                ("Id", "id"),
                ("Name", "string"),
                ("BillingAddress", "address"),
                ("BillingCity", "string"),
                ("Rate__c", "percent"),
                ("Count__c", "int"),
                ("Active__c", "boolean"),
                ("SystemModstamp", "datetime"),
                ("Body", "base64"),
            ]
            .iter()
            .map(|(name, kind)| field(name, kind))
            .collect(),
        };
        let table = table(&describe, &ObjectRules::default());
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.kind))
            .collect();
        assert_eq!(
            columns,
            [
                ("name", ColumnKind::Text),
                ("billingcity", ColumnKind::Text),
                ("rate__c", ColumnKind::Real),
                ("count__c", ColumnKind::Integer),
                ("active__c", ColumnKind::Boolean),
                ("systemmodstamp", ColumnKind::DateTime),
            ]
        );
    }

    #[test]
    fn fields_are_chosen_by_the_rules_of_the_object() {
        let rules = |fields: &[&str], leave_out: &[&str]| ObjectRules {
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            leave_out: leave_out.iter().map(|field| (*field).to_owned()).collect(),
            ..ObjectRules::default()
        };
        for (rules, name, expected) in [
            (rules(&[], &[]), "notes__c", true),
            (rules(&[], &["Notes__c"]), "notes__c", false),
            (rules(&["ProductCode"], &[]), "productcode", true),
            (rules(&["ProductCode"], &[]), "notes__c", false),
            (
                rules(&["ProductCode"], &["SystemModstamp"]),
                "systemmodstamp",
                true,
            ),
        ] {
            assert_eq!(is_wanted(&rules, name), expected, "{rules:?} {name}");
        }
    }

    #[test]
    fn names_objects_and_topics() {
        let config = Sync {
            objects: vec!["product2".to_owned(), "Invoice__c".to_owned()],
            ..Sync::default()
        };
        let objects = objects(&config);
        assert_eq!(objects.first().map(String::as_str), Some("s_c__Store__c"));
        assert_eq!(
            objects
                .iter()
                .filter(|name| name.eq_ignore_ascii_case("Product2"))
                .count(),
            1
        );
        assert_eq!(objects.last().map(String::as_str), Some("Invoice__c"));
        assert_eq!(topic("Account"), "/data/AccountChangeEvent");
        assert_eq!(topic("s_c__Store__c"), "/data/s_c__Store__ChangeEvent");
    }

    #[test]
    fn records_are_mirrored_that_the_org_opted_in() {
        let describe = |name: &str, fields: &[&str]| Describe {
            name: name.to_owned(),
            label: String::new(),
            key_prefix: None,
            queryable: true,
            createable: true,
            updateable: true,
            record_types: Vec::new(),
            fields: fields.iter().map(|name| field(name, "string")).collect(),
        };
        let own = || Some("IsActive = true".to_owned());
        let opted = "StoreConnect_Sync__c = 'enable_sync'";
        let cases = [
            (
                Profile::Storeconnect,
                "Account",
                vec!["StoreConnect_Sync__c"],
                None,
                Some(opted.to_owned()),
            ),
            (
                Profile::Storeconnect,
                "Account",
                vec!["storeconnect_sync__C"],
                own(),
                Some(format!("{opted} AND (IsActive = true)")),
            ),
            (Profile::Storeconnect, "Account", vec!["Name"], own(), own()),
            (
                Profile::Storeconnect,
                "s_c__Store__c",
                vec!["StoreConnect_Sync__c"],
                None,
                None,
            ),
            (
                Profile::Standard,
                "Account",
                vec!["StoreConnect_Sync__c"],
                None,
                None,
            ),
        ];
        for (profile, name, fields, own, expected) in cases {
            assert_eq!(
                filter(profile, &describe(name, &fields), own),
                expected,
                "{profile:?} {name} {fields:?}"
            );
        }
    }
}
