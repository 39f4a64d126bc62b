#!/bin/sh
# The console in headless Chromium: every page and every button, by mouse, by keyboard and on a phone's screen, light and
# dark, and what axe says of each. Screenshots go to target/console.
set -eu
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-../../target}
mkdir -p "$target/browser"
target=$(cd "$target" && pwd)
if ! cmp -s package-lock.json "$target/browser/package-lock.json" || [ ! -d "$target/browser/node_modules" ]; then
    cp package.json package-lock.json .npmrc "$target/browser/"
    (cd "$target/browser" && npm ci --ignore-scripts --silent)
fi
STORESYNC_BIN=${STORESYNC_BIN:-$target/debug/storesync}
export STORESYNC_BIN
cp ./*.mjs "$target/browser/"
exec node "$target/browser/console.mjs" "$target/console"
