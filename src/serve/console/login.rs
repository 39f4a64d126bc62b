//! Who may see the console where the operators' listener has tokens.
//!
//! A browser sends no `Authorization` of its own: the token is typed once and kept in a cookie that scripts cannot
//! read and other sites cannot make a browser send. What changes something needs the form's own token besides.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use serde::Deserialize;

use crate::config::Role;
use crate::serve::World;
use crate::serve::console::html::{Html, button, element, note, text};
use crate::serve::console::{Trouble, shell};
use crate::serve::operators::Operator;

/// The cookie's name.
const COOKIE: &str = "storesync_admin";

/// How long a browser keeps it.
const KEPT_SECONDS: u32 = 12 * 3_600;

/// Lets a request through that brings a token, with what the token is for, and leads all others to the login.
pub async fn required(State(world): State<World>, mut request: Request, next: Next) -> Response {
    match world.tokens.operator(&world, brought(request.headers())) {
        Ok(Some(operator)) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Ok(None) => Redirect::to("/login").into_response(),
        Err(problem) => Trouble::of(&problem).into_response(),
    }
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

/// The tokens that a request brings, as a bearer or in the cookie.
fn brought(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = |name| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value: &HeaderValue| value.to_str().ok())
    };
    let bearers = values(header::AUTHORIZATION).filter_map(|value| {
        let (scheme, secret) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| secret.trim().to_owned())
    });
    let cookies = values(header::COOKIE).flat_map(|value| value.split(';'));
    let cookies = cookies.filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
        (name == COOKIE).then(|| decoded.into_owned())
    });
    bearers.chain(cookies)
}

pub async fn page() -> Response {
    shown(StatusCode::OK, None)
}

fn shown(status: StatusCode, trouble: Option<&str>) -> Response {
    let attributes = [
        ("id", "token"),
        ("name", "token"),
        ("type", "password"),
        ("autocomplete", "current-password"),
        ("required", ""),
    ];
    let label = element(
        "label",
        &[("for", "token")],
        [text("Token of the [admin] listener")],
    );
    let input = element("input", &attributes, []);
    let parts = [
        element("div", &[("class", "field")], [label, input]),
        button("Enter"),
    ];
    let form = element("form", &[("method", "post"), ("action", "/login")], parts);
    let told: Option<Html> =
        trouble.map(|trouble| element("p", &[("role", "alert"), ("class", "bad")], [text(trouble)]));
    let hint = note("It is kept in this browser for half a day.");
    shell(status, "", "Log in", told.into_iter().chain([form, hint]))
}

#[derive(Deserialize)]
pub struct Entered {
    token: String,
}

pub async fn enter(State(world): State<World>, Form(entered): Form<Entered>) -> Response {
    let secret = entered.token.trim();
    let operator = match world.tokens.operator(&world, std::iter::once(secret.to_owned())) {
        Ok(Some(operator)) => operator,
        Ok(None) => return shown(StatusCode::FORBIDDEN, Some("There is no such token.")),
        Err(problem) => return Trouble::of(&problem).into_response(),
    };
    let value = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC);
    let secure = if world.console.speaks_tls { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={KEPT_SECONDS}{secure}");
    let first = match operator.check(Role::View, true) {
        Ok(()) => "/",
        Err(_) => "/orders",
    };
    let mut response = Redirect::to(first).into_response();
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_a_bearer_or_in_the_cookie() {
        for (name, value, expected) in [
            (header::AUTHORIZATION, "Bearer a b", vec!["a b"]),
            (header::COOKIE, "x=1; storesync_admin=a%20b", vec!["a b"]),
            (header::COOKIE, "storesync=a", vec![]),
            (header::AUTHORIZATION, "Basic a", vec![]),
        ] {
            let headers = HeaderMap::from_iter([(name, value.parse().unwrap())]);
            assert_eq!(brought(&headers).collect::<Vec<_>>(), expected, "{value}");
        }
    }
}
