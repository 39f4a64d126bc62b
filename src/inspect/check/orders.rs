//! Whether this user may write what an order is made of.
//!
//! The same questions that the sender asks of the org before it sends, and those that only the first order would
//! answer: rights on each object, and on each field that an order sets.

use crate::config::{Customers, Orders};
use crate::inspect::check::reach::World;
use crate::inspect::check::{Area, Report};
use crate::salesforce::Error;
use crate::salesforce::describe::{Describe, Field};
use crate::salesforce::setup::{self, OrderStatus, PersonType};

/// The usual external ids, where the configuration names none; the sender looks in the same order.
const KEY_FIELDS: [&str; 2] = ["External_ID__c", "s_c__sC_Id__c"];

/// What the sender needs of an object.
struct Need {
    object: &'static str,
    /// It carries the key by which a retry is recognised.
    keyed: bool,
    /// An order with this customer may come again: the record is then updated.
    updated: bool,
    /// No order can be written without these.
    must: &'static [&'static str],
    /// Set where the org lets them be, else left out.
    may: &'static [&'static str],
}

const NEEDS: [Need; 4] = [
    Need {
        object: "Account",
        keyed: true,
        updated: true,
        must: &["Name"],
        may: &[
            "Phone",
            "BillingStreet",
            "BillingCity",
            "BillingPostalCode",
            "ShippingStreet",
            "ShippingCity",
            "ShippingPostalCode",
        ],
    },
    Need {
        object: "Contact",
        keyed: true,
        updated: true,
        must: &["AccountId", "LastName"],
        may: &[
            "FirstName",
            "Email",
            "Phone",
            "MailingStreet",
            "MailingCity",
            "MailingPostalCode",
        ],
    },
    Need {
        object: "Order",
        keyed: true,
        updated: true,
        must: &["AccountId", "EffectiveDate", "Status", "Pricebook2Id"],
        may: &[
            "BillToContactId",
            "ShipToContactId",
            "BillingStreet",
            "BillingCity",
            "BillingPostalCode",
            "ShippingStreet",
            "ShippingCity",
            "ShippingPostalCode",
        ],
    },
    Need {
        object: "OrderItem",
        keyed: false,
        updated: false,
        must: &["OrderId", "PricebookEntryId", "Quantity", "UnitPrice"],
        may: &[],
    },
];

/// Checks each object that an order is written to.
pub(super) async fn rights(report: &mut Report, world: &World, configured: Option<&str>) {
    for need in &NEEDS {
        match world.org.describe(need.object).await {
            Ok(Some(describe)) => {
                object(report, need, &describe);
                fields(report, need, &describe);
                if need.keyed {
                    key(report, &describe, configured);
                }
                record_types(report, &describe);
            }
            Ok(None) => {
                report.fail(
                    Area::Orders,
                    need.object,
                    "the org has no such object, or hides it from this user: orders are kept and not sent",
                    "enable orders in the org's setup (Order Settings), and give the user Create and Edit",
                );
            }
            Err(error) => {
                report.fail(Area::Orders, need.object, &error.to_string(), "check again");
            }
        }
    }
}

/// Tells how new orders are made, and holds the statuses that the configuration names against the org's.
pub(super) async fn statuses(report: &mut Report, world: &World, config: &Orders) {
    let looked = async {
        Ok::<_, Error>((
            world.org.describe("Order").await?,
            world.org.order_statuses().await?,
        ))
    };
    let (order, classes) = match looked.await {
        Ok(looked) => looked,
        Err(error) => {
            report.fail(Area::Orders, "Order statuses", &error.to_string(), "check again");
            return;
        }
    };
    let field = order.as_ref().and_then(|order| order.field("Status"));
    draft(report, classes.as_deref(), field);
    let choices = field.into_iter().flat_map(Field::choices);
    let choices: Vec<String> = choices.map(|choice| choice.value.clone()).collect();
    let named = config.status.as_deref();
    status(report, "status", named, &choices, true);
    let cancelled = Some(config.cancelled_status.as_str());
    status(report, "cancelled_status", cancelled, &choices, false);
}

