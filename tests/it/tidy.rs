//! The rules of the house, as far as a machine can see them.
//!
//! Imports go down the floors, files and functions stay short, each file says why it exists. A rule that is
//! not checked is a wish.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Who may import whom inside the crate, by folder; a folder may always import itself.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("config", &[]),
    ("cli", &[]),
    ("telemetry", &["config", "cli", "failpoint"]),
    ("failpoint", &[]),
    ("store", &["model", "failpoint"]),
    ("salesforce", &["model", "config", "telemetry::metrics"]),
    (
        "inbound",
        &["model", "config", "store", "salesforce", "telemetry", "failpoint"],
    ),
    (
        "outbound",
        &["model", "config", "store", "salesforce", "telemetry", "failpoint"],
    ),
    (
        "journal",
        &["model", "config", "store", "inbound", "telemetry", "failpoint"],
    ),
    (
        "serve",
        &[
            "model",
            "config",
            "store",
            "outbound::outbox",
            "journal::history",
            "telemetry::metrics",
            "telemetry::pulse",
            "telemetry::seldom",
            "failpoint",
        ],
    ),
    (
        "inspect",
        &[
            "model",
            "config",
            "cli",
            "store",
            "salesforce",
            "inbound",
            "journal",
            "outbound::gate",
            "outbound::mapping",
            "outbound::version",
        ],
    ),
    (
        "daemon",
        &[
            "model",
            "config",
            "cli",
            "store",
            "salesforce",
            "inbound",
            "journal",
            "inspect::Misused",
            "inspect::NoCache",
            "outbound",
            "serve",
            "telemetry",
            "failpoint",
        ],
    ),
    (
        "demo",
        &["model", "config", "cli", "daemon", "store::admin_token"],
    ),
];

/// What is not to be written, and what to write in its place.
const BANS: &[(&str, &str, &str)] = &[
    ("SystemTime::now(", "clock.rs", "take a `Clock`"),
    ("backoff::", "src/model/retry.rs", "use `model::retry::Policy`"),
    (
        "tokio::spawn(",
        "src/daemon.rs",
        "let the daemon spawn, or join the futures",
    ),
    ("FIXME", "", "do it, or describe the limit"),
    ("XXX", "", "do it, or describe the limit"),
];

struct Source {
    /// From the checkout: `src/inbound/apply.rs`, `sandbox/src/org.rs`.
    path: PathBuf,
    /// Up to the tests at its end.
    product: String,
}

impl Source {
    /// Of the daemon, by the path inside `src`.
    fn of_the_daemon(&self) -> Option<&Path> {
        self.path.strip_prefix("src").ok()
    }
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let tests = path.file_stem().is_some_and(|name| name == "tests");
            if tests {
                continue;
            }
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for package in ["src", "sandbox/src"] {
        let before = paths.len();
        walk(&root.join(package), &mut paths);
        assert!(
            paths.len() > before + 20,
            "the sources of {package} were not found"
        );
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        Source {
            product: product.to_owned(),
            path: path.strip_prefix(root).unwrap().to_owned(),
        }
    };
    paths.into_iter().map(read).collect()
}

/// `inbound/apply/plan.rs` belongs to `inbound`; `inbound.rs` too.
fn folder(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn report(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Every `crate::a::b` of a source, also those inside `use crate::{a::b, c}`.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (start, _) in code.match_indices("crate::") {
            let rest = &code[start + "crate::".len()..];
            if let Some(list) = rest.strip_prefix('{') {
                let items = list.trim_end_matches([';', '}']).split(',');
                found.extend(items.map(|item| (number + 1, item.trim().to_owned())));
            } else {
                let end = rest
                    .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                    .unwrap_or(rest.len());
                found.push((number + 1, rest[..end].to_owned()));
            }
        }
    }
    found
}

#[test]
fn imports_go_down_the_floors() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut found = Vec::new();
    for source in sources() {
        let Some(path) = source.of_the_daemon() else {
            continue;
        };
        let here = folder(path);
        if here == "main" || here == "lib" {
            continue;
        }
        let Some(open) = table.get(here.as_str()) else {
            found.push(format!(
                "{}: {here} has no floor; give it one in IMPORTS",
                source.path.display()
            ));
            continue;
        };
        for (line, path) in crate_paths(&source.product) {
            let top = path.split("::").next().unwrap_or_default();
            let allowed = top == here
                || open
                    .iter()
                    .any(|open| path == *open || path.starts_with(&format!("{open}::")) || *open == top);
            if !allowed {
                found.push(format!(
                    "{}:{line}: {path} is not open to {here}",
                    source.path.display()
                ));
            }
        }
    }
    report(&found);
}

