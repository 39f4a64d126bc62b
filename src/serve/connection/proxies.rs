//! Proxies that say for whom they ask.
//!
//! What comes through a proxy comes from the proxy's address, and would share one address's limits. Of a proxy that the
//! configuration names, the one header that it names is believed: the client is the last address in it that is not of a
//! named proxy, since everything before may be the client's own words. Limits and log lines go by it, and no rights.
//! The PROXY protocol is not spoken.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::{ForwardedHeader, Proxies};
use crate::serve::connection::Source;

/// Who came to a listener: an address, or a socket in the file system.
pub type Peer = Option<IpAddr>;

impl Proxies {
    /// Whom a request is counted for.
    pub fn source(&self, peer: Peer, headers: &HeaderMap) -> Source {
        let nearest = || peer.map_or(Source::Here, Source::from);
        if !self.are_named(peer) {
            return nearest();
        }
        self.client(headers).map_or_else(nearest, Source::from)
    }

    /// Whether a connection is of a proxy that is named, which brings many clients.
    pub fn are_named(&self, peer: Peer) -> bool {
        match peer {
            Some(address) => self.is_named(address),
            None => self.sockets,
        }
    }

    fn is_named(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The last address that is not of a named proxy; the first of all, where all are. `None` where the header is not there,
    /// or holds something else than addresses on the way to it.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let lines = headers.get_all(self.header.name());
        let mut found = None;
        for line in lines.iter().rev() {
            let line = line.to_str().ok()?;
            let elements = match self.header {
                ForwardedHeader::XForwardedFor => line.split(',').collect(),
                ForwardedHeader::Forwarded => unquoted_split(line, ',')?,
            };
            for told in elements.into_iter().rev() {
                let address = match self.header {
                    ForwardedHeader::XForwardedFor => address(told.trim())?,
                    ForwardedHeader::Forwarded => address(forwarded_for(told)?)?,
                };
                if !self.is_named(address) {
                    return Some(address);
                }
                found = Some(address);
            }
        }
        found
    }
}

/// The node of `for=` in an element of `Forwarded` (RFC 7239), without its quotes.
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = unquoted_split(element, ';')?;
    let mut pairs = pairs.into_iter().filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    Some(node.trim_matches('"'))
}

/// The pieces between separators that stand in no quotes, inside which a backslash is before a character that means
/// itself; `None` where a quote is not closed. A proxy may have put the client's own words into quotes.
fn unquoted_split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let pieces = text.split(|c: char| {
        let is_plain = !is_escaped;
        is_escaped = is_quoted && is_plain && c == '\\';
        is_quoted ^= c == '"' && is_plain;
        c == separator && !is_quoted
    });
    let pieces = pieces.collect();
    (!is_quoted).then_some(pieces)
}

/// An address, or one with a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn address(told: &str) -> Option<IpAddr> {
    let plain = told.strip_prefix('[').and_then(|told| told.strip_suffix(']'));
    let bare = plain.unwrap_or(told).parse().ok();
    bare.or_else(|| told.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(named: &[&str], header: ForwardedHeader) -> Proxies {
        let named: Vec<String> = named.iter().map(|named| (*named).to_owned()).collect();
        Proxies::new("serve", &named, header).unwrap()
    }

    fn source(proxies: &Proxies, peer: &str, lines: &[&str]) -> Source {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(proxies.header.name(), line.parse().unwrap());
        }
        proxies.source(peer.parse().ok(), &headers)
    }

    fn of(address: &str) -> Source {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn the_client_is_the_last_who_is_no_named_proxy() {
        let named = proxies(
            &["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"],
            ForwardedHeader::XForwardedFor,
        );
        for (peer, lines, expected) in [
            ("127.0.0.1", &["192.0.2.1"][..], "192.0.2.1"),
            ("127.0.0.1", &["198.51.100.7, 192.0.2.1"], "192.0.2.1"),
            ("127.0.0.1", &["198.51.100.7", "192.0.2.1"], "192.0.2.1"),
            ("127.0.0.1", &["192.0.2.1, 10.1.2.3"], "192.0.2.1"),
            ("127.0.0.1", &["192.0.2.1", "10.1.2.3, 10.4.5.6"], "192.0.2.1"),
            ("127.0.0.1", &["10.1.2.3, 10.4.5.6"], "10.1.2.3"),
            ("::ffff:10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("2001:db8:1::5", &["[2001:db8:2::9]:443"], "2001:db8:2::9"),
            ("10.0.0.1", &["[2001:db8:2::9]"], "2001:db8:2::9"),
            // Not addresses, or none at all: the proxy itself.
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1, "], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1, proxy.example"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1.5"], "10.0.0.1"),
            // What is before the client is not looked at.
            ("10.0.0.1", &["<script>, 192.0.2.1"], "192.0.2.1"),
            // Who is not named is not believed.
            ("192.0.2.9", &["192.0.2.1"], "192.0.2.9"),
            ("127.0.0.2", &["192.0.2.1"], "127.0.0.2"),
        ] {
            assert_eq!(source(&named, peer, lines), of(expected), "{peer} {lines:?}");
        }
        assert_eq!(source(&named, "a socket", &["192.0.2.1"]), Source::Here);
        let sockets = proxies(&["unix:"], ForwardedHeader::XForwardedFor);
        assert_eq!(source(&sockets, "a socket", &["192.0.2.1"]), of("192.0.2.1"));
        assert_eq!(source(&sockets, "127.0.0.1", &["192.0.2.1"]), Source::Here);
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_named() {
        let named = proxies(&["127.0.0.1"], ForwardedHeader::Forwarded);
        for (line, expected) in [
            ("for=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
            ("For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            ("for=198.51.100.7, for=192.0.2.1", "192.0.2.1"),
            ("proto=https; for=192.0.2.1", "192.0.2.1"),
            ("for=_hidden", "127.0.0.1"),
            ("for=unknown", "127.0.0.1"),
            ("proto=https", "127.0.0.1"),
            // The client's own words in quotes, as of a Host that is copied.
            ("for=192.0.2.1;host=\"a, for=198.51.100.7\"", "192.0.2.1"),
            ("host=\"a;for=198.51.100.7\";for=192.0.2.1", "192.0.2.1"),
            ("for=192.0.2.1;host=\"a\\\", for=198.51.100.7;b=\"", "192.0.2.1"),
            ("for=192.0.2.1;host=\"a\\\\\", for=192.0.2.2", "192.0.2.2"),
            ("for=192.0.2.1;host=\"a, for=198.51.100.7", "127.0.0.1"),
        ] {
            assert_eq!(source(&named, "127.0.0.1", &[line]), of(expected), "{line}");
        }
    }
}
