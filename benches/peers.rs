//! The databases that reads are compared with: as processes on Unix sockets, their protocols spoken by hand.

pub mod handlers;

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use storesync::model::row::ColumnKind;
use storesync::store::storefront::json;

use crate::products::{PRODUCTS, columns, id, value};

/// A database that the same products are read from.
pub trait Peer {
    /// A connection: reads the nth product and gives the bytes it got.
    fn connect(&self) -> Box<dyn FnMut(usize) -> usize>;
}

/// A server that ends with the bench.
struct Server {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing it holds is wanted.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn connect(path: &Path) -> UnixStream {
    let began = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => return socket,
            Err(error) => assert!(
                began.elapsed() < Duration::from_secs(30),
                "{}: {error}",
                path.display()
            ),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub struct Redis(Server);

impl Redis {
    /// With every product's JSON as text; `None` where there is no Redis.
    pub fn start(json: impl Fn(usize) -> Vec<u8>) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(dir.path().join("redis.sock"))
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self(Server { child, dir });
        let mut socket = BufReader::new(connect(&redis.path()));
        for at in 0..PRODUCTS {
            let (key, json) = (id(at), json(at));
            let mut call = format!(
                "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n",
                key.len(),
                json.len()
            )
            .into_bytes();
            call.extend_from_slice(&json);
            call.extend_from_slice(b"\r\n");
            socket.get_mut().write_all(&call).expect("sent");
            let mut line = String::new();
            socket.read_line(&mut line).expect("an answer");
            assert_eq!(line, "+OK\r\n");
        }
        Some(redis)
    }

