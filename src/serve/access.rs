//! Who may read what: bearer tokens, kept as hashes, each with the stores and the kinds of data that it is for.
//!
//! Where no token is configured everything of storefronts is open, which is allowed on this machine alone; operators then
//! need the token of this machine ([`tokens`]), unless they come by a socket in the file system, which has rights of its
//! own. The check stands in front of the handlers and follows from the table of routes, so a new route can not be without
//! one.

mod tokens;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use axum::RequestExt;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest as _, RawPathParams, Request};
use axum::handler::Handler;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;

use crate::config::{Role, Side};
use crate::serve::audit::sums::Lack;
use crate::serve::connection::{LetIn, Source};
use crate::serve::freshness::Subject;
use crate::serve::operators::Operator;
use crate::serve::partial::Partial;
use crate::serve::pool::{self, Asker, Pool};
use crate::serve::problem::{Problem, TooSlow};
use crate::serve::{REQUEST_MAX, World, metrics};
use crate::store::storefront::{Found, stores};

use tokens::Token;
pub use tokens::{Entry, Tokens, bearer};

/// Bodies that are larger are of some forty lines, and what is to be done for them takes milliseconds.
const LARGE_BODY_BYTES: u64 = 4 * 1024;

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Open,
    /// Any token: the handler leaves out what its grant does not hold.
    Any,
    /// Tokens for the store that the path names.
    Store,
    /// As `Store`, for data of customers.
    Customers,
    /// As `Store`, for placing and following orders.
    Orders,
    /// As `Orders`, for changes of customers: for data of customers too.
    CustomerChanges,
    /// Tokens that are for all stores.
    Org,
    /// Operators who may view.
    View,
    /// As `View`, for what is of all stores; anyone where no token is configured, because nothing in it is of a person.
    Watch,
    /// Operators who may change where a write stands.
    Operate,
    /// Operators who may take all writes at once.
    Export,
}

impl Access {
    /// Whose tokens open it.
    pub fn side(self) -> Side {
        match self.role() {
            Some(_) => Side::Operators,
            None => Side::Storefronts,
        }
    }

    /// What the token of an operator has to be for; `None` where no operator is asked for.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::View | Self::Watch => Some(Role::View),
            Self::Operate => Some(Role::Operate),
            Self::Export => Some(Role::Export),
            Self::Open
            | Self::Any
            | Self::Store
            | Self::Customers
            | Self::Orders
            | Self::CustomerChanges
            | Self::Org => None,
        }
    }
}

/// What a request may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Ids; `None` for all stores.
    stores: Option<BTreeSet<String>>,
    pub customers: bool,
    orders: bool,
    /// That it comes from; `None` where no token is needed.
    token: Option<Arc<Token>>,
}

impl Grant {
    const ALL: Self = Self {
        stores: None,
        customers: true,
        orders: true,
        token: None,
    };

    pub fn holds(&self, store_id: &str) -> bool {
        self.stores
            .as_ref()
            .is_none_or(|stores| stores.contains(store_id))
    }

    /// The hash of the token's secret; `None` where no token is needed.
    pub fn token_hash(&self) -> Option<Vec<u8>> {
        self.token.as_ref().map(|token| token.hash.clone())
    }

    pub fn is_for_all_stores(&self) -> bool {
        self.stores.is_none()
    }
}

/// `which` is the token that is missing.
fn unauthorised(which: &str) -> Response {
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorised",
        format!("this needs {which}: send it as Authorization: Bearer"),
    );
    let mut response = problem.into_response();
    let value = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    response
}

