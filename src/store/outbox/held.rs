//! What accepted orders hold of the stock and of what accounts are approved for, until the org has confirmed them or a person has given them up.
//!
//! The org takes what was ordered off its stock once it knows of the order; until then it is counted here, by product.
//! Each change of the count is made with the change of the order that it follows from, in one transaction. Products
//! whose stock does not count are not counted here either.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::order::Line;
use crate::model::write::Write;
use crate::store::reader::Reader;

/// Reads what is held; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Held(Option<Reader>);

/// How much of a product, or of an approval, orders may hold in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub product_id: String,
    /// As the org's stock was when the order was judged.
    pub hundredths_max: i64,
}

impl Limit {
    pub fn new(product_id: &str, in_org: f64) -> Self {
        Self {
            product_id: product_id.to_owned(),
            hundredths_max: hundredths(in_org),
        }
    }
}

/// Rounded, because a double hardly ever is a whole number of hundredths.
#[expect(clippy::cast_possible_truncation, reason = "a count of pieces")]
fn hundredths(pieces: f64) -> i64 {
    (pieces * 100.0).round() as i64
}

impl Held {
    /// For readers of a cache without an outbox: nothing is held.
    pub fn none() -> Self {
        Self::default()
    }

    pub(super) fn of_outbox(reader: Reader) -> Self {
        Self(Some(reader))
    }

    /// How many pieces of a product are held.
    pub fn of(&self, product_id: &str) -> rusqlite::Result<f64> {
        let Some(reader) = &self.0 else { return Ok(0.0) };
        let found = reader.with(|connection| held(connection, product_id));
        // The reader tells of what kept it from opening the file too.
        let found = found.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(found as f64 / 100.0)
    }
}

