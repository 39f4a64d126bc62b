//! The console: pages on the operators' listener for whoever keeps storesync running or takes it apart.
//!
//! Pages are made here and work without a script; one small script draws the charts. All that they load comes from
//! this binary, and the browser is told to take nothing else. What changes something is a form that carries a token
//! of the session, or of this process where nobody logs in, and comes from a page of this address: another site can make
//! a browser send the form, and can read neither the token nor the answer. Pages are not packed, so that their length
//! does not tell what is in them.

mod events;
mod html;
mod login;
mod orders;
mod record;
mod repairs;
mod sessions;
mod settings;
mod status;

use std::path::PathBuf;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use crate::config::{Config, Role};
use crate::journal::history::{History, NoJournal};
use crate::serve::World;
use crate::serve::access::{asker, whole};
use crate::serve::audit::sums::Lack;
use crate::serve::console::html::{Html, element, link, tag, text};
use crate::serve::console::login::FormToken;
use crate::serve::console::sessions::Sessions;
use crate::serve::problem::Problem;

/// Only what this binary serves; no frame, no form to elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("console/console.css");
const SCRIPT: &str = include_str!("console/console.js");

/// The pages, with what the navigation calls them.
const PAGES: [(&str, &str); 7] = [
    ("/", "Status"),
    ("/events", "Events"),
    ("/parked", "Parked"),
    ("/repairs", "Repairs"),
    ("/orders", "Orders"),
    ("/config", "Configuration"),
    ("/session", "Session"),
];

/// Who it was where no token says so, as the audit has it.
const ACTOR: &str = "console";

/// What the console knows besides what is served anyway.
#[derive(Debug, Default)]
pub struct Console {
    /// The state directory.
    dir: PathBuf,
    /// The configuration as it was loaded, section by section, without what nobody should read.
    settings: Vec<(String, Vec<(String, String)>)>,
    /// What forms carry where nobody is logged in.
    token: String,
    sessions: Sessions,
    /// The operators' listener has a certificate.
    speaks_tls: bool,
}

impl Console {
    pub fn new(config: &Config) -> Self {
        let mut random = [0; 32];
        // Without it no form is taken: its token cannot be known, since an empty one is refused.
        let token = match aws_lc_rs::rand::fill(&mut random) {
            Ok(()) => random.iter().map(|byte| format!("{byte:02x}")).collect(),
            Err(_) => String::new(),
        };
        Self {
            dir: config.state.dir.clone(),
            settings: settings::shown(config),
            token,
            sessions: Sessions::default(),
            speaks_tls: config.admin.tls.is_some(),
        }
    }
}

/// A page that is for a role: of all stores, or one that leaves out what the operator may not see.
struct Paged {
    path: &'static str,
    role: Role,
    of_all_stores: bool,
    handler: MethodRouter<World>,
}

fn paged(path: &'static str, role: Role, of_all_stores: bool, handler: MethodRouter<World>) -> Paged {
    Paged {
        path,
        role,
        of_all_stores,
        handler,
    }
}

fn pages() -> [Paged; 13] {
    [
        paged("/", Role::View, true, get(status::page)),
        paged("/console/pulse", Role::View, true, get(status::pulse)),
        paged("/events", Role::View, true, get(events::page)),
        paged("/events/{number}", Role::Personal, true, get(events::one)),
        paged("/parked", Role::Personal, true, get(events::parked)),
        paged("/records/{object}/{id}", Role::Personal, true, get(record::page)),
        paged("/repairs", Role::View, true, get(repairs::page)),
        paged("/config", Role::View, true, get(settings::page)),
        paged("/session", Role::View, false, get(login::session)),
        paged("/logout", Role::View, false, post(login::leave)),
        paged("/orders", Role::View, false, get(orders::page)),
        paged("/orders/{reference}", Role::View, false, get(orders::one)),
        paged(
            "/orders/{reference}/{deed}",
            Role::Operate,
            false,
            post(orders::deed),
        ),
    ]
}

/// The addresses of all pages that are for a role.
pub fn addresses() -> impl Iterator<Item = &'static str> {
    pages().into_iter().map(|page| page.path)
}

