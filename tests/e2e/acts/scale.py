"""A third server comes and goes, as the guide says, while clients go on: no request fails, no pod
is replaced, no container ends. It comes without `migrate`, and what is lost is what `nuthatch diff`
has named; it goes with `migrate`, and nothing is lost, nor is an older value read. Only while one proxy
asks the new servers and another one the old servers still, what the first has just written is missed
by the other.

Half of the keys are those of the clients, which store them anew all the time; the other half is
quiet, so that a key of it is missing exactly if it has another server.
"""

import json
import time
from collections.abc import Callable

import yaml

from .. import figures, memcached
from ..load import Load, value_of
from ..report import Act, check
from ..world import World
from .keys import KEYS, store_anew

BUSY, QUIET = KEYS[::2], KEYS[1::2]
NEW = "memcached-cluster-2"
# A kubelet is late, and a proxy looks once a second and waits until a file stays the same.
RELOAD_SECONDS = 20
LOAD_SECONDS = 2
# The times of the guide's `migrate`, made shorter. The quicker kubelets bring a file to all pods within
# six seconds, and of proxies that look once a second the last one is one second later. All proxies look
# for values at the old server for the last five seconds of the window.
QUICKER = {"window=10m": "window=12s", "settle=2m": "settle=7s"}
MIGRATION_SECONDS = 90
LOOK_SECONDS = 0.2


def play(world: World, act: Act) -> None:
    two, begun, ring = world.sidecar_file, starts(world), one_ring(world)
    with Load(world.api, BUSY) as load:
        time.sleep(LOAD_SECONDS)
        world.shell.run("scale")
        other = await_another_ring(world, ring)
        check(NEW in world.servers, f"the servers are {world.servers}")
        moved = check_moves(world, act, two, world.sidecar_file)
        time.sleep(LOAD_SECONDS)
        stored = memcached.total_items(world.servers[NEW])
        check(stored > 0, f"{NEW} was given nothing")
        store(world, moved, "by three servers:")
        world.shell.run("migrate", QUICKER)
        world.shell.run("back")
        shrinking, apart = check_values_move(world, act, moved)
        world.shell.run("stop")
        world.cluster.wait_for_all()
    check(NEW not in world.servers, f"the servers are {world.servers}")
    check(one_ring(world) == ring != other, "the ring is not what it was")
    act.say(f"answers: {load.summary()}; {NEW} was given {stored} values")
    missed = [one.when for one in load.answers if one.status == 404]
    late = [when for when in missed if when > shrinking]
    grown = len(missed) - len(late)
    misses = f"{grown} from two servers to three, {len(late)} back to two with migrate"
    act.say(f"misses of {len(load.answers)} requests: {misses}")
    act.errors = f"none; misses: {misses}"
    check(grown > 0, "without migrate, clients miss what moves")
    others = [when for when in late if not apart[0] < when < apart[1]]
    check(not others, f"with migrate, clients miss {len(others)} of what moves")
    check(not load.failed(), f"{len(load.failed())} requests failed: {load.failed()[:3]}")
    check(starts(world) == begun, "a container is another one, or was started anew")
    check(not world.cluster.troubles(), f"{world.cluster.troubles()}")
    check(servers_of(world.sidecar_file) == servers_of(two), "the servers are not what they were")
    store_anew(world, act, two, "two again:")


def store(world: World, keys: set[str], when: str) -> None:
    """Stores keys anew, as an application does that has missed them."""
    for key in keys:
        answer = world.api.store(key, value_of(key, when))
        check(answer.status == 200, f"{when} {answer}")


def check_values_move(world: World, act: Act, moved: set[str]) -> tuple[float, tuple[float, float]]:
    """Every quiet key has the last value that was stored while keys move, and afterwards, too. The
    servers that get keys back still have older ones. Returns when the first proxy has changed, and
    from when to when some proxies asked the new servers, and others the old ones."""
    changed = await_phases(world, lambda found: found != {0})
    first = await_phases(world, lambda found: 2 in found)
    last = await_phases(world, lambda found: found == {2})
    check_last_values(world, moved)
    copied = figures.total(world.sidecars, "nuthatch_migrate_moves_total", result="copied")
    check(copied > 0, "no value was copied")
    over = await_phases(world, lambda found: found == {0})
    check_last_values(world, moved)
    act.say(f"{copied} values moved; no quiet key is missing, then and {over - last:.0f} s later")
    act.say(f"for {last - first:.1f} s, the proxies were in different phases")
    return changed, (first - 2 * LOOK_SECONDS, last + 2 * LOOK_SECONDS)


def check_last_values(world: World, moved: set[str]) -> None:
    for key in QUIET:
        answer = world.api.fetch(key)
        check(answer.status == 200, f"a quiet key: {answer}")
        is_new = json.loads(answer.body)["value"] == value_of(key, "by three servers:")
        check(is_new == (key in moved), f"an older value: {answer}")


def await_phases(world: World, are: Callable[[set[int]], bool]) -> float:
    """Waits until the proxies are in such phases of the migration, and returns when that was."""
    end = time.monotonic() + MIGRATION_SECONDS
    while not are(found := phases(world)):
        check(time.monotonic() < end, f"the proxies are in the phases {found} for long")
        time.sleep(LOOK_SECONDS)
    return time.monotonic()


def phases(world: World) -> set[int]:
    return {int(value) for _, value in figures.scrape(world.sidecars, "nuthatch_migrate_phase")}


def servers_of(file: str) -> list[str]:
    """The servers in a nutcracker.yml."""
    (pool,) = yaml.safe_load(file).values()
    return pool["servers"]


def check_moves(world: World, act: Act, old: str, new: str) -> set[str]:
    """Of the quiet keys, those are missing that move, no others, and `diff` counts as many. Returns
    them."""
    missing = {key for key in QUIET if world.api.fetch(key).status == 404}
    before, after = (world.oracle.route(file, QUIET) for file in (old, new))
    moved = {key for key in QUIET if before[key] != after[key]}
    counted = world.oracle.diff(old, new, QUIET)["moved"]
    act.say(f"{counted} of {len(QUIET)} quiet keys move, says diff; {len(missing)} are missing")
    check(missing == moved, f"missing {sorted(missing)[:5]}..., predicted {sorted(moved)[:5]}...")
    check(len(moved) == counted, f"diff says {counted}, route {len(moved)}")
    return moved


def starts(world: World) -> dict[str, str]:
    """When each container of the application's pods was started."""
    every = [container for pod in world.api_pods for container in pod.containers]
    return {container.id: container.state()["StartedAt"] for container in every}


def rings(world: World) -> set[float]:
    """The fingerprints of the rings that the proxies have."""
    return {value for _, value in figures.scrape(world.sidecars, "nuthatch_ring_hash")}


def one_ring(world: World) -> float:
    """The ring, if all proxies agree on it."""
    found = rings(world)
    check(len(found) == 1, f"the proxies have different rings: {found}")
    return found.pop()


def await_another_ring(world: World, old: float) -> float:
    """Waits until all proxies have one ring, and another one than this."""
    end = time.monotonic() + RELOAD_SECONDS
    while len(found := rings(world)) != 1 or old in found:
        check(time.monotonic() < end, f"after {RELOAD_SECONDS} s the proxies have {found}")
        time.sleep(0.2)
    return found.pop()
