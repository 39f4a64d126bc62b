//! A request taken apart: path by segments, query by pairs, both decoded once.

use axum::http::HeaderMap;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::answer::Refusal;

/// One request, or one part of a composite request.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// Decoded, without the slash at the end that some clients write.
    pub path: Vec<String>,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// Takes a method and an address of the form `/path?query` apart.
    pub fn new(method: &str, address: &str) -> Self {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let path = path.trim_matches('/').split('/').map(decode).collect();
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self {
            method: method.to_owned(),
            path,
            query: pairs(query),
            headers,
            body,
        }
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn segments(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    pub fn json(&self) -> Result<Json, Refusal> {
        self.parsed()
    }

    pub fn parsed<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| Refusal::parser(error.to_string()))
    }

    /// The token of `Authorization: Bearer T` or `OAuth T`, or of the `oauth_token` parameter.
    pub fn token(&self) -> Option<&str> {
        let header = self
            .header("authorization")
            .and_then(|header| header.split_once(' '));
        let header = header.filter(|(scheme, _)| {
            scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth")
        });
        header
            .map(|(_, token)| token.trim())
            .or_else(|| self.parameter("oauth_token"))
    }

    /// `batchSize` of `Sforce-Query-Options`.
    pub fn batch_size(&self) -> Option<usize> {
        let options = self.header("sforce-query-options")?;
        let sizes = options
            .split([',', ';'])
            .filter_map(|option| option.split_once('='));
        let mut sizes = sizes.filter(|(key, _)| key.trim().eq_ignore_ascii_case("batchsize"));
        sizes.find_map(|(_, size)| size.trim().parse().ok())
    }

    /// The client's name as it gives it in `Sforce-Call-Options: client=name`.
    pub fn client(&self) -> Option<&str> {
        let options = self.header("sforce-call-options")?;
        options
            .split(',')
            .find_map(|option| option.trim().strip_prefix("client="))
            .map(str::trim)
    }
}

/// Pairs of a query string or a form.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_apart() {
        let call = Call::new("GET", "/services/data/v67.0/query/?q=SELECT+Id%20FROM+A&x=%2B1&y");
        assert_eq!(call.segments(), ["services", "data", "v67.0", "query"]);
        assert_eq!(call.parameter("q"), Some("SELECT Id FROM A"));
        assert_eq!(call.parameter("x"), Some("+1"));
        assert_eq!(call.parameter("y"), Some(""));
        let key = Call::new(
            "PATCH",
            "/services/data/v67.0/sobjects/Order/External_ID__c/A%2FB%20c",
        );
        assert_eq!(key.path.last().map(String::as_str), Some("A/B c"));
    }

    #[test]
    fn reads_both_forms_of_authorization() {
        for (header, token) in [("Bearer t", Some("t")), ("OAuth t", Some("t")), ("Basic t", None)] {
            let mut call = Call::new("GET", "/");
            call.headers.insert("authorization", header.parse().unwrap());
            assert_eq!(call.token(), token);
        }
    }
}
