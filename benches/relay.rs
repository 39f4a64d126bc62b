//! A network between client and server: what is sent arrives later, as much of it as there is.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// More than is ever under way in the time of the delay.
const PIECE_BYTES: usize = 64 << 10;

/// Listens for connections to `server`, each way as long as `delay`; gives the address to connect to.
pub fn start(server: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("a connection");
            let server = TcpStream::connect(server).expect("the server listens");
            for (from, to) in [(&client, &server), (&server, &client)] {
                to.set_nodelay(true).expect("it");
                let from = from.try_clone().expect("a handle");
                let to = to.try_clone().expect("a handle");
                one_way(from, to, delay);
            }
        }
    });
    address
}

/// One thread takes what comes and notes when, another hands it on when its time has come.
fn one_way(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(bytes @ 1..) = from.read(&mut piece) {
            let sent = (Instant::now() + delay, piece[..bytes].to_vec());
            if under_way.send(sent).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in arriving {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                return;
            }
        }
        // The other side has closed, or has gone: either way there is no more to come.
        let _closed = to.shutdown(Shutdown::Write);
    });
}
