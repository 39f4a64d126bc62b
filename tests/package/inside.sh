#!/bin/bash
# Run inside the machine by run.sh. Each step says what must hold; the first that does not ends it.
set -u
must() {
    if "${@:2}"; then echo "ok    $1"; else
        echo "FAIL  $1"
        journalctl -u storesync --no-pager | tail -30
        exit 1
    fi
}
show() { systemctl show storesync -p "$1" --value; }
is() { [ "$(show "$1")" = "$2" ]; }
answers() {
    exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /v1/stores HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3 &&
        head -1 <&3 | grep -q '200 OK'
}
until_holds() { for _ in $(seq 120); do "$@" && return 0; sleep 0.25; done; return 1; }
other_pid() { local now; now=$(show MainPID); [ "$now" != "$1" ] && [ "$now" != 0 ] && is ActiveState active; }
logged() { journalctl -u storesync --no-pager -o cat | grep -q "$1"; }

must "the package installs" dpkg -i --force-depends /root/storesync.deb
must "its user is there" id storesync
must "the credentials are root's" [ "$(stat -c '%U %a' /etc/storesync/credentials)" = "root 700" ]
must "there is a manual" test -s /usr/share/man/man1/storesync-check.1.gz
must "there is no sandbox org in it" [ "$(storesync sandbox 2>&1 | grep -c "built without the sandbox org")" = 1 ]
must "there is a bill of materials" test -s /usr/share/doc/storesync/sbom.cdx.json

rm -rf /root/org && mkdir /root/org
/root/storesync-sandbox --data /root/org --http 127.0.0.1:18443 --grpc 127.0.0.1:17443 --products 50 >/root/org/line 2>/dev/null &
org=$!
until_holds test -s /root/org/line
sed -e 's#^dir = .*#dir = "/var/lib/storesync"#' -e 's#^client_secret_file = .*#client_secret_file = "client_secret"#' \
    /root/org/config.toml >/etc/storesync/config.toml
cp /root/org/client_secret /etc/storesync/credentials/client_secret
mkdir -p /etc/systemd/system/storesync.service.d
printf '[Service]\nWatchdogSec=5\n' >/etc/systemd/system/storesync.service.d/quick.conf
systemctl daemon-reload

must "it starts" systemctl enable --now storesync.socket storesync.service
must "it is ready with a cache" is StatusText "live: $(journalctl -u storesync -o cat --no-pager | sed -n 's/^\([0-9]*\) objects are mirrored.*/\1/p' | tail -1) objects"
must "it says so by notify-reload" is Type notify-reload
must "storefronts are answered" answers
must "the cache is for the group, the orders for nobody else" \
    [ "$(stat -c %a /var/lib/storesync/cache.db /var/lib/storesync/outbox.db | tr '\n' ' ')" = "640 600 " ]
must "lines have fields" [ -n "$(journalctl -u storesync --no-pager -o cat STORESYNC_OBJECT=Product2)" ]

must "it reloads" systemctl reload storesync
must "a reload is told" logged 'reloaded: the secrets were read again'

(
    refused=0
    end=$(($(date +%s) + 5))
    while [ "$(date +%s)" -lt "$end" ]; do answers 2>/dev/null || refused=$((refused + 1)); done
    echo $refused >/root/refused
) &
asking=$!
sleep 1
must "it restarts" systemctl restart storesync
wait $asking
must "no request was refused meanwhile" [ "$(cat /root/refused)" = 0 ]

pid=$(show MainPID)
kill -STOP "$pid"
must "one that stands still is replaced" until_holds other_pid "$pid"
must "by the watchdog" logged 'Watchdog timeout'

cp /etc/storesync/config.toml /root/good.toml
echo 'nonsense = 1' >>/etc/storesync/config.toml
systemctl restart storesync
sleep 6
must "a wrong configuration is not tried again" is ActiveState failed
must "and ends with 78" is ExecMainStatus 78
cp /root/good.toml /etc/storesync/config.toml
systemctl reset-failed storesync
must "with the right one it starts" systemctl start storesync

pid=$(show MainPID)
must "an upgrade installs" dpkg -i --force-depends /root/storesync.deb
must "and starts the new program" until_holds other_pid "$pid"
must "which answers" answers
exposed() { systemd-analyze security --no-pager --threshold=12 storesync.service >/dev/null; }
must "the exposure is at most 1.2" exposed

must "it is removed" dpkg -r storesync
must "and stopped" [ "$(systemctl is-active storesync storesync.socket | tr '\n' ' ')" = "inactive inactive " ]
must "with its state left" test -s /var/lib/storesync/outbox.db
must "it is purged" dpkg -P storesync
# With the log beside it, where the last connection to close was one that reads.
must "with its orders left" test -s /var/lib/storesync/outbox.db
must "and nothing else" [ -z "$(ls /var/lib/storesync | grep -v '^outbox\.db')" ]
kill $org
echo "all held"
