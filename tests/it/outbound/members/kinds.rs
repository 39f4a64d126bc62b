//! The same of every other kind of write: cases, leads, campaign members, assets and the answers of forms.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, Places, SHIPPING, Shop, a_daemon, address, missing, the_document};
use crate::outbound::{accepted, configure};
use crate::world::{Sandbox, a_store, order};

const OBJECTS: [&str; 5] = [
    "Case",
    "Lead",
    "CampaignMember",
    "Asset",
    "s_c__Form_Submission__c",
];

/// An org in which shops may set one field of each object.
async fn an_org() -> Sandbox {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    for object in OBJECTS {
        let field = json!({"object": object, "name": "Note__c", "type": "Text 20"});
        org.control("schema", json!({ "add": field })).await;
    }
    let fields = OBJECTS.map(|object| format!("{object}.Note__c"));
    configure(&org, &format!("[orders]\nfields = {{ \"*\" = {fields:?} }}"));
    org
}

/// All that may be said of a customer beside a write.
fn person(key: &str) -> Value {
    json!({"external_id": format!("C-{key}"), "email": "kim@example.com", "first_name": "Kim", "last_name": "Kale",
        "phone": "+61 3 5550 0009", "company": "Kale Teas", "account_external_id": format!("ACME-{key}")})
}

fn of_person(key: &str) -> Places {
    vec![
        (
            "customer.external_id",
            json!(format!("C-{key}")),
            &["Contact.External_ID__c"],
        ),
        ("customer.email", json!("kim@example.com"), &["Contact.Email"]),
        ("customer.first_name", json!("Kim"), &["Contact.FirstName"]),
        ("customer.last_name", json!("Kale"), &["Contact.LastName"]),
        ("customer.phone", json!("+61 3 5550 0009"), &["Contact.Phone"]),
        ("customer.company", json!("Kale Teas"), &["Account.Name"]),
        (
            "customer.account_external_id",
            json!(format!("ACME-{key}")),
            &["Account.External_ID__c"],
        ),
    ]
}

/// One kind: the last part of its address, its schema, a whole body without a customer, and the fields of its members.
struct Kind {
    path: &'static str,
    schema: &'static str,
    object: &'static str,
    key_field: &'static str,
    contact: &'static [&'static str],
    body: Value,
    fields: &'static [(&'static str, &'static [&'static str])],
}

fn a_case() -> Kind {
    Kind {
        path: "cases",
        schema: "NewCase",
        object: "Case",
        key_field: "External_ID__c",
        contact: &["Case.ContactId"],
        body: json!({"external_id": "K-1", "subject": "Late", "description": "Where is it?", "type": "Problem",
            "reason": "Delivery", "priority": "High"}),
        fields: &[
            ("external_id", &["Case.External_ID__c"]),
            ("subject", &["Case.Subject"]),
            ("description", &["Case.Description"]),
            ("type", &["Case.Type"]),
            ("reason", &["Case.Reason"]),
            ("priority", &["Case.Priority"]),
        ],
    }
}

fn a_lead() -> Kind {
    Kind {
        path: "leads",
        schema: "NewLead",
        object: "Lead",
        key_field: "External_ID__c",
        contact: &[],
        body: json!({"external_id": "L-1", "last_name": "Lott", "first_name": "Lia", "email": "lia@example.com",
            "phone": "+61 3 5550 0010", "company": "Lott Teas", "title": "Dr", "message": "Call me", "email_opt_out": true,
            "address": address(SHIPPING)}),
        fields: &[
            ("external_id", &["Lead.External_ID__c"]),
            ("last_name", &["Lead.LastName"]),
            ("first_name", &["Lead.FirstName"]),
            ("email", &["Lead.Email"]),
            ("phone", &["Lead.Phone"]),
            ("company", &["Lead.Company"]),
            ("title", &["Lead.Title"]),
            ("message", &["Lead.Description"]),
            ("email_opt_out", &["Lead.HasOptedOutOfEmail"]),
            ("address.street", &["Lead.Street"]),
            ("address.city", &["Lead.City"]),
            ("address.state", &["Lead.State"]),
            ("address.postal_code", &["Lead.PostalCode"]),
            ("address.country", &["Lead.Country"]),
        ],
    }
}

