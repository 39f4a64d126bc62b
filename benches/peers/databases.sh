#!/bin/sh
# Installs the databases that the read bench is compared with, on a machine with Debian's package manager. They are
# run by the bench itself, on sockets of its own; the servers that the packages would start are left alone.
set -eu
root=""
[ "$(id -u)" = 0 ] || root="sudo"
$root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends redis-server postgresql
