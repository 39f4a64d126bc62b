//! Takes one write as far as it goes: looks up what the org has of it, sends what is missing, and tells what came
//! of it.
//!
//! A write that may have been sent before is looked up first. A long order is sent piece by piece; after each the
//! org itself says how far it is, so an attempt that ends anywhere is taken up by the next one.

mod late;
mod order;
mod party;

use serde_json::{Map, Value, json};

use crate::model::clock::Millis;
use crate::model::order::Problem;
use crate::model::write::{Entry, Kind, Write};
use crate::outbound::answer::{self, Having};
use crate::outbound::compose::{Composer, RECORD, Request};
use crate::outbound::outcome::{self, Verdict};
use crate::outbound::version::Version;
use crate::salesforce::rest::{PartResult, Scope};
use crate::salesforce::soql::literal;
use crate::salesforce::{Error, Org};
use crate::store::outbox::{Claimed, Exchange, NotWritten, Outbox};
use crate::store::reader::Reader;
use crate::store::storefront;

/// How much the org's clock may be behind ours.
const CLOCKS_APART: Millis = 300_000;

/// Why an attempt did not get its write into the org.
pub struct Trouble {
    pub verdict: Verdict,
    /// It came of looking: nothing was sent, and the look is still to be had.
    pub looking: bool,
}

impl Trouble {
    fn sending(verdict: Verdict) -> Self {
        Self {
            verdict,
            looking: false,
        }
    }

    /// What cannot be composed was not sent.
    fn refused(problem: Problem) -> Self {
        Self::sending(Verdict::NeedsAttention { problem })
    }
}

/// What a request does that arrives a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// It makes a record under a key, and is refused.
    Fails,
    /// It sets values, whatever was written since.
    Overwrites,
}

/// What a delivery asks.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub org: &'a Org,
    /// For what the org does not tell any more.
    pub outbox: &'a Outbox,
    /// For what the org had before.
    pub reader: &'a Reader,
}

/// One attempt at one write.
pub struct Delivery<'a> {
    org: &'a Org,
    outbox: &'a Outbox,
    reader: &'a Reader,
    composer: Composer<'a>,
    claimed: &'a Claimed,
    exchange: Exchange,
    /// What a request for the person leaves out.
    left_out: Vec<NotWritten>,
}

/// Delivers a write; gives its Salesforce id, or what is in the way, and what was last said.
pub async fn deliver(
    sources: Sources<'_>,
    composer: Composer<'_>,
    claimed: &Claimed,
) -> (Result<String, Trouble>, Exchange) {
    let mut delivery = Delivery {
        org: sources.org,
        outbox: sources.outbox,
        reader: sources.reader,
        composer,
        claimed,
        exchange: Exchange::default(),
        left_out: Vec::new(),
    };
    let Ok(write) = Write::from_json(claimed.kind, &claimed.body) else {
        let trouble = Trouble::refused(Problem::new(
            "WRITE_UNREADABLE",
            "what is kept cannot be read: a newer storesync may have written it; install that version again",
        ));
        return (Err(trouble), delivery.exchange);
    };
    let write = write.under(claimed.org_key.as_deref(), claimed.order_org_key.as_deref());
    let party = match delivery.party(&write).await {
        Ok(party) => party,
        Err(trouble) => return (Err(trouble), delivery.exchange),
    };
    delivery.composer.party = &party;
    delivery.left_out = delivery.composer.left_out(&write);
    let delivered = match &write {
        Write::Order(order) => delivery.order(order).await,
        Write::Entry(kind, entry) => delivery.entry(*kind, entry).await,
    };
    (delivered, delivery.exchange)
}