fn a_campaign_member(campaign: &str) -> Kind {
    Kind {
        path: "campaign-members",
        schema: "NewCampaignMember",
        object: "CampaignMember",
        key_field: "External_ID__c",
        contact: &["CampaignMember.ContactId"],
        body: json!({"external_id": "M-1", "campaign_id": campaign, "status": "Responded"}),
        fields: &[
            ("external_id", &["CampaignMember.External_ID__c"]),
            ("campaign_id", &["CampaignMember.CampaignId"]),
            ("status", &["CampaignMember.Status"]),
        ],
    }
}

fn an_asset(product: &str) -> Kind {
    Kind {
        path: "assets",
        schema: "NewAsset",
        object: "Asset",
        key_field: "External_ID__c",
        contact: &["Asset.ContactId"],
        body: json!({"external_id": "A-1", "name": "Drill", "product_id": product, "serial_number": "S-77",
            "quantity": "3", "price": "19.90", "purchase_date": "2026-11-20", "install_date": "2026-11-21",
            "status": "Installed", "description": "In the shed"}),
        fields: &[
            ("external_id", &["Asset.External_ID__c"]),
            ("name", &["Asset.Name"]),
            ("product_id", &["Asset.Product2Id"]),
            ("serial_number", &["Asset.SerialNumber"]),
            ("quantity", &["Asset.Quantity"]),
            ("price", &["Asset.Price"]),
            ("purchase_date", &["Asset.PurchaseDate"]),
            ("install_date", &["Asset.InstallDate"]),
            ("status", &["Asset.Status"]),
            ("description", &["Asset.Description"]),
        ],
    }
}

fn a_form(form: &str, question: &str) -> Kind {
    Kind {
        path: "form-submissions",
        schema: "NewFormSubmission",
        object: "s_c__Form_Submission__c",
        key_field: "s_c__sC_Id__c",
        contact: &["s_c__Form_Submission__c.s_c__Contact_Id__c"],
        body: json!({"external_id": "F-1", "form_id": form, "order_external_id": "WEB-F",
            "answers": [{"question_id": question, "question": "Why?", "answer": "Because"}]}),
        fields: &[
            ("external_id", &["s_c__Form_Submission__c.s_c__sC_Id__c"]),
            ("form_id", &["s_c__Form_Submission__c.s_c__Form_Id__c"]),
            (
                "answers[].question_id",
                &["s_c__Form_Answer__c.s_c__Form_Question_Id__c"],
            ),
            (
                "answers[].question",
                &["s_c__Form_Answer__c.s_c__Question_Content__c"],
            ),
            ("answers[].answer", &["s_c__Form_Answer__c.s_c__Answer__c"]),
        ],
    }
}

impl Kind {
    /// Sends all members, and then an id of the org in place of what else is said of the customer.
    async fn sent(&self, shop: &mut Shop<'_>, store: &str, contact: &str, order_id: &Value) {
        let key = self.body["external_id"].as_str().unwrap();
        for is_named in [false, true] {
            let key = format!("{key}{}", if is_named { "-ID" } else { "" });
            let mut body = self.body.clone();
            body["external_id"] = json!(key);
            body["fields"] = json!({"Note__c": key});
            let mut places: Places = self
                .fields
                .iter()
                .map(|(member, fields)| {
                    let pointer = format!("/{}", member.replace("[]", "/0").replace('.', "/"));
                    (*member, body.pointer(&pointer).unwrap().clone(), *fields)
                })
                .collect();
            if !self.contact.is_empty() {
                body["customer"] = match is_named {
                    true => json!({ "salesforce_id": contact }),
                    false => person(&key),
                };
                places.push(("customer.salesforce_id", json!(contact), self.contact));
                places.extend(of_person(&key));
            }
            places.push(("fields", json!(key), note_of(self.object)));
            let order: &[&str] = &["s_c__Form_Submission__c.s_c__Order_Id__c"];
            places.push(("order_external_id", order_id.clone(), order));
            let records = [
                (self.object, format!("{} = '{key}'", self.key_field)),
                (
                    "s_c__Form_Answer__c",
                    format!("s_c__Form_Submission_Id__r.s_c__sC_Id__c = '{key}'"),
                ),
                ("Contact", format!("External_ID__c = 'C-{key}'")),
                ("Account", format!("External_ID__c = 'ACME-{key}'")),
            ];
            let (path, method) = (format!("/v1/stores/{store}/{}", self.path), Method::POST);
            let case = Case {
                method,
                path,
                body,
                places,
            };
            let records: Vec<_> = records
                .into_iter()
                .filter(|(object, _)| case.places.iter().any(|(_, _, fields)| is_of(object, fields)))
                .collect();
            shop.send(case, &records).await;
        }
    }
}

