#!/bin/sh
# Installs the package in a machine of its own and lives through what operators do with it: start, reload, restart,
# a stalled daemon, a wrong configuration, an upgrade, removal. Needs root, debootstrap, systemd-nspawn and cargo-deb;
# the machine is made once, in the directory given (target/machine).
set -eu
cd "$(dirname "$0")/../.."
machine=${1:-target/machine}
[ -d "$machine/usr" ] || debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates trixie "$machine"
sh systemd/debian/build.sh dev
cp target/debian/storesync_*.deb "$machine/root/storesync.deb"
cargo build --quiet --package storesync-sandbox
cp target/debug/storesync-sandbox "$machine/root/"
cp tests/package/inside.sh "$machine/root/inside.sh"
rm -f "$machine/root/result.log"
cat >"$machine/etc/systemd/system/inside.service" <<'UNIT'
[Service]
ExecStart=/bin/bash /root/inside.sh
StandardOutput=file:/root/result.log
StandardError=inherit
ExecStopPost=/bin/systemctl poweroff --no-block
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$machine/etc/systemd/system/multi-user.target.wants"
ln -sf ../inside.service "$machine/etc/systemd/system/multi-user.target.wants/inside.service"
# A mount namespace of its own: works inside containers too, where /run and the control groups are not systemd's.
timeout -s KILL 300 unshare --mount --pid --fork --kill-child --mount-proc sh -c '
    mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd /run/lock
    umount -R /sys/fs/cgroup 2>/dev/null || true
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/machine && echo $$ >/sys/fs/cgroup/machine/cgroup.procs
    exec systemd-nspawn -D "$1" --register=no --keep-unit -b --console=pipe
' sh "$machine" </dev/null >/dev/null 2>&1 || true
cat "$machine/root/result.log"
grep -q '^all held$' "$machine/root/result.log"