impl Delivery<'_> {
    /// Any write but an order.
    async fn entry(&mut self, kind: Kind, entry: &Entry) -> Result<String, Trouble> {
        let request = self.composer.entry(kind, entry).map_err(Trouble::refused)?;
        let created = self.composer.entry_key(kind, entry);
        if created.is_none() {
            self.hold_interrupted()?;
        }
        // Of a customer who was found: nothing of the request says who that is, and there may be nothing to change.
        let known = self
            .composer
            .party
            .person
            .clone()
            .filter(|_| kind == Kind::Customer);
        if self.claimed.read_back {
            let found = match &created {
                Some((object, field, key)) => self.existing(kind, entry, object, field, key).await?,
                None => self.as_meant(&request).await?,
            };
            if let Some(id) = found {
                return Ok(known.unwrap_or(id));
            }
        }
        self.exchange.not_written = Some(self.left_out.clone());
        if let (true, Some(id)) = (request.is_empty(), &known) {
            return Ok(id.clone());
        }
        let again = if created.is_some() {
            Again::Fails
        } else {
            Again::Overwrites
        };
        let key_field = created.map(|(_, field, _)| field).unwrap_or_default();
        let results = self.send(&request, &key_field, again).await.map_err(|trouble| {
            // The org has one member of a campaign for each person, whoever made it.
            let duplicate = matches!(&trouble.verdict, Verdict::NeedsAttention { problem } if problem.code == "DUPLICATE_VALUE");
            match trouble.verdict {
                Verdict::NeedsAttention { problem } if duplicate && kind == Kind::CampaignMember => {
                    Trouble::sending(Verdict::ReadBack {
                        problem,
                        attempts_max: Some(3),
                    })
                }
                verdict => Trouble { verdict, ..trouble },
            }
        })?;
        known
            .or_else(|| outcome::id_of(&results, RECORD))
            .or_else(|| party::id_asked_for(&results))
            .ok_or_else(|| Trouble::sending(outcome::unclear()))
    }

    /// The record that an earlier attempt made, if one did.
    async fn existing(
        &mut self,
        kind: Kind,
        entry: &Entry,
        object: &str,
        field: &str,
        key: &str,
    ) -> Result<Option<String>, Trouble> {
        let asked = json!({"object": object, "key": key});
        let found = self.org.by_external_id(object, field, key, &["Id", field]).await;
        let found = self.looked(&asked, found, field)?;
        self.fits(&asked, (object, &[(field, &[key])]), found.as_slice())?;
        if let Some(id) = found
            .as_ref()
            .and_then(|row| row.get("Id"))
            .and_then(Value::as_str)
        {
            return Ok(Some(id.to_owned()));
        }
        let person = entry
            .customer
            .as_ref()
            .and_then(|customer| customer.external_id.as_deref());
        let campaign = entry.values.get("campaign_id").and_then(Value::as_str);
        let contact_key = self.composer.shape.contact.key_field.as_ref();
        let (Kind::CampaignMember, Some(person), Some(campaign), Some(contact_key)) =
            (kind, person, campaign, contact_key)
        else {
            return Ok(None);
        };
        let soql = format!(
            "SELECT Id, CampaignId FROM CampaignMember WHERE CampaignId = {} AND Contact.{} = {}",
            literal(campaign),
            contact_key.field,
            literal(person)
        );
        let page = self.org.query(&soql, Scope::Live).await;
        let page = self.looked(&json!(soql), page, field)?;
        let having = ("CampaignId", [campaign]);
        self.fits(
            &json!(soql),
            ("CampaignMember", &[(having.0, &having.1)]),
            &page.records,
        )?;
        let id = page
            .records
            .first()
            .and_then(|row| row.get("Id"))
            .and_then(Value::as_str);
        Ok(id.map(str::to_owned))
    }

    /// Sends a request; all of it was done where this gives its results.
    async fn send(
        &mut self,
        request: &Request,
        key_field: &str,
        again: Again,
    ) -> Result<Vec<PartResult>, Trouble> {
        crate::failpoint::reach("push_before_send");
        let left_at = self.org.org_time_at_least();
        let overwrites = again == Again::Overwrites;
        let (field, shape) = (self.composer.version_field, self.composer.shape);
        let version = field.map(|field| Version::of(self.claimed, field, shape));
        let stamped = version.map(|version| version.stamp(request, overwrites));
        let request = stamped.as_ref().unwrap_or(request);
        self.exchange.request = Some(request.json().to_string());
        self.exchange.response = None;
        let answer = match request {
            Request::Composite(body) => self.org.composite(body).await,
            Request::Graph(parts) => self.org.graph(parts).await,
        };
        crate::failpoint::reach("push_after_send");
        match answer {
            Ok(results) => {
                self.exchange.response = Some(told(&results).to_string());
                let overtaken = version.filter(|_| overwrites);
                if let Some(problem) = overtaken.and_then(|version| version.refusal(&results)) {
                    return Err(Trouble::sending(Verdict::Overtaken { problem }));
                }
                let fits = match results.is_empty() {
                    true => Ok(()),
                    false => answer::parts(shape, &request.json(), &results)
                        .and_then(|()| self.made_now(&request.json(), &results)),
                };
                if let Err(problem) = fits {
                    let code = problem.code.clone();
                    let trouble = self.sent(Verdict::Unanswered { problem }, again, left_at);
                    return Err(if overwrites { Self::held(&code) } else { trouble });
                }
                outcome::of_results(&results, key_field)
                    .map_err(|verdict| self.sent(verdict, again, left_at))?;
                self.exchange.record_ids.extend(outcome::ids(&results));
                Ok(results)
            }
            Err(error) => {
                self.exchange.response = Some(error_text(&error));
                let verdict = outcome::of_error(&error, key_field);
                let trouble = self.sent(verdict, again, left_at);
                match &trouble.verdict {
                    // The org has said nothing: it may come yet.
                    Verdict::Unanswered { problem } if again == Again::Overwrites => {
                        Err(Self::held(&problem.code))
                    }
                    _ => Err(trouble),
                }
            }
        }
    }

    /// Holds the records that an answer says were made against what the org had before the write was accepted.
    fn made_now(&self, asked: &Value, results: &[PartResult]) -> Result<(), Problem> {
        let before = self.claimed.accepted_at - CLOCKS_APART;
        for (object, id) in answer::made(asked, results) {
            let created = self
                .reader
                .with(|cache| storefront::created_at(cache, object, id))
                // What cannot be read contradicts nothing.
                .unwrap_or_default();
            if created.is_some_and(|created| created < before) {
                return Err(answer::misfit(&format!("{object} {id} was there before")));
            }
        }
        Ok(())
    }

    /// Notes of a request that may have been done when it left, where what came after may not be written over.
    fn sent(&mut self, verdict: Verdict, again: Again, left_at: Millis) -> Trouble {
        let may_be_done = matches!(verdict, Verdict::Unanswered { .. } | Verdict::ReadBack { .. });
        if may_be_done && again == Again::Overwrites {
            self.exchange.unanswered_at = Some(left_at);
        }
        Trouble::sending(verdict)
    }

    /// Lets rows pass that are of the object and have what was looked for. Any others are no answer.
    fn fits(
        &mut self,
        asked: &Value,
        (object, having): (&str, &[Having<'_>]),
        rows: &[Map<String, Value>],
    ) -> Result<(), Trouble> {
        answer::rows(self.composer.shape, object, having, rows).map_err(|problem| {
            self.exchange.request = Some(json!({"look_up": asked}).to_string());
            self.exchange.response = Some(json!(rows).to_string());
            Trouble {
                verdict: Verdict::Unanswered { problem },
                looking: true,
            }
        })
    }

    /// Notes a look and its answer.
    fn looked<T>(&mut self, asked: &Value, answer: Result<T, Error>, key_field: &str) -> Result<T, Trouble> {
        answer.map_err(|error| {
            self.exchange.request = Some(json!({"look_up": asked}).to_string());
            self.exchange.response = Some(error_text(&error));
            let verdict = match outcome::of_error(&error, key_field) {
                // A look that is refused says nothing of what was to be sent.
                Verdict::NeedsAttention { problem } if matches!(error, Error::Refused { .. }) => {
                    Verdict::Unanswered { problem }
                }
                verdict => verdict,
            };
            Trouble {
                verdict,
                looking: true,
            }
        })
    }
}

/// Answers as attempts keep them.
fn told(results: &[PartResult]) -> Value {
    results
        .iter()
        .map(|part| json!({"referenceId": part.reference, "httpStatusCode": part.status, "body": part.body}))
        .collect()
}

fn error_text(error: &Error) -> String {
    match error {
        Error::Refused { status, errors } => {
            let errors: Vec<Value> = errors
                .iter()
                .map(|error| json!({"errorCode": error.code, "message": error.message, "fields": error.fields}))
                .collect();
            json!({"httpStatusCode": status, "body": errors}).to_string()
        }
        error => error.to_string(),
    }
}
