//! Requests that a page of somebody else's makes a browser send.
//!
//! Whoever can reach a listener without tokens may use it, and so could any page that a person on this machine opens: by a
//! form, by a script whose answer it cannot read, or by a name of its own that leads to this machine, under which it can
//! read too. So such a listener answers only to its own names, and takes changes only from its own pages and from programs.
//! A listener with tokens needs none of this: a foreign page has no token.

use std::net::SocketAddr;

use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, Method, StatusCode, Uri, Version, header};

use crate::serve::problem::Problem;

/// What a proxy adds to what it hands on.
const OF_PROXIES: [&str; 8] = [
    "cf-connecting-ip",
    "forwarded",
    "true-client-ip",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];
/// Asked by programs under any name, and without anything to tell a page.
const OF_MONITORS: [&str; 2] = ["/livez", "/readyz"];

/// A listener as pages see it.
#[derive(Clone, Debug, Default)]
pub struct Facing {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The section of the configuration.
    pub section: &'static str,
    /// Where it listens; none of a socket in the file system, which no browser can reach by itself.
    pub address: Option<SocketAddr>,
    /// Whoever comes by a socket is a proxy that the configuration names.
    pub has_named_sockets: bool,
    /// Further names, as configured.
    pub hosts: Vec<String>,
}

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub version: Version,
    pub headers: &'a HeaderMap,
}

impl Head<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The host that is asked for: told once, or the same twice.
    fn host(&self) -> Result<Option<&str>, Problem> {
        let refused = |detail| Err(Problem::bad_request(detail));
        let mut told = self.headers.get_all(header::HOST).iter();
        let by_header = told.next().map(|value| value.to_str().unwrap_or_default());
        let by_address = self.uri.authority().map(Authority::as_str);
        if told.next().is_some() {
            return refused("the request has two Host headers: send one");
        }
        match (by_header, by_address) {
            (Some(one), Some(other)) if !one.eq_ignore_ascii_case(other) => {
                refused("the request's address and its Host differ: send one host")
            }
            (None, None) if self.version == Version::HTTP_11 => {
                refused("the request has no Host header: send one")
            }
            (by_header, by_address) => Ok(by_header.or(by_address)),
        }
    }
}

impl Facing {
    /// What is wrong with a request. `is_open` is whether none of the configuration's tokens guards the listener.
    pub fn refuse(&self, head: Head<'_>, is_open: bool) -> Option<Problem> {
        let host = match head.host() {
            Ok(host) => host,
            Err(problem) => return Some(problem),
        };
        if !is_open || self.has_named_sockets && self.address.is_none() {
            return None;
        }
        let is_read = [Method::GET, Method::HEAD].contains(head.method);
        if is_read && OF_MONITORS.contains(&head.uri.path()) {
            return None;
        }
        if OF_PROXIES.iter().any(|name| head.headers.contains_key(*name)) {
            return Some(forbidden(format!(
                "a proxy hands this on, and no tokens are configured for the listener: set [[{}.tokens]]",
                self.section
            )));
        }
        let is_misled = |host: &&str| self.address.is_some_and(|address| !self.is_own(host, address));
        if let Some(host) = host.filter(is_misled) {
            let detail = format!(
                "{host} is no name of this listener: use its address, or name it in [{}] hosts",
                self.section
            );
            let status = StatusCode::MISDIRECTED_REQUEST;
            return Some(Problem::new(status, "misdirected", detail));
        }
        match is_read {
            true => self.refuse_read(head),
            false => self.refuse_change(head, host),
        }
    }

    /// A page of another site may lead here, and may not ask for what it could time or count.
    fn refuse_read(&self, head: Head<'_>) -> Option<Problem> {
        let is_foreign = head.text("sec-fetch-site") == Some("cross-site");
        let leads = head.text("sec-fetch-mode") == Some("navigate");
        (is_foreign && !leads).then(|| forbidden("a page of another site asks for this".to_owned()))
    }

