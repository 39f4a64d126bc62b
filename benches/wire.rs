//! A client of HTTP that costs next to nothing: where client and server share the cores, asking must not be the work.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that stays.
pub struct Connection {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        socket.set_nodelay(true).expect("it");
        Self {
            socket,
            read: Vec::with_capacity(8_192),
        }
    }

    pub async fn get(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.call(&request, "200").await;
    }

    pub async fn post(&mut self, path: &str, json: &str, status: &str) {
        let bytes = json.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {bytes}\r\n\r\n{json}"
        );
        self.call(&request, status).await;
    }

    /// Sends the request and takes the whole of its answer, which must have this status.
    async fn call(&mut self, request: &str, status: &str) {
        self.socket.write_all(request.as_bytes()).await.expect("sent");
        self.read.clear();
        while !is_whole(&self.read, status) {
            assert_ne!(self.socket.read_buf(&mut self.read).await.expect("an answer"), 0);
        }
    }
}

/// Whether an answer is there with all of its body.
fn is_whole(read: &[u8], status: &str) -> bool {
    const LENGTH: &[u8] = b"content-length: ";
    let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    assert!(
        read[b"HTTP/1.1 ".len()..].starts_with(status.as_bytes()),
        "{}",
        String::from_utf8_lossy(read)
    );
    let at = read
        .windows(LENGTH.len())
        .position(|part| part == LENGTH)
        .expect("a length");
    let digits = read[at + LENGTH.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    read.len() >= head + 4 + length
}
