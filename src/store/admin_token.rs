//! The token of this machine: what lets people in at the operators' listener where the configuration has no tokens.
//!
//! Such a listener is reached from this machine alone, but by every user and every program of it. So the daemon makes a
//! token, and keeps it in a file of the state directory that nobody else may read: who may read the file may do everything.
//! A browser gets in by a link, which `storesync login-url` makes out of the file's content without asking the daemon. A
//! link is good once, for five minutes, and for the daemon that runs when it is made.
//!
//! The token itself is in no log and in no link. A file that others could have read is replaced by another token.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::model::clock::Millis;
use crate::store::plain;
use aws_lc_rs::hmac;

/// The file, in the state directory.
pub const FILE_NAME: &str = "admin.token";
/// Of a token that is kept: 32 random bytes in hexadecimal.
const TOKEN_CHARS: usize = 64;
/// How long a link is good.
const LINK_MILLIS: Millis = 5 * 60_000;
const NONCE_BYTES: usize = 16;
/// A link's time, nonce and signature, in hexadecimal.
const LINK_CHARS: usize = 2 * (8 + NONCE_BYTES + 32);

/// The token of a state directory, made where there is none yet, or where others may read it. One that cannot be kept is
/// known to nobody: nobody gets in by it, and the log says why.
pub fn token(dir: &Path) -> Option<String> {
    let path = dir.join(FILE_NAME);
    let own = |(token, owner)| match owner == rustix::process::geteuid().as_raw() {
        true => Ok(token),
        false => Err(io::Error::other("it is another user's")),
    };
    match read_file(&path).and_then(own) {
        Ok(token) => return Some(token),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(
            "{} cannot be used ({error}): another token is put in its place",
            path.display()
        ),
    }
    let token = random::<32>()?;
    match write(&path, &token) {
        Ok(()) => tracing::info!(
            "operators need the token in {}, because [admin] has none: storesync login-url makes a link for a browser",
            path.display()
        ),
        Err(error) => tracing::error!(
            "the token of operators cannot be written to {} ({error}), so that nobody gets in at the [admin] listener: \
             make room there and start again, or set [[admin.tokens]]",
            path.display()
        ),
    }
    Some(token)
}

/// There is no token to make a link of.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be used ({why}): {}", remedy(.why))]
pub struct Unusable {
    path: PathBuf,
    /// Told in the sentence, and so no source beside it.
    why: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "start the daemon, which makes it, or check [state] dir",
        io::ErrorKind::PermissionDenied => "run this as the user that the daemon runs as",
        _ => "start the daemon again, which puts another in its place",
    }
}

/// The token that a daemon has made in a state directory.
pub fn read(dir: &Path) -> Result<String, Unusable> {
    let path = dir.join(FILE_NAME);
    let read = read_file(&path).map_err(|why| Unusable { path, why });
    read.map(|(token, _)| token)
}

/// The token in a file, and whose file that is.
fn read_file(path: &Path) -> io::Result<(String, u32)> {
    let file = plain::open(path)?;
    let about = file.metadata()?;
    if about.mode() & 0o077 != 0 {
        return Err(io::Error::other("it can be read by others"));
    }
    let mut content = String::new();
    file.take(1_024).read_to_string(&mut content)?;
    let token = content.trim();
    let is_token = token.len() == TOKEN_CHARS && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_token
        .then(|| (token.to_owned(), about.uid()))
        .ok_or_else(|| io::Error::other("it holds no token"))
}

