//! The code of the Pub/Sub interface that is checked in is what its file makes.

use std::fs;
use std::path::Path;

#[test]
fn the_code_is_what_the_interface_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = protox::compile(["pubsub_api.proto"], [&root]).unwrap();
    let out = tempfile::tempdir().unwrap();
    // Payloads as `Bytes` share the receive buffer instead of being copied out of it.
    tonic_prost_build::configure()
        .bytes(".eventbus.v1")
        .out_dir(out.path())
        .compile_fds(files)
        .unwrap();
    let made = fs::read_to_string(out.path().join("eventbus.v1.rs")).unwrap();
    let kept = root.join("src/eventbus_v1.rs");
    if std::env::var_os("STORESYNC_WRITE_PROTO").is_some() {
        fs::write(&kept, &made).unwrap();
    }
    assert!(
        made == fs::read_to_string(&kept).unwrap(),
        "proto/src/eventbus_v1.rs is not what pubsub_api.proto makes: write it with STORESYNC_WRITE_PROTO=1 cargo test --test it generated"
    );
}
