"""A third server comes, and exactly the keys move that `nuthatch diff` said would."""

from ..report import Act, check
from ..world import API, MEMCACHED, World
from .load_job import KEYS

REPLICAS = 3


def play(world: World, act: Act) -> None:
    before = world.sidecar_environment
    world.chart.set("nuthatch.memcached.replicas", REPLICAS)
    world.cluster.apply(world.chart.objects())
    world.cluster.wait(MEMCACHED, API)
    after = world.sidecar_environment
    check(len(world.servers) == REPLICAS, f"the servers are {world.servers}")
    moves = world.oracle.diff(before, after, KEYS)
    act.say(f"nuthatch diff: {moves['moved']} of {moves['keys']} keys move")
    missing = {key for key in KEYS if world.api.fetch(key).status == 404}
    old, new = (world.oracle.route(one, KEYS) for one in (before, after))
    moved = {key for key in KEYS if old[key] != new[key]}
    act.say(f"{len(missing)} keys are no more where they were looked for, {len(moved)} predicted")
    check(missing == moved, f"missing {sorted(missing)[:5]}..., predicted {sorted(moved)[:5]}...")
    check(len(moved) == moves["moved"], f"diff says {moves}, route {len(moved)}")