    fn path(&self) -> PathBuf {
        self.0.dir.path().join("redis.sock")
    }
}

impl Peer for Redis {
    fn connect(&self) -> Box<dyn FnMut(usize) -> usize> {
        let mut socket = BufReader::new(connect(&self.path()));
        Box::new(move |at| get(&mut socket, &id(at)).len())
    }
}

thread_local! {
    static CONNECTION: RefCell<Option<BufReader<UnixStream>>> = const { RefCell::new(None) };
}

/// A value from Redis, over this thread's own connection.
fn get_here(path: &Path, key: &str) -> Vec<u8> {
    CONNECTION.with_borrow_mut(|connection| {
        let socket = connection.get_or_insert_with(|| BufReader::new(connect(path)));
        get(socket, key)
    })
}

fn get(socket: &mut BufReader<UnixStream>, key: &str) -> Vec<u8> {
    let call = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
    socket.get_mut().write_all(call.as_bytes()).expect("sent");
    let mut line = String::with_capacity(16);
    socket.read_line(&mut line).expect("a length");
    let length: usize = line[1..].trim().parse().expect("a length");
    let mut value = vec![0; length + 2];
    socket.read_exact(&mut value).expect("a value");
    value.truncate(length);
    value
}

pub struct Postgres(Server);

impl Postgres {
    /// With the same rows; `None` where there is no PostgreSQL. It refuses to run as root, so it runs as `postgres`.
    pub fn start() -> Option<Self> {
        let newest = std::fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .flatten()
            .max_by_key(std::fs::DirEntry::file_name)?;
        let bin = newest.path().join("bin");
        let dir = tempfile::tempdir().expect("a folder");
        let owned = Command::new("chown")
            .arg("postgres")
            .arg(dir.path())
            .status()
            .ok()?;
        assert!(owned.success(), "the folder cannot be given to postgres");
        let as_postgres = |program: &str| {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"])
                .arg(bin.join(program));
            command
                .current_dir(dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let data = dir.path().join("data");
        let made = as_postgres("initdb")
            .args(["--auth", "trust", "--pgdata"])
            .arg(&data)
            .status()
            .ok()?;
        assert!(made.success(), "initdb failed");
        let mut command = as_postgres("postgres");
        command
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args(["-c", "listen_addresses="]);
        let child = command.spawn().ok()?;
        let postgres = Self(Server { child, dir });
        let mut session = Session::open(&postgres);
        let columns: Vec<String> = columns()
            .iter()
            .map(|column| format!("{} {}", column.name, postgres_type(column.kind)))
            .collect();
        let values: Vec<String> = (0..columns.len()).map(value).collect();
        session.simple(&format!(
            "create table product2 (id text primary key, {})",
            columns.join(", ")
        ));
        session.simple(&format!(
            "insert into product2 select '01t' || lpad(at::text, 12, '0') || 'AAA', {} from generate_series(0, {}) at",
            values.join(", "),
            PRODUCTS - 1
        ));
        session.simple("vacuum analyze product2");
        Some(postgres)
    }
}

/// The kinds of columns, in PostgreSQL.
fn postgres_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Real => "double precision",
        ColumnKind::Boolean => "smallint",
        _ => "text",
    }
}

impl Peer for Postgres {
    fn connect(&self) -> Box<dyn FnMut(usize) -> usize> {
        let mut session = Session::open(self);
        let columns = session.prepare();
        Box::new(move |at| {
            session
                .socket
                .get_mut()
                .write_all(&select(&id(at)))
                .expect("sent");
            let mut rows = Vec::new();
            session.ready(|kind, body| rows.extend((kind == b'D').then(|| row(&columns, body))));
            rows.pop().expect("a row").len()
        })
    }
}

/// A column of an answer.
struct Answered {
    name: String,
    is_text: bool,
}

/// The frames that ask for a row by a statement that is prepared.
fn select(id: &str) -> Vec<u8> {
    let length = u32::try_from(id.len()).expect("short").to_be_bytes();
    let bind = [b"\0get\0\0\0\0\x01".as_slice(), &length, id.as_bytes(), b"\0\0"].concat();
    [frame(b'B', &bind), frame(b'E', b"\0\0\0\0\0"), frame(b'S', b"")].concat()
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

/// A row's columns from the front of its frame, as JSON.
fn row(columns: &[Answered], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_536);
    let mut rest = &body[2..];
    let mut open = b'{';
    for column in columns {
        out.push(open);
        open = b',';
        json::string(&mut out, &column.name);
        out.push(b':');
        let length = i32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
        rest = &rest[4..];
        let Ok(length) = usize::try_from(length) else {
            out.extend_from_slice(b"null");
            continue;
        };
        let (value, after) = rest.split_at(length);
        rest = after;
        if column.is_text {
            json::string(&mut out, std::str::from_utf8(value).expect("UTF-8"));
        } else {
            out.extend_from_slice(value);
        }
    }
    out.push(b'}');
    out
}

/// One connection.
struct Session {
    socket: BufReader<UnixStream>,
}

impl Session {
    fn open(postgres: &Postgres) -> Self {
        let path = postgres.0.dir.path().join(".s.PGSQL.5432");
        let began = Instant::now();
        // It takes connections before it is ready for them.
        loop {
            let mut session = Self {
                socket: BufReader::new(connect(&path)),
            };
            let start = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
            let length = u32::try_from(start.len() + 4).expect("short").to_be_bytes();
            session
                .socket
                .get_mut()
                .write_all(&[&length, start.as_slice()].concat())
                .expect("sent");
            if session.ready(|_, _| ()).is_some() {
                return session;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "PostgreSQL is not ready"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let frame = frame(kind, body);
        self.socket.get_mut().write_all(&frame).expect("sent");
    }

    /// Hands on each frame up to the end of the answer; `None` for an error.
    fn ready(&mut self, mut each: impl FnMut(u8, &[u8])) -> Option<()> {
        let mut failed = false;
        let (mut head, mut body) = ([0; 5], Vec::new());
        loop {
            self.socket.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
            body.resize(length, 0);
            self.socket.read_exact(&mut body).ok()?;
            match head[0] {
                b'E' if body.starts_with(b"SFATAL") => return None,
                b'E' => failed = true,
                b'Z' => return (!failed).then_some(()),
                kind => each(kind, &body),
            }
        }
    }

    fn simple(&mut self, sql: &str) {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat());
        assert!(self.ready(|_, _| ()).is_some(), "{sql}");
    }

    fn prepare(&mut self) -> Vec<Answered> {
        self.send(b'P', b"get\0select * from product2 where id = $1\0\0\0");
        self.send(b'D', b"Sget\0");
        self.send(b'S', b"");
        let mut columns = Vec::new();
        let done = self.ready(|kind, body| {
            if kind == b'T' {
                columns = described(&body[2..]);
            }
        });
        assert!(done.is_some(), "prepare");
        columns
    }
}

/// Names and types, of which 25 is text; all values are asked for in their text form.
fn described(mut rest: &[u8]) -> Vec<Answered> {
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, after) = rest.split_at(end);
        let kind = u32::from_be_bytes([after[7], after[8], after[9], after[10]]);
        columns.push(Answered {
            name: String::from_utf8(name.to_vec()).expect("UTF-8"),
            is_text: kind == 25,
        });
        rest = &after[19..];
    }
    columns
}
