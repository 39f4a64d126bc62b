//! Requests, part by part.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::staged::{key_after, pieces};
use super::*;
use crate::config::Profile;
use crate::model::order::{Address, Customer, Decimal, Saving, Shipment};
use crate::model::write::kinds::spec;
use crate::model::write::{Entry, Kind, parse};
use crate::salesforce::describe::{Describe, Field};

fn describe(object: &str, fields: &[&str]) -> Describe {
    let fields = fields.iter().map(|name| {
        let is_key = matches!(*name, "External_ID__c" | "s_c__sC_Id__c");
        Field {
            name: (*name).to_owned(),
            kind: "string".to_owned(),
            length: 36,
            external_id: is_key,
            unique: is_key,
            createable: true,
            updateable: true,
            nillable: true,
            ..Field::default()
        }
    });
    Describe {
        name: object.to_owned(),
        label: object.to_owned(),
        key_prefix: None,
        queryable: true,
        createable: true,
        updateable: true,
        record_types: Vec::new(),
        fields: fields.collect(),
    }
}

fn shape(item: &[&str]) -> Shape {
    let order = [
        "External_ID__c",
        "BillToContactId",
        "ShippingStreet",
        "ShippingCity",
        "ShippingCountryCode",
        "ShippingCountry",
        "OrderReferenceNumber",
        "Note__c",
    ];
    let mut shape = Shape::of(
        &describe("Order", &order),
        &describe(
            "Account",
            &[
                "External_ID__c",
                "Name",
                "BillingCity",
                "FirstName",
                "PersonEmail",
                "PersonBirthdate",
            ],
        ),
        &describe("Contact", &["External_ID__c", "Email", "FirstName", "Birthdate"]),
        &describe("OrderItem", item),
        None,
    )
    .unwrap();
    shape.draft_status = "Entwurf".to_owned();
    for (object, fields) in [
        (
            "Case",
            vec!["External_ID__c", "Subject", "Origin", "SuppliedEmail"],
        ),
        ("Lead", vec!["External_ID__c", "LastName", "Company", "City"]),
        ("CampaignMember", vec!["External_ID__c", "CampaignId", "Status"]),
        ("Asset", vec!["Name", "Price"]),
        (
            "s_c__Form_Submission__c",
            vec!["s_c__sC_Id__c", "s_c__Form_Id__c", "s_c__Store_Id__c"],
        ),
        ("s_c__Form_Answer__c", vec!["s_c__sC_Id__c", "s_c__Answer__c"]),
        (
            "s_c__Payment__c",
            vec![
                "s_c__sC_Id__c",
                "s_c__Amount__c",
                "s_c__Method__c",
                "s_c__Transaction_Number__c",
            ],
        ),
    ] {
        shape.add(&describe(object, &fields), None);
    }
    shape
}

fn placed(lines: usize) -> Placed {
    let line = Line {
        pricebook_entry_id: "01uA".to_owned(),
        quantity: Decimal::parse("2").unwrap(),
        unit_price: Decimal::parse("19.90").unwrap(),
        fields: [("Gift__c".to_owned(), json!(true))].into(),
        ..Line::default()
    };
    Placed {
        external_id: "WEB-1".to_owned(),
        store_id: "a00".to_owned(),
        pricebook_id: "01s".to_owned(),
        currency: Some("AUD".to_owned()),
        effective_date: "2026-11-22".to_owned(),
        customer: Customer {
            external_id: Some("C-7".to_owned()),
            email: Some("ana@example.com".to_owned()),
            first_name: Some("Ana".to_owned()),
            last_name: Some("Lee".to_owned()),
            ..Customer::default()
        },
        shipping_address: Some(Address {
            street: Some("1 High St".to_owned()),
            city: Some("Hobart".to_owned()),
            country: Some("AU".to_owned()),
            ..Address::default()
        }),
        lines: vec![line; lines],
        fields: [("note__c".to_owned(), json!("gift"))].into(),
        ..Placed::default()
    }
}

