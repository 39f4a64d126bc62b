//! The same answer as the daemon's, made by a handler over Redis or PostgreSQL.
//!
//! Redis over a blocking connection of each thread, whose answer takes less than a turn of the runtime would;
//! PostgreSQL over a few connections that whoever waits hands on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::{Answered, Postgres, Redis, Session, get_here, row, select};

/// What a storefront's own service would answer: the row, with the headers that it needs.
pub fn answer(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

impl Redis {
    pub fn routes(&self) -> Router {
        let path: Arc<PathBuf> = Arc::new(self.path());
        let handler = move |Path(id): Path<String>| {
            let path = Arc::clone(&path);
            async move { answer(get_here(&path, &id)) }
        };
        Router::new().route("/v1/objects/Product2/{id}", get(handler))
    }
}

/// Connections that requests take and give back.
struct Pool {
    columns: Vec<Answered>,
    idle: Mutex<Vec<UnixStream>>,
    seats: Semaphore,
}

impl Postgres {
    /// On the runtime that is entered.
    pub fn routes(&self) -> Router {
        const CONNECTIONS: usize = 8;
        let mut columns = Vec::new();
        let idle = (0..CONNECTIONS).map(|_| {
            let mut session = Session::open(self);
            columns = session.prepare();
            let socket = session.socket.into_inner();
            socket.set_nonblocking(true).expect("it");
            UnixStream::from_std(socket).expect("a socket")
        });
        let idle = Mutex::new(idle.collect());
        let pool = Arc::new(Pool {
            columns,
            idle,
            seats: Semaphore::new(CONNECTIONS),
        });
        let handler = move |Path(id): Path<String>| {
            let pool = Arc::clone(&pool);
            async move { answer(pool.row(&id).await) }
        };
        Router::new().route("/v1/objects/Product2/{id}", get(handler))
    }
}

impl Pool {
    async fn row(&self, id: &str) -> Vec<u8> {
        let seat = self.seats.acquire().await.expect("open");
        let mut socket = self.idle.lock().expect("whole").pop().expect("one for each seat");
        socket.write_all(&select(id)).await.expect("sent");
        let mut read = Vec::with_capacity(4_096);
        let json = loop {
            socket.read_buf(&mut read).await.expect("an answer");
            if let Some(json) = self.complete(&read) {
                break json;
            }
        };
        self.idle.lock().expect("whole").push(socket);
        drop(seat);
        json
    }

    /// The row, once all of the answer is there.
    fn complete(&self, read: &[u8]) -> Option<Vec<u8>> {
        let mut rest = read;
        let mut found = None;
        loop {
            let length = rest.get(1..5)?;
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let (frame, after) = rest.split_at_checked(length + 1)?;
            match frame[0] {
                b'D' => found = Some(&frame[5..]),
                b'Z' => return Some(row(&self.columns, found.expect("a row"))),
                kind => assert_ne!(kind, b'E', "{}", String::from_utf8_lossy(frame)),
            }
            rest = after;
        }
    }
}
