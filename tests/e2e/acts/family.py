"""The cluster has addresses of one family alone, and by them each pod, each name, each port that others
use is reached: a program that listens on the other family only would be found here."""

from .. import figures, memcached, network
from ..report import Act, check
from ..world import World


def play(world: World, act: Act) -> None:
    family = world.cluster.network.family
    for pod in world.cluster.pods:
        found = network.addresses_of(pod.process)
        check(found == [pod.ip], f"{pod.name} has the addresses {found}, not {pod.ip} alone")
    act.say(f"{len(world.cluster.pods)} pods, each with one address, of {family.name}")
    for sidecar in world.sidecars:
        for path in ("/live", "/ready"):
            figures.ask(sidecar, path)
        version = figures.scrape([sidecar], "nuthatch_build_info")
        check(len(version) == 1, f"{sidecar.id} has no figures")
    act.say(f"/live, /ready and /metrics answer over {family.name}")
    for name, address in world.servers.items():
        check(memcached.total_items(address) > 0, f"{name} was given nothing")
