//! Who may log in, and the sessions that logins make.
//!
//! One connected app and one integration user, with four ways in: password, client credentials, JWT bearer and
//! refresh token. Answers and refusals are the platform's. [`Sessions`] is shared by both listeners, so a token
//! that has expired for one has expired for the other. Secrets are made with the org, and kept where it is kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use aws_lc_rs::{hmac, rand, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::value::RecordId;
use crate::clock::{Clock, Millis};

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Audiences that any org accepts besides its own address.
const AUDIENCES: [&str; 2] = ["https://login.salesforce.com", "https://test.salesforce.com"];
/// An `exp` above this can only be milliseconds.
const SECONDS_MAX: i64 = 100_000_000_000;

/// Letters and digits from the system's randomness.
pub fn random_text(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect())
}

/// Access tokens and when they end. Clones share them.
#[derive(Clone)]
pub struct Sessions {
    inside: Arc<Mutex<Inside>>,
    clock: Clock,
    organization: RecordId,
}

#[derive(Default)]
struct Inside {
    ends: HashMap<String, Millis>,
    /// Whose a token is that is not the integration user's.
    users: HashMap<String, RecordId>,
    life: Option<Duration>,
}

impl Sessions {
    pub fn new(clock: Clock, organization: RecordId) -> Self {
        Self {
            inside: Arc::default(),
            clock,
            organization,
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token: the org's id, an exclamation mark, and a secret.
    pub fn issue(&self) -> Result<String> {
        let token = format!("{}!{}", &self.organization.as_str()[..15], random_text(96)?);
        let mut inside = self.inside();
        let life = inside
            .life
            .and_then(|life| Millis::try_from(life.as_millis()).ok());
        let end = life.map_or(Millis::MAX, |life| self.clock.now().saturating_add(life));
        inside.ends.insert(token.clone(), end);
        Ok(token)
    }

    /// A token of another user than the one that logins are for.
    pub fn issue_for(&self, user: RecordId) -> Result<String> {
        let token = self.issue()?;
        self.inside().users.insert(token.clone(), user);
        Ok(token)
    }

    /// The user of a token of [`Sessions::issue_for`].
    pub fn user(&self, token: &str) -> Option<RecordId> {
        self.inside().users.get(token).copied()
    }

    pub fn is_valid(&self, token: &str) -> bool {
        self.inside()
            .ends
            .get(token)
            .is_some_and(|end| *end > self.clock.now())
    }

    pub fn revoke(&self, token: &str) -> bool {
        self.inside().ends.remove(token).is_some()
    }

    pub fn expire_all(&self) {
        self.inside().ends.clear();
    }

    /// How long tokens issued from now on live; for ever where none is given.
    pub fn set_life(&self, life: Option<Duration>) {
        self.inside().life = life;
    }
}

/// What a client needs to log in.
#[derive(Serialize, Deserialize)]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: String,
    pub username: String,
    pub password: String,
    pub security_token: String,
    pub refresh_token: String,
    /// The private half of the app's certificate, PKCS#8.
    pub private_key_der: Vec<u8>,
    public_key: Vec<u8>,
}

impl Credentials {
    pub fn generate() -> Result<Self> {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).context("make the key for JWT logins")?;
        let private: Pkcs8V1Der<'_> = pair.as_der().context("encode the key for JWT logins")?;
        Ok(Self {
            client_id: format!("3MVG9{}", random_text(80)?),
            client_secret: random_text(64)?,
            username: "integration@sandbox.example".to_owned(),
            password: random_text(16)?,
            security_token: random_text(24)?,
            refresh_token: format!("5Aep861{}", random_text(80)?),
            private_key_der: private.as_ref().to_vec(),
            public_key: pair.public_key().as_ref().to_vec(),
        })
    }
}

/// `{"error", "error_description"}`, sent with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginError {
    pub error: &'static str,
    pub description: &'static str,
}

const fn refused(error: &'static str, description: &'static str) -> LoginError {
    LoginError { error, description }
}

const WRONG_CLIENT: LoginError = refused("invalid_client_id", "client identifier invalid");
const WRONG_SECRET: LoginError = refused("invalid_client", "invalid client credentials");
const WRONG_USER: LoginError = refused("invalid_grant", "authentication failure");
const WRONG_ASSERTION: LoginError = refused("invalid_grant", "invalid assertion");

