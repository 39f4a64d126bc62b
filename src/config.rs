//! The configuration file: what an operator sets, and nothing else.
//!
//! `config.toml` at the top of the project documents every key and is parsed in a test. Every key may be
//! overridden by an environment variable `STORESYNC__SECTION__KEY`. Secrets are never in it: it names files
//! that hold them, see [`credentials`]. Unknown keys are refused, since a misspelt key is a setting that silently does not apply.

mod backup;
pub mod credentials;
mod listen;
mod orders;
mod overrides;
mod proxies;
mod rules;
mod state;
mod stores;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use backup::Backup;
use listen::check_listener;
pub use listen::{Listen, Tls};
pub use orders::{Customers, Duplicates, Guests, Orders, Prices};
pub use proxies::{ForwardedHeader, Proxies};
pub use rules::{Policy, Rules};
pub use state::{State, StatedEncryption};
pub use stores::BookStore;
pub use tokens::{Role, Side, Token};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub org: Org,
    #[serde(default)]
    pub sync: Sync,
    pub state: State,
    #[serde(default)]
    pub backup: Backup,
    #[serde(default)]
    pub serve: Serve,
    #[serde(default)]
    pub admin: Admin,
    #[serde(default)]
    pub orders: Orders,
    #[serde(default)]
    pub log: Log,
    /// The file it was read from.
    #[serde(skip)]
    pub origin: Option<PathBuf>,
    /// All keys as they were read, overrides laid over.
    #[serde(skip)]
    raw: toml::Table,
}

/// `[org]`: which org, and how to log in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Org {
    /// The org's My Domain address, `https://NAME.my.salesforce.com`.
    pub login_url: String,
    #[serde(default = "default_pubsub_url")]
    pub pubsub_url: String,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    pub auth: Auth,
    pub client_id: String,
    pub client_secret_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub private_key_file: Option<PathBuf>,
    pub refresh_token_file: Option<PathBuf>,
    /// `aud` of the JWT; the login address where none is given.
    pub audience: Option<String>,
    #[serde(default = "default_api_version")]
    pub api_version: String,
    /// Domains besides Salesforce's that the token may be sent to.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Where the org has to be: the letters that its instance's name begins with.
    pub region: Option<String>,
}

/// How the daemon logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    Jwt,
    ClientCredentials,
    Password,
    RefreshToken,
}

impl Auth {
    /// As the file spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
        }
    }
}

impl Org {
    /// The keys that name files with secrets, and those files.
    pub fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let named = [
            ("[org] client_secret_file", &self.client_secret_file),
            ("[org] password_file", &self.password_file),
            ("[org] private_key_file", &self.private_key_file),
            ("[org] refresh_token_file", &self.refresh_token_file),
        ];
        named
            .into_iter()
            .filter_map(|(key, path)| Some((key, path.as_deref()?)))
            .collect()
    }

    fn check_region(&self) -> Result<(), ConfigError> {
        let is_region = |region: &str| !region.is_empty() && region.chars().all(|c| c.is_ascii_alphabetic());
        match &self.region {
            Some(region) if !is_region(region) => Err(ConfigError(format!(
                "[org] region is {region:?}: give the letters that the instance's name begins with, as DEU of DEU12"
            ))),
            _ => Ok(()),
        }
    }

    /// Secrets are sent in clear to this machine alone.
    fn check_login(&self) -> Result<(), ConfigError> {
        let Some(rest) = self.login_url.strip_prefix("http://") else {
            return Ok(());
        };
        let host = rest.split('/').next().unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let address = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        match name == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
            true => Ok(()),
            false => Err(ConfigError(format!(
                "[org] login_url {} would have the secrets sent in clear: write it with https",
                self.login_url
            ))),
        }
    }

    /// Takes secrets from where systemd has put them, see [`credentials`].
    fn resolve_secrets(&mut self, directory: Option<&Path>) {
        for path in [
            &mut self.client_secret_file,
            &mut self.password_file,
            &mut self.private_key_file,
            &mut self.refresh_token_file,
        ]
        .into_iter()
        .flatten()
        {
            *path = credentials::resolve(path, directory);
        }
    }
}

