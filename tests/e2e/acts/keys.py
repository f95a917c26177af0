"""The keys of the load job, and where they are: each server is asked behind the proxies' backs."""

from .. import memcached
from ..load import value_of
from ..report import Act, check
from ..world import World

KEYS = [str(key) for key in range(1000)]


def totals(world: World) -> dict[str, int]:
    """The `total_items` of every server: how many values it was ever given."""
    return {name: memcached.total_items(address) for name, address in world.servers.items()}


def store_anew(world: World, act: Act, file: str, when: str) -> None:
    """Stores every key once, through the API: its own server must get it, and nobody else."""
    before = totals(world)
    for key in KEYS:
        answer = world.api.store(key, value_of(key, when))
        check(answer.status == 200, f"{when}: {answer}")
    stored = {name: count - before[name] for name, count in totals(world).items()}
    route = world.oracle.route(file, KEYS)
    for name, address in world.servers.items():
        wanted = {key: value_of(key, when) for key in KEYS if route[key] == name}
        found = memcached.values(address, list(wanted))
        check(found == wanted, f"{name} lacks {set(wanted) - set(found)} or has older values")
    act.compare_keys(world.oracle.share(file, KEYS), stored)
