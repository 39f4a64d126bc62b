//! What storefronts and operators reach over HTTP: two listeners, one for each.
//!
//! Reads come from the cache: of a row on the thread that handles the request, of many in a pool. They go on while the org
//! is away; every answer says how fresh it is. Orders are answered once they are on the disk. Nothing here calls the org.
//!
//! Operators are served by a thread of their own, which does nothing else and reads nothing: it answers whatever storefronts
//! do, and says when the threads of all else stand still.

mod access;
mod admin;
mod admin_orders;
pub mod audit;
mod catalogue;
mod changes;
mod connection;
pub mod console;
mod cursor;
mod customers;
mod foreign;
mod freshness;
mod life;
mod listen;
mod metrics;
mod openapi;
mod operators;
mod orders;
mod partial;
mod persons;
mod pool;
mod problem;
mod query;
mod reply;
mod routes;
mod schemas;
mod settings;
mod writes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use crate::config::{Proxies, Side};
use crate::model::clock::{Clock, Millis};
use crate::model::freshness::Standing;
use crate::model::trouble::Hindrances;
use crate::outbound::outbox::Intake;
use crate::serve::console::Console;
use crate::serve::problem::Problem;
use crate::store::cache;
use crate::store::reader::Reader;
use crate::telemetry::pulse::Heart;

pub use access::Tokens;
pub use admin::Seen;
pub use audit::Audit;
pub use changes::Feed;
pub use connection::Receiving;
use connection::{BODY_BYTES_MAX, Served};
use foreign::Facing;
pub use freshness::Freshness;
use freshness::Subject;
pub use life::Known as KnownLife;
use listen::Door;
pub use listen::{CONNECTIONS_MAX, Listener, seats};
pub use pool::{Pools, read_max};

/// What operators are answered also where all places are taken.
const KEPT_PATHS: [&str; 3] = ["/livez", "/readyz", "/login"];
/// Longest time for one request.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// What every request is handed: one count, not one for each part.
pub type World = Arc<Parts>;

/// What the listeners work with.
pub struct Parts {
    pub reader: Reader,
    pub intake: Intake,
    pub health: watch::Receiver<Health>,
    /// Rung with the newest revision after each commit.
    pub revisions: watch::Receiver<i64>,
    pub feed: Feed,
    pub tokens: Tokens,
    pub clock: Clock,
    pub console: Arc<Console>,
    pub audit: Audit,
    /// The state directory.
    pub dir: Arc<Path>,
    /// The channels that are followed.
    pub topics: Arc<[String]>,
    /// Whether a contact sees what others of the account ordered, own or asked.
    pub account_history: bool,
    pub life: life::Known,
    pub reached: Reached,
    /// Where what takes its time is done.
    pub pools: Pools,
    /// Of the threads that serve storefronts.
    pub heart: Heart,
    /// What operators' probes are told of the files.
    pub seen: watch::Sender<Option<Seen>>,
    /// Bodies that are not complete, of both listeners.
    pub receiving: Arc<Receiving>,
    pub stop: CancellationToken,
}

/// How clients reach the listeners, as the configuration says.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    pub serve: Ways,
    pub admin: Ways,
}

/// How clients reach a listener.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// Names besides its address.
    pub hosts: Vec<String>,
    pub proxies: Proxies,
}

impl Parts {
    /// Whether an object of a subject has never been complete: what is not here may be on its way.
    fn is_initializing(&self, subject: Subject) -> bool {
        let health = self.health.borrow();
        health.freshness.is_initializing(subject, self.clock.moment())
    }

    /// What answers are refused with until a subject's objects have been complete.
    fn initializing(&self, subject: Subject) -> Problem {
        let health = self.health.borrow();
        Problem::initializing(health.freshness.progress(subject, self.clock.moment()))
    }

    /// The life of the cache, which positions and tags name.
    fn life(&self) -> anyhow::Result<life::Life> {
        self.life.get(|| self.reader.with(cache::life))
    }
}

/// How well the cache follows the org, as the daemon sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub freshness: Freshness,
    /// How long the stream's position can still be resumed from, of the channel that has least left; `None` before
    /// there is one.
    pub replay_window_left_millis: Option<Millis>,
    /// What only the running daemon knows of what stands in the way.
    pub hindrances: Hindrances,
}

impl Health {
    /// All objects together.
    pub fn standing(&self) -> &Standing {
        self.freshness.truth().all()
    }
}

