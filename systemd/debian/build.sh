#!/bin/sh
# Builds the package: target/debian/storesync_*.deb. Needs cargo-deb (cargo install cargo-deb). With the argument
# "dev" the program is built without optimisation. A server needs no sandbox org: the package leaves it out.
set -eu
cd "$(dirname "$0")/../.."
profile=${1:-release}
if [ "$profile" = dev ]; then out=target/debug; else out=target/release; fi
cargo build --quiet --no-default-features --features age --profile "$profile"
mkdir -p target/assets/man target/assets/completions
"$out/storesync" man target/assets/man
for shell in bash zsh fish; do
    "$out/storesync" completions "$shell" >"target/assets/completions/storesync.$shell"
done
python3 systemd/debian/sbom.py >target/assets/sbom.cdx.json
cargo deb --quiet --no-build --profile "$profile"
