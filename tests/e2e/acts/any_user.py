"""The images run under any user and group: both numbers are new in each run, the root file system is
read-only, and there is no privilege to be had. They start, serve, take a new file, and end in time."""

import random
import time
from pathlib import Path

from .. import figures
from ..kubelet.container import Container
from ..kubelet.pod import Pod
from ..load import Api, value_of
from ..report import Act, check
from ..world import World
from .roll import check_ends

NAME = "any-user"
NUMBERS = range(1_000, 2**31 - 1)
READY_SECONDS = 30
RELOAD_SECONDS = 20
FILE = """\
pool:
  listen: "*:11211"
  servers: ["127.0.0.1:11311:1 {server}"]
"""


def play(world: World, act: Act) -> None:
    user, group = random.choice(NUMBERS), random.choice(NUMBERS)
    act.say(f"user {user}, group {group}")
    world.cluster.apply([config_map("before")])
    pod = Pod(world.cluster, NAME, template(world, user, group))
    pod.start()
    pod.await_ready(READY_SECONDS)
    _, proxy, api = pod.main
    for container in (proxy, api):
        check_process(container, user, group)
    client = Api(pod.ip, 8000)
    stored = client.store("key", value_of("key"))
    check(stored.status == 200, f"it does not serve: {stored}")
    reload(world, proxy, act)
    fetched = client.fetch("key")
    check(fetched.status == 200, f"after the reload it does not serve: {fetched}")
    pod.stop()
    world.cluster.delete([("ConfigMap", NAME)])
    check_ends([pod], act)


def template(world: World, user: int, group: int) -> dict:
    """A memcached, a proxy in front of it, and the API in front of that."""
    nothing = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    memcached = {"image": world.images["memcached"], "args": ["-p", "11311"]}
    proxy = {
        "image": world.images["nuthatch"],
        "args": ["--conf-file=/etc/nuthatch/nutcracker.yml"],
        # No variable: the image's own has the admin port.
        "ports": [{"name": "admin", "containerPort": 9600}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "admin"}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/nuthatch", "readOnly": True}],
    }
    api = {
        "image": world.images["nuthatch-cache-api"],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1},
    }
    parts = {"memcached": memcached, "nuthatch": proxy, "cache-api": api}
    spec = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsGroup": group,
            "runAsNonRoot": True,
            "runAsUser": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {"name": name, "securityContext": nothing, **part} for name, part in parts.items()
        ],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    return {"metadata": {"labels": {}}, "spec": spec}


def config_map(server: str) -> dict:
    """The proxy's file with a server of this name; the ring is another one for each name."""
    data = {"nutcracker.yml": FILE.format(server=server)}
    return {"kind": "ConfigMap", "metadata": {"name": NAME}, "data": data}


def check_process(container: Container, user: int, group: int) -> None:
    """What the kernel says of the program that runs."""
    status = Path(f"/proc/{container.state()['Pid']}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    ids = {name: set(facts[name].split()) for name in ("Uid", "Gid")}
    check(ids == {"Uid": {str(user)}, "Gid": {str(group)}}, f"{container.id} runs as {ids}")
    rights = {name: int(facts[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
    check(not any(rights.values()), f"{container.id} has capabilities: {rights}")
    check(facts["NoNewPrivs"] == "1", f"{container.id} may get new privileges")


def reload(world: World, proxy: Container, act: Act) -> None:
    """A new file comes, and the proxy takes it."""
    before = figures.scrape([proxy], "nuthatch_ring_hash")
    begin = time.monotonic()
    world.cluster.apply([config_map("after")])
    while figures.scrape([proxy], "nuthatch_ring_hash") == before:
        check(time.monotonic() < begin + RELOAD_SECONDS, "the proxy does not take a new file")
        time.sleep(0.2)
    act.say(f"it takes a new file, {time.monotonic() - begin:.1f} s after the ConfigMap changed")
