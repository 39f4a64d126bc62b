//! Rows that the org answered, with stand-ins for those of some records.

use std::collections::HashSet;

use serde_json::Value as Json;

use crate::journal::forget::stand_in::StandIns;
use crate::model::row::{ColumnKind, Table};

/// A page without what it says of these records; `None` where it says nothing of them.
pub fn erase(
    table: Option<&Table>,
    ids: &HashSet<&str>,
    page: &[u8],
    made: &StandIns,
) -> anyhow::Result<Option<Vec<u8>>> {
    match page.first() {
        None => Ok(None),
        Some(b'[') => json(table, ids, page, made),
        Some(_) => csv(table, ids, page, made),
    }
}

/// Rows of REST, or records read again: each with its number in the ledger, its id, and the row where there was one.
fn json(
    table: Option<&Table>,
    ids: &HashSet<&str>,
    page: &[u8],
    made: &StandIns,
) -> anyhow::Result<Option<Vec<u8>>> {
    let mut rows: Vec<Json> = serde_json::from_slice(page)?;
    let mut found = false;
    for row in &mut rows {
        let row = match row {
            Json::Array(parts) => parts.get_mut(2).and_then(Json::as_object_mut),
            row => row.as_object_mut(),
        };
        let Some(row) = row else { continue };
        let id = row.get("Id").and_then(Json::as_str).unwrap_or_default();
        if ids.contains(id) {
            made.of_row(table, row);
            found = true;
        }
    }
    Ok(found.then(|| serde_json::to_vec(&rows)).transpose()?)
}

fn csv(
    table: Option<&Table>,
    ids: &HashSet<&str>,
    page: &[u8],
    made: &StandIns,
) -> anyhow::Result<Option<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(page);
    let header = reader.headers()?.clone();
    let Some(id) = header.iter().position(|name| name.eq_ignore_ascii_case("Id")) else {
        return Ok(None);
    };
    let kinds: Vec<ColumnKind> = header
        .iter()
        .map(|field| {
            let column = table.and_then(|table| Some(&table.columns[table.position(field)?]));
            column.map_or(ColumnKind::Text, |column| column.kind)
        })
        .collect();
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::with_capacity(page.len()));
    writer.write_record(&header)?;
    let mut found = false;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        if !record.get(id).is_some_and(|id| ids.contains(id)) {
            writer.write_record(&record)?;
            continue;
        }
        found = true;
        let fields = record.iter().enumerate().map(|(place, text)| {
            let field = header.get(place).unwrap_or_default();
            let kind = kinds.get(place).copied().unwrap_or(ColumnKind::Text);
            made.of_text(field, kind, text)
        });
        writer.write_record(fields)?;
    }
    Ok(match found {
        true => Some(writer.into_inner()?),
        false => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_records_lose_their_values() {
        let made = StandIns::new(b"a key");
        let ids = HashSet::from(["003A"]);
        let pages: [&[u8]; 3] = [
            b"\"Id\",\"Email\"\n\"003A\",\"ana@example.com\"\n\"003B\",\"bo \"\"x\"\"@example.com\"\n",
            br#"[{"Id": "003A", "Email": "ana@example.com"}, {"Id": "003B", "Email": "bo \"x\"@example.com"}]"#,
            br#"[[1, "003A", {"Id": "003A", "Email": "ana@example.com"}], [2, "003B", {"Id": "003B", "Email": "bo"}], [3, "003C", null]]"#,
        ];
        for page in pages {
            let erased = erase(None, &ids, page, &made).unwrap().unwrap();
            let text = String::from_utf8(erased.clone()).unwrap();
            assert!(
                !text.contains("ana@") && text.contains("bo") && text.contains("003A"),
                "{text}"
            );
            assert!(text.contains(&made.text("ana@example.com")), "{text}");
            assert_eq!(erase(None, &HashSet::from(["003D"]), page, &made).unwrap(), None);
        }
        assert_eq!(erase(None, &ids, b"", &made).unwrap(), None);
    }
}
