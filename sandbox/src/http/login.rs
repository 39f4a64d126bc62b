//! `/services/oauth2/...` and `/id/...`.

use serde_json::{Value as Json, json};

use super::App;
use super::answer::{Answer, Refusal, Reply};
use super::call::{Call, pairs};
use crate::oauth::basic_pair;

pub fn answer(app: &App, call: &Call, rest: &[&str]) -> Answer {
    match (call.method.as_str(), rest) {
        ("POST", ["token"]) => token(app, call),
        ("POST" | "GET", ["revoke"]) => Ok(revoke(app, call)),
        ("POST" | "GET", ["userinfo"]) => {
            let session = call.token().filter(|token| app.login.sessions.is_valid(token));
            session.ok_or_else(bad_token)?;
            Ok(Reply::ok(person(app)))
        }
        ("GET", ["token"]) => Err(Refusal::method_not_allowed("GET")),
        _ => Err(Refusal::not_found()),
    }
}

/// The identity endpoint, whose address every login's answer gives.
pub fn identity(app: &App, call: &Call, organization: &str, user: &str) -> Answer {
    call.token()
        .filter(|token| app.login.sessions.is_valid(token))
        .ok_or_else(bad_token)?;
    let same = |given: &str, own: &str| given == own || given == &own[..15];
    let known = same(organization, app.org.id().as_str()) && same(user, app.org.user_id().as_str());
    if known {
        Ok(Reply::ok(person(app)))
    } else {
        Err(Refusal::new(404, "NOT_FOUND", "Bad_Id"))
    }
}

fn bad_token() -> Refusal {
    Refusal::new(403, "INVALID_SESSION_ID", "Bad_OAuth_Token")
}

fn token(app: &App, call: &Call) -> Answer {
    let mut form = pairs(&String::from_utf8_lossy(&call.body));
    form.extend(call.query.iter().cloned());
    let basic = call.header("authorization").and_then(basic_pair);
    let outcome = app.login.token(&form, basic);
    let outcome = outcome.map_err(|error| Refusal::new(500, "UNKNOWN_EXCEPTION", error.to_string()))?;
    let mut reply = match outcome {
        Ok(success) => Reply::ok(success),
        Err(error) => Reply::json(
            400,
            json!({ "error": error.error, "error_description": error.description }),
        ),
    };
    reply.headers.push(("cache-control", "no-store".to_owned()));
    Ok(reply)
}

fn revoke(app: &App, call: &Call) -> Reply {
    let form = pairs(&String::from_utf8_lossy(&call.body));
    let named = form
        .iter()
        .chain(&call.query)
        .find(|(key, _)| key == "token")
        .map(|(_, token)| token.as_str());
    if named.is_some_and(|token| app.login.revoke(token)) {
        return Reply::empty(200);
    }
    Reply::json(
        400,
        json!({ "error": "unsupported_token_type", "error_description": "this token type is not supported" }),
    )
}

fn person(app: &App) -> Json {
    let address = app.login.address();
    let url = |path: &str| format!("{address}{path}");
    let username = &app.login.credentials.username;
    json!({
        "id": app.login.identity_url(),
        "sub": app.login.identity_url(),
        "asserted_user": true,
        "user_id": app.org.user_id().as_str(),
        "organization_id": app.org.id().as_str(),
        "username": username,
        "preferred_username": username,
        "nick_name": "integration",
        "nickname": "integration",
        "display_name": "Integration User",
        "name": "Integration User",
        "given_name": "Integration",
        "family_name": "User",
        "email": username,
        "email_verified": true,
        "active": true,
        "user_type": "STANDARD",
        "language": "en_US",
        "locale": "en_AU",
        "zoneinfo": "Australia/Hobart",
        "utcOffset": 36_000_000,
        "urls": {
            "rest": url("/services/data/v{version}/"),
            "sobjects": url("/services/data/v{version}/sobjects/"),
            "query": url("/services/data/v{version}/query/"),
            "search": url("/services/data/v{version}/search/"),
            "recent": url("/services/data/v{version}/recent/"),
            "metadata": url("/services/Soap/m/{version}/00D"),
            "enterprise": url("/services/Soap/c/{version}/00D"),
            "partner": url("/services/Soap/u/{version}/00D"),
            "custom_domain": address,
        },
    })
}
