//! What is nobody's business stays where it belongs: nothing personal and no secret in a log, however much is logged
//! and whatever goes wrong.

use serde_json::json;

use crate::world::{Sandbox, a_store, eventually, order};

/// Of who orders, here and in simulated lives.
pub const NAME: &str = "Quetzalcoatlus";
pub const MAIL: &str = "quetzal@private.example";
const STREET: &str = "77 Hidden Hollow";
const CARD: &str = "4111111111111111";

/// Everything that must not be read in a log, and what it is: the org as it is now, and who orders.
pub async fn secrets(org: &Sandbox) -> Vec<(String, &'static str)> {
    let mut secrets = vec![
        (NAME.to_owned(), "a name"),
        (MAIL.to_owned(), "a mail address"),
        (STREET.to_owned(), "an address"),
        (CARD.to_owned(), "a card number"),
        (org.env["SANDBOX_CLIENT_SECRET"].clone(), "the client secret"),
        (org.env["SANDBOX_PASSWORD"].clone(), "the password"),
        // An access token is the org's id, an exclamation mark, and the secret.
        (
            format!("{}!", &org.env["SANDBOX_ORG_ID"][..15]),
            "an access token",
        ),
        ("assertion=".to_owned(), "an assertion"),
    ];
    for contact in org.query("SELECT Email, Phone, LastName FROM Contact").await {
        for (field, what) in [("Email", "a customer's mail"), ("Phone", "a customer's phone")] {
            secrets.extend(contact[field].as_str().map(|value| (value.to_owned(), what)));
        }
    }
    for account in org.query("SELECT Name, BillingStreet FROM Account").await {
        for (field, what) in [
            ("Name", "a customer's name"),
            ("BillingStreet", "a customer's street"),
        ] {
            let value = account[field].as_str().filter(|value| value.len() > 6);
            secrets.extend(value.map(|value| (value.to_owned(), what)));
        }
    }
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_and_no_secret_is_logged() {
    let org = Sandbox::start(&["--products", "20"]).await;
    let mut daemon = org
        .daemon_with(&[("STORESYNC_LOG", "storesync=trace,info")])
        .await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let person = |key: &str| {
        let mut order = order(key, &currency, &[(&products[0], 1)]);
        order["customer"] =
            json!({"external_id": format!("C-{key}"), "email": MAIL, "first_name": "Ana", "last_name": NAME});
        order["shipping_address"]["street"] = STREET.into();
        order
    };
    // One that arrives, one that the org refuses with its own words, one whose answer is lost, one with a card.
    assert_eq!(daemon.place(&store, &person("LOG-1")).await.unwrap().0, 202);
    org.fault(
        json!({"path": "/composite", "except": "/sobjects/", "times": 1, "fault": "drop_after_commit"}),
    )
    .await;
    assert_eq!(daemon.place(&store, &person("LOG-2")).await.unwrap().0, 202);
    let mut card = person("LOG-3");
    card["customer"]["last_name"] = CARD.into();
    assert_eq!(daemon.place(&store, &card).await.unwrap().0, 422);
    let words = format!("{MAIL} of {STREET} is refused");
    let rule = json!({"object": "Order", "when": "ShippingCity = 'Nowhere'", "message": words, "field": "ShippingCity"});
    org.control("rules", json!({"validations": [rule]})).await;
    let mut wrong = person("LOG-4");
    wrong["shipping_address"]["city"] = "Nowhere".into();
    assert_eq!(daemon.place(&store, &wrong).await.unwrap().0, 202);
    for key in ["LOG-1", "LOG-2"] {
        eventually("the order is in the org", async || {
            (org.count(&format!("Order WHERE External_ID__c = '{key}'")).await == 1).then_some(())
        })
        .await;
    }
    let refused = format!("/v1/stores/{store}/orders/LOG-4");
    daemon.until(&refused, &["needs_attention"]).await;
    // A person is changed, by an event and by a poll; an event cannot be read; a session ends; all is read again.
    let contact = org.some("Contact", &format!("WHERE LastName = '{NAME}'")).await;
    org.update(
        "Contact",
        &contact,
        json!({"Phone": "0400 777 777", "MailingStreet": STREET}),
    )
    .await;
    org.delete(
        "Contact",
        &org.some("Contact", &format!("WHERE LastName != '{NAME}'")).await,
    )
    .await;
    eventually("the change is here", async || {
        let (_, row) = daemon.get(&format!("/v1/objects/contact/{contact}")).await?;
        (row["phone"] == "0400 777 777").then_some(())
    })
    .await;
    daemon.get(&format!("/v1/objects/contact?email={MAIL}")).await;
    let secrets = secrets(&org).await;
    org.end_sessions().await;
    let (_, verified, verify_said) = org.verb(&["verify", "--object", "Contact"]).await;
    let (_, checked, check_said) = org.verb(&["check"]).await;
    let (_, status, _) = org.verb(&["status"]).await;
    let metrics = reqwest::get(format!("{}/metrics", daemon.admin))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    daemon.running.stop();
    let said = daemon.running.said();
    assert!(said.contains("LOG-1") && said.contains("DEBUG"), "{said}");
    let heard = [said, verified, verify_said, checked, check_said, status, metrics].join("\n");
    says_nothing_of(&heard, &secrets);
}

/// None of the secrets can be read in what was said.
pub fn says_nothing_of(heard: &str, secrets: &[(String, &'static str)]) {
    for (secret, what) in secrets {
        let line = heard.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} was logged: {line:?}");
    }
}
