#!/bin/sh
# Installs what the tests start: Debian packages, and the client libraries in a virtual
# environment under the target directory. Run by `make deps`.
set -eu
packages="memcached nutcracker libmemcached-tools python3-venv"
missing=$(for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
done)
if [ -n "$missing" ]; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    # shellcheck disable=SC2086 # both are lists of words
    $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $missing
fi
