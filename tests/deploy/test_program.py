"""What the charts tell the program, the program understands. It is the real one: $NUTHATCH."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from exposition import ask, free_port, running
from objects import environment, files, of_kind, proxies, settings
from rendering import CASES, Refused, render, render_case
from test_values import SCHEMA
from tools import NO_DNS, ROOT

# Those of docs/config.md, which the program's own tests compare with the program. Signals are none.
VARIABLES = set(re.findall(r"^\| `(?!SIG)([A-Z_]+)` \|", (ROOT / "docs/config.md").read_text(), re.M))
# What has no value of its own in the chart: the look-ups of names, as a pod's resolver has them, and what
# a file of one's own, `config`, may say.
ONLY_IN_CONFIG = {
    "RESOLV_CONF", "DNS_TTL_MIN", "DNS_TTL_MAX", "DISCOVERY_WAIT", "DISCOVERED_MAX", "DISCOVERY_HOLD",
}
# The variables that are no directives of a pool.
OF_THE_PROCESS = {"ADMIN_LISTEN", "LOG_FORMAT", "LOG_LEVEL", "WORKERS"}
# Those of proxy.extraEnv in the cases.
FURTHER = {"NODE", "TZ"}
# Directives that have other variables: `listen` has three.
OF_LISTEN = {"LISTEN_HOST", "LISTEN_PORT", "LISTEN_SOCKET"}

# Directives that have no variable.
ONLY_IN_FILES = {"SERVER_FAILURE_RATE", "SERVER_PROBES", "SERVER_PROBE_TIMEOUT", "SERVER_SLOW_START", "MAX_MOVE"}
# The password of Redis is in a file; with it, the ConfigMap would tell it.
PASSWORD = {"REDIS_AUTH"}
# Where the charts mount the password.
PASSWORD_FILE = "/run/secrets/nuthatch/redis-password"


@pytest.fixture
def check(nuthatch, tmp_path):
    """Lets the program check the configuration of a container, as in that container."""

    def run(container: dict, text: str) -> str:
        path, password = tmp_path / "nutcracker.yml", tmp_path / "redis-password"
        password.write_text("secret\n")
        path.write_text(text.replace(PASSWORD_FILE, str(password)))
        # The ports and sockets of a pod are not to be had here; tests/e2e opens them.
        arguments = [
            word.replace("/etc/nuthatch/nutcracker.yml", str(path))
            for word in container["args"]
            if word not in ("--test-conf", "--bind")
        ]
        result = subprocess.run(
            [nuthatch, *arguments, "--test-conf"],
            env={**environment(container), **NO_DNS},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=10,
        )
        assert result.returncode == 0, result.stderr
        return result.stderr

    return run


@pytest.mark.parametrize(("chart", "values"), CASES)
def test_the_program_accepts_what_each_container_is_told(chart, values, check):
    for _, container, text in files(render_case(chart, values)):
        check(container, text)


# 2.7 MiB; 4.2 MiB without the order of the functions in crates/nuthatch/order.ld, which `make order` writes.
RESIDENT_KIB = 3200


def test_little_of_the_program_is_resident(nuthatch, tmp_path):
    port, stats = free_port(), free_port()
    variables = {"SERVERS": "127.0.0.1:1:1 one,127.0.0.1:2:1 two", "LISTEN_PORT": str(port)}
    with running([nuthatch, f"--stats-port={stats}"], variables, tmp_path) as proxy:
        ask("127.0.0.1", port, b"version\r\n")
        rollup = Path(f"/proc/{proxy.pid}/smaps_rollup").read_text()
    (resident,) = re.findall(r"^Rss: +(\d+) kB", rollup, re.M)
    assert int(resident) < RESIDENT_KIB


@pytest.mark.parametrize("values", ["default", "redis", "redis-outside"])
def test_the_defaults_have_no_traps(values, check):
    for _, container, text in files(render_case("cache-api", values)):
        assert check(container, text).endswith("syntax is ok\n")


def test_each_setting_is_where_the_program_looks_for_it():
    told, written = set(), set()
    for chart, values in CASES:
        for _, container in proxies(render_case(chart, values)):
            told |= environment(container).keys()
        for _, pool in settings(render_case(chart, values)):
            written |= {directive.upper() for directive in directives(pool)}
    assert told - FURTHER == OF_THE_PROCESS
    assert written == VARIABLES - OF_THE_PROCESS - OF_LISTEN - PASSWORD - ONLY_IN_CONFIG | ONLY_IN_FILES | {"LISTEN"}


@pytest.mark.parametrize("megabytes", [64, 100])
@pytest.mark.parametrize("size", ["1k", "512k", "1023k", "1m", "1500k", "1536k", "32m", "33m", "50m", "51m"])
def test_the_chart_refuses_the_sizes_of_items_that_memcached_refuses(size, megabytes, tmp_path):
    values = {
        "memcached": {"itemSizeMax": size, "memoryMegabytes": megabytes},
        "proxy": {"limits": {"itemSizeMax": "1g"}},
    }
    try:
        objects = render("nuthatch", values)
    except Refused:
        assert not serves(["-m", str(megabytes), "-c", "64", "-I", size], tmp_path)
    else:
        (servers,) = of_kind(objects, "StatefulSet")
        assert serves(servers["spec"]["template"]["spec"]["containers"][0]["args"], tmp_path)


def serves(arguments: list[str], folder: Path) -> bool:
    """Whether memcached starts with these arguments; the socket is there when it listens."""
    path = folder / "memcached.sock"
    command = ["memcached", *arguments, "-u", "root", "-p", "0", "-U", "0", "-s", path]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 10
        while server.poll() is None and not path.exists():
            assert time.monotonic() < deadline, "memcached neither listens nor ends"
            time.sleep(0.01)
        is_serving = server.poll() is None
        server.kill()
    return is_serving


def directives(pool: dict) -> set[str]:
    """The names of a pool's directives; one with parts is each of them."""
    parts = {name: value for name, value in pool.items() if isinstance(value, dict)}
    whole = {f"{name}_{part}" for name, value in parts.items() for part in value}
    return pool.keys() - parts.keys() | whole


def test_an_empty_limit_is_left_to_the_program():
    for _, pool in settings(render_case("nuthatch", "outside")):
        assert [name for name in pool if name.endswith("_max")] == []


@pytest.mark.parametrize(
    ("value", "directive"),
    [
        ("hash", "hash"),
        ("distribution", "distribution"),
        ("redis.crossShard", "cross_shard"),
    ],
)
def test_the_program_knows_every_name_that_the_schema_allows(value, directive, check):
    (_, container, text), *_ = files(render_case("nuthatch", "redis"))
    (line,) = re.findall(rf"^  {directive}: .*$", text, re.M)
    for name in names_of(value):
        check(container, text.replace(line, f"  {directive}: {name}"))


def test_the_program_knows_every_format_of_its_log(check):
    (_, container, text), *_ = files(render_case("nuthatch", "default"))
    others = [each for each in container["env"] if each["name"] != "LOG_FORMAT"]
    for name in names_of("logFormat"):
        check({**container, "env": [*others, {"name": "LOG_FORMAT", "value": name}]}, text)


def names_of(value: str) -> list[str]:
    """The names that a value of `proxy` may be."""
    schema = SCHEMA["properties"]["proxy"]
    for part in value.split("."):
        schema = schema["properties"][part]
    return schema["enum"]