    fn refuse_change(&self, head: Head<'_>, host: Option<&str>) -> Option<Problem> {
        let site = head.text("sec-fetch-site");
        let origin = head.text("origin");
        let own = host.map(|host| format!("{}://{host}", self.scheme));
        let is_other = |origin: &str| own.as_deref().is_none_or(|own| !own.eq_ignore_ascii_case(origin));
        if site.is_some_and(|site| site != "same-origin") || origin.is_some_and(is_other) {
            let detail = "a page of another site asks for this change: it is taken from storesync's own pages and from programs";
            return Some(forbidden(detail.to_owned()));
        }
        // What a browser sends by itself is never of this kind, and an own page has said where it comes from.
        let kind = head.text(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_json = kind.eq_ignore_ascii_case("application/json");
        (origin.is_none() && !is_json).then(|| {
            let detail = "send the body as Content-Type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Problem::new(status, "unsupported-media-type", detail)
        })
    }

    fn is_own(&self, host: &str, address: SocketAddr) -> bool {
        let Ok(host) = host.parse::<Authority>() else {
            return false;
        };
        let usual = match self.scheme {
            scheme if scheme == Scheme::HTTPS.as_str() => 443,
            _ => 80,
        };
        let is_here = host.port_u16().unwrap_or(usual) == address.port();
        let name = host.host();
        let plain = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = ["localhost", "127.0.0.1", "::1"].contains(&plain.to_ascii_lowercase().as_str());
        is_here && (is_loopback || plain == address.ip().to_string())
            || self
                .hosts
                .iter()
                .any(|own| own.eq_ignore_ascii_case(name) || own.eq_ignore_ascii_case(host.as_str()))
    }
}

fn forbidden(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "foreign", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facing() -> Facing {
        Facing {
            scheme: "http",
            section: "admin",
            address: Some("127.0.0.1:8081".parse().unwrap()),
            has_named_sockets: false,
            hosts: vec!["ops.internal".to_owned()],
        }
    }

    /// The status that a request is refused with; 0 where it is taken. A line is `METHOD ADDRESS` and headers.
    fn status(facing: &Facing, line: &str, headers: &[(&'static str, &str)], is_open: bool) -> u16 {
        let (method, address) = line.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let head = Head {
            method: &method.parse().unwrap(),
            uri: &address.parse().unwrap(),
            version: Version::HTTP_11,
            headers: &map,
        };
        facing
            .refuse(head, is_open)
            .map_or(0, |problem| problem.status().as_u16())
    }

    const OWN: (&str, &str) = ("host", "127.0.0.1:8081");
    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn an_open_listener_answers_to_its_own_names() {
        for (host, expected) in [
            ("127.0.0.1:8081", 0),
            ("LOCALHOST:8081", 0),
            ("[::1]:8081", 0),
            ("ops.internal", 0),
            ("ops.internal:8081", 0),
            ("evil.test:8081", 421),
            ("evil.test", 421),
            ("127.0.0.1:8080", 421),
            ("localhost", 421),
            ("localhost.evil.test:8081", 421),
            ("", 421),
        ] {
            let found = status(&facing(), "GET /api/orders", &[("host", host)], true);
            assert_eq!(found, expected, "{host}");
            let with_tokens = status(&facing(), "GET /api/orders", &[("host", host)], false);
            assert_eq!(with_tokens, 0, "{host}");
            let monitored = status(&facing(), "GET /livez", &[("host", host)], true);
            assert_eq!(monitored, 0, "{host}");
        }
    }

    #[test]
    fn a_socket_in_the_file_system_has_no_name_and_takes_nothing_of_a_proxy_that_is_not_named() {
        let host = ("host", "x");
        for (headers, expected) in [
            (&[host, JSON][..], 0),
            (&[host, JSON, ("x-real-ip", "192.0.2.1")], 403),
            (&[host, JSON, ("forwarded", "for=192.0.2.1")], 403),
            (&[host, JSON, ("origin", "http://evil.test")], 403),
            (&[host, JSON, ("sec-fetch-site", "cross-site")], 403),
            (&[host], 415),
        ] {
            let mut in_files = Facing {
                address: None,
                ..facing()
            };
            let change = "POST /api/orders/retry";
            assert_eq!(status(&in_files, change, headers, true), expected, "{headers:?}");
            assert_eq!(status(&in_files, change, headers, false), 0, "{headers:?}");
            in_files.has_named_sockets = true;
            assert_eq!(status(&in_files, change, headers, true), 0, "{headers:?}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        for (line, headers, expected) in [
            ("GET /", &[OWN, OWN][..], 400),
            ("GET http://evil.test/", &[OWN], 400),
            ("GET http://127.0.0.1:8081/", &[OWN], 0),
            ("GET /", &[], 400),
        ] {
            for is_open in [true, false] {
                let found = status(&facing(), line, headers, is_open);
                assert_eq!(found, expected, "{line} {headers:?}");
            }
        }
    }

    #[test]
    fn changes_come_from_own_pages_and_from_programs() {
        let change = "POST /api/orders/7/discard";
        for (headers, expected) in [
            (&[OWN, JSON][..], 0),
            (&[OWN, ("content-type", "APPLICATION/JSON")], 0),
            (&[OWN], 415),
            (&[OWN, ("content-type", "text/plain")], 415),
            (&[OWN, ("content-type", "application/x-www-form-urlencoded")], 415),
            (&[OWN, ("content-type", "application/jsonp")], 415),
            (&[OWN, JSON, ("origin", "http://evil.test")], 403),
            (&[OWN, JSON, ("origin", "null")], 403),
            (&[OWN, JSON, ("origin", "https://127.0.0.1:8081")], 403),
            (&[OWN, JSON, ("origin", "http://127.0.0.1:3000")], 403),
            (&[OWN, JSON, ("sec-fetch-site", "cross-site")], 403),
            (&[OWN, JSON, ("sec-fetch-site", "same-site")], 403),
            (&[OWN, JSON, ("sec-fetch-site", "none")], 403),
            (
                &[
                    OWN,
                    ("origin", "http://127.0.0.1:8081"),
                    ("sec-fetch-site", "same-origin"),
                    ("content-type", "application/x-www-form-urlencoded"),
                ],
                0,
            ),
            (&[OWN, JSON, ("x-forwarded-for", "192.0.2.1")], 403),
            (&[OWN, JSON, ("via", "1.1 proxy")], 403),
            (&[OWN, JSON, ("x-real-ip", "192.0.2.1")], 403),
            (&[OWN, JSON, ("cf-connecting-ip", "192.0.2.1")], 403),
        ] {
            assert_eq!(status(&facing(), change, headers, true), expected, "{headers:?}");
            assert_eq!(status(&facing(), change, headers, false), 0, "{headers:?}");
        }
    }

    #[test]
    fn a_page_of_another_site_may_lead_here_and_may_not_look() {
        let read = "GET /api/orders";
        for (headers, expected) in [
            (&[OWN][..], 0),
            (&[OWN, ("sec-fetch-site", "same-origin")], 0),
            (&[OWN, ("sec-fetch-site", "none")], 0),
            (&[OWN, ("sec-fetch-site", "cross-site")], 403),
            (
                &[
                    OWN,
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                0,
            ),
        ] {
            assert_eq!(status(&facing(), read, headers, true), expected, "{headers:?}");
        }
    }
}
