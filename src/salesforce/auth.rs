//! Logging in: four OAuth grants, one session at a time.
//!
//! Salesforce tells no life time of a session, so it is used until a call is refused and then renewed once,
//! however many calls noticed. Logins are capped at 3,600 an hour, so nobody logs in on a timer. Sessions are
//! never revoked: another process of the same user may share them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;

use crate::config::{self, Auth};
use crate::model::clock::Clock;
use crate::salesforce::Error;

/// Salesforce refuses assertions that live long; three minutes is what its own tools use.
const ASSERTION_SECONDS: i64 = 180;

/// What a login gives.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    pub access_token: String,
    /// `https://NAME.my.salesforce.com`, without a trailing slash.
    pub instance_url: String,
    /// 18 characters.
    pub org_id: String,
    /// Of the user whose session it is; 18 characters.
    pub user_id: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("org_id", &self.org_id)
            .finish_non_exhaustive()
    }
}

/// A grant with the secrets it needs, read when the daemon starts so that a missing file shows at once.
pub(super) enum Grant {
    Jwt {
        username: String,
        key: Box<RsaKeyPair>,
        audience: String,
    },
    ClientCredentials {
        secret: String,
    },
    Password {
        username: String,
        password: String,
        secret: String,
    },
    RefreshToken {
        token: String,
        secret: Option<String>,
        file: PathBuf,
    },
}

impl Grant {
    pub(super) fn read(config: &config::Org) -> Result<Self, Error> {
        let secret = || required_secret(config, "client_secret_file", config.client_secret_file.as_deref());
        Ok(match config.auth {
            Auth::Jwt => Self::Jwt {
                username: username(config)?,
                key: Box::new(private_key(config)?),
                audience: config
                    .audience
                    .clone()
                    .unwrap_or_else(|| config.login_url.clone()),
            },
            Auth::ClientCredentials => Self::ClientCredentials { secret: secret()? },
            Auth::Password => Self::Password {
                username: username(config)?,
                password: required_secret(config, "password_file", config.password_file.as_deref())?,
                secret: secret()?,
            },
            Auth::RefreshToken => Self::RefreshToken {
                token: required_secret(config, "refresh_token_file", config.refresh_token_file.as_deref())?,
                secret: config
                    .client_secret_file
                    .as_deref()
                    .map(read_secret)
                    .transpose()?,
                file: config.refresh_token_file.clone().unwrap_or_default(),
            },
        })
    }

    /// The form that the token endpoint is sent.
    fn form(&self, client_id: &str, clock: &Clock) -> Result<Vec<(&'static str, String)>, Error> {
        let mut form = vec![("client_id", client_id.to_owned())];
        match self {
            Self::Jwt {
                username,
                key,
                audience,
            } => {
                form.clear();
                form.push((
                    "grant_type",
                    "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned(),
                ));
                form.push(("assertion", assertion(client_id, username, audience, key, clock)?));
            }
            Self::ClientCredentials { secret } => {
                form.push(("grant_type", "client_credentials".to_owned()));
                form.push(("client_secret", secret.clone()));
            }
            Self::Password {
                username,
                password,
                secret,
            } => {
                form.push(("grant_type", "password".to_owned()));
                form.push(("client_secret", secret.clone()));
                form.push(("username", username.clone()));
                form.push(("password", password.clone()));
            }
            Self::RefreshToken { token, secret, .. } => {
                form.push(("grant_type", "refresh_token".to_owned()));
                form.push(("refresh_token", token.clone()));
                form.extend(secret.iter().map(|secret| ("client_secret", secret.clone())));
            }
        }
        Ok(form)
    }

