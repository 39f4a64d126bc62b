//! Who may see the console where the operators' listener has tokens.
//!
//! A browser sends no `Authorization` of its own: the token is typed once, or a link brings what stands for it, for a session
//! ([`super::sessions`]) whose id is kept in a cookie that scripts cannot read and other sites cannot make a browser send.
//! Cookies know no port, so that the name of
//! the cookie has it: two daemons of one machine keep their sessions apart. What changes something needs the form's own
//! token besides.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use serde::Deserialize;

use crate::config::{Role, Side};
use crate::model::clock::Millis;
use crate::serve::World;
use crate::serve::access::bearer;
use crate::serve::audit;
use crate::serve::audit::sums::Lack;
use crate::serve::connection::{LetIn, Source};
use crate::serve::console::html::{Html, button, element, facts, note, text};
use crate::serve::console::sessions::LASTS_MILLIS;
use crate::serve::console::{Page, Trouble, is_from_here, is_ours, shell};
use crate::serve::operators::Operator;
use crate::serve::problem::Problem;
use crate::store::outbox::audit::Line;

/// What a browser is to drop.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What the forms of an answer carry.
#[derive(Clone, Debug)]
pub struct FormToken(pub String);

impl FormToken {
    /// The field of a form.
    pub fn field(&self) -> Html {
        let attributes = [("type", "hidden"), ("name", "token"), ("value", &self.0)];
        element("input", &attributes, [])
    }
}

/// Lets a request through that is of a session or brings a token, with what that lets it do, and leads all others to the
/// login.
pub async fn required(State(world): State<World>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let entered = if world.tokens.are_none(Side::Operators) {
        Ok(Some((Operator::anybody(), world.console.token.clone())))
    } else if let Some(entry) = bearer(headers).and_then(|secret| world.tokens.log_in(secret)) {
        let operator = entry.operator(&world);
        operator.map(|operator| Some((operator, world.console.token.clone())))
    } else {
        of_session(&world, headers)
    };
    let source = request.extensions().get::<Source>().copied();
    let now = world.clock.now();
    match entered {
        Ok(Some((operator, form_token))) => {
            let name = operator.name().map(str::to_owned);
            request.extensions_mut().insert(operator);
            request.extensions_mut().insert(FormToken(form_token));
            let mut answer = next.run(request).await;
            world.audit.count_refused(now, &answer, name.as_deref(), source);
            if name.is_some() {
                answer.extensions_mut().insert(LetIn);
            }
            answer
        }
        Ok(None) => {
            if bearer(request.headers()).is_some() {
                world.audit.refused(now, Lack::Token, None, source);
            }
            Redirect::to("/login").into_response()
        }
        Err(problem) => Trouble::of(&problem).into_response(),
    }
}

/// Who the session of a request belongs to, while its token is one.
fn of_session(world: &World, headers: &HeaderMap) -> Result<Option<(Operator, String)>, Problem> {
    let Some(id) = session_id(world, headers) else {
        return Ok(None);
    };
    let sessions = &world.console.sessions;
    let Some((entry, form_token)) = sessions.find(&id, world.clock.steady()) else {
        return Ok(None);
    };
    if !world.tokens.hold(&entry) {
        sessions.end(&id);
        return Ok(None);
    }
    Ok(Some((entry.operator(world)?, form_token)))
}

/// What stands before a page that is for a role, or of all stores.
pub async fn checked(
    State((role, of_all_stores)): State<(Role, bool)>,
    Extension(operator): Extension<Operator>,
    request: Request,
    next: Next,
) -> Response {
    match operator.check(role, of_all_stores) {
        Ok(()) => next.run(request).await,
        Err(problem) => Trouble::of(&problem).into_response(),
    }
}

