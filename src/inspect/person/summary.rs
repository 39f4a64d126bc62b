//! Where a person is found, in short: of each table how many rows, and how they are linked.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::inspect::person::look::Finding;
use crate::inspect::person::wanted::{Wanted, What};

#[derive(Debug, Default)]
struct Group {
    rows: u64,
    /// By column, what the token is and how it is known: in how many rows.
    linked: BTreeMap<(String, What, String), u64>,
}

/// By file and table.
#[derive(Debug, Default)]
pub struct Summary(BTreeMap<(String, String), Group>);

impl Summary {
    pub fn add(&mut self, finding: &Finding, wanted: &Wanted) {
        let place = (finding.file.clone(), finding.table.clone());
        let group = self.0.entry(place).or_default();
        group.rows += 1;
        for hit in &finding.hits {
            let token = &wanted.tokens[hit.token];
            let link = (hit.column.clone(), token.what, token.how.clone());
            *group.linked.entry(link).or_default() += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn json(&self) -> Json {
        let groups = self.0.iter().map(|((file, table), group)| {
            let linked = group.linked.iter().map(|((column, what, how), rows)| {
                json!({"column": column, "what": what.name(), "how": how, "rows": rows})
            });
            json!({"file": file, "table": table, "rows": group.rows, "linked": linked.collect::<Vec<Json>>()})
        });
        groups.collect()
    }

    pub fn text(&self) -> String {
        let mut lines = format!("{:<12} {:<28} {:>6}  linked by\n", "file", "table", "rows");
        for ((file, table), group) in &self.0 {
            let linked = group.linked.keys();
            let linked: Vec<String> = linked
                .map(|(column, what, how)| format!("{} in {column} ({how})", what.name()))
                .collect();
            lines.push_str(&format!(
                "{file:<12} {table:<28} {:>6}  {}\n",
                group.rows,
                linked.join(", ")
            ));
        }
        lines
    }
}