    /// A rotated refresh token replaces the old one at once, on disk before it is used: the old one is dead.
    fn rotate(&mut self, rotated: Option<String>) -> Result<(), Error> {
        let (Self::RefreshToken { token, file, .. }, Some(rotated)) = (self, rotated) else {
            return Ok(());
        };
        let unsaved = |error: std::io::Error| {
            Error::Secret(format!(
                "the org gave a new refresh token and {} cannot be written ({error}): make it writable, or turn rotation off in the connected app",
                file.display()
            ))
        };
        let beside = file.with_extension("new");
        std::fs::write(&beside, &rotated).map_err(unsaved)?;
        std::fs::rename(&beside, &*file).map_err(unsaved)?;
        *token = rotated;
        Ok(())
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    instance_url: String,
    /// `https://HOST/id/ORG18/USER18`
    id: String,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

pub(super) async fn log_in(
    http: &reqwest::Client,
    config: &config::Org,
    grant: &mut Grant,
    clock: &Clock,
) -> Result<Session, Error> {
    let url = format!("{}/services/oauth2/token", config.login_url.trim_end_matches('/'));
    let form = grant.form(&config.client_id, clock)?;
    // A lost answer to a login loses nothing: both ways to fail are the same to the caller.
    let unreachable = |error: reqwest::Error| Error::Unreachable {
        url: url.clone(),
        reason: super::client::reason(&error),
    };
    let answer = http
        .post(&url)
        .timeout(Duration::from_secs(30))
        .form(&form)
        .send()
        .await
        .map_err(unreachable)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(unreachable)?;
    if !status.is_success() {
        return Err(match serde_json::from_slice::<TokenRefusal>(&body) {
            Ok(refusal) => Error::Login {
                error: refusal.error,
                description: refusal.error_description,
            },
            Err(_) => Error::of_answer(&url, status.as_u16(), &body),
        });
    }
    let answer: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| Error::not_the_api(&url, status.as_u16(), &body))?;
    let mut identity = answer.id.rsplit('/');
    let [user_id, org_id] = [(); 2].map(|()| identity.next().unwrap_or_default().to_owned());
    grant.rotate(answer.refresh_token)?;
    Ok(Session {
        access_token: answer.access_token,
        instance_url: answer.instance_url.trim_end_matches('/').to_owned(),
        org_id,
        user_id,
    })
}

/// A signed assertion of RFC 7523, RS256.
fn assertion(
    client_id: &str,
    username: &str,
    audience: &str,
    key: &RsaKeyPair,
    clock: &Clock,
) -> Result<String, Error> {
    let expires = clock.now() / 1_000 + ASSERTION_SECONDS;
    let claims = json!({"iss": client_id, "sub": username, "aud": audience, "exp": expires});
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| {
        Error::Secret(
            "the login could not be signed with private_key_file: make a new RSA key of 2048 bits or more"
                .to_owned(),
        )
    })?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn private_key(config: &config::Org) -> Result<RsaKeyPair, Error> {
    let path = config
        .private_key_file
        .as_deref()
        .ok_or_else(|| missing_key(config, "private_key_file"))?;
    let pem = read_secret(path)?;
    let unusable = || {
        Error::Secret(format!(
            "private_key_file {} holds no RSA private key: it must be PEM, as `openssl genrsa 2048` writes it",
            path.display()
        ))
    };
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable())? {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| unusable()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| unusable()),
        _ => Err(unusable()),
    }
}

fn username(config: &config::Org) -> Result<String, Error> {
    config
        .username
        .clone()
        .ok_or_else(|| missing_key(config, "username"))
}

fn missing_key(config: &config::Org, key: &str) -> Error {
    Error::Secret(format!(
        "[org] auth = {:?} needs the key {key}: add it to the configuration",
        config.auth.name()
    ))
}

fn required_secret(config: &config::Org, key: &str, path: Option<&Path>) -> Result<String, Error> {
    read_secret(path.ok_or_else(|| missing_key(config, key))?)
}

fn read_secret(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::Secret(format!(
            "the secret file {} cannot be read ({error}): make it, readable by the user storesync runs as",
            path.display()
        ))
    })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_refresh_token_is_kept_and_logs_in_next() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("refresh_token");
        std::fs::write(&file, "first").unwrap();
        let mut grant = Grant::RefreshToken {
            token: "first".to_owned(),
            secret: None,
            file: file.clone(),
        };
        // Orgs that do not rotate give none.
        for (given, expected) in [(None, "first"), (Some("second"), "second"), (None, "second")] {
            grant.rotate(given.map(str::to_owned)).unwrap();
            let form = grant.form("client", &Clock::System).unwrap();
            assert!(form.contains(&("refresh_token", expected.to_owned())), "{form:?}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        }
        let files = std::fs::read_dir(dir.path()).unwrap();
        assert_eq!(files.count(), 1, "nothing is left beside it");
    }
}
