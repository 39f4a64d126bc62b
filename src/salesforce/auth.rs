//! One login: four OAuth grants, and the secrets that they need.
//!
//! Salesforce tells no life time of a session, so it is used until a call is refused, and nobody logs in on a timer.
//! Sessions are never revoked: another process of the same user may share them. When to log in is decided in
//! [`super::login`].

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
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
use crate::model::clock::{Clock, Millis};
use crate::salesforce::Error;
use crate::salesforce::host;
use crate::salesforce::token_file::TokenFile;

/// Salesforce refuses assertions that live long; three minutes is what its own tools use.
const ASSERTION_SECONDS: i64 = 180;

/// Clocks that differ by more are told of.
const CLOCK_OFF_MILLIS: Millis = 60_000;

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
pub(super) struct Secrets {
    grant: Grant,
    /// Of the files that it was read from.
    digest: Vec<u8>,
    /// The org's clock less ours, where the last login told that they differ by more than an assertion may.
    clock_ahead: Millis,
}

impl Secrets {
    pub(super) fn read(config: &config::Org) -> Result<Self, Error> {
        Ok(Self {
            grant: Grant::read(config)?,
            digest: digest(config)?,
            clock_ahead: 0,
        })
    }

    /// Whether a login may give a secret for the next.
    pub(super) fn are_replaced(&self) -> bool {
        matches!(self.grant, Grant::RefreshToken { .. })
    }

    /// Whether both were read from the same bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

fn digest(config: &config::Org) -> Result<Vec<u8>, Error> {
    let mut context = digest::Context::new(&digest::SHA256);
    for (key, path) in config.secret_files() {
        context.update(key.as_bytes());
        context.update(read_secret(path)?.as_bytes());
    }
    Ok(context.finish().as_ref().to_vec())
}

enum Grant {
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
        file: TokenFile,
    },
}

impl Grant {
    fn read(config: &config::Org) -> Result<Self, Error> {
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
                file: TokenFile::new(config.refresh_token_file.clone().unwrap_or_default()),
            },
        })
    }

    /// The form that the token endpoint is sent.
    fn form(&self, client_id: &str, now: Millis) -> Result<Vec<(&'static str, String)>, Error> {
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
                form.push(("assertion", assertion(client_id, username, audience, key, now)?));
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
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    instance_url: String,
    /// `https://HOST/id/ORG18/USER18`
    id: String,
    refresh_token: Option<String>,
    /// Milliseconds since 1970.
    issued_at: Option<String>,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Logs in once. Gives the session, and when the org says that it was issued.
pub(super) async fn log_in(
    http: &reqwest::Client,
    config: &config::Org,
    secrets: &mut Secrets,
    clock: &Clock,
) -> Result<(Session, Option<Millis>), Error> {
    // Another process may use the same refresh token: the newest is in the file, and it is used by one at a time.
    let _held = match &mut secrets.grant {
        Grant::RefreshToken { token, file, .. } => Some(file.take(token).await?),
        _ => None,
    };
    let (ours, ahead) = (clock.now(), secrets.clock_ahead);
    let form = secrets.grant.form(&config.client_id, ours + ahead)?;
    let (answer, date) = ask(http, config, &form).await;
    let by_date = date.map_or(0, |date| date - ours);
    let is_off = by_date.abs() >= CLOCK_OFF_MILLIS;
    let answer = match answer {
        // An assertion that begins or ends at the wrong time is signed again, by the org's own.
        Err(Error::Login { .. }) if is_off && ahead == 0 && matches!(secrets.grant, Grant::Jwt { .. }) => {
            secrets.clock_ahead = by_date;
            let form = secrets.grant.form(&config.client_id, ours + by_date)?;
            ask(http, config, &form).await.0
        }
        answer => answer,
    };
    let answer = answer.map_err(|error| with_clock(error, by_date))?;
    if let (Grant::RefreshToken { token, file, .. }, Some(rotated)) =
        (&mut secrets.grant, answer.refresh_token)
    {
        *token = rotated;
        file.write(token);
        secrets.digest = digest(config).unwrap_or_default();
    }
    let issued_at = answer.issued_at.and_then(|text| text.parse().ok());
    if let Some(issued_at) = issued_at {
        let ahead: Millis = issued_at - clock.now();
        secrets.clock_ahead = if ahead.abs() >= CLOCK_OFF_MILLIS { ahead } else { 0 };
    }
    if let Err(reason) = host::check(&answer.instance_url, &config.login_url, &config.hosts) {
        return Err(Error::Login {
            error: "instance_url".to_owned(),
            description: format!(
                "the org's API is said to be at {}, and {reason}",
                answer.instance_url
            ),
        });
    }
    let mut identity = answer.id.rsplit('/');
    let [user_id, org_id] = [(); 2].map(|()| identity.next().unwrap_or_default().to_owned());
    let session = Session {
        access_token: answer.access_token,
        instance_url: answer.instance_url.trim_end_matches('/').to_owned(),
        org_id,
        user_id,
    };
    Ok((session, issued_at))
}

/// A refusal for which the clock may be the reason says so.
fn with_clock(error: Error, ahead: Millis) -> Error {
    match error {
        Error::Login { error, description } if ahead.abs() >= CLOCK_OFF_MILLIS => Error::Login {
            error,
            description: format!(
                "{description}; this machine's clock and the org's differ by {} s, set it by NTP",
                ahead.abs() / 1_000
            ),
        },
        error => error,
    }
}

/// The token endpoint's answer to a form, and its `Date`.
async fn ask(
    http: &reqwest::Client,
    config: &config::Org,
    form: &[(&'static str, String)],
) -> (Result<TokenAnswer, Error>, Option<Millis>) {
    let url = format!("{}/services/oauth2/token", config.login_url.trim_end_matches('/'));
    // A lost answer to a login loses nothing: both ways to fail are the same to the caller.
    let unreachable = |error: reqwest::Error| Error::Unreachable {
        url: url.clone(),
        reason: super::client::reason(&error),
    };
    let request = http.post(&url).timeout(Duration::from_secs(30)).form(form);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return (Err(unreachable(error)), None),
    };
    let (status, date) = (answer.status(), super::client::date(answer.headers()));
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return (Err(unreachable(error)), date),
    };
    let read = if status.is_success() {
        serde_json::from_slice(&body).map_err(|_| Error::not_the_api(&url, status.as_u16(), &body))
    } else {
        Err(match serde_json::from_slice::<TokenRefusal>(&body) {
            Ok(refusal) => Error::Login {
                error: refusal.error,
                description: refusal.error_description,
            },
            Err(_) => Error::of_answer(&url, status.as_u16(), &body),
        })
    };
    (read, date)
}

/// A signed assertion of RFC 7523, RS256.
fn assertion(
    client_id: &str,
    username: &str,
    audience: &str,
    key: &RsaKeyPair,
    now: Millis,
) -> Result<String, Error> {
    let expires = now / 1_000 + ASSERTION_SECONDS;
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

pub(super) fn read_secret(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::Secret(format!(
            "the secret file {} cannot be read ({error}): make it, readable by the user storesync runs as",
            path.display()
        ))
    })?;
    Ok(text.trim().to_owned())
}
