#!/bin/sh
# Installs the programs that the decode and stream benches are compared with, in target/peers. Needs node, npm and python3.
set -eu
cd "$(dirname "$0")/../.."
here=benches/peers
there=target/peers
mkdir -p "$there"
cp "$here/package.json" "$there/"
npm install --prefix "$there" --no-audit --no-fund --no-package-lock --ignore-scripts --silent
[ -x "$there/venv/bin/python" ] || python3 -m venv "$there/venv"
"$there/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