/// Serves storefronts until it is stopped; requests under way are answered.
pub async fn run(listener: Listener, world: World) -> anyhow::Result<()> {
    let ways = world.reached.serve.clone();
    let facing = listener.facing("serve", ways.hosts, ways.proxies.sockets);
    let door = Door {
        listener,
        seats: listen::storefront_seats(),
        served: served(
            ("storefront", Side::Storefronts, &[]),
            storefront(world.clone()),
            (facing, ways.proxies),
            &world,
        ),
    };
    let (served, followed) = tokio::join!(listen::serve(door), changes::follow(world));
    served.and(followed)
}

/// Serves operators on this thread until it is stopped, and writes down what they read.
pub fn run_admin(listener: Listener, world: &World) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_operators(listener, world))
}

async fn serve_operators(listener: Listener, world: &World) -> anyhow::Result<()> {
    let ways = world.reached.admin.clone();
    // No proxy may hand strangers to a desk without tokens.
    let facing = listener.facing("admin", ways.hosts, false);
    let door = Door {
        listener,
        seats: listen::admin_seats(),
        served: served(
            ("admin", Side::Operators, &KEPT_PATHS),
            operators(world.clone()),
            (facing, ways.proxies),
            world,
        ),
    };
    // What is read up to the end is written down.
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    let serve = async {
        let served = listen::serve(door).await;
        drop(guard);
        served
    };
    // The sockets are open already: whoever asks before the first look waits for it.
    admin::look(world).await;
    let (served, (), ()) = tokio::join!(serve, audit::run(world, ended), admin::keep_looking(world));
    served
}