/// The token endpoint, without its HTTP.
pub struct Login {
    pub credentials: Credentials,
    pub sessions: Sessions,
    clock: Clock,
    organization: RecordId,
    user: RecordId,
    /// The org's own address.
    address: String,
    /// The address it has after a move to another instance.
    other_address: String,
    /// How often the org has moved.
    moves: AtomicU64,
    /// Set when the refresh token is revoked; starting the sandbox anew takes that back.
    refresh_revoked: AtomicBool,
}

impl Login {
    pub fn new(credentials: Credentials, sessions: Sessions, user: RecordId, address: String) -> Self {
        let (clock, organization) = (sessions.clock.clone(), sessions.organization);
        let other_address = if address.contains("127.0.0.1") {
            address.replace("127.0.0.1", "localhost")
        } else {
            address.replace("localhost", "127.0.0.1")
        };
        Self {
            credentials,
            sessions,
            clock,
            organization,
            user,
            address,
            other_address,
            refresh_revoked: AtomicBool::new(false),
            moves: AtomicU64::new(0),
        }
    }

    pub fn address(&self) -> &str {
        self.addresses().0
    }

    /// The address now, and the one that it has not.
    fn addresses(&self) -> (&str, &str) {
        if self.moves.load(Ordering::SeqCst) % 2 == 1 {
            (&self.other_address, &self.address)
        } else {
            (&self.address, &self.other_address)
        }
    }

    /// Moves the org to its other address, and ends all sessions.
    pub fn move_instance(&self) {
        self.moves.fetch_add(1, Ordering::SeqCst);
        self.sessions.expire_all();
    }

    /// Whether a request to this host came to an address that the org has moved away from.
    pub fn has_left(&self, host: Option<&str>) -> bool {
        let (here, other) = self.addresses();
        let of = |address: &str| {
            let host_of = address.split_once("://").map(|(_, host)| host);
            host.is_some() && host == host_of
        };
        here != other && self.moves.load(Ordering::SeqCst) > 0 && of(other)
    }

    /// The address of the logged-in identity.
    pub fn identity_url(&self) -> String {
        format!("{}/id/{}/{}", self.address(), self.organization, self.user)
    }