fn is_of(object: &str, fields: &[&str]) -> bool {
    fields
        .iter()
        .any(|field| field.starts_with(&format!("{object}.")))
}

fn note_of(object: &str) -> &'static [&'static str] {
    match object {
        "Case" => &["Case.Note__c"],
        "Lead" => &["Lead.Note__c"],
        "CampaignMember" => &["CampaignMember.Note__c"],
        "Asset" => &["Asset.Note__c"],
        _ => &["s_c__Form_Submission__c.Note__c"],
    }
}

/// The schemas of all bodies that a shop may send.
fn of_bodies(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of_shops = paths.filter(|(path, _)| path.starts_with("/v1/"));
    let operations = of_shops.flat_map(|(_, operations)| operations.as_object().unwrap().values());
    operations
        .filter_map(|operation| {
            operation
                .pointer("/requestBody/content/application~1json/schema/$ref")?
                .as_str()
        })
        .map(|name| name.rsplit('/').next().unwrap().to_owned())
        .collect()
}

/// A case holds what its customer was said to be, whoever the org takes that for.
async fn says_who_wrote(org: &Sandbox, case: &Kind) {
    let key = case.body["external_id"].as_str().unwrap();
    let fields = "SELECT SuppliedName, SuppliedEmail, SuppliedPhone FROM Case";
    let of_key = |key: &str| format!("{fields} WHERE External_ID__c = '{key}'");
    let sent = person(key);
    let name = ["first_name", "last_name"].map(|part| sent[part].as_str().unwrap());
    let expected = json!({"SuppliedName": name.join(" "), "SuppliedEmail": sent["email"], "SuppliedPhone": sent["phone"]});
    assert_eq!(json!(org.query(&of_key(key)).await), json!([expected]));
    // Of one who is named by an id alone nothing is said.
    let nothing = json!({"SuppliedName": null, "SuppliedEmail": null, "SuppliedPhone": null});
    let named = org.query(&of_key(&format!("{key}-ID"))).await;
    assert_eq!(json!(named), json!([nothing]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_any_other_write_is_dropped() {
    let org = an_org().await;
    let campaign = org.create("Campaign", json!({"Name": "News"})).await;
    let form = org.some("s_c__Form__c", "").await;
    let question = org.some("s_c__Form_Question__c", "").await;
    let contact = org
        .some("Contact", "WHERE Email != null AND AccountId != null")
        .await;
    let daemon = a_daemon(&org).await;
    let (store, currency, products) = a_store(&daemon).await;
    accepted(&daemon, &store, &order("WEB-F", &currency, &[(&products[0], 1)])).await;
    let placed = format!("/v1/stores/{store}/orders/WEB-F");
    let order_id = daemon.until(&placed, &["sent", "confirmed"]).await["salesforce_id"].clone();
    let document = the_document(&daemon).await;
    // Those are told of beside this.
    let mut seen =
        BTreeSet::from(["NewOrder", "NewCustomer", "CustomerChange", "OrderUpdate"].map(str::to_owned));
    for kind in [
        a_case(),
        a_lead(),
        a_campaign_member(&campaign),
        an_asset(&products[0]),
        a_form(&form, &question),
    ] {
        let mut shop = Shop::of(&org, &daemon);
        shop.sends = seen.len() * 100;
        kind.sent(&mut shop, &store, &contact, &order_id).await;
        assert_eq!(missing(&shop, &document, kind.schema), [""; 0]);
        if kind.object == "Case" {
            says_who_wrote(&org, &kind).await;
        }
        seen.insert(kind.schema.to_owned());
    }
    assert_eq!(
        of_bodies(&document),
        seen,
        "a kind of write is told of by no case"
    );
}