fn draft(report: &mut Report, classes: Option<&[OrderStatus]>, field: Option<&Field>) {
    let subject = "Status of new orders";
    match (setup::draft_label(classes, field), classes) {
        (Some(label), Some(_)) => {
            let told = format!("{label}, which is of the org's category Draft");
            report.ok(Area::Orders, subject, &told);
        }
        (Some(label), None) => {
            report.warn(
                Area::Orders,
                subject,
                &format!("{label}, the picklist's default: the org does not tell whether it is a draft"),
                "give the user access to the object OrderStatus",
            );
        }
        (None, _) => {
            report.fail(
                Area::Orders,
                subject,
                "the org has no order status of the category Draft: orders are kept and not sent",
                "give Order.Status such a value in the org's setup",
            );
        }
    }
}

/// Tells which record type makes an account a person's, where customers are persons.
pub(super) async fn persons(report: &mut Report, world: &World, config: &Orders) {
    if config.customers != Customers::Persons {
        return;
    }
    let subject = "Record type of persons";
    let looked = async {
        let account = world.org.describe("Account").await?;
        match &account {
            Some(account) => world.org.person_type(account).await,
            None => Ok(None),
        }
    };
    match looked.await {
        Ok(Some(PersonType::Default { name })) => {
            report.ok(Area::Orders, subject, &format!("{name}, the user's default"));
        }
        Ok(Some(PersonType::Named { name, .. })) => {
            let told = format!("{name}, which is sent with each: the user's default is for companies");
            report.ok(Area::Orders, subject, &told);
        }
        Ok(Some(PersonType::Unavailable { names })) => {
            let told = "the user may use none: customers and their orders wait for a person";
            report.fail(Area::Orders, subject, told, &setup::no_person_type(&names));
        }
        Ok(None) => {
            report.fail(
                Area::Orders,
                subject,
                "the org has no person accounts: customers and their orders wait for a person",
                "set [orders] customers = \"contacts\", or enable person accounts in the org",
            );
        }
        Err(error) => {
            report.fail(Area::Orders, subject, &error.to_string(), "check again");
        }
    }
}

/// Every order is given the one; the other is for those that are cancelled.
fn status(report: &mut Report, key: &str, named: Option<&str>, choices: &[String], for_every_order: bool) {
    let Some(named) = named else { return };
    let subject = format!("orders.{key}");
    if choices.iter().any(|choice| choice == named) {
        report.ok(Area::Orders, &subject, &format!("Order.Status may be {named}"));
        return;
    }
    let what = if for_every_order {
        "orders"
    } else {
        "cancellations"
    };
    let told = format!("Order.Status may not be {named}: {what} will wait for a person");
    let remedy = format!(
        "set [orders] {key} to one of {}, or add {named} to the picklist in the org",
        choices.join(", ")
    );
    if for_every_order {
        report.fail(Area::Orders, &subject, &told, &remedy);
    } else {
        report.warn(Area::Orders, &subject, &told, &remedy);
    }
}

fn object(report: &mut Report, need: &Need, describe: &Describe) {
    let lacks: Vec<&str> = [
        (!describe.createable, "Create"),
        (need.updated && !describe.updateable, "Edit"),
    ]
    .into_iter()
    .filter_map(|(lacking, right)| lacking.then_some(right))
    .collect();
    if lacks.is_empty() {
        report.ok(
            Area::Orders,
            need.object,
            "the user may create it, and edit it where that is needed",
        );
    } else {
        let rights = lacks.join(" and ");
        report.fail(
            Area::Orders,
            need.object,
            &format!("the user lacks {rights}: orders are kept and not sent"),
            &format!("give it {rights} on {} in a permission set", need.object),
        );
    }
}

