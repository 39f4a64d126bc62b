#!/bin/sh
# What must hold, in three layers; each step tells how long it took. The times are of two cores.
#   sh tests/run.sh quick   form, lints and unit tests: two minutes after a change
#   sh tests/run.sh         everything that must hold before a change lands: 10 minutes, 20 after a fresh clone
#   sh tests/run.sh long    by hand: the same faults and lives, many more of them; two hours
set -eu
cd "$(dirname "$0")/.."

step() {
    name=$1
    shift
    echo "== $name"
    began=$(date +%s)
    "$@"
    echo "== $name: $(($(date +%s) - began)) s"
}

# nextest knows which tests wait and which compute (.config/nextest.toml); without it cargo runs a few at a time.
tests() {
    if command -v cargo-nextest >/dev/null 2>&1; then
        cargo nextest run "$@"
    else
        RUST_TEST_THREADS=6 cargo test "$@"
    fi
}

form() {
    step form cargo fmt --all --check
    step lints cargo clippy --workspace --all-targets --quiet -- -D warnings
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
}

case "${1:-all}" in
quick)
    form
    step "unit tests" tests --workspace --lib
    ;;
all)
    step setup sh tests/setup.sh tests
    form
    step documentation documentation
    step "lints of the server package" cargo clippy --no-default-features --features age --quiet -- -D warnings
    step "lints without age" cargo clippy --no-default-features --quiet -- -D warnings
    step "building tests" cargo test --workspace --no-run --quiet
    step tests tests --workspace
    step "the console in a browser" sh tests/browser/run.sh
    step "other people's clients" python3 tests/clients/run.py
    step storefronts python3 tests/storefronts/run.py
    ;;
long)
    export STORESYNC_SEEDS="${STORESYNC_SEEDS:-1000}" STORESYNC_MATRIX=full STORESYNC_ORDERS=10000 \
        STORESYNC_PARTS=10000 STORESYNC_DAYS="${STORESYNC_DAYS:-4}"
    cargo test --test it simulate -- --nocapture
    cargo test --test it fault_matrix -- --nocapture
    cargo test --test it volume -- --nocapture
    cargo test --test it random_parts -- --nocapture
    cargo test --test it a_day_of_faults -- --nocapture
    ;;
*)
    echo "run: $1 is no layer: quick, long, or nothing for everything" >&2
    exit 64
    ;;
esac
