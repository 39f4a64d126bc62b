//! The first load of an object: a Bulk API page to typed rows with their primary key.
//!
//! Against `sqlite3 .import` of the same file into the same table, each until its rows can be read by others; what
//! is tidied up after that, such as the log at the end of a process, is not part of it. Storesync writes more: the
//! page as the org sent it goes to the journal, packed. Target: 1.7 times the rate of `.import`.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use rusqlite::Connection;

use crate::door::{self, Door};
use crate::fixture::Fixture;
use crate::timing;

const RECORDS: u64 = 100_000;
const ROUNDS: usize = 5;

/// About what a page of the Bulk API holds as the daemon asks for it.
const ROWS_PER_PAGE: usize = 20_000;

pub fn run() {
    let mut fixture = Fixture::new(3, RECORDS);
    let table = door::table(&fixture);
    let csv = fixture.csv();
    let pages = pages(&csv);
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("rows.csv");
    std::fs::write(&file, &csv).expect("the rows");
    let version = Command::new("sqlite3").arg("--version").output();
    let version = version.expect("sqlite3 is installed: sh tests/setup.sh");
    println!(
        "{RECORDS} rows of {} columns, {} MB, medians of {ROUNDS} rounds; sqlite3 {}",
        table.columns.len(),
        csv.len() / 1_000_000,
        String::from_utf8_lossy(&version.stdout)
            .split_whitespace()
            .next()
            .unwrap_or_default()
    );
    let template = template(dir.path(), &fixture);

    let imported = RefCell::new(None);
    let loaded = RefCell::new(None);
    let rates = timing::medians(
        ROUNDS,
        RECORDS as usize,
        &mut [
            &mut || *imported.borrow_mut() = Some(import(&template, &dir.path().join("import.db"), &file)),
            // Not measured, as what follows the load.
            &mut || assert!(imported.take().is_some_and(Shell::end)),
            &mut || {
                let state = tempfile::tempdir().expect("a folder");
                let door = Door::open(state.path(), &table);
                door.load(&pages);
                *loaded.borrow_mut() = Some((door, state));
            },
            &mut || {
                let (door, state) = loaded.take().expect("a load");
                door.close();
                drop(state);
            },
        ],
    );
    timing::line("sqlite3 .import", rates[0], rates[0]);
    timing::line("storesync, first load (target 1.7x)", rates[2], rates[0]);
}

/// The same table, made by the same statement, empty.
fn template(dir: &Path, fixture: &Fixture) -> std::path::PathBuf {
    let state = tempfile::tempdir().expect("a folder");
    Door::open(state.path(), &door::table(fixture)).close();
    let loaded = Connection::open(state.path().join("cache.db")).expect("a cache");
    let sql: String = loaded
        .query_row(
            "select sql from sqlite_schema where name = 'product2'",
            [],
            |row| row.get(0),
        )
        .expect("the table");
    let path = dir.join("template.db");
    let connection = Connection::open(&path).expect("a database");
    connection
        .pragma_update(None, "journal_mode", "wal")
        .expect("a pragma");
    // The file has no system columns, and `.import` wants as many columns as it reads.
    let plain = sql.replace(
        "_rev integer not null, _modified text, _base integer not null, ",
        "",
    );
    assert_ne!(plain, sql, "the system columns are elsewhere");
    connection.execute_batch(&plain).expect("the table");
    path
}

/// A shell that has done what it was told, and waits.
struct Shell(Child);

impl Shell {
    fn end(mut self) -> bool {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends").success()
    }
}

fn import(template: &Path, path: &Path, csv: &Path) -> Shell {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::copy(template, path).expect("a copy");
    let mut shell = Command::new("sqlite3")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed: sh tests/setup.sh");
    let script = format!(
        ".import --csv --skip 1 '{}' product2\n.print done\n",
        csv.display()
    );
    let input = shell.stdin.as_mut().expect("its input");
    input.write_all(script.as_bytes()).expect("the command");
    let mut said = [0; 5];
    let output = shell.stdout.as_mut().expect("its output");
    output.read_exact(&mut said).expect("its answer");
    assert_eq!(&said, b"done\n");
    Shell(shell)
}

/// Cut as the org cuts them: each page has the header.
fn pages(csv: &str) -> Vec<Bytes> {
    let (header, rows) = csv.split_once('\n').expect("a header");
    let rows: Vec<&str> = rows.lines().collect();
    rows.chunks(ROWS_PER_PAGE)
        .map(|rows| format!("{header}\n{}\n", rows.join("\n")).into())
        .collect()
}
