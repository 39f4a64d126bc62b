//! What can be seen without the network: the configuration's sense, files, permissions, space.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::{self, Auth, Config};
use crate::inspect::check::{Area, Report, beside};
use crate::store::volume::{self, Encryption};
use crate::store::{cache, database, journal, outbox};

/// Below this the daemon works, but a load or a day of events may not fit any more.
const SPACE_BYTES_WARN: u64 = 5 << 30;

/// Below this many open files a busy day of storefronts may not find a connection.
const OPEN_FILES_WARN: u64 = 4_096;

/// Below this writing will soon fail.
const SPACE_BYTES_FAIL: u64 = 256 << 20;

/// Values that are readable and make no sense.
pub(super) fn configuration(report: &mut Report, config: &Config) {
    let area = Area::Configuration;
    for (key, url) in [
        ("[org] login_url", &config.org.login_url),
        ("[org] pubsub_url", &config.org.pubsub_url),
    ] {
        if url.starts_with("https://") {
            report.ok(area, key, url);
        } else if url.starts_with("http://") {
            report.warn(
                area,
                key,
                &format!("{url} is not encrypted"),
                "use https for everything but a sandbox org on this machine",
            );
        } else {
            report.fail(
                area,
                key,
                &format!("{url} is no address"),
                "give one that begins with https://",
            );
        }
    }
    if config.org.auth == Auth::ClientCredentials && config.org.login_url.contains("login.salesforce.com") {
        report.fail(
            area,
            "[org] login_url",
            "client_credentials is refused at login.salesforce.com",
            "give the org's My Domain address, https://NAME.my.salesforce.com",
        );
    }
    let version: Option<u32> = config
        .org
        .api_version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|n| n.parse().ok());
    match version {
        Some(version) if version >= 60 => report.ok(area, "[org] api_version", &config.org.api_version),
        _ => report.fail(
            area,
            "[org] api_version",
            &format!("{} is not spoken here", config.org.api_version),
            "give 60.0 or newer",
        ),
    };
    for token in config.admin.tokens.iter().filter(|token| token.roles.is_empty()) {
        report.warn(
            area,
            &format!("[admin] the token {}", token.name),
            "it has no roles, so it is for everything: values of persons, edits and exports too",
            "say what it is for, as in roles = [\"view\", \"operate\"]",
        );
    }
    proxies(report, config);
    if config.sync.channels.is_empty() {
        report.warn(
            area,
            "[sync] channels",
            "no channel is named: every object is polled, and changes show after a minute",
            "name \"/data/ChangeEvents\", where the org selects objects for change data capture",
        );
    }
}

/// Proxies that are named and cannot be meant.
fn proxies(report: &mut Report, config: &Config) {
    let (serve, admin) = (&config.serve, &config.admin);
    if !admin.trusted_proxies.is_empty() && admin.tokens.is_empty() {
        report.warn(
            Area::Configuration,
            "[admin] trusted_proxies",
            "it has no effect: without [[admin.tokens]] what a proxy hands on is refused",
            "set [[admin.tokens]], or take it out",
        );
    }
    for (key, named) in [
        ("[serve] trusted_proxies", serve.proxies()),
        ("[admin] trusted_proxies", admin.proxies()),
    ] {
        let networks = named.map(|named| named.networks).unwrap_or_default();
        for network in networks.iter().filter(|network| network.prefix_len() == 0) {
            report.warn(
                Area::Configuration,
                key,
                &format!("{network} is every address: each client then says itself who it is, and no limit by address holds"),
                "name the addresses of your proxies",
            );
        }
    }
}

/// Secrets, certificates, the state directory and what is in it.
pub(super) fn files(report: &mut Report, config: &Config) {
    for (key, path) in config.org.secret_files() {
        secret(report, key, path);
    }
    if let Some(path) = &config.org.ca_file {
        readable(report, "[org] ca_file", path);
    }
    state(report, config);
    open_files(report);
}

/// The daemon takes all that its hard limit allows; under systemd that is the unit's.
fn open_files(report: &mut Report) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let told = limit.map_or("without limit".to_owned(), |files| format!("up to {files}"));
    let told = format!("{told} for what is started from here");
    if limit.is_some_and(|files| files < OPEN_FILES_WARN) {
        let remedy =
            "raise ulimit -Hn, or LimitNOFILE= of the unit: each connected storefront and listener takes one";
        report.warn(Area::Files, "open files", &told, remedy);
    } else {
        report.ok(Area::Files, "open files", &told);
    }
}

fn readable(report: &mut Report, key: &str, path: &Path) -> bool {
    let shown = path.display();
    match std::fs::read(path) {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {
            report.fail(
                Area::Files,
                key,
                &format!("{shown} is empty"),
                "write into it what the key names",
            );
            false
        }
        Ok(_) => {
            report.ok(Area::Files, key, &format!("{shown} is readable"));
            true
        }
        Err(error) => {
            report.fail(
                Area::Files,
                key,
                &format!("{shown} cannot be read ({error})"),
                "make it, readable by the user storesync runs as; under systemd put it into the folder that LoadCredential names",
            );
            false
        }
    }
}

fn secret(report: &mut Report, key: &str, path: &Path) {
    if !readable(report, key, path) {
        return;
    }
    let Ok(file) = std::fs::metadata(path) else { return };
    let mode = file.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        report.warn(
            Area::Files,
            key,
            &format!(
                "{} may be read by others than its owner (mode {mode:o})",
                path.display()
            ),
            &format!("chmod 600 {}", path.display()),
        );
    }
}

