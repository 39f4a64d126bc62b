//! Where the org's token may be sent.
//!
//! The org's answer to a login says where its API is, and whoever answers in its place could name a host of their own. So
//! the token goes to the host that is configured, to Salesforce's own domains, and to those that `[org] hosts` names.

use std::net::IpAddr;

use reqwest::Url;

/// What Salesforce serves orgs under.
const OF_SALESFORCE: [&str; 3] = ["salesforce.com", "salesforce.mil", "sfcrmproducts.cn"];

/// Whether an address that the org named may have its token; the error is what is wrong with it.
pub(super) fn check(instance_url: &str, login_url: &str, hosts: &[String]) -> Result<(), String> {
    let parsed = |url: &str| Url::parse(url).map_err(|error| format!("{url} is no address ({error})"));
    let (instance, login) = (parsed(instance_url)?, parsed(login_url)?);
    if !instance.username().is_empty() || instance.password().is_some() {
        return Err("it has a user name in it".to_owned());
    }
    let Some(host) = instance.host_str() else {
        return Err("it names no host".to_owned());
    };
    // An address: what a name leads to is told by whoever answers for it. An org without encryption is on this machine.
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let is_plain = login.scheme() == "http";
    let is_here =
        plain.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) || is_plain && host == "localhost";
    if instance.scheme() != "https" && !(instance.scheme() == "http" && is_here) {
        return Err("it is not https".to_owned());
    }
    let is_login = login.host_str() == Some(host);
    let known = || {
        OF_SALESFORCE
            .iter()
            .copied()
            .chain(hosts.iter().map(String::as_str))
    };
    let is_below = |domain: &str| {
        host.strip_suffix(domain)
            .is_some_and(|name| name.is_empty() || name.ends_with('.'))
    };
    if !(is_login || is_here && is_plain || known().any(is_below)) {
        return Err("its host is neither that of login_url nor one of Salesforce's: name it in [org] hosts if it is right".to_owned());
    }
    let ports = [Some(443), login.port_or_known_default()];
    if instance.scheme() == "https" && !ports.contains(&instance.port_or_known_default()) {
        return Err("its port is neither 443 nor that of login_url".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_salesforce_and_to_whom_the_configuration_names() {
        let login = "https://acme.my.salesforce.com";
        for (instance, taken) in [
            ("https://acme.my.salesforce.com", true),
            ("https://acme--dev.sandbox.my.salesforce.com", true),
            ("https://na1.salesforce.com:443/", true),
            ("https://eu.salesforce.mil", true),
            ("https://proxy.acme.example", true),
            ("https://a.proxy.acme.example", true),
            ("https://acme.my.salesforce.com.evil.test", false),
            ("https://evilsalesforce.com", false),
            ("https://evil.test/salesforce.com", false),
            ("https://acme.my.salesforce.com@evil.test", false),
            ("https://user@acme.my.salesforce.com", false),
            ("https://acme.my.salesforce.com:8443", false),
            ("http://acme.my.salesforce.com", false),
            ("http://127.0.0.1:8080", false),
            ("ftp://acme.my.salesforce.com", false),
            ("acme.my.salesforce.com", false),
        ] {
            let hosts = ["proxy.acme.example".to_owned()];
            let found = check(instance, login, &hosts);
            assert_eq!(found.is_ok(), taken, "{instance}: {found:?}");
        }
        for (instance, login, taken) in [
            ("http://127.0.0.1:8443", "http://127.0.0.1:8443", true),
            ("http://127.0.0.1:9999", "http://127.0.0.1:8443", true),
            ("http://[::1]:9999", "http://127.0.0.1:8443", true),
            ("https://127.0.0.1:8443", "https://127.0.0.1:8443", true),
            ("https://localhost:8443", "https://localhost:8443", true),
            ("http://localhost:8443", "http://127.0.0.1:8443", true),
            ("http://localhost:8443", "https://127.0.0.1:8443", false),
            ("https://10.0.0.1:8443", "https://127.0.0.1:8443", false),
        ] {
            let found = check(instance, login, &[]);
            assert_eq!(found.is_ok(), taken, "{instance} by {login}: {found:?}");
        }
    }
}
