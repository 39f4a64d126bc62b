//! The configuration as it was loaded, environment and defaults included.
//!
//! It is shown from the values themselves, so that a key that is new is shown too. Files that hold secrets are named,
//! what identifies a client or a token is not shown.

use axum::extract::State;
use axum::http::StatusCode;

use crate::config::Config;
use crate::serve::World;
use crate::serve::console::html::{heading, note, table, text};
use crate::serve::console::{Page, shell};

/// Parts of the names of values that are not shown, unless they are paths of files.
const HIDDEN: [&str; 6] = ["client_id", "secret", "password", "token", "sha256", "hash"];

pub async fn page(State(world): State<World>) -> Page {
    let mut content = vec![note(
        "As loaded: the file, what the environment overrides, and defaults.",
    )];
    for (section, keys) in &world.console.settings {
        let rows = keys.iter().map(|(key, value)| vec![text(key), text(value)]);
        content.push(heading(format!("[{section}]")));
        content.push(table(section, &["Key", "Value"], rows));
    }
    Ok(shell(StatusCode::OK, "/config", "Configuration", content))
}

/// Sections with their keys and values.
pub(super) fn shown(config: &Config) -> Vec<(String, Vec<(String, String)>)> {
    sections(&format!("{config:#?}"))
}

/// Reads the indented form that `{:#?}` writes: a section is at the first level, its keys are below.
fn sections(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut sections: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    for line in text.lines().skip(1) {
        let content = line.trim_start();
        let depth = (line.len() - content.len()) / 4;
        path.retain(|(level, _)| *level < depth);
        let content = content.trim_end_matches(',');
        let named = content.split_once(": ").filter(|(name, _)| {
            name.trim_matches('"')
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_*-.".contains(&byte))
        });
        let (name, value) = match named {
            Some((name, value)) => (name.trim_matches('"'), value),
            None => ("", content),
        };
        let opens = value.ends_with(['{', '[', '(']);
        if depth == 1 && opens {
            sections.push((name.to_owned(), Vec::new()));
        } else if opens {
            path.push((depth, name.to_owned()));
        } else if !value.starts_with(['}', ']', ')']) {
            let parents = path.iter().map(|(_, name)| name.as_str());
            let full: Vec<&str> = parents.chain([name]).filter(|name| !name.is_empty()).collect();
            let key = full.join(".");
            let value = match is_hidden(&key) {
                true => "(hidden)",
                false => value.trim_matches('"'),
            };
            match sections.last_mut() {
                Some((_, keys)) => keys.push((key, value.to_owned())),
                None => sections.push(("config".to_owned(), vec![(key, value.to_owned())])),
            }
        }
    }
    sections
}

fn is_hidden(key: &str) -> bool {
    let names_a_file = key
        .split('.')
        .any(|part| part.ends_with("_file") || part.ends_with("_field"));
    let last = key.rsplit('.').next().unwrap_or(key);
    !names_a_file && HIDDEN.iter().any(|part| last.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_all_else_is_shown() {
        let sample = include_str!("../../../config.toml").replace("client_id = \"", "client_id = \"3MVG9");
        let config = Config::parse(&sample, []).unwrap();
        let shown = shown(&config);
        let value = |section: &str, key: &str| {
            let (_, keys) = shown.iter().find(|(name, _)| name == section).unwrap();
            keys.iter()
                .filter(|(name, _)| name.starts_with(key))
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(value("org", "client_id"), ["(hidden)"]);
        assert_eq!(value("state", "dir"), ["/var/lib/storesync"]);
        assert_eq!(value("sync", "channels"), ["/data/ChangeEvents"]);
        assert!(value("org", "private_key_file")[0].contains('/'), "{shown:?}");
        let all = format!("{shown:?}");
        assert!(!all.contains("3MVG9"), "{all}");
    }

    #[test]
    fn hides_by_the_last_name() {
        for (key, expected) in [
            ("tokens.sha256", true),
            ("client_secret_file", false),
            ("private_key_file", false),
            ("external_id_field", false),
            ("client_id", true),
            ("tokens.name", false),
        ] {
            assert_eq!(is_hidden(key), expected, "{key}");
        }
    }
}
