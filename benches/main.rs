//! How fast, as ratios against something measured in turns with it in the same run.
//!
//! `cargo bench` runs all; `cargo bench -- decode`, `apply`, `load`, `stream`, `publish`, `orders`, `read` or `memory` one
//! of them.

mod apply;
mod decode;
mod door;
mod fixture;
mod http;
mod load;
mod memory;
mod orders;
mod peers;
mod publish;
mod read;
mod stream;
mod timing;

fn main() {
    // Cargo adds `--bench` of its own.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let benches: [(&str, fn()); 8] = [
        ("decode", decode::run),
        ("apply", apply::run),
        ("load", load::run),
        ("stream", stream::run),
        ("publish", publish::run),
        ("orders", orders::run),
        ("read", read::run),
        ("memory", memory::run),
    ];
    for (name, run) in benches {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n{name}");
            run();
        }
    }
}
