#!/bin/sh
# Installs what is missing, on a machine with Debian's package manager and Rust.
#   sh tests/setup.sh         what building and the demo need: a C compiler
#   sh tests/setup.sh tests   what the tests need besides: other people's clients, a browser
set -eu
missing=""
command -v cargo >/dev/null 2>&1 || {
    echo "setup: cargo is not on the PATH: install Rust 1.95 or newer first" >&2
    exit 1
}
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
if [ "${1:-}" = tests ]; then
    command -v age >/dev/null 2>&1 || missing="$missing age"
    command -v sqlite3 >/dev/null 2>&1 || missing="$missing sqlite3"
    command -v python3 >/dev/null 2>&1 || missing="$missing python3"
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$missing python3-venv"
    command -v node >/dev/null 2>&1 || missing="$missing nodejs"
    command -v npm >/dev/null 2>&1 || missing="$missing npm"
    command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
    command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
    command -v ruby >/dev/null 2>&1 && ruby -e 'require "sqlite3"' 2>/dev/null || missing="$missing ruby ruby-sqlite3"
    command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
elif [ ! -d "${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/demo" ]; then
    echo "setup: the first build takes about three minutes on two cores, besides downloading; later ones take seconds"
fi
if [ -z "$missing" ]; then
    echo "setup: everything that is needed is installed"
    exit 0
fi
root=""
[ "$(id -u)" = 0 ] || root="sudo"
echo "setup: installing$missing, which usually takes less than a minute"
$root apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends $missing