#[test]
fn only_store_contains_sql() {
    let mut found = Vec::new();
    for source in sources() {
        let Some(path) = source.of_the_daemon() else {
            continue;
        };
        if folder(path) == "store" {
            continue;
        }
        for (number, line) in source.product.lines().enumerate() {
            if line.contains("rusqlite::") && line.contains("execute") || line.contains(".prepare_cached(") {
                found.push(format!(
                    "{}:{}: SQL belongs in store/",
                    source.path.display(),
                    number + 1
                ));
            }
        }
    }
    report(&found);
}

#[test]
fn files_and_functions_stay_short() {
    let mut found = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.product.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            let limit = FILE_LINES_MAX;
            found.push(format!(
                "{}: {} lines, {limit} is the limit",
                source.path.display(),
                lines.len()
            ));
        }
        for (start, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            let indent = &line[..line.len() - trimmed.len()];
            let starts = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "async fn ",
                "pub async fn ",
            ];
            let more = [
                "pub(super) async fn ",
                "pub(crate) async fn ",
                "const fn ",
                "pub const fn ",
            ];
            if !starts.iter().chain(&more).any(|start| trimmed.starts_with(start)) {
                continue;
            }
            let close = format!("{indent}}}");
            let Some(length) = lines[start..].iter().position(|line| *line == close) else {
                continue;
            };
            if length + 1 > FUNCTION_LINES_MAX {
                let place = format!("{}:{}", source.path.display(), start + 1);
                found.push(format!(
                    "{place}: a function of {} lines, {FUNCTION_LINES_MAX} is the limit",
                    length + 1
                ));
            }
        }
    }
    report(&found);
}

#[test]
fn each_file_opens_with_why_it_exists() {
    let without = sources()
        .into_iter()
        .filter(|source| !source.product.starts_with("//! "));
    let found: Vec<String> = without
        .map(|source| format!("{}: does not open with `//!`", source.path.display()))
        .collect();
    report(&found);
}

#[test]
fn what_is_banned_has_a_better_way() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.product.lines().enumerate() {
            for (ban, home, instead) in BANS {
                if line.contains(ban) && (home.is_empty() || !source.path.ends_with(home)) {
                    found.push(format!(
                        "{}:{}: `{ban}`: {instead}",
                        source.path.display(),
                        number + 1
                    ));
                }
            }
            if line.contains("#[cfg(test)]") {
                found.push(format!(
                    "{}:{}: tests belong at the end of the file",
                    source.path.display(),
                    number + 1
                ));
            }
        }
    }
    report(&found);
}

/// Where a `match` over the commands of the apply stage has an arm for all others: by line.
fn wildcards_over_commands(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        if !line.contains("match ") || !line.ends_with('{') {
            continue;
        }
        let inside = lines[begin + 1..].iter().take_while(|inner| {
            let closes = indent(inner) == indent(line) && inner.trim_start().starts_with('}');
            !closes
        });
        let arms: Vec<(usize, &str)> = (begin + 2..)
            .zip(inside)
            .filter(|(_, inner)| indent(inner) == indent(line) + 4)
            .map(|(number, inner)| (number, inner.trim_start()))
            .collect();
        let is_of_commands =
            |(_, arm): &(usize, &str)| arm.contains("Command::") || arm.contains("Self::Reload {");
        let takes_all = |arm: &str| {
            let pattern = arm.split([' ', ',']).next().unwrap_or_default();
            !pattern.is_empty() && pattern.chars().all(|c| c.is_lowercase() || c == '_')
        };
        if arms.iter().any(is_of_commands) {
            let all = arms
                .iter()
                .filter(|(_, arm)| arm.contains("=>") && takes_all(arm));
            found.extend(all.map(|(number, _)| *number));
        }
    }
    found
}

#[test]
fn whoever_looks_at_a_command_looks_at_each() {
    let planted = "fn f() {\n    match command {\n        Command::Reload { .. } => 1,\n        _ => 2,\n    }\n    \
                   let x = match command {\n        Command::Start(_) => 1,\n        other => 2,\n    };\n}\n";
    assert_eq!(wildcards_over_commands(planted), [4, 8]);
    let mut found = Vec::new();
    let mut looked_at = 0;
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("src/inbound"))
    {
        looked_at += usize::from(source.product.contains("Command::"));
        for line in wildcards_over_commands(&source.product) {
            found.push(format!(
                "{}:{line}: a command that comes later would be overlooked: name each",
                source.path.display()
            ));
        }
    }
    assert!(looked_at > 10, "{looked_at}");
    report(&found);
}