fn fields(report: &mut Report, need: &Need, describe: &Describe) {
    let writable = |name: &&&str| describe.field(name).is_some_and(|field| field.createable);
    let refused: Vec<&str> = need.must.iter().filter(|name| !writable(name)).copied().collect();
    let left_out: Vec<&str> = need.may.iter().filter(|name| !writable(name)).copied().collect();
    let subject = format!("{} fields", need.object);
    if !refused.is_empty() {
        report.fail(
            Area::Orders,
            &subject,
            &format!(
                "the user may not set {}: no order can be written without",
                refused.join(", ")
            ),
            "give it Edit on these fields in a permission set",
        );
    } else if !left_out.is_empty() {
        report.warn(
            Area::Orders,
            &subject,
            &format!(
                "the user may not set {}: orders are written without them",
                left_out.join(", ")
            ),
            "give it Edit on these fields, where the shops fill them",
        );
    } else {
        let count = need.must.len() + need.may.len();
        report.ok(
            Area::Orders,
            &subject,
            &format!("all {count} that orders set may be set"),
        );
    }
}

/// By the rule of the sender: the first that is a unique external id and may be set.
fn key(report: &mut Report, describe: &Describe, configured: Option<&str>) {
    let candidates: Vec<&str> = configured.map_or(KEY_FIELDS.to_vec(), |name| vec![name]);
    let found: Vec<&Field> = candidates
        .iter()
        .filter_map(|name| describe.field(name))
        .collect();
    let subject = format!("{} key", describe.name);
    let usable = |field: &&&Field| field.external_id && field.unique && field.createable;
    match (found.iter().find(usable), found.first()) {
        (Some(field), _) => {
            report.ok(
                Area::Orders,
                &subject,
                &format!("{} is a unique external id and may be set", field.name),
            );
        }
        (None, Some(field)) => {
            let lacks: Vec<&str> = [
                (!field.external_id, "not an external id"),
                (!field.unique, "not unique"),
                (!field.createable, "not writable by the user"),
            ]
            .into_iter()
            .filter_map(|(lacking, what)| lacking.then_some(what))
            .collect();
            report.fail(
                Area::Orders,
                &subject,
                &format!(
                    "{} is {}: orders are kept and not sent",
                    field.name,
                    lacks.join(" and ")
                ),
                "change the field in the org, or name another with [orders] external_id_field",
            );
        }
        (None, None) => {
            report.fail(
                Area::Orders,
                &subject,
                &format!(
                    "there is no field {} that the user may see: orders are kept and not sent",
                    candidates.join(" or ")
                ),
                "make one: text, external id, unique; or name yours with [orders] external_id_field",
            );
        }
    }
}

