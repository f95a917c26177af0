"""A third server comes, as the guide says, and those keys move that `nuthatch diff` has named."""

from ..report import Act, check
from ..world import World
from .keys import KEYS, store_anew

REPLICAS = 3


def play(world: World, act: Act) -> None:
    before = world.sidecar_environment
    world.shell.run("scale")
    after = world.sidecar_environment
    check(len(world.servers) == REPLICAS, f"the servers are {world.servers}")
    moves = world.oracle.diff(before, after, KEYS)
    missing = {key for key in KEYS if world.api.fetch(key).status == 404}
    old, new = (world.oracle.route(one, KEYS) for one in (before, after))
    moved = {key for key in KEYS if old[key] != new[key]}
    act.say(f"{moves['moved']} keys move, says nuthatch diff; {len(missing)} are no more found")
    check(missing == moved, f"missing {sorted(missing)[:5]}..., predicted {sorted(moved)[:5]}...")
    check(len(moved) == moves["moved"], f"diff says {moves}, route {len(moved)}")
    store_anew(world, act, after, "with three servers:")