/// The cookie's name: by the port, and over TLS one that no other host can set.
fn cookie_name(world: &World, headers: &HeaderMap) -> String {
    let (beginning, usual) = match world.console.speaks_tls {
        true => ("__Host-", 443),
        false => ("", 80),
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let port = host.and_then(|host| host.rsplit_once(':')?.1.parse::<u16>().ok());
    format!("{beginning}storesync_{}", port.unwrap_or(usual))
}

fn session_id(world: &World, headers: &HeaderMap) -> Option<String> {
    let wanted = cookie_name(world, headers);
    let values = headers.get_all(header::COOKIE).iter();
    let cookies = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    let mut named = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    let (_, id) = named.find(|(name, _)| *name == wanted)?;
    Some(id.to_owned())
}

/// What makes a browser keep a cookie, or drop it.
fn cookie(world: &World, headers: &HeaderMap, id: &str, seconds: i64) -> Option<HeaderValue> {
    let (name, secure) = (
        cookie_name(world, headers),
        if world.console.speaks_tls { "; Secure" } else { "" },
    );
    let cookie = format!("{name}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}");
    HeaderValue::try_from(cookie).ok()
}

pub async fn page(State(world): State<World>) -> Response {
    shown(&world, StatusCode::OK, None)
}

fn shown(world: &World, status: StatusCode, trouble: Option<&str>) -> Response {
    let (wanted, hint) = match world.tokens.are_configured(Side::Operators) {
        true => ("Token of the [admin] listener", ""),
        false => (
            "Token in admin.token",
            "It is in the state directory. The command storesync login-url makes a link that needs no token. ",
        ),
    };
    let attributes = [
        ("id", "token"),
        ("name", "token"),
        ("type", "password"),
        ("autocomplete", "current-password"),
        ("required", ""),
    ];
    let label = element("label", &[("for", "token")], [text(wanted)]);
    let input = element("input", &attributes, []);
    let parts = [
        element("div", &[("class", "field")], [label, input]),
        button("Enter"),
    ];
    let form = element("form", &[("method", "post"), ("action", "/login")], parts);
    let told: Option<Html> =
        trouble.map(|trouble| element("p", &[("role", "alert"), ("class", "bad")], [text(trouble)]));
    let hint = note(format!(
        "{hint}You stay logged in for half a day, or until half an hour without a look."
    ));
    shell(status, "", "Log in", told.into_iter().chain([form, hint]))
}

#[derive(Deserialize)]
pub struct Entered {
    token: String,
}

pub async fn enter(
    State(world): State<World>,
    source: Option<Extension<Source>>,
    headers: HeaderMap,
    Form(entered): Form<Entered>,
) -> Response {
    if world.tokens.are_none(Side::Operators) {
        return Redirect::to("/").into_response();
    }
    // Nobody is logged in as another by a page of another, and none spends an address's tries.
    if !is_from_here(&world, &headers) {
        return Trouble::foreign_form().into_response();
    }
    let (sessions, now) = (&world.console.sessions, world.clock.steady());
    let source = source.map_or(Source::Here, |Extension(source)| source);
    let secret = entered.token.trim();
    // Nobody guesses a link: it is good also where tokens are guessed.
    let mut entry = world.tokens.log_in_by_link(secret, world.clock.now());
    if entry.is_none() {
        if let Some(wait) = sessions.wait(source, now) {
            return too_many(&world, source, wait);
        }
        entry = world.tokens.log_in(secret);
    }
    let Some(entry) = entry else {
        return nobody(&world, source, now);
    };
    let operator = match entry.operator(&world) {
        Ok(operator) => operator,
        Err(problem) => return Trouble::of(&problem).into_response(),
    };
    let first = match operator.check(Role::View, true) {
        Ok(()) => "/",
        Err(_) => "/orders",
    };
    // The one that the browser had is not used any more.
    if let Some(before) = session_id(&world, &headers) {
        sessions.end(&before);
    }
    let Some(id) = sessions.begin(entry, now) else {
        let sentence = "no session can be begun, because this machine gives no random bytes: try again";
        return shown(&world, StatusCode::SERVICE_UNAVAILABLE, Some(sentence));
    };
    let name = operator.name().unwrap_or_default();
    tracing::info!(token = name, "{name} logged in to the console");
    audit::note(
        world.intake.outbox(),
        Line::new(name, "log_in"),
        world.clock.now(),
    )
    .await;
    let mut response = Redirect::to(first).into_response();
    if let Some(cookie) = cookie(&world, &headers, &id, LASTS_MILLIS / 1_000) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// For a token that nobody has.
fn nobody(world: &World, source: Source, now: Millis) -> Response {
    world
        .audit
        .refused(world.clock.now(), Lack::LogIn, None, Some(source));
    if let Some(count) = world.console.sessions.failed(source, now).to_tell {
        tracing::warn!(
            count,
            "{count} log-ins to the console were refused: nobody has such a token"
        );
    }
    let sentence = "There is no such token; of a link, it was used, or is older than five minutes.";
    shown(world, StatusCode::FORBIDDEN, Some(sentence))
}

/// For one that is not looked at.
fn too_many(world: &World, source: Source, wait_millis: i64) -> Response {
    world
        .audit
        .refused(world.clock.now(), Lack::LogIn, None, Some(source));
    let sentence = "Too many tokens were refused in the last minute: wait, and try again.";
    let mut response = shown(world, StatusCode::TOO_MANY_REQUESTS, Some(sentence));
    let seconds = (wait_millis + 999) / 1_000;
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds.unsigned_abs()));
    response
}

/// Who is logged in, and what they may do.
pub async fn session(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    Extension(form_token): Extension<FormToken>,
    headers: HeaderMap,
) -> Page {
    let Some(name) = operator.name() else {
        let content = [note(
            "This listener is a socket without tokens: whoever may use the socket may do everything.",
        )];
        return Ok(shell(StatusCode::OK, "/session", "Session", content));
    };
    let roles = Role::ALL.into_iter().filter(|role| operator.may(*role));
    let roles: Vec<&str> = roles.map(Role::name).collect();
    let told = facts([
        ("Token".to_owned(), text(name)),
        ("May".to_owned(), text(roles.join(", "))),
        ("Stores".to_owned(), text(operator.stores().join(", "))),
    ]);
    let is_session = session_id(&world, &headers).is_some();
    let parts = [form_token.field(), button("Log out")];
    let form = is_session.then(|| element("form", &[("method", "post"), ("action", "/logout")], parts));
    let content = std::iter::once(told).chain(form);
    Ok(shell(StatusCode::OK, "/session", "Session", content))
}

pub async fn leave(
    State(world): State<World>,
    (Extension(operator), Extension(form_token)): (Extension<Operator>, Extension<FormToken>),
    headers: HeaderMap,
    Form(entered): Form<Entered>,
) -> Page {
    if !is_ours(&world, &headers, (&form_token, &entered.token)) {
        return Err(Trouble::foreign_form());
    }
    if let Some(id) = session_id(&world, &headers) {
        world.console.sessions.end(&id);
        let name = operator.name().unwrap_or_default();
        audit::note(
            world.intake.outbox(),
            Line::new(name, "log_out"),
            world.clock.now(),
        )
        .await;
    }
    let mut response = Redirect::to("/login").into_response();
    let answer = response.headers_mut();
    // Not cookies: they know no port, and another daemon of this host has its own.
    answer.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\""));
    if let Some(cookie) = cookie(&world, &headers, "", 0) {
        answer.insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
