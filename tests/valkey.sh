#!/bin/sh
# Runs a command with the path of a valkey-server as REDIS_SERVER: of the installed one, or of that of
# Debian's backports, unpacked into target/valkey. Does nothing where no package is to be had.
set -eu
cd "$(dirname "$0")/.."
if REDIS_SERVER=$(command -v valkey-server); then
    export REDIS_SERVER
    exec "$@"
fi
folder=$PWD/target/valkey
program=$folder/root/usr/bin/valkey-server
if [ ! -x "$program" ]; then
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    rm -rf "$folder" && mkdir -p "$folder/lists/partial"
    # Package lists of its own: the machine's sources stay as they are, and nobody needs to be root.
    echo "deb http://deb.debian.org/debian $release-backports main" > "$folder/sources.list"
    cat > "$folder/apt.conf" <<END
Dir::Etc::SourceList "$folder/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$folder/lists";
Dir::Cache::PkgCache "$folder/packages.bin";
Dir::Cache::SrcPkgCache "$folder/sources.bin";
END
    if ! (
        export APT_CONFIG="$folder/apt.conf"
        cd "$folder"
        apt-get -q update && apt-get -q download valkey-server valkey-tools
    ) > "$folder/log" 2>&1; then
        echo "no valkey-server: $folder/log says why" >&2
        exit 0
    fi
    for package in "$folder"/*.deb; do dpkg -x "$package" "$folder/root"; done
fi
"$program" --version
REDIS_SERVER=$program exec "$@"