pub fn routes(world: &World) -> Router<World> {
    let pages = pages().into_iter().fold(Router::new(), |router, page| {
        let checked = from_fn_with_state((page.role, page.of_all_stores), login::checked);
        router.route(page.path, page.handler.layer(checked))
    });
    pages
        .route_layer(from_fn_with_state(world.clone(), in_pool))
        .route_layer(from_fn_with_state(world.clone(), login::required))
        .route("/login", get(login::page).post(login::enter))
        .route(
            "/console/console.css",
            get(async || asset("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/console/console.js",
            get(async || asset("text/javascript; charset=utf-8", SCRIPT)),
        )
}

/// Has a page made where reading does not keep the listener from answering.
async fn in_pool(State(world): State<World>, request: Request, next: Next) -> Response {
    let asker = asker(&request);
    let made = async {
        let request = whole(request).await?;
        world.pools.admin.run(asker, next.run(request)).await
    };
    made.await
        .unwrap_or_else(|problem: Problem| Trouble::of(&problem).into_response())
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    guard(headers);
    response
}

fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A page of the console. `here` is the address of the page in the navigation that it belongs to.
fn shell(status: StatusCode, here: &str, title: &str, content: impl IntoIterator<Item = Html>) -> Response {
    let items = PAGES.iter().map(|(address, name)| {
        let current = [("href", *address), ("aria-current", "page")];
        let attributes = if *address == here {
            &current[..]
        } else {
            &current[..1]
        };
        element("li", &[], [element("a", attributes, [text(name)])])
    });
    let navigation = element("nav", &[("aria-label", "Console")], [element("ul", &[], items)]);
    let main = std::iter::once(tag("h1", title)).chain(content);
    let head = [
        element("meta", &[("charset", "utf-8")], []),
        element(
            "meta",
            &[
                ("name", "viewport"),
                ("content", "width=device-width, initial-scale=1"),
            ],
            [],
        ),
        tag("title", format!("{title} - storesync")),
        element(
            "link",
            &[("rel", "stylesheet"), ("href", "/console/console.css")],
            [],
        ),
        element("script", &[("src", "/console/console.js"), ("defer", "")], []),
    ];
    let body = [
        element(
            "a",
            &[("class", "skip"), ("href", "#content")],
            [text("To the content")],
        ),
        element("header", &[], [tag("p", "storesync"), navigation]),
        element("main", &[("id", "content"), ("tabindex", "-1")], main),
    ];
    let page = element(
        "html",
        &[("lang", "en")],
        [element("head", &[], head), element("body", &[], body)],
    );
    let mut response = Response::new(Body::from(format!("<!doctype html>{}", page.into_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    guard(headers);
    response
}

/// Why a page cannot be shown, as a page.
#[derive(Debug)]
struct Trouble {
    status: StatusCode,
    sentence: String,
    /// What an operator lacks, which the audit is told.
    lack: Option<Lack>,
}

impl Trouble {
    fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self {
            status,
            sentence: sentence.into(),
            lack: None,
        }
    }

    fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }
}

impl Trouble {
    fn foreign_form() -> Self {
        let sentence =
            "this form is not of this console as it runs now: go back, load the page again and repeat it";
        Self {
            lack: Some(Lack::Form),
            ..Self::new(StatusCode::FORBIDDEN, sentence)
        }
    }

    fn of(problem: &Problem) -> Self {
        Self {
            lack: problem.lack(),
            ..Self::new(problem.status(), problem.detail())
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let error: anyhow::Error = error.into();
        if error.is::<NoJournal>() {
            return Self::not_found(error.to_string());
        }
        tracing::error!(
            error = format!("{error:#}"),
            "a page of the console cannot be made"
        );
        let sentence = "this cannot be read just now: the log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let sentence = element("p", &[("role", "alert")], [text(&self.sentence)]);
        let title = self.status.canonical_reason().unwrap_or("Trouble");
        let mut response = shell(self.status, "", title, [sentence, link("/", "To the status")]);
        if let Some(lack) = self.lack {
            response.extensions_mut().insert(lack);
        }
        response
    }
}

type Page = Result<Response, Trouble>;

/// Looks into the journal.
fn look<T>(world: &World, read: impl FnOnce(&mut History) -> anyhow::Result<T>) -> Result<T, Trouble> {
    Ok(read(&mut History::open(&world.console.dir)?)?)
}

/// Whether a form comes from a page of this console: by the token that it carries, and where the browser says it is from.
fn is_ours(world: &World, headers: &HeaderMap, (expected, token): (&FormToken, &str)) -> bool {
    let FormToken(expected) = expected;
    let known =
        !expected.is_empty() && verify_slices_are_equal(expected.as_bytes(), token.as_bytes()).is_ok();
    known && is_from_here(world, headers)
}

/// Whether a form comes from a page of this address, as far as the browser says.
fn is_from_here(world: &World, headers: &HeaderMap) -> bool {
    let value = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = headers
        .get("sec-fetch-site")
        .and_then(|value| value.to_str().ok());
    let same_site = site.is_none_or(|site| site == "same-origin");
    let same_origin = match (value(header::ORIGIN), value(header::HOST)) {
        (Some(origin), Some(host)) => {
            let scheme = if world.console.speaks_tls { "https" } else { "http" };
            origin.split_once("://") == Some((scheme, host))
        }
        (None, _) => true,
        (Some(_), None) => false,
    };
    same_site && same_origin
}
