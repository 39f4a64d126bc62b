//! A scenario: what merchants, imports, campaigns and customers do to the org, for demos and load.
//!
//! `storesync sandbox --script FILE` runs the phases of FILE one after the other. Which records are chosen, and what
//! becomes of them, follows from the seed; two runs over the same org do the same. Each line of the log tells how a
//! phase ended: transactions, records, seconds.
//!
//! ```toml
//! # storesync sandbox --products 1000 --script day.toml
//! seed = 7
//! # After the last phase comes the first again; without it the org is quiet then.
//! repeat = false
//!
//! [[phase]]
//! name = "a quiet morning"
//! # 0: as fast as the org commits.
//! rate_per_second = 5
//! transactions = 300
//! # How often what happens, one against the other; what is left out does not.
//! edits = 6
//! stock = 3
//! customers = 2
//! orders = 1
//!
//! [[phase]]
//! name = "everything ten percent off"
//! rate_per_second = 200
//! transactions = 2000
//! prices = 1
//! percent = -10.0
//!
//! [[phase]]
//! name = "the new season"
//! rate_per_second = 2
//! transactions = 20
//! imports = 1
//! # Records of one transaction: products of an import, entries of a campaign.
//! batch = 40
//! ```
//!
//! `edits` change a product's texts, family or availability; `prices` move price book entries by `percent`; `stock`
//! moves stock levels; `customers` change contacts, and make some; `imports` create products with their prices;
//! `orders` are drafts with one to three products.

mod acts;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::acts::{Act, Stage};
use super::org::Org;

/// Transactions between two moments in which others get their turn, where no rate is asked for.
const TURN: u64 = 64;

/// A scenario as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    repeat: bool,
    #[serde(rename = "phase")]
    phases: Vec<Phase>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phase {
    name: String,
    rate_per_second: f64,
    transactions: u64,
    #[serde(default)]
    edits: u32,
    #[serde(default)]
    prices: u32,
    #[serde(default)]
    stock: u32,
    #[serde(default)]
    customers: u32,
    #[serde(default)]
    imports: u32,
    #[serde(default)]
    orders: u32,
    #[serde(default = "ten_percent_off")]
    percent: f64,
    #[serde(default = "one")]
    batch: usize,
}

fn ten_percent_off() -> f64 {
    -10.0
}

fn one() -> usize {
    1
}

impl Phase {
    /// The acts with their weights.
    fn mix(&self) -> [(Act, u32); 6] {
        [
            (Act::Edit, self.edits),
            (Act::Price, self.prices),
            (Act::Stock, self.stock),
            (Act::Customer, self.customers),
            (Act::Import, self.imports),
            (Act::Order, self.orders),
        ]
    }

    fn pick(&self, rng: &mut fastrand::Rng) -> Act {
        let mix = self.mix();
        let mut at = rng.u32(..mix.iter().map(|(_, weight)| weight).sum::<u32>().max(1));
        for (act, weight) in mix {
            if at < weight {
                return act;
            }
            at -= weight;
        }
        Act::Edit
    }
}

impl Script {
    /// Reads a scenario.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read the script {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("read the script {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let script: Self = toml::from_str(text)?;
        for phase in &script.phases {
            if phase.mix().iter().all(|(_, weight)| *weight == 0) {
                bail!(
                    "the phase {:?} has nothing to do: give edits, prices, stock, customers, imports or orders",
                    phase.name
                );
            }
            if !(0.0..=1e6).contains(&phase.rate_per_second) || phase.batch == 0 || phase.batch > 200 {
                bail!(
                    "the phase {:?} needs a rate of 0 to 1000000 and a batch of 1 to 200",
                    phase.name
                );
            }
        }
        if script.phases.is_empty() {
            bail!("a script needs a [[phase]]");
        }
        Ok(script)
    }

    /// Runs the phases until they are done, or `stop`.
    pub async fn run(self, org: Org, stop: CancellationToken) -> Result<()> {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        loop {
            for phase in &self.phases {
                let mut stage = Stage::new(&org, rng.fork())?;
                let begun = Instant::now();
                let mut records = 0;
                for done in 0..phase.transactions {
                    if stop.is_cancelled() {
                        return Ok(());
                    }
                    if phase.rate_per_second > 0.0 {
                        let due = begun + Duration::from_secs_f64(done as f64 / phase.rate_per_second);
                        tokio::select! {
                            () = tokio::time::sleep_until(due) => {}
                            () = stop.cancelled() => return Ok(()),
                        }
                    } else if done.is_multiple_of(TURN) {
                        tokio::task::yield_now().await;
                    }
                    records += stage.act(phase.pick(&mut rng), phase.percent, phase.batch);
                }
                let seconds = begun.elapsed().as_secs_f64();
                let (transactions, refused) = (phase.transactions, stage.refused);
                tracing::info!(
                    transactions,
                    records,
                    refused,
                    seconds,
                    "{}: {transactions} transactions with {records} records in {seconds:.2} s, {refused} refused",
                    phase.name
                );
            }
            if !self.repeat {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::bus::Topic;
    use super::super::org::{DEFAULT_ENTITIES, OrgOptions};
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_sample_in_the_documentation_is_a_script() {
        let lines = include_str!("script.rs").lines();
        let lines = lines.filter_map(|line| line.strip_prefix("//! ").or((line == "//!").then_some("")));
        let text: String = lines
            .skip_while(|line| *line != "```toml")
            .skip(1)
            .take_while(|line| *line != "```")
            .flat_map(|line| [line, "\n"])
            .collect();
        let script = Script::parse(&text).unwrap();
        assert_eq!((script.phases.len(), script.phases[2].batch), (3, 40));
        for wrong in [
            "",
            "phase = []",
            &text.replace("prices = 1", ""),
            &text.replace("batch = 40", "batch = 0"),
        ] {
            assert!(Script::parse(wrong).is_err(), "{wrong}");
        }
    }
    async fn played(seed: u64) -> Vec<String> {
        let org = Org::new(OrgOptions {
            seed: 1,
            products: 30,
            stores: 2,
            clock: Clock::Manual(Arc::new(1_790_000_000_000.into())),
            selected_entities: DEFAULT_ENTITIES.map(str::to_owned).to_vec(),
        })
        .unwrap();
        let start = org.bus().tip();
        let text = format!(
            "seed = {seed}\n[[phase]]\nname = \"all\"\nrate_per_second = 0\ntransactions = 400\nedits = 1\n\
             prices = 1\nstock = 1\ncustomers = 1\nimports = 1\norders = 1\nbatch = 3"
        );
        let script = Script::parse(&text).unwrap();
        script.run(org.clone(), CancellationToken::new()).await.unwrap();
        let events = org.bus().after(Topic::All, start, 5_000, usize::MAX).0;
        events.iter().map(|event| format!("{event:?}")).collect()
    }

    #[tokio::test]
    async fn the_same_seed_makes_the_same_history() {
        let history = played(7).await;
        assert!(history.len() > 500, "{}", history.len());
        assert_eq!(history, played(7).await);
        assert_ne!(history, played(8).await);
    }
}