fn forbidden(detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// What stands in front of an address of the tables.
pub struct Gate {
    pub world: World,
    pub listener: &'static str,
    pub path: &'static str,
    pub access: Access,
    /// What its answers are made of, where they say how old they may be.
    pub subject: Option<Subject>,
    /// Its answers are made of the subject's rows: without all of them nothing is answered, unless part of them is asked
    /// for.
    pub is_read: bool,
    pub place: Place,
}

/// Where answers are made.
#[derive(Debug)]
pub enum Place {
    /// Where the request is handled.
    Here,
    Pool(Arc<Pool>),
    /// In the pool where the body is so large that much is to be done for it.
    PoolIfLarge(Arc<Pool>),
}

impl Place {
    /// The pool for a request with such a body.
    fn pool(&self, body_bytes: u64) -> Option<&Pool> {
        match self {
            Self::Pool(pool) => Some(pool),
            Self::PoolIfLarge(pool) if body_bytes > LARGE_BODY_BYTES => Some(pool),
            Self::Here | Self::PoolIfLarge(_) => None,
        }
    }
}

/// A handler that only a request reaches that its token is for.
///
/// A handler itself, and not a layer around one: a layer copies and boxes what it is around, for every request.
#[derive(Clone)]
pub struct Gated<H> {
    gate: Arc<Gate>,
    handler: H,
}

impl Gate {
    /// The handler, behind this gate.
    pub fn before<H>(self: &Arc<Self>, handler: H) -> Gated<H> {
        Gated {
            gate: Arc::clone(self),
            handler,
        }
    }
}

impl Gate {
    /// What the handler answers, in the time that an answer may take. The body is here whole before any thread waits for it.
    async fn answered<T: 'static>(
        &self,
        handler: impl Handler<T, World>,
        request: Request,
        world: World,
    ) -> Response {
        let asker = asker(&request);
        let answering = async {
            let request = match self.place {
                Place::Here => request,
                Place::Pool(_) | Place::PoolIfLarge(_) => whole(request).await?,
            };
            let body_bytes = request.body().size_hint().lower();
            let answering = handler.call(request, world);
            match self.place.pool(body_bytes) {
                Some(pool) => pool.run(asker, answering).await,
                None => Ok(answering.await),
            }
        };
        let too_long = || Err(Problem::unavailable("this took too long: try again"));
        let answered = tokio::time::timeout(REQUEST_MAX, answering).await;
        answered
            .unwrap_or_else(|_| too_long())
            .unwrap_or_else(IntoResponse::into_response)
    }
}

/// The request with all of its body, as its handler takes it.
pub async fn whole(request: Request) -> Result<Request, Problem> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let mut carried = Request::new(body);
    // The limit is among them.
    carried.extensions_mut().clone_from(&head.extensions);
    let body = Bytes::from_request(carried, &()).await;
    let body = body.map_err(|rejection| Problem::bad_body(rejection.status()))?;
    Ok(Request::from_parts(head, body.into()))
}

/// Whom a request is counted for: its token, else the address that it comes from.
pub fn asker(request: &Request) -> Asker {
    let mut hasher = DefaultHasher::new();
    let extensions = request.extensions();
    let of_grant = extensions.get::<Grant>().and_then(|grant| grant.token.as_ref());
    let of_entry = extensions.get::<Entry>().map(|Entry(token)| token);
    match of_grant.or(of_entry) {
        Some(token) => token.hash.hash(&mut hasher),
        None => match extensions.get::<Source>() {
            None | Some(Source::Here) => return Asker::Here,
            Some(source) => source.hash(&mut hasher),
        },
    }
    Asker::One(hasher.finish())
}

impl<T: 'static, H: Handler<T, World>> Handler<T, World> for Gated<H> {
    type Future = BoxFuture<'static, Response>;

    /// Lets the request through with its grant beside it; bounds its time, and counts it.
    fn call(self, mut request: Request, world: World) -> Self::Future {
        let Self { gate, handler } = self;
        Box::pin(async move {
            let started = Instant::now();
            let method = request.method().clone();
            let query = request.uri().query().map(str::to_owned);
            // Before anything is read.
            let subject = gate.subject.map(|subject| subject.asked(request.uri().query()));
            let told = subject.map(|subject| world.health.borrow().freshness.told(subject));
            let clock = world.clock.clone();
            if gate.is_read {
                request.extensions_mut().insert(Partial);
            }
            let filling = told
                .as_ref()
                .filter(|_| gate.is_read && subject != Some(Subject::All))
                .is_some_and(|told| told.is_initializing(clock.moment()));
            let authorised = authorise(&gate, &mut request).await;
            let source = request.extensions().get::<Source>().copied();
            let entry = request.extensions().get::<Entry>().cloned();
            let is_let_in = authorised.is_ok() && is_let_in(&request);
            let mut answer = match authorised {
                Ok(()) if filling && !Partial::is_asked(&request) => world
                    .initializing(subject.unwrap_or(Subject::All))
                    .or_partial()
                    .into_response(),
                Ok(()) => match gate.answered(handler, request, world).await {
                    answer if filling => Partial::tell(answer),
                    answer => answer,
                },
                Err(refusal) => *refusal,
            };
            if is_let_in {
                answer.extensions_mut().insert(LetIn);
            }
            if answer.extensions().get::<TooSlow>().is_some() {
                pool::broke_off(gate.path, query.as_deref());
            }
            if let Some(told) = told {
                told.tell(answer.headers_mut(), clock.moment());
            }
            if gate.access.role().is_some() {
                let (now, name) = (clock.now(), entry.as_ref().map(Entry::name));
                gate.world.audit.count_refused(now, &answer, name, source);
                // Writes hold what persons sent: nobody on the way keeps an answer.
                let no_store = HeaderValue::from_static("no-store");
                answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
            }
            metrics::counted(gate.listener, &method, gate.path, &answer, started);
            answer
        })
    }
}

