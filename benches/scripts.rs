//! What users have today: scripts on public clients, each a process of its own that says how fast it was.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `sh benches/peers/setup.sh` has put the clients; says how to get them where it has not.
pub fn installed() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
    if !folder.exists() {
        println!("not compared with Node and Python: sh benches/peers/setup.sh installs them");
        return None;
    }
    Some(folder)
}

/// A script of `benches/peers`.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/peers")
        .join(name)
}

/// Runs it to its end; the rate that it says on standard error.
pub fn rate(name: &str, command: &mut Command) -> f64 {
    let output = command.output().expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    said.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{name} gave no rate: {said}"))
}