    /// Answers a token request; `basic` is the pair of an `Authorization: Basic` header.
    pub fn token(
        &self,
        form: &[(String, String)],
        basic: Option<(String, String)>,
    ) -> Result<Result<Json, LoginError>> {
        match self.check(form, basic) {
            Ok(scope) => Ok(Ok(self.success(scope)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn success(&self, scope: &str) -> Result<Json> {
        let (id, issued_at) = (self.identity_url(), self.clock.now().to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.credentials.client_secret.as_bytes());
        let signature = hmac::sign(&key, format!("{id}{issued_at}").as_bytes());
        Ok(json!({
            "access_token": self.sessions.issue()?,
            "signature": STANDARD.encode(signature),
            "scope": scope,
            "instance_url": self.address(),
            "id": id,
            "token_type": "Bearer",
            "issued_at": issued_at,
        }))
    }

    /// The granted scope, or why there is none.
    fn check(
        &self,
        form: &[(String, String)],
        basic: Option<(String, String)>,
    ) -> Result<&'static str, LoginError> {
        let value = |name: &str| {
            form.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let (basic_id, basic_secret) = basic.unzip();
        let client_id = value("client_id").or(basic_id.as_deref());
        let client_secret = value("client_secret").or(basic_secret.as_deref());
        match value("grant_type") {
            Some("client_credentials") => {
                self.check_client(client_id, client_secret, true)?;
                Ok("api")
            }
            Some("password") => {
                self.check_client(client_id, client_secret, true)?;
                if self.knows(
                    value("username").unwrap_or_default(),
                    value("password").unwrap_or_default(),
                ) {
                    Ok("api")
                } else {
                    Err(WRONG_USER)
                }
            }
            Some("refresh_token") => {
                self.check_client(client_id, client_secret, false)?;
                let given = value("refresh_token").unwrap_or_default();
                if given == self.credentials.refresh_token && !self.refresh_revoked.load(Ordering::SeqCst) {
                    Ok("refresh_token api")
                } else {
                    Err(refused("invalid_grant", "expired access/refresh token"))
                }
            }
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
                self.check_assertion(value("assertion").unwrap_or_default())?;
                Ok("api")
            }
            _ => Err(refused("unsupported_grant_type", "grant type not supported")),
        }
    }

    /// Ends a session, or makes the refresh token useless and ends all sessions, which may all be its own.
    pub fn revoke(&self, token: &str) -> bool {
        let is_refresh = token == self.credentials.refresh_token;
        if !is_refresh {
            return self.sessions.revoke(token);
        }
        self.sessions.expire_all();
        !self.refresh_revoked.swap(true, Ordering::SeqCst)
    }

    /// The user's name with the password, or with the password and the security token behind it, as it is asked for
    /// from outside a trusted network.
    pub fn knows(&self, username: &str, password: &str) -> bool {
        let right = &self.credentials;
        let rest = password.strip_prefix(right.password.as_str());
        username == right.username && rest.is_some_and(|rest| rest.is_empty() || rest == right.security_token)
    }

    fn check_client(&self, id: Option<&str>, secret: Option<&str>, required: bool) -> Result<(), LoginError> {
        if id != Some(self.credentials.client_id.as_str()) {
            return Err(WRONG_CLIENT);
        }
        let right = secret == Some(self.credentials.client_secret.as_str());
        if right || (secret.is_none() && !required) {
            Ok(())
        } else {
            Err(WRONG_SECRET)
        }
    }

    fn check_assertion(&self, assertion: &str) -> Result<(), LoginError> {
        let (signed, signature) = assertion.rsplit_once('.').ok_or(WRONG_ASSERTION)?;
        let (header, claims) = signed.split_once('.').ok_or(WRONG_ASSERTION)?;
        let (header, claims) = (decoded(header)?, decoded(claims)?);
        if header["alg"] != "RS256" {
            return Err(WRONG_ASSERTION);
        }
        if claims["iss"] != self.credentials.client_id.as_str() {
            return Err(WRONG_CLIENT);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature.trim_end_matches('='))
            .map_err(|_| WRONG_ASSERTION)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.credentials.public_key)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| WRONG_ASSERTION)?;
        if !self.accepts_audience(&claims["aud"]) {
            return Err(refused("invalid_grant", "audience is invalid"));
        }
        if claims["sub"] != self.credentials.username.as_str() {
            return Err(refused("invalid_grant", "user hasn't approved this consumer"));
        }
        match expiry(&claims["exp"]) {
            Some(expiry) if expiry > self.clock.now() => Ok(()),
            // The platform's own, misleading words for a late `exp`.
            _ => Err(refused("invalid_grant", "expired authorization code")),
        }
    }

    fn accepts_audience(&self, audience: &Json) -> bool {
        let accepts = |text: &str| {
            let text = text.trim_end_matches('/');
            text == self.address || text == self.other_address || AUDIENCES.contains(&text)
        };
        match audience {
            Json::String(text) => accepts(text),
            Json::Array(all) => all.iter().filter_map(Json::as_str).any(accepts),
            _ => false,
        }
    }
}

fn decoded(part: &str) -> Result<Json, LoginError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part.trim_end_matches('='))
        .map_err(|_| WRONG_ASSERTION)?;
    serde_json::from_slice(&bytes).map_err(|_| WRONG_ASSERTION)
}

/// Seconds by the standard; clients also send milliseconds, and either as text.
fn expiry(claim: &Json) -> Option<Millis> {
    let number = match claim {
        Json::Number(number) => number.as_f64()? as i64,
        Json::String(text) => text.parse::<f64>().ok()? as i64,
        _ => return None,
    };
    Some(if number > SECONDS_MAX {
        number
    } else {
        number.saturating_mul(1_000)
    })
}

