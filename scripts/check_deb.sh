#!/usr/bin/env bash
# `make check-deb`: the Debian package in a clean root of Debian, from its installation to its purge. Needs root (chroot) and
# mmdebstrap. No systemd runs in there: that it starts the unit is not tried, only that the unit is valid and enabled.
#   scripts/check_deb.sh [BINARY]    by default target/release/chroma-edge, which is not built anew
set -euo pipefail
cd "$(dirname "$0")/.."
cache="$(cd "${CHROMA_EDGE_CACHE:-.cache}" && pwd)"
base="$cache/debian/root-bookworm.tar"
[ "$(id -u)" = 0 ] || { echo "check-deb: needs root, for chroot" >&2; exit 1; }

say() { printf 'check-deb: %s\n' "$*"; }
fail() { printf 'check-deb: NOT SO: %s\n' "$*" >&2; exit 1; }
# What must hold: words, and a command.
holds() { local what="$1"; shift; "$@" >/dev/null 2>&1 || fail "$what ($*)"; say "$what"; }
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
same() { [ "$1" = "$2" ]; }
absent() { [ ! -e "$1" ]; }

if [ ! -f "$base" ]; then
    say "a clean root of Debian 12 into $base (once, a minute)"
    mkdir -p "$cache/debian"
    mmdebstrap --quiet --format=tar --variant=minbase --include=ca-certificates,systemd bookworm "$base.new"
    mv "$base.new" "$base"
fi

work="$(mktemp -d)"
root="$work/root"
edge=
cleanup() { [ -z "$edge" ] || kill "$edge" 2>/dev/null || true; umount "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$work"; }
trap cleanup EXIT
mkdir "$root"
tar -xf "$base" -C "$root"
mount -t proc proc "$root/proc"

binary="${1:-target/release/chroma-edge}"
[ -x "$binary" ] || fail "$binary is there: run make deb"
for revision in 1 2; do
    cargo deb --quiet --fast --no-build --no-strip --deb-version "0.1.0-$revision" --output "$root/$revision.deb" >/dev/null
done

inside dpkg -i /1.deb >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "it installs with nothing but what Debian's base has"; }
say "it installs with nothing but what Debian's base has"
holds "its account is a system's, without a shell" inside sh -c \
    'getent passwd chroma-edge | grep -q ":/var/lib/chroma-edge:/usr/sbin/nologin$" && [ "$(id -u chroma-edge)" -lt 1000 ]'
rights() { inside stat -c '%U:%G %a' "$1"; }
holds "the data folder is that account's, and nobody else reads it" same "$(rights /var/lib/chroma-edge)" "chroma-edge:chroma-edge 750"
holds "the file of variables is root's alone" same "$(rights /etc/default/chroma-edge)" "root:root 600"
holds "both files are conffiles" same "$(inside dpkg-query -W -f '${Conffiles}' chroma-edge | awk 'NF { print $1 }' | sort | xargs)" \
    "/etc/chroma-edge/config.yaml /etc/default/chroma-edge"
holds "the service is enabled" test -L "$root/etc/systemd/system/multi-user.target.wants/chroma-edge.service"
holds "the socket is there, and not enabled" test -f "$root/usr/lib/systemd/system/chroma-edge.socket" -a \
    ! -e "$root/etc/systemd/system/sockets.target.wants/chroma-edge.socket"
for unit in service socket; do
    said="$(inside systemd-analyze verify "/usr/lib/systemd/system/chroma-edge.$unit" 2>&1)" || fail "the $unit: $said"
    holds "systemd-analyze verify says nothing of the $unit" same "$said" ""
done
holds "the configuration is accepted" inside chroma-edge check --conf /etc/chroma-edge/config.yaml

# As the unit starts it, but for the sandbox. Without any server it listens and says so.
serve() {
    # Another port than the file's, which may be in use on this machine.
    (cd / && exec chroot --userspec=chroma-edge:chroma-edge "$root" /usr/bin/env -i PATH=/usr/bin PORT="$port" \
        sh -c 'umask 027; cd /var/lib/chroma-edge && exec chroma-edge serve --conf /etc/chroma-edge/config.yaml') >"$work/edge.log" 2>&1 &
    edge=$!
}
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
serve
answers() { [[ "$(inside chroma-edge status --json --url "http://127.0.0.1:$port" 2>/dev/null || true)" == *'"version"'* ]]; }
deadline=$((SECONDS + 60))
until answers; do
    kill -0 "$edge" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ] || { cat "$work/edge.log" >&2; fail "it starts under its account"; }
    sleep 0.2
done
say "it starts under its account"
kill "$edge"
code=0; wait "$edge" || code=$?
edge=
holds "SIGTERM ends it with 0" same "$code" 0
holds "its journal is its account's alone" same "$(rights /var/lib/chroma-edge/journal.db)" "chroma-edge:chroma-edge 600"

echo '# an operator was here' >>"$root/etc/chroma-edge/config.yaml"
rm "$root/etc/default/chroma-edge"
chmod 0700 "$root/var/lib/chroma-edge"
inside dpkg --force-confold -i /2.deb >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "an upgrade succeeds"; }
holds "an upgrade takes place" same "$(inside dpkg-query -W -f '${Version}' chroma-edge)" "0.1.0-2"
holds "an upgrade keeps what an operator wrote" grep -q 'an operator was here' "$root/etc/chroma-edge/config.yaml"
holds "an upgrade does not bring back what an operator removed" absent "$root/etc/default/chroma-edge"
holds "an upgrade keeps narrower rights of the data folder" same "$(rights /var/lib/chroma-edge)" "chroma-edge:chroma-edge 700"

inside dpkg -r chroma-edge >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "it can be removed"; }
holds "once removed, the program is gone" absent "$root/usr/bin/chroma-edge"
holds "once removed, the configuration is kept" test -f "$root/etc/chroma-edge/config.yaml"
inside dpkg -P chroma-edge >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "it can be purged"; }
holds "once purged, the configuration is gone" absent "$root/etc/chroma-edge/config.yaml"
holds "once purged, the unit is not enabled any more" absent "$root/etc/systemd/system/multi-user.target.wants/chroma-edge.service"
holds "once purged, the journal is kept, and the purge says so" test -f "$root/var/lib/chroma-edge/journal.db" -a -n "$(grep 'is kept' "$work/log")"
inside dpkg -i /2.deb >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "it installs again"; }
holds "installed again, it opens the journal that was kept" inside sh -c 'cd /var/lib/chroma-edge && runuser -u chroma-edge -- test -w journal.db'
say "all of it holds"