fn record_types(report: &mut Report, describe: &Describe) {
    let usable = describe
        .record_types
        .iter()
        .filter(|kind| kind.available && kind.active);
    let subject = format!("{} record types", describe.name);
    let names: Vec<&str> = usable.clone().map(|kind| kind.name.as_str()).collect();
    match usable.clone().find(|kind| kind.default) {
        Some(default) => {
            report.ok(
                Area::Orders,
                &subject,
                &format!("{} is the user's default of {}", default.name, names.join(", ")),
            );
        }
        None if describe.record_types.is_empty() => {}
        None => {
            report.fail(
                Area::Orders,
                &subject,
                "the user has no default record type",
                "assign one in the user's profile or permission set",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::describe::RecordType;

    fn order(external_id: bool, unique: bool, createable: bool) -> Describe {
        let field = |name: &str, external_id, unique| Field {
            name: name.to_owned(),
            kind: "string".to_owned(),
            length: 36,
            external_id,
            unique,
            createable,
            updateable: createable,
            nillable: true,
            ..Field::default()
        };
        Describe {
            name: "Order".to_owned(),
            label: String::new(),
            key_prefix: None,
            queryable: true,
            createable,
            updateable: true,
            record_types: vec![RecordType {
                id: String::new(),
                name: "Master".to_owned(),
                available: true,
                active: true,
                default: true,
            }],
            fields: NEEDS[2]
                .must
                .iter()
                .map(|name| field(name, false, false))
                .chain([field("External_ID__c", external_id, unique)])
                .collect(),
        }
    }

    #[test]
    fn a_status_that_the_org_does_not_have_is_told_before_an_order_needs_it() {
        let choices = ["Draft", "Activated"].map(str::to_owned);
        for (named, for_every_order, verdict) in [
            ("Activated", true, "ok"),
            ("activated", true, "fail"),
            ("Cancelled", false, "warn"),
            ("Draft", false, "ok"),
        ] {
            let mut report = Report::default();
            status(&mut report, "status", Some(named), &choices, for_every_order);
            let line = &report.as_json()["lines"][0];
            assert_eq!(line["verdict"], verdict, "{named}");
            let remedy = line["remedy"].as_str().unwrap_or_default();
            assert_eq!(
                remedy.contains("one of Draft, Activated"),
                verdict != "ok",
                "{line}"
            );
        }
        let mut report = Report::default();
        status(&mut report, "status", None, &choices, true);
        assert_eq!(report.as_json()["lines"], serde_json::json!([]));
    }

    #[test]
    fn says_what_an_order_would_fail_on() {
        let cases = [
            (
                order(true, true, true),
                "ok",
                "External_ID__c is a unique external id",
            ),
            (order(true, false, true), "fail", "External_ID__c is not unique:"),
            (
                order(false, true, true),
                "fail",
                "External_ID__c is not an external id:",
            ),
            (
                order(true, true, false),
                "fail",
                "External_ID__c is not writable by the user:",
            ),
        ];
        for (describe, verdict, told) in cases {
            let mut report = Report::default();
            key(&mut report, &describe, None);
            let line = &report.as_json()["lines"][0];
            assert_eq!(line["verdict"], verdict);
            assert!(line["told"].as_str().unwrap().starts_with(told), "{line}");
        }
        // Fields that an order can do without are told too, both hidden and read-only ones.
        let mut partly = order(true, true, true);
        for (name, createable) in [("BillingCity", true), ("ShippingCity", false)] {
            partly.fields.push(Field {
                name: name.to_owned(),
                createable,
                ..partly.fields[0].clone()
            });
        }
        let mut report = Report::default();
        fields(&mut report, &NEEDS[2], &partly);
        let line = &report.as_json()["lines"][0];
        assert_eq!(line["verdict"], "warn", "{line}");
        assert_eq!(
            line["told"],
            "the user may not set BillToContactId, ShipToContactId, BillingStreet, BillingPostalCode, ShippingStreet, \
             ShippingCity, ShippingPostalCode: orders are written without them"
        );
        let mut report = Report::default();
        object(&mut report, &NEEDS[2], &order(true, true, false));
        fields(&mut report, &NEEDS[2], &order(true, true, false));
        let text = report.as_text();
        assert!(text.contains("the user lacks Create:"), "{text}");
        assert!(
            text.contains("the user may not set AccountId, EffectiveDate, Status, Pricebook2Id:"),
            "{text}"
        );
    }

    #[test]
    fn rights_that_an_object_needs_and_the_user_lacks_are_told() {
        for (need, createable, updateable, told) in [
            (&NEEDS[2], true, true, "the user may create it"),
            (&NEEDS[2], true, false, "the user lacks Edit:"),
            (&NEEDS[2], false, true, "the user lacks Create:"),
            (&NEEDS[2], false, false, "the user lacks Create and Edit:"),
            (&NEEDS[3], true, false, "the user may create it"),
        ] {
            let describe = Describe {
                createable,
                updateable,
                ..order(true, true, true)
            };
            let mut report = Report::default();
            object(&mut report, need, &describe);
            let line = &report.as_json()["lines"][0];
            let shown = line["told"].as_str().unwrap();
            assert!(shown.starts_with(told), "{createable} {updateable}: {line}");
        }
    }
}
