//! `storesync check`: whether this machine, this configuration and this org can work together.
//!
//! Nothing is changed, here or in the org, and it may run beside the daemon. Each line is ok, warn or fail; one
//! that is not ok says what to do. What cannot be asked because something before it failed is not guessed: it is
//! left out, and the failure says so.
//!
//! The JSON is a contract: `{"ok", "fail", "warn", "lines": [{"area", "subject", "verdict", "told", "remedy", ...}]}`;
//! keys are added, never renamed.

mod beside;
mod local;
mod mirror;
mod orders;
mod reach;
mod versions;
mod zones;

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::cli::{CheckArgs, Exit};
use crate::config::Config;
use crate::inspect::{print, print_json};
use crate::model::clock::Clock;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    /// It works, and something is worth knowing or will go wrong later.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    area: Area,
    subject: String,
    verdict: Verdict,
    told: String,
    /// What to do; empty where all is well.
    remedy: String,
    /// For machines only.
    more: Map<String, Value>,
}

/// What a line is about; its failures decide the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    Configuration,
    Files,
    Network,
    Login,
    Limits,
    Channels,
    Objects,
    Orders,
}

impl Area {
    fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Files => "files",
            Self::Network => "network",
            Self::Login => "login",
            Self::Limits => "limits",
            Self::Channels => "channels",
            Self::Objects => "objects",
            Self::Orders => "orders",
        }
    }

    fn exit(self) -> Exit {
        match self {
            Self::Configuration | Self::Login => Exit::Configuration,
            Self::Network => Exit::Unavailable,
            _ => Exit::Failed,
        }
    }
}

/// All lines, in the order they were found.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<Line>,
}

impl Report {
    fn add(&mut self, area: Area, subject: &str, verdict: Verdict, told: &str, remedy: &str) -> &mut Line {
        self.lines.push(Line {
            area,
            subject: subject.to_owned(),
            verdict,
            told: told.to_owned(),
            remedy: remedy.to_owned(),
            more: Map::new(),
        });
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }

    fn ok(&mut self, area: Area, subject: &str, told: &str) -> &mut Line {
        self.add(area, subject, Verdict::Ok, told, "")
    }

    fn warn(&mut self, area: Area, subject: &str, told: &str, remedy: &str) -> &mut Line {
        self.add(area, subject, Verdict::Warn, told, remedy)
    }

    fn fail(&mut self, area: Area, subject: &str, told: &str, remedy: &str) -> &mut Line {
        self.add(area, subject, Verdict::Fail, told, remedy)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }

    /// That of the first failure: what comes after may follow from it.
    fn exit(&self) -> Exit {
        let first = self.lines.iter().find(|line| line.verdict == Verdict::Fail);
        first.map_or(Exit::Ok, |line| line.area.exit())
    }

    fn as_json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            let mut told = json!({
                "area": line.area.as_str(),
                "subject": line.subject,
                "verdict": line.verdict.as_str(),
                "told": line.told,
                "remedy": (!line.remedy.is_empty()).then_some(&line.remedy),
            });
            if let Value::Object(told) = &mut told {
                told.extend(line.more.clone());
            }
            told
        });
        json!({
            "ok": self.count(Verdict::Ok),
            "warn": self.count(Verdict::Warn),
            "fail": self.count(Verdict::Fail),
            "lines": lines.collect::<Vec<_>>(),
        })
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let (verdict, area) = (line.verdict.as_str(), line.area.as_str());
            text.push_str(&format!(
                "{verdict:<5} {area:<14} {}: {}\n",
                line.subject, line.told
            ));
            if !line.remedy.is_empty() {
                text.push_str(&format!("      {:<14} -> {}\n", "", line.remedy));
            }
        }
        let counts = [Verdict::Ok, Verdict::Warn, Verdict::Fail].map(|verdict| self.count(verdict));
        let [ok, warn, fail] = counts;
        text.push_str(&format!("{ok} ok, {warn} warn, {fail} fail\n"));
        text
    }
}

impl Line {
    fn with(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }
}

/// Checks everything there is to check, and prints it.
pub async fn run(path: Option<&Path>, args: &CheckArgs) -> anyhow::Result<Exit> {
    let mut report = Report::default();
    match Config::load(path) {
        Ok(config) => {
            report.ok(
                Area::Configuration,
                "file",
                "it is read, and every key in it is known",
            );
            check(&mut report, &config, args.offline).await;
        }
        Err(error) => {
            report.fail(
                Area::Configuration,
                "file",
                &error.to_string(),
                "put it right and check again: nothing else could be checked",
            );
        }
    }
    if args.json {
        print_json(&report.as_json());
    } else {
        print(&report.as_text());
    }
    Ok(report.exit())
}

async fn check(report: &mut Report, config: &Config, offline: bool) {
    local::configuration(report, config);
    local::files(report, config);
    if offline {
        return;
    }
    reach::network(report, &config.org).await;
    let Some(world) = reach::login(report, &config.org, &Clock::System).await else {
        return;
    };
    reach::limits(report, &world, config).await;
    let members = mirror::channels(report, &world, &config.sync).await;
    mirror::objects(report, &world, config, &members).await;
    zones::stores(report, &world, &config.sync).await;
    orders::rights(report, &world, config.orders.external_id_field.as_deref()).await;
    orders::statuses(report, &world, &config.orders).await;
    orders::persons(report, &world, &config.orders).await;
    versions::fields(report, &world, &config.orders).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_decides_how_it_ends() {
        let mut report = Report::default();
        assert_eq!(report.exit(), Exit::Ok);
        report.warn(Area::Files, "disk", "little is left", "free some");
        assert_eq!(report.exit(), Exit::Ok);
        report.fail(Area::Network, "name", "unknown", "check DNS");
        report.fail(Area::Login, "login", "refused", "check the key");
        assert_eq!(report.exit(), Exit::Unavailable);
        assert_eq!(report.as_json()["lines"][1]["remedy"], "check DNS");
        assert!(report.as_text().ends_with("0 ok, 1 warn, 2 fail\n"));
    }
}
