//! Log lines for journald, by its own protocol: each value is a field that `journalctl` can select by.
//!
//! `journalctl STORESYNC_OBJECT=Product2` then shows what concerns an object, whatever the sentence says. One
//! datagram for a line; a line that does not fit into one is cut.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest value; all that is logged is far below, but for what an org answers.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Sends events to journald.
#[derive(Debug)]
pub struct Journald {
    socket: UnixDatagram,
}

impl Journald {
    /// Fails where nothing listens.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journald {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        let metadata = event.metadata();
        entry.put("PRIORITY", priority(*metadata.level()));
        entry.put("SYSLOG_IDENTIFIER", "storesync");
        entry.put("TARGET", metadata.target());
        event.record(&mut entry);
        // A log line that cannot be delivered has nowhere else to go.
        drop(self.socket.send(&entry.bytes));
    }
}

/// As syslog counts.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// Fields as journald reads them.
#[derive(Default)]
struct Entry {
    bytes: Vec<u8>,
}

impl Entry {
    fn put(&mut self, name: &str, value: &str) {
        let end = value.floor_char_boundary(VALUE_BYTES_MAX);
        let value = &value.as_bytes()[..end];
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            // Of several lines: its length in eight bytes, then as it is.
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }

    fn field(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.put("MESSAGE", value),
            name => {
                let plain = |c: char| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_uppercase()
                    } else {
                        '_'
                    }
                };
                let name: String = name.chars().map(plain).collect();
                self.put(&format!("STORESYNC_{name}"), value);
            }
        }
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.field(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn each_value_is_a_field() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(Journald::connect(&path).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(object = %"Product2", attempt = 3, "a\nb");
        });
        let mut buffer = [0; 1_024];
        let length = journal.recv(&mut buffer).unwrap();
        let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
        for line in [
            "PRIORITY=4\n",
            "STORESYNC_OBJECT=Product2\n",
            "STORESYNC_ATTEMPT=3\n",
            "MESSAGE\n\u{3}\0\0\0\0\0\0\0a\nb\n",
        ] {
            assert!(told.contains(line), "{line:?} in {told:?}");
        }
    }
}
