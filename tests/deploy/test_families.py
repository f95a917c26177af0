"""A host with addresses of both families: what the chart renders, run with the real programs, is reached by each.

The rule: arguments, variables and files are those of the rendered containers, but for the ports, which must be free
here, and the servers' addresses: one has that of IPv4, the other one that of IPv6. tests/e2e has hosts of one family
alone.
"""

import json
import socket
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from exposition import ask, free_port, running
from objects import environment, files, is_proxy, of_kind
from rendering import render
from tools import HELM

ADDRESSES = ["127.0.0.1", "::1"]
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
# What a server is told besides: root runs memcached under another name only.
TOLD = {
    "memcached": ["memcached", "-u", "nobody", "-p", "{port}"],
    "redis": ["redis-server", "--port", "{port}"],
}
STORED = {"memcached": b"STORED\r\n", "redis": b"+OK\r\n"}


def store(protocol: str, key: str) -> bytes:
    """A request that stores something."""
    return b"set %s 0 0 1\r\nx\r\n" % key.encode() if protocol == "memcached" else b"SET %s x\r\n" % key.encode()


def rendered(protocol: str) -> list[dict]:
    """Central proxies and servers, without a value about addresses."""
    return render("nuthatch", {"protocol": protocol, "central": {"enabled": True}})


def server(objects: list[dict], protocol: str, port: int, folder: Path) -> list[str]:
    """The command line of a server, as its container has it."""
    (stateful,) = of_kind(objects, "StatefulSet")
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    own = [str(folder) if word == "/data" else word for word in container["args"]]
    program, *told = (word.format(port=port) for word in TOLD[protocol])
    return [program, *own, *told]


@pytest.fixture(scope="module", autouse=True)
def both_families():
    """A host without IPv6 has nothing to say here."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as why:
        pytest.skip(f"no IPv6 on this host: {why}")


@pytest.mark.parametrize("protocol", ["memcached", "redis"])
def test_proxies_and_servers_are_reached_by_both_families(protocol, nuthatch, tmp_path):
    objects = rendered(protocol)
    with ExitStack() as opened:
        ports = [free_port(), free_port()]
        for port in ports:
            opened.enter_context(running(server(objects, protocol, port, tmp_path), {"PATH": PATH}, tmp_path))
            for address in ADDRESSES:
                assert ask(address, port, store(protocol, "own")).endswith(STORED[protocol])
        data, admin = free_port(), free_port()
        (found,) = (rest for name, *rest in files(objects) if name == "Deployment release-nuthatch")
        opened.enter_context(running(*proxy(*found, nuthatch, ports, data, admin, tmp_path), tmp_path))
        for number, address in enumerate(ADDRESSES * 20):
            answer = ask(address, data, store(protocol, f"key:{number}"))
            assert answer == STORED[protocol], f"{address}: {answer}"
        for address in ADDRESSES:
            where = f"[{address}]" if ":" in address else address
            for path in ("live", "ready", "metrics", "servers"):
                with urllib.request.urlopen(f"http://{where}:{admin}/{path}", timeout=5) as response:
                    text = response.read().decode()
                    assert response.status == 200, path
        (used,) = json.loads(text)["pools"].values()
        assert {(one["name"], one["state"]) for one in used} == {("ipv4", "up"), ("ipv6", "up")}


def proxy(container: dict, text: str, program: Path, servers: list[int], data: int, admin: int, folder: Path):
    """The command line and the variables of a proxy, as its container has them."""
    assert is_proxy(container)
    ((name, pool),) = yaml.safe_load(text).items()
    (listen,) = pool["listen"]
    pool["listen"] = [f"{listen.rsplit(':', 1)[0]}:{data}"]
    pool["servers"] = [f"127.0.0.1:{servers[0]}:1 ipv4", f"[::1]:{servers[1]}:1 ipv6"]
    path = folder / "nutcracker.yml"
    path.write_text(json.dumps({name: pool}))
    words = [word for word in container["args"] if not word.startswith(("--conf-file", "--stats-port"))]
    variables = environment(container)
    host = variables["ADMIN_LISTEN"].rsplit(":", 1)[0]
    return [program, *words, f"--conf-file={path}", f"--stats-port={free_port()}"], {
        **variables,
        "ADMIN_LISTEN": f"{host}:{admin}",
    }


@pytest.mark.parametrize("helm", HELM)
def test_a_cluster_chooses_the_families_unless_it_is_told(helm):
    """What a cluster makes of a Service that has none of these fields is right in each: both would be refused with one."""
    values = {"central": {"enabled": True}, "networkPolicy": {"enabled": True}}
    for service in of_kind(render("cache-api", {"nuthatch": values}, helm=helm), "Service"):
        assert not {"ipFamilies", "ipFamilyPolicy"} & set(service["spec"]), service["metadata"]["name"]
    values["central"]["service"] = {"ipFamilyPolicy": "PreferDualStack"}
    (central,) = (
        item
        for item in of_kind(render("nuthatch", values, helm=helm), "Service")
        if item["metadata"]["name"] == "release-nuthatch"
    )
    assert central["spec"]["ipFamilyPolicy"] == "PreferDualStack"
