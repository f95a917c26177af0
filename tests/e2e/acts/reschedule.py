"""A memcached is lost and returns under its name, at a new address, while clients go on.

What the settings promise (`auto_eject_hosts`, `server_failure_limit: 1`, `timeout: 2000`,
`server_retry_timeout: 2000`): a lost server costs every client that waits for it one error, once
for each time it is ejected; the keys that it had are gone, not wrong; and once it is back there is
no error more, and every key goes to the server it was on before.
"""

import time

from .. import figures
from ..load import CLIENTS, Load
from ..report import Act, check
from ..world import MEMCACHED, World
from .keys import KEYS, store_anew

LOST = "memcached-cluster-1"
AWAY_SECONDS = 3.0
# The next try after the return is at most a retry timeout and a time-out of the last try away.
BACK_SECONDS = 2.0 + 2.0
QUIET_SECONDS = 2.0


def play(world: World, act: Act) -> None:
    old, before = world.servers[LOST], ejections(world)
    with Load(world.api, KEYS) as load:
        time.sleep(1)
        lost = time.monotonic()
        lose_for_a_while(world)
        returned = time.monotonic()
        time.sleep(BACK_SECONDS + QUIET_SECONDS)
    new = world.servers[LOST]
    check(old != new, f"{LOST} returned at its old address {old}")
    act.say(f"{LOST} was away for {returned - lost:.1f} s and returned at {new}, before {old}")
    act.say(f"answers: {load.summary()}")
    act.errors = judge(act, load, lost, returned, ejections(world) - before)
    store_anew(world, act, world.sidecar_file, "home again:")


def lose_for_a_while(world: World) -> None:
    """The node of a pod dies; after a while the cluster starts the pod anew on another."""
    workload = world.cluster.workloads[MEMCACHED]
    (pod,) = [pod for pod in workload.pods if pod.name == LOST]

    def end() -> None:
        pod.crash()
        time.sleep(AWAY_SECONDS)
        pod.close_sandbox()

    workload.replace(pod, end)


def ejections(world: World) -> int:
    """How often any proxy took a server off the ring, each time with a reason in its log."""
    count = figures.total(world.sidecars, "nuthatch_server_ejections_total")
    logged = figures.events(world.sidecars, "server ejected")
    check(len(logged) == count and all(line["reason"] for line in logged), f"{count}: {logged}")
    return count


def judge(act: Act, load: Load, lost: float, returned: float, ejected: int) -> str:
    """Every error must be one that the settings allow."""
    failed = load.failed()
    wrong = [one for one in failed if one.status != 503 or "detail" not in one.body]
    check(not wrong, f"answers that no setting allows: {wrong[:3]}")
    early = [one for one in failed if one.when < lost]
    late = [one for one in failed if one.when > returned + BACK_SECONDS]
    check(not early and not late, f"errors without a reason: {[*early, *late][:3]}")
    allowed = CLIENTS * ejected
    check(0 < len(failed) <= allowed, f"{len(failed)} errors in {ejected} ejections")
    act.say(f"{ejected} ejections, {CLIENTS} clients: at most {allowed} errors")
    missing = sum(one.status == 404 for one in load.answers)
    return f"{len(failed)} x 503 (at most {allowed}), {missing} x 404"
