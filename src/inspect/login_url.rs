//! `storesync login-url`: a link into the console for whoever may read the daemon's token.
//!
//! It is made of the token's file alone: the daemon is not asked, and knows a link of its token when one comes.

use crate::cli::{Exit, LoginUrlArgs};
use crate::config::{Admin, Config, Listen};
use crate::inspect::{Misused, print};
use crate::model::clock::Clock;
use crate::store::admin_token;
use crate::store::database::is_held;

pub fn run(config: &Config, args: &LoginUrlArgs) -> anyhow::Result<Exit> {
    let admin = &config.admin;
    let address = match &args.at {
        Some(given) => given_address(given)?,
        None => address(admin)?,
    };
    if !admin.tokens.is_empty() {
        let sentence =
            format!("no link can be made, because [admin] has tokens: log in with one at {address}/login");
        return Err(Misused(sentence).into());
    }
    let dir = &config.state.dir;
    let token = admin_token::read(dir)?;
    // A daemon takes no link that was made before its start.
    if !is_held(dir) {
        let dir = dir.display();
        eprintln!("storesync: no daemon runs in {dir}: start it, and make the link then");
        return Ok(Exit::Unavailable);
    }
    let link = admin_token::link(&token, Clock::System.now());
    let link = link
        .ok_or_else(|| anyhow::anyhow!("no link can be made, because this machine gives no random bytes"))?;
    print(&format!("{address}/login#{link}\n"));
    Ok(Exit::Ok)
}

/// An address that a browser can open; what stands behind `#` is the link's.
fn given_address(given: &str) -> Result<String, Misused> {
    let parsed = reqwest::Url::parse(given).ok();
    let is_usable = parsed.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let is_plain = given.chars().all(|c| c.is_ascii_graphic());
    match is_usable && is_plain {
        true => Ok(given.trim_end_matches('/').to_owned()),
        false => Err(Misused(format!(
            "--at {given:?} is no address of the console: write it as in --at https://ops.example.com"
        ))),
    }
}

/// Where a browser of this machine finds the console.
fn address(admin: &Admin) -> Result<String, Misused> {
    let scheme = if admin.tls.is_some() { "https" } else { "http" };
    match &admin.listen {
        Listen::Tcp(address) if address.port() != 0 => Ok(format!("{scheme}://{address}")),
        Listen::Tcp(_) => Err(Misused(
            "[admin] listen names no port: say by --at where the console is reached, as in --at http://127.0.0.1:8081"
                .to_owned(),
        )),
        Listen::Unix(path) => Err(Misused(format!(
            "[admin] listens on {}, which no browser reaches and which needs no token",
            path.display()
        ))),
    }
}
