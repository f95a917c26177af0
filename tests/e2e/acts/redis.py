"""The guide's example once more, with Redis in the place of memcached: the load job and clients of
the same API see no failed request, and every key is on the server that `nuthatch route` names."""

import time

import yaml

from ..kubelet.pod import Pod
from ..load import Load
from ..report import Act, check
from ..world import REDIS, World
from .keys import KEYS
from .load_job import check_job

LOAD_SECONDS = 3
# The answer to PING of a client that has sent no password.
REFUSED = "NOAUTH"


def play(world: World, act: Act) -> None:
    for line in world.shell.run("redis").splitlines():
        act.say(line)
    check_job(world, act)
    servers = list(world.cluster.workloads[REDIS].pods)
    for server in servers:
        said = server.main[0].execute(["redis-cli", "ping"], 10)
        check(said.startswith(REFUSED), f"{server.name} needs no password: {said}")
    # Who predicts has no such file, and no password says where a key is.
    (pool,) = yaml.safe_load(world.sidecar_file).values()
    del pool["redis_auth_file"]
    predicted = world.oracle.share(yaml.safe_dump({"redis": pool}), KEYS)
    with Load(world.api, KEYS) as load:
        time.sleep(LOAD_SECONDS)
    act.say(f"answers: {load.summary()}")
    missed = [one for one in load.answers if one.status != 200]
    check(not missed, f"{len(missed)} requests failed: {missed[:3]}")
    act.compare_keys(predicted, {server.name: count_keys(world, server) for server in servers})
    for line in world.shell.run("test").splitlines():
        act.say(line)


def count_keys(world: World, server: Pod) -> int:
    """The number of keys, asked of the server itself."""
    (password,) = world.cluster.secrets["redis"].values()
    words = ["redis-cli", "--no-auth-warning", "-a", password, "dbsize"]
    return int(server.main[0].execute(words, 10))
