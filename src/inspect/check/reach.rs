//! The way to the org: names, connections, clock, login, version, limits.

use std::time::{Duration, Instant};

use tokio::net::lookup_host;

use crate::config;
use crate::config::Config;
use crate::inspect::check::{Area, Report};
use crate::model::clock::Clock;
use crate::salesforce::pubsub::PubSub;
use crate::salesforce::rest::ApiUsage;
use crate::salesforce::setup;
use crate::salesforce::{Error, Org};

/// A login by JWT is refused beyond three minutes; half of it is time to act.
const SKEW_SECONDS_FAIL: i64 = 180;
const SKEW_SECONDS_WARN: i64 = 30;

const NAME_MAX: Duration = Duration::from_secs(10);

/// An org that let us in.
pub(super) struct World {
    pub(super) org: Org,
    pub(super) pubsub: PubSub,
    /// Of the user whose rights all else is about.
    pub(super) user: String,
}

/// Names and addresses. The connections themselves are tried by [`login`].
pub(super) async fn network(report: &mut Report, org: &config::Org) {
    for (key, url) in [("login_url", &org.login_url), ("pubsub_url", &org.pubsub_url)] {
        let Some((host, port)) = host_and_port(url) else {
            continue;
        };
        let found = tokio::time::timeout(NAME_MAX, lookup_host((host, port))).await;
        let subject = format!("DNS {host}");
        match found {
            Ok(Ok(addresses)) => {
                let count = addresses.count();
                report.ok(
                    Area::Network,
                    &subject,
                    &format!("the name has {count} addresses"),
                );
            }
            Ok(Err(error)) => {
                report.fail(
                    Area::Network,
                    &subject,
                    &format!("the name cannot be resolved ({error})"),
                    &format!("check [org] {key} and this machine's DNS"),
                );
            }
            Err(_) => {
                report.fail(
                    Area::Network,
                    &subject,
                    &format!("DNS gave no answer within {} s", NAME_MAX.as_secs()),
                    "check this machine's DNS (resolvectl query)",
                );
            }
        }
    }
}

fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let usual = if scheme == "http" { 80 } else { 443 };
    // An IPv6 address stands in brackets and holds colons itself.
    match authority
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
    {
        Some((host, port)) => Some((host.trim_matches(['[', ']']), port.parse().ok()?)),
        None => Some((authority.trim_matches(['[', ']']), usual)),
    }
}

/// TLS to both, the clock, the login and the API version; `None` where it does not get that far.
pub(super) async fn login(report: &mut Report, config: &config::Org, clock: &Clock) -> Option<World> {
    let org = match Org::new(config, clock.clone()) {
        Ok(org) => org,
        Err(error) => {
            report.fail(
                Area::Login,
                "secrets",
                &error.to_string(),
                "without it nothing can be asked of the org",
            );
            return None;
        }
    };
    let versions = versions(report, &org, config).await?;
    skew(report, &org);
    match org.session().await {
        Ok(session) => {
            let told = format!("{} logs in to the org {}", config.auth.name(), session.org_id);
            report
                .ok(Area::Login, "login", &told)
                .with("org_id", session.org_id)
                .with("instance_url", session.instance_url);
        }
        Err(error) => {
            let remedy = login_remedy(&error);
            report.fail(Area::Login, "login", &error.to_string(), remedy);
            return None;
        }
    }
    if !speaks(report, config, &versions) {
        return None;
    }
    instance(report, config.region.as_deref(), &org).await;
    let user = user(report, &org).await;
    let pubsub = pubsub(report, &org).await?;
    Some(World { org, pubsub, user })
}

/// Where the org is, and whether that is where it has to be.
async fn instance(report: &mut Report, wanted: Option<&str>, org: &Org) {
    let name = org.instance_name().await;
    let told = match &name {
        Ok(Some(name)) => format!("the org is on the instance {name}"),
        Ok(None) => "the org is on an instance that it does not show to this user".to_owned(),
        Err(error) => format!("the org does not tell of its instance ({error})"),
    };
    let name = name.ok().flatten();
    let region = name.as_deref().map(setup::region);
    match wanted {
        Some(wanted) if region.is_none_or(|region| !region.eq_ignore_ascii_case(wanted)) => {
            let told = format!("{told}, and [org] region is {wanted}");
            let remedy =
                "use the org that is there, or change the key: the daemon does not start for this one";
            report.fail(Area::Login, "instance", &told, remedy);
        }
        _ => drop(
            report
                .ok(Area::Login, "instance", &told)
                .with("instance_name", name),
        ),
    }
}

/// What the org speaks, asked without a login: the first that shows whether there is a way to it.
async fn versions(report: &mut Report, org: &Org, config: &config::Org) -> Option<Vec<String>> {
    let started = Instant::now();
    let subject = format!("{} {}", transport(&config.login_url), config.login_url);
    match org.versions().await {
        Ok(versions) => {
            let told = format!("it answers within {} ms", started.elapsed().as_millis());
            report.ok(Area::Network, &subject, &told);
            Some(versions)
        }
        Err(error) => {
            report.fail(
                Area::Network,
                &subject,
                &error.to_string(),
                "check the address, a proxy or firewall on the way, and [org] ca_file where a proxy has certificates of its own",
            );
            None
        }
    }
}

fn transport(url: &str) -> &'static str {
    if url.starts_with("https:") { "TLS" } else { "HTTP" }
}

