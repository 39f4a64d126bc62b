//! Any bytes at both listeners, over real sockets: an answer or a closed connection, never a panic, and never a 500.
//!
//! The first byte chooses where the rest goes: as it is, to storefronts or operators, or into one place of a request that is
//! whole otherwise, which then has an answer whatever it holds.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use storesync::config::{Config, ForwardedHeader, Orders, Profile};
use storesync::inbound::budget::Limits;
use storesync::model::clock::Clock;
use storesync::model::freshness::{Known, Truth};
use storesync::model::trouble::Hindrances;
use storesync::outbound::outbox::{self, Intake};
use storesync::serve::{self, Feed, Freshness, Health, Listener, Tokens};
use storesync::store::cache::Cache;
use storesync::store::reader::Reader;
use storesync::store::{outbox as kept, storefront};
use tokio::sync::watch;

/// `printf %s fuzz | sha256sum`, by which storefronts come in.
const TOKEN: &str = "fuzz";
const SHA256: &str = "93850b707585e404e4951a3ddc1f05a34b3d4f5fc081d616f46d8a2e8f1c8e68";
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES: usize = 64 * 1024;

const CACHE: &str = "
    insert into _object (object, table_name, state, streamed, rows) values ('Product2', 'product2', 'live', 1, 1);
    create table s_c__store__c (id text primary key, name text, s_c__code__c text, s_c__domain__c text,
        s_c__currency__c text, s_c__pricebook_id__c text, _rev integer);
    insert into s_c__store__c values ('a00000000000001AAA', 'Main', 'main', 'shop.example.com', 'AUD', '01s1', 1);
    create table product2 (id text primary key, name text, productcode text, s_c__slug__c text, isactive integer, _rev integer);
    insert into product2 values ('01t000000000001AAA', 'Mug', 'SKU-1', 'mug', 1, 10);
    create table pricebookentry (id text primary key, pricebook2id text, product2id text, unitprice real,
        isactive integer, currencyisocode text, s_c__sale_price__c real, _rev integer);
    insert into pricebookentry values ('01u1', '01s1', '01t000000000001AAA', 19.9, 1, 'AUD', null, 20);";

/// Both listeners, of a small shop.
pub struct Door {
    storefront: SocketAddr,
    admin: SocketAddr,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Door {
    pub fn open() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(dir.path()).expect("a cache");
        cache.begin_life().expect("a life");
        cache.connection().execute_batch(CACHE).expect("rows");
        storefront::prepare(cache.connection(), &[]).expect("views");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let world = world(dir.path());
        let bind = || -> (Listener, SocketAddr) {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = socket.local_addr().expect("an address");
            (Listener::new(socket, None).expect("a listener"), address)
        };
        let _entered = runtime.enter();
        let ((listener, storefront), (operators, admin)) = (bind(), bind());
        runtime.spawn(serve::run(listener, Arc::clone(&world)));
        thread::spawn(move || serve::run_admin(operators, &world));
        drop(_entered);
        Self {
            storefront,
            admin,
            runtime,
            _dir: dir,
        }
    }

