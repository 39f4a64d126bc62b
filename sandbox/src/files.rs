//! What a starting sandbox leaves for its clients: addresses, secrets, and a configuration for the daemon.
//!
//! Files that hold secrets are readable by their owner alone from the moment they exist. An earlier run's files are
//! replaced; the org and the daemon's state beside them are not touched.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::oauth::Credentials;
use super::tls::Certificates;
use super::value::RecordId;

/// The platform event's topic and the managed subscription's name.
pub const PLATFORM_EVENT_TOPIC: &str = "/event/Storesync_Notice__e";
pub const MANAGED_SUBSCRIPTION: &str = "Storesync_Accounts";
const PEM_LINE: usize = 64;

/// What the files tell.
pub struct Announcement<'a> {
    pub http_url: &'a str,
    /// `127.0.0.1:7011`
    pub grpc: &'a str,
    pub credentials: &'a Credentials,
    pub certificates: Option<&'a Certificates>,
    pub organization: RecordId,
    pub keepalive: Duration,
}

/// Writes everything into `dir`; returns the keys and values of `sandbox.env`.
pub fn write(dir: &Path, announcement: &Announcement<'_>) -> Result<Vec<(&'static str, String)>> {
    fs::create_dir_all(dir).with_context(|| format!("make the sandbox's folder {}", dir.display()))?;
    let credentials = announcement.credentials;
    let jwt_key = dir.join("jwt.pem");
    write_file(&jwt_key, &private_key_pem(&credentials.private_key_der), true)?;
    let secret = dir.join("client_secret");
    write_file(&secret, &credentials.client_secret, true)?;
    let authority = dir.join("ca.pem");
    match announcement.certificates {
        Some(certificates) => write_file(&authority, &certificates.authority_pem, false)?,
        None if authority.exists() => {
            fs::remove_file(&authority).with_context(|| format!("remove the old {}", authority.display()))?;
        }
        None => {}
    }
    let authority = announcement.certificates.map(|_| authority);
    let config = config(dir, announcement, authority.as_deref(), &secret);
    write_file(&dir.join("config.toml"), &config, false)?;

    let env = vec![
        ("SANDBOX_HTTP", announcement.http_url.to_owned()),
        ("SANDBOX_GRPC", announcement.grpc.to_owned()),
        ("SANDBOX_CA", authority.map(shown).unwrap_or_default()),
        ("SANDBOX_CLIENT_ID", credentials.client_id.clone()),
        ("SANDBOX_CLIENT_SECRET", credentials.client_secret.clone()),
        ("SANDBOX_USERNAME", credentials.username.clone()),
        ("SANDBOX_PASSWORD", credentials.password.clone()),
        ("SANDBOX_SECURITY_TOKEN", credentials.security_token.clone()),
        ("SANDBOX_REFRESH_TOKEN", credentials.refresh_token.clone()),
        ("SANDBOX_JWT_KEY", shown(jwt_key)),
        ("SANDBOX_ORG_ID", announcement.organization.to_string()),
        ("SANDBOX_PE_TOPIC", PLATFORM_EVENT_TOPIC.to_owned()),
        ("SANDBOX_MANAGED_SUB", MANAGED_SUBSCRIPTION.to_owned()),
        (
            "SANDBOX_KEEPALIVE_MS",
            announcement.keepalive.as_millis().to_string(),
        ),
    ];
    let lines: String = env
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect();
    // Last, so that whoever waits for it finds the others written.
    write_file(&dir.join("sandbox.env"), &lines, true)?;
    Ok(env)
}

fn shown(path: PathBuf) -> String {
    path.into_os_string().to_string_lossy().into_owned()
}

/// Written beside and renamed into place, so that nobody reads half a file.
fn write_file(path: &Path, text: &str, secret: bool) -> Result<()> {
    let draft = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        if draft.exists() {
            fs::remove_file(&draft)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
        options.open(&draft)?.write_all(text.as_bytes())?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn private_key_pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(PEM_LINE.min(rest.len()));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

/// A value as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn config(dir: &Path, announcement: &Announcement<'_>, authority: Option<&Path>, secret: &Path) -> String {
    let scheme = if authority.is_some() { "https" } else { "http" };
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let authority = authority.map(|authority| {
        format!(
            "# The sandbox signs its own certificates.\nca_file = {}\n",
            path(authority)
        )
    });
    format!(
        "# A daemon against the sandbox org that wrote this file: storesync run --config FILE\n\
         \n\
         [org]\n\
         login_url = {login}\n\
         pubsub_url = {pubsub}\n\
         {authority}\
         auth = \"client_credentials\"\n\
         client_id = {client_id}\n\
         client_secret_file = {secret}\n\
         \n\
         [sync]\n\
         # Objects without change events are asked for changes this often: the sandbox counts no API calls.\n\
         poll_seconds = 5\n\
         \n\
         [state]\n\
         # Belongs to the org of this folder: delete it together with the folder org beside it.\n\
         dir = {state}\n\
         \n\
         # For storefronts.\n\
         [serve]\n\
         listen = \"127.0.0.1:8080\"\n\
         \n\
         # For operators.\n\
         [admin]\n\
         listen = \"127.0.0.1:8081\"\n",
        login = quoted(announcement.http_url),
        pubsub = quoted(&format!("{scheme}://{}", announcement.grpc)),
        authority = authority.unwrap_or_default(),
        client_id = quoted(&announcement.credentials.client_id),
        secret = path(secret),
        state = path(&dir.join("state")),
    )
}
