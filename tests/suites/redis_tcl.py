#!/usr/bin/env python3
"""Runs units of Redis's own test suite on a plain server and through a pool of one server.

The rule: a test that passes directly passes through the proxy, unless it is in REFUSED with its reason. The
suite is that of the installed redis-server. apt-get fetches its source with package lists of its own, so the
machine needs no deb-src lines and no root. Needs redis-server, tcl and a built proxy:

    cargo build && tests/suites/redis_tcl.py [--proxy PROGRAM] [UNIT...]
"""

import argparse
import collections
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "target"

UNITS = [
    "type/string", "type/incr", "type/list", "type/set", "type/zset", "type/hash", "type/stream",
    "type/stream-cgroups", "expire", "scripting", "multi", "pubsub", "keyspace", "scan", "sort",
    "bitops", "bitfield", "geo", "hyperloglog", "dump", "functions", "protocol", "quit",
]  # fmt: skip

# Tests that don't pass through the proxy by design, as the suite names them (a slash begins a pattern).
REFUSED = [
    # The proxy answers AUTH, with the password of the pool.
    "Script ACL check",
    # The proxy answers PING while the server runs a script, and a shared connection waits for the script.
    "/^Timedout ",
    "/script timeout$",
    "/^FUNCTION - test (function|script) kill",
    # DEBUG is refused, and the client library looks for what it replied on the wrong connection.
    "/^RESP3 attributes",
    # CLIENT REPLY is refused.
    "PubSub messages with CLIENT REPLY OFF",
    "/^Keyspace notifications: we (receive|can receive both)",
    # CLIENT UNBLOCK is refused.
    "client unblock tests",
    # REPLICAOF and SHUTDOWN are refused, with other errors inside MULTI.
    "MULTI / EXEC with REPLICAOF",
    "MULTI with SHUTDOWN",
    # PFDEBUG and PFSELFTEST are refused.
    "/^HyperLogLog (self test passes|sparse encoding stress test)$",
    "HyperLogLogs are promote from sparse to dense",
    "/^PFDEBUG ",
    # SYNC is refused, by which the suite looks at what a server tells its replicas.
    "/propagate",
    "/Lazy-expire should not be wrapped in MULTI",
]

# The suite's own words for tests that take long, and for tests that need a replica.
TAGS = "-slow -needs:repl"

UNIT_SECONDS = 300


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proxy", default=TARGET / "debug/nuthatch", type=pathlib.Path)
    parser.add_argument("units", nargs="*", default=UNITS)
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    suite = unpack(fetch())
    failures = 0
    for unit in options.units:
        direct = run(suite, unit, None)
        through = run(suite, unit, options.proxy.resolve())
        print(f"{unit}: {direct.total()} tests pass directly, {through.total()} through the proxy")
        for test in sorted((direct - through).elements()):
            print(f"  only directly: {test}")
        failures += (direct - through).total() + (not direct)
    sys.exit(1 if failures else 0)


def fetch():
    """The source archive of the installed redis-server."""
    query = ["dpkg-query", "-W", "-f=${source:Version} ${source:Upstream-Version}", "redis-server"]
    version, upstream = subprocess.check_output(query, text=True).split()
    home = TARGET / "suites"
    archive = home / f"redis_{upstream.split(':')[-1]}.orig.tar.gz"
    if archive.exists():
        return archive
    (home / "lists/partial").mkdir(parents=True, exist_ok=True)
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    release = codename()
    (home / "sources.list").write_text(
        f"deb-src [signed-by={key}] http://deb.debian.org/debian {release} main\n"
        f"deb-src [signed-by={key}] http://deb.debian.org/debian-security {release}-security main\n"
    )
    settings = {
        "Dir::Etc::SourceList": home / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": home / "lists",
        "Dir::Cache": home / "cache",
    }
    apt = ["apt-get", "-qq"] + [f"-o{name}={value}" for name, value in settings.items()]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "--download-only", "source", f"redis={version}"], check=True, cwd=home)
    return archive


def codename():
    lines = pathlib.Path("/etc/os-release").read_text().splitlines()
    return next(line.split("=")[1] for line in lines if line.startswith("VERSION_CODENAME="))


def unpack(archive):
    home = archive.parent / "suite"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", home, "--strip-components=1"], check=True)
    with open(home / "tests/support/redis.tcl", "a") as library:
        library.write("\n" + (HERE / "to_server.tcl").read_text())
    return home


def run(suite, unit, proxy):
    """The tests of a unit that pass: on a plain server, or through the proxy if there is one."""
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as ends:
        server, environment = free_port(), dict(os.environ)
        flags = ["--save", "", "--enable-debug-command", "yes", "--dir", home]
        ends.enter_context(running(["redis-server", "--port", str(server), *flags], home, server))
        port = server
        if proxy:
            port, environment["SERVER_PORT"] = free_port(), str(server)
            config = pathlib.Path(home, "nutcracker.yml")
            config.write_text(POOL.format(port=port, server=server))
            command = [proxy, "-c", config, "-s", str(free_port())]
            ends.enter_context(running(command, home, port))
        skipped = [word for test in REFUSED for word in ("--skiptest", test)]
        base = ["--host", "127.0.0.1", "--port", str(port), "--baseport", str(random.randrange(20_000, 30_000, 64))]
        flags = ["--singledb", "--durable", "--tags", TAGS, "--single", f"unit/{unit}", *skipped]
        return passed([suite / "runtest", *base, *flags], suite, environment, unit)


POOL = """pool:
  listen: 127.0.0.1:{port}
  redis: true
  allow_flush: true
  allow_keys: true
  servers:
   - 127.0.0.1:{server}:1 r1
"""


def passed(command, suite, environment, unit):
    """The tests that pass. What the suite says otherwise is printed."""
    suite_run = subprocess.Popen(
        command,
        cwd=suite,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = suite_run.communicate(timeout=UNIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(suite_run.pid, signal.SIGKILL)
        output, _ = suite_run.communicate()
        print(f"{unit}: the suite did not end within {UNIT_SECONDS} s")
    text = re.sub(r"\x1b\[[0-9;]*m", "", output.decode(errors="replace"))
    for failure in re.findall(r"^\[(?:err|exception)\].*(?:\n[^\[].*){0,3}", text, re.M):
        print("  " + failure.replace("\n", "\n    "))
    tests = collections.Counter(re.findall(r"^\[ok\]: (.*) \(\d+ ms\)$", text, re.M))
    if not tests:
        print(text)
    return tests


@contextlib.contextmanager
def running(command, home, port):
    """A program that listens on a port, until the block ends."""
    with open(pathlib.Path(home, f"log{port}"), "wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(port, started)
        yield
    finally:
        # A script that still runs keeps redis-server from ending by itself.
        started.kill()
        started.wait()


def wait_for(port, started):
    deadline = time.monotonic() + 10
    while started.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit(f"{started.args[0]} does not listen on port {port}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
