//! What a record was at a time: the journal's word against the org's own answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use storesync::journal::history::History;
use storesync::journal::history::at::Then;
use storesync::model::clock::{Millis, format_datetime, parse_datetime};

use crate::world::{Row, Sandbox, cache, converge, eventually, select};

/// Pairs of a record and a time.
const PAIRS: usize = 1_000;

/// Pairs that go over the command line.
const TYPED: usize = 12;

/// Changes made; the org's clock moves on before each.
const CHANGES: usize = 160;

/// What the org said of the records, whenever it was asked.
struct Answers<'o> {
    org: &'o Sandbox,
    fields: BTreeMap<&'static str, String>,
    /// Since when it was so.
    versions: BTreeMap<Record, Vec<(Millis, Option<Row>)>>,
}

/// Object and id.
type Record = (&'static str, String);

impl Answers<'_> {
    async fn note(&mut self, object: &'static str, id: &str, at: Millis) {
        let soql = format!("SELECT {} FROM {object} WHERE Id = '{id}'", self.fields[object]);
        let row = self.org.query(&soql).await.pop();
        let versions = self.versions.entry((object, id.to_owned())).or_default();
        versions.push((at, row));
    }

    fn at(&self, record: &Record, at: Millis) -> Option<&Row> {
        let versions = self.versions[record].iter().rev();
        let then = versions.clone().find(|(since, _)| *since <= at);
        then.and_then(|(_, row)| row.as_ref())
    }
}

/// The fields that the cache has, without those that the org computes: of these it keeps no past itself.
async fn fields(org: &Sandbox, object: &str) -> String {
    let url = org.url(&format!("sobjects/{object}/describe"));
    let (_, describe) = org
        .call(
            reqwest::Method::GET,
            &format!("sobjects/{object}/describe"),
            &json!({}),
        )
        .await;
    let fields = describe["fields"].as_array().unwrap_or_else(|| panic!("{url}"));
    let computed = |name: &str| {
        fields.iter().any(|field| {
            field["name"].as_str().unwrap().eq_ignore_ascii_case(name) && field["calculated"] == true
        })
    };
    let of_cache = select(
        &cache(&org.state()),
        &format!("select field from _field where object = '{object}' order by field"),
    );
    let names = of_cache.iter().map(|row| row["field"].as_str().unwrap());
    names
        .filter(|name| !computed(name) && !name.eq_ignore_ascii_case("SystemModstamp"))
        .collect::<Vec<_>>()
        .join(",")
}

/// Moves the org to the beginning of another second: what is changed now has all of it to be changed in.
async fn next_second(org: &Sandbox) -> Millis {
    let told = org.control("clock", json!({"advance_ms": 0})).await;
    let now = parse_datetime(told["now"].as_str().unwrap()).unwrap();
    let next = (now.div_euclid(1_000) + 2) * 1_000;
    org.control("clock", json!({"to": format_datetime(next)})).await;
    next
}

/// Whether a row is there, which one that was just made may not be yet, and its only column has this.
fn is_told(org: &Sandbox, sql: &str, text: &str) -> Option<()> {
    let rows = select(&cache(&org.state()), sql);
    rows.iter()
        .any(|row| row.values().all(|value| value == text))
        .then_some(())
}

async fn change(org: &Sandbox, random: &mut fastrand::Rng, id: &str, number: usize) {
    let name = format!("Name {number}");
    match random.u8(0..10) {
        0 => {
            let update = json!({"attributes": {"type": "Product2"}, "Id": id, "Name": name});
            org.control("changes", json!({"told": "gaps", "update": [update]}))
                .await;
            // Its fields are read from the org, which soon has others.
            let sql = format!("select name from product2 where id = '{id}'");
            eventually("what no event told is read", async || is_told(org, &sql, &name)).await;
        }
        1 => {
            org.update("Product2", id, json!({"Description": null, "IsActive": false}))
                .await
        }
        2 => {
            org.update(
                "Product2",
                id,
                json!({"Description": "long ".repeat(60), "Name": name}),
            )
            .await
        }
        _ => {
            let fields = json!({"Name": name, "Description": format!("d {number}"), "IsActive": true});
            org.update("Product2", id, fields).await;
        }
    }
}

/// The records that change.
struct Past {
    products: Vec<String>,
    gone: Vec<String>,
    contact: String,
}