/// Whether the state directory is encrypted: seen, stated, or neither. Tells whether it is one of the two.
fn encryption(report: &mut Report, state: &config::State, existing: &Path) -> bool {
    let (area, subject) = (Area::Files, "encryption at rest");
    let why = match volume::encryption(existing) {
        Encryption::Yes(how) => {
            report.ok(area, subject, &format!("[state] dir is encrypted ({how})"));
            return true;
        }
        Encryption::No(why) | Encryption::Unknown(why) => why,
    };
    if state.encryption.is_some() {
        let told = format!("[state] dir is stated to be encrypted, which is not seen from here ({why})");
        report.ok(area, subject, &told);
        return true;
    }
    let told = format!("[state] dir is not seen to be encrypted ({why})");
    let remedy = "put it on a volume of dm-crypt or into a directory of fscrypt, or say [state] encryption = \"volume\" where the provider or the disk encrypts it";
    match state.require_encrypted {
        true => report.fail(area, subject, &told, remedy),
        false => report.warn(area, subject, &told, remedy),
    };
    false
}

fn state(report: &mut Report, config: &Config) {
    let state = &config.state;
    let (area, dir) = (Area::Files, &state.dir);
    let shown = dir.display().to_string();
    let existing = volume::existing(dir);
    if dir.is_dir() {
        match tempfile::Builder::new().prefix(".check").tempfile_in(dir) {
            Ok(_) => report.ok(area, "[state] dir", &format!("{shown} is writable")),
            Err(error) => report.fail(
                area,
                "[state] dir",
                &format!("{shown} cannot be written ({error})"),
                "make the user storesync runs as its owner, or set another directory",
            ),
        };
    } else {
        report.warn(
            area,
            "[state] dir",
            &format!("{shown} is not there yet"),
            "nothing, if the daemon has not been started: it makes it where it may",
        );
    }
    // Beside a directory in plain it is not what matters.
    if encryption(report, state, existing) || state.require_encrypted {
        beside::swap(report, dir);
        beside::spill(report, state);
    }
    beside::backups(report, config);
    for kind in [cache::KIND, journal::KIND, outbox::KIND] {
        database_file(report, dir, kind);
    }
    if let Err(missing) = outbox::missing::refuse(dir) {
        let remedy = "as it says; the daemon does not start before";
        report.fail(area, outbox::KIND.file_name, &missing.to_string(), remedy);
    }
    let running = database::is_held(dir);
    report.ok(
        area,
        "daemon",
        if running {
            "one runs on this directory"
        } else {
            "none runs on this directory"
        },
    );
    space(report, existing);
}

fn database_file(report: &mut Report, dir: &Path, kind: database::Kind) {
    let (area, path) = (Area::Files, dir.join(kind.file_name));
    let Ok(file) = std::fs::metadata(&path) else {
        return;
    };
    let mode = file.permissions().mode() & 0o777;
    if mode & !kind.mode & 0o077 != 0 {
        report.warn(
            area,
            kind.file_name,
            &format!("it may be read by more than it is meant for (mode {mode:o})"),
            &format!("chmod {:o} {}", kind.mode, path.display()),
        );
    }
    match database::version(dir, kind) {
        Ok(version) => {
            let (known, bytes) = (kind.migrations.len(), file.len());
            let told = match version == known {
                true => format!("schema {version}, {} MB", bytes >> 20),
                false => format!(
                    "schema {version} of {known}, {} MB: brought up to date at the next start",
                    bytes >> 20
                ),
            };
            report
                .ok(area, kind.file_name, &told)
                .with("bytes", bytes)
                .with("schema", version);
        }
        Err(error) => {
            report.fail(
                area,
                kind.file_name,
                &error.to_string(),
                "see above; a backup is made with storesync backup",
            );
        }
    }
}

fn space(report: &mut Report, place: &Path) {
    let told = match rustix::fs::statvfs(place) {
        Ok(disk) => disk,
        Err(error) => {
            let told = format!("what is left at {} cannot be told ({error})", place.display());
            report.warn(Area::Files, "disk space", &told, "look with df");
            return;
        }
    };
    space_left(report, place, told.f_bavail.saturating_mul(told.f_frsize));
}

fn space_left(report: &mut Report, place: &Path, left: u64) {
    let words = format!("{} MB are left at {}", left >> 20, place.display());
    let line = match left {
        ..SPACE_BYTES_FAIL => report.fail(
            Area::Files,
            "disk space",
            &words,
            "free some now: orders are refused when they cannot be written",
        ),
        SPACE_BYTES_FAIL..SPACE_BYTES_WARN => report.warn(
            Area::Files,
            "disk space",
            &words,
            "free some: a load of a large org, or some days of events, may need more",
        ),
        _ => report.ok(Area::Files, "disk space", &words),
    };
    line.with("bytes_left", left);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_told_by_what_is_left() {
        for (megabytes, verdict) in [
            (0, "fail"),
            (255, "fail"),
            (256, "warn"),
            (5_119, "warn"),
            (5_120, "ok"),
        ] {
            let mut report = Report::default();
            space_left(&mut report, Path::new("/"), megabytes << 20);
            let line = &report.as_json()["lines"][0];
            assert_eq!(
                (&line["verdict"], line["remedy"].is_null()),
                (&verdict.into(), verdict == "ok")
            );
            assert_eq!(line["bytes_left"], megabytes << 20);
        }
    }
}