fn skew(report: &mut Report, org: &Org) {
    let ahead = org.date_ahead_millis().unwrap_or(0) / 1_000;
    let words = format!("the org's clock and this machine's differ by {} s", ahead.abs());
    let remedy =
        "set the clock by NTP (timedatectl set-ntp true): logins and the age of positions depend on it";
    let line = match ahead.abs() {
        SKEW_SECONDS_FAIL.. => report.fail(Area::Login, "clock", &words, remedy),
        SKEW_SECONDS_WARN.. => report.warn(Area::Login, "clock", &words, remedy),
        _ => report.ok(Area::Login, "clock", &words),
    };
    line.with("org_ahead_seconds", ahead);
}

fn login_remedy(error: &Error) -> &'static str {
    let Error::Login { error, description } = error else {
        return "check the address and try again: nothing else could be asked of the org";
    };
    match (error.as_str(), description.as_str()) {
        ("invalid_client_id" | "invalid_client", _) => {
            "check [org] client_id and the client secret: the app's consumer key and secret"
        }
        (_, text) if text.contains("approved") => {
            "pre-authorise the user for the connected app (Manage > Profiles or Permission Sets)"
        }
        (_, text) if text.contains("audience") => {
            "set [org] audience to https://login.salesforce.com, or https://test.salesforce.com for a sandbox"
        }
        ("invalid_grant", _) => {
            "check [org] username, the key or password, this machine's clock and the org's login history"
        }
        _ => "look at the user's login history in the org's setup",
    }
}

fn speaks(report: &mut Report, config: &config::Org, versions: &[String]) -> bool {
    let wanted = config.api_version.trim_start_matches('v');
    let newest = versions.last().map_or("none", String::as_str);
    let spoken = versions.iter().any(|version| version == wanted);
    if spoken {
        report.ok(
            Area::Login,
            "API version",
            &format!("{wanted} is spoken; the org's newest is {newest}"),
        );
    } else {
        report.fail(
            Area::Login,
            "API version",
            &format!("the org does not speak {wanted}; its newest is {newest}"),
            "set [org] api_version to one that it speaks",
        );
    }
    spoken
}

async fn user(report: &mut Report, org: &Org) -> String {
    match org.user_name().await {
        Ok(name) => {
            report.ok(
                Area::Login,
                "user",
                &format!("{name}: what follows is what this user may"),
            );
            name
        }
        Err(error) => {
            report.warn(
                Area::Login,
                "user",
                &format!("the org does not tell who is logged in ({error})"),
                "give the app the scope api; all else works without it",
            );
            "the user".to_owned()
        }
    }
}

async fn pubsub(report: &mut Report, org: &Org) -> Option<PubSub> {
    let url = &org.pubsub_url();
    let subject = format!("{} {url}", transport(url));
    let connected = async {
        let pubsub = PubSub::new(org)?;
        pubsub.connect().await?;
        Ok::<_, Error>(pubsub)
    };
    match connected.await {
        Ok(pubsub) => {
            report.ok(Area::Network, &subject, "the Pub/Sub API can be connected to");
            Some(pubsub)
        }
        Err(error) => {
            report.fail(
                Area::Network,
                &subject,
                &error.to_string(),
                "let this machine reach it: port 7443, or 443 where only that is open; HTTP/2 must not be broken by a proxy",
            );
            None
        }
    }
}

/// What is left of what the org gives in 24 hours.
pub(super) async fn limits(report: &mut Report, world: &World, config: &Config) {
    let limits = match world.org.limits().await {
        Ok(limits) => limits,
        Err(error) => {
            report.warn(
                Area::Limits,
                "limits",
                &format!("the org does not tell them ({error})"),
                "give the user View Setup and Configuration; the usage told with each answer is used without it",
            );
            return;
        }
    };
    let share = u64::from(config.sync.api_share_percent);
    limit(report, "API requests", limits.api, share);
    if let Some(delivered) = limits.delivered_events {
        limit(report, "event deliveries", delivered, 80);
    }
}

fn limit(report: &mut Report, subject: &str, usage: ApiUsage, share_percent: u64) {
    let words = format!("{} of {} are used in 24 hours", usage.used, usage.limit);
    let remedy = "find what else uses them (System Overview in the org's setup), or buy more; reading for the cache holds back by itself, orders do not";
    let line = match (usage.used, usage.limit) {
        (used, limit) if used >= limit => report.fail(Area::Limits, subject, &words, remedy),
        (used, limit) if used * 100 >= limit * share_percent => {
            report.warn(Area::Limits, subject, &words, remedy)
        }
        _ => report.ok(Area::Limits, subject, &words),
    };
    line.with("used", usage.used).with("limit", usage.limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_host_and_port() {
        let cases = [
            ("https://a.my.salesforce.com", Some(("a.my.salesforce.com", 443))),
            ("https://a.example:7443/x", Some(("a.example", 7443))),
            ("http://127.0.0.1", Some(("127.0.0.1", 80))),
            ("https://[::1]:8443", Some(("::1", 8443))),
            ("https://[::1]", Some(("::1", 443))),
            ("nonsense", None),
        ];
        for (url, expected) in cases {
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }

    #[test]
    fn limits_are_told_by_what_is_left() {
        for (used, verdict) in [(0, "ok"), (79, "ok"), (80, "warn"), (100, "fail"), (120, "fail")] {
            let mut report = Report::default();
            limit(&mut report, "API requests", ApiUsage { used, limit: 100 }, 80);
            assert_eq!(report.as_json()["lines"][0]["verdict"], verdict, "{used}");
        }
    }
}
