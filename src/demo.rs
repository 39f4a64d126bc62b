//! The tour: a sandbox org, the daemon against it and a storefront's page, in one process.
//!
//! Nothing here is known to the daemon: it is configured by the file that the sandbox writes and sees
//! Salesforce's protocols only. The page and the tour are its users, over the same HTTP that a storefront
//! uses; the org is read and changed over its own REST API.

mod activity;
mod org;
mod page;
mod report;
mod shop;
mod tour;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use storesync_sandbox as sandbox;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::{DemoArgs, Exit};
use crate::config::Config;
use crate::daemon::{self, Listeners};
use crate::demo::org::OrgClient;
use crate::demo::shop::Shop;
use crate::model::clock::Clock;
use crate::store::admin_token;

/// Where the demo listens if it can; another port is taken where one is in use.
const API: u16 = 8080;
const ADMIN: u16 = 8081;
const PAGE: u16 = 8082;

/// Runs until `stop`, or with `--once` until the tour is over.
pub async fn run(args: DemoArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let sandbox = start_org(&args).await?;
    let (api, admin) = (bind(API).await?, bind(ADMIN).await?);
    let (api_address, admin_address) = (api.local_addr()?, admin.local_addr()?);
    let listeners = Listeners {
        storefront: api.try_into()?,
        admin: admin.try_into()?,
    };
    let page = bind(PAGE).await?;
    let shop = Shop::new(api_address, admin_address)?;
    let env = sandbox.env.clone();
    let config = config_of(&sandbox.data_dir)?;

    let parts = stop.child_token();
    let guard = parts.clone().drop_guard();
    let addresses = Addresses {
        page: page.local_addr()?,
        api: api_address,
        admin: admin_address,
        org: sandbox.http_url.clone(),
        state: config.state.dir.clone(),
    };
    let visit = async {
        // The org answers only once it is served, beside this future.
        let org = OrgClient::log_in(&env).await?;
        if args.once {
            tour::run(&args, &org, &shop).await
        } else {
            addresses.print(&addresses.console_link(&shop).await);
            activity::run(&org, &shop, parts.clone()).await.map(|()| Exit::Ok)
        }
    };
    let visit = async {
        let exit = tokio::select! {
            () = parts.cancelled() => Ok(Exit::Ok),
            exit = visit => exit,
        };
        drop(guard);
        exit
    };
    // The org, and the folder that it takes along, outlive the daemon.
    let org_stop = CancellationToken::new();
    let mirror = async {
        let ran = daemon::run(config, Clock::System, listeners, parts.clone());
        let ran = stopping(ran, &parts).await;
        org_stop.cancel();
        ran
    };
    let (exit, served, ran, paged) = tokio::join!(
        visit,
        stopping(sandbox.run(org_stop.clone()), &parts),
        mirror,
        stopping(page::run(page, shop.clone(), parts.clone()), &parts),
    );
    let exit = exit?;
    served.context("the sandbox org")?;
    ran.context("the daemon")?;
    paged.context("the storefront page")?;
    Ok(exit)
}

/// A sandbox of the size that is asked for, which speaks often enough for a page that is watched.
async fn start_org(args: &DemoArgs) -> anyhow::Result<sandbox::Running> {
    sandbox::start(sandbox::Options {
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
        grpc: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: false,
        data: None,
        seed: args.size.seed,
        products: args.size.products,
        stores: args.size.stores,
        keepalive: Duration::from_millis(args.size.keepalive_ms.min(500)),
        ..sandbox::Options::default()
    })
    .await
}

/// The daemon's configuration, as the sandbox wrote it.
fn config_of(data_dir: &Path) -> anyhow::Result<Config> {
    let config = data_dir.join("config.toml");
    let overrides = [("STORESYNC__SYNC__POLL_SECONDS".to_owned(), "1".to_owned())];
    let text = std::fs::read_to_string(&config).with_context(|| format!("read {}", config.display()))?;
    Ok(Config::parse(&text, overrides)?)
}

/// A part that ends, ends all.
async fn stopping<T>(
    part: impl Future<Output = anyhow::Result<T>>,
    parts: &CancellationToken,
) -> anyhow::Result<T> {
    let done = part.await;
    parts.cancel();
    done
}

async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    let usual = SocketAddr::from(([127, 0, 0, 1], port));
    match TcpListener::bind(usual).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("find a free port on 127.0.0.1"),
    }
}

struct Addresses {
    page: SocketAddr,
    api: SocketAddr,
    admin: SocketAddr,
    org: String,
    state: std::path::PathBuf,
}

impl Addresses {
    /// A link into the console, once the daemon has a token to make it of.
    async fn console_link(&self, shop: &Shop) -> String {
        while shop.status().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let token = admin_token::read(&self.state).ok();
        let link = token.and_then(|token| admin_token::link(&token, Clock::System.now()));
        format!("http://{}/login#{}", self.admin, link.unwrap_or_default())
    }

    fn print(&self, console: &str) {
        println!(
            "storesync demo: a local org, the daemon, and a storefront that reads its cache

  storefront   http://{page}/        products with prices; place an order
  HTTP API     http://{api}/v1/stores
  admin        http://{admin}/status
  the console  {console}
               (the link is good once, for five minutes)
  the org      {org}/services/data
  the cache    sqlite3 {cache} 'select name from product2'

A price changes every second and an order is placed every ten. Ctrl-C stops everything.",
            page = self.page,
            api = self.api,
            admin = self.admin,
            org = self.org,
            cache = self.state.join("cache.db").display(),
        );
    }
}
