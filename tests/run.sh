#!/bin/sh
# Everything that must hold before a change lands: form, lints, documentation, tests, other people's clients, a browser.
set -eu
cd "$(dirname "$0")/.."
sh tests/setup.sh
cargo fmt --check
cargo clippy --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet
cargo test
sh tests/browser/run.sh
python3 tests/clients/run.py
exec python3 tests/storefronts/run.py