impl Past {
    /// Changes a record, and has the org say how it is.
    async fn step(
        &mut self,
        answers: &mut Answers<'_>,
        random: &mut fastrand::Rng,
        number: usize,
        at: Millis,
    ) {
        let org = answers.org;
        let id = self.products[random.usize(..self.products.len())].clone();
        match number % 20 {
            7 => {
                let made = json!({"Name": format!("Made {number}"), "IsActive": true});
                let made = org.create("Product2", made).await;
                answers.note("Product2", &made, at).await;
                self.products.push(made);
            }
            11 => {
                org.delete("Product2", &id).await;
                answers.note("Product2", &id, at).await;
                self.products.retain(|other| *other != id);
                self.gone.push(id);
            }
            15 if !self.gone.is_empty() => {
                let back = self.gone.remove(0);
                org.control("changes", json!({"undelete": [back]})).await;
                answers.note("Product2", &back, at).await;
                self.products.push(back);
            }
            3 => {
                // Polled: what no poll saw, nobody can tell, so each change is waited for.
                let (contact, name) = (&self.contact, format!("Polled {number}"));
                org.update("Contact", contact, json!({"LastName": name})).await;
                answers.note("Contact", contact, at).await;
                let sql = format!("select lastname from contact where id = '{contact}'");
                eventually("the change is polled", async || is_told(org, &sql, &name)).await;
            }
            _ => {
                change(org, random, &id, number).await;
                answers.note("Product2", &id, at).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_as_the_org_said_it_was() {
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    let mut mirrored = BTreeMap::new();
    for object in ["Product2", "Contact"] {
        mirrored.insert(object, fields(&org, object).await);
    }
    let begun = next_second(&org).await;
    let mut answers = Answers {
        org: &org,
        fields: mirrored,
        versions: BTreeMap::new(),
    };
    let mut past = Past {
        products: org
            .query("SELECT Id FROM Product2 ORDER BY Id LIMIT 20")
            .await
            .iter()
            .map(|row| row["Id"].as_str().unwrap().to_owned())
            .collect(),
        gone: Vec::new(),
        contact: org.some("Contact", "").await,
    };
    for id in &past.products {
        answers.note("Product2", id, begun).await;
    }
    answers.note("Contact", &past.contact, begun).await;
    let mut ended = begun;
    for number in 0..CHANGES {
        ended = next_second(&org).await;
        past.step(&mut answers, &mut random, number, ended).await;
    }
    let products = past.products;
    let last = format!("select name from product2 where id = '{}'", products[0]);
    next_second(&org).await;
    next_second(&org).await;
    next_second(&org).await;
    org.update("Product2", &products[0], json!({"Name": "The last"}))
        .await;
    eventually("the last change has arrived", async || {
        is_told(&org, &last, "The last")
    })
    .await;
    org.settled().await;
    compare(&org, &answers, &mut random, begun, ended);
    compare_at_the_instant_of_each_change(&org, &answers, begun);
    typed(&org, &answers, &mut random, begun, ended).await;
    drop(daemon);
}

fn pair(answers: &Answers<'_>, random: &mut fastrand::Rng, begun: Millis, ended: Millis) -> (Record, Millis) {
    let records: Vec<_> = answers.versions.keys().collect();
    let record = records[random.usize(..records.len())].clone();
    (record, random.i64(begun..ended + 3_000))
}

/// As the journal tells it and the org said it: differing fields.
fn unlike(then: &Row, org: Option<&Row>) -> Vec<String> {
    let Some(org) = org else {
        return vec!["it was not there".to_owned()];
    };
    let same = |here: &Value, there: &Value| match (here, there) {
        (Value::Number(here), Value::Number(there)) => here.as_f64() == there.as_f64(),
        (Value::String(here), Value::String(there)) => *here == there.replace("+0000", "Z"),
        _ => here == there,
    };
    org.iter()
        .filter(|(field, _)| *field != "Id")
        .filter(|(field, value)| !same(then.get(*field).unwrap_or(&Value::Null), value))
        .map(|(field, value)| format!("{field}: {:?} / {value}", then.get(field)))
        .collect()
}

fn compare(org: &Sandbox, answers: &Answers<'_>, random: &mut fastrand::Rng, begun: Millis, ended: Millis) {
    let mut history = History::open(&org.state()).unwrap();
    let mut wrong = Vec::new();
    let mut absent = 0;
    for _ in 0..PAIRS {
        let (record, at) = pair(answers, random, begun, ended);
        let said = answers.at(&record, at);
        let found = match history.at(record.0, &record.1, at).unwrap() {
            Then::Row { row, whole: true } => unlike(&row.into_iter().collect(), said),
            Then::Absent if said.is_none() => {
                absent += 1;
                Vec::new()
            }
            other => vec![format!("{other:?} / {said:?}")],
        };
        if !found.is_empty() {
            wrong.push(format!("{record:?} at {}: {found:?}", format_datetime(at)));
        }
    }
    let shown = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {PAIRS} pairs differ:\n{shown}",
        wrong.len()
    );
    assert!(absent > 10, "only {absent} pairs met a record that was not there");
}

/// At the instant that the org stamped a change with, the row has that change.
fn compare_at_the_instant_of_each_change(org: &Sandbox, answers: &Answers<'_>, begun: Millis) {
    let mut history = History::open(&org.state()).unwrap();
    for ((object, id), versions) in &answers.versions {
        let changed = versions.iter().filter(|(since, _)| *since > begun);
        for said in changed.filter_map(|(_, said)| said.as_ref()) {
            let at = said["LastModifiedDate"].as_str().unwrap();
            let found = match history.at(object, id, parse_datetime(at).unwrap()).unwrap() {
                Then::Row { row, whole: true } => unlike(&row.into_iter().collect(), Some(said)),
                other => vec![format!("{other:?}")],
            };
            assert!(found.is_empty(), "{object} {id} at {at}: {found:?}");
        }
    }
}

async fn typed(
    org: &Sandbox,
    answers: &Answers<'_>,
    random: &mut fastrand::Rng,
    begun: Millis,
    ended: Millis,
) {
    for _ in 0..TYPED {
        let (record, at) = pair(answers, random, begun, ended);
        let text = format_datetime(at);
        let arguments = ["history", record.0, &record.1[..15], "--at", &text, "--json"];
        let (exit, said, problem) = org.verb(&arguments).await;
        assert_eq!(exit, 0, "{problem}");
        let then: Value = serde_json::from_str(&said).unwrap();
        match answers.at(&record, at) {
            None => assert_eq!(then["state"], "absent", "{then}"),
            row => assert_eq!(
                unlike(then["row"].as_object().unwrap(), row),
                Vec::<String>::new(),
                "{then}"
            ),
        }
    }
}
