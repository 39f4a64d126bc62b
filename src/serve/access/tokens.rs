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

use crate::config::{self, Config, Role, Side};
use crate::model::clock::Millis;
use crate::serve::World;
use crate::serve::access::Grant;
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

/// The tokens of one side.
pub(super) type Set = Arc<[Arc<Token>]>;

#[derive(Debug, Default)]
struct Known {
    storefronts: Set,
    operators: Set,
    /// The secret of this machine's, where it is that which lets operators in.
    local: Option<String>,
}

impl Known {
    fn of(&self, side: Side) -> &Set {
        match side {
            Side::Storefronts => &self.storefronts,
            Side::Operators => &self.operators,
        }
    }
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
        let known = |side| -> Set {
            let tokens = config.tokens(side).iter();
            tokens.map(Token::new).map(Arc::new).collect()
        };
        let (storefronts, configured) = (known(Side::Storefronts), known(Side::Operators));
        let local = self.local.as_ref().filter(|_| configured.is_empty());
        let secret = local.map(|local| admin_token::token(&local.dir).unwrap_or_default());
        let operators: Set = match &secret {
            Some(secret) => Arc::new([Arc::new(Token::of_this_machine(secret))]),
            None => configured,
        };
        self.known.send_replace(Known {
            storefronts,
            operators,
            local: secret,
        });
    }

    /// Waits until what a storefront was granted holds no more.
    pub async fn revoked(&self, grant: &Grant) {
        self.ended(Side::Storefronts, grant.token.as_ref()).await;
    }

    /// Waits until the token that an operator came in by is none any more.
    pub async fn gone(&self, entry: &Entry) {
        self.ended(Side::Operators, Some(&entry.0)).await;
    }

    /// Waits until a token lets nobody in any more; where none was needed, until one is.
    async fn ended(&self, side: Side, token: Option<&Arc<Token>>) {
        let mut known = self.known.subscribe();
        while holds(known.borrow_and_update().of(side), token) {
            if known.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the token that somebody came in by is still one.
    pub fn hold(&self, entry: &Entry) -> bool {
        holds(&self.of(Side::Operators), Some(&entry.0))
    }

    /// Whom a secret lets in at the operators' listener.
    pub fn log_in(&self, secret: &str) -> Option<Entry> {
        let tokens = self.of(Side::Operators);
        with_secret(&tokens, secret).map(|token| Entry(Arc::clone(token)))
    }

    /// Whom a link lets in at the operators' listener, which is then used up.
    pub fn log_in_by_link(&self, link: &str, now: Millis) -> Option<Entry> {
        let known = self.known.borrow();
        let (local, secret) = (self.local.as_ref()?, known.local.as_ref()?);
        let token = known.operators.first()?;
        let is_good = !secret.is_empty() && local.links.take(link, secret, now);
        is_good.then(|| Entry(Arc::clone(token)))
    }

    /// Whether a listener has none, so that everybody who reaches it comes in.
    pub fn are_none(&self, side: Side) -> bool {
        self.of(side).is_empty()
    }

    /// Whether the configuration has some for a listener.
    pub fn are_configured(&self, side: Side) -> bool {
        let known = self.known.borrow();
        let is_local = side == Side::Operators && known.local.is_some();
        !is_local && !known.of(side).is_empty()
    }

    /// Those of a side; none where everything of it is open.
    pub(super) fn of(&self, side: Side) -> Set {
        Arc::clone(self.known.borrow().of(side))
    }
}

/// Whether a token is among those that there are; where none was needed, whether none is.
fn holds(tokens: &Set, token: Option<&Arc<Token>>) -> bool {
    token.map_or(tokens.is_empty(), |token| tokens.contains(token))
}

/// The token that somebody came in by at the operators' listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(pub(super) Arc<Token>);

impl Entry {
    pub fn name(&self) -> &str {
        &self.0.name
    }

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

/// The secret that a request brings.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret)
}

/// The token that a request brings.
pub(super) fn find<'t>(tokens: &'t [Arc<Token>], headers: &HeaderMap) -> Option<&'t Arc<Token>> {
    with_secret(tokens, bearer(headers)?)
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
