//! The tokens of both listeners: as configured, and that of this machine where none is configured for operators.
//!
//! Of a token its hash is known, but of this machine's. A reload changes what every clone knows; who came in by a token that
//! is gone is told so.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, header};
use tokio::sync::watch;

use crate::config::{self, Config, Role};
use crate::model::clock::Millis;
use crate::serve::World;
use crate::serve::access::{Access, Grant};
use crate::serve::operators::Operator;
use crate::serve::problem::Problem;
use crate::store::admin_token::{self, Links};
use crate::store::storefront::{Found, stores};

/// The tokens of both listeners; cheap to clone, and a reload changes all clones.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    known: watch::Sender<Known>,
    /// What lets operators in where the configuration has no token for them.
    local: Option<Arc<Local>>,
}

/// The token of this machine.
#[derive(Debug)]
struct Local {
    /// That it is kept in.
    dir: Arc<Path>,
    links: Links,
}

#[derive(Debug, Default)]
struct Known {
    storefront: Arc<[Arc<Token>]>,
    admin: Arc<[Arc<Token>]>,
    /// Its secret, where it is that which lets operators in.
    local: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    name: String,
    pub hash: Vec<u8>,
    stores: Vec<String>,
    pub customers: bool,
    pub orders: bool,
    roles: Vec<Role>,
}

impl Tokens {
    /// Tokens as configured; their form was checked when the configuration was read. `dir` is where the token of this
    /// machine is kept, of a listener that every user of it can reach.
    pub fn new(config: &Config, dir: Option<&Path>, now: Millis) -> Self {
        let local = dir.map(|dir| Local {
            dir: dir.into(),
            links: Links::new(now),
        });
        let tokens = Self {
            known: watch::Sender::default(),
            local: local.map(Arc::new),
        };
        tokens.set(config);
        tokens
    }

    /// Puts others in their place: the next request is checked by them.
    pub fn set(&self, config: &Config) {
        let known = |tokens: &[config::Token]| -> Arc<[Arc<Token>]> {
            tokens.iter().map(Token::new).map(Arc::new).collect()
        };
        let local = self.local.as_ref().filter(|_| config.admin.tokens.is_empty());
        let secret = local.map(|local| admin_token::token(&local.dir).unwrap_or_default());
        let admin = match &secret {
            Some(secret) => Arc::new([Arc::new(Token::of_this_machine(secret))]),
            None => known(&config.admin.tokens),
        };
        self.known.send_replace(Known {
            storefront: known(&config.serve.tokens),
            admin,
            local: secret,
        });
    }