/// `[sync]`: what is mirrored.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sync {
    pub profile: Profile,
    /// Change event channels to subscribe to.
    pub channels: Vec<String>,
    /// Objects to mirror besides those of the profile.
    pub objects: Vec<String>,
    /// How long an object without change events may go without being asked for changes.
    pub poll_seconds: u32,
    /// How old an answer may be at most before it is called stale, where that is less than what is usual.
    pub stale_after_seconds: Option<u32>,
    /// How often every object is compared with the org; 0 for never.
    pub verify_hours: u32,
    /// Calls that storesync may make within 24 hours to keep the cache current; a share of the org's where it is not said.
    pub api_calls_daily: Option<u32>,
    /// How much of the org's daily API allowance may be used before reading for the cache holds back.
    pub api_share_percent: u32,
    /// What is particular to single objects, by name.
    pub object: BTreeMap<String, ObjectRules>,
    /// Price books that are stores, where the org has no stores of its own.
    pub stores: Vec<BookStore>,
}

/// `[sync.object.NAME]`: what is particular to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectRules {
    /// A SOQL condition; only rows that meet it are mirrored.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Only these fields are mirrored, with those that mirroring needs; all where none is named.
    pub fields: Vec<String>,
    /// Fields that are never read.
    pub leave_out: Vec<String>,
    /// How often it is read again as a whole, for what no event tells of, such as formulas over other records.
    pub reread_hours: Option<u32>,
    /// Whether it is about persons: the journal forgets what it held of a record that is deleted. Where it is not said,
    /// everything is that is not part of a catalogue.
    pub personal: Option<bool>,
}

impl Sync {
    /// An object that is polled is at its best as old as a poll's interval and what a transaction takes.
    fn check(&self) -> Result<(), ConfigError> {
        let polled = self.poll_seconds.saturating_add(POLL_MARGIN_SECONDS);
        let least = polled.max(STALE_AFTER_MIN_SECONDS);
        match self.stale_after_seconds.filter(|stale| *stale < least) {
            Some(stale) => Err(ConfigError(format!(
                "[sync] stale_after_seconds = {stale} calls everything stale that is as current as it can be, \
                 polled each {} s: set it to at least {least}",
                self.poll_seconds
            ))),
            None => Ok(()),
        }
    }

    /// The rules for an object, whatever the name's case.
    pub fn rules(&self, object: &str) -> ObjectRules {
        let found = self
            .object
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(object));
        found.map(|(_, rules)| rules.clone()).unwrap_or_default()
    }
}

/// A named set of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The objects a StoreConnect storefront needs.
    Storeconnect,
    /// Salesforce's own commerce objects.
    Standard,
}

/// `[serve]`: the storefronts' listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    pub listen: Listen,
    /// PEM files; with them the listener speaks TLS.
    pub tls: Option<Tls>,
    /// Who may read; none means everyone who can reach the listener, which is allowed on this machine alone.
    pub tokens: Vec<Token>,
    /// Names that the listener is reached by besides its address, where it has no tokens.
    pub hosts: Vec<String>,
    /// Addresses and networks of proxies, which are believed for whom they ask.
    pub trusted_proxies: Vec<String>,
    pub forwarded_header: ForwardedHeader,
    /// Whether a contact sees the orders, assets and cases of all contacts of the account, or its own alone.
    pub account_history: bool,
}

/// `[admin]`: the operators' listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    pub listen: Listen,
    pub tls: Option<Tls>,
    pub tokens: Vec<Token>,
    /// As for storefronts.
    pub hosts: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub forwarded_header: ForwardedHeader,
}

/// `[log]`: what the daemon tells of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level, or levels by module: `info,storesync::inbound=debug`.
    pub level: String,
    /// A collector of traces, OTLP over HTTP; none are made where it is not set.
    pub otlp_url: Option<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            otlp_url: None,
        }
    }
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            profile: Profile::Storeconnect,
            channels: vec!["/data/ChangeEvents".to_owned()],
            objects: Vec::new(),
            poll_seconds: 60,
            stale_after_seconds: None,
            verify_hours: 24,
            api_calls_daily: None,
            api_share_percent: 80,
            object: BTreeMap::new(),
            stores: Vec::new(),
        }
    }
}

impl Serve {
    pub fn proxies(&self) -> Result<Proxies, ConfigError> {
        Proxies::new("serve", &self.trusted_proxies, self.forwarded_header)
    }