/// Whether a token let the request in.
fn is_let_in(request: &Request) -> bool {
    let extensions = request.extensions();
    let by_grant = extensions
        .get::<Grant>()
        .is_some_and(|grant| grant.token.is_some());
    by_grant || extensions.get::<Entry>().is_some()
}

async fn authorise(gate: &Gate, request: &mut Request) -> Result<(), Box<Response>> {
    let (side, known) = (gate.access.side(), &gate.world.tokens);
    let tokens = known.of(side);
    if let Some(role) = gate.access.role() {
        let token = tokens::find(&tokens, request.headers());
        let operator = match token {
            None if tokens.is_empty() => Ok(Operator::anybody()),
            None if gate.access == Access::Watch && !known.are_configured(side) => Ok(Operator::anybody()),
            None => {
                let which = match known.are_configured(side) {
                    true => "a token",
                    false => "the token in the file admin.token of the state directory",
                };
                let mut refusal = unauthorised(which);
                if bearer(request.headers()).is_some() {
                    refusal.extensions_mut().insert(Lack::Token);
                }
                return Err(Box::new(refusal));
            }
            Some(token) => {
                request.extensions_mut().insert(Entry(Arc::clone(token)));
                token.operator(&gate.world)
            }
        };
        let of_all = gate.access == Access::Watch;
        let operator = operator.and_then(|operator| operator.check(role, of_all).map(|()| operator));
        let operator = operator.map_err(|problem| Box::new(problem.into_response()))?;
        request.extensions_mut().insert(operator);
        return Ok(());
    }
    let grant = if gate.access == Access::Open || tokens.is_empty() {
        Grant::ALL
    } else {
        let Some(token) = tokens::find(&tokens, request.headers()) else {
            return Err(Box::new(unauthorised("a token")));
        };
        let parameters = request.extract_parts::<RawPathParams>().await;
        let store = parameters.ok().and_then(|parameters| {
            let found = parameters.iter().find(|(name, _)| *name == "store");
            found.map(|(_, value)| value.to_owned())
        });
        granted(&gate.world, token, gate.access, store)
            .map_err(|problem| Box::new(problem.into_response()))?
    };
    request.extensions_mut().insert(grant);
    Ok(())
}

fn granted(
    world: &World,
    token: &Arc<Token>,
    access: Access,
    store: Option<String>,
) -> Result<Grant, Problem> {
    let grant = Grant {
        stores: token.store_ids(world)?,
        customers: token.customers,
        orders: token.orders,
        token: Some(Arc::clone(token)),
    };
    if access == Access::Org && !grant.is_for_all_stores() {
        return Err(forbidden(
            "this is for tokens of all stores: the token is for some",
        ));
    }
    let (changes, of_customers) = (access == Access::CustomerChanges, access == Access::Customers);
    if (of_customers || changes) && !grant.customers {
        return Err(forbidden("the token is not for data of customers"));
    }
    if (access == Access::Orders || changes) && !grant.orders {
        return Err(forbidden("the token is not for orders"));
    }
    if let Some(key) = store.filter(|_| !grant.is_for_all_stores()) {
        // Whether another store exists is not told either.
        let held = match world.reader.with(|cache| stores::find(cache, &key))? {
            Found::Row(store) => grant.holds(&store.id),
            _ => false,
        };
        if !held && world.is_initializing(Subject::Settings) {
            // The stores that the token is for may not be loaded yet.
            return Err(world.initializing(Subject::Settings));
        }
        if !held {
            return Err(forbidden("the token is not for this store"));
        }
    }
    Ok(grant)
}