    /// Waits until what a storefront was granted holds no more.
    pub async fn revoked(&self, grant: &Grant) {
        let holds = |known: &Known| match &grant.token {
            Some(token) => known.storefront.contains(token),
            None => known.storefront.is_empty(),
        };
        let mut known = self.known.subscribe();
        while holds(&known.borrow_and_update()) {
            if known.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whom a secret lets in at the operators' listener.
    pub fn log_in(&self, secret: &str) -> Option<Entry> {
        let tokens = self.of(Access::View);
        with_secret(&tokens, secret).map(|token| Entry(Arc::clone(token)))
    }

    /// Whom a link lets in at the operators' listener, which is then used up.
    pub fn log_in_by_link(&self, link: &str, now: Millis) -> Option<Entry> {
        let known = self.known.borrow();
        let (local, secret) = (self.local.as_ref()?, known.local.as_ref()?);
        let token = known.admin.first()?;
        let is_good = !secret.is_empty() && local.links.take(link, secret, now);
        is_good.then(|| Entry(Arc::clone(token)))
    }

    /// Waits until the token that an operator came in by is none any more.
    pub async fn gone(&self, entry: &Entry) {
        let mut known = self.known.subscribe();
        while known.borrow_and_update().admin.contains(&entry.0) {
            if known.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the token that somebody came in by is still one.
    pub fn hold(&self, entry: &Entry) -> bool {
        self.of(Access::View).contains(&entry.0)
    }

    /// Whether a listener has none, so that everybody who reaches it comes in. `access` is that of any address of it.
    pub fn are_none(&self, access: Access) -> bool {
        self.of(access).is_empty()
    }

    /// Whether the configuration has some for a listener. `access` is that of any address of it.
    pub fn are_configured(&self, access: Access) -> bool {
        let known = self.known.borrow();
        match access.role() {
            Some(_) => known.local.is_none() && !known.admin.is_empty(),
            None => !known.storefront.is_empty(),
        }
    }

    /// Those that open an address; none where everything is open.
    pub(super) fn of(&self, access: Access) -> Arc<[Arc<Token>]> {
        let known = self.known.borrow();
        match access.role() {
            Some(_) => Arc::clone(&known.admin),
            None => Arc::clone(&known.storefront),
        }
    }
}

/// The token that somebody came in by at the operators' listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(pub(super) Arc<Token>);

impl Entry {
    /// What it lets them do.
    pub fn operator(&self, world: &World) -> Result<Operator, Problem> {
        self.0.operator(world)
    }
}

impl Token {
    /// The one that every role and all stores are for.
    fn of_this_machine(secret: &str) -> Self {
        Self {
            name: admin_token::FILE_NAME.to_owned(),
            hash: digest(&SHA256, secret.as_bytes()).as_ref().to_vec(),
            stores: Vec::new(),
            customers: false,
            orders: false,
            roles: Role::ALL.to_vec(),
        }
    }

    fn new(token: &config::Token) -> Self {
        Self {
            name: token.name.clone(),
            hash: token.hash(),
            stores: token.stores.clone(),
            customers: token.customers,
            orders: token.orders,
            roles: token.roles.clone(),
        }
    }
}

impl Token {
    /// Ids of the stores that it names; `None` where it is for all.
    pub fn store_ids(&self, world: &World) -> Result<Option<BTreeSet<String>>, Problem> {
        if self.stores.is_empty() {
            return Ok(None);
        }
        let mut ids = BTreeSet::new();
        for key in &self.stores {
            if let Found::Row(store) = world.reader.with(|cache| stores::find(cache, key))? {
                ids.insert(store.id);
            }
        }
        Ok(Some(ids))
    }

    pub fn operator(&self, world: &World) -> Result<Operator, Problem> {
        let roles = match &self.roles[..] {
            [] => &Role::ALL[..],
            roles => roles,
        };
        Ok(Operator::new(&self.name, roles, self.store_ids(world)?))
    }
}

/// The token that a request brings.
pub(super) fn find<'t>(tokens: &'t [Arc<Token>], headers: &HeaderMap) -> Option<&'t Arc<Token>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| with_secret(tokens, secret)).flatten()
}

/// All are compared, each in constant time. None has an empty secret.
fn with_secret<'t>(tokens: &'t [Arc<Token>], secret: &str) -> Option<&'t Arc<Token>> {
    let secret = secret.trim();
    if secret.is_empty() {
        return None;
    }
    let hash = digest(&SHA256, secret.as_bytes());
    let mut found = None;
    for token in tokens {
        if verify_slices_are_equal(&token.hash, hash.as_ref()).is_ok() {
            found = Some(token);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash() {
        let hash = digest(&SHA256, b"long and random");
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let token = config::Token {
            name: "web".to_owned(),
            sha256: hash,
            stores: vec!["a".to_owned()],
            customers: true,
            orders: false,
            roles: Vec::new(),
        };
        let nothing = config::Token {
            sha256: digest(&SHA256, b"")
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            ..token.clone()
        };
        let tokens = [&token, &nothing].map(|token| Arc::new(Token::new(token)));
        for (value, found) in [
            ("Bearer long and random", true),
            ("bearer long and random", true),
            ("Bearer long and randoM", false),
            ("Basic long and random", false),
            ("long and random", false),
            ("Bearer ", false),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(find(&tokens, &headers).is_some(), found, "{value}");
        }
        assert!(find(&tokens, &HeaderMap::new()).is_none());
    }
}