    pub fn feed(&self, input: &[u8]) {
        let Some((choice, rest)) = input.split_first() else {
            return;
        };
        let (is_whole, address, request) = self.request(*choice, rest);
        let answer = self.ask(address, &request, is_whole).unwrap_or_default();
        assert!(
            !answer.starts_with(b"HTTP/1.1 500"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        let is_short = rest.len() < 8_000 && !rest.contains(&b'\n');
        assert!(
            !is_whole || !is_short || !answer.is_empty(),
            "no answer to {:?}",
            String::from_utf8_lossy(&request)
        );
    }

    /// A connection's bytes, where they go, and whether they are a whole request.
    fn request(&self, choice: u8, rest: &[u8]) -> (bool, SocketAddr, Vec<u8>) {
        let store = "/v1/stores/main";
        let shop = |before: &str, after: &str| {
            let end = format!(
                "{after}host: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
            );
            (
                true,
                self.storefront,
                [before.as_bytes(), rest, end.as_bytes()].concat(),
            )
        };
        let posted = |address: SocketAddr, head: &str| {
            let end = format!(
                "host: {address}\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                rest.len()
            );
            (true, address, [head.as_bytes(), end.as_bytes(), rest].concat())
        };
        let desk = |before: &str, after: &str| {
            let end = format!("{after}connection: close\r\n\r\n");
            (
                true,
                self.admin,
                [before.as_bytes(), rest, end.as_bytes()].concat(),
            )
        };
        let (host, json) = (
            format!("host: {}\r\n", self.admin),
            "content-type: application/json\r\n",
        );
        match choice % 17 {
            0 => (false, self.storefront, rest.to_vec()),
            1 => (false, self.admin, rest.to_vec()),
            2 => (
                false,
                self.storefront,
                [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", rest].concat(),
            ),
            3 => shop(&format!("GET {store}/products?"), " HTTP/1.1\r\n"),
            4 => shop("GET /v1/objects/Product2?", " HTTP/1.1\r\n"),
            5 => shop("GET /v1/changes?", " HTTP/1.1\r\n"),
            6 => shop("GET /v1/changes HTTP/1.1\r\nlast-event-id: ", "\r\n"),
            7 => shop("GET /v1/stores HTTP/1.1\r\nforwarded: ", "\r\n"),
            8 => shop("GET /", " HTTP/1.1\r\n"),
            9 => posted(
                self.storefront,
                &format!("POST {store}/orders HTTP/1.1\r\n{json}"),
            ),
            10 => posted(
                self.storefront,
                &format!("POST {store}/customers HTTP/1.1\r\n{json}idempotency-key: 1\r\n"),
            ),
            11 => posted(
                self.admin,
                &format!(
                    "POST /login HTTP/1.1\r\norigin: http://{}\r\ncontent-type: application/x-www-form-urlencoded\r\n",
                    self.admin
                ),
            ),
            12 => desk("GET /status HTTP/1.1\r\nhost: ", "\r\n"),
            13 => desk(&format!("GET /session HTTP/1.1\r\n{host}cookie: "), "\r\n"),
            14 => desk(
                &format!("POST /api/orders/retry HTTP/1.1\r\n{host}content-length: 0\r\ncontent-type: "),
                "\r\n",
            ),
            15 => desk("GET /api/orders?", &format!(" HTTP/1.1\r\n{host}")),
            _ => desk("GET /events?", &format!(" HTTP/1.1\r\n{host}")),
        }
    }

    /// Sends it, and takes what comes first; whoever asked goes away by a reset, so that no port is kept.
    fn ask(&self, address: SocketAddr, request: &[u8], is_whole: bool) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let sent = stream.write_all(request);
        if !is_whole {
            stream.shutdown(std::net::Shutdown::Write)?;
        }
        let mut answer = Vec::new();
        let mut part = [0; 4_096];
        loop {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(&part[..read]),
            }
            let has_head = answer.windows(4).any(|four| four == b"\r\n\r\n");
            if is_whole && has_head || answer.len() > ANSWER_BYTES {
                break;
            }
        }
        let _entered = self.runtime.enter();
        stream.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(stream)?.set_zero_linger()?;
        sent.map(|()| answer.clone()).or(Ok(answer))
    }
}

fn world(dir: &std::path::Path) -> serve::World {
    let text = format!(
        "org = {{ login_url = \"https://a\", auth = \"jwt\", client_id = \"c\" }}\nstate = {{ dir = \"s\" }}\n\
         [serve]\ntrusted_proxies = [\"127.0.0.0/8\"]\nforwarded_header = \"forwarded\"\n\
         tokens = [{{ name = \"web\", sha256 = \"{SHA256}\", customers = true, orders = true }}]"
    );
    let config = Config::parse(&text, []).expect("a configuration");
    assert_eq!(config.serve.forwarded_header, ForwardedHeader::Forwarded);
    let (outbox, writer) = kept::open(dir, 0).expect("an outbox");
    thread::spawn(move || writer.run());
    let (known, now) = (
        Known {
            complete: true,
            proved: Some(Clock::System.moment()),
            ..Known::default()
        },
        Clock::System.moment(),
    );
    let limits = Limits::new(&config.sync).freshness();
    let truth = Truth::new(
        [(&"Product2".to_owned(), &known)],
        &limits,
        &Hindrances::default(),
        now,
    );
    let health = Health {
        freshness: Freshness::new(truth),
        ..Health::default()
    };
    let orders = Orders::default();
    let judged = outbox::Known::open(dir, &orders, Profile::Standard);
    Arc::new(serve::Parts {
        reader: Reader::new(dir).within(serve::read_max()),
        intake: Intake::new(outbox, orders, judged, Profile::Standard, Clock::System),
        health: watch::channel(health).1,
        revisions: watch::channel(0).1,
        feed: Feed::default(),
        tokens: Tokens::new(&config, None, 0),
        account_history: false,
        life: Default::default(),
        reached: serve::Reached {
            serve: serve::Ways {
                hosts: Vec::new(),
                proxies: config.serve.proxies().expect("proxies"),
            },
            ..Default::default()
        },
        receiving: Default::default(),
        pools: serve::Pools::start().expect("threads"),
        heart: Default::default(),
        seen: Default::default(),
        clock: Clock::System,
        console: Default::default(),
        audit: Default::default(),
        dir: dir.into(),
        topics: Default::default(),
        stop: Default::default(),
    })
}