fn served(
    (listener, side, kept_paths): (&'static str, Side, &'static [&'static str]),
    router: Router,
    (facing, proxies): (Facing, Proxies),
    world: &World,
) -> Arc<Served> {
    let tokens = world.tokens.clone();
    let is_open = move || !tokens.are_configured(side);
    Arc::new(Served {
        router,
        facing,
        is_open: Box::new(is_open),
        proxies,
        receiving: Arc::clone(&world.receiving),
        listener,
        kept_paths,
        stop: world.stop.clone(),
    })
}

/// The storefronts' routes.
pub fn storefront(world: World) -> Router {
    let table = routes::router(routes::storefront(), &world, "storefront");
    limited(Router::new(), "storefront").merge(table.with_state(world))
}

/// The operators' routes.
pub fn operators(world: World) -> Router {
    let table = routes::router(routes::operators(), &world, "admin");
    let console = console::routes(&world).with_state(world.clone());
    limited(console, "admin").merge(table.with_state(world))
}

/// Pages, and addresses with nothing at them: counted and bounded as those of the tables are by their gates.
fn limited(pages: Router, listener: &'static str) -> Router {
    pages
        .fallback(|| async { Problem::not_found("there is nothing at this address") })
        .method_not_allowed_fallback(|| async { problem::wrong_method() })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_MAX,
        ))
        .layer(axum::middleware::from_fn(move |request, next| {
            metrics::count(listener, request, next)
        }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;
    use crate::outbound::outbox::Known;

    use crate::model::clock::Moment;
    use crate::model::freshness::{self, Limits, Truth};
    use crate::model::schedule::Intervals;
    use crate::model::state::WriteState;
    use crate::store::cache::Cache;
    use crate::store::outbox::{self, Outbox};
    use crate::store::storefront as views;
    use reqwest::Client;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    pub(super) const CACHE: &str = "
        insert into _object (object, table_name, state, streamed, rows) values ('Product2', 'product2', 'live', 1, 4);
        create table s_c__store__c (id text primary key, name text, s_c__code__c text, s_c__domain__c text,
            s_c__currency__c text, s_c__pricebook_id__c text, _rev integer);
        insert into s_c__store__c values ('a00000000000001AAA', 'Main', 'main', 'shop.example.com', 'AUD', '01s1', 1),
            ('a00000000000002AAA', 'Bare', 'bare', null, 'AUD', null, 2);
        create table s_c__taxonomy__c (id text primary key, name text, s_c__store_id__c text, s_c__position__c real);
        insert into s_c__taxonomy__c values ('t2', 'Later', 'a00000000000001AAA', null), ('t1', 'First', 'a00000000000001AAA', 1);
        create table s_c__product_category__c (id text primary key, s_c__taxonomy_id__c text);
        insert into s_c__product_category__c values ('c1', 't1'), ('c2', 't2');
        create table product2 (id text primary key, name text, productcode text, s_c__slug__c text, isactive integer, _rev integer);
        insert into product2 values ('01t000000000001AAA', 'Mug', 'SKU-1', 'mug', 1, 10),
            ('01t000000000002AAA', 'Mug, red', 'SKU-2', null, 1, 11), ('01t000000000003AAA', 'Gone', 'SKU-3', null, 0, 12),
            ('01t000000000004AAA', 'Elsewhere', 'SKU-4', null, 1, 13), ('01t000000000005AAA', 'Bag', 'SKU-5', null, 1, 14);
        create table s_c__products_product_categories__c (id text primary key, s_c__product_id__c text,
            s_c__category_id__c text, s_c__active__c integer);
        insert into s_c__products_product_categories__c values ('l1', '01t000000000001AAA', 'c1', 1),
            ('l3', '01t000000000003AAA', 'c1', 1), ('l4', '01t000000000004AAA', 'c2', 1), ('l5', '01t000000000005AAA', 'c1', 1);
        create table s_c__product_variant__c (id text primary key, s_c__master_product_id__c text, s_c__variant_product_id__c text);
        insert into s_c__product_variant__c values ('v1', '01t000000000001AAA', '01t000000000002AAA');
        create table pricebookentry (id text primary key, pricebook2id text, product2id text, unitprice real,
            isactive integer, currencyisocode text, s_c__sale_price__c real, _rev integer);
        insert into pricebookentry values ('01u1', '01s1', '01t000000000001AAA', 19.9, 1, 'AUD', null, 20),
            ('01u2', '01s1', '01t000000000002AAA', 25.0, 1, 'AUD', 20.0, 21), ('01u3', '01s1', '01t000000000001AAA', 15.0, 1, 'USD', null, 22),
            ('01u5', '01s1', '01t000000000005AAA', 9.0, 0, 'AUD', null, 23);";

    pub(super) struct Shop {
        dir: tempfile::TempDir,
        pub address: String,
        pub client: Client,
        pub stop: CancellationToken,
        pub health: watch::Sender<Health>,
        outbox: Outbox,
        world: World,
    }

    /// One object, proved then.
    fn health(proved: Option<Moment>, complete: bool) -> Health {
        let known = freshness::Known {
            complete,
            proved,
            ..freshness::Known::default()
        };
        let now = Clock::System.moment();
        let limits = Limits {
            polls: Intervals::even(60_000),
            stale_after_millis: None,
        };
        Health {
            freshness: Freshness::new(Truth::new(
                [(&"Product2".to_owned(), &known)],
                &limits,
                &Hindrances::default(),
                now,
            )),
            ..Health::default()
        }
    }

    /// What listeners work with, in a folder with a cache and an outbox.
    pub(super) fn world(
        dir: &Path,
        outbox: Outbox,
        health: watch::Receiver<Health>,
        revisions: watch::Receiver<i64>,
    ) -> World {
        Arc::new(Parts {
            reader: Reader::new(dir).within(read_max()),
            intake: Intake::new(
                outbox,
                crate::config::Orders::default(),
                Known::open(dir, &crate::config::Orders::default(), Profile::Standard),
                Profile::Standard,
                Clock::System,
            ),
            health,
            revisions,
            feed: Feed::default(),
            tokens: Tokens::default(),
            clock: Clock::System,
            console: Arc::default(),
            audit: Audit::default(),
            dir: dir.into(),
            topics: Arc::new([]),
            account_history: false,
            life: life::Known::default(),
            reached: Reached::default(),
            receiving: Arc::default(),
            pools: Pools::start().unwrap(),
            heart: Heart::default(),
            seen: watch::Sender::default(),
            stop: CancellationToken::new(),
        })
    }

    impl Shop {
        pub async fn open(cache: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let writer = Cache::open(dir.path()).unwrap();
            writer.begin_life().unwrap();
            writer.connection().execute_batch(cache).unwrap();
            views::prepare(writer.connection(), &[]).unwrap();
            let (outbox, writer) = outbox::open(dir.path(), 0).unwrap();
            std::thread::spawn(move || writer.run());
            let (health, seen) = watch::channel(health(Some(Clock::System.moment()), true));
            let world = world(dir.path(), outbox.clone(), seen, watch::channel(0).1);
            let stop = world.stop.clone();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let router =
                storefront(world.clone()).merge(Router::new().nest("/admin", operators(world.clone())));
            let listener = Listener::try_from(listener).unwrap();
            admin::look(&world).await;
            let facing = listener.facing("serve", Vec::new(), false);
            tokio::task::spawn(listen::serve(Door {
                listener,
                seats: listen::storefront_seats(),
                served: served(
                    ("storefront", Side::Storefronts, &[]),
                    router,
                    (facing, Proxies::default()),
                    &world,
                ),
            }));
            Self {
                dir,
                address,
                client: Client::new(),
                stop,
                health,
                outbox,
                world,
            }
        }

        async fn get(&self, path: &str) -> (u16, Value) {
            let response = self
                .client
                .get(format!("{}{path}", self.address))
                .send()
                .await
                .unwrap();
            (response.status().as_u16(), response.json().await.unwrap())
        }

        async fn post(&self, order: &Value) -> (u16, Value) {
            let url = format!("{}/v1/stores/main/orders", self.address);
            let response = self.client.post(url).json(order).send().await.unwrap();
            (response.status().as_u16(), response.json().await.unwrap())
        }
    }

    fn order(key: &str) -> Value {
        json!({"external_id": key, "customer": {"email": "ana@example.com"},
            "items": [{"product_code": "SKU-2", "quantity": 2}, {"product_id": "01t000000000001AAA", "quantity": 1, "unit_price": "1.50"}]})
    }

    #[tokio::test]
    async fn a_store_shows_its_products_with_its_prices() {
        let shop = Shop::open(CACHE).await;
        for key in ["a00000000000001AAA", "main", "Shop.example.com"] {
            assert_eq!(
                shop.get(&format!("/v1/stores/{key}")).await.1["name"],
                "Main",
                "{key}"
            );
        }
        assert_eq!(
            shop.get("/v1/stores").await.1["items"].as_array().unwrap().len(),
            2
        );
        let (_, page) = shop.get("/v1/stores/main/products?limit=2").await;
        assert_eq!(
            page["items"][0]["price"],
            json!({"amount": "19.90", "currency": "AUD"})
        );
        assert_eq!(page["items"][1]["name"], "Mug, red");
        assert_eq!(page["items"][1]["price"]["amount"], "20.00");
        let next = page["next"].as_str().unwrap();
        let (_, page) = shop.get(&format!("/v1/stores/main/products?cursor={next}")).await;
        assert_eq!(page["items"][0]["id"], "01t000000000005AAA");
        assert_eq!(
            (&page["items"][0]["price"], &page["next"]),
            (&Value::Null, &Value::Null)
        );
        for (key, status) in [
            ("mug", 200),
            ("SKU-2", 200),
            ("SKU-3", 404),
            ("SKU-4", 404),
            ("01t000000000001AAA", 200),
        ] {
            assert_eq!(
                shop.get(&format!("/v1/stores/main/products/{key}")).await.0,
                status,
                "{key}"
            );
        }
        assert_eq!(shop.get("/v1/stores/nowhere/products").await.0, 404);
        assert_eq!(shop.get("/v1/stores/main/products?limit=0").await.0, 400);
        shop.stop.cancel();
    }

    #[tokio::test]
    async fn rows_are_tagged_and_say_how_fresh_they_are() {
        let shop = Shop::open(CACHE).await;
        let url = format!("{}/v1/objects/Product2/01t000000000001AAA", shop.address);
        let response = shop.client.get(&url).send().await.unwrap();
        let life = shop.world.life().unwrap();
        let own = format!("\"{life}-10\"");
        assert_eq!(response.headers()["etag"], own.as_str());
        assert_eq!(response.headers()["cache-control"], "no-cache");
        assert_eq!(response.headers()["storesync-state"], "live");
        let again = shop
            .client
            .get(&url)
            .header("if-none-match", &own)
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), 304);
        shop.health.send_replace(health(Some(Moment::default()), true));
        let stale = shop.client.get(&url).send().await.unwrap();
        assert_eq!(stale.headers()["storesync-state"], "stale");
        assert!(stale.headers().contains_key("storesync-lag-seconds"));
        assert_eq!(
            shop.get("/v1/objects/product2?productcode=SKU-4").await.1["items"][0]["name"],
            "Elsewhere"
        );
        assert_eq!(shop.get("/v1/objects/product2?nope=1").await.0, 400);
        assert_eq!(shop.get("/v1/objects/nope").await.0, 404);
        let url = format!("{}/v1/stores/main/products/mug", shop.address);
        let tag = shop.client.get(&url).send().await.unwrap().headers()["etag"].clone();
        let again = shop
            .client
            .get(&url)
            .header("if-none-match", tag)
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), 304);
    }

    #[tokio::test]
    async fn an_order_is_accepted_once() {
        let shop = Shop::open(CACHE).await;
        let (status, first) = shop.post(&order("WEB-1")).await;
        assert_eq!((status, &first["state"]), (202, &json!("queued")));
        let reopened = rusqlite::Connection::open(shop.dir.path().join("outbox.db")).unwrap();
        let body: String = reopened
            .query_row("select body from bodies", [], |row| row.get(0))
            .unwrap();
        let lines = serde_json::from_str::<Value>(&body).unwrap()["lines"].clone();
        assert_eq!(
            (&lines[0]["pricebook_entry_id"], &lines[0]["unit_price"]),
            (&json!("01u2"), &json!("20"))
        );
        assert_eq!(
            (&lines[1]["pricebook_entry_id"], &lines[1]["unit_price"]),
            (&json!("01u1"), &json!("1.5"))
        );
        let cache = rusqlite::Connection::open(shop.dir.path().join("cache.db")).unwrap();
        cache
            .execute("update pricebookentry set isactive = 0", [])
            .unwrap();
        assert_eq!(
            shop.post(&order("WEB-1")).await,
            (202, first),
            "a replay needs no price"
        );
        let mut other = order("WEB-1");
        other["items"][0]["quantity"] = json!(3);
        assert_eq!(shop.post(&other).await.0, 409);
        assert_eq!(shop.outbox.counts().unwrap(), [(WriteState::Queued, 1)]);
        let (_, pulse) = shop.get("/admin/console/pulse").await;
        assert_eq!(pulse["outbox"], 1, "the console's chart shows it: {pulse}");
        let (_, told) = shop.get("/v1/stores/main/orders/WEB-1").await;
        assert_eq!(
            (&told["state"], &told["attempts"], &told["error"]),
            (&json!("queued"), &json!(0), &Value::Null)
        );
        assert_eq!(shop.get("/v1/stores/bare/orders/WEB-1").await.0, 404);
    }

    #[tokio::test]
    async fn an_order_that_is_wrong_leaves_no_trace() {
        let shop = Shop::open(CACHE).await;
        for (pointer, value, status, field) in [
            (
                "/items/0/product_code",
                json!("SKU-9"),
                422,
                "items[0].product_code",
            ),
            ("/items/0/product_code", json!("SKU-5"), 422, "items[0]"),
            ("/items/0/quantity", json!(0), 422, "items[0].quantity"),
            (
                "/customer/email",
                json!("4111 1111 1111 1111"),
                422,
                "customer.email",
            ),
            ("/external_id", json!("a\nb"), 422, "external_id"),
        ] {
            let mut wrong = order("WEB-2");
            *wrong.pointer_mut(pointer).unwrap() = value;
            let (got, problem) = shop.post(&wrong).await;
            assert_eq!((got, problem["field"].as_str()), (status, Some(field)));
            assert_eq!(
                (&problem["status"], problem["title"].is_string()),
                (&json!(status), true)
            );
        }
        let url = format!("{}/v1/stores/main/orders", shop.address);
        let huge = shop
            .client
            .post(&url)
            .header("content-type", "application/json")
            .body(vec![b' '; BODY_BYTES_MAX + 1])
            .send()
            .await
            .unwrap();
        assert_eq!(huge.status(), 413);
        assert_eq!(huge.headers()["content-type"], "application/problem+json");
        assert!(shop.outbox.counts().unwrap().is_empty());
    }

    #[tokio::test]
    async fn without_stores_it_says_so_and_operators_see_why() {
        let shop = Shop::open("create table product2 (id text)").await;
        let (status, problem) = shop.get("/v1/stores/main/products").await;
        assert_eq!(status, 404);
        assert!(problem["detail"].as_str().unwrap().contains("StoreConnect"));
        assert_eq!(shop.get("/admin/readyz").await.0, 200);
        shop.health.send_replace(health(None, false));
        assert_eq!(shop.get("/v1/stores/main/products").await.0, 503);
        let (status, ready) = shop.get("/admin/readyz").await;
        assert_eq!(
            (status, &ready["orders"]["ready"], &ready["reads"]["ready"]),
            (503, &json!(false), &json!(false))
        );
        assert_eq!(shop.get("/admin/livez").await.0, 200);
    }
}
