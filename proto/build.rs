//! Compiles the Pub/Sub interface without protoc, so that a machine needs nothing but Rust and a C compiler.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/pubsub_api.proto");
    let files = protox::compile(["pubsub_api.proto"], ["proto"])?;
    // Payloads as `Bytes` share the receive buffer instead of being copied out of it.
    tonic_prost_build::configure()
        .bytes(".eventbus.v1")
        .compile_fds(files)?;
    Ok(())
}
