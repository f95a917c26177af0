"""A third server comes and goes, as the guide says, while clients go on: no request fails, no pod
is replaced, no container ends, and what is lost is what `nuthatch diff` has named.

Half of the keys are those of the clients, which store them anew all the time; the other half is
quiet, so that a key of it is missing exactly if it has another server.
"""

import time

from .. import figures, memcached
from ..load import Load
from ..report import Act, check
from ..world import World
from .keys import KEYS, store_anew

BUSY, QUIET = KEYS[::2], KEYS[1::2]
NEW = "memcached-cluster-2"
# A kubelet is late, and a proxy looks once a second and waits until a file stays the same.
RELOAD_SECONDS = 20
LOAD_SECONDS = 2


def play(world: World, act: Act) -> None:
    two, begun, ring = world.sidecar_file, starts(world), one_ring(world)
    with Load(world.api, BUSY) as load:
        time.sleep(LOAD_SECONDS)
        world.shell.run("scale")
        other = await_another_ring(world, ring)
        check(NEW in world.servers, f"the servers are {world.servers}")
        check_moves(world, act, two, world.sidecar_file)
        time.sleep(LOAD_SECONDS)
        stored = memcached.total_items(world.servers[NEW])
        check(stored > 0, f"{NEW} was given nothing")
        shrinking = time.monotonic()
        world.shell.run("back")
        time.sleep(LOAD_SECONDS)
    check(NEW not in world.servers, f"the servers are {world.servers}")
    check(one_ring(world) == ring != other, "the ring is not what it was")
    act.say(f"answers: {load.summary()}; {NEW} was given {stored} values")
    missed = [one.when for one in load.answers if one.status == 404]
    down = sum(when > shrinking for when in missed)
    misses = f"{len(missed) - down} from two servers to three, {down} back to two"
    act.say(f"misses of {len(load.answers)} requests: {misses}")
    act.errors = f"none; misses: {misses}"
    check(not load.failed(), f"{len(load.failed())} requests failed: {load.failed()[:3]}")
    check(starts(world) == begun, "a container is another one, or was started anew")
    check(not world.cluster.troubles(), f"{world.cluster.troubles()}")
    check(world.sidecar_file == two, "the proxies' file is not what it was")
    store_anew(world, act, two, "two again:")


def check_moves(world: World, act: Act, old: str, new: str) -> None:
    """Of the quiet keys, those are missing that move, no others, and `diff` counts as many."""
    missing = {key for key in QUIET if world.api.fetch(key).status == 404}
    before, after = (world.oracle.route(file, QUIET) for file in (old, new))
    moved = {key for key in QUIET if before[key] != after[key]}
    counted = world.oracle.diff(old, new, QUIET)["moved"]
    act.say(f"{counted} of {len(QUIET)} quiet keys move, says diff; {len(missing)} are missing")
    check(missing == moved, f"missing {sorted(missing)[:5]}..., predicted {sorted(moved)[:5]}...")
    check(len(moved) == counted, f"diff says {counted}, route {len(moved)}")


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
