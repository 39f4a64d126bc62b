//! Variables in the place of keys: `STORESYNC__SECTION__KEY`.
//!
//! A variable is text; what kind of value is meant, its key tells.

use serde::de::DeserializeOwned;

use crate::config::ConfigError;

/// How the name of each begins.
pub(super) const PREFIX: &str = "STORESYNC__";

/// How the names of keys end that take a number.
const NUMBERS: [&str; 7] = [
    "_seconds",
    "_hours",
    "_days",
    "_bytes",
    "_mebibytes",
    "_percent",
    "_daily",
];

/// Keys that take `true` or `false`.
const FLAGS: [&str; 4] = ["keep_rows", "account_history", "personal", "require_encrypted"];

/// The keys that were read, with variables laid over them.
pub(super) fn applied(
    given: &toml::Table,
    variables: &[(String, String)],
) -> Result<toml::Table, ConfigError> {
    let mut table = given.clone();
    for (name, value) in variables {
        apply(&mut table, name, value)?;
    }
    Ok(table)
}

/// The variable without which the keys can be read as they are meant.
pub(super) fn culprit<'v, T: DeserializeOwned>(
    given: &toml::Table,
    variables: &'v [(String, String)],
) -> Option<&'v str> {
    let is_readable_without = |place: usize| {
        let others = [&variables[..place], &variables[place + 1..]].concat();
        applied(given, &others).is_ok_and(|table| table.try_into::<T>().is_ok())
    };
    let place = (0..variables.len()).find(|place| is_readable_without(*place))?;
    Some(&variables[place].0)
}

/// Lays a variable over the keys that were read.
fn apply(table: &mut toml::Table, name: &str, value: &str) -> Result<(), ConfigError> {
    let malformed = || {
        ConfigError(format!(
            "the variable {name} is not of the form STORESYNC__SECTION__KEY"
        ))
    };
    let rest = name
        .strip_prefix(PREFIX)
        .ok_or_else(malformed)?
        .to_ascii_lowercase();
    let (sections, key) = rest.rsplit_once("__").ok_or_else(malformed)?;
    let mut section = table;
    for name in sections.split("__") {
        section = section
            .entry(name.to_owned())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(malformed)?;
    }
    let list = is_list(sections, key) || matches!(section.get(key), Some(toml::Value::Array(_)));
    section.insert(key.to_owned(), override_value(list, key, value));
    Ok(())
}

/// Whether a key takes a list, wherever it stands in these sections.
fn is_list(sections: &str, key: &str) -> bool {
    match key {
        "channels" | "objects" | "hosts" | "trusted_proxies" => true,
        "fields" | "leave_out" => sections.starts_with("sync__object__"),
        // By store.
        _ => sections == "orders__fields",
    }
}

/// Lists are given separated by commas; numbers and flags where the key takes one; all else is text.
fn override_value(list: bool, key: &str, value: &str) -> toml::Value {
    if list {
        let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
        return toml::Value::Array(items.map(|item| toml::Value::String(item.to_owned())).collect());
    }
    let text = || toml::Value::String(value.to_owned());
    if FLAGS.contains(&key) {
        return value.parse().map_or_else(|_| text(), toml::Value::Boolean);
    }
    if NUMBERS.iter().any(|unit| key.ends_with(unit)) {
        return value.parse().map_or_else(|_| text(), toml::Value::Integer);
    }
    text()
}