/// The pair of an `Authorization: Basic` header's value.
pub fn basic_pair(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    text.split_once(':')
        .map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

    use super::*;

    const NOW: i64 = 1_795_339_800_000;

    fn login() -> Login {
        let sessions = Sessions::new(
            Clock::Manual(Arc::new(AtomicI64::new(NOW))),
            RecordId::new(*b"00D", 1),
        );
        let credentials = Credentials::generate().unwrap();
        Login::new(
            credentials,
            sessions,
            RecordId::new(*b"005", 1),
            "https://127.0.0.1:1".to_owned(),
        )
    }

    fn outcome(login: &Login, form: &[(&str, &str)]) -> Result<Json, LoginError> {
        let form: Vec<_> = form
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        login.token(&form, None).unwrap()
    }

    fn assertion(login: &Login, header: &Json, claims: &Json) -> String {
        let key = RsaKeyPair::from_pkcs8(&login.credentials.private_key_der).unwrap();
        let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )
        .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn refuses_with_the_platforms_words() {
        let login = login();
        let id = login.credentials.client_id.clone();
        let secret = login.credentials.client_secret.clone();
        for (form, error) in [
            (vec![("grant_type", "magic")], "unsupported_grant_type"),
            (
                vec![("grant_type", "client_credentials"), ("client_id", "x")],
                "invalid_client_id",
            ),
            (
                vec![("grant_type", "client_credentials"), ("client_id", &id)],
                "invalid_client",
            ),
            (
                vec![
                    ("grant_type", "password"),
                    ("client_id", &id),
                    ("client_secret", &secret),
                ],
                "invalid_grant",
            ),
            (
                vec![("grant_type", "refresh_token"), ("client_id", &id)],
                "invalid_grant",
            ),
        ] {
            assert_eq!(outcome(&login, &form).unwrap_err().error, error, "{form:?}");
        }
    }

    #[test]
    fn answers_in_the_platforms_form() {
        let login = login();
        let (id, secret) = (
            login.credentials.client_id.clone(),
            login.credentials.client_secret.clone(),
        );
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id.as_str()),
            ("client_secret", &secret),
        ];
        let answer = outcome(&login, &form).unwrap();
        let token = answer["access_token"].as_str().unwrap();
        assert!(login.sessions.is_valid(token));
        assert_eq!(token.find('!'), Some(15));
        assert_eq!(answer["issued_at"], NOW.to_string());
        login.sessions.expire_all();
        assert!(!login.sessions.is_valid(token));
    }

    #[test]
    fn tokens_end_after_their_life() {
        let now = Arc::new(AtomicI64::new(NOW));
        let sessions = Sessions::new(Clock::Manual(now.clone()), RecordId::new(*b"00D", 1));
        sessions.set_life(Some(Duration::from_secs(60)));
        let token = sessions.issue().unwrap();
        assert!(sessions.is_valid(&token));
        now.fetch_add(60_000, Ordering::SeqCst);
        assert!(!sessions.is_valid(&token));
    }

    #[test]
    fn checks_assertions() {
        let login = login();
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let header = json!({ "alg": "RS256" });
        let good = json!({
            "iss": login.credentials.client_id, "sub": login.credentials.username,
            "aud": "https://login.salesforce.com", "exp": NOW / 1_000 + 180,
        });
        let with = |key: &str, value: Json| {
            let mut claims = good.clone();
            claims[key] = value;
            claims
        };
        let late = "expired authorization code";
        for (claims, expected) in [
            (good.clone(), None),
            (with("exp", json!((NOW / 1_000 + 180).to_string())), None),
            (with("exp", json!(NOW + 180_000)), None),
            (with("aud", json!("https://127.0.0.1:1")), None),
            (with("exp", json!(NOW / 1_000 - 1)), Some(late)),
            (
                with("aud", json!("https://example.com")),
                Some("audience is invalid"),
            ),
            (
                with("sub", json!("nobody")),
                Some("user hasn't approved this consumer"),
            ),
            (with("iss", json!("nobody")), Some("client identifier invalid")),
        ] {
            let assertion = assertion(&login, &header, &claims);
            let outcome = outcome(&login, &[("grant_type", grant), ("assertion", &assertion)]);
            assert_eq!(outcome.err().map(|error| error.description), expected, "{claims}");
        }
        let tampered = assertion(&login, &header, &good).replacen('.', ".e", 1);
        assert_eq!(
            outcome(&login, &[("grant_type", grant), ("assertion", &tampered)]),
            Err(WRONG_ASSERTION)
        );
    }
}