/// Composes with the standard profile, or StoreConnect's, for an org.
fn with<T>(profile: Profile, shape: &Shape, act: impl FnOnce(Composer<'_>) -> T) -> T {
    let mapping = Mapping::new(profile, &BTreeMap::new()).unwrap();
    act(Composer {
        shape,
        mapping: &mapping,
        party: &Party::default(),
        customers: Customers::Contacts,
        guests: Guests::Email,
        duplicates: Duplicates::Refuse,
        status: None,
        cancelled_status: "Cancelled",
        version_field: None,
        data_path: "/v",
    })
}

fn standard<T>(act: impl FnOnce(Composer<'_>) -> T) -> T {
    with(Profile::Standard, &shape(&["Gift__c"]), act)
}

fn parts(request: Result<Option<Request>, Problem>) -> Vec<Value> {
    let json = request.unwrap().expect("it fits into one request").json();
    json.as_array().unwrap().clone()
}

#[test]
fn makes_one_request_of_an_order() {
    let request = standard(|composer| composer.order(&placed(1))).unwrap();
    let expected = json!({
        "allOrNone": true, "collateSubrequests": false,
        "compositeRequest": [
            {"method": "POST", "url": "/v/sobjects/Account", "referenceId": "account",
             "body": {"Name": "Ana Lee", "BillingCity": "Hobart", "External_ID__c": "C-7"}},
            {"method": "POST", "url": "/v/sobjects/Contact", "referenceId": "contact",
             "body": {"AccountId": "@{account.id}", "LastName": "Lee", "FirstName": "Ana", "Email": "ana@example.com",
                "External_ID__c": "C-7"}},
            {"method": "POST", "url": "/v/sobjects/Order", "referenceId": "record",
             "body": {"External_ID__c": "WEB-1", "AccountId": "@{account.id}", "EffectiveDate": "2026-11-22",
                "Status": "Entwurf", "Pricebook2Id": "01s", "BillToContactId": "@{contact.id}",
                "ShippingStreet": "1 High St", "ShippingCity": "Hobart", "ShippingCountryCode": "AU", "Note__c": "gift"}},
            {"method": "POST", "url": "/v/sobjects/OrderItem", "referenceId": "item0",
             "body": {"OrderId": "@{record.id}", "PricebookEntryId": "01uA", "Quantity": 2, "UnitPrice": 19.9,
                "Gift__c": true}},
        ]
    });
    assert_eq!(request, Some(Request::Composite(expected)));
}

#[test]
fn a_person_whom_a_rule_may_only_warn_of_is_saved_where_that_is_configured() {
    for (duplicates, expected) in [
        (Duplicates::Refuse, vec![]),
        (Duplicates::Save, vec!["account", "contact"]),
    ] {
        let made = standard(|composer| {
            parts(
                Composer {
                    duplicates,
                    ..composer
                }
                .order(&placed(2)),
            )
        });
        let saved = made
            .iter()
            .filter(|part| part["httpHeaders"] == json!({"Sforce-Duplicate-Rule-Header": "allowSave=true"}));
        let saved: Vec<&str> = saved.map(|part| part["referenceId"].as_str().unwrap()).collect();
        assert_eq!(saved, expected);
    }
}

#[test]
fn many_parts_travel_as_a_graph_and_more_in_pieces() {
    let kind = |lines, status| {
        standard(|composer| {
            let composer = Composer { status, ..composer };
            match composer.order(&placed(lines)).unwrap() {
                Some(Request::Composite(body)) => {
                    ("composite", body["compositeRequest"].as_array().unwrap().len())
                }
                Some(Request::Graph(parts)) => ("graph", parts.len()),
                None => ("pieces", pieces(lines)),
            }
        })
    };
    for (lines, status, expected) in [
        (22, None, ("composite", 25)),
        (21, Some("Activated"), ("composite", 25)),
        // The status has to come after the items, and a graph orders its parts itself.
        (22, Some("Activated"), ("composite", 25)),
        (23, None, ("graph", 26)),
        (497, None, ("graph", 500)),
        (498, None, ("pieces", 3)),
        (1_200, None, ("pieces", 6)),
    ] {
        assert_eq!(kind(lines, status), expected, "{lines}");
    }
}

#[test]
fn a_piece_is_undone_where_the_one_before_is_not_the_last() {
    let order = placed(1_200);
    let (header, piece) = standard(|composer| {
        (
            composer.staged_header(&order).unwrap().json(),
            composer.staged_piece(&order, "801A", 5).unwrap().json(),
        )
    });
    let first = key_after(&order, 0);
    assert_eq!(first.len(), 36);
    assert_eq!(header[2]["body"]["External_ID__c"], json!(first));
    let before = key_after(&order, 5);
    assert_eq!(
        piece[0],
        json!({"method": "GET", "url": format!("/v/sobjects/Order/External_ID__c/{before}?fields=Id"), "referenceId": "guard"})
    );
    assert_eq!(piece[1]["url"], "/v/sobjects/Order/@{guard.Id}");
    assert_eq!(
        piece[1]["body"],
        json!({"External_ID__c": "WEB-1"}),
        "the last gives the order its own key"
    );
    assert_eq!(piece.as_array().unwrap().len(), 202);
    assert_eq!(piece[2]["referenceId"], "item1000");
    assert_eq!(piece[2]["body"]["OrderId"], "801A");
}

#[test]
fn items_have_keys_where_the_org_has_a_field_for_them() {
    let shape = shape(&["External_ID__c", "Gift__c"]);
    let mut order = placed(2);
    let keys = |order: &Placed| {
        with(Profile::Standard, &shape, |composer| {
            let parts = parts(composer.order(order));
            parts[3..]
                .iter()
                .map(|part| part["body"]["External_ID__c"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(keys(&order), ["WEB-1-1", "WEB-1-2"]);
    order.external_id = "0b5a9bd6-0d6b-4a3c-9b6e-0a3a0c1f2b7d".to_owned();
    let derived = keys(&order);
    assert_eq!(derived, keys(&order), "the same every time");
    assert!(
        derived.iter().all(|key| key.len() == 36) && derived[0] != derived[1],
        "{derived:?}"
    );
}

#[test]
fn people_are_a_guest_a_customer_one_of_a_company_or_a_person_account() {
    let compose = |customer: Customer, customers: Customers| {
        let order = Placed {
            customer,
            ..placed(1)
        };
        standard(|composer| {
            parts(
                Composer {
                    customers,
                    ..composer
                }
                .order(&order),
            )
        })
    };
    let guest = Customer {
        email: Some("ana@example.com".to_owned()),
        ..Customer::default()
    };
    let made = compose(guest, Customers::Contacts);
    // A key that nobody can give: "WEB-1" may be somebody's.
    let key = made[0]["body"]["External_ID__c"].as_str().unwrap();
    assert_eq!(
        (key.len(), made[1]["body"]["External_ID__c"].as_str()),
        (36, Some(key))
    );
    assert_eq!(made[0]["body"]["Name"], "ana@example.com");
    assert_eq!(made[1]["body"]["LastName"], "ana@example.com");

    let employee = Customer {
        external_id: Some("C-7".to_owned()),
        account_external_id: Some("ACME".to_owned()),
        company: Some("Acme".to_owned()),
        ..Customer::default()
    };
    let made = compose(employee.clone(), Customers::Persons);
    assert_eq!(made[0]["body"], json!({"Name": "Acme", "External_ID__c": "ACME"}));
    assert_eq!(made[1]["body"]["External_ID__c"], "C-7");

    let made = compose(placed(1).customer, Customers::Persons);
    assert_eq!(
        made[0]["body"],
        json!({"LastName": "Lee", "FirstName": "Ana", "PersonEmail": "ana@example.com", "BillingCity": "Hobart",
            "External_ID__c": "C-7"})
    );
    assert_eq!(made[1]["referenceId"], "record");
    assert!(made[1]["body"].get("BillToContactId").is_none());
}

/// What is sent of an order's customer to an org that has these records.
fn sent_to(party: &Party, customer: Customer, customers: Customers) -> Vec<Value> {
    let order = Placed {
        customer,
        ..placed(1)
    };
    standard(|composer| {
        parts(
            Composer {
                customers,
                party,
                ..composer
            }
            .order(&order),
        )
    })
}

#[test]
fn nothing_but_what_was_sent_is_changed_of_somebody_whom_the_org_has() {
    let known = Party {
        person: Some("003A".to_owned()),
        account: Some("001A".to_owned()),
        is_in_account: true,
        is_own_account: true,
        ..Party::default()
    };
    let of_company = Party {
        is_own_account: false,
        ..known.clone()
    };
    let found_by_address = Party {
        is_kept: true,
        ..known.clone()
    };
    let keyed = Customer {
        external_id: Some("C-7".to_owned()),
        email: Some("new@example.com".to_owned()),
        ..Customer::default()
    };
    let contact = json!({"method": "PATCH", "url": "/v/sobjects/Contact/003A", "referenceId": "contact",
        "body": {"Email": "new@example.com"}});
    // Where the order goes to is no billing address of somebody who has one.
    for (party, expected) in [
        (&known, vec![contact.clone()]),
        (&of_company, vec![contact]),
        (&found_by_address, vec![]),
    ] {
        let made = sent_to(party, keyed.clone(), Customers::Contacts);
        assert_eq!(made[..expected.len()], expected);
        let order = &made[expected.len()];
        assert_eq!(
            (&order["body"]["AccountId"], &order["body"]["BillToContactId"]),
            (&json!("001A"), &json!("003A")),
            "{order}"
        );
    }
    // Who is in an account stays there; who is in none joins the one that is named, and a new account has a name.
    let joins = Customer {
        account_external_id: Some("ACME".to_owned()),
        ..keyed.clone()
    };
    let made = sent_to(&of_company, joins.clone(), Customers::Contacts);
    assert_eq!(made[0]["body"], json!({"Email": "new@example.com"}));
    let without_account = Party {
        account: None,
        is_in_account: false,
        ..of_company
    };
    let made = sent_to(&without_account, joins, Customers::Contacts);
    assert_eq!(
        made[0]["body"],
        json!({"Name": "new@example.com", "External_ID__c": "ACME"})
    );
    assert_eq!(
        made[1]["body"],
        json!({"AccountId": "@{account.id}", "Email": "new@example.com"})
    );
    let person = Party {
        person: Some("001P".to_owned()),
        account: Some("001P".to_owned()),
        is_in_account: true,
        is_own_account: true,
        ..Party::default()
    };
    let made = sent_to(&person, keyed, Customers::Persons);
    assert_eq!(made[0]["url"], "/v/sobjects/Account/001P");
    assert_eq!(made[0]["body"], json!({"PersonEmail": "new@example.com"}));
    assert_eq!(made[1]["body"]["AccountId"], "001P");
}

/// The cities that an order's request sets, by part and field.
fn cities_of(
    shape: &Shape,
    customers: Customers,
    (billing, shipping): (Option<Address>, Option<Address>),
) -> BTreeMap<String, String> {
    let mut order = Placed {
        billing_address: billing,
        shipping_address: shipping,
        fields: Default::default(),
        ..placed(1)
    };
    order.lines[0].fields.clear();
    let made = with(Profile::Standard, shape, |composer| {
        parts(
            Composer {
                customers,
                ..composer
            }
            .order(&order),
        )
    });
    let mut found = BTreeMap::new();
    for part in &made {
        for (field, city) in part["body"].as_object().unwrap() {
            if field.ends_with("City") {
                let field = format!("{} {field}", part["referenceId"].as_str().unwrap());
                found.insert(field, city.as_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn each_address_goes_into_its_own_fields() {
    let described = |object: &str, prefixes: &[&str]| {
        let cities: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix}City")).collect();
        let fields =
            cities
                .iter()
                .map(String::as_str)
                .chain(["External_ID__c", "Email", "FirstName", "PersonEmail"]);
        describe(object, &fields.collect::<Vec<_>>())
    };
    let shape = Shape::of(
        &described("Order", &["Billing", "Shipping"]),
        &described("Account", &["Billing", "Shipping", "PersonMailing"]),
        &described("Contact", &["Mailing"]),
        &describe("OrderItem", &[]),
        None,
    )
    .unwrap();
    let at = |city: &str| {
        Some(Address {
            city: Some(city.to_owned()),
            ..Address::default()
        })
    };
    let cities = |customers, addresses| cities_of(&shape, customers, addresses);
    let both = || (at("Sydney"), at("Hobart"));
    let expected = |told: &[(&str, &str)]| -> BTreeMap<String, String> {
        let told = told.iter();
        told.map(|(field, city)| ((*field).to_owned(), (*city).to_owned()))
            .collect()
    };
    assert_eq!(
        cities(Customers::Contacts, both()),
        expected(&[
            ("account BillingCity", "Sydney"),
            ("account ShippingCity", "Hobart"),
            ("contact MailingCity", "Hobart"),
            ("record BillingCity", "Sydney"),
            ("record ShippingCity", "Hobart"),
        ])
    );
    assert_eq!(
        cities(Customers::Persons, both()),
        expected(&[
            ("account BillingCity", "Sydney"),
            ("account PersonMailingCity", "Hobart"),
            ("account ShippingCity", "Hobart"),
            ("record BillingCity", "Sydney"),
            ("record ShippingCity", "Hobart"),
        ])
    );
    // Without a shipping address the contact gets the billing address.
    assert_eq!(
        cities(Customers::Contacts, (at("Sydney"), None)),
        expected(&[
            ("account BillingCity", "Sydney"),
            ("contact MailingCity", "Sydney"),
            ("record BillingCity", "Sydney"),
        ])
    );
}

#[test]
fn payments_are_rows_or_a_reference_by_the_profile() {
    let mut order = placed(1);
    order.payments = vec![Payment {
        reference: "pi_1".to_owned(),
        amount: Decimal::parse("39.80"),
        method: Some("card".to_owned()),
        status: None,
        paid_at: None,
    }];
    let made = standard(|composer| parts(composer.order(&order)));
    assert_eq!(made[2]["body"]["OrderReferenceNumber"], "pi_1");
    assert_eq!(made.len(), 4);
    let made = with(Profile::Storeconnect, &shape(&[]), |composer| {
        order.lines[0].fields.clear();
        parts(composer.order(&order))
    });
    assert_eq!(made[3]["url"], "/v/sobjects/s_c__Payment__c");
    assert_eq!(
        made[3]["body"],
        json!({"s_c__Order_Id__c": "@{record.id}", "s_c__sC_Id__c": "WEB-1-pay1", "s_c__Transaction_Number__c": "pi_1",
            "s_c__Amount__c": 39.8, "s_c__Method__c": "card"})
    );
}

#[test]
fn nothing_is_dropped_in_silence() {
    let code = |change: &dyn Fn(&mut Placed)| {
        let mut order = placed(1);
        change(&mut order);
        standard(|composer| composer.order(&order)).unwrap_err().code
    };
    assert_eq!(
        code(&|order| drop(order.fields.insert("Nope__c".to_owned(), json!(1)))),
        "FIELD_NOT_WRITABLE"
    );
    assert_eq!(
        code(&|order| drop(order.fields.insert("external_id__c".to_owned(), json!(1)))),
        "FIELD_RESERVED"
    );
    assert_eq!(code(&|order| order.external_id = "K".repeat(37)), "KEY_TOO_LONG");
    assert_eq!(
        code(&|order| order.customer.phone = Some("+61 3 5550 0001".to_owned())),
        "FIELD_NOT_WRITABLE"
    );
    // What one of the records takes is not lost.
    let order = placed(1);
    assert!(
        standard(|composer| composer.order(&order)).is_ok(),
        "no city of the contact"
    );
}

/// A payment that is a record of its own does not leave the order's fields behind.
#[test]
fn a_payment_of_an_order_carries_the_order_s_fields() {
    let entry = Entry {
        external_id: "U-1".to_owned(),
        order: Some("WEB-1".to_owned()),
        payment: Some(Payment {
            reference: "pi_1".to_owned(),
            amount: None,
            method: None,
            status: None,
            paid_at: None,
        }),
        fields: [("Note__c".to_owned(), json!("gift"))].into(),
        ..Entry::default()
    };
    let made = with(Profile::Storeconnect, &shape(&[]), |composer| {
        composer.entry(Kind::OrderUpdate, &entry).unwrap().json()
    });
    assert_eq!(made[0]["url"], "/v/sobjects/s_c__Payment__c");
    assert_eq!(made[0]["referenceId"], "record");
    assert_eq!(
        made[1]["url"],
        "/v/sobjects/Order/External_ID__c/WEB-1?updateOnly=true"
    );
    assert_eq!(made[1]["body"], json!({"Note__c": "gift"}));
}

fn entry_parts(kind: Kind, posted: &Value, profile: Profile) -> Result<Vec<Value>, Problem> {
    let entry = match spec(kind) {
        Some(spec) => parse::entry(spec, posted, None).unwrap(),
        None => parse::order_update(posted, "WEB-1", Some("U-1")).unwrap(),
    };
    let shape = shape(&[]);
    with(profile, &shape, |composer| composer.entry(kind, &entry))
        .map(|request| request.json().as_array().unwrap().clone())
}

#[test]
fn each_kind_makes_its_record() {
    let named = json!({"external_id": "C-7"});
    let case = json!({"external_id": "K", "subject": "Late", "customer": named});
    let case = entry_parts(Kind::Case, &case, Profile::Standard).unwrap();
    assert_eq!(
        case[0],
        json!({"method": "POST", "url": "/v/sobjects/Case", "referenceId": "record", "body": {
            "External_ID__c": "K", "Contact": {"External_ID__c": "C-7"}, "Account": {"External_ID__c": "C-7"},
            "Subject": "Late", "Origin": "Web"}})
    );
    let known = json!({"external_id": "K", "subject": "Late", "customer": {"external_id": "C-7", "email": "a@b.example"}});
    let known = entry_parts(Kind::Case, &known, Profile::Standard).unwrap();
    assert_eq!(
        (known.len(), &known[2]["body"]["ContactId"]),
        (3, &json!("@{contact.id}"))
    );

    let lead = json!({"external_id": "K", "last_name": "Lee", "address": {"city": "Hobart"}});
    let lead = entry_parts(Kind::Lead, &lead, Profile::Standard).unwrap();
    assert_eq!(
        lead[0]["body"],
        json!({"External_ID__c": "K", "LastName": "Lee", "City": "Hobart", "Company": "Lee"})
    );

    let asset = json!({"external_id": "K", "name": "Drill", "customer": named});
    let refused = entry_parts(Kind::Asset, &asset, Profile::Standard).unwrap_err();
    assert_eq!(refused.code, "NO_KEY_FIELD", "it could be doubled");

    let customer = json!({"external_id": "C-7", "last_name": "Lee", "birthdate": "1990-02-01"});
    let customer = entry_parts(Kind::Customer, &customer, Profile::Standard).unwrap();
    assert_eq!(
        customer[1],
        json!({"method": "POST", "url": "/v/sobjects/Contact", "referenceId": "record",
            "body": {"AccountId": "@{account.id}", "LastName": "Lee", "Birthdate": "1990-02-01", "External_ID__c": "C-7"}})
    );

    let form = json!({"external_id": "K", "form_id": "a11000000000001AAA", "order_external_id": "WEB-1",
        "answers": [{"answer": ["a", "b"]}]});
    let form = entry_parts(Kind::FormSubmission, &form, Profile::Storeconnect).unwrap();
    assert_eq!(
        form[0]["body"]["s_c__Order_Id__r"],
        json!({"External_ID__c": "WEB-1"})
    );
    assert_eq!(
        form[1]["body"],
        json!({"s_c__sC_Id__c": "K-1", "s_c__Form_Submission_Id__c": "@{record.id}", "s_c__Answer__c": "a;b"})
    );
}

#[test]
fn an_update_finds_its_order_by_key_and_makes_none() {
    let url = "/v/sobjects/Order/External_ID__c/WEB-1?updateOnly=true";
    for (posted, body) in [
        (json!({"cancelled": {}}), json!({"Status": "Cancelled"})),
        (
            json!({"shipping_address": {"street": "2 Low St"}}),
            json!({"ShippingStreet": "2 Low St"}),
        ),
        (
            json!({"payment": {"reference": "pi_1"}}),
            json!({"OrderReferenceNumber": "pi_1"}),
        ),
    ] {
        let parts = entry_parts(Kind::OrderUpdate, &posted, Profile::Standard).unwrap();
        assert_eq!(
            parts,
            [json!({"method": "PATCH", "url": url, "referenceId": "record", "body": body})]
        );
    }
    let paid = json!({"payment": {"reference": "pi_1", "amount": "5"}});
    let paid = entry_parts(Kind::OrderUpdate, &paid, Profile::Storeconnect).unwrap();
    assert_eq!(paid[0]["method"], "POST");
    assert_eq!(
        paid[0]["body"],
        json!({"s_c__Order_Id__r": {"External_ID__c": "WEB-1"}, "s_c__sC_Id__c": "U-1",
            "s_c__Transaction_Number__c": "pi_1", "s_c__Amount__c": 5})
    );
}

/// An org with records for shipments and for the use of promotions.
fn with_extras<T>(profile: Profile, map: &[(&str, &str)], act: impl FnOnce(Composer<'_>) -> T) -> T {
    let mut shape = shape(&["s_c__Tax_Amount__c", "s_c__Total_of_Discounts__c"]);
    let usage = [
        "s_c__sC_Id__c",
        "s_c__Order_Id__c",
        "s_c__Promotion2_Id__c",
        "s_c__Total_Value__c",
        "s_c__Contact_Id__c",
    ];
    let shipment = [
        "s_c__sC_Id__c",
        "s_c__Order_Id__c",
        "s_c__Charge__c",
        "s_c__Stock_Location_Id__c",
    ];
    shape.add(&describe("s_c__Promotion2_Usage__c", &usage), None);
    shape.add(&describe("s_c__Shipment__c", &shipment), None);
    let map = map
        .iter()
        .map(|(name, field)| ((*name).to_owned(), (*field).to_owned()));
    let mapping = Mapping::new(profile, &map.collect()).unwrap();
    with(profile, &shape, |composer| {
        act(Composer {
            mapping: &mapping,
            ..composer
        })
    })
}

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

fn saving(promotion: Option<&str>, coupon: Option<&str>, is_line: bool) -> Saving {
    Saving {
        amount: decimal("5"),
        promotion_id: promotion.map(str::to_owned),
        coupon: coupon.map(str::to_owned),
        is_line,
    }
}

/// An order of one item without fields of the storefront's own.
fn bare() -> Placed {
    let mut order = placed(1);
    order.fields = BTreeMap::new();
    order.lines[0].fields = BTreeMap::new();
    order
}

fn body(parts: &[Value], reference: &str) -> Value {
    let part = parts.iter().find(|part| part["referenceId"] == reference);
    part.unwrap_or_else(|| panic!("{reference} in {parts:?}"))["body"].clone()
}

#[test]
fn what_an_order_costs_and_saves_goes_into_records() {
    let mut order = bare();
    order.lines[0].tax = Some(decimal("1.82"));
    order.shipment = Some(Shipment {
        amount: decimal("9.95"),
        label: None,
        stock_location_id: Some("131A".to_owned()),
    });
    order.savings = vec![
        saving(Some("a1pA"), Some("SPRING"), true),
        saving(None, Some("NEW"), true),
    ];
    let map = [("order.coupon", "Note__c")];
    let parts = with_extras(Profile::Storeconnect, &map, |composer| {
        parts(composer.order(&order))
    });
    assert_eq!(body(&parts, "item0")["s_c__Tax_Amount__c"], json!(1.82));
    assert_eq!(body(&parts, "record")["Note__c"], json!("SPRING, NEW"));
    assert_eq!(
        body(&parts, "shipment"),
        json!({"s_c__sC_Id__c": "WEB-1-shipment", "s_c__Order_Id__c": "@{record.id}", "s_c__Charge__c": 9.95,
            "s_c__Stock_Location_Id__c": "131A"})
    );
    assert_eq!(
        body(&parts, "saving1"),
        json!({"s_c__sC_Id__c": "WEB-1-saving1", "s_c__Order_Id__c": "@{record.id}", "s_c__Promotion2_Id__c": "a1pA",
            "s_c__Total_Value__c": 5, "s_c__Contact_Id__c": "@{contact.id}"})
    );
    assert!(!parts.iter().any(|part| part["referenceId"] == "saving2"));
}

#[test]
fn what_has_no_record_goes_into_fields_and_is_never_lost() {
    let mut order = bare();
    order.savings = vec![saving(None, None, false), saving(None, None, true)];
    let map = [("order.discount", "Note__c")];
    let parts = with_extras(Profile::Standard, &map, |composer| parts(composer.order(&order)));
    assert_eq!(body(&parts, "record")["Note__c"], json!(5), "one has a line");
    order.savings = vec![saving(None, Some("SPRING"), true)];
    let lost = with_extras(Profile::Standard, &map, |composer| composer.order(&order)).unwrap_err();
    assert_eq!(lost.code, "FIELD_NOT_WRITABLE", "{lost:?}");
}
