//! An order on its way: whole where one request takes it, else piece by piece.

use serde_json::{Map, Value, json};

use super::{Again, Delivery, Trouble};
use crate::model::order::Placed;
use crate::outbound::compose::staged::{Progress, key_after, keys_of, pieces};
use crate::outbound::compose::{RECORD, Request};
use crate::outbound::outcome::{self, Verdict};
use crate::outbound::read_back::{self, Found, ITEM_FIELDS, ORDER_FIELDS, Ours};
use crate::outbound::record::key_field;
use crate::salesforce::Error;
use crate::salesforce::rest::Scope;
use crate::salesforce::setup::DRAFT;
use crate::salesforce::soql::literal;

/// How often an order is looked up of which the org shows other items, before a person is to look.
const DIFFERENT_ATTEMPTS_MAX: u32 = 3;

/// How far an order is in the org.
#[derive(Debug)]
enum There {
    Nothing,
    /// The header, without these items.
    Missing(String, Vec<usize>),
    /// The header and so many pieces.
    Pieces(String, usize),
    /// Every item; `draft` where the status is still to be set.
    Whole {
        id: String,
        draft: bool,
    },
}

impl Delivery<'_> {
    pub(super) async fn order(&mut self, order: &Placed) -> Result<String, Trouble> {
        let whole = self.composer.order(order).map_err(Trouble::refused)?;
        let staged = whole.is_none();
        let wants_status = self.composer.status.is_some();
        // Its status is a request of its own, which may have been the one.
        if wants_status && !whole.as_ref().is_some_and(sets_status) {
            self.hold_interrupted()?;
        }
        let mut there = There::Nothing;
        // A long order may have been begun by anyone.
        if self.claimed.read_back || staged {
            there = self.look_up(order, staged).await?;
        }
        loop {
            there = match there {
                There::Nothing => match &whole {
                    Some(request) => {
                        let id = self.create(order, request).await?;
                        let draft = wants_status && !sets_status(request);
                        There::Whole { id, draft }
                    }
                    None => self.header(order).await?,
                },
                There::Missing(id, missing) => self.items(order, id, &missing).await?,
                There::Pieces(id, done) => self.piece(order, id, done).await?,
                There::Whole { id, draft: true } if wants_status => {
                    self.status(order, &id).await?;
                    There::Whole { id, draft: false }
                }
                There::Whole { id, .. } => return Ok(id),
            };
            crate::failpoint::reach("push_between_requests");
        }
    }

    async fn create(&mut self, order: &Placed, request: &Request) -> Result<String, Trouble> {
        self.exchange.not_written = Some(self.left_out.clone());
        let results = self.send(request, &self.order_key(order)?, Again::Fails).await?;
        outcome::id_of(&results, RECORD).ok_or_else(|| Trouble::sending(outcome::unclear()))
    }

    async fn header(&mut self, order: &Placed) -> Result<There, Trouble> {
        let request = self.composer.staged_header(order).map_err(Trouble::refused)?;
        let id = self.create(order, &request).await?;
        Ok(match self.composer.progress().map_err(Trouble::refused)? {
            Progress::ItemKeys => There::Missing(id, (0..order.lines.len()).collect()),
            Progress::OrderKey => There::Pieces(id, 0),
        })
    }

    async fn items(&mut self, order: &Placed, id: String, missing: &[usize]) -> Result<There, Trouble> {
        let (request, sent) = self
            .composer
            .staged_items(order, &id, missing)
            .map_err(Trouble::refused)?;
        self.send(&request, &self.order_key(order)?, Again::Fails).await?;
        match &missing[sent..] {
            // Compared once more: someone else may have sent pieces of it too.
            [] => self.look_up(order, true).await,
            rest => Ok(There::Missing(id, rest.to_vec())),
        }
    }

    async fn piece(&mut self, order: &Placed, id: String, done: usize) -> Result<There, Trouble> {
        let request = self
            .composer
            .staged_piece(order, &id, done)
            .map_err(Trouble::refused)?;
        let key = self.order_key(order)?;
        if let Err(trouble) = self.send(&request, &key, Again::Fails).await {
            return Err(match trouble.verdict {
                // The piece is there already, whoever sent it.
                Verdict::NeedsAttention { problem } if problem.code == "NOT_FOUND" => {
                    Trouble::sending(Verdict::ReadBack {
                        problem,
                        attempts_max: Some(5),
                    })
                }
                verdict => Trouble { verdict, ..trouble },
            });
        }
        if done + 1 < pieces(order.lines.len()) {
            return Ok(There::Pieces(id, done + 1));
        }
        self.look_up(order, true).await
    }

    async fn status(&mut self, order: &Placed, id: &str) -> Result<(), Trouble> {
        let status = self.composer.status.unwrap_or_default();
        let request = self
            .composer
            .staged_status(id, status)
            .map_err(Trouble::refused)?;
        let key = self.order_key(order)?;
        match self.send(&request, &key, Again::Overwrites).await {
            // A later change of the order has given it the status that it is to have.
            Err(Trouble {
                verdict: Verdict::Overtaken { .. },
                ..
            }) => Ok(()),
            sent => sent.map(drop),
        }
    }

    fn order_key(&self, order: &Placed) -> Result<String, Trouble> {
        let field = key_field(&self.composer.shape.order, &order.external_id);
        field.map(str::to_owned).map_err(Trouble::refused)
    }

    /// What the org has of the order.
    async fn look_up(&mut self, order: &Placed, staged: bool) -> Result<There, Trouble> {
        let key = self.order_key(order)?;
        let by_order_key = staged
            && self
                .composer
                .progress()
                .is_ok_and(|progress| progress == Progress::OrderKey);
        let keys = if by_order_key {
            keys_of(order)
        } else {
            vec![order.external_id.clone()]
        };
        let found = self.orders(&key, &keys).await;
        let asked = json!({"object": "Order", "keys": keys});
        let found = self.looked(&asked, found, &key)?;
        let held: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.fits(&asked, ("Order", &[(&key, &held)]), &found)?;
        let own = |row: &&Map<String, Value>| text(row, &key).eq_ignore_ascii_case(&order.external_id);
        let Some(row) = found.iter().find(own).or(found.first()) else {
            return Ok(There::Nothing);
        };
        let id = text(row, "Id").to_owned();
        let done = (0..pieces(order.lines.len()))
            .find(|done| by_order_key && text(row, &key).eq_ignore_ascii_case(&key_after(order, *done)));
        if let Some(done) = done {
            return Ok(There::Pieces(id, done));
        }
        let item_key = self.composer.item_key(order, 0).map(|(field, _)| field);
        let items = self.order_items(&id, item_key.as_deref()).await;
        let asked = json!({"object": "OrderItem", "order": id});
        let items = self.looked(&asked, items, &key)?;
        self.fits(&asked, ("OrderItem", &[("OrderId", &[id.as_str()])]), &items)?;
        let ours = Ours {
            order,
            accepted_at: self.claimed.accepted_at,
            keys: item_key.map(|field| {
                let keys = (0..order.lines.len()).filter_map(|index| self.composer.item_key(order, index));
                (field, keys.map(|(_, key)| key).collect())
            }),
            staged,
        };
        match read_back::compare(&ours, row, &items) {
            Found::Same => {
                let mut draft = text(row, "StatusCode") == DRAFT;
                if draft && self.composer.status.is_some() {
                    draft = !self.was_activated(row).await?;
                }
                Ok(There::Whole { id, draft })
            }
            // Whoever changed it has it in hand.
            Found::Edited => Ok(There::Whole { id, draft: false }),
            Found::Missing(missing) => Ok(There::Missing(id, missing)),
            // One answer may lack rows.
            Found::Differs(problem) => Err(Trouble::sending(Verdict::ReadBack {
                problem,
                attempts_max: Some(DIFFERENT_ATTEMPTS_MAX),
            })),
        }
    }

    async fn orders(&self, key: &str, keys: &[String]) -> Result<Vec<Map<String, Value>>, Error> {
        let fields = ORDER_FIELDS.join(", ");
        let keys: Vec<String> = keys.iter().map(|key| literal(key)).collect();
        let keys = keys.join(", ");
        let soql = format!("SELECT {fields}, {key} FROM Order WHERE {key} IN ({keys})");
        Ok(self.org.query(&soql, Scope::Live).await?.records)
    }

    async fn order_items(&self, id: &str, key: Option<&str>) -> Result<Vec<Map<String, Value>>, Error> {
        let mut fields = ITEM_FIELDS.join(", ");
        if let Some(key) = key {
            fields = format!("{fields}, {key}");
        }
        let soql = format!("SELECT {fields} FROM OrderItem WHERE OrderId = '{id}'");
        let mut page = self.org.query(&soql, Scope::Live).await?;
        let mut items = page.records;
        while let Some(next) = page.next {
            page = self.org.next_page(&next).await?;
            items.append(&mut page.records);
        }
        Ok(items)
    }
}

fn text<'a>(row: &'a Map<String, Value>, field: &str) -> &'a str {
    row.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a whole order's request ends with its status.
fn sets_status(request: &Request) -> bool {
    let parts = request.json();
    let last = parts.as_array().and_then(|parts| parts.last());
    last.is_some_and(|part| part["referenceId"] == "status")
}
