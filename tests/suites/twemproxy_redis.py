#!/usr/bin/env python3
"""Runs twemproxy's own Redis tests with nutcracker and with the proxy in its place.

The rule: a test passes with both, unless it is in DIFFERENT with its reason; then it passes with nutcracker, and
with the proxy it fails as said there. Each test has servers and a proxy of its own. Needs nutcracker,
redis-server, redis-tools, python3-venv, a built proxy and twemproxy's repository, and installs a Redis client:

    git clone https://github.com/twitter/twemproxy
    cargo build && tests/suites/twemproxy_redis.py twemproxy [--proxy PROGRAM] [TEST...]
"""

import argparse
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "target"

# Tests that fail with the proxy by design: why, and what the end of their output has then.
DIFFERENT = {
    "test_auth.test_nopass_on_proxy": (
        "the pool has no password and its servers want one: the error is NOAUTH as theirs, in the proxy's words",
        'assert "Authentication required" but got "the server wants another password than the proxy has"',
    ),
    "test_auth.test_badpass_on_proxy": (
        "the pool's password is not that of the servers: the error is NOAUTH as theirs, in the proxy's words",
        'assert "Authentication required" but got "the server wants another password than the proxy has"',
    ),
    "test_basic.test_msetnx": (
        "MSETNX is served, and needs keys of one server; its client stays connected",
        "but got \"CROSSSLOT Keys in request don't hash to the same server",
    ),
    "test_basic.test_ping_quit": (
        "QUIT is answered with OK, as by Redis, before the connection closes",
        "assert_fail Socket closed|Connection closed but nothing raise",
    ),
    "test_basic.test_signal": (
        "the log says what a signal did, not which it was, and says nothing of a SIGSEGV",
        "assert(strstr(log, 'TTIN'))",
    ),
    "test_mget_mset.test_multi_delete_on_readonly": (
        "the error of a server that refuses its part of a DEL is the server's own",
        'assert "Invalid argument" but got "You can\'t write against a read only replica."',
    ),
    "test_protocol.test_quit": (
        "QUIT is answered with OK, as by Redis, before the connection closes",
        "assert fail: b'' vs b'+OK\\r\\n'",
    ),
    "test_protocol.test_badreq": (
        "an empty line is no request, as with Redis; a wrong number of arguments is an error, and the client stays",
        "TimeoutError: timed out",
    ),
    "test_protocol.test_wrong_argc": (
        "a wrong number of arguments is an error, and the client stays",
        "vs b\"-ERR wrong number of arguments for 'get' command\\r\\n\"",
    ),
}  # fmt: skip

# The client in the version that the suite names, as later ones leave the first word of errors away; and modules
# that newer Pythons no longer bring.
PACKAGES = [
    "redis==3.5.3",
    "setuptools==80.9.0; python_version >= '3.12'",
    "standard-telnetlib==3.13.0; python_version >= '3.13'",
]

TEST_SECONDS = 60

# Of what a test printed: the place of the failure and the failure.
LAST_LINES = 4

PASSES, DIFFERS, WRONG = "pass with both", "differ by design", "are not as expected"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("--proxy", default=TARGET / "debug/nuthatch", type=pathlib.Path)
    parser.add_argument("tests", nargs="*", help="such as test_basic.test_setget")
    options = parser.parse_intermixed_args()
    sys.stdout.reconfigure(line_buffering=True)
    python, nutcracker = install(), shutil.which("nutcracker", path=f"{os.environ['PATH']}:/usr/sbin")
    tests = options.tests or find(options.checkout)
    if not nutcracker or not tests:
        sys.exit("nutcracker is not installed" if tests else f"{options.checkout} has no tests/test_redis")
    counts = collections.Counter()
    for test in tests:
        outputs = [run(python, options.checkout, proxy, test) for proxy in (nutcracker, options.proxy)]
        verdict, text = judge(test, *outputs)
        print(f"{test}: {text}")
        counts[verdict] += 1
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    sys.exit(1 if counts[WRONG] else 0)


def install():
    """A Python with the client library that the suite uses."""
    home = TARGET / "suites/twemproxy-python"
    python = home / "bin/python3"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
    return python


def find(checkout):
    files = sorted(checkout.glob("tests/test_redis/test_*.py"))
    return [f"{file.stem}.{test}" for file in files for test in re.findall(r"^def (test_\w+)", file.read_text(), re.M)]


def run(python, checkout, proxy, test):
    """None if the test passes, else what it printed."""
    module, function = test.split(".")
    with tempfile.TemporaryDirectory() as home:
        paths = [HERE / "twemproxy_test.py", checkout.resolve(), pathlib.Path(proxy).resolve(), home]
        with open(pathlib.Path(home, "output"), "w+b") as output:
            started = subprocess.Popen(
                [python, "-B", *paths, f"test_redis.{module}", function],
                cwd=home,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                failed = started.wait(TEST_SECONDS)
            except subprocess.TimeoutExpired:
                failed = f"the test did not end within {TEST_SECONDS} s"
            finally:
                # The servers of a test are in its process group.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(started.pid, signal.SIGKILL)
                started.wait()
            output.seek(0)
            text = output.read().decode(errors="replace")
        return f"{text}{failed}" if failed else None


def judge(test, with_nutcracker, with_proxy):
    """The verdict on a test, and what is to be said of the test."""
    why, failure = DIFFERENT.get(test, (None, None))
    if with_nutcracker is not None:
        return WRONG, f"fails with nutcracker\n{with_nutcracker}"
    if with_proxy is None:
        return (WRONG, "passes, though it is in DIFFERENT") if why else (PASSES, "passes")
    if why and failure in "\n".join(with_proxy.splitlines()[-LAST_LINES:]):
        return DIFFERS, f"differs: {why}"
    return WRONG, f"fails with the proxy\n{with_proxy}"


if __name__ == "__main__":
    main()