/// Never in the file's place before it is complete and closed to others.
fn write(path: &Path, token: &str) -> io::Result<()> {
    let beside: PathBuf = path.with_extension("token.new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// What a link carries, made at a time; `None` where the machine gives no random bytes.
pub fn link(token: &str, now: Millis) -> Option<String> {
    let signed = format!("{now:016x}{}", random::<NONCE_BYTES>()?);
    let signature = hmac::sign(&key(token), signed.as_bytes());
    Some(signed + &hex(signature.as_ref()))
}

fn key(token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes())
}

/// The links of a daemon's life.
#[derive(Debug)]
pub struct Links {
    since: Millis,
    /// Those that were used, until they are good no more.
    used: Mutex<HashMap<String, Millis>>,
}

impl Links {
    /// Takes links that are made from now on.
    pub fn new(now: Millis) -> Self {
        Self {
            since: now,
            used: Mutex::default(),
        }
    }

    /// Uses a link up: whether it is one of this token, and good still.
    pub fn take(&self, link: &str, token: &str, now: Millis) -> bool {
        if link.len() != LINK_CHARS || !link.is_ascii() {
            return false;
        }
        let (signed, signature) = link.split_at(2 * (8 + NONCE_BYTES));
        let (Ok(made_at), Some(signature)) = (Millis::from_str_radix(&signed[..16], 16), bytes(signature))
        else {
            return false;
        };
        let is_ours = hmac::verify(&key(token), signed.as_bytes(), &signature).is_ok();
        let is_good = made_at >= self.since && (0..LINK_MILLIS).contains(&(now - made_at));
        if !is_ours || !is_good {
            return false;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, made_at| now - *made_at < LINK_MILLIS);
        used.insert(signed.to_owned(), made_at).is_none()
    }
}

fn random<const N: usize>() -> Option<String> {
    let mut random = [0; N];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(hex(&random))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let told = read(dir.path()).unwrap_err().to_string();
        assert!(told.contains("start the daemon, which makes it"), "{told}");
        let made = token(dir.path()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{made}\n"));
        assert_eq!(token(dir.path()).unwrap(), made);

        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(read(dir.path()).is_err());
        let another = token(dir.path()).unwrap();
        assert_ne!(another, made);
        assert_eq!(read(dir.path()).unwrap(), another);

        // A link that somebody laid there is neither followed nor written through.
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, "0".repeat(TOKEN_CHARS)).unwrap();
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let third = token(dir.path()).unwrap();
        assert!(third != "0".repeat(TOKEN_CHARS) && path.symlink_metadata().unwrap().is_file());

        std::fs::write(&path, "short").unwrap();
        assert_ne!(token(dir.path()).unwrap(), "short");

        // A pipe that nobody writes to, and a directory.
        std::fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let told = read(dir.path()).unwrap_err().to_string();
        assert!(told.contains("cannot be used (it is no file): start"), "{told}");
        let fourth = token(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), fourth);
    }

    #[test]
    fn a_token_that_cannot_be_kept_is_known_to_nobody() {
        let gone = tempfile::tempdir().unwrap().path().join("gone");
        let [first, second] = [token(&gone), token(&gone)];
        assert_ne!(first.unwrap(), second.unwrap());
    }

    #[test]
    fn a_link_is_good_once_and_for_five_minutes() {
        let (token, other) = ("a".repeat(TOKEN_CHARS), "b".repeat(TOKEN_CHARS));
        let links = Links::new(1_000);
        let made = |at| link(&token, at).unwrap();
        let first = made(1_000);
        assert!(!first.contains(&token));
        assert!(!links.take(&first, &other, 1_000));
        assert!(links.take(&first, &token, 1_000));
        assert!(!links.take(&first, &token, 1_000), "it is used up");
        assert!(links.take(&made(2_000), &token, 301_999));
        assert!(!links.take(&made(2_000), &token, 302_000));
        assert!(!links.take(&made(3_000), &token, 2_999), "made later than now");
        assert!(!links.take(&made(999), &token, 1_000), "made for another life");
        assert!(links.take(&made(2_000), &token, 2_000), "each is another one");

        let good = made(5_000);
        for at in 0..good.len() {
            let other = if &good[at..=at] == "0" { "1" } else { "0" };
            let forged = format!("{}{other}{}", &good[..at], &good[at + 1..]);
            assert!(!links.take(&forged, &token, 5_000), "{forged}");
        }
        for odd in ["", "é", &good[1..], &format!("{good}0"), &"+".repeat(good.len())] {
            assert!(!links.take(odd, &token, 5_000), "{odd}");
        }
        assert!(links.take(&good, &token, 5_000));
    }
}
