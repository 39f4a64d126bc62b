//! How fast, as ratios against something measured in turns with it in the same run.
//!
//! `cargo bench` runs all; `cargo bench -- decode`, `apply`, `load`, `stream`, `distance`, `visible`, `campaign`,
//! `growth`, `publish`, `orders`, `read`, `restart` or `memory` one of them. `calls` counts instead: what keeping current
//! costs of an org's API allowance within a day, which takes long and is run by its name alone. So is `attacks`: what a
//! storefront notices of an attacker who does all that can be done at once.

mod apply;
mod attacks;
mod calls;
mod campaign;
mod decode;
mod distance;
mod door;
mod fixture;
mod growth;
mod http;
mod load;
mod memory;
mod orders;
mod peers;
mod products;
mod publish;
mod read;
mod relay;
mod restart;
mod scripts;
mod stream;
mod timing;
mod visible;
mod wire;
mod world;

/// That of the daemon.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Cargo adds `--bench` of its own.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let benches: [(&str, fn()); 16] = [
        ("decode", decode::run),
        ("apply", apply::run),
        ("load", load::run),
        ("stream", stream::run),
        ("distance", distance::run),
        ("visible", visible::run),
        ("campaign", campaign::run),
        ("growth", growth::run),
        ("publish", publish::run),
        ("orders", orders::run),
        ("read", read::run),
        ("restart", restart::run),
        ("memory", memory::run),
        ("calls", calls::run),
        ("attacks", attacks::run),
        // What `attacks` starts.
        ("attacker", attacks::attack),
    ];
    for (name, run) in benches {
        let is_of_all = wanted.is_empty() && !["calls", "attacks", "attacker"].contains(&name);
        if is_of_all || wanted.iter().any(|wanted| wanted == name) {
            println!("\n{name}");
            run();
        }
    }
}