    /// Whether it may listen there: what other machines can reach is encrypted and asks for a token.
    pub fn check_reach(&self, listen: &Listen) -> Result<(), ConfigError> {
        check_listener(Side::Storefronts, listen, self.tls.is_some(), &self.tokens)
    }
}

impl Admin {
    pub fn proxies(&self) -> Result<Proxies, ConfigError> {
        Proxies::new("admin", &self.trusted_proxies, self.forwarded_header)
    }

    /// As for storefronts.
    pub fn check_reach(&self, listen: &Listen) -> Result<(), ConfigError> {
        check_listener(Side::Operators, listen, self.tls.is_some(), &self.tokens)
    }
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080))),
            tls: None,
            tokens: Vec::new(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            account_history: false,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8081))),
            tls: None,
            tokens: Vec::new(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
        }
    }
}

fn default_pubsub_url() -> String {
    "https://api.pubsub.salesforce.com:7443".to_owned()
}

fn default_api_version() -> String {
    "67.0".to_owned()
}

/// Why a configuration cannot be used: one sentence that says what to do.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A poll proves a time half a minute before it began, and takes some seconds.
const POLL_MARGIN_SECONDS: u32 = 40;
/// A response of a stream proves a time up to a minute before it came.
const STALE_AFTER_MIN_SECONDS: u32 = 100;

impl Config {
    /// Reads `path`, or the first of the usual places where none is given, and lays the overrides over it.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => usual_place()?,
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            ConfigError(format!(
                "the configuration {} cannot be read ({error}): give its path with --config",
                path.display()
            ))
        })?;
        let overrides = std::env::vars().filter(|(name, _)| name.starts_with(overrides::PREFIX));
        let mut config = Self::parse(&text, overrides)
            .map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
        config.org.resolve_secrets(credentials::directory().as_deref());
        config.origin = Some(path);
        Ok(config)
    }

    /// Reads the text of a configuration, with overrides named `STORESYNC__SECTION__KEY`.
    pub fn parse(
        text: &str,
        overrides: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let given: toml::Table = toml::from_str(text)
            .map_err(|error| ConfigError(format!("not valid TOML: {}", one_line(&error))))?;
        let overrides: Vec<_> = overrides.into_iter().collect();
        let all = overrides::applied(&given, &overrides)?;
        // Parsed from the text where nothing is overridden, so that the message can name the line.
        let parsed = match overrides.is_empty() {
            true => toml::from_str(text),
            false => Self::deserialize(all.clone()),
        };
        let parsed: Self = parsed.map_err(|error: toml::de::Error| {
            let wrong = one_line(&error);
            ConfigError(match overrides::culprit::<Self>(&given, &overrides) {
                Some(name) => format!("the variable {name} cannot be used: {wrong}"),
                None => wrong,
            })
        })?;
        parsed.check()?;
        let raw = all.into_table();
        Ok(Self { raw, ..parsed })
    }

    /// What one key alone does not tell.
    fn check(&self) -> Result<(), ConfigError> {
        let (serve, admin) = (&self.serve, &self.admin);
        self.org.check_login()?;
        self.org.check_region()?;
        let reach = serve.check_reach(&serve.listen);
        reach.and(admin.check_reach(&admin.listen))?;
        serve.listen.check_apart_from(&admin.listen)?;
        serve.proxies().and(admin.proxies())?;
        self.sync.check().and(self.backup.check())?;
        self.sync.stores.iter().try_for_each(BookStore::check)
    }

    /// The tokens of a side.
    pub fn tokens(&self, side: Side) -> &[Token] {
        match side {
            Side::Storefronts => &self.serve.tokens,
            Side::Operators => &self.admin.tokens,
        }
    }

    /// The keys whose values differ, as `section.key`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut differing = std::collections::BTreeSet::new();
        for (one, two) in [(&self.raw, &other.raw), (&other.raw, &self.raw)] {
            for (section, keys) in one {
                for (key, value) in keys.as_table().into_iter().flatten() {
                    let there = two.get(section).and_then(|keys| keys.get(key));
                    if there != Some(value) {
                        differing.insert(format!("{section}.{key}"));
                    }
                }
            }
        }
        differing.into_iter().collect()
    }
}

/// `line 3: unknown field ...`, from toml's message of several lines.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let position = text
        .lines()
        .next()
        .and_then(|line| line.split("at ").nth(1))
        .map(str::to_owned);
    let message = error.message().replace('\n', " ");
    match position {
        Some(position) => format!("{position}: {message}"),
        None => message,
    }
}