fn held(connection: &Connection, product_id: &str) -> rusqlite::Result<i64> {
    let found = connection
        .prepare_cached("select hundredths from held where product_id = ?1")?
        .query_row([product_id], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

/// What an order holds, by product, in hundredths.
fn of_write(write: &Write) -> Vec<(&str, i64)> {
    let Write::Order(order) = write else {
        return Vec::new();
    };
    let mut holds: Vec<(&str, i64)> = Vec::new();
    for line in &order.lines {
        let Some(more) = line.quantity.hundredths() else {
            continue;
        };
        // Ids of products and of approvals differ.
        for held in line.holds.iter().chain(&line.approval) {
            match holds.iter_mut().find(|(other, _)| other == held) {
                Some((_, sum)) => *sum += more,
                None => holds.push((held, more)),
            }
        }
    }
    holds.retain(|(_, sum)| *sum > 0);
    holds
}

/// The first line of whose product more would be held than there is.
pub(super) fn short(
    connection: &Connection,
    write: &Write,
    limits: &[Limit],
) -> rusqlite::Result<Option<usize>> {
    let Write::Order(order) = write else {
        return Ok(None);
    };
    if limits.is_empty() {
        return Ok(None);
    }
    for (product, wanted) in of_write(write) {
        let Some(limit) = limits.iter().find(|limit| limit.product_id == product) else {
            continue;
        };
        if held(connection, product)? + wanted > limit.hundredths_max {
            let holds = |line: &Line| [&line.holds, &line.approval].contains(&&Some(product.to_owned()));
            return Ok(order.lines.iter().position(holds));
        }
    }
    Ok(None)
}

/// Holds what an order wants.
pub(super) fn keep(connection: &Connection, sequence: i64, write: &Write) -> rusqlite::Result<()> {
    for (product, hundredths) in of_write(write) {
        connection
            .prepare_cached("insert into holds (write_sequence, product_id, hundredths) values (?1, ?2, ?3)")?
            .execute(params![sequence, product, hundredths])?;
        connection
            .prepare_cached(
                "insert into held (product_id, hundredths) values (?1, ?2)
                 on conflict do update set hundredths = hundredths + excluded.hundredths",
            )?
            .execute(params![product, hundredths])?;
    }
    Ok(())
}

/// Holds nothing for an order any more.
pub(super) fn release(connection: &Connection, sequence: i64) -> rusqlite::Result<()> {
    let held: Vec<(String, i64)> = connection
        .prepare_cached("select product_id, hundredths from holds where write_sequence = ?1")?
        .query_map([sequence], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (product, hundredths) in &held {
        let rest = connection
            .prepare_cached(
                "update held set hundredths = hundredths - ?2 where product_id = ?1 and hundredths > ?2",
            )?
            .execute(params![product, hundredths])?;
        if rest == 0 {
            connection
                .prepare_cached("delete from held where product_id = ?1")?
                .execute([product])?;
        }
    }
    if !held.is_empty() {
        connection
            .prepare_cached("delete from holds where write_sequence = ?1")?
            .execute([sequence])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::{Decimal, OrderState, Problem};
    use crate::store::outbox::desk::{Action, Deed, Done};
    use crate::store::outbox::tests::{Shop, new_order, shop};
    use crate::store::outbox::{Accepted, Claimed, Exchange, NewWrite};
    use serde_json::json;

    /// An order for so much of each product.
    fn order(key: &str, wanted: &[(&str, &str)], limits: &[(&str, f64)]) -> NewWrite {
        let mut new = new_order(key, key, 1);
        let Write::Order(placed) = &mut new.write else {
            unreachable!("an order is an order")
        };
        let line = |&(product, quantity): &(&str, &str)| Line {
            holds: Some(product.to_owned()),
            quantity: Decimal::parse(quantity).unwrap(),
            ..placed.lines[0].clone()
        };
        placed.lines = wanted.iter().map(line).collect();
        new.limits = limits
            .iter()
            .map(|(product, in_org)| Limit::new(product, *in_org))
            .collect();
        new
    }

    async fn accept(shop: &Shop, new: NewWrite) -> Accepted {
        shop.outbox.accept(new, 1_000).await.unwrap()
    }

    fn held_of(shop: &Shop, product: &str) -> f64 {
        shop.outbox.held().of(product).unwrap()
    }

    async fn record(shop: &Shop, claimed: &Claimed, state: OrderState) {
        let recorded = shop
            .outbox
            .record(claimed, state, Exchange::default(), 2_000)
            .await;
        assert!(recorded.unwrap());
    }

    async fn deed(shop: &Shop, action: Action) {
        let actor = "someone".to_owned();
        let done = shop.outbox.deed(Deed::new(actor, action), 3_000).await.unwrap();
        assert!(matches!(done, Done::Changed { .. }), "{done:?}");
    }

    #[tokio::test]
    async fn an_order_holds_its_stock_until_it_is_confirmed() {
        let shop = shop();
        accept(&shop, order("A", &[("p", "2"), ("q", "1.5"), ("p", "1")], &[])).await;
        accept(&shop, order("B", &[("p", "4")], &[])).await;
        assert_eq!((held_of(&shop, "p"), held_of(&shop, "q")), (7.0, 1.5));
        accept(&shop, order("A", &[("p", "2"), ("q", "1.5"), ("p", "1")], &[])).await;
        assert_eq!(held_of(&shop, "p"), 7.0, "the same order again holds no more");
        let claimed = shop.due(5_000).await.remove(0);
        let sent = OrderState::Sent {
            salesforce_id: "801".to_owned(),
        };
        record(&shop, &claimed, sent).await;
        assert_eq!(
            held_of(&shop, "p"),
            7.0,
            "it is sent, and the stock is not told yet"
        );
        shop.outbox.confirm(vec![claimed.sequence], 3_000).await.unwrap();
        assert_eq!((held_of(&shop, "p"), held_of(&shop, "q")), (4.0, 0.0));
        shop.outbox.confirm(vec![claimed.sequence], 3_000).await.unwrap();
        assert_eq!(held_of(&shop, "p"), 4.0, "it is confirmed once");
        let shop = Shop::open(shop.crash(), 9_000);
        assert_eq!(held_of(&shop, "p"), 4.0, "a start changes nothing");
    }

    #[tokio::test]
    async fn what_a_person_does_to_an_order_is_done_to_its_stock() {
        let shop = shop();
        accept(&shop, order("A", &[("p", "3")], &[])).await;
        let claimed = shop.due(5_000).await.remove(0);
        let problem = Problem::new("CODE", "a sentence");
        record(&shop, &claimed, OrderState::NeedsAttention { problem }).await;
        assert_eq!(held_of(&shop, "p"), 3.0, "a person may send it still");
        let reference = || "A".to_owned();
        let line = json!({"pricebook_entry_id": "01u", "quantity": "1", "unit_price": "5", "holds": "p"});
        let patch = json!({"lines": [line]});
        let edit = Action::Edit {
            reference: reference(),
            patch,
        };
        deed(&shop, edit).await;
        assert_eq!(held_of(&shop, "p"), 1.0);
        let discard = Action::Discard {
            reference: reference(),
            reason: "no".to_owned(),
        };
        deed(&shop, discard).await;
        assert_eq!(held_of(&shop, "p"), 0.0);
        let reopen = Action::Reopen {
            reference: reference(),
        };
        deed(&shop, reopen).await;
        assert_eq!(held_of(&shop, "p"), 1.0);
    }

    #[tokio::test]
    async fn orders_that_arrive_together_do_not_hold_more_than_there_is() {
        let shop = shop();
        let orders =
            (0..8).map(|number| accept(&shop, order(&format!("W-{number}"), &[("p", "1")], &[("p", 5.0)])));
        let answers = futures_util::future::join_all(orders).await;
        let short = Accepted::OutOfStock { line: 0 };
        assert_eq!(answers.iter().filter(|answer| **answer == short).count(), 3);
        assert_eq!(held_of(&shop, "p"), 5.0);
        let kept = answers.iter().position(|answer| *answer != short).unwrap();
        let again = order(&format!("W-{kept}"), &[("p", "1")], &[("p", 0.0)]);
        let again = accept(&shop, again).await;
        assert!(matches!(again, Accepted::Replay { .. }), "{again:?}");
        let free = accept(&shop, order("FREE", &[("p", "9")], &[])).await;
        assert!(
            matches!(free, Accepted::New { .. }),
            "what may be ordered ahead has no limit"
        );
    }
}