fn usual_place() -> Result<PathBuf, ConfigError> {
    let places = ["config.toml", "/etc/storesync/config.toml"];
    places.iter().map(PathBuf::from).find(|place| place.exists()).ok_or_else(|| {
        ConfigError(
            "no configuration found in ./config.toml or /etc/storesync/config.toml: give its path with --config"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../config.toml");

    fn parse(text: &str, overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(
            text,
            overrides
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn the_sample_parses_and_states_the_defaults() {
        let config = parse(SAMPLE, &[]).unwrap();
        assert_eq!(config.org.auth, Auth::Jwt);
        assert_eq!(config.org.pubsub_url, default_pubsub_url());
        assert_eq!(config.org.api_version, default_api_version());
        assert_eq!(config.sync.profile, Sync::default().profile);
        assert_eq!(config.sync.channels, Sync::default().channels);
        assert_eq!(config.sync.poll_seconds, Sync::default().poll_seconds);
        assert_eq!(config.sync.verify_hours, Sync::default().verify_hours);
        assert_eq!(
            config.sync.stale_after_seconds,
            Sync::default().stale_after_seconds
        );
        assert_eq!(config.sync.api_share_percent, Sync::default().api_share_percent);
        let state = &config.state;
        assert!(state.keep_rows);
        assert_eq!(
            (state.journal_days, state.journal_bytes, state.audit_days),
            (state::journal_days(), state::journal_bytes(), state::audit_days())
        );
        let (orders, usual) = (&config.orders, Orders::default());
        assert_eq!((orders.prices, orders.customers), (usual.prices, usual.customers));
        assert_eq!(orders.rules, usual.rules);
        assert_eq!(orders.cancelled_status, usual.cancelled_status);
        assert_eq!(orders.api_reserve_percent, usual.api_reserve_percent);
        assert_eq!(orders.echo_seconds, usual.echo_seconds);
        assert_eq!(orders.duplicates, usual.duplicates);
        assert_eq!(orders.history_days, usual.history_days);
        assert_eq!(orders.history_mebibytes, usual.history_mebibytes);
        assert_eq!(config.serve.listen, Serve::default().listen);
        assert_eq!(config.admin.listen, Admin::default().listen);
    }

    #[test]
    fn a_commented_key_of_the_sample_is_a_key() {
        let uncommented: String = SAMPLE
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => rest,
                _ => line,
            })
            .collect::<Vec<_>>()
            .join("\n");
        let config = parse(&uncommented, &[]).unwrap();
        let orders = &config.orders;
        assert_eq!(orders.external_id_field.as_deref(), Some("External_ID__c"));
        assert_eq!(orders.map["order.email"], "Web_Email__c");
        assert_eq!(
            orders.fields["*"],
            ["Order.Gift_Note__c", "OrderItem.Engraving__c"]
        );
        assert_eq!(orders.status.as_deref(), Some("Activated"));
        assert_eq!(orders.shipping_product.as_deref(), Some("SHIPPING"));
        assert!(config.org.ca_file.is_some());
        let rules = config.sync.rules("pricebookentry");
        assert_eq!(rules.filter.as_deref(), Some("IsActive = true"));
        assert_eq!(rules.reread_hours, Some(24));
        assert_eq!(config.sync.rules("Account"), ObjectRules::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse(&SAMPLE.replace("poll_seconds", "pol_seconds"), &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line ") && error.contains("pol_seconds"),
            "{error}"
        );
    }

    #[test]
    fn secrets_are_sent_in_clear_to_this_machine_alone() {
        for (url, taken) in [
            ("https://acme.my.salesforce.com", true),
            ("http://127.0.0.1:8443", true),
            ("http://[::1]:8443", true),
            ("http://localhost:8443/", true),
            ("http://acme.my.salesforce.com", false),
            ("http://10.0.0.1:8443", false),
            ("http://localhost.evil.test", false),
            ("http://127.0.0.1.evil.test", false),
        ] {
            let text = SAMPLE.replace("https://example.my.salesforce.com", url);
            assert_eq!(parse(&text, &[]).is_ok(), taken, "{url}");
        }
    }

    #[test]
    fn differences_are_named_by_key() {
        let one = parse(SAMPLE, &[]).unwrap();
        assert_eq!(one.differences(&one), Vec::<String>::new());
        let changed = SAMPLE
            .replace("poll_seconds = 60", "poll_seconds = 61")
            .replace("objects = []", "");
        let other = parse(&changed, &[("STORESYNC__LOG__LEVEL", "debug")]).unwrap();
        assert_eq!(
            one.differences(&other),
            ["log.level", "sync.objects", "sync.poll_seconds"]
        );
        assert_eq!(other.log.level, "debug");
    }

    /// The keys of each table that are no tables themselves, as variables with these values.
    fn variables(table: &toml::Table, prefix: &str) -> Vec<Vec<(String, String)>> {
        let text = |value: &toml::Value| match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (mut own, mut all) = (Vec::new(), Vec::new());
        for (key, value) in table {
            let name = format!("{prefix}__{}", key.to_uppercase());
            match value {
                toml::Value::Table(inner) => all.extend(variables(inner, &name)),
                // Tables in a list are not given as variables.
                toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {}
                toml::Value::Array(items) => {
                    own.push((name, items.iter().map(text).collect::<Vec<_>>().join(",")));
                }
                value => own.push((name, text(value))),
            }
        }
        all.push(own);
        all
    }

    #[test]
    fn each_key_of_the_sample_can_be_a_variable() {
        let is_key = |rest: &&str| rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let lines = SAMPLE.lines();
        let lines = lines.map(|line| line.strip_prefix("# ").filter(is_key).unwrap_or(line));
        let sample: toml::Table = toml::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
        let tables = variables(&sample, "STORESYNC");
        assert!(tables.iter().map(Vec::len).sum::<usize>() > 50, "{tables:?}");
        // Nothing in the file tells what kind of value a variable has.
        let plain =
            "[org]\nlogin_url = \"https://a\"\nauth = \"jwt\"\nclient_id = \"c\"\n[state]\ndir = \"/x\"\n";
        for table in tables {
            let named: Vec<(&str, &str)> = table
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let parsed = parse(plain, &named);
            assert!(parsed.is_ok(), "{named:?}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named() {
        let refused = |overrides: &[(&str, &str)]| parse(SAMPLE, overrides).unwrap_err().to_string();
        for (name, value) in [
            ("STORESYNC__ADMIN__TOKENS", "[{}]"),
            ("STORESYNC__ORDERS__RULES__HIDDEN", "takee"),
            ("STORESYNC__SYNC__POLL_SECONDS", "soon"),
        ] {
            let told = refused(&[("STORESYNC__LOG__LEVEL", "warn"), (name, value)]);
            assert!(told.contains(&format!("the variable {name} ")), "{told}");
        }
        // Of two that are right together alone, neither is.
        let tls = |name| (name, "file.pem");
        let certificate = tls("STORESYNC__SERVE__TLS__CERT_FILE");
        assert!(parse(SAMPLE, &[certificate, tls("STORESYNC__SERVE__TLS__KEY_FILE")]).is_ok());
        assert!(refused(&[certificate]).contains(certificate.0));
    }

    #[test]
    fn variables_override_keys() {
        let overrides = [
            ("STORESYNC__STATE__DIR", "/srv/state"),
            (
                "STORESYNC__SYNC__CHANNELS",
                "/data/AccountChangeEvent, /data/OrderChangeEvent",
            ),
            ("STORESYNC__SYNC__POLL_SECONDS", "5"),
            ("STORESYNC__SYNC__VERIFY_HOURS", "6"),
            ("STORESYNC__SYNC__API_SHARE_PERCENT", "40"),
            ("STORESYNC__STATE__JOURNAL_DAYS", "7"),
            ("STORESYNC__STATE__JOURNAL_BYTES", "8000000"),
            ("STORESYNC__STATE__AUDIT_DAYS", "30"),
            ("STORESYNC__STATE__KEEP_ROWS", "false"),
            ("STORESYNC__ORDERS__HISTORY_MEBIBYTES", "9"),
            ("STORESYNC__SERVE__LISTEN", "127.0.0.1:0"),
            ("STORESYNC__SERVE__HOSTS", "shop.example, www.shop.example"),
            ("STORESYNC__ADMIN__HOSTS", "ops.example"),
            ("STORESYNC__ORG__HOSTS", "org.example,"),
            ("STORESYNC__SYNC__OBJECTS", "Lead, Campaign"),
            ("STORESYNC__SYNC__API_CALLS_DAILY", "2500"),
            ("STORESYNC__SYNC__OBJECT__LEAD__FIELDS", "Email, Phone"),
            ("STORESYNC__SYNC__OBJECT__LEAD__LEAVE_OUT", "Fax"),
            ("STORESYNC__SYNC__OBJECT__LEAD__PERSONAL", "false"),
            ("STORESYNC__SERVE__ACCOUNT_HISTORY", "true"),
            ("STORESYNC__ORDERS__FIELDS__MAIN", "Order.Gift__c, Lead.Note__c"),
            ("STORESYNC__ORDERS__RULES__OUT_OF_STOCK", "take_and_mark"),
        ];
        let config = parse(SAMPLE, &overrides).unwrap();
        assert_eq!(config.orders.rules.out_of_stock, Policy::TakeAndMark);
        assert_eq!(config.state.dir, PathBuf::from("/srv/state"));
        assert_eq!(
            config.sync.channels,
            ["/data/AccountChangeEvent", "/data/OrderChangeEvent"]
        );
        assert_eq!(config.serve.hosts, ["shop.example", "www.shop.example"]);
        assert_eq!(config.admin.hosts, ["ops.example"]);
        assert_eq!(config.org.hosts, ["org.example"]);
        assert_eq!(config.sync.objects, ["Lead", "Campaign"]);
        assert_eq!(config.sync.api_calls_daily, Some(2_500));
        let lead = config.sync.rules("Lead");
        assert_eq!(
            (lead.fields, lead.leave_out),
            (
                vec!["Email".to_owned(), "Phone".to_owned()],
                vec!["Fax".to_owned()]
            )
        );
        assert_eq!(lead.personal, Some(false));
        assert!(config.serve.account_history);
        assert_eq!(config.orders.fields["main"], ["Order.Gift__c", "Lead.Note__c"]);
        assert_eq!(config.sync.poll_seconds, 5);
        assert_eq!(config.sync.verify_hours, 6);
        assert_eq!(config.sync.api_share_percent, 40);
        let state = &config.state;
        assert_eq!((state.journal_days, state.journal_bytes), (7, 8_000_000));
        assert_eq!(state.audit_days, 30);
        assert!(!state.keep_rows);
        assert_eq!(config.orders.history_mebibytes, 9);
        assert_eq!(
            config.serve.listen,
            Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
        );
        let error = parse(SAMPLE, &[("STORESYNC__DIR", "x")]).unwrap_err().to_string();
        assert!(error.contains("STORESYNC__DIR"), "{error}");
    }

    #[test]
    fn what_other_machines_reach_is_encrypted_and_asks_for_a_token() {
        let tls = "tls = { cert_file = \"c.pem\", key_file = \"k.pem\" }";
        let token = format!(
            "tokens = [{{ name = \"web\", sha256 = \"{}\" }}]",
            "0a".repeat(32)
        );
        let bad = "tokens = [{ name = \"web\", sha256 = \"plain\" }]";
        for (listen, more, refused) in [
            ("127.0.0.1:0", String::new(), None),
            ("[::1]:0", String::new(), None),
            ("unix:/run/s.sock", String::new(), None),
            ("0.0.0.0:443", String::new(), Some("neither TLS nor tokens")),
            ("0.0.0.0:443", tls.to_owned(), Some("no tokens")),
            ("0.0.0.0:443", token.clone(), Some("no TLS")),
            ("0.0.0.0:443", format!("{tls}\n{token}"), None),
            ("127.0.0.1:0", bad.to_owned(), Some("64 hexadecimal digits")),
            ("localhost", String::new(), Some("no address to listen on")),
        ] {
            let text = format!(
                "[org]\nlogin_url = \"https://a\"\nauth = \"jwt\"\nclient_id = \"c\"\n[state]\ndir = \"s\"\n[serve]\nlisten = \"{listen}\"\n{more}\n"
            );
            let told = parse(&text, &[]).map(drop).map_err(|error| error.to_string());
            match refused {
                None => assert_eq!(told, Ok(()), "{listen} {more}"),
                Some(part) => assert!(
                    told.clone().unwrap_err().contains(part),
                    "{listen} {more}: {told:?}"
                ),
            }
        }
    }
}
